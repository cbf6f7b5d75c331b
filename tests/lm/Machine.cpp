//===- Machine.cpp - models as machine code -------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Compiled float32 kernels against the float64 interpreter, within rounding;
// and what r1c promises about bits, with equality.
//===----------------------------------------------------------------------===//

#include "compiler/reference/Network.h"
#include "compiler/tools/CompiledModel.h"
#include "tests/kern/Harness.h"
#include "tests/lm/Harness.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace r1c;
using namespace r1c::test;

namespace {

/// One model, differentiated, fused and compiled once for all tests.
struct Model {
  explicit Model(const ModelConfig &config) : config(config) {
    context = makeContext();
    module = expand(*context, config);
    EXPECT_TRUE(differentiate(*module, "cheap"));
    fused = OwningOpRef<ModuleOp>(module->clone());
    EXPECT_TRUE(fuse(*fused));
    auto result = CompiledModel::compile(*fused);
    EXPECT_TRUE(succeeded(result));
    if (succeeded(result))
      compiled = std::move(*result);
  }
  ModelConfig config;
  std::unique_ptr<MLIRContext> context;
  OwningOpRef<ModuleOp> module, fused;
  std::unique_ptr<CompiledModel> compiled;
};

Model &model(int which) {
  static std::unique_ptr<Model> models[5];
  if (!models[which]) {
    ModelConfig config = smallConfig(which == 1, which % 3 == 2, which >= 3);
    if (which % 3 == 0) {
      // Widths that are no multiples of panels, tiles or lanes.
      config.hidden = 72;
      config.headDim = 18;
      config.intermediate = 80;
      // Three chunks of the head, the last one narrow.
      config.vocabulary = config.bf16 ? 646 : 643;
    }
    models[which] = std::make_unique<Model>(config);
  }
  return *models[which];
}

class Machine : public testing::TestWithParam<int> {
protected:
  void SetUp() override {
    const ModelConfig &config = m.config;
    auto op = *m.module->getOps<lm::ModelOp>().begin();
    for (auto parameter : op.getBody().getOps<lm::ParameterOp>()) {
      auto shape = cast<RankedTensorType>(parameter.getType()).getShape();
      std::string name = parameter.getParameter().str();
      environment["parameter " + name] = random(shape.vec(), 0.3);
      environment["parameter_gradient " + name] = random(shape.vec(), 1);
    }
    environment["context"] = reference::packedContext({3, 9, 1, 70});
    environment["activation"] = random({83, config.hidden}, 1);
    environment["gradient activation"] = random({83, config.hidden}, 1);
    environment["gradient_init activation"] = Tensor({83, config.hidden});
    std::vector<double> tokens, targets, rows;
    for (int i = 0; i < 83; ++i)
      tokens.push_back(rng()() % config.vocabulary);
    environment["tokens"] = Tensor::list(tokens);
    for (int i = 0; i < 40; ++i) {
      rows.push_back((i * 37 + 5) % 83);
      targets.push_back(rng()() % config.vocabulary);
    }
    environment["rows"] = Tensor::list(rows);
    environment["targets"] = Tensor::list(targets);
    environment["gradient logp"] = random({40}, 1);
    environment["gradient entropy"] = random({40}, 1);
    environment["temperature"] = Tensor::number(0.75);
    Tensor kept({40, config.vocabulary});
    for (int64_t i = 0; i < kept.rows(); ++i)
      for (int64_t v = 0; v < kept.columns(); ++v)
        kept(i, v) = v == int64_t(targets[i]) || rng()() % 3 == 0;
    environment["kept"] = kept;
    Tensor counter({40, 4});
    for (double &word : counter.values)
      word = int32_t(rng()());
    environment["counter"] = counter;
    environment["key"] = Tensor::list({double(int32_t(rng()())), 3});
  }

  /// Numbers that float32 holds exactly, so that both sides start from the
  /// same.
  Tensor random(std::vector<int64_t> shape, double scale) {
    Tensor result = randomTensor(std::move(shape), rng(), scale);
    for (double &value : result.values)
      value = float(value);
    return result;
  }

  Environment machine(StringRef function, const Environment &environment,
                      int64_t workers = 1) {
    auto func = m.fused->lookupSymbol<func::FuncOp>(("m." + function).str());
    auto results = m.compiled->run(func, environment, workers);
    EXPECT_TRUE(succeeded(results)) << function.str();
    return succeeded(results) ? std::move(*results) : Environment();
  }

  /// ‖a − b‖ / ‖b‖.
  static double relative(const Tensor &a, const Tensor &b) {
    double error = 0, size = 0;
    for (int64_t i = 0; i < b.count(); ++i) {
      error += (a(i) - b(i)) * (a(i) - b(i));
      size += b(i) * b(i);
    }
    return std::sqrt(error / size);
  }

  /// Compiled results near the interpreter's of the fused function. With
  /// bfloat16 each operand of a product is off by up to 2^-9 of itself, so
  /// single sums that cancel may be far off; what is bounded is the error of
  /// the whole tensor: a dozen roundings one after the other, as a random walk.
  void near(StringRef function, double tolerance) {
    Environment expected = test::run(*m.fused, function, environment);
    Environment actual = machine(function, environment);
    ASSERT_EQ(expected.size(), actual.size());
    for (const auto &[key, value] : expected) {
      const Tensor &a = tensorOf(actual, key), &b = std::get<Tensor>(value);
      if (m.config.bf16)
        EXPECT_LT(relative(a, b), 0.01) << function.str() << ": " << key;
      else
        EXPECT_LT(difference(a, b), tolerance) << function.str() << ": " << key;
    }
  }

  /// Every result the same, bit for bit (values are floats held in doubles; NaN
  /// is never equal, which is right: nothing here may be NaN).
  void same(const Environment &a, const Environment &b) {
    ASSERT_EQ(a.size(), b.size());
    for (const auto &[key, value] : a)
      EXPECT_EQ(std::get<Tensor>(value).values, tensorOf(b, key).values) << key;
  }

  void addSaved(const Environment &results) {
    for (const auto &[key, value] : results) {
      environment.emplace(key, value);
      environment.emplace("saved " + key, value);
    }
  }

  static Tensor take(const Tensor &x, const std::vector<int64_t> &rows) {
    Tensor result({int64_t(rows.size()), x.columns()});
    for (size_t i = 0; i < rows.size(); ++i)
      for (int64_t j = 0; j < x.columns(); ++j)
        result(i, j) = x(rows[i], j);
    return result;
  }
  static Tensor slice(const Tensor &x, int64_t from, int64_t to) {
    return Tensor::list({x.values.begin() + from, x.values.begin() + to});
  }

  Model &m = model(GetParam());
  Environment environment;
};

TEST_P(Machine, MeansTheSame) {
  near("embed", 1e-7);
  near("embed.backward", 1e-5);
  near("layer", 2e-5);
  near("layer.train", 2e-5);
  near("logits", 2e-5);
  near("head", 2e-5);
  addSaved(machine("head", environment));
  near("head.backward", 2e-4);
  near("head.backward.logp", 2e-4);
}

TEST_P(Machine, FilteredHeadMeansTheSame) {
  near("head.filtered", 2e-5);
  addSaved(machine("head.filtered", environment));
  near("head.filtered.backward", 2e-4);
  near("head.filtered.backward.logp", 2e-4);
  for (StringRef function : {"head.filtered", "head.filtered.backward"})
    same(machine(function, environment, 1), machine(function, environment, 3));
}

/// A kept set of all tokens leaves every bit as it is, of results and
/// gradients.
TEST_P(Machine, KeepingAllIsNoFilter) {
  environment["kept"] = Tensor({40, m.config.vocabulary}, 1);
  same(machine("head", environment), machine("head.filtered", environment));
  addSaved(machine("head", environment));
  for (std::string suffix : {".backward", ".backward.logp"})
    same(machine("head" + suffix, environment),
         machine("head.filtered" + suffix, environment));
}

/// Rows of a tensor.
Tensor rowsOf(const Tensor &all, const std::vector<double> &rows) {
  std::vector<int64_t> shape = all.shape;
  int64_t width = all.values.size() / shape[0];
  shape[0] = rows.size();
  Tensor result(shape);
  for (size_t i = 0; i < rows.size(); ++i)
    std::copy_n(all.values.begin() + int64_t(rows[i]) * width, width,
                result.values.begin() + i * width);
  return result;
}

/// Logits that are kept from the forward pass, as an update does, or computed
/// again; of some of the targets, in the backward.
TEST_P(Machine, StoredLogitsChangeNoBit) {
  Environment given = environment;
  for (std::string head : {"head", "head.filtered"}) {
    environment = given;
    Environment plain = machine(head, environment),
                stored = machine(head + ".stored", environment);
    ASSERT_EQ(stored.size(), plain.size() + 1);
    for (const auto &[key, value] : plain)
      EXPECT_EQ(std::get<Tensor>(value).values, tensorOf(stored, key).values);
    addSaved(stored);
    for (double left : {1.0, 0.4}) {
      std::vector<double> rows;
      for (int i = 0; i < 40; ++i)
        if (i == 7 || left == 1 || rng()() % 10 < 10 * left)
          rows.push_back(i);
      Environment some = environment;
      for (auto &[key, value] : some)
        if (auto *tensor = std::get_if<Tensor>(&value);
            tensor && !tensor->shape.empty() && tensor->shape[0] == 40 &&
            key.find("logits") == std::string::npos &&
            key.find("parameter") == std::string::npos)
          *tensor = rowsOf(*tensor, rows);
      some["logit_rows"] = Tensor::list(rows);
      for (std::string suffix : {".backward", ".backward.logp"})
        same(machine(head + suffix, some),
             machine(head + suffix + ".stored", some));
    }
  }
}

TEST_P(Machine, LayerBackward) {
  addSaved(machine("layer.train", environment));
  near("layer.backward", 5e-4);
}

TEST_P(Machine, WorkersDoNotChangeBits) {
  addSaved(machine("layer.train", environment));
  addSaved(machine("head", environment));
  for (StringRef function : {"embed", "embed.backward", "layer.train",
                             "layer.backward", "head", "head.backward"})
    same(machine(function, environment, 1), machine(function, environment, 3));
}

TEST_P(Machine, TrainIsScoreWithStores) {
  Environment score = machine("layer", environment);
  Environment train = machine("layer.train", environment);
  EXPECT_EQ(tensorOf(score, "activation").values,
            tensorOf(train, "activation").values);
}

/// The rows of packed sequences, and the same rows through a cache, a few at a
/// time, in slots in another order: equal bits.
TEST_P(Machine, CacheGivesTheBitsOfTraining) {
  Environment whole = machine("layer.train", environment);
  const Tensor &expected = tensorOf(whole, "activation");
  const Tensor x = std::get<Tensor>(environment["activation"]);
  const Context packed = std::get<Context>(environment["context"]);
  int64_t capacity = 80, width = m.config.kvHeads * m.config.headDim;
  Tensor keys({4 * capacity, width}, std::nan("")), values = keys;
  auto slotOf = [&](int64_t row) {
    return row < 3 ? 2 : row < 12 ? 0 : row < 13 ? 3 : 1;
  };
  // A prompt's rows together, then decode rows of all sequences mixed.
  std::vector<std::vector<int64_t>> calls{{0, 1, 3, 4, 5, 6, 7, 12}};
  calls.push_back({2, 8});
  for (int64_t row = 13; row < 60; ++row)
    calls.back().push_back(row);
  for (int64_t row : {9, 60})
    calls.push_back({row});
  calls.push_back({61, 10});
  calls.push_back({62, 11});
  for (int64_t row = 63; row < 83; ++row)
    calls.push_back({row});
  for (const std::vector<int64_t> &rows : calls) {
    Environment call = environment;
    call.erase("context");
    std::vector<double> positions, bases;
    for (int64_t row : rows) {
      positions.push_back(packed.positions[row]);
      bases.push_back(slotOf(row) * capacity);
    }
    call["activation"] = take(x, rows);
    call["positions"] = Tensor::list(positions);
    call["bases"] = Tensor::list(bases);
    call["cache_keys"] = keys;
    call["cache_values"] = values;
    call["cache_rows"] = tensorOf(machine("cache_rows", call), "cache_rows");
    Environment results = machine("layer.cached", call, 2);
    ASSERT_FALSE(HasFailure());
    keys = tensorOf(results, "cache_keys");
    values = tensorOf(results, "cache_values");
    ASSERT_EQ(tensorOf(results, "activation").values,
              take(expected, rows).values);
  }
}

/// A prompt of 21 tokens with three sequences behind it, and one of 10 alone:
/// the bits of the same rows with the prompt in front of each sequence, and
/// gradients that mean the same.
TEST_P(Machine, SharedPromptGivesTheBitsOfWholeSequences) {
  const std::vector<int64_t> lengths{7, 1, 44};
  const int64_t prompt = 21;
  Context shared;
  std::vector<int64_t> places; // of the packed rows among the whole ones
  auto add = [&](int64_t position, int64_t base, int64_t own, int64_t place) {
    shared.positions.push_back(position);
    shared.bases.push_back(base);
    shared.shared.push_back(own);
    shared.sharedBases.push_back(0);
    places.push_back(place);
  };
  for (int64_t p = 0; p < prompt; ++p)
    add(p, 0, 0, p);
  int64_t first = 0;
  for (int64_t length : lengths) {
    int64_t base = shared.positions.size() - prompt;
    for (int64_t p = prompt; p < prompt + length; ++p)
      add(p, base, prompt, first + p);
    first += prompt + length;
  }
  int64_t alone = shared.positions.size();
  for (int64_t p = 0; p < 10; ++p)
    add(p, alone, 0, first + p);
  for (int64_t p = 0; p < 10; ++p)
    shared.sharedBases[alone + p] = alone;

  ASSERT_EQ(shared.positions.size(), 83u);
  Tensor x = std::get<Tensor>(environment["activation"]);
  Tensor whole({first + 10, x.columns()});
  for (int64_t row = 0; row < 83; ++row)
    for (int64_t j = 0; j < x.columns(); ++j) {
      whole(places[row], j) = x(row, j);
      if (row < prompt) // in front of the other sequences, too
        for (int64_t at : {prompt + 7, 2 * prompt + 8})
          whole(at + row, j) = x(row, j);
    }
  Environment apart = environment;
  apart["activation"] = whole;
  apart["context"] = reference::packedContext({28, 22, 65, 10});
  environment["context"] = shared;
  Environment packed = machine("layer.train", environment);
  EXPECT_EQ(take(tensorOf(machine("layer.train", apart), "activation"), places)
                .values,
            tensorOf(packed, "activation").values);
  near("layer.train", 2e-5);
  addSaved(packed);
  near("layer.backward", 5e-4);
  same(machine("layer.backward", environment, 1),
       machine("layer.backward", environment, 3));
}

/// The log-probability that sampling records is the one that training computes.
TEST_P(Machine, SampledLogProbIsTheTrainedOne) {
  for (double temperature : {1.0, 0.75, 0.0}) {
    environment["temperature"] = Tensor::number(temperature);
    Environment sampled = machine("sample", environment);
    Environment training = environment;
    // Other rows around, in another order, and the sampled token as target.
    const Tensor &token = tensorOf(sampled, "token");
    Tensor rows = std::get<Tensor>(environment["rows"]), targets = token;
    std::reverse(rows.values.begin(), rows.values.end());
    std::reverse(targets.values.begin(), targets.values.end());
    training["rows"] = rows;
    training["targets"] = targets;
    Tensor logp = tensorOf(machine("head", training, 2), "logp");
    std::reverse(logp.values.begin(), logp.values.end());
    EXPECT_EQ(logp.values, tensorOf(sampled, "logp").values) << temperature;
  }
}

/// The same with a filter: the kept set that the sampler leaves makes training
/// compute what the sampler recorded.
TEST_P(Machine, FilteredLogProbIsTheTrainedOne) {
  environment["top_k"] = Tensor::number(20);
  environment["top_p"] = Tensor::number(0.9);
  environment["min_p"] = Tensor::number(0.01);
  for (double temperature : {1.0, 0.75, 0.0}) {
    environment["temperature"] = Tensor::number(temperature);
    Environment sampled = machine("sample.filtered", environment);
    const Tensor &token = tensorOf(sampled, "token");
    const Tensor &kept = tensorOf(sampled, "kept");
    Environment training = environment;
    Tensor rows = std::get<Tensor>(environment["rows"]), targets = token;
    std::reverse(rows.values.begin(), rows.values.end());
    std::reverse(targets.values.begin(), targets.values.end());
    std::vector<int64_t> order;
    int64_t left = 0;
    for (int64_t i = 0; i < token.count(); ++i) {
      order.insert(order.begin(), i);
      EXPECT_EQ(kept(i, int64_t(token(i))), 1) << "drawn from outside";
      for (int64_t v = 0; v < kept.columns(); ++v)
        left += kept(i, v) == 0;
    }
    EXPECT_GT(left, 0);
    training["rows"] = rows;
    training["targets"] = targets;
    training["kept"] = take(kept, order);
    Tensor logp = tensorOf(machine("head.filtered", training, 2), "logp");
    std::reverse(logp.values.begin(), logp.values.end());
    EXPECT_EQ(logp.values, tensorOf(sampled, "logp").values) << temperature;
  }
}

TEST_P(Machine, HeadInChunks) {
  for (StringRef function : {"head", "head.filtered"}) {
    Environment whole = machine(function, environment);
    int64_t cuts[] = {0, 1, 18, 40};
    for (int i = 0; i < 3; ++i) {
      Environment chunk = environment;
      std::vector<int64_t> cut;
      for (int64_t row = cuts[i]; row < cuts[i + 1]; ++row)
        cut.push_back(row);
      chunk["kept"] = take(std::get<Tensor>(environment["kept"]), cut);
      for (const char *key : {"rows", "targets"})
        chunk[key] =
            slice(std::get<Tensor>(environment[key]), cuts[i], cuts[i + 1]);
      Environment results = machine(function, chunk);
      for (const auto &[key, value] : results)
        EXPECT_EQ(std::get<Tensor>(value).values,
                  slice(tensorOf(whole, key), cuts[i], cuts[i + 1]).values)
            << key;
    }
  }
}

/// Draws agree with the interpreter's on the same logits, but where two scores
/// are equal to rounding.
TEST_P(Machine, SamplesTheInterpretersTokens) {
  int64_t differ = 0, count = 0;
  for (int repeat = 0; repeat < 10; ++repeat) {
    Tensor counter({40, 4});
    for (double &word : counter.values)
      word = int32_t(rng()());
    environment["counter"] = counter;
    Tensor a = tensorOf(machine("sample", environment), "token");
    Tensor b = tensorOf(test::run(*m.module, "sample", environment), "token");
    ASSERT_EQ(a.count(), b.count());
    for (int64_t i = 0; i < a.count(); ++i, ++count)
      differ += a(i) != b(i);
  }
  EXPECT_EQ(count, 400);
  // A logit that is off by 2^-8 changes about one draw in a hundred.
  EXPECT_LE(differ, m.config.bf16 ? 20 : 1);
}

/// Filters that are off leave every bit as it is.
TEST_P(Machine, NoFilterIsNoFilter) {
  environment["top_k"] = Tensor::number(0);
  environment["top_p"] = Tensor::number(1);
  environment["min_p"] = Tensor::number(0);
  Environment filtered = machine("sample.filtered", environment);
  Environment plain = machine("sample", environment);
  for (const char *key : {"token", "logp"})
    EXPECT_EQ(tensorOf(filtered, key).values, tensorOf(plain, key).values);
  EXPECT_EQ(tensorOf(filtered, "kept").values,
            Tensor({40, m.config.vocabulary}, 1).values);
}

/// Drawn tokens are of the kept set, and their probabilities are relative to
/// it.
TEST_P(Machine, FilteredSample) {
  environment["top_k"] = Tensor::number(7);
  environment["top_p"] = Tensor::number(0.8);
  environment["min_p"] = Tensor::number(0.02);
  Environment results = machine("sample.filtered", environment);
  const Tensor &token = tensorOf(results, "token");
  Tensor logits = tensorOf(machine("logits", environment), "logits");
  // The filter of the machine's own logits: equal but where a probability
  // stands at a threshold to rounding.
  Tensor kept = tensorOf(results, "kept");
  Tensor expected = reference::keep(logits, 0.75, 7, 0.8, 0.02);
  EXPECT_EQ(kept.values, expected.values);
  reference::LogProb of = reference::logProb(logits, token, 0.75, &kept);
  EXPECT_LT(difference(tensorOf(results, "logp"), of.logp), 2e-5);
  same(results, machine("sample.filtered", environment, 3));
}

TEST_P(Machine, TemperatureZeroTakesTheMaximum) {
  environment["temperature"] = Tensor::number(0);
  Tensor token = tensorOf(machine("sample", environment), "token");
  Tensor logits = tensorOf(machine("logits", environment), "logits");
  for (int64_t i = 0; i < token.count(); ++i)
    for (int64_t v = 0; v < logits.columns(); ++v) {
      EXPECT_LE(logits(i, v), logits(i, int64_t(token(i))));
      if (v < token(i))
        EXPECT_LT(logits(i, v), logits(i, int64_t(token(i))));
    }
}

const char *const names[] = {"llama", "qwen2", "qwen3", "llama_bf16",
                             "qwen3_bf16"};

INSTANTIATE_TEST_SUITE_P(Models, Machine, testing::Values(0, 1, 2, 3, 4),
                         [](const auto &info) {
                           return std::string(names[info.param]);
                         });

} // namespace
