//===- KernelFunctions.h - what the targets share ---------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TARGET_COMMON_KERNELFUNCTIONS_H
#define R1C_COMPILER_TARGET_COMMON_KERNELFUNCTIONS_H

#include "compiler/target/common/ExpandMath.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/SmallVector.h"

namespace llvm {
class Module;
class TargetMachine;
} // namespace llvm

namespace r1c {

/// The functions with the attribute kern.kernel.
llvm::SmallVector<mlir::func::FuncOp> kernelFunctions(mlir::ModuleOp module);

/// The one kern op of a kernel function; null after an error.
mlir::Operation *kernelOp(mlir::func::FuncOp function);

/// From `scf`, `arith`, `math` and `vector` to the LLVM dialect.
void addLowerToLLVM(mlir::OpPassManager &pm, MathUnits units);

/// Optimizes without what changes the order or number of float operations: no
/// auto-vectorizer, no library calls.
void optimizeKernels(llvm::Module &module, llvm::TargetMachine &machine);

} // namespace r1c

#endif // R1C_COMPILER_TARGET_COMMON_KERNELFUNCTIONS_H
