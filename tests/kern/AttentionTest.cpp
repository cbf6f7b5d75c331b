//===- AttentionTest.cpp - kern.attention and its backward ----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/kern/AttentionShape.h"
#include <algorithm>
#include <numeric>
#include <optional>

using namespace r1c::test;

namespace {

using Shape = AttentionShape;

std::string text(Shape s) {
  auto tensor = [&](int64_t columns, const std::string &type) {
    return "tensor<?x" + std::to_string(columns) + "x" + type + ">";
  };
  std::string q = tensor(s.heads * s.width, s.type),
              k = tensor(s.kvHeads * s.width, s.type),
              dq = tensor(s.heads * s.width, s.gradients),
              dk = tensor(s.kvHeads * s.width, s.gradients),
              l = tensor(s.heads, "f32"), i = "tensor<?xi32>";
  std::string attributes = " {heads = " + std::to_string(s.heads) +
                           ", kv_heads = " + std::to_string(s.kvHeads) +
                           ", scale = 0.3 : f32} : ";
  return "func.func @forward(%q: " + q + ", %k: " + k + ", %v: " + k +
         ", %p: " + i + ", %b: " + i + ") -> (" + q + ", " + l +
         ") attributes {kern.kernel} {\n"
         "  %0:2 = kern.attention %q, %k, %v at %p from %b" +
         attributes + q + ", " + k + ", " + k + ", " + i + ", " + i + " -> " +
         q + ", " + l +
         "\n"
         "  return %0#0, %0#1 : " +
         q + ", " + l +
         "\n}\n"
         "func.func @decode(%q: " +
         q + ", %k: " + k + ", %v: " + k + ", %p: " + i + ", %b: " + i +
         ") -> " + q +
         " attributes {kern.kernel} {\n"
         "  %0 = kern.attention %q, %k, %v at %p from %b" +
         attributes + q + ", " + k + ", " + k + ", " + i + ", " + i + " -> " +
         q +
         "\n"
         "  return %0 : " +
         q +
         "\n}\n"
         "func.func @backward(%q: " +
         q + ", %k: " + k + ", %v: " + k + ", %out: " + q + ", %lse: " + l +
         ", %g: " + q + ", %o: " + i + ") -> (" + dq + ", " + dk + ", " + dk +
         ") attributes {kern.kernel} {\n"
         "  %0:3 = kern.attention_backward %q, %k, %v out %out lse %lse seed "
         "%g offsets %o" +
         attributes + q + ", " + k + ", " + k + ", " + q + ", " + l + ", " + q +
         ", " + i + " -> " + dq + ", " + dk + ", " + dk +
         "\n"
         "  return %0#0, %0#1, %0#2 : " +
         dq + ", " + dk + ", " + dk + "\n}\n";
}

using Attention = AttentionFixture<Shape>;

TEST_P(Attention, ForwardAndBackward) {
  Kernels tuned(text(s)), naive(text(s), true),
      narrow(text(s), false, "x86-64-v3");
  // What must have the same bits; last the tuned ones for this machine.
  std::vector<std::vector<const Kernels *>> families = {{&tuned}};
  std::optional<Kernels> vectors, naiveVectors;
  if (!s.onTensorCores())
    families[0].push_back(&naive);
  if (s.onMatrixTiles()) {
    vectors.emplace(text(s), false, "native,-amx-bf16");
    naiveVectors.emplace(text(s), true, "x86-64-v3");
    families.insert(families.begin(), {&*vectors, &*naiveVectors, &narrow});
  } else if (!s.onTensorCores()) {
    families[0].push_back(&narrow);
  }
  std::vector<int32_t> offsets = {0, 1, 34, 34, 164, 180}, positions, bases;
  for (size_t i = 0; i + 1 < offsets.size(); ++i)
    for (int32_t r = offsets[i]; r < offsets[i + 1]; ++r)
      positions.push_back(r - offsets[i]), bases.push_back(offsets[i]);
  int64_t rows = offsets.back();
  auto q = random(rows * qc), k = random(rows * kc), v = random(rows * kc),
       g = random(rows * qc);
  // In doubles.
  std::vector<double> out, lse;
  std::vector<Sum> dq, dk, dv;
  // The backward takes the output as it was stored, and so does its meaning.
  auto compute = [&](const std::vector<float> *stored) {
    out.assign(rows * qc, 0), lse.assign(rows * s.heads, 0);
    dq.assign(rows * qc, {}), dk.assign(rows * kc, {}),
        dv.assign(rows * kc, {});
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t h = 0; h < s.heads; ++h) {
        const float *qr = &q[r * qc + h * s.width],
                    *gr = &g[r * qc + h * s.width];
        int64_t kh = h / (s.heads / s.kvHeads) * s.width, n = positions[r] + 1;
        std::vector<double> p(n);
        double sum = 0, d = 0;
        for (int64_t j = 0; j < n; ++j) {
          double x = 0;
          for (int64_t c = 0; c < s.width; ++c)
            x += double(qr[c]) * k[(bases[r] + j) * kc + kh + c];
          sum += p[j] = std::exp(x * 0.3f);
        }
        lse[r * s.heads + h] = std::log(sum);
        double *o = &out[r * qc + h * s.width];
        for (int64_t j = 0; j < n; ++j)
          for (int64_t c = 0; c < s.width; ++c)
            o[c] += p[j] / sum * v[(bases[r] + j) * kc + kh + c];
        for (int64_t c = 0; c < s.width; ++c)
          d += (stored ? (*stored)[o - out.data() + c] : o[c]) * gr[c];
        for (int64_t j = 0; j < n; ++j) {
          double dp = 0;
          for (int64_t c = 0; c < s.width; ++c)
            dp += double(gr[c]) * v[(bases[r] + j) * kc + kh + c];
          double ds = p[j] / sum * (dp - d) * 0.3f;
          for (int64_t c = 0; c < s.width; ++c) {
            dq[r * qc + h * s.width + c] +=
                ds * k[(bases[r] + j) * kc + kh + c];
            dk[(bases[r] + j) * kc + kh + c] += ds * qr[c];
            dv[(bases[r] + j) * kc + kh + c] += p[j] / sum * gr[c];
          }
        }
      }
  };
  compute(nullptr);
  Buffer Q = of(q), K = of(k), V = of(v), G = of(g), P = Buffer::of(positions),
         B = Buffer::of(bases), O = Buffer::of(offsets);
  std::vector<float> firstOut, firstDq, firstDk, firstDv, firstLse;
  std::vector<std::vector<float>> outs; // of each family
  for (const auto &family : families) {
    firstOut.clear();
    bool tiles = &family == &families.back() && s.onMatrixTiles();
    for (auto [kernels, workers] : runs(family, {1, 3})) {
      Buffer Y = poisoned(rows * qc),
             L = Buffer::poisoned<float>(rows * s.heads);
      kernels->run("forward", {&Q, &K, &V, &P, &B, &Y, &L}, rows, workers);
      Buffer dQ = poisonedGradient(rows * qc), dK = poisonedGradient(rows * kc),
             dV = poisonedGradient(rows * kc);
      kernels->run("backward", {&Q, &K, &V, &Y, &L, &G, &O, &dQ, &dK, &dV},
                   offsets.size() - 1, workers);
      if (firstOut.empty()) {
        firstOut = floats(Y), firstLse = L.values<float>(),
        firstDq = gradient(dQ), firstDk = gradient(dK), firstDv = gradient(dV);
        EXPECT_LE(worst(firstOut, out, 1), tolerance);
        EXPECT_LE(worst(firstLse, lse, 1), 5e-6);
        compute(&firstOut);
        // Tensor cores and tiles take p and ds in bf16: half a unit in the last
        // place of each term comes to what the results' own rounding costs.
        double ofTerms = s.onTensorCores() || tiles ? 0x1p-9 : 0;
        EXPECT_LE(worst(firstDq, dq, 2 * tolerance, ofTerms), 1);
        EXPECT_LE(worst(firstDk, dk, 2 * tolerance, ofTerms), 1);
        EXPECT_LE(worst(firstDv, dv, 2 * tolerance, ofTerms), 1);
        continue;
      }
      EXPECT_TRUE(sameBits(floats(Y), firstOut));
      EXPECT_TRUE(sameBits(L.values<float>(), firstLse));
      EXPECT_TRUE(sameBits(gradient(dQ), firstDq));
      EXPECT_TRUE(sameBits(gradient(dK), firstDk));
      EXPECT_TRUE(sameBits(gradient(dV), firstDv));
    }
    outs.push_back(firstOut);
  }

  // Decoding from a cache: other bases, one row or a mixture, other keys
  // around, NaN behind the last key.
  int64_t capacity = 140, slots = 4;
  std::vector<float> ck(slots * capacity * kc, NAN),
      cv(slots * capacity * kc, NAN);
  int64_t slot = rng()() % slots, first = offsets[3], last = offsets[4];
  std::copy(k.begin() + first * kc, k.begin() + last * kc,
            ck.begin() + slot * capacity * kc);
  std::copy(v.begin() + first * kc, v.begin() + last * kc,
            cv.begin() + slot * capacity * kc);
  std::vector<std::vector<int32_t>> mixtures = {{63, 64, 65},
                                                {5, 100, 17, 128}};
  for (int32_t alone : {0, 14, 15, 16, 46, 63, 110, 129})
    mixtures.push_back({alone});
  for (const std::vector<int32_t> &at : mixtures) {
    // Only the keys that the rows may see are numbers.
    int64_t seen = *std::max_element(at.begin(), at.end()) + 1;
    auto ck2 = ck, cv2 = cv;
    std::fill(ck2.begin() + (slot * capacity + seen) * kc, ck2.end(), NAN);
    std::fill(cv2.begin() + (slot * capacity + seen) * kc, cv2.end(), NAN);
    std::vector<float> q2;
    std::vector<int32_t> base(at.size(), slot * capacity);
    for (int32_t p : at)
      q2.insert(q2.end(), q.begin() + (first + p) * qc,
                q.begin() + (first + p + 1) * qc);
    Buffer Q2 = of(q2), K2 = of(ck2), V2 = of(cv2), P2 = Buffer::of(at),
           B2 = Buffer::of(base), Y = poisoned(at.size() * qc);
    for (size_t f = 0; f < families.size(); ++f) {
      families[f][0]->run("decode", {&Q2, &K2, &V2, &P2, &B2, &Y}, at.size(),
                          2);
      for (size_t i = 0; i < at.size(); ++i)
        EXPECT_TRUE(
            sameBits(floats(Y), i * qc, outs[f], (first + at[i]) * qc, qc))
            << "position " << at[i];
    }
  }

  // One sequence alone has the gradients that it has among others.
  auto cut = [&](const std::vector<float> &x, int64_t c) {
    return of({x.begin() + first * c, x.begin() + last * c});
  };
  Buffer Q1 = cut(q, qc), K1 = cut(k, kc), V1 = cut(v, kc),
         Y1 = cut(firstOut, qc), G1 = cut(g, qc),
         O1 = Buffer::of(std::vector<int32_t>{0, int32_t(last - first)});
  Buffer L1 = Buffer::of(std::vector<float>(firstLse.begin() + first * s.heads,
                                            firstLse.begin() + last * s.heads));
  Buffer dQ = poisonedGradient((last - first) * qc),
         dK = poisonedGradient((last - first) * kc),
         dV = poisonedGradient((last - first) * kc);
  tuned.run("backward", {&Q1, &K1, &V1, &Y1, &L1, &G1, &O1, &dQ, &dK, &dV}, 1,
            2);
  EXPECT_TRUE(
      sameBits(gradient(dQ), 0, firstDq, first * qc, (last - first) * qc));
  EXPECT_TRUE(
      sameBits(gradient(dK), 0, firstDk, first * kc, (last - first) * kc));
  EXPECT_TRUE(
      sameBits(gradient(dV), 0, firstDv, first * kc, (last - first) * kc));
}

// Values so small that what they add up to is none, or no normal number: what
// other rows of a tile see must not show in zeros, their signs, or the rest.
TEST_P(Attention, ARowAloneHasTheSameTinyNumbers) {
  Kernels tuned(text(s));
  int64_t rows = 100;
  std::vector<int32_t> positions(rows), bases(rows);
  std::iota(positions.begin(), positions.end(), 0);
  auto q = random(rows * qc), k = random(rows * kc),
       v = randomFloats(rows * kc, -0x1p-123, 0x1p-123);
  for (size_t i = 0; i < v.size(); i += 3)
    v[i] *= 0x1p-8;
  Buffer Q = of(q), K = of(k), V = of(v), P = Buffer::of(positions),
         B = Buffer::of(bases), Y = poisoned(rows * qc),
         L = Buffer::poisoned<float>(rows * s.heads);
  tuned.run("forward", {&Q, &K, &V, &P, &B, &Y, &L}, rows, 2);
  for (int32_t row : {0, 5, 31, 32, 40, 63, 64, 99}) {
    Buffer Q1 = of({q.begin() + row * qc, q.begin() + (row + 1) * qc}),
           P1 = Buffer::of(std::vector<int32_t>{row}),
           B1 = Buffer::of(std::vector<int32_t>{0}), Y1 = poisoned(qc);
    tuned.run("decode", {&Q1, &K, &V, &P1, &B1, &Y1}, 1);
    EXPECT_TRUE(sameBits(floats(Y1), 0, floats(Y), row * qc, qc))
        << "position " << row;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Attention,
    ::testing::Values(Shape{4, 2, 16, "f32"}, Shape{3, 1, 64, "f32"},
                      Shape{2, 2, 20, "f32"}, Shape{4, 4, 8, "f32"},
                      Shape{2, 1, 128, "f32"}, Shape{4, 2, 64, "bf16"},
                      Shape{2, 1, 128, "bf16"}, Shape{7, 1, 64, "bf16"},
                      Shape{6, 2, 64, "bf16", "f32"},
                      Shape{4, 2, 32, "bf16", "f32"}),
    [](const auto &info) { return info.param.name(); });

} // namespace
