//===- Reference.cpp - the interpreter against numbers known from elsewhere
//===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Network.h"
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

using namespace r1c::reference;

namespace {

// The known answers of the Random123 distribution (kat_vectors).
TEST(Reference, Philox) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0}, {0, 0, 0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox({ones, ones}, {ones, ones, ones, ones}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0xa4093822, 0x299f31d0},
                   {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Reference, LogProbOfUniformLogits) {
  LogProb of = logProb(Tensor({1, 8}, 3.5), Tensor::list({2}), 0.7);
  EXPECT_NEAR(of.logp(0), -std::log(8), 1e-14);
  EXPECT_NEAR(of.entropy(0), std::log(8), 1e-14);
  EXPECT_NEAR(of.lse(0), 3.5 / 0.7 + std::log(8), 1e-14);
}

// A token that cannot be drawn has log-probability −inf and no share in the
// entropy.
TEST(Reference, LogProbOfMinusInfinity) {
  double infinity = std::numeric_limits<double>::infinity();
  LogProb of = logProb(Tensor({2, 3}, {0, 0, -infinity, 0, 0, -infinity}),
                       Tensor::list({0, 2}), 1);
  EXPECT_NEAR(of.logp(0), -std::log(2), 1e-15);
  EXPECT_EQ(of.logp(1), -infinity);
  EXPECT_NEAR(of.entropy(0), std::log(2), 1e-15);
}

TEST(Reference, RopeTurnsByThePosition) {
  Context context{{0, 2}, {0, 0}, {}, {}};
  Tensor y = rope(Tensor({2, 2}, {1, 0, 1, 0}), context, 1, {1.0}, false);
  EXPECT_EQ(y(0, 0), 1);
  EXPECT_NEAR(y(1, 0), std::cos(2), 1e-15);
  EXPECT_NEAR(y(1, 1), std::sin(2), 1e-15);
}

TEST(Reference, AttentionOfTheFirstRowIsItsValue) {
  Tensor q({2, 2}, {1, 2, 3, 4}), v({2, 2}, {5, 6, 7, 8});
  Attention of = attention(q, q, v, packedContext({1, 1}), 1, 1, 0.5);
  EXPECT_EQ(of.result.values, v.values);
  EXPECT_NEAR(of.lse(1), 0.5 * 25, 1e-15);
}

// Each token is drawn as often as its probability says: 20000 draws, standard
// deviation below 0.0036 for each frequency.
TEST(Reference, SampleFollowsTheProbabilities) {
  const double probability[] = {0.5, 0.25, 0.2, 0.05};
  const double temperature = 0.7;
  const int64_t draws = 20000;
  Tensor logits({draws, 4}), counter({draws, 4});
  for (int64_t i = 0; i < draws; ++i) {
    for (int64_t v = 0; v < 4; ++v)
      logits(i, v) = temperature * std::log(probability[v]) + 2;
    counter(i, 0) = i % 100;
    counter(i, 1) = i / 100;
  }
  Tensor token = sample(logits, temperature, counter, Tensor::list({42, 0}));
  double seen[4] = {};
  for (double value : token.values)
    seen[int64_t(value)] += 1.0 / draws;
  for (int v = 0; v < 4; ++v)
    EXPECT_NEAR(seen[v], probability[v], 0.018) << v;
}

TEST(Reference, Keep) {
  // Probabilities 0.4, 0.1, 0.3, 0.1, 0.1.
  Tensor logits({1, 5});
  const double p[] = {0.4, 0.1, 0.3, 0.1, 0.1};
  for (int v = 0; v < 5; ++v)
    logits(0, v) = std::log(p[v]) + 1;
  auto kept = [&](double topK, double topP, double minP) {
    Tensor result = keep(logits, 1, topK, topP, minP);
    std::string text;
    for (int v = 0; v < 5; ++v)
      text += result(0, v) == 1 ? 'x' : '.';
    return text;
  };
  EXPECT_EQ(kept(0, 1, 0), "xxxxx");
  EXPECT_EQ(kept(1, 1, 0), "x....");
  EXPECT_EQ(kept(2, 1, 0), "x.x..");
  // Equally probable tokens stay together.
  EXPECT_EQ(kept(3, 1, 0), "xxxxx");
  EXPECT_EQ(kept(9, 1, 0), "xxxxx");
  EXPECT_EQ(kept(0, 0.39, 0), "x....");
  EXPECT_EQ(kept(0, 0.41, 0), "x.x..");
  EXPECT_EQ(kept(0, 0.69, 0), "x.x..");
  EXPECT_EQ(kept(0, 0.71, 0), "xxxxx");
  // top_p is of what top_k has left: 0.4 of 0.7.
  EXPECT_EQ(kept(2, 0.57, 0), "x....");
  EXPECT_EQ(kept(2, 0.58, 0), "x.x..");
  EXPECT_EQ(kept(0, 1, 0.74), "x.x..");
  EXPECT_EQ(kept(0, 1, 0.76), "x....");
}

/// Over a kept set all is as if its tokens were the whole vocabulary.
TEST(Reference, KeptSetIsAVocabulary) {
  Tensor logits({1, 4}, {0.3, 2.5, -1, 0.7}), kept({1, 4}, {1, 0, 1, 1});
  Tensor alone({1, 3}, {0.3, -1, 0.7});
  LogProb of = logProb(logits, Tensor::list({3}), 0.8, &kept);
  LogProb expected = logProb(alone, Tensor::list({2}), 0.8);
  EXPECT_DOUBLE_EQ(of.logp(0), expected.logp(0));
  EXPECT_DOUBLE_EQ(of.entropy(0), expected.entropy(0));
  EXPECT_DOUBLE_EQ(of.lse(0), expected.lse(0));
  Tensor g = Tensor::list({0.6}), h = Tensor::list({-1.1});
  Tensor gradient = logitsGradient(logits, Tensor::list({3}), 0.8, &of.entropy,
                                   of.lse, &g, &h, &kept);
  Tensor ofAlone = logitsGradient(alone, Tensor::list({2}), 0.8,
                                  &expected.entropy, expected.lse, &g, &h);
  EXPECT_EQ(gradient(0, 1), 0);
  for (auto [v, w] : {std::pair(0, 0), {2, 1}, {3, 2}})
    EXPECT_DOUBLE_EQ(gradient(0, v), ofAlone(0, w));
  // The most probable token is not of it, and is not drawn.
  Tensor token =
      sample(logits, 0, Tensor({1, 4}), Tensor::list({42, 0}), &kept);
  EXPECT_EQ(token(0), 3);
}

TEST(Reference, SampleAtTemperatureZeroTakesTheFirstMaximum) {
  Tensor token = sample(Tensor({1, 4}, {1, 3, 3, 2}), 0, Tensor({1, 4}),
                        Tensor::list({42, 0}));
  EXPECT_EQ(token(0), 1);
}

} // namespace
