//===- HuggingFace.cpp - a Hugging Face model directory as a policy -------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/hf/HuggingFace.h"
#include "dialects/rl/RL.h"
#include "frontends/json/Json.h"
#include "mlir/IR/Builders.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <cmath>

using namespace mlir;
using namespace r1c;

namespace json = llvm::json;

namespace {

using EmitError = llvm::function_ref<InFlightDiagnostic()>;

/// Reads config.json field by field; the first one that cannot be used is
/// reported.
class ConfigReader {
public:
  ConfigReader(MLIRContext *context, const json::Object &config,
               EmitError emitError)
      : b(context), config(config), emitError(emitError) {}

  FailureOr<DictionaryAttr> run();

private:
  LogicalResult kind();
  LogicalResult sizes();
  LogicalResult rope();
  LogicalResult refuseVariants();

  LogicalResult fail(const Twine &message) { return emitError() << message; }

  /// A whole number above 0; `fallback` 0: it must be there.
  LogicalResult size(StringRef field, StringRef key, int64_t fallback = 0);
  LogicalResult number(const json::Object &from, StringRef field, StringRef key,
                       std::optional<double> fallback);
  bool flag(StringRef field, bool fallback) {
    return config.getBoolean(field).value_or(fallback);
  }
  /// Whether the field is there and not null.
  bool has(const json::Object &from, StringRef field) {
    const json::Value *value = from.get(field);
    return value && value->kind() != json::Value::Null;
  }

  Builder b;
  const json::Object &config;
  EmitError emitError;
  std::string type;
  NamedAttrList sizesRead;
};

} // namespace

LogicalResult ConfigReader::size(StringRef field, StringRef key,
                                 int64_t fallback) {
  int64_t value = fallback;
  if (has(config, field)) {
    auto given = config.getInteger(field);
    if (!given || *given < 1 || *given > INT32_MAX)
      return fail("'" + field + "' must be a whole number above 0");
    value = *given;
  } else if (!fallback) {
    return fail("has no '" + field + "'");
  }
  sizesRead.set(key, b.getI64IntegerAttr(value));
  return success();
}

LogicalResult ConfigReader::number(const json::Object &from, StringRef field,
                                   StringRef key,
                                   std::optional<double> fallback) {
  std::optional<double> value = fallback;
  if (has(from, field)) {
    value = from.getNumber(field);
    if (!value || !(*value > 0) || !std::isfinite(*value))
      return fail("'" + field + "' must be a number above 0");
  }
  if (!value)
    return fail("has no '" + field + "'");
  sizesRead.set(key, b.getF64FloatAttr(*value));
  return success();
}

LogicalResult ConfigReader::kind() {
  if (auto given = config.getString("model_type"))
    type = given->str();
  if (type.empty())
    return fail("has no 'model_type': it is not the configuration of a model");
  if (!llvm::is_contained({"llama", "qwen2", "qwen3"}, type))
    return fail("a model of type '" + type +
                "' is not supported yet; there are llama, qwen2, qwen3");
  return success();
}

LogicalResult ConfigReader::sizes() {
  if (failed(size("hidden_size", "hidden")) ||
      failed(size("num_attention_heads", "heads")) ||
      failed(size("num_hidden_layers", "layers")) ||
      failed(size("intermediate_size", "intermediate")) ||
      failed(size("vocab_size", "vocabulary")) ||
      failed(size("max_position_embeddings", "positions")))
    return failure();
  auto known = [&](StringRef key) {
    return cast<IntegerAttr>(sizesRead.get(key)).getInt();
  };
  if (failed(size("num_key_value_heads", "kv_heads", known("heads"))) ||
      failed(number(config, "rms_norm_eps", "norm_epsilon", 1e-6)))
    return failure();
  // Qwen3 names its own default; elsewhere the heads share the hidden columns.
  int64_t width = type == "qwen3" ? 128 : known("hidden") / known("heads");
  if (!has(config, "head_dim") && type != "qwen3" &&
      known("hidden") % known("heads"))
    return fail("'hidden_size' is no multiple of 'num_attention_heads', and "
                "there is no 'head_dim'");
  if (failed(size("head_dim", "head_dim", width)))
    return failure();
  sizesRead.set("tied", b.getBoolAttr(flag("tie_word_embeddings", false)));
  sizesRead.set("qkv_bias", b.getBoolAttr(type == "qwen2"));
  sizesRead.set("qk_norm", b.getBoolAttr(type == "qwen3"));
  return success();
}

LogicalResult ConfigReader::rope() {
  // Newer files keep everything about rotary embeddings in one place.
  static const json::Object none;
  const json::Object *scaling = nullptr;
  for (StringRef field : {"rope_parameters", "rope_scaling"})
    if (const json::Object *found = config.getObject(field); found && !scaling)
      scaling = found;
  if (!scaling)
    scaling = &none;
  if (failed(number(has(*scaling, "rope_theta") ? *scaling : config,
                    "rope_theta", "rope_theta", 10000)))
    return failure();
  StringRef kind = "default";
  for (StringRef field : {"rope_type", "type"})
    if (auto given = scaling->getString(field))
      kind = *given;
  if (kind == "default")
    return success();
  if (kind == "linear")
    return number(*scaling, "factor", "rope_factor", std::nullopt);
  if (kind == "llama3") {
    if (failed(number(*scaling, "factor", "rope_factor", std::nullopt)) ||
        failed(number(*scaling, "low_freq_factor", "rope_low", std::nullopt)) ||
        failed(
            number(*scaling, "high_freq_factor", "rope_high", std::nullopt)) ||
        failed(number(*scaling, "original_max_position_embeddings",
                      "rope_original", std::nullopt)))
      return failure();
    return success();
  }
  return fail("rotary embeddings of kind '" + kind +
              "' are not supported yet; there are default, linear, llama3");
}

/// What the three families can have besides, and this compiler does not build:
/// running such a model without it would be silently wrong.
LogicalResult ConfigReader::refuseVariants() {
  struct Variant {
    const char *field;
    bool otherwise, wanted;
  };
  for (Variant variant : {Variant{"attention_bias", false, false},
                          {"mlp_bias", false, false},
                          {"use_sliding_window", false, false},
                          {"rope_interleaved", false, false}})
    if (flag(variant.field, variant.otherwise) != variant.wanted)
      return fail(Twine("'") + variant.field + "' is not supported yet");
  if (has(config, "quantization_config"))
    return fail("quantized weights ('quantization_config') are not supported: "
                "give a directory with bfloat16 or float32 weights");
  if (auto act = config.getString("hidden_act"); act && *act != "silu")
    return fail("'hidden_act' = '" + *act +
                "' is not supported yet; there is silu");
  if (auto share = config.getNumber("partial_rotary_factor");
      share && *share != 1)
    return fail("'partial_rotary_factor' is not supported yet");
  return success();
}

FailureOr<DictionaryAttr> ConfigReader::run() {
  if (failed(kind()) || failed(refuseVariants()) || failed(sizes()) ||
      failed(rope()))
    return failure();
  // The type that the model was trained and published in.
  for (StringRef field : {"dtype", "torch_dtype"})
    if (auto dtype = config.getString(field))
      sizesRead.set("bf16",
                    b.getBoolAttr(*dtype == "bfloat16" || *dtype == "float16"));
  return sizesRead.getDictionary(b.getContext());
}

FailureOr<DictionaryAttr> hf::readConfig(MLIRContext *context, StringRef text,
                                         EmitError emitError) {
  auto parsed = parseJson(text);
  if (!parsed)
    return emitError() << "is not JSON: " << llvm::toString(parsed.takeError());
  const json::Object *config = parsed->getAsObject();
  if (!config)
    return emitError() << "is not a JSON object";
  return ConfigReader(context, *config, emitError).run();
}

/// DIR/config.json below `base` or from the working directory; empty if it is
/// in neither.
static std::string findConfig(StringRef directory, StringRef base) {
  SmallString<256> beside(base), plain(directory);
  llvm::sys::path::append(beside, directory, "config.json");
  llvm::sys::path::append(plain, "config.json");
  if (llvm::sys::path::is_relative(directory) && llvm::sys::fs::exists(beside))
    return beside.str().str();
  return llvm::sys::fs::exists(plain) ? plain.str().str() : std::string();
}

/// Tokens of a sequence that the program can meet, if prompts have up to
/// `promptRoom` of them: memory is laid out for as many, and models say only
/// how many they could at most take.
static constexpr int64_t promptRoom = 1024;
static int64_t longestSequence(ModuleOp module) {
  int64_t longest = promptRoom;
  module.walk([&](Operation *op) {
    if (auto sample = dyn_cast<rl::SampleOp>(op))
      longest =
          std::max(longest, promptRoom + int64_t(sample.getMaxTokenCount()));
    if (auto read = dyn_cast<rl::ReadOp>(op))
      longest = std::max(longest,
                         int64_t(read.getMaxTokenCount().value_or(INT32_MAX)));
  });
  return longest;
}

static LogicalResult readPolicy(rl::PolicyOp policy, StringRef base,
                                int64_t longest) {
  DictionaryAttr init = policy.getInit();
  StringRef directory = init.getAs<StringAttr>("path").getValue();
  std::string path = findConfig(directory, base);
  if (path.empty()) {
    SmallString<256> beside(base.empty() ? "." : base);
    llvm::sys::path::append(beside, directory);
    return policy.emitError("no model directory '")
           << directory << "': there is no config.json in it, neither in "
           << beside << " nor below the working directory";
  }
  auto emitError = [&] { return policy.emitError() << path << ": "; };
  auto text = llvm::MemoryBuffer::getFile(path);
  if (!text)
    return emitError() << "cannot read: " << text.getError().message();
  FailureOr<DictionaryAttr> sizes =
      hf::readConfig(policy.getContext(), (*text)->getBuffer(), emitError);
  if (failed(sizes))
    return failure();

  Builder b(policy.getContext());
  NamedAttrList fields(*sizes);
  int64_t positions = cast<IntegerAttr>(fields.get("positions")).getInt();
  fields.set("context", b.getI64IntegerAttr(std::min(positions, longest)));
  for (NamedAttribute given : init)
    fields.set(given.getName(), given.getValue());
  if (int64_t asked = cast<IntegerAttr>(fields.get("context")).getInt();
      asked > positions)
    return policy.emitError("context = ")
           << asked << " is more than the " << positions
           << " positions of the model ('max_position_embeddings' in " << path
           << ")";
  fields.set("tokenizer",
             b.getDictionaryAttr(
                 {b.getNamedAttr("kind", b.getStringAttr("huggingface")),
                  b.getNamedAttr("path", init.get("path"))}));
  policy.setInitAttr(fields.getDictionary(b.getContext()));
  return success();
}

/// Where the step file gave no context, only now is known what fits into it.
static LogicalResult checkSamples(ModuleOp module) {
  auto walked = module.walk([&](rl::SampleOp sample) {
    auto policy = module.lookupSymbol<rl::PolicyOp>(sample.getPolicy());
    // A copy has the shape of what it was copied from.
    while (auto of = policy.getInit().getAs<FlatSymbolRefAttr>("of"))
      policy = module.lookupSymbol<rl::PolicyOp>(of.getValue());
    auto context = policy.getInit().getAs<IntegerAttr>("context");
    int64_t tokens = sample.getMaxTokenCount();
    if (!context || tokens <= context.getInt())
      return WalkResult::advance();
    sample.emitError("'max_new_tokens' is ")
        << tokens << ", but '" << sample.getPolicy() << "' has a context of "
        << context.getInt() << ", the prompt included: write fewer tokens";
    return WalkResult::interrupt();
  });
  return failure(walked.wasInterrupted());
}

LogicalResult hf::readPolicies(ModuleOp module, StringRef base) {
  int64_t longest = longestSequence(module);
  for (auto policy : module.getOps<rl::PolicyOp>())
    if (policy.getInit().getAs<StringAttr>("kind") == "load" &&
        failed(readPolicy(policy, base, longest)))
      return failure();
  return checkSamples(module);
}
