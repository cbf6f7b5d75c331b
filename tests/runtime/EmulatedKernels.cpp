//===- EmulatedKernels.cpp - an artifact's kernels for the fake driver ----===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A library for FakeCuda.cpp: with both, the runtime executes whole steps whose
// kernels the interpreter runs, instead of a GPU. What one kernel alone shows
// (kernels that overlap, what is written) is looked for in tests/kern; here,
// whether the schedule gives each what it needs.
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Kernels.h"
#include "compiler/tools/Register.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "tests/runtime/FakeTensorMap.h"
#include <cstring>

using namespace r1c::cuda;

namespace {

struct Emulated {
  mlir::DialectRegistry registry;
  std::unique_ptr<mlir::MLIRContext> context;
  std::unique_ptr<emulate::EmulatedKernels> kernels;
  std::string error; ///< the last one
};

size_t mapsOf(mlir::DictionaryAttr launch) {
  auto maps = launch.getAs<mlir::ArrayAttr>("tensor_maps");
  return maps ? maps.size() : 0;
}

int64_t parametersOf(mlir::DictionaryAttr launch) {
  return launch.getAs<mlir::IntegerAttr>("parameters").getInt();
}

} // namespace

extern "C" {

/// The kernels of what the phase `schedule` left in a file; null, with a
/// diagnostic, if they cannot be had. They stay until the process ends.
void *emulated_load(const char *path) {
  auto made = std::make_unique<Emulated>();
  r1c::registerDialects(made->registry);
  made->context = std::make_unique<mlir::MLIRContext>(made->registry);
  auto module =
      mlir::parseSourceFile<mlir::ModuleOp>(path, made->context.get());
  auto inner = module ? module->lookupSymbol<mlir::ModuleOp>("kernels")
                      : mlir::ModuleOp();
  if (!inner)
    return nullptr;
  auto loaded = emulate::EmulatedKernels::load(inner, {});
  if (failed(loaded))
    return nullptr;
  made->kernels = std::move(*loaded);
  return made.release();
}

/// Bytes of a kernel's parameter block, whole lines of 64; -1 if there is none
/// of that name.
int64_t emulated_parameters(void *kernels, const char *name) {
  mlir::DictionaryAttr launch =
      static_cast<Emulated *>(kernels)->kernels->launchOf(name);
  return launch ? (parametersOf(launch) + 63) / 64 * 64 : -1;
}

/// Runs a grid with this parameter block: the operands' addresses, from the
/// next line on what FakeCuda.cpp encoded as tensor maps. `bytesAt`: how much
/// memory there is from an address on. Gives what is wrong, or null.
const char *emulated_run(void *kernels, const char *name, const uint64_t *block,
                         unsigned grid, uint64_t (*bytesAt)(uint64_t)) {
  auto &emulated = *static_cast<Emulated *>(kernels);
  mlir::DictionaryAttr attribute = emulated.kernels->launchOf(name);
  auto give = [&](llvm::Error error) {
    emulated.error = llvm::toString(std::move(error));
    return emulated.error.c_str();
  };
  auto launch = emulate::Launch::parse(attribute, 1);
  if (!launch)
    return give(launch.takeError());
  launch->blocks = grid;
  // Operands may be one buffer here, or parts of one.
  launch->overlap = false;
  launch->written.reset();
  size_t words = (parametersOf(attribute) - 128 * mapsOf(attribute)) / 8;
  const uint64_t *maps = block + words;
  while (words && !block[words - 1])
    --words;
  llvm::SmallVector<emulate::Buffer> operands;
  for (size_t i = 0; i < words; ++i)
    operands.push_back({reinterpret_cast<void *>(block[i]), bytesAt(block[i])});
  for (auto [i, map] : llvm::enumerate(launch->tensorMaps)) {
    FakeTensorMap given;
    std::memcpy(&given, maps + 16 * i, sizeof given);
    for (uint8_t d = 0; d < given.rank; ++d)
      map.sizes[d] = static_cast<int64_t>(given.sizes[d]);
    if (given.rank != map.sizes.size() || given.address != block[map.operand])
      return give(llvm::createStringError("tensor map %zu is of another "
                                          "operand",
                                          size_t(i)));
  }
  llvm::Error error =
      emulated.kernels->getProgram().run(name, *launch, operands);
  return error ? give(std::move(error)) : nullptr;
}

} // extern "C"
