//===- ConfigTest.cpp - config.json of Hugging Face models ----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/expand/ModelConfig.h"
#include "frontends/hf/HuggingFace.h"
#include "mlir/IR/MLIRContext.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace r1c;

namespace {

class Config : public testing::Test {
protected:
  FailureOr<ModelConfig> read(StringRef text) {
    message.clear();
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
      message += diagnostic.str();
      return success();
    });
    auto emitError = [&] {
      return mlir::emitError(UnknownLoc::get(&context)) << "config.json: ";
    };
    auto sizes = hf::readConfig(&context, text, emitError);
    if (failed(sizes))
      return failure();
    NamedAttrList fields(*sizes);
    fields.set("context", fields.get("positions"));
    return ModelConfig::parse(fields.getDictionary(&context), emitError);
  }

  MLIRContext context;
  std::string message;
};

const char *smol = R"({"model_type": "llama", "hidden_size": 576,
  "num_attention_heads": 9, "num_key_value_heads": 3, "num_hidden_layers": 30,
  "intermediate_size": 1536, "vocab_size": 49152, "rms_norm_eps": 1e-05,
  "max_position_embeddings": 8192, "rope_theta": 100000,
  "rope_scaling": null, "rope_interleaved": false, "hidden_act": "silu",
  "tie_word_embeddings": true, "torch_dtype": "bfloat16"})";

std::string with(std::string text, const std::string &from,
                 const std::string &to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST_F(Config, Llama) {
  auto config = read(smol);
  ASSERT_TRUE(succeeded(config)) << message;
  EXPECT_EQ(config->layers, 30);
  EXPECT_EQ(config->hidden, 576);
  EXPECT_EQ(config->heads, 9);
  EXPECT_EQ(config->kvHeads, 3);
  EXPECT_EQ(config->headDim, 64);
  EXPECT_EQ(config->intermediate, 1536);
  EXPECT_EQ(config->vocabulary, 49152);
  EXPECT_EQ(config->positions, 8192);
  EXPECT_EQ(config->ropeTheta, 100000);
  EXPECT_EQ(config->normEpsilon, 1e-5);
  EXPECT_TRUE(config->tied);
  EXPECT_TRUE(config->bf16);
  EXPECT_FALSE(config->qkvBias);
  EXPECT_FALSE(config->qkNorm);
}

TEST_F(Config, DefaultsOfTheFamilies) {
  std::string bare = R"({"model_type": "qwen3", "hidden_size": 1024,
    "num_attention_heads": 16, "num_hidden_layers": 2, "intermediate_size": 64,
    "vocab_size": 100, "max_position_embeddings": 128})";
  auto qwen3 = read(bare);
  ASSERT_TRUE(succeeded(qwen3)) << message;
  EXPECT_EQ(qwen3->headDim, 128);
  EXPECT_EQ(qwen3->kvHeads, 16);
  EXPECT_EQ(qwen3->ropeTheta, 10000);
  EXPECT_EQ(qwen3->normEpsilon, 1e-6);
  EXPECT_TRUE(qwen3->qkNorm);
  EXPECT_FALSE(qwen3->tied);
  EXPECT_FALSE(qwen3->bf16);
  auto qwen2 = read(with(bare, "qwen3", "qwen2"));
  ASSERT_TRUE(succeeded(qwen2)) << message;
  EXPECT_EQ(qwen2->headDim, 64);
  EXPECT_TRUE(qwen2->qkvBias);
  EXPECT_FALSE(qwen2->qkNorm);
}

/// The rule of Llama 3.1, written out: frequencies that turn more than 4 times
/// in the original context stay, those of less than one turn are divided.
TEST_F(Config, ScaledRotaryEmbeddings) {
  auto plain = read(smol);
  auto scaled = read(with(smol, "null", R"({"rope_type": "llama3",
    "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192})"));
  ASSERT_TRUE(succeeded(plain) && succeeded(scaled)) << message;
  auto before = plain->ropeFrequencies(), after = scaled->ropeFrequencies();
  ASSERT_EQ(before.size(), 32u);
  int kept = 0, divided = 0, blended = 0;
  for (auto [f, g] : llvm::zip(before, after)) {
    double wavelength = 2 * M_PI / f;
    if (wavelength < 8192 / 4.0) {
      EXPECT_EQ(g, f);
      ++kept;
    } else if (wavelength > 8192) {
      EXPECT_DOUBLE_EQ(g, f / 32);
      ++divided;
    } else {
      double smooth = (8192 / wavelength - 1) / 3;
      EXPECT_NEAR(g, (1 - smooth) * f / 32 + smooth * f, 1e-15);
      ++blended;
    }
  }
  EXPECT_TRUE(kept > 0 && divided > 0 && blended > 0);

  auto linear =
      read(with(smol, "null", R"({"type": "linear", "factor": 2.5})"));
  ASSERT_TRUE(succeeded(linear)) << message;
  for (auto [f, g] : llvm::zip(before, linear->ropeFrequencies()))
    EXPECT_DOUBLE_EQ(g, f / 2.5);
  auto newer = read(with(smol, R"("rope_scaling": null)",
                         R"("rope_parameters": {"rope_type": "default",
                            "rope_theta": 5000})"));
  ASSERT_TRUE(succeeded(newer)) << message;
  EXPECT_EQ(newer->ropeTheta, 5000);
}

TEST_F(Config, NestedTooDeep) {
  std::string deep(500000, '[');
  EXPECT_TRUE(failed(read(with(smol, "null", deep))));
  EXPECT_EQ(message, "config.json: is not JSON: [5:1018, byte=1271]: Nested "
                     "more than 1000 deep");
}

TEST_F(Config, Errors) {
  struct Error {
    const char *from, *to, *message;
  };
  for (Error error : {
           Error{"{", "", "config.json: is not JSON: "},
           {"\"llama\"", "\"mixtral\"",
            "a model of type 'mixtral' is not supported yet; there are llama, "
            "qwen2, qwen3"},
           {"\"model_type\"", "\"type\"", "has no 'model_type'"},
           {"\"hidden_size\"", "\"size\"", "has no 'hidden_size'"},
           {"\"hidden_size\": 576", "\"hidden_size\": -1",
            "'hidden_size' must be a whole number above 0"},
           {"\"hidden_size\": 576", "\"hidden_size\": 577",
            "'hidden_size' is no multiple of 'num_attention_heads'"},
           {"\"num_key_value_heads\": 3", "\"num_key_value_heads\": 2",
            "heads = 9 must be a multiple of kv_heads = 2"},
           {"100000", "0", "'rope_theta' must be a number above 0"},
           {"null", R"({"rope_type": "yarn", "factor": 4.0})",
            "rotary embeddings of kind 'yarn' are not supported yet; there are "
            "default, linear, llama3"},
           {"null", R"({"rope_type": "llama3", "factor": 4.0})",
            "has no 'low_freq_factor'"},
           {"\"rope_interleaved\": false", "\"rope_interleaved\": true",
            "'rope_interleaved' is not supported yet"},
           {"\"rope_interleaved\": false", "\"attention_bias\": true",
            "'attention_bias' is not supported yet"},
           {"\"rope_interleaved\": false", "\"quantization_config\": {}",
            "quantized weights ('quantization_config') are not supported"},
           {"\"silu\"", "\"gelu\"",
            "'hidden_act' = 'gelu' is not supported yet; there is silu"},
       }) {
    EXPECT_TRUE(failed(read(with(smol, error.from, error.to)))) << error.to;
    EXPECT_NE(message.find(error.message), std::string::npos)
        << error.to << " gave: " << message;
  }
}

} // namespace
