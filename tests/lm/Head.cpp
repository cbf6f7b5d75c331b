//===- Head.cpp - log-probabilities and draws over a vocabulary -----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A hidden size of one gives any logit exactly: x = 1, w = the logit. Three
// chunks of the vocabulary, the last one narrow.
//===----------------------------------------------------------------------===//

#include "compiler/tools/CompiledModel.h"
#include "tests/kern/Harness.h"
#include "tests/lm/Harness.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace r1c;
using namespace r1c::test;

namespace {

constexpr int64_t vocabulary = 700;
constexpr double infinity = std::numeric_limits<double>::infinity();

const char *source = R"(
func.func @m.head(%x: tensor<?x1xf32> {r1c.role = "activation"}, %w: tensor<700x1xf32> {r1c.role = "parameter", r1c.parameter = "w"},
    %y: tensor<?xi32> {r1c.role = "targets"}, %t: tensor<f32> {r1c.role = "temperature"})
    -> (tensor<?xf32> {r1c.role = "logp"}, tensor<?xf32> {r1c.role = "entropy"}, tensor<?xf32> {r1c.role = "lse"})
    attributes {r1c.model = @m, r1c.function = "head"} {
  %logp, %entropy, %lse = lm.head %x, %w, %y, %t : tensor<?x1xf32>, tensor<700x1xf32>, tensor<?xi32> -> tensor<?xf32>
  return %logp, %entropy, %lse : tensor<?xf32>, tensor<?xf32>, tensor<?xf32>
}
func.func @m.sample(%x: tensor<?x1xf32> {r1c.role = "activation"}, %w: tensor<700x1xf32> {r1c.role = "parameter", r1c.parameter = "w"},
    %t: tensor<f32> {r1c.role = "temperature"}, %c: tensor<?x4xi32> {r1c.role = "counter"}, %k: tensor<2xi32> {r1c.role = "key"})
    -> (tensor<?xi32> {r1c.role = "token"}, tensor<?xf32> {r1c.role = "logp"})
    attributes {r1c.model = @m, r1c.function = "sample"} {
  %logits = lm.linear %x, %w : (tensor<?x1xf32>, tensor<700x1xf32>) -> tensor<?x700xf32>
  %token = lm.sample %logits, %t, %c, %k : (tensor<?x700xf32>, tensor<f32>, tensor<?x4xi32>, tensor<2xi32>) -> tensor<?xi32>
  %logp, %entropy, %lse = lm.log_prob %logits, %token, %t : tensor<?x700xf32>, tensor<?xi32> -> tensor<?xf32>
  return %token, %logp : tensor<?xi32>, tensor<?xf32>
}
)";

class Head : public testing::Test {
protected:
  static void SetUpTestSuite() {
    context = makeContext();
    module = parse(*context, source);
    ASSERT_TRUE(module && fuse(*module));
    auto result = CompiledModel::compile(*module);
    ASSERT_TRUE(succeeded(result));
    compiled = std::move(*result);
  }
  static void TearDownTestSuite() {
    compiled.reset();
    module = nullptr;
    context.reset();
  }

  static Environment machine(StringRef function, const Environment &environment,
                             int64_t workers = 1) {
    auto func = module->lookupSymbol<func::FuncOp>(("m." + function).str());
    auto results = compiled->run(func, environment, workers);
    EXPECT_TRUE(succeeded(results)) << function.str();
    return succeeded(results) ? std::move(*results) : Environment();
  }

  struct Row {
    double logp, entropy, lse;
  };
  /// In float64, from the logits as they are.
  static Row expected(const std::vector<double> &z, int64_t target, double t) {
    double m = -infinity, total = 0, weighted = 0;
    for (double v : z)
      m = std::max(m, v / t);
    for (double v : z)
      total += std::exp(v / t - m);
    for (double v : z)
      if (double p = std::exp(v / t - m) / total; p > 0)
        weighted += p * (v / t - m);
    double log = std::log(total);
    return {z[target] / t - m - log, log - weighted, m + log};
  }

  static Row head(const std::vector<double> &z, int64_t target, double t,
                  double x = 1) {
    Environment e;
    e["activation"] = Tensor({1, 1}, x);
    Tensor w({vocabulary, 1});
    w.values = z;
    e["parameter w"] = w;
    e["targets"] = Tensor::list({double(target)});
    e["temperature"] = Tensor::number(t);
    Environment r = machine("head", e);
    return {tensorOf(r, "logp")(0), tensorOf(r, "entropy")(0),
            tensorOf(r, "lse")(0)};
  }

  static std::vector<double> logits(double scale) {
    std::vector<double> z;
    for (float v : randomFloats(vocabulary, -scale, scale))
      z.push_back(v);
    return z;
  }

  static std::unique_ptr<MLIRContext> context;
  static OwningOpRef<ModuleOp> module;
  static std::unique_ptr<CompiledModel> compiled;
};
std::unique_ptr<MLIRContext> Head::context;
OwningOpRef<ModuleOp> Head::module;
std::unique_ptr<CompiledModel> Head::compiled;

/// Float32: the last bit of the largest number involved, and of exp.
void expectNear(double got, double want, double size) {
  EXPECT_NEAR(got, want, 4e-6 + 3e-7 * size);
}

TEST_F(Head, Numbers) {
  for (double scale : {0.1, 3.0, 40.0, 300.0})
    for (double t : {1.0, 0.7, 2.5}) {
      auto z = logits(scale);
      int64_t target = rng()() % vocabulary;
      Row got = head(z, target, t), want = expected(z, target, t);
      double size = scale / t;
      expectNear(got.logp, want.logp, size);
      expectNear(got.entropy, want.entropy, size);
      expectNear(got.lse, want.lse, size);
    }
}

/// Columns of −∞, whole chunks of them among, count for nothing.
TEST_F(Head, Masked) {
  auto z = logits(3);
  for (int64_t j = 0; j < vocabulary; ++j)
    if (j < 300 || j > 520 || rng()() % 2)
      z[j] = -infinity;
  z[400] = 1.25;
  Row got = head(z, 400, 1), want = expected(z, 400, 1);
  expectNear(got.logp, want.logp, 3);
  expectNear(got.entropy, want.entropy, 3);
  EXPECT_EQ(head(z, 10, 1).logp, -infinity);
  // All mass on one column of the narrow chunk.
  std::vector<double> alone(vocabulary, -infinity);
  alone[699] = -7;
  got = head(alone, 699, 1);
  EXPECT_EQ(got.logp, 0);
  EXPECT_EQ(got.entropy, 0);
  EXPECT_EQ(got.lse, -7);
}

TEST_F(Head, Extreme) {
  std::vector<double> z(vocabulary, -1e30);
  z[300] = 1e30;
  Row got = head(z, 300, 1);
  EXPECT_EQ(got.logp, 0);
  EXPECT_EQ(got.entropy, 0);
  EXPECT_EQ(got.lse, float(1e30));
  EXPECT_EQ(head(z, 0, 1).logp, float(-2e30));
  // All equal and huge.
  std::vector<double> flat(vocabulary, 1e30);
  got = head(flat, 5, 1);
  expectNear(got.logp, -std::log(double(vocabulary)), 0);
  expectNear(got.entropy, std::log(double(vocabulary)), 0);
}

/// What has no log-probability is a NaN, not a number.
TEST_F(Head, NaN) {
  for (double bad : {std::nan(""), infinity}) {
    auto z = logits(3);
    z[513] = bad;
    Row got = head(z, 7, 1);
    EXPECT_TRUE(std::isnan(got.logp)) << got.logp;
    EXPECT_TRUE(std::isnan(got.entropy)) << got.entropy;
  }
  Row got = head(std::vector<double>(vocabulary, -infinity), 7, 1);
  EXPECT_TRUE(std::isnan(got.logp)) << got.logp;
  got = head(logits(3), 7, 1, std::nan(""));
  EXPECT_TRUE(std::isnan(got.logp) && std::isnan(got.lse));
}

/// Draws are in proportion, never of a masked token, and record the bits of the
/// head.
TEST_F(Head, Draws) {
  std::vector<double> z(vocabulary, -infinity);
  z[3] = 0.5, z[255] = -0.25, z[256] = 1, z[698] = 0;
  int64_t rows = 4000;
  Environment e;
  Tensor w({vocabulary, 1});
  w.values = z;
  e["activation"] = Tensor({rows, 1}, 1);
  e["parameter w"] = w;
  e["temperature"] = Tensor::number(0.8);
  Tensor counter({rows, 4});
  for (double &word : counter.values)
    word = int32_t(rng()());
  e["counter"] = counter;
  e["key"] = Tensor::list({double(int32_t(rng()())), 1});
  Environment drawn = machine("sample", e, 3);
  const Tensor &token = tensorOf(drawn, "token"),
               &logp = tensorOf(drawn, "logp");
  std::map<int64_t, int64_t> count;
  for (int64_t i = 0; i < rows; ++i)
    ++count[token(i)];
  for (auto [j, n] : count) {
    ASSERT_TRUE(z[j] > -infinity) << "token " << j;
    double p = std::exp(expected(z, j, 0.8).logp);
    // Five standard deviations.
    EXPECT_NEAR(double(n) / rows, p, 5 * std::sqrt(p * (1 - p) / rows)) << j;
  }
  EXPECT_EQ(count.size(), 4u);
  e["targets"] = token;
  EXPECT_EQ(tensorOf(machine("head", e, 2), "logp").values, logp.values);
  e["temperature"] = Tensor::number(0);
  drawn = machine("sample", e, 2);
  for (int64_t i = 0; i < rows; ++i)
    ASSERT_EQ(tensorOf(drawn, "token")(i), 256);
}

} // namespace
