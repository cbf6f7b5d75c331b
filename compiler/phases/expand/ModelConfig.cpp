//===- ModelConfig.cpp - the sizes of a policy ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/expand/ModelConfig.h"
#include "mlir/IR/Builders.h"

#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace r1c;

namespace {

/// One key of the dictionary and the field that it sets: the one list that
/// reading, writing and the error for an unknown key go by.
struct Key {
  StringRef name;
  int64_t ModelConfig::*integer = nullptr;
  double ModelConfig::*number = nullptr;
  bool ModelConfig::*flag = nullptr;
  bool required = false;
};

} // namespace

static Key size(StringRef name, int64_t ModelConfig::*field, bool required) {
  return {name, field, nullptr, nullptr, required};
}
static Key number(StringRef name, double ModelConfig::*field) {
  return {name, nullptr, field, nullptr, false};
}
static Key flag(StringRef name, bool ModelConfig::*field) {
  return {name, nullptr, nullptr, field, false};
}

static ArrayRef<Key> keys() {
  static const Key all[] = {
      size("layers", &ModelConfig::layers, true),
      size("hidden", &ModelConfig::hidden, true),
      size("heads", &ModelConfig::heads, true),
      size("kv_heads", &ModelConfig::kvHeads, false),
      size("head_dim", &ModelConfig::headDim, false),
      size("intermediate", &ModelConfig::intermediate, true),
      size("vocabulary", &ModelConfig::vocabulary, true),
      size("context", &ModelConfig::context, true),
      size("positions", &ModelConfig::positions, false),
      number("rope_theta", &ModelConfig::ropeTheta),
      number("rope_factor", &ModelConfig::ropeFactor),
      number("rope_low", &ModelConfig::ropeLow),
      number("rope_high", &ModelConfig::ropeHigh),
      number("rope_original", &ModelConfig::ropeOriginal),
      number("norm_epsilon", &ModelConfig::normEpsilon),
      number("init", &ModelConfig::initStd),
      flag("tied", &ModelConfig::tied),
      flag("qkv_bias", &ModelConfig::qkvBias),
      flag("qk_norm", &ModelConfig::qkNorm),
      flag("bf16", &ModelConfig::bf16),
  };
  return all;
}

/// Sets the field of `key`; false if the attribute has another type.
static bool assign(ModelConfig &config, const Key &key, Attribute value) {
  auto integer = dyn_cast<IntegerAttr>(value);
  bool isFlag = integer && integer.getType().isInteger(1);
  if (key.flag && isFlag) {
    config.*key.flag = integer.getValue().getBoolValue();
    return true;
  }
  if (isFlag || key.flag)
    return false;
  if (key.integer && integer) {
    config.*key.integer = integer.getInt();
    return true;
  }
  if (!key.number)
    return false;
  if (integer)
    config.*key.number = integer.getInt();
  else if (auto real = dyn_cast<FloatAttr>(value))
    config.*key.number = real.getValueAsDouble();
  else
    return false;
  return true;
}

FailureOr<ModelConfig>
ModelConfig::parse(DictionaryAttr dictionary,
                   function_ref<InFlightDiagnostic()> emitError) {
  ModelConfig config;
  for (NamedAttribute entry : dictionary) {
    StringRef name = entry.getName();
    if (llvm::is_contained({"kind", "tokenizer", "path", "head"}, name))
      continue;
    const Key *key = llvm::find_if(
        keys(), [&](const Key &candidate) { return candidate.name == name; });
    if (key == keys().end()) {
      auto error = emitError() << "no size of a policy is called '" << name
                               << "'; there are ";
      llvm::interleaveComma(keys(), error,
                            [&](const Key &key) { error << key.name; });
      return failure();
    }
    if (!assign(config, *key, entry.getValue()))
      return emitError() << "'" << name << "' of a policy must be a "
                         << (key->flag      ? "flag"
                             : key->integer ? "whole number"
                                            : "number")
                         << ", not " << entry.getValue();
  }
  for (const Key &key : keys())
    if (key.required && !dictionary.contains(key.name))
      return emitError() << "the policy needs '" << key.name << "'";
  if (!config.kvHeads)
    config.kvHeads = config.heads;
  if (!config.headDim && config.heads > 0 && config.hidden % config.heads == 0)
    config.headDim = config.hidden / config.heads;
  if (failed(config.verify(emitError)))
    return failure();
  return config;
}

LogicalResult
ModelConfig::verify(function_ref<InFlightDiagnostic()> emitError) const {
  for (const Key &key : keys()) {
    if (key.integer &&
        !llvm::is_contained({"head_dim", "positions"}, key.name) &&
        this->*key.integer < 1)
      return emitError() << "'" << key.name
                         << "' of a policy must be positive, not "
                         << this->*key.integer;
    if (key.number && !(this->*key.number >= 0))
      return emitError() << "'" << key.name
                         << "' of a policy must not be negative, but is "
                         << this->*key.number;
  }
  if (headDim < 1)
    return emitError() << "hidden = " << hidden
                       << " cannot be divided by heads = " << heads
                       << "; give head_dim";
  if (headDim % 2)
    return emitError()
           << "head_dim = " << headDim
           << " must be even: rotary positions turn pairs of columns";
  if (!(ropeTheta > 0) || !(ropeFactor > 0))
    return emitError() << "'rope_theta' and 'rope_factor' of a policy must be "
                          "positive, but are "
                       << ropeTheta << " and " << ropeFactor;
  if (ropeOriginal > 0 && !(ropeHigh > ropeLow))
    return emitError() << "'rope_high' = " << ropeHigh
                       << " of a policy must be above 'rope_low' = " << ropeLow;
  // A bfloat16 product takes two terms a step.
  if (bf16) {
    std::string odd;
    for (auto [name, size] : {std::pair("hidden", hidden),
                              {"intermediate", intermediate},
                              {"vocabulary", vocabulary}})
      if (size % 2)
        odd +=
            llvm::formatv("{0}{1} = {2}", odd.empty() ? "" : ", ", name, size);
    if (!odd.empty())
      return emitError() << "bfloat16 weights need even sizes, but " << odd
                         << ": write --weights=float32"
                         // What is loaded has the sizes that it has.
                         << (positions        ? ""
                             : vocabulary % 2 ? ", or one more (of a "
                                                "vocabulary: a character more "
                                                "in characters(...))"
                                              : ", or one more");
  }
  if (positions && context > positions)
    return emitError() << "context = " << context << " is more than the "
                       << positions << " positions of the model";
  if (heads % kvHeads)
    return emitError() << "heads = " << heads
                       << " must be a multiple of kv_heads = " << kvHeads;
  return success();
}

SmallVector<double> ModelConfig::ropeFrequencies() const {
  SmallVector<double> frequencies;
  for (int64_t i = 0; i < headDim / 2; ++i) {
    double frequency = std::pow(ropeTheta, -2.0 * i / headDim);
    // 1: divided by the factor; 0: as it is; between, a blend of both.
    double share = 1;
    if (ropeOriginal > 0) {
      double turns = ropeOriginal * frequency / (2 * M_PI);
      share = std::clamp((ropeHigh - turns) / (ropeHigh - ropeLow), 0.0, 1.0);
    }
    frequencies.push_back(frequency * (share / ropeFactor + (1 - share)));
  }
  return frequencies;
}

DictionaryAttr ModelConfig::toDictionary(MLIRContext *context) const {
  Builder b(context);
  SmallVector<NamedAttribute> entries;
  for (const Key &key : keys()) {
    Attribute value;
    if (key.name == "positions" && !positions)
      continue;
    if (key.integer)
      value = b.getI64IntegerAttr(this->*key.integer);
    else if (key.number)
      value = b.getF64FloatAttr(this->*key.number);
    else
      value = b.getBoolAttr(this->*key.flag);
    entries.push_back(b.getNamedAttr(key.name, value));
  }
  return b.getDictionaryAttr(entries);
}
