//===- LongAttentionTest.cpp - kern.attention over many keys --------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Contexts of several segments of keys: a row's bits are the same in whatever
// tile it is, and whether one block of the grid takes all segments or each
// another one.
//===----------------------------------------------------------------------===//

#include "tests/kern/AttentionShape.h"
#include <algorithm>

using namespace r1c::test;

namespace {

using Shape = AttentionShape;

using LongAttention = AttentionFixture<Shape>;

TEST_P(LongAttention, EachRowAloneAndInTiles) {
  // `few`: places for some of the items below, but not for all.
  Kernels kernels(
      attentionText(s, "forward", true, false) +
      attentionText(s, "decode", true, false, "", "cached, ") +
      attentionText(s, "shared", false, true) +
      attentionText(s, "undivided", true, false,
                    ", kern.attention_places = 0 : i64", "cached, ") +
      attentionText(s, "few", true, false, ", kern.attention_places = 9 : i64",
                    "cached, "));
  ASSERT_TRUE(kernels.ok());
  // Of two sequences, one behind the other. In the first one's tile some rows
  // see nothing of later segments; in the second one's all see the first two.
  int64_t keys[2] = {2200, 2070};
  std::vector<int32_t> at[2] = {
      {0, 700, 1022, 1023, 1024, 1025, 2047, 2048, 2199}, {2049, 2048, 2069}};
  std::vector<int32_t> positions, bases;
  for (int sequence : {0, 1})
    for (int32_t p : at[sequence]) {
      positions.push_back(p);
      bases.push_back(sequence ? keys[0] : 0);
    }
  int64_t rows = positions.size(), all = keys[0] + keys[1];
  auto q = random(rows * qc), k = random(all * kc), v = random(all * kc);
  // Some keys far above all that came before them.
  for (int64_t row : {1030, 2050, 3300})
    for (int64_t c = 0; c < kc; ++c)
      k[row * kc + c] *= 4;
  Buffer Q = of(q), K = of(k), V = of(v), P = Buffer::of(positions),
         B = Buffer::of(bases), Y = poisoned(rows * qc),
         L = Buffer::poisoned<float>(rows * s.heads);
  kernels.run("forward", {&Q, &K, &V, &P, &B, &Y, &L}, rows, 2);
  std::vector<float> out = floats(Y), lse = L.values<float>();

  std::vector<double> expected(rows * qc), expectedLse(rows * s.heads);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t h = 0; h < s.heads; ++h) {
      int64_t from = r * qc + h * s.width, n = positions[r] + 1;
      int64_t head = bases[r] * kc + h / (s.heads / s.kvHeads) * s.width;
      std::vector<double> score(n);
      for (int64_t j = 0; j < n; ++j)
        for (int64_t c = 0; c < s.width; ++c)
          score[j] += double(q[from + c]) * k[head + j * kc + c] * 0.2f;
      double top = *std::max_element(score.begin(), score.end()), sum = 0;
      for (double x : score)
        sum += std::exp(x - top);
      expectedLse[r * s.heads + h] = top + std::log(sum);
      for (int64_t j = 0; j < n; ++j)
        for (int64_t c = 0; c < s.width; ++c)
          expected[from + c] +=
              std::exp(score[j] - top) / sum * v[head + j * kc + c];
    }
  EXPECT_LE(worst(out, expected, 1), tolerance);
  EXPECT_LE(worst(lse, expectedLse, 1), 5e-6);

  // The same rows, each alone: from copies of the keys that are no numbers
  // behind the last one that it sees.
  auto one = [&](int64_t r, const std::vector<const char *> &names) {
    std::vector<float> k1(k.begin() + bases[r] * kc,
                          k.begin() + (bases[r] + positions[r] + 1) * kc),
        v1(v.begin() + bases[r] * kc,
           v.begin() + (bases[r] + positions[r] + 1) * kc);
    k1.resize(k1.size() + 200 * kc, NAN);
    v1.resize(v1.size() + 200 * kc, NAN);
    Buffer K1 = of(k1), V1 = of(v1),
           Q1 = of({q.begin() + r * qc, q.begin() + (r + 1) * qc}),
           P1 = Buffer::of(std::vector<int32_t>{positions[r]}),
           B1 = Buffer::of(std::vector<int32_t>{0});
    for (const char *name : names) {
      Buffer Y1 = poisoned(qc), L1 = Buffer::poisoned<float>(s.heads);
      kernels.run(name, {&Q1, &K1, &V1, &P1, &B1, &Y1, &L1}, 1, 3);
      EXPECT_TRUE(sameBits(floats(Y1), 0, out, r * qc, qc))
          << name << ", position " << positions[r];
      EXPECT_TRUE(sameBits(L1.values<float>(), 0, lse, r * s.heads, s.heads))
          << name << ", position " << positions[r];
    }
  };
  for (int64_t r : {1, 3, 4, 7, 8, 10})
    one(r, {"decode", "undivided"});

  // Rows of both sequences in turn: each is alone in its tile, and what is
  // counted in the kernel's own memory is right for the next run.
  std::vector<int32_t> order, p2, b2;
  std::vector<float> q2;
  for (int32_t r : {8, 9, 4, 11, 0, 10, 6})
    order.push_back(r);
  for (int32_t r : order) {
    p2.push_back(positions[r]);
    b2.push_back(bases[r]);
    q2.insert(q2.end(), q.begin() + r * qc, q.begin() + (r + 1) * qc);
  }
  Buffer Q2 = of(q2), P2 = Buffer::of(p2), B2 = Buffer::of(b2);
  for (const char *name : {"decode", "few", "decode", "undivided"}) {
    Buffer Y2 = poisoned(q2.size()),
           L2 = Buffer::poisoned<float>(order.size() * s.heads);
    kernels.run(name, {&Q2, &K, &V, &P2, &B2, &Y2, &L2}, order.size(), 4);
    for (size_t i = 0; i < order.size(); ++i) {
      EXPECT_TRUE(sameBits(floats(Y2), i * qc, out, order[i] * qc, qc))
          << name << ", position " << p2[i];
      EXPECT_TRUE(sameBits(L2.values<float>(), i * s.heads, lse,
                           order[i] * s.heads, s.heads))
          << name << ", position " << p2[i];
    }
  }

  // The first sequence's keys, up to 1100 where they are, then elsewhere.
  std::vector<float> k3(k.begin(), k.begin() + 1100 * kc),
      v3(v.begin(), v.begin() + 1100 * kc);
  k3.resize(1500 * kc, NAN);
  v3.resize(1500 * kc, NAN);
  k3.insert(k3.end(), k.begin() + 1100 * kc, k.begin() + keys[0] * kc);
  v3.insert(v3.end(), v.begin() + 1100 * kc, v.begin() + keys[0] * kc);
  int32_t row = 8;
  Buffer K3 = of(k3), V3 = of(v3),
         Q3 = of({q.begin() + row * qc, q.begin() + (row + 1) * qc}),
         P3 = Buffer::of(std::vector<int32_t>{positions[row]}),
         B3 = Buffer::of(std::vector<int32_t>{400}),
         S3 = Buffer::of(std::vector<int32_t>{1100}),
         C3 = Buffer::of(std::vector<int32_t>{0}), Y3 = poisoned(qc);
  kernels.run("shared", {&Q3, &K3, &V3, &P3, &B3, &S3, &C3, &Y3}, 1, 2);
  EXPECT_TRUE(sameBits(floats(Y3), 0, out, row * qc, qc));
}

INSTANTIATE_TEST_SUITE_P(Shapes, LongAttention,
                         ::testing::Values(Shape{7, 1, 64, "bf16"},
                                           Shape{4, 2, 64, "bf16"},
                                           Shape{16, 1, 64, "bf16"},
                                           Shape{2, 1, 128, "bf16"},
                                           Shape{2, 1, 64, "f32"}),
                         [](const auto &info) { return info.param.name(); });

} // namespace
