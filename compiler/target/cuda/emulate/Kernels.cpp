//===- Kernels.cpp - kernel functions, compiled for CUDA, run here --------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Kernels.h"
#include "compiler/target/common/KernelFunctions.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::cuda::emulate;

FailureOr<std::unique_ptr<EmulatedKernels>>
EmulatedKernels::load(ModuleOp module, const TargetOptions &options) {
  OwningOpRef<ModuleOp> copy(ModuleOp::create(module.getLoc()));
  for (func::FuncOp function : kernelFunctions(module))
    copy->push_back(function->clone());
  PassManager pm(module.getContext());
  pm.addPass(createKernToThreadsPass(options));
  addLowerToNVVM(pm);
  if (failed(pm.run(*copy)))
    return failure();
  auto result = std::make_unique<EmulatedKernels>();
  for (auto function : copy->getOps<LLVM::LLVMFuncOp>())
    if (auto launch =
            function->getAttrOfType<DictionaryAttr>(kern::launchAttrName))
      result->launches[function.getName()] = launch;
  auto program = Program::decode(*copy);
  if (!program)
    return module.emitError(llvm::toString(program.takeError()));
  result->program = std::move(*program);
  return result;
}

StringRef EmulatedKernels::forRows(StringRef name, int64_t size) const {
  DictionaryAttr launch = launches.lookup(name);
  auto others = launch ? launch.getAs<ArrayAttr>("few_rows") : ArrayAttr();
  if (others && size >= 0)
    for (auto few : others.getAsRange<DictionaryAttr>())
      if (size <= few.getAs<IntegerAttr>("rows").getInt())
        return few.getAs<StringAttr>("symbol").getValue();
  return name;
}

llvm::Error EmulatedKernels::run(StringRef name, ArrayRef<Buffer> buffers,
                                 int64_t size, int64_t multiprocessors,
                                 unsigned seed, Statistics *statistics) const {
  auto launch = Launch::parse(launches.lookup(name), multiprocessors);
  if (!launch)
    return launch.takeError();
  launch->seed = seed;
  // Whole clusters.
  launch->blocks = (launch->blocks + launch->cluster - 1) / launch->cluster *
                   launch->cluster;
  SmallVector<Buffer> all(buffers);
  if (size >= 0)
    all.push_back({&size, sizeof(size), 0, false});
  return program->run(name, *launch, all, statistics);
}

/// The line of column j: those of a gate come before those of up.
static int64_t lineOf(int64_t j, int64_t n, bool paired) {
  return paired ? j / 32 * 16 + j % 16 + j / 16 % 2 * (n / 2) : j;
}

std::vector<uint16_t> r1c::cuda::emulate::packedForCuda(ArrayRef<uint16_t> cpu,
                                                        int64_t k, int64_t n,
                                                        bool paired) {
  int64_t pairs = (k + 1) / 2;
  std::vector<uint16_t> result(n * k);
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = 0; i < k; ++i)
      result[lineOf(j, n, paired) * k + i] =
          cpu[((j / 32 * pairs + i / 2) * 32 + j % 32) * 2 + i % 2];
  return result;
}

std::vector<uint16_t> r1c::cuda::emulate::packedForCpu(ArrayRef<uint16_t> cuda,
                                                       int64_t k, int64_t n,
                                                       bool paired) {
  int64_t columns = (n + 31) / 32 * 32, pairs = (k + 1) / 2;
  std::vector<uint16_t> result(columns * pairs * 2);
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = 0; i < k; ++i)
      result[((j / 32 * pairs + i / 2) * 32 + j % 32) * 2 + i % 2] =
          cuda[lineOf(j, n, paired) * k + i];
  return result;
}
