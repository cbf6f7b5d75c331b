//===- KernBuilder.h - small kern ops on flat float64 tensors ---*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_RAGGED_KERNBUILDER_H
#define R1C_COMPILER_PHASES_RAGGED_KERNBUILDER_H

#include "dialects/kern/Kern.h"
#include "mlir/IR/Builders.h"

namespace r1c::ragged {

/// An operand of a formula kernel and which of its elements the region sees.
struct Operand {
  mlir::Value tensor;
  kern::AccessAttr access;
};

using Body = llvm::function_ref<mlir::Value(mlir::OpBuilder &, mlir::Location,
                                            mlir::ValueRange)>;

/// x[i].
Operand element(mlir::Value tensor);
/// The single element of a `tensor<1xT>`, seen by every row.
Operand one(mlir::Value tensor);
/// x[row], in a kern.row.
Operand row(mlir::Value tensor);
/// x[index[i]], with the op's only index operand.
Operand gathered(mlir::Value tensor);

/// A kern.map over one dimension; `like` gives the shape of the result.
mlir::Value map(mlir::OpBuilder &builder, mlir::Location loc,
                mlir::RankedTensorType type, llvm::ArrayRef<Operand> operands,
                mlir::Value index, Body body);

/// A ragged kern.row with one value a row, or with `kind` element one an
/// element; `type` is the result's.
mlir::Value reduce(mlir::OpBuilder &builder, mlir::Location loc,
                   mlir::RankedTensorType type,
                   llvm::ArrayRef<Operand> operands, mlir::Value offsets,
                   Body body, kern::AccessKind kind = kern::AccessKind::row);

} // namespace r1c::ragged

#endif // R1C_COMPILER_PHASES_RAGGED_KERNBUILDER_H
