//===- HuggingFace.cpp - policies as Hugging Face directories -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/HuggingFace.h"
#include "runtime/checkpoint/Safetensors.h"
#include "runtime/execute/Policy.h"
#include "runtime/support/Files.h"
#include <algorithm>

namespace r1c::runtime {

/// One id, or a list of several.
static nlohmann::ordered_json endTokens(const Tokenizer &tokenizer) {
  std::vector<int32_t> ends = tokenizer.ends();
  if (ends.size() == 1)
    return ends.front();
  return ends;
}

nlohmann::ordered_json huggingFaceConfig(const Policy &policy) {
  Fields model(policy.model, "policy '" + policy.name + "': model");
  auto size = [&](const char *name, std::optional<int64_t> otherwise = {}) {
    int64_t value =
        otherwise ? model.integer(name, *otherwise) : model.integer(name);
    if (value < 1)
      throw Error(model.where(), ": '", name, "' = ", value, " is not above 0");
    return value;
  };
  int64_t hidden = size("hidden"), heads = size("heads", 1);
  nlohmann::ordered_json json;
  // Llama's layers, with the additions that Qwen made to them.
  bool norm = model.flag("qk_norm", false),
       bias = model.flag("qkv_bias", false);
  json["architectures"] = {norm   ? "Qwen3ForCausalLM"
                           : bias ? "Qwen2ForCausalLM"
                                  : "LlamaForCausalLM"};
  json["model_type"] = norm ? "qwen3" : bias ? "qwen2" : "llama";
  json["torch_dtype"] = "float32";
  json["hidden_act"] = "silu";
  json["num_hidden_layers"] = size("layers");
  json["hidden_size"] = hidden;
  json["intermediate_size"] = size("intermediate", 4 * hidden);
  json["num_attention_heads"] = heads;
  json["num_key_value_heads"] = size("kv_heads", heads);
  json["head_dim"] = size("head_dim", hidden / heads);
  json["vocab_size"] = size("vocabulary");
  json["max_position_embeddings"] = size("positions", size("context", 2048));
  json["rope_theta"] = model.number("rope_theta", 10000);
  if (double factor = model.number("rope_factor", 1); factor != 1) {
    json["rope_scaling"] = {{"rope_type", "linear"}, {"factor", factor}};
    if (double original = model.number("rope_original", 0); original > 0)
      json["rope_scaling"] = {
          {"rope_type", "llama3"},
          {"factor", factor},
          {"low_freq_factor", model.number("rope_low")},
          {"high_freq_factor", model.number("rope_high")},
          {"original_max_position_embeddings", int64_t(original)}};
  }
  json["rms_norm_eps"] = model.number("norm_epsilon", 1e-6);
  bool hasHead = std::any_of(
      policy.parameters.begin(), policy.parameters.end(),
      [](const Parameter &p) { return p.name == "lm_head.weight"; });
  json["tie_word_embeddings"] = !hasHead;
  json["attention_bias"] = norm && bias;
  if (!norm && !bias)
    json["mlp_bias"] = false;
  if (policy.tokenizer) {
    json["eos_token_id"] = endTokens(*policy.tokenizer);
    json["bos_token_id"] = nullptr;
  }
  return json;
}

void saveHuggingFace(const fs::path &directory, const Policy &policy) {
  within([&] { return "saving policy '" + policy.name + "'"; },
         [&] {
           writeDirectoryAtomically(directory, [&](const fs::path &temporary) {
             nlohmann::ordered_json config = huggingFaceConfig(policy);
             writeFile(temporary / "config.json", config.dump(2) + "\n");
             nlohmann::ordered_json generation = {{"do_sample", true},
                                                  {"temperature", 1.0}};
             if (policy.tokenizer)
               generation["eos_token_id"] = endTokens(*policy.tokenizer);
             writeFile(temporary / "generation_config.json",
                       generation.dump(2) + "\n");
             std::vector<TensorToWrite> tensors;
             for (const Parameter &parameter : policy.parameters)
               for (int64_t layer = 0; layer < parameter.copies(); ++layer)
                 tensors.push_back({parameter.nameOf(layer),
                                    "F32",
                                    parameter.shape,
                                    {},
                                    parameter.layer(layer)});
             writeSafetensors(temporary / "model.safetensors", tensors);
             if (policy.tokenizer)
               policy.tokenizer->write(temporary);
           });
         });
}

} // namespace r1c::runtime
