//===- Cpu.h - kernels for CPUs ---------------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// kern functions -> loops -> LLVM dialect -> LLVM IR -> object -> one
// freestanding shared object.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TARGET_CPU_CPU_H
#define R1C_COMPILER_TARGET_CPU_CPU_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include <string>
#include <vector>

namespace r1c::cpu {

struct TargetOptions {
  /// "native", or a CPU name of LLVM's ("znver4", "x86-64-v3"), and behind it
  /// features to add or leave out ("native,-amx-bf16"). At least AVX2 and FMA
  /// are needed.
  std::string cpu = "native";
  /// The naive lowering instead of the tuned one: same bits, slow.
  bool reference = false;
  /// When not empty: where to leave the object and LLVM IR.
  std::string dump;
};

/// The CPU that `options` name, resolved.
struct Target {
  std::string cpu, features;
  bool avx512 = false, avx512Bf16 = false, amxBf16 = false;
};
mlir::FailureOr<Target> resolveTarget(mlir::Location loc,
                                      const TargetOptions &options);

/// Every function of `module` with the attribute kern.kernel becomes a symbol
/// with the kernel ABI (docs/levels.md) in a shared object that needs nothing
/// from outside. `module` is left as it is. Errors are diagnostics.
mlir::FailureOr<std::vector<char>> buildKernels(mlir::ModuleOp module,
                                                const TargetOptions &options);

/// kern-to-loops{cpu= reference=}: kernel functions become functions with the
/// kernel ABI, on pointers, scf, arith, math and vector.
std::unique_ptr<mlir::Pass>
createKernToLoopsPass(const TargetOptions &options = {});

/// Registers the passes and the pipeline r1c-kernels-to-llvm.
void registerCpuPasses();

} // namespace r1c::cpu

#endif // R1C_COMPILER_TARGET_CPU_CPU_H
