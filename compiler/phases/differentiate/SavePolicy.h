//===- SavePolicy.h - what a forward pass keeps for its backward *- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The one place where it is decided which values that derivative rules read are
// saved by `@m.layer.train` and which `@m.layer.backward` computes again.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_DIFFERENTIATE_SAVEPOLICY_H
#define R1C_COMPILER_PHASES_DIFFERENTIATE_SAVEPOLICY_H

#include "dialects/lm/LM.h"
#include <optional>

namespace r1c {

/// On the module: what the layers' backward computes again.
inline constexpr llvm::StringLiteral recomputeAttribute = "r1c.recompute";

enum class Recompute {
  /// Save all that the rules read, but what a gate gives: its derivative reads
  /// the same operands, so one pass over them yields both.
  none,
  /// Compute again what costs a pass over memory and no matrix product: a norm
  /// in the place of rows × hidden floats.
  cheap,
  /// Save nothing: the backward starts from the layer's input.
  all,
};

/// The ways, from the fastest to the one that needs the least memory.
inline constexpr llvm::StringLiteral recomputeNames[] = {"none", "cheap",
                                                         "all"};

inline std::optional<Recompute> parseRecompute(llvm::StringRef text) {
  return llvm::StringSwitch<std::optional<Recompute>>(text)
      .Case("none", Recompute::none)
      .Case("cheap", Recompute::cheap)
      .Case("all", Recompute::all)
      .Default(std::nullopt);
}

/// Whether `value`, a result of an op inside the forward function, is saved.
inline bool isSaved(mlir::Value value, Recompute recompute) {
  mlir::Operation *op = value.getDefiningOp();
  if (recompute == Recompute::all || llvm::isa<lm::SiluMulOp>(op))
    return false;
  return recompute == Recompute::none ||
         !llvm::isa<lm::RMSNormOp, lm::GatherOp>(op);
}

} // namespace r1c

#endif // R1C_COMPILER_PHASES_DIFFERENTIATE_SAVEPOLICY_H
