//===- Derivatives.cpp - derivative rules against finite differences ------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/lm/Harness.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace r1c;
using namespace r1c::test;

namespace {

/// Σ seed · result over the results that have a seed.
double loss(const Environment &results, const Environment &seeds) {
  double sum = 0;
  for (const auto &[key, seed] : seeds) {
    const Tensor &result = tensorOf(results, key.substr(sizeof("gradient")));
    const Tensor &weights = std::get<Tensor>(seed);
    for (int64_t i = 0; i < result.count(); ++i)
      sum += weights(i) * result(i);
  }
  return sum;
}

/// Differentiates `@m.<function>` and compares every gradient of its backward
/// with central differences of the forward, element by element.
void check(ModuleOp module, StringRef function, Environment environment,
           std::mt19937_64 &random, StringRef recompute = "none",
           StringRef suffix = "") {
  ASSERT_TRUE(differentiate(module, recompute));
  std::string name = function.str(), train = name + ".train";
  bool hasTrain = module.lookupSymbol("m." + train) != nullptr;
  Environment results = run(module, hasTrain ? train : name, environment);
  ASSERT_FALSE(testing::Test::HasFailure());

  Environment seeds, backward = environment;
  for (const auto &[key, value] : results) {
    if (key == "activation" || key == "logp" ||
        (key == "entropy" && suffix.empty()))
      seeds["gradient " + key] =
          randomTensor(std::get<Tensor>(value).shape, random);
    // What a rule reads is a saved value, or a result of the head.
    backward.emplace(key, value);
    backward.emplace("saved " + key, value);
  }
  for (const auto &[key, seed] : seeds)
    backward[key] = seed;
  Environment gradients =
      run(module, name + ".backward" + suffix.str(), backward);
  ASSERT_FALSE(testing::Test::HasFailure());
  ASSERT_FALSE(gradients.empty());

  const double step = 1e-5;
  for (const auto &[key, datum] : gradients) {
    bool parameter = StringRef(key).starts_with("parameter_gradient");
    std::string of = parameter ? "parameter" + key.substr(18)
                               : key.substr(sizeof("gradient"));
    const Tensor &gradient = std::get<Tensor>(datum);
    Tensor &value = std::get<Tensor>(environment.at(of));
    ASSERT_EQ(gradient.shape, value.shape) << of;
    for (int64_t i = 0; i < value.count(); ++i) {
      double at = value(i);
      value(i) = at + step;
      double above = loss(run(module, name, environment), seeds);
      value(i) = at - step;
      double below = loss(run(module, name, environment), seeds);
      value(i) = at;
      double expected = (above - below) / (2 * step);
      ASSERT_NEAR(gradient(i), expected, 2e-7 * (1 + std::abs(expected)))
          << of << " element " << i;
    }
  }
}

/// One op as a layer: `body` computes %y from arguments that are all
/// differentiated, unless the text gives them another role.
std::string layer(StringRef arguments, StringRef body, StringRef type) {
  return ("func.func @m.layer(" + arguments + ") -> (" + type +
          " {r1c.role = \"activation\"}) attributes {r1c.function = \"layer\", "
          "r1c.model = @m} {\n" +
          body + "\nreturn %y : " + type + "\n}")
      .str();
}

struct Argument {
  std::string name, type;
  std::vector<int64_t> shape;
};

void checkOp(std::vector<Argument> arguments, StringRef body, StringRef type,
             std::vector<int64_t> lengths = {3, 1, 4}) {
  auto context = makeContext();
  std::mt19937_64 random = freshRandom();
  Environment environment;
  std::string list;
  for (const Argument &argument : arguments) {
    list += "%" + argument.name + ": " + argument.type +
            " {r1c.role = \"parameter\", r1c.parameter = \"" + argument.name +
            "\"}, ";
    environment["parameter " + argument.name] =
        randomTensor(argument.shape, random);
  }
  list += "%ctx: !lm.context {r1c.role = \"context\"}";
  environment["context"] = reference::packedContext(lengths);
  auto module = parse(*context, layer(list, body, type));
  ASSERT_TRUE(module);
  check(*module, "layer", environment, random);
}

const char *six = "tensor<?x6xf32>", *eight = "tensor<?x8xf32>",
           *four = "tensor<?x4xf32>";

TEST(Derivative, RMSNorm) {
  checkOp({{"x", six, {5, 6}}, {"w", "tensor<6xf32>", {6}}},
          "%y = lm.rms_norm %x, %w {epsilon = 0.1 : f64} : tensor<?x6xf32>, "
          "tensor<6xf32>",
          six);
}
TEST(Derivative, RMSNormOfHeads) {
  checkOp({{"x", six, {5, 6}}, {"w", "tensor<2xf32>", {2}}},
          "%y = lm.rms_norm %x, %w {epsilon = 0.1 : f64, heads = 3 : i64} : "
          "tensor<?x6xf32>, tensor<2xf32>",
          six);
}
TEST(Derivative, Linear) {
  checkOp({{"x", six, {5, 6}}, {"w", "tensor<8x6xf32>", {8, 6}}},
          "%y = lm.linear %x, %w : (tensor<?x6xf32>, tensor<8x6xf32>) -> "
          "tensor<?x8xf32>",
          eight);
}
TEST(Derivative, LinearWithBias) {
  checkOp({{"x", six, {5, 6}},
           {"w", "tensor<8x6xf32>", {8, 6}},
           {"b", "tensor<8xf32>", {8}}},
          "%y = lm.linear %x, %w bias %b : (tensor<?x6xf32>, tensor<8x6xf32>, "
          "tensor<8xf32>) -> tensor<?x8xf32>",
          eight);
}
TEST(Derivative, Rope) {
  checkOp({{"x", eight, {8, 8}}},
          "%y = lm.rope %x, %ctx {heads = 2 : i64, frequencies = "
          "array<f64: 1.0, 0.14>} : tensor<?x8xf32>",
          eight);
}
TEST(Derivative, RopeInverse) {
  checkOp({{"x", eight, {8, 8}}},
          "%y = lm.rope %x, %ctx inverse {heads = 2 : i64, frequencies "
          "= array<f64: 1.0, 0.14>} : tensor<?x8xf32>",
          eight);
}
TEST(Derivative, Attention) {
  checkOp({{"q", eight, {8, 8}}, {"k", four, {8, 4}}, {"v", four, {8, 4}}},
          "%y, %lse = lm.attention %q, %k, %v, %ctx {heads = 4 : i64, kv_heads "
          "= 2 : i64, scale = 0.7 : f64} : tensor<?x8xf32>, tensor<?x4xf32>, "
          "tensor<?x4xf32> -> tensor<?x4xf32>",
          eight);
}
TEST(Derivative, SiluMul) {
  checkOp({{"a", six, {5, 6}}, {"b", six, {5, 6}}},
          "%y = lm.silu_mul %a, %b : tensor<?x6xf32>", six);
}
TEST(Derivative, Add) {
  checkOp({{"a", six, {5, 6}}, {"b", six, {5, 6}}},
          "%y = lm.add %a, %b : tensor<?x6xf32>", six);
}
TEST(Derivative, AddOfOneValueTwice) {
  checkOp({{"a", six, {5, 6}}}, "%y = lm.add %a, %a : tensor<?x6xf32>", six);
}

TEST(Derivative, OpWithoutRuleIsReported) {
  auto context = makeContext();
  auto module =
      parse(*context,
            layer("%x: tensor<?x6xf32> {r1c.role = \"activation\"}, %ids: "
                  "tensor<?xi32> {r1c.role = \"tokens\"}",
                  "%y = lm.gather_grad %x, %ids like %x : (tensor<?x6xf32>, "
                  "tensor<?xi32>, tensor<?x6xf32>) -> tensor<?x6xf32>",
                  six));
  ASSERT_TRUE(module);
  std::string message;
  ScopedDiagnosticHandler handler(context.get(), [&](Diagnostic &diagnostic) {
    message += diagnostic.str();
    return success();
  });
  EXPECT_FALSE(differentiate(*module));
  EXPECT_NE(message.find("'lm.gather_grad' op has no derivative rule, but the "
                         "gradient of '@m.layer' passes through it"),
            std::string::npos)
      << message;
}

//===----------------------------------------------------------------------===//
// Whole functions of a model
//===----------------------------------------------------------------------===//

struct Case {
  const char *name;
  bool qwen2, qwen3;
  const char *recompute;
};

class ModelDerivative : public testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    context = makeContext();
    config = smallConfig(GetParam().qwen2, GetParam().qwen3);
    module = expand(*context, config);
    auto model = *module->getOps<lm::ModelOp>().begin();
    for (auto parameter : model.getBody().getOps<lm::ParameterOp>()) {
      auto shape = cast<RankedTensorType>(parameter.getType()).getShape();
      environment["parameter " + parameter.getParameter().str()] =
          randomTensor(shape.vec(), random, 0.5);
    }
    environment["context"] = reference::packedContext({3, 4});
    environment["activation"] = randomTensor({7, config.hidden}, random);
    environment["tokens"] = Tensor::list({3, 0, 10, 3, 7, 3, 1});
    environment["rows"] = Tensor::list({5, 0, 3, 4});
    environment["targets"] = Tensor::list({10, 0, 3, 3});
    environment["temperature"] = Tensor::number(0.8);
    // Each target is of its kept set.
    Tensor kept({4, config.vocabulary});
    for (int64_t i = 0; i < kept.rows(); ++i)
      for (int64_t v = 0; v < kept.columns(); ++v)
        kept(i, v) =
            v == std::get<Tensor>(environment["targets"])(i) || random() % 2;
    environment["kept"] = kept;
  }

  std::unique_ptr<MLIRContext> context;
  ModelConfig config;
  OwningOpRef<ModuleOp> module;
  std::mt19937_64 random = freshRandom();
  Environment environment;
};

TEST_P(ModelDerivative, Embed) {
  check(*module, "embed", environment, random, GetParam().recompute);
}
TEST_P(ModelDerivative, Layer) {
  check(*module, "layer", environment, random, GetParam().recompute);
}
TEST_P(ModelDerivative, Head) {
  check(*module, "head", environment, random, GetParam().recompute);
}
TEST_P(ModelDerivative, HeadWithoutEntropy) {
  check(*module, "head", environment, random, GetParam().recompute, ".logp");
}
TEST_P(ModelDerivative, HeadAtTemperatureZero) {
  environment["temperature"] = Tensor::number(0);
  check(*module, "head", environment, random, GetParam().recompute);
}

TEST_P(ModelDerivative, FilteredHead) {
  check(*module, "head.filtered", environment, random, GetParam().recompute);
}
TEST_P(ModelDerivative, FilteredHeadWithoutEntropy) {
  check(*module, "head.filtered", environment, random, GetParam().recompute,
        ".logp");
}

INSTANTIATE_TEST_SUITE_P(
    Models, ModelDerivative,
    testing::Values(Case{"llama", false, false, "none"},
                    Case{"llama_cheap", false, false, "cheap"},
                    Case{"llama_all", false, false, "all"},
                    Case{"qwen2", true, false, "none"},
                    Case{"qwen3_cheap", false, true, "cheap"}),
    [](const auto &info) { return info.param.name; });

} // namespace
