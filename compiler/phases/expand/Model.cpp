//===- Model.cpp - a policy as functions of lm ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/expand/Model.h"
#include "compiler/phases/expand/FunctionWriter.h"

using namespace mlir;
using namespace r1c;

namespace {

class Expander {
public:
  Expander(ModuleOp module, StringRef name, const ModelConfig &config,
           Location loc)
      : module(module), name(name), config(config), loc(loc),
        b(module.getContext()) {}

  lm::ModelOp run();

private:
  // Types.
  RankedTensorType rows(int64_t columns) {
    return RankedTensorType::get({ShapedType::kDynamic, columns},
                                 b.getF32Type());
  }
  RankedTensorType perRow(Type element) {
    return RankedTensorType::get({ShapedType::kDynamic}, element);
  }
  RankedTensorType flags() {
    return RankedTensorType::get({ShapedType::kDynamic, config.vocabulary},
                                 b.getI1Type());
  }
  RankedTensorType vector(int64_t n) {
    return RankedTensorType::get({n}, b.getF32Type());
  }
  RankedTensorType matrix(int64_t out, int64_t in) {
    return RankedTensorType::get({out, in}, b.getF32Type());
  }

  // Parameters.
  void weight(StringRef parameter, RankedTensorType type);
  void norm(StringRef parameter, int64_t size);
  void bias(StringRef parameter, int64_t size);
  void declare(StringRef parameter, RankedTensorType type, lm::InitKind kind,
               double value, bool decay);

  // Functions.
  Location named(StringRef value) {
    return NameLoc::get(b.getStringAttr(value), loc);
  }
  Value argument(FunctionWriter &f, Type type, StringRef role) {
    return f.argument(type, makeRole(b.getContext(), role), named(role));
  }
  Value parameter(FunctionWriter &f, StringRef parameter);
  void result(FunctionWriter &f, Value value, StringRef role) {
    f.result(value, makeRole(b.getContext(), role));
  }
  Value rmsNorm(FunctionWriter &f, Value x, StringRef parameter,
                int64_t heads = 1);
  Value linear(FunctionWriter &f, Value x, StringRef layer, bool bias = false);
  void embed();
  void layer();
  /// `filtered`: over the kept set of each row.
  void head(bool filtered);
  void logits();
  /// `filtered`: with top_k, top_p and min_p; gives the kept sets.
  void sample(bool filtered);
  /// The final norm of the rows that need logits.
  Value headRows(FunctionWriter &f, Value x, Value rowNumbers);
  StringRef headWeight() {
    return config.tied ? "model.embed_tokens.weight" : "lm_head.weight";
  }

  ModuleOp module;
  StringRef name;
  const ModelConfig &config;
  Location loc;
  OpBuilder b;
  lm::ModelOp model;
};

} // namespace

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

void Expander::declare(StringRef parameter, RankedTensorType type,
                       lm::InitKind kind, double value, bool decay) {
  IntegerAttr layers = parameter.contains("{}")
                           ? b.getI64IntegerAttr(config.layers)
                           : IntegerAttr();
  lm::ParameterOp::create(
      b, loc, b.getStringAttr(parameter), TypeAttr::get(type), layers,
      lm::InitKindAttr::get(b.getContext(), kind), b.getF64FloatAttr(value),
      decay ? b.getUnitAttr() : UnitAttr());
}

void Expander::weight(StringRef parameter, RankedTensorType type) {
  declare(parameter, type, lm::InitKind::normal, config.initStd, true);
}
void Expander::norm(StringRef parameter, int64_t size) {
  declare(parameter, vector(size), lm::InitKind::constant, 1, false);
}
void Expander::bias(StringRef parameter, int64_t size) {
  declare(parameter, vector(size), lm::InitKind::constant, 0, false);
}

lm::ModelOp Expander::run() {
  b.setInsertionPointToEnd(module.getBody());
  model = lm::ModelOp::create(b, loc, b.getStringAttr(name),
                              config.toDictionary(b.getContext()));
  b.setInsertionPointToEnd(&model.getBody().emplaceBlock());

  int64_t hidden = config.hidden, wide = config.intermediate;
  int64_t q = config.heads * config.headDim,
          kv = config.kvHeads * config.headDim;
  const std::string prefix = "model.layers.{}.";
  weight("model.embed_tokens.weight", matrix(config.vocabulary, hidden));
  norm(prefix + "input_layernorm.weight", hidden);
  weight(prefix + "self_attn.q_proj.weight", matrix(q, hidden));
  weight(prefix + "self_attn.k_proj.weight", matrix(kv, hidden));
  weight(prefix + "self_attn.v_proj.weight", matrix(kv, hidden));
  if (config.qkvBias) {
    bias(prefix + "self_attn.q_proj.bias", q);
    bias(prefix + "self_attn.k_proj.bias", kv);
    bias(prefix + "self_attn.v_proj.bias", kv);
  }
  if (config.qkNorm) {
    norm(prefix + "self_attn.q_norm.weight", config.headDim);
    norm(prefix + "self_attn.k_norm.weight", config.headDim);
  }
  weight(prefix + "self_attn.o_proj.weight", matrix(hidden, q));
  norm(prefix + "post_attention_layernorm.weight", hidden);
  weight(prefix + "mlp.gate_proj.weight", matrix(wide, hidden));
  weight(prefix + "mlp.up_proj.weight", matrix(wide, hidden));
  weight(prefix + "mlp.down_proj.weight", matrix(hidden, wide));
  norm("model.norm.weight", hidden);
  if (!config.tied)
    weight("lm_head.weight", matrix(config.vocabulary, hidden));

  embed();
  layer();
  head(/*filtered=*/false);
  head(/*filtered=*/true);
  logits();
  sample(/*filtered=*/false);
  sample(/*filtered=*/true);
  return model;
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

Value Expander::parameter(FunctionWriter &f, StringRef parameter) {
  lm::ParameterOp op = model.getParameter(parameter);
  return f.argument(
      op.getType(),
      makeRole(b.getContext(), "parameter", {{role::parameter, parameter}}),
      named(parameter));
}

Value Expander::rmsNorm(FunctionWriter &f, Value x, StringRef layer,
                        int64_t heads) {
  Value w = parameter(f, (layer + ".weight").str());
  return lm::RMSNormOp::create(
      f.builder(), named(layer.rsplit('.').second), x.getType(), x, w,
      b.getF64FloatAttr(config.normEpsilon), b.getI64IntegerAttr(heads));
}

Value Expander::linear(FunctionWriter &f, Value x, StringRef layer,
                       bool hasBias) {
  Value w = parameter(f, (layer + ".weight").str());
  Value bias = hasBias ? parameter(f, (layer + ".bias").str()) : Value();
  int64_t out = cast<RankedTensorType>(w.getType()).getDimSize(0);
  return lm::LinearOp::create(f.builder(), named(layer.rsplit('.').second),
                              rows(out), x, w, bias);
}

void Expander::embed() {
  FunctionWriter f(module, loc, name, "embed");
  Value ids = argument(f, perRow(b.getI32Type()), "tokens");
  Value table = parameter(f, "model.embed_tokens.weight");
  result(f,
         lm::EmbeddingOp::create(f.builder(), named("embedding"),
                                 rows(config.hidden), ids, table),
         "activation");
  f.finish();
}

void Expander::layer() {
  const std::string prefix = "model.layers.{}.";
  const std::string attention = prefix + "self_attn.";
  FunctionWriter f(module, loc, name, "layer");
  OpBuilder &fb = f.builder();
  Value x = argument(f, rows(config.hidden), "activation");
  Value context = argument(f, lm::ContextType::get(b.getContext()), "context");
  auto rope = [&](Value value, int64_t heads, StringRef name) -> Value {
    return lm::RopeOp::create(fb, named(name), value.getType(), value, context,
                              b.getI64IntegerAttr(heads),
                              b.getDenseF64ArrayAttr(config.ropeFrequencies()),
                              UnitAttr());
  };

  Value normed = rmsNorm(f, x, prefix + "input_layernorm");
  Value q = linear(f, normed, attention + "q_proj", config.qkvBias);
  Value k = linear(f, normed, attention + "k_proj", config.qkvBias);
  Value v = linear(f, normed, attention + "v_proj", config.qkvBias);
  if (config.qkNorm) {
    q = rmsNorm(f, q, attention + "q_norm", config.heads);
    k = rmsNorm(f, k, attention + "k_norm", config.kvHeads);
  }
  q = rope(q, config.heads, "query");
  k = rope(k, config.kvHeads, "key");
  auto attended = lm::AttentionOp::create(
      fb, named("attention"), q.getType(), rows(config.heads), q, k, v, context,
      b.getI64IntegerAttr(config.heads), b.getI64IntegerAttr(config.kvHeads),
      b.getF64FloatAttr(1.0 / std::sqrt(double(config.headDim))));
  Value projected = linear(f, attended.getResult(), attention + "o_proj");
  x = lm::AddOp::create(fb, named("attention_residual"), x, projected);

  normed = rmsNorm(f, x, prefix + "post_attention_layernorm");
  Value gate = linear(f, normed, prefix + "mlp.gate_proj");
  Value up = linear(f, normed, prefix + "mlp.up_proj");
  Value gated = lm::SiluMulOp::create(fb, named("gated"), gate, up);
  Value down = linear(f, gated, prefix + "mlp.down_proj");
  result(f, lm::AddOp::create(fb, named("residual"), x, down), "activation");
  f.finish();
}

Value Expander::headRows(FunctionWriter &f, Value x, Value rowNumbers) {
  Value gathered = lm::GatherOp::create(f.builder(), named("head_rows"),
                                        rows(config.hidden), x, rowNumbers);
  return rmsNorm(f, gathered, "model.norm");
}

void Expander::head(bool filtered) {
  FunctionWriter f(module, loc, name, filtered ? "head.filtered" : "head");
  Value x = argument(f, rows(config.hidden), "activation");
  Value rowNumbers = argument(f, perRow(b.getI32Type()), "rows");
  Value targets = argument(f, perRow(b.getI32Type()), "targets");
  Value temperature =
      argument(f, RankedTensorType::get({}, b.getF32Type()), "temperature");
  Value kept = filtered ? argument(f, flags(), "kept") : Value();
  Value normed = headRows(f, x, rowNumbers);
  Value w = parameter(f, headWeight());
  Type perToken = perRow(b.getF32Type());
  auto op = lm::HeadOp::create(f.builder(), named("head"), perToken, perToken,
                               perToken, normed, w, targets, temperature, kept);
  result(f, op.getLogp(), "logp");
  result(f, op.getEntropy(), "entropy");
  result(f, op.getLse(), "lse");
  f.finish();
}

void Expander::logits() {
  FunctionWriter f(module, loc, name, "logits");
  Value x = argument(f, rows(config.hidden), "activation");
  Value rowNumbers = argument(f, perRow(b.getI32Type()), "rows");
  Value normed = headRows(f, x, rowNumbers);
  Value w = parameter(f, headWeight());
  result(f,
         lm::LinearOp::create(f.builder(), named("logits"),
                              rows(config.vocabulary), normed, w, Value()),
         "logits");
  f.finish();
}

void Expander::sample(bool filtered) {
  FunctionWriter f(module, loc, name, filtered ? "sample.filtered" : "sample");
  OpBuilder &fb = f.builder();
  Type i32 = b.getI32Type(), number = RankedTensorType::get({}, b.getF32Type());
  Value x = argument(f, rows(config.hidden), "activation");
  Value rowNumbers = argument(f, perRow(i32), "rows");
  Value temperature = argument(f, number, "temperature");
  Value topK, topP, minP;
  if (filtered) {
    topK = argument(f, number, "top_k");
    topP = argument(f, number, "top_p");
    minP = argument(f, number, "min_p");
  }
  Value counter = argument(
      f, RankedTensorType::get({ShapedType::kDynamic, 4}, i32), "counter");
  Value key = argument(f, RankedTensorType::get({2}, i32), "key");
  Value normed = headRows(f, x, rowNumbers);
  Value w = parameter(f, headWeight());
  Value logits = lm::LinearOp::create(
      fb, named("logits"), rows(config.vocabulary), normed, w, Value());
  Value kept;
  if (filtered)
    kept = lm::KeepOp::create(fb, named("kept"), flags(), logits, temperature,
                              topK, topP, minP);
  Value token = lm::SampleOp::create(fb, named("token"), perRow(i32), logits,
                                     temperature, counter, key, kept);
  // The log-probability is recorded by the op that training uses, on the same
  // logits and kept sets: that they agree bit for bit rests on it.
  Type perToken = perRow(b.getF32Type());
  auto logp = lm::LogProbOp::create(fb, named("logp"), perToken, perToken,
                                    perToken, logits, token, temperature, kept);
  result(f, token, "token");
  result(f, logp.getLogp(), "logp");
  if (filtered)
    result(f, kept, "kept");
  f.finish();
}

lm::ModelOp r1c::expandModel(ModuleOp module, StringRef name,
                             const ModelConfig &config, Location loc) {
  return Expander(module, name, config, loc).run();
}
