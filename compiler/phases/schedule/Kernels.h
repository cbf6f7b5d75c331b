//===- Kernels.h - outlining kern ops into kernels --------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_SCHEDULE_KERNELS_H
#define R1C_COMPILER_PHASES_SCHEDULE_KERNELS_H

#include "compiler/phases/schedule/Buffers.h"
#include "mlir/IR/IRMapping.h"

namespace r1c::schedule {

/// Turns each kern op into a dispatch. Equal ops share one kernel: a kernel is
/// a `func.func` with one kern op in the nested module `@kernels`.
class Kernels {
public:
  Kernels(mlir::ModuleOp module, mlir::Block *declarations, Buffers &buffers);

  using Binding = llvm::DenseMap<mlir::Value, Slot>;

  /// Writes an `rt.dispatch` of `op` at `builder` and binds its results to
  /// buffers: the init's own, else new ones in `arena`. All operands must be
  /// bound. `sequences` is the extent that kern.attention_backward runs over.
  llvm::LogicalResult dispatch(mlir::OpBuilder &builder, mlir::Operation *op,
                               Binding &binding, llvm::StringRef arena,
                               Extent sequences = {});

  mlir::ModuleOp getModule() { return kernels; }

private:
  /// The kernel of this op, which takes so many pointers.
  mlir::FlatSymbolRefAttr outline(mlir::Operation *op, unsigned operands,
                                  int64_t rows);

  mlir::ModuleOp kernels;
  mlir::Block *declarations;
  Buffers &buffers;
  llvm::StringMap<mlir::FlatSymbolRefAttr> byText;
};

/// A readable name for the value: its NameLoc, else `fallback`.
std::string nameOf(mlir::Location loc, llvm::StringRef fallback);

} // namespace r1c::schedule

#endif // R1C_COMPILER_PHASES_SCHEDULE_KERNELS_H
