//===- Derivative.cpp - derivative rules of lm ops ------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A rule a forward op: what it reads, then the ops that it builds. Gradients of
// results that nothing uses (the lse of attention and head) do not exist.
//===----------------------------------------------------------------------===//

#include "dialects/lm/LM.h"

using namespace mlir;
using namespace r1c::lm;

using Gradients = SmallVector<Value>;
using Forward = llvm::function_ref<Value(Value)>;

SmallVector<Value> EmbeddingOp::getBackwardReads(ArrayRef<bool>) {
  return {getIds()};
}
Gradients EmbeddingOp::buildBackward(OpBuilder &b, ArrayRef<Value> gradients,
                                     Forward forward) {
  Value table = EmbeddingGradOp::create(b, getLoc(), getTable().getType(),
                                        gradients[0], forward(getIds()));
  return {Value(), table};
}

SmallVector<Value> GatherOp::getBackwardReads(ArrayRef<bool>) {
  return {getInput(), getRows()};
}
Gradients GatherOp::buildBackward(OpBuilder &b, ArrayRef<Value> gradients,
                                  Forward forward) {
  Value input =
      GatherGradOp::create(b, getLoc(), getInput().getType(), gradients[0],
                           forward(getRows()), forward(getInput()));
  return {input, Value()};
}

SmallVector<Value> RMSNormOp::getBackwardReads(ArrayRef<bool>) {
  return {getInput(), getWeight()};
}
Gradients RMSNormOp::buildBackward(OpBuilder &b, ArrayRef<Value> gradients,
                                   Forward forward) {
  auto grad = RMSNormGradOp::create(b, getLoc(), getInput().getType(),
                                    getWeight().getType(), gradients[0],
                                    forward(getInput()), forward(getWeight()),
                                    getEpsilonAttr(), getHeadsAttr());
  return {grad.getInputGradient(), grad.getWeightGradient()};
}

SmallVector<Value> LinearOp::getBackwardReads(ArrayRef<bool>) {
  return {getInput(), getWeight()};
}
Gradients LinearOp::buildBackward(OpBuilder &b, ArrayRef<Value> gradients,
                                  Forward forward) {
  Value g = gradients[0];
  Gradients result;
  result.push_back(LinearInputGradOp::create(b, getLoc(), getInput().getType(),
                                             g, forward(getWeight())));
  result.push_back(LinearWeightGradOp::create(
      b, getLoc(), getWeight().getType(), g, forward(getInput())));
  if (getBias())
    result.push_back(
        LinearBiasGradOp::create(b, getLoc(), getBias().getType(), g));
  return result;
}

SmallVector<Value> RopeOp::getBackwardReads(ArrayRef<bool>) {
  return {getCtx()};
}
Gradients RopeOp::buildBackward(OpBuilder &b, ArrayRef<Value> gradients,
                                Forward forward) {
  // A rotation's derivative is its transpose: the rotation back.
  Value input =
      RopeOp::create(b, getLoc(), getInput().getType(), gradients[0],
                     forward(getCtx()), getHeadsAttr(), getFrequenciesAttr(),
                     getInverse() ? UnitAttr() : b.getUnitAttr());
  return {input, Value()};
}

SmallVector<Value> AttentionOp::getBackwardReads(ArrayRef<bool>) {
  return {getQuery(), getKey(), getValue(), getCtx(), getResult(), getLse()};
}
Gradients AttentionOp::buildBackward(OpBuilder &b, ArrayRef<Value> gradients,
                                     Forward forward) {
  auto grad = AttentionGradOp::create(
      b, getLoc(), getQuery().getType(), getKey().getType(),
      getValue().getType(), gradients[0], forward(getQuery()),
      forward(getKey()), forward(getValue()), forward(getResult()),
      forward(getLse()), forward(getCtx()), getHeadsAttr(), getKvHeadsAttr(),
      getScaleAttr());
  return {grad.getQueryGradient(), grad.getKeyGradient(),
          grad.getValueGradient(), Value()};
}

SmallVector<Value> SiluMulOp::getBackwardReads(ArrayRef<bool>) {
  return {getGate(), getUp()};
}
Gradients SiluMulOp::buildBackward(OpBuilder &b, ArrayRef<Value> gradients,
                                   Forward forward) {
  auto grad =
      SiluMulGradOp::create(b, getLoc(), getGate().getType(), getUp().getType(),
                            gradients[0], forward(getGate()), forward(getUp()));
  return {grad.getGateGradient(), grad.getUpGradient()};
}

SmallVector<Value> AddOp::getBackwardReads(ArrayRef<bool>) { return {}; }
Gradients AddOp::buildBackward(OpBuilder &, ArrayRef<Value> gradients,
                               Forward) {
  return {gradients[0], gradients[0]};
}

SmallVector<Value> HeadOp::getBackwardReads(ArrayRef<bool> wanted) {
  SmallVector<Value> reads{getInput(), getWeight(), getTargets(),
                           getTemperature(), getLse()};
  if (wanted[1])
    reads.push_back(getEntropy());
  if (getKept())
    reads.push_back(getKept());
  return reads;
}
Gradients HeadOp::buildBackward(OpBuilder &b, ArrayRef<Value> gradients,
                                Forward forward) {
  auto grad = HeadGradOp::create(
      b, getLoc(), getInput().getType(), getWeight().getType(),
      forward(getInput()), forward(getWeight()), forward(getTargets()),
      forward(getTemperature()), forward(getLse()), gradients[0], gradients[1],
      gradients[1] ? forward(getEntropy()) : Value(),
      getKept() ? forward(getKept()) : Value());
  return {grad.getInputGradient(), grad.getWeightGradient(), Value(), Value(),
          Value()};
}
