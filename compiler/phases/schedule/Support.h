//===- Support.h - which tokens a sample may draw ---------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_SCHEDULE_SUPPORT_H
#define R1C_COMPILER_PHASES_SCHEDULE_SUPPORT_H

#include "dialects/rl/RL.h"

namespace r1c {

/// Whether top_p, top_k or min_p may leave tokens out: one of them is given,
/// and is not the constant that means "off" (1, 0, 0).
inline bool isFiltered(rl::SampleOp op) {
  auto on = [](mlir::Value value, double off) {
    if (!value)
      return false;
    auto constant = value.getDefiningOp<rl::ConstantOp>();
    return !constant || constant.getValue().convertToDouble() != off;
  };
  return on(op.getTopP(), 1) || on(op.getTopK(), 0) || on(op.getMinP(), 0);
}

} // namespace r1c

#endif // R1C_COMPILER_PHASES_SCHEDULE_SUPPORT_H
