//===- Cost.cpp - floating-point operations of lm ops ---------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A multiply-add counts two, an exponential or a division one. Elementwise ops
// are rough: memory traffic decides their time, not arithmetic.
//===----------------------------------------------------------------------===//

#include "dialects/lm/LM.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::lm;

static double elements(Value value, const CostShape &shape) {
  return elementCount(value.getType(), shape);
}

/// Columns of an activation or a weight.
static double columns(Value value) {
  return cast<RankedTensorType>(value.getType()).getDimSize(1);
}

double EmbeddingOp::getFlops(const CostShape &) { return 0; }
double EmbeddingGradOp::getFlops(const CostShape &shape) {
  return elements(getGradient(), shape);
}
double GatherOp::getFlops(const CostShape &) { return 0; }
double GatherGradOp::getFlops(const CostShape &) { return 0; }
double AddOp::getFlops(const CostShape &shape) {
  return elements(getResult(), shape);
}
double RMSNormOp::getFlops(const CostShape &shape) {
  return 4 * elements(getInput(), shape);
}
double RMSNormGradOp::getFlops(const CostShape &shape) {
  return 11 * elements(getInput(), shape);
}
double LinearOp::getFlops(const CostShape &shape) {
  return 2 * elements(getResult(), shape) * columns(getInput());
}
double LinearInputGradOp::getFlops(const CostShape &shape) {
  return 2 * elements(getResult(), shape) * columns(getGradient());
}
double LinearWeightGradOp::getFlops(const CostShape &shape) {
  return 2 * elements(getGradient(), shape) * columns(getInput());
}
double LinearBiasGradOp::getFlops(const CostShape &shape) {
  return elements(getGradient(), shape);
}
double RopeOp::getFlops(const CostShape &shape) {
  return 3 * elements(getInput(), shape);
}
double AttentionOp::getFlops(const CostShape &shape) {
  // Scores and weighted values: two products over the keys, and the softmax.
  return shape.keys *
         (4 * elements(getQuery(), shape) + 4 * elements(getLse(), shape));
}
double AttentionGradOp::getFlops(const CostShape &shape) {
  // Scores again, ∂L/∂p, ∂L/∂v, ∂L/∂q, ∂L/∂k: five products.
  return shape.keys *
         (10 * elements(getQuery(), shape) + 6 * elements(getLse(), shape));
}
double SiluMulOp::getFlops(const CostShape &shape) {
  return 4 * elements(getResult(), shape);
}
double SiluMulGradOp::getFlops(const CostShape &shape) {
  return 10 * elements(getGradient(), shape);
}

/// Softmax statistics of logits: scale, maximum, exponential, two sums.
static double statisticsFlops(double logits) { return 7 * logits; }

double HeadOp::getFlops(const CostShape &shape) {
  double logits = elements(getLogp(), shape) *
                  cast<RankedTensorType>(getWeight().getType()).getDimSize(0);
  return 2 * logits * columns(getInput()) + statisticsFlops(logits);
}
double HeadGradOp::getFlops(const CostShape &shape) {
  // The logits again, ∂L/∂x, ∂L/∂w: three products.
  double logits = elements(getLse(), shape) *
                  cast<RankedTensorType>(getWeight().getType()).getDimSize(0);
  return 6 * logits * columns(getInput()) + 8 * logits;
}
double LogProbOp::getFlops(const CostShape &shape) {
  return statisticsFlops(elements(getLogits(), shape));
}
double KeepOp::getFlops(const CostShape &shape) {
  // The softmax, and two searches of thirty passes with a comparison and a sum.
  return (5 + 4 * 30) * elements(getLogits(), shape);
}
double SampleOp::getFlops(const CostShape &shape) {
  // A quarter of ten rounds of Philox, two logarithms, a division and the
  // maximum.
  return 30 * elements(getLogits(), shape);
}
