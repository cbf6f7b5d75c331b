//===- CompiledModel.h - a model's functions as machine code ----*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TOOLS_COMPILEDMODEL_H
#define R1C_COMPILER_TOOLS_COMPILEDMODEL_H

#include "compiler/reference/Roles.h"
#include "compiler/target/cpu/Loaded.h"
#include "llvm/ADT/SetVector.h"

namespace r1c {

/// Whether an op of a function after lm-to-kern becomes a kernel.
bool isKernelOp(mlir::Operation *op);
/// Its operands, each once: the arguments of the kernel's function.
llvm::SetVector<mlir::Value> kernelArguments(mlir::Operation *op);
/// Those that are the buffers of results.
llvm::SmallDenseMap<mlir::Value, unsigned> kernelInits(mlir::Operation *op);
/// A module with the op alone in a kernel function.
mlir::OwningOpRef<mlir::ModuleOp> outlineKernel(mlir::Operation *op,
                                                llvm::StringRef name);

/// The functions of a module after lm-to-kern, each of their ops a compiled
/// kernel, run op by op. Values are floats, int32 and flags; outputs start as
/// NaN.
class CompiledModel {
public:
  /// `fused` must outlive what this gives. Errors are diagnostics.
  static mlir::FailureOr<std::unique_ptr<CompiledModel>>
  compile(mlir::ModuleOp fused, llvm::StringRef cpu = "native");

  /// As `reference::run`, with so many workers a kernel.
  mlir::FailureOr<reference::Environment>
  run(mlir::func::FuncOp func, const reference::Environment &environment,
      int64_t workers = 1);

private:
  CompiledModel() = default;
  llvm::DenseMap<mlir::Operation *, std::string> symbols;
  std::unique_ptr<cpu::LoadedKernels> kernels;
};

} // namespace r1c

#endif // R1C_COMPILER_TOOLS_COMPILEDMODEL_H
