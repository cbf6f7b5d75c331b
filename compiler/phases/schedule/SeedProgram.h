//===- SeedProgram.h - what an update computes per token --------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_SCHEDULE_SEEDPROGRAM_H
#define R1C_COMPILER_PHASES_SCHEDULE_SEEDPROGRAM_H

#include "dialects/rl/RL.h"
#include <optional>

namespace r1c::schedule {

/// The ops of an update's body, sorted by what they wait for.
struct SeedProgram {
  rl::BackwardOp backward;
  /// Need nothing of the updated policy's forward pass.
  llvm::SmallVector<mlir::Operation *> before;
  /// From its log-probabilities and entropies to the seeds of the backward.
  llvm::SmallVector<mlir::Operation *> seeds;
  /// All others: the loss's value, metrics, the step.
  llvm::SmallVector<mlir::Operation *> after;
};

/// The program of an update in which each token's seed depends on that token's
/// log-probability and entropy alone (and on what is known before the forward
/// pass: advantages, masks, lengths). Then forward and backward can share one
/// pass over the chunks. None if a seed needs other tokens, as a ratio of whole
/// sequences does: `culprit` is then the op that does.
std::optional<SeedProgram> tokenLocalSeeds(rl::UpdateOp update,
                                           mlir::Operation *&culprit);

/// A remark on why an update is two sweeps over its chunks.
void explainSweeps(rl::UpdateOp op, mlir::Operation *culprit);

} // namespace r1c::schedule

#endif // R1C_COMPILER_PHASES_SCHEDULE_SEEDPROGRAM_H
