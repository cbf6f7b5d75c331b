//===- ScalarAdjoint.h - reverse mode through a scalar region ---*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_DIFFERENTIATE_SCALARADJOINT_H
#define R1C_COMPILER_PHASES_DIFFERENTIATE_SCALARADJOINT_H

#include "mlir/IR/Block.h"
#include "mlir/IR/Builders.h"

namespace r1c {

/// Builds d(yield)/d(argument) * seed for every float argument of `block`, a
/// straight line of arith/math on scalars whose terminator yields one float.
///
/// `args` are the values that stand for the block's arguments at the builder's
/// position; the forward ops are cloned there first. `adjoints` gets one value
/// an argument, null where the result does not depend on it (or only through
/// comparisons, rounding or integers, which pass no gradient).
///
/// A seed of 0 gives exactly 0 whatever the partial derivative is, infinities
/// and NaNs included: the side of a select that was not taken never leaks.
/// Fails with an error at the first op that has no rule.
llvm::LogicalResult
buildScalarAdjoint(mlir::OpBuilder &builder, mlir::Block &block,
                   mlir::ValueRange args, mlir::Value seed,
                   llvm::SmallVectorImpl<mlir::Value> &adjoints);

} // namespace r1c

#endif // R1C_COMPILER_PHASES_DIFFERENTIATE_SCALARADJOINT_H
