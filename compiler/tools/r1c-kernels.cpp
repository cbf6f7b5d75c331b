//===- r1c-kernels.cpp - a file of kernels to machine code ----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// r1c-kernels in.mlir -o out.so [--cpu=native] [--reference] [--dump=PREFIX]
// r1c-kernels in.mlir -o out.cubin --target=sm_90a [--reference]
// [--dump=PREFIX] [--launches=FILE]
//===----------------------------------------------------------------------===//

#include "compiler/phases/package/Manifest.h"
#include "compiler/target/cpu/Cpu.h"
#include "compiler/target/cuda/Cuda.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/SourceMgr.h"

namespace cl = llvm::cl;

namespace {

/// Writes all of `bytes`, or says why not.
bool write(llvm::StringRef path, llvm::StringRef bytes) {
  std::error_code error;
  llvm::raw_fd_ostream out(path, error);
  if (!error) {
    out << bytes;
    out.flush();
    error = out.error();
    out.clear_error();
  }
  if (error)
    llvm::errs() << "r1c-kernels: cannot write " << path << ": "
                 << error.message() << "\n";
  return !error;
}

/// {"SYMBOL": how a GPU starts it, …}, as a manifest's kernels have it.
std::string launchesOf(const r1c::cuda::Kernels &kernels) {
  llvm::json::Object all;
  for (const auto &[name, launch] : kernels.launches) {
    llvm::json::Value value = r1c::toJson(launch);
    value.getAsObject()->erase("parameters"); // follows from the rest
    all[name] = std::move(value);
  }
  return llvm::formatv("{0:2}\n", llvm::json::Value(std::move(all)));
}

} // namespace

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  cl::opt<std::string> input(cl::Positional, cl::desc("<kernels.mlir>"),
                             cl::init("-"));
  cl::opt<std::string> output("o", cl::desc("shared object or cubin"),
                              cl::Required);
  cl::opt<std::string> target("target", cl::desc("cpu or sm_90a"),
                              cl::init("cpu"));
  cl::opt<std::string> cpu("cpu", cl::desc("CPU name, or native"),
                           cl::init("native"));
  cl::opt<bool> reference("reference", cl::desc("the naive lowering"));
  cl::opt<std::string> dump(
      "dump", cl::desc("leave PREFIX.ll and PREFIX.o, or PREFIX.ptx and "
                       "PREFIX.txt"));
  cl::opt<std::string> launches(
      "launches", cl::desc("sm_90a: where to write, as JSON, how each kernel "
                           "is launched"));
  cl::ParseCommandLineOptions(argc, argv, "kernels to machine code\n");

  mlir::DialectRegistry registry;
  registry.insert<r1c::kern::KernDialect, mlir::arith::ArithDialect,
                  mlir::func::FuncDialect, mlir::math::MathDialect,
                  mlir::tensor::TensorDialect>();
  mlir::MLIRContext context(registry);
  llvm::SourceMgr sources;
  mlir::SourceMgrDiagnosticHandler handler(sources, &context);
  auto module = mlir::parseSourceFile<mlir::ModuleOp>(input, sources, &context);
  if (!module)
    return 1;
  std::vector<char> bytes;
  if (target == r1c::cuda::architecture) {
    r1c::cuda::TargetOptions options;
    options.reference = reference;
    options.dump = dump;
    auto kernels = r1c::cuda::buildKernels(*module, options);
    if (failed(kernels))
      return 1;
    bytes = std::move(kernels->cubin);
    if (!launches.empty() && !write(launches, launchesOf(*kernels)))
      return 1;
    for (auto &[name, usage] : kernels->usage)
      llvm::outs() << name << ": " << usage.registers << " registers, "
                   << usage.spillBytes << " bytes spilled, " << usage.stackBytes
                   << " bytes of stack, " << usage.sharedBytes
                   << " bytes shared\n";
    for (const std::string &warning : kernels->warnings)
      llvm::errs() << warning << "\n";
  } else if (target == "cpu") {
    r1c::cpu::TargetOptions options;
    options.cpu = cpu;
    options.reference = reference;
    options.dump = dump;
    auto object = r1c::cpu::buildKernels(*module, options);
    if (failed(object))
      return 1;
    bytes = std::move(*object);
  } else {
    llvm::errs() << "r1c-kernels: no target '" << target
                 << "': write cpu or sm_90a\n";
    return 1;
  }
  return write(output, {bytes.data(), bytes.size()}) ? 0 : 1;
}
