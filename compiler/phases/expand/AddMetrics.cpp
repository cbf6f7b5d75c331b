//===- AddMetrics.cpp - the metrics that every run has --------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/Passes.h"
#include "dialects/rl/RL.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

namespace r1c {
#define GEN_PASS_DEF_ADDMETRICSPASS
#include "compiler/phases/Passes.h.inc"
} // namespace r1c

using namespace mlir;
using namespace r1c;
using rl::Axis;

namespace {

Value reduceToOne(OpBuilder &b, Location loc, rl::ReduceKind kind, Value x,
                  rl::Domain domain) {
  return rl::ReduceOp::create(
      b, loc, rl::NumType::get(b.getContext(), Axis::one), kind, x,
      rl::DomainAttr::get(b.getContext(), domain), Value(), Value());
}

/// Whether the set says with which log-probability its tokens were chosen.
bool hasRecordedLogprob(Value outputs) {
  Operation *source = outputs.getDefiningOp();
  if (!source || isa<rl::SampleOp>(source))
    return source != nullptr;
  auto read = dyn_cast<rl::ReadOp>(source);
  if (!read)
    return false;
  return llvm::all_of(read.getData(), [&](Attribute name) {
    auto data = SymbolTable::lookupNearestSymbolFrom<rl::DataOp>(
        read, cast<FlatSymbolRefAttr>(name));
    return data && data.getInfo().get("logp");
  });
}

/// The mean entropy of the updated policy's tokens, where the loss computes
/// entropies and the step file has no metric of that name.
void addEntropyMetric(rl::UpdateOp update) {
  bool hasOwn = false;
  update->getParentOfType<rl::StageOp>().walk(
      [&](rl::MetricOp metric) { hasOwn |= metric.getName() == "entropy"; });
  if (hasOwn)
    return;
  for (auto entropy : update.getBody().getOps<rl::EntropyOp>()) {
    if (entropy.getPolicy() != update.getPolicy())
      continue;
    OpBuilder b(entropy->getContext());
    b.setInsertionPointAfter(entropy);
    Location loc = entropy.getLoc();
    rl::MetricOp::create(b, loc, "entropy",
                         reduceToOne(b, loc, rl::ReduceKind::mean,
                                     entropy.getResult(), rl::Domain::batch));
    return;
  }
}

/// loss, and max |exp(l - recorded l) - 1| over the tokens of the update: how
/// far the policy has moved from the one that sampled, never folded away.
void addUpdateMetrics(rl::UpdateOp update) {
  addEntropyMetric(update);
  for (auto gradient :
       llvm::make_early_inc_range(update.getBody().getOps<rl::GradientOp>())) {
    OpBuilder b(gradient);
    rl::MetricOp::create(b, gradient.getLoc(), "loss", gradient.getLoss());
  }
  if (!hasRecordedLogprob(update.getOutputs()))
    return;
  for (auto logprob : update.getBody().getOps<rl::LogprobOp>()) {
    if (logprob.getPolicy() != update.getPolicy())
      continue;
    OpBuilder b(logprob->getContext());
    b.setInsertionPointAfter(logprob);
    Location loc = logprob.getLoc();
    Type type = logprob.getResult().getType();
    Value recorded =
        rl::FieldOp::create(b, loc, type, logprob.getOutputs(), "logp");
    auto map = rl::MapOp::create(b, loc, type,
                                 ValueRange{logprob.getResult(), recorded});
    {
      OpBuilder::InsertionGuard guard(b);
      Type f64 = b.getF64Type();
      Block *body = b.createBlock(&map.getBody(), {}, {f64, f64}, {loc, loc});
      Value d = arith::SubFOp::create(b, loc, body->getArgument(0),
                                      body->getArgument(1));
      Value ratio = math::ExpOp::create(b, loc, d);
      Value one = arith::ConstantOp::create(b, loc, b.getF64FloatAttr(1));
      Value off = arith::SubFOp::create(b, loc, ratio, one);
      rl::YieldOp::create(b, loc, math::AbsFOp::create(b, loc, off));
    }
    rl::MetricOp::create(b, loc, "ratio/max_deviation",
                         reduceToOne(b, loc, rl::ReduceKind::max,
                                     map.getResult(), rl::Domain::batch));
    return;
  }
}

/// The reward of a stage is what is compared inside a group: the first
/// per-sequence value that a group reduction takes, in the order of the text.
/// Without one, the last per-sequence number that comes from the outputs'
/// texts.
Value findReward(rl::StageOp stage) {
  Value reward, fromText;
  DenseSet<Value> textual;
  for (Operation &op : stage.getBody().front()) {
    auto onSequences = [](Value v) {
      auto num = dyn_cast<rl::NumType>(v.getType());
      return num && num.getAxis() == Axis::sequence;
    };
    if (auto reduce = dyn_cast<rl::ReduceOp>(op)) {
      auto to = dyn_cast<rl::NumType>(reduce.getResult().getType());
      if (!reward && to && to.getAxis() == Axis::group &&
          onSequences(reduce.getValue()))
        reward = reduce.getValue();
      continue;
    }
    bool isTextual =
        isa<rl::TextOp, rl::CallOp>(op) ||
        (isa<rl::MapOp>(op) && llvm::any_of(op.getOperands(), [&](Value v) {
           return textual.contains(v);
         }));
    if (!isTextual || op.getNumResults() != 1)
      continue;
    textual.insert(op.getResult(0));
    if (onSequences(op.getResult(0)))
      fromText = op.getResult(0);
  }
  return reward ? reward : fromText;
}

void addRewardMetrics(rl::StageOp stage) {
  Value reward = findReward(stage);
  if (!reward)
    return;
  OpBuilder b(stage.getContext());
  b.setInsertionPointAfterValue(reward);
  Location loc = reward.getLoc();
  for (auto [name, kind] : {std::pair("reward/mean", rl::ReduceKind::mean),
                            std::pair("reward/std", rl::ReduceKind::std)})
    rl::MetricOp::create(
        b, loc, name, reduceToOne(b, loc, kind, reward, rl::Domain::rollout));
}

class AddMetricsPass : public r1c::impl::AddMetricsPassBase<AddMetricsPass> {
  void runOnOperation() override {
    for (auto stage : getOperation().getOps<rl::StageOp>()) {
      addRewardMetrics(stage);
      stage.walk([](rl::UpdateOp update) { addUpdateMetrics(update); });
    }
  }
};

} // namespace
