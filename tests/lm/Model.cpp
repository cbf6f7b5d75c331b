//===- Model.cpp - configurations, parameters and costs of models ---------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/Verifier.h"
#include "tests/lm/Harness.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace r1c;
using namespace r1c::test;

namespace {

class ModelTest : public testing::Test {
protected:
  DictionaryAttr dictionary(StringRef text) {
    return cast<DictionaryAttr>(parseAttribute(text, context.get()));
  }

  FailureOr<ModelConfig> parseConfig(StringRef text) {
    message.clear();
    ScopedDiagnosticHandler handler(context.get(), [&](Diagnostic &diagnostic) {
      message += diagnostic.str();
      return success();
    });
    return ModelConfig::parse(dictionary(text), [&] {
      return emitError(UnknownLoc::get(context.get()));
    });
  }

  std::unique_ptr<MLIRContext> context = makeContext();
  std::string message;
};

const char *sizes = "{kind = \"llama\", layers = 2, hidden = 64, heads = 4, "
                    "kv_heads = 2, intermediate = 128, vocabulary = 16, "
                    "context = 64}";

TEST_F(ModelTest, ConfigDefaults) {
  auto config = parseConfig(sizes);
  ASSERT_TRUE(succeeded(config)) << message;
  EXPECT_EQ(config->headDim, 16);
  EXPECT_EQ(config->ropeTheta, 10000);
  EXPECT_EQ(config->normEpsilon, 1e-5);
  EXPECT_EQ(config->initStd, 0.02);
  EXPECT_TRUE(config->tied);
  EXPECT_FALSE(config->qkvBias);
}

TEST_F(ModelTest, ConfigRoundTrip) {
  ModelConfig config = smallConfig(true, true);
  config.normEpsilon = 1e-6;
  auto again = ModelConfig::parse(config.toDictionary(context.get()), [&] {
    return emitError(UnknownLoc::get(context.get()));
  });
  ASSERT_TRUE(succeeded(again));
  EXPECT_EQ(again->toDictionary(context.get()),
            config.toDictionary(context.get()));
}

TEST_F(ModelTest, ConfigErrors) {
  struct Error {
    const char *replace, *with, *message;
  };
  for (Error error : {
           Error{"layers = 2, ", "", "the policy needs 'layers'"},
           Error{"layers = 2", "layers = 0",
                 "'layers' of a policy must be positive, not 0"},
           Error{"layers = 2", "layers = 2.0",
                 "'layers' of a policy must be a whole number"},
           Error{"layers = 2", "layers = 2, layer = 3",
                 "no size of a policy is called 'layer'; there are layers, "
                 "hidden"},
           Error{"heads = 4, kv", "heads = 5, kv",
                 "hidden = 64 cannot be divided by heads = 5; give head_dim"},
           Error{"kv_heads = 2", "kv_heads = 3",
                 "heads = 4 must be a multiple of kv_heads = 3"},
           Error{"layers = 2", "layers = 2, head_dim = 7",
                 "head_dim = 7 must be even"},
           Error{"layers = 2", "layers = 2, init = -1.0",
                 "'init' of a policy must not be negative"},
           Error{"layers = 2", "layers = 2, tied = 1",
                 "'tied' of a policy must be a flag"},
       }) {
    std::string text = sizes;
    size_t at = text.find(error.replace);
    ASSERT_NE(at, std::string::npos);
    text.replace(at, std::string(error.replace).size(), error.with);
    EXPECT_TRUE(failed(parseConfig(text))) << text;
    EXPECT_NE(message.find(error.message), std::string::npos)
        << text << "\ngave: " << message;
  }
}

TEST_F(ModelTest, ParametersOfTheLlamaFamily) {
  auto config = *parseConfig(sizes);
  auto count = [&](const ModelConfig &config) {
    auto module = expand(*context, config);
    EXPECT_TRUE(succeeded(verify(*module)));
    int64_t sum = 0;
    for (auto model : module->getOps<lm::ModelOp>())
      for (auto parameter : model.getBody().getOps<lm::ParameterOp>())
        sum += cast<RankedTensorType>(parameter.getType()).getNumElements() *
               parameter.getLayers().value_or(1);
    return sum;
  };
  int64_t layer = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128 + 2 * 64;
  EXPECT_EQ(count(config), 16 * 64 + 2 * layer + 64);
  config.tied = false;
  EXPECT_EQ(count(config), 2 * 16 * 64 + 2 * layer + 64);
  config.qkvBias = true;
  config.qkNorm = true;
  EXPECT_EQ(count(config),
            2 * 16 * 64 + 2 * (layer + 64 + 32 + 32 + 2 * 16) + 64);
}

// SmolLM2-135M and Qwen2.5-0.5B, by their published numbers of parameters.
TEST_F(ModelTest, PublishedSizes) {
  auto total = [&](StringRef text) {
    auto config = parseConfig(text);
    EXPECT_TRUE(succeeded(config)) << message;
    auto module = expand(*context, *config);
    int64_t sum = 0;
    for (auto model : module->getOps<lm::ModelOp>())
      for (auto parameter : model.getBody().getOps<lm::ParameterOp>())
        sum += cast<RankedTensorType>(parameter.getType()).getNumElements() *
               parameter.getLayers().value_or(1);
    return sum;
  };
  EXPECT_EQ(total("{layers = 30, hidden = 576, heads = 9, kv_heads = 3, "
                  "intermediate = 1536, vocabulary = 49152, context = 8192}"),
            134515008);
  EXPECT_EQ(total("{layers = 24, hidden = 896, heads = 14, kv_heads = 2, "
                  "intermediate = 4864, vocabulary = 151936, context = 32768, "
                  "qkv_bias = true}"),
            494032768);
}

TEST_F(ModelTest, OneLayerFunctionWhateverTheLayers) {
  ModelConfig config = smallConfig();
  auto operations = [&](int64_t layers) {
    config.layers = layers;
    auto module = expand(*context, config);
    int64_t count = 0;
    module->walk([&](Operation *) { ++count; });
    return count;
  };
  EXPECT_EQ(operations(2), operations(96));
}

TEST_F(ModelTest, Costs) {
  ModelConfig config = *parseConfig(sizes);
  auto module = expand(*context, config);
  auto layer = module->lookupSymbol<func::FuncOp>("m.layer");
  CostShape shape{/*rows=*/10, /*keys=*/7};
  double products = 0, attention = 0;
  layer.walk([&](Operation *op) {
    if (isa<lm::LinearOp>(op))
      products += cast<CostOpInterface>(op).getFlops(shape);
    if (isa<lm::AttentionOp>(op))
      attention = cast<CostOpInterface>(op).getFlops(shape);
  });
  // Two operations a weight and row.
  EXPECT_EQ(products, 2.0 * 10 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128));
  // Four a query column and key, four a score.
  EXPECT_EQ(attention, 7.0 * (4 * 10 * 64 + 4 * 10 * 4));
  lm::AddOp add = *layer.getBody().getOps<lm::AddOp>().begin();
  EXPECT_EQ(cast<CostOpInterface>(add.getOperation()).getBytes(shape),
            3.0 * 10 * 64 * 4);
}

} // namespace
