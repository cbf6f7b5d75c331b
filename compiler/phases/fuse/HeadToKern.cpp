//===- HeadToKern.cpp - the ops that reduce a vocabulary ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Logits are stored only where something else than these ops reads them, and
// where a backward pass follows at once (Form::stored): reading them then costs
// less than a fourth product.
//===----------------------------------------------------------------------===//

#include "compiler/phases/fuse/Formulas.h"
#include "compiler/phases/fuse/LMToKern.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::fuse;

LogicalResult Fuser::write(lm::HeadOp op) {
  explainHead(op,
              storesLogits
                  ? "reduced behind the product, and kept for the backward, "
                    "which need not multiply again"
                  : "reduced behind the product, never stored");
  LogProb of =
      logProb(b, op.getLoc(),
              {operand(op.getInput()), packed(op.getWeight(), "forward"),
               optional(op.getKept())},
              lookup(op.getTargets()), lookup(op.getTemperature()),
              storesLogits ? &logits : nullptr);
  map[op.getLogp()] = of.logp;
  map[op.getEntropy()] = of.entropy;
  map[op.getLse()] = of.lse;
  return success();
}

LogicalResult Fuser::write(lm::HeadGradOp op) {
  Location loc = op.getLoc();
  Value x = operand(op.getInput()), weight = packed(op.getWeight(), "forward");
  if (storesLogits)
    logits = extra(
        RankedTensorType::get({ShapedType::kDynamic,
                               cast<kern::PackedType>(weight.getType()).getN()},
                              b.getF32Type()),
        makeRole(context, "saved", {{role::name, "logits"}}), "logits");
  explainHead(op, storesLogits
                      ? "read as the forward pass has left them"
                      : "multiplied again; only their gradient is stored");
  Value kept = optional(op.getKept());
  Logits from = storesLogits ? Logits(logits, kept) : Logits(x, weight, kept);
  if (storesLogits)
    from.rows = contextPart("logit_rows");
  Value dLogits =
      logitsGradient(b, NameLoc::get(b.getStringAttr("logits_gradient"), loc),
                     from, lookup(op.getTargets()), lookup(op.getTemperature()),
                     optional(op.getEntropy()), lookup(op.getLse()),
                     optional(op.getLogpGradient()),
                     optional(op.getEntropyGradient()), products);
  writeProduct(loc, op.getInputGradient(), dLogits,
               packed(op.getWeight(), "backward"), Value());
  auto init = accumulator(op.getWeightGradient());
  if (failed(init))
    return failure();
  map[op.getWeightGradient()] = writeWeightGradient(b, loc, dLogits, x, *init);
  return success();
}

/// Whether an op asks for nothing but the log-probability of what was drawn
/// from the same logits.
static bool isOfDraw(lm::LogProbOp op) {
  auto sample = op.getTargets().getDefiningOp<lm::SampleOp>();
  return sample && sample.getLogits() == op.getLogits() &&
         sample.getTemperature() == op.getTemperature() &&
         sample.getKept() == op.getKept() && op.getEntropy().use_empty() &&
         op.getLse().use_empty();
}

bool Fuser::isDrawnFrom(lm::LinearOp op) {
  int64_t draws = 0;
  for (OpOperand &use : op.getResult().getUses()) {
    auto logProb = dyn_cast<lm::LogProbOp>(use.getOwner());
    if (isa<lm::SampleOp>(use.getOwner()))
      ++draws;
    else if (!logProb || !isOfDraw(logProb))
      return false;
  }
  return draws == 1 && !op.getBias();
}

LogicalResult Fuser::write(lm::LogProbOp op) {
  if (isOfDraw(op))
    return success(); // written with its lm.sample
  LogProb of =
      logProb(b, op.getLoc(), {lookup(op.getLogits()), optional(op.getKept())},
              lookup(op.getTargets()), lookup(op.getTemperature()));
  map[op.getLogp()] = of.logp;
  map[op.getEntropy()] = of.entropy;
  map[op.getLse()] = of.lse;
  return success();
}

LogicalResult Fuser::write(lm::SampleOp op) {
  auto linear = op.getLogits().getDefiningOp<lm::LinearOp>();
  bool isBehind = linear && isDrawnFrom(linear);
  explainHead(op, isBehind ? "reduced and drawn from behind the product, never "
                             "stored"
                           : "stored: what finds the kept tokens reads them "
                             "several times");
  Logits logits = isBehind
                      ? Logits(operand(linear.getInput()),
                               packed(linear.getWeight(), "forward"),
                               optional(op.getKept()))
                      : Logits(lookup(op.getLogits()), optional(op.getKept()));
  Drawn of = sample(b, op.getLoc(), logits, lookup(op.getTemperature()),
                    lookup(op.getCounter()), lookup(op.getKey()));
  map[op.getToken()] = of.token;
  for (Operation *user : op.getToken().getUsers())
    if (auto logProb = dyn_cast<lm::LogProbOp>(user);
        logProb && isOfDraw(logProb))
      map[logProb.getLogp()] = of.logp;
  return success();
}
