//===- Interpreter.cpp - run functions of lm or kern in float64 -----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Interpreter.h"
#include "compiler/reference/Network.h"
#include "dialects/lm/LM.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::reference;

const Datum &Frame::get(Value value) const {
  auto found = data.find(value.getAsOpaquePointer());
  assert(found != data.end() && "value used before it exists");
  return found->second;
}
const Tensor &Frame::tensor(Value value) const {
  return std::get<Tensor>(get(value));
}
const Context &Frame::context(Value value) const {
  return std::get<Context>(get(value));
}
const Tensor *Frame::optional(Value value) const {
  return value ? &tensor(value) : nullptr;
}

namespace {

/// One method an op of lm: fetch the operands, call its meaning, bind results.
struct LMEvaluator {
  Frame &f;

  void operator()(lm::EmbeddingOp op) {
    f.set(op.getResult(),
          gather(f.tensor(op.getTable()), f.tensor(op.getIds())));
  }
  void operator()(lm::EmbeddingGradOp op) {
    auto type = cast<RankedTensorType>(op.getTable().getType());
    f.set(op.getTable(), scatterAdd(f.tensor(op.getGradient()),
                                    f.tensor(op.getIds()), type.getDimSize(0)));
  }
  void operator()(lm::GatherOp op) {
    f.set(op.getResult(),
          gather(f.tensor(op.getInput()), f.tensor(op.getRows())));
  }
  void operator()(lm::GatherGradOp op) {
    f.set(op.getResult(),
          scatterAdd(f.tensor(op.getGradient()), f.tensor(op.getRows()),
                     f.tensor(op.getLike()).rows()));
  }
  void operator()(lm::RMSNormOp op) {
    f.set(op.getResult(),
          rmsNorm(f.tensor(op.getInput()), f.tensor(op.getWeight()),
                  op.getEpsilon().convertToDouble(), op.getHeads()));
  }
  void operator()(lm::RMSNormGradOp op) {
    RMSNormGradient of =
        rmsNormGradient(f.tensor(op.getGradient()), f.tensor(op.getInput()),
                        f.tensor(op.getWeight()),
                        op.getEpsilon().convertToDouble(), op.getHeads());
    f.set(op.getInputGradient(), of.input);
    f.set(op.getWeightGradient(), of.weight);
  }
  void operator()(lm::LinearOp op) {
    f.set(op.getResult(),
          linear(f.tensor(op.getInput()), f.tensor(op.getWeight()),
                 f.optional(op.getBias())));
  }
  void operator()(lm::LinearInputGradOp op) {
    f.set(op.getResult(), multiply(f.tensor(op.getGradient()),
                                   f.tensor(op.getWeight()), false, false));
  }
  void operator()(lm::LinearWeightGradOp op) {
    f.set(op.getResult(), multiply(f.tensor(op.getGradient()),
                                   f.tensor(op.getInput()), true, false));
  }
  void operator()(lm::LinearBiasGradOp op) {
    f.set(op.getResult(), columnSum(f.tensor(op.getGradient())));
  }
  void operator()(lm::RopeOp op) {
    f.set(op.getResult(),
          rope(f.tensor(op.getInput()), f.context(op.getCtx()), op.getHeads(),
               op.getFrequencies(), op.getInverse()));
  }
  void operator()(lm::AttentionOp op) {
    Attention of = attention(f.tensor(op.getQuery()), f.tensor(op.getKey()),
                             f.tensor(op.getValue()), f.context(op.getCtx()),
                             op.getHeads(), op.getKvHeads(),
                             op.getScale().convertToDouble());
    f.set(op.getResult(), of.result);
    f.set(op.getLse(), of.lse);
  }
  void operator()(lm::AttentionGradOp op) {
    AttentionGradient of = attentionGradient(
        f.tensor(op.getGradient()), f.tensor(op.getQuery()),
        f.tensor(op.getKey()), f.tensor(op.getValue()),
        f.tensor(op.getResult()), f.tensor(op.getLse()), f.context(op.getCtx()),
        op.getHeads(), op.getKvHeads(), op.getScale().convertToDouble());
    f.set(op.getQueryGradient(), of.query);
    f.set(op.getKeyGradient(), of.key);
    f.set(op.getValueGradient(), of.value);
  }
  void operator()(lm::SiluMulOp op) {
    f.set(op.getResult(),
          siluMul(f.tensor(op.getGate()), f.tensor(op.getUp())));
  }
  void operator()(lm::SiluMulGradOp op) {
    SiluMulGradient of =
        siluMulGradient(f.tensor(op.getGradient()), f.tensor(op.getGate()),
                        f.tensor(op.getUp()));
    f.set(op.getGateGradient(), of.gate);
    f.set(op.getUpGradient(), of.up);
  }
  void operator()(lm::AddOp op) {
    f.set(op.getResult(), add(f.tensor(op.getLhs()), f.tensor(op.getRhs())));
  }
  void operator()(lm::HeadOp op) {
    Tensor logits =
        linear(f.tensor(op.getInput()), f.tensor(op.getWeight()), nullptr);
    set(op, logProb(logits, f.tensor(op.getTargets()),
                    f.number(op.getTemperature()), f.optional(op.getKept())));
  }
  void operator()(lm::LogProbOp op) {
    set(op, logProb(f.tensor(op.getLogits()), f.tensor(op.getTargets()),
                    f.number(op.getTemperature()), f.optional(op.getKept())));
  }
  template <typename Op>
  void set(Op op, LogProb of) {
    f.set(op.getLogp(), of.logp);
    f.set(op.getEntropy(), of.entropy);
    f.set(op.getLse(), of.lse);
  }
  void operator()(lm::HeadGradOp op) {
    const Tensor &x = f.tensor(op.getInput()), &w = f.tensor(op.getWeight());
    Tensor ofLogits = logitsGradient(
        linear(x, w, nullptr), f.tensor(op.getTargets()),
        f.number(op.getTemperature()), f.optional(op.getEntropy()),
        f.tensor(op.getLse()), f.optional(op.getLogpGradient()),
        f.optional(op.getEntropyGradient()), f.optional(op.getKept()));
    f.set(op.getInputGradient(), multiply(ofLogits, w, false, false));
    f.set(op.getWeightGradient(), multiply(ofLogits, x, true, false));
  }
  void operator()(lm::KeepOp op) {
    f.set(op.getKept(),
          keep(f.tensor(op.getLogits()), f.number(op.getTemperature()),
               f.number(op.getTopK()), f.number(op.getTopP()),
               f.number(op.getMinP())));
  }
  void operator()(lm::SampleOp op) {
    f.set(op.getToken(),
          sample(f.tensor(op.getLogits()), f.number(op.getTemperature()),
                 f.tensor(op.getCounter()), f.tensor(op.getKey()),
                 f.optional(op.getKept())));
  }
};

} // namespace

bool reference::evaluateLM(Operation *op, Frame &frame) {
  LMEvaluator evaluator{frame};
  return TypeSwitch<Operation *, bool>(op)
      .Case<lm::EmbeddingOp, lm::EmbeddingGradOp, lm::GatherOp,
            lm::GatherGradOp, lm::RMSNormOp, lm::RMSNormGradOp, lm::LinearOp,
            lm::LinearInputGradOp, lm::LinearWeightGradOp, lm::LinearBiasGradOp,
            lm::RopeOp, lm::AttentionOp, lm::AttentionGradOp, lm::SiluMulOp,
            lm::SiluMulGradOp, lm::AddOp, lm::HeadOp, lm::LogProbOp,
            lm::HeadGradOp, lm::KeepOp, lm::SampleOp>([&](auto op) {
        evaluator(op);
        return true;
      })
      .Default(false);
}

FailureOr<std::vector<Datum>>
reference::evaluate(func::FuncOp func, const std::vector<Datum> &arguments) {
  if (arguments.size() != func.getNumArguments())
    return func.emitError("is given ")
           << arguments.size() << " arguments, but has "
           << func.getNumArguments();
  Frame frame;
  for (auto [argument, datum] : llvm::zip(func.getArguments(), arguments))
    frame.set(argument, datum);
  Block &body = func.getBody().front();
  for (Operation &op : body.without_terminator())
    if (!evaluateLM(&op, frame) && !evaluateKern(&op, frame))
      return op.emitOpError("has no meaning in the interpreter");
  std::vector<Datum> results;
  for (Value value : body.getTerminator()->getOperands())
    results.push_back(frame.get(value));
  return results;
}
