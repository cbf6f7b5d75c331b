//===- Reductions.h - rl.reduce as a row program ----------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_RAGGED_REDUCTIONS_H
#define R1C_COMPILER_PHASES_RAGGED_REDUCTIONS_H

#include "dialects/rl/RL.h"
#include "mlir/IR/Builders.h"

namespace r1c::ragged {

/// Inside a kern.row: the reduction of `x` (f64, or i1 for any and all) over
/// the elements where `where` (i1, null for all of them) holds.
///
/// A mean over nothing is 0; var and std are unbiased and 0 of one value;
/// first and last go by position and give 0 where nothing is left. `quantile`
/// is not a row program and must not come here.
mlir::Value buildReduction(mlir::OpBuilder &builder, mlir::Location loc,
                           rl::ReduceKind kind, mlir::Value x,
                           mlir::Value where);

/// Inside a kern.row: `seed` at the element that min, max, first or last chose,
/// else 0: the meaning of rl.reduce_grad.
mlir::Value buildReductionGrad(mlir::OpBuilder &builder, mlir::Location loc,
                               rl::ReduceKind kind, mlir::Value x,
                               mlir::Value seed, mlir::Value where);

} // namespace r1c::ragged

#endif // R1C_COMPILER_PHASES_RAGGED_REDUCTIONS_H
