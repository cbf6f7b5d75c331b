//===- Differences.h - a loss's gradient by finite differences --*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_REFERENCE_DIFFERENCES_H
#define R1C_COMPILER_REFERENCE_DIFFERENCES_H

#include "compiler/reference/GeneratedRound.h"

namespace r1c::reference {

/// How far the gradient that rl-differentiate built is from central differences
/// of the interpreter's loss.
struct DifferencesResult {
  int64_t points = 0;
  /// Points where differences say nothing more exact than the bound: at a kink
  /// of min, max, clip or abs, where the gradient need only lie between the
  /// slopes of both sides, or where the loss bends too much within a step.
  int64_t leftOut = 0;
  double absolute = 0;
  /// By the size of the gradient and of the loss, at least 1: what central
  /// differences can resolve.
  double scale = 1;
};

/// Compares every element. Central differences err by h² times the third
/// derivative, about 1e-10 here, and by the rounding of the loss over h, about
/// 1e-11. What has no gradient by the language (stop, quantile, comparisons) is
/// held at its value meanwhile.
constexpr double differencesBound = 1e-8;

/// `seeds`: the built gradient with respect to `input`; null where the loss
/// does not read it.
DifferencesResult compareWithDifferences(Loss &loss,
                                         const GeneratedRound &round,
                                         mlir::Value seeds,
                                         std::vector<double> Point::*input);

} // namespace r1c::reference

#endif // R1C_COMPILER_REFERENCE_DIFFERENCES_H
