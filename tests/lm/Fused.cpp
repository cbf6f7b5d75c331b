//===- Fused.cpp - fused functions of a model mean what lm says -----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The interpreter runs both sides in float64, and does not round to bfloat16.
// What remains between them is the rounding of constants (ε, rotary
// frequencies, 1/3) to the kernels' float32.
//===----------------------------------------------------------------------===//

#include "tests/lm/Harness.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace r1c;
using namespace r1c::test;

namespace {

constexpr double tolerance = 2e-6;

struct Case {
  const char *name;
  bool qwen2, qwen3;
  const char *recompute;
  bool bf16 = false;
};

class Fused : public testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    context = makeContext();
    config = smallConfig(GetParam().qwen2, GetParam().qwen3, GetParam().bf16);
    config.vocabulary = 300; // two chunks of the head
    module = expand(*context, config);
    ASSERT_TRUE(differentiate(*module, GetParam().recompute));
    fused = OwningOpRef<ModuleOp>(module->clone());
    ASSERT_TRUE(fuse(*fused));
    auto model = *module->getOps<lm::ModelOp>().begin();
    for (auto parameter : model.getBody().getOps<lm::ParameterOp>()) {
      auto shape = cast<RankedTensorType>(parameter.getType()).getShape();
      std::string name = parameter.getParameter().str();
      environment["parameter " + name] = randomTensor(shape.vec(), random, 0.5);
      // What gradients are added to: not zeros, so that a kernel which
      // overwrites is seen.
      inits["parameter_gradient " + name] = randomTensor(shape.vec(), random);
    }
    environment["context"] = reference::packedContext({3, 4});
    environment["activation"] = randomTensor({7, config.hidden}, random);
    environment["tokens"] = Tensor::list({3, 0, 10, 3, 7, 3, 1});
    environment["rows"] = Tensor::list({5, 0, 3, 4});
    environment["targets"] = Tensor::list({10, 0, 3, 3});
    environment["temperature"] = Tensor::number(0.8);
    environment["counter"] =
        Tensor({4, 4}, {0, 5, 1, 2, 1, 5, 1, 2, 2, 5, 1, 2, 0, 6, 1, 2});
    environment["key"] = Tensor::list({1234567, -5});
  }

  /// Runs both modules and compares all results; returns those of lm.
  Environment compare(StringRef function) {
    Environment expected = run(*module, function, environment);
    Environment withInits = environment;
    withInits.insert(inits.begin(), inits.end());
    auto rows = std::get<Tensor>(environment["activation"]).shape;
    Tensor scattered = Tensor(rows, 1e9);
    withInits["gradient_init activation"] = scattered;
    Environment actual = run(*fused, function, withInits);
    EXPECT_EQ(expected.size(), actual.size());
    for (const auto &[key, value] : expected) {
      Tensor sum = std::get<Tensor>(value);
      if (inits.count(key))
        sum = plus(sum, std::get<Tensor>(inits.at(key)));
      if (key == "gradient activation" && function.starts_with("head"))
        sum = overwrite(scattered, sum);
      EXPECT_LT(difference(tensorOf(actual, key), sum), tolerance)
          << function.str() << ": " << key;
    }
    return expected;
  }

  static Tensor plus(Tensor a, const Tensor &b) {
    for (int64_t i = 0; i < a.count(); ++i)
      a(i) += b(i);
    return a;
  }
  /// Only the rows of the chunk are written.
  Tensor overwrite(Tensor init, const Tensor &gradient) {
    for (double row : std::get<Tensor>(environment["rows"]).values)
      for (int64_t j = 0; j < init.columns(); ++j)
        init(int64_t(row), j) = gradient(int64_t(row), j);
    return init;
  }
  void save(const Environment &results, std::vector<std::string> seeds) {
    for (const auto &[key, value] : results) {
      environment.emplace(key, value);
      environment.emplace("saved " + key, value);
      if (llvm::is_contained(seeds, key))
        environment["gradient " + key] =
            randomTensor(std::get<Tensor>(value).shape, random);
    }
  }

  std::unique_ptr<MLIRContext> context;
  ModelConfig config;
  OwningOpRef<ModuleOp> module, fused;
  std::mt19937_64 random = freshRandom();
  Environment environment, inits;
};

TEST_P(Fused, Embed) {
  compare("embed");
  environment["gradient activation"] = randomTensor({7, config.hidden}, random);
  compare("embed.backward");
}

TEST_P(Fused, Layer) {
  Environment results = compare("layer");
  if (StringRef(GetParam().recompute) != "all")
    results = compare("layer.train");
  save(results, {"activation"});
  compare("layer.backward");
}

TEST_P(Fused, Head) {
  save(compare("head"), {"logp", "entropy"});
  compare("head.backward");
  compare("head.backward.logp");
}

TEST_P(Fused, FilteredHead) {
  Tensor kept({4, config.vocabulary});
  for (int64_t i = 0; i < kept.rows(); ++i)
    for (int64_t v = 0; v < kept.columns(); ++v)
      kept(i, v) =
          v == std::get<Tensor>(environment["targets"])(i) || random() % 2;
  environment["kept"] = kept;
  save(compare("head.filtered"), {"logp", "entropy"});
  compare("head.filtered.backward");
  compare("head.filtered.backward.logp");
}

TEST_P(Fused, Logits) { compare("logits"); }

TEST_P(Fused, Sample) {
  compare("sample");
  environment["temperature"] = Tensor::number(0);
  compare("sample");
}

TEST_P(Fused, FilteredSample) {
  struct Filter {
    double topK, topP, minP;
  };
  for (Filter filter : {Filter{0, 1, 0},
                        {3, 1, 0},
                        {0, 0.7, 0},
                        {0, 1, 0.2},
                        {4, 0.8, 0.1},
                        {1, 1, 0},
                        {50, 0.0001, 0}}) {
    SCOPED_TRACE(testing::Message() << "top_k " << filter.topK << " top_p "
                                    << filter.topP << " min_p " << filter.minP);
    environment["top_k"] = Tensor::number(filter.topK);
    environment["top_p"] = Tensor::number(filter.topP);
    environment["min_p"] = Tensor::number(filter.minP);
    environment["temperature"] = Tensor::number(0.8);
    compare("sample.filtered");
    environment["temperature"] = Tensor::number(0);
    compare("sample.filtered");
  }
}

/// Rows given to the cached layer a few at a time, in any order of slots, give
/// what the layer gives for the whole sequences.
TEST_P(Fused, CachedLayerInPieces) {
  Environment whole = run(*module, "layer", environment);
  const Tensor &expected = tensorOf(whole, "activation");
  const Tensor x = std::get<Tensor>(environment["activation"]);
  int64_t capacity = 5, width = config.kvHeads * config.headDim;
  // A cache holds anything before it is written.
  Tensor keys({3 * capacity, width}, std::nan("")), values = keys;
  // Sequence 0 (rows 0–2) sits in slot 2, sequence 1 (rows 3–6) in slot 0.
  auto slotOf = [](int64_t row) { return row < 3 ? 2 : 0; };
  auto positionOf = [](int64_t row) { return row < 3 ? row : row - 3; };
  Tensor seen(expected.shape);
  for (std::vector<int64_t> rows :
       {std::vector<int64_t>{3, 4}, {0, 5}, {1}, {6, 2}}) {
    Environment call = environment;
    call.erase("context");
    Tensor input({int64_t(rows.size()), x.columns()});
    std::vector<double> positions, bases;
    for (size_t i = 0; i < rows.size(); ++i) {
      for (int64_t j = 0; j < x.columns(); ++j)
        input(i, j) = x(rows[i], j);
      positions.push_back(positionOf(rows[i]));
      bases.push_back(slotOf(rows[i]) * capacity);
    }
    call["activation"] = input;
    call["positions"] = Tensor::list(positions);
    call["bases"] = Tensor::list(bases);
    call["cache_keys"] = keys;
    call["cache_values"] = values;
    Environment cacheRows = run(*fused, "cache_rows", call);
    call["cache_rows"] = tensorOf(cacheRows, "cache_rows");
    Environment results = run(*fused, "layer.cached", call);
    ASSERT_FALSE(HasFailure());
    keys = tensorOf(results, "cache_keys");
    values = tensorOf(results, "cache_values");
    for (size_t i = 0; i < rows.size(); ++i)
      for (int64_t j = 0; j < x.columns(); ++j)
        seen(rows[i], j) = tensorOf(results, "activation")(i, j);
  }
  EXPECT_LT(difference(seen, expected), tolerance);
}

INSTANTIATE_TEST_SUITE_P(
    Models, Fused,
    testing::Values(Case{"llama", false, false, "none"},
                    Case{"llama_cheap", false, false, "cheap"},
                    Case{"llama_all", false, false, "all"},
                    Case{"qwen2", true, false, "none"},
                    Case{"qwen3", false, true, "cheap"},
                    Case{"bf16", false, false, "none", true},
                    Case{"qwen2_bf16_cheap", true, false, "cheap", true},
                    Case{"qwen3_bf16_all", false, true, "all", true}),
    [](const auto &info) { return info.param.name; });

} // namespace
