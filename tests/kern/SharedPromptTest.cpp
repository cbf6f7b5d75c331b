//===- SharedPromptTest.cpp - attention over a prompt that a group shares -===//
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

struct Shape : AttentionShape {
  using AttentionShape::AttentionShape;

  /// Scores of one size whatever the width: their rounding is what bounds the
  /// results'.
  float scale() const { return 1.2f / std::sqrt(float(width)); }
};

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
                           ", scale = " + std::to_string(s.scale()) +
                           " : f32} : ";
  std::string qkv = q + ", " + k + ", " + k,
              gradients = dq + ", " + dk + ", " + dk;
  auto forward = [&](const std::string &name, bool shared) {
    return "func.func @" + name + "(%q: " + q + ", %k: " + k + ", %v: " + k +
           ", %p: " + i + ", %b: " + i +
           (shared ? ", %s: " + i + ", %sb: " + i : "") + ") -> (" + q + ", " +
           l + ") attributes {kern.kernel} {\n" +
           "  %0:2 = kern.attention %q, %k, %v at %p from %b" +
           (shared ? " shared %s from %sb" : "") + attributes + qkv + ", " + i +
           ", " + i + (shared ? " shared " + i + " from " + i : "") + " -> " +
           q + ", " + l + "\n  return %0#0, %0#1 : " + q + ", " + l + "\n}\n";
  };
  return forward("plain", false) + forward("shared", true) +
         "func.func @backward(%q: " + q + ", %k: " + k + ", %v: " + k +
         ", %out: " + q + ", %lse: " + l + ", %g: " + q + ", %o: " + i +
         ", %b: " + i + ", %s: " + i + ") -> (" + gradients +
         ") attributes {kern.kernel} {\n  %0:3 = kern.attention_backward %q, "
         "%k, %v out %out lse %lse seed %g offsets %o from %b shared %s" +
         attributes + qkv + ", " + q + ", " + l + ", " + q + ", " + i +
         " from " + i + " shared " + i + " -> " + gradients +
         "\n  return %0#0, %0#1, %0#2 : " + gradients + "\n}\n";
}

struct Unit {
  int32_t prompt;
  std::vector<int32_t> responses;
};

/// Rows of units, each a prompt and its responses.
struct Rows {
  std::vector<int32_t> positions, bases, shared, sharedBases, offsets;

  explicit Rows(const std::vector<Unit> &units, int32_t start = 0) {
    offsets.push_back(start);
    for (const Unit &unit : units) {
      int32_t row = offsets.back(), first = row;
      auto add = [&](int32_t n, int32_t of) {
        for (int32_t i = 0; i < n; ++i) {
          positions.push_back(of + i);
          bases.push_back(row - of);
          shared.push_back(of);
          sharedBases.push_back(first);
        }
        row += n;
      };
      add(unit.prompt, 0);
      for (int32_t n : unit.responses)
        add(n, unit.prompt);
      offsets.push_back(row);
    }
  }
  int64_t count() const { return positions.size(); }
  int32_t keyRow(int64_t r, int32_t p) const {
    return p + (p < shared[r] ? sharedBases[r] : bases[r]);
  }
};

class SharedPrompt : public AttentionFixture<Shape> {
protected:
  /// As the kernels' text says it.
  float scale = std::stof(std::to_string(s.scale()));

  static std::vector<float> part(const std::vector<float> &x, int64_t columns,
                                 int64_t from, int64_t to) {
    return {x.begin() + from * columns, x.begin() + to * columns};
  }

  /// What float64 gives.
  struct Expected {
    std::vector<double> out, lse;
    std::vector<Sum> dq, dk, dv;
  };
  Expected expected(const Rows &rows, const std::vector<float> &q,
                    const std::vector<float> &k, const std::vector<float> &v,
                    const std::vector<float> &g) {
    int64_t n = rows.count();
    Expected of{std::vector<double>(n * qc), std::vector<double>(n * s.heads),
                std::vector<Sum>(n * qc), std::vector<Sum>(n * kc),
                std::vector<Sum>(n * kc)};
    for (int64_t r = 0; r < n; ++r)
      for (int64_t h = 0; h < s.heads; ++h) {
        int64_t at = r * qc + h * s.width, count = rows.positions[r] + 1;
        auto key = [&](int64_t p) {
          return rows.keyRow(r, p) * kc + h / (s.heads / s.kvHeads) * s.width;
        };
        auto dot = [&](const std::vector<float> &a, const std::vector<float> &b,
                       int64_t p) {
          double sum = 0;
          for (int64_t c = 0; c < s.width; ++c)
            sum += double(a[at + c]) * b[key(p) + c];
          return sum;
        };
        std::vector<double> weight(count);
        double sum = 0, mean = 0;
        for (int64_t p = 0; p < count; ++p)
          sum += weight[p] = std::exp(dot(q, k, p) * scale);
        of.lse[r * s.heads + h] = std::log(sum);
        for (int64_t p = 0; p < count; ++p) {
          weight[p] /= sum;
          mean += weight[p] * dot(g, v, p);
        }
        for (int64_t p = 0; p < count; ++p) {
          double ds = weight[p] * (dot(g, v, p) - mean) * scale;
          for (int64_t c = 0; c < s.width; ++c) {
            of.out[at + c] += weight[p] * v[key(p) + c];
            of.dq[at + c] += ds * k[key(p) + c];
            of.dk[key(p) + c] += ds * q[at + c];
            of.dv[key(p) + c] += weight[p] * g[at + c];
          }
        }
      }
    return of;
  }
};

TEST_P(SharedPrompt, AsIfEachSequenceHadItsOwn) {
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
  std::vector<Unit> units = {{77, {1, 30, 64, 65}},
                             {3, {5, 9}},
                             {70, {}},
                             {128, {20, 2, 1, 40, 1, 1}},
                             {0, {12, 4}}};
  Rows rows(units);
  int64_t n = rows.count();
  auto q = random(n * qc), k = random(n * kc), v = random(n * kc),
       g = random(n * qc);
  Expected of = expected(rows, q, k, v, g);
  Buffer Q = this->of(q), K = this->of(k), V = this->of(v), G = this->of(g),
         P = Buffer::of(rows.positions), B = Buffer::of(rows.bases),
         S = Buffer::of(rows.shared), SB = Buffer::of(rows.sharedBases),
         O = Buffer::of(rows.offsets);
  std::vector<float> out, lse, dq, dk, dv;
  for (const auto &family : families) {
    out.clear();
    bool tiles = &family == &families.back() && s.onMatrixTiles();
    for (auto [kernels, workers] : runs(family, {1, 2, 5})) {
      Buffer Y = poisoned(n * qc), L = Buffer::poisoned<float>(n * s.heads);
      kernels->run("shared", {&Q, &K, &V, &P, &B, &S, &SB, &Y, &L}, n, workers);
      Buffer dQ = poisonedGradient(n * qc), dK = poisonedGradient(n * kc),
             dV = poisonedGradient(n * kc);
      kernels->run("backward",
                   {&Q, &K, &V, &Y, &L, &G, &O, &B, &S, &dQ, &dK, &dV},
                   units.size(), workers);
      if (out.empty()) {
        out = floats(Y), lse = L.values<float>(), dq = gradient(dQ),
        dk = gradient(dK), dv = gradient(dV);
        EXPECT_LE(worst(out, of.out, 1), tolerance);
        EXPECT_LE(worst(lse, of.lse, 1), 5e-6);
        // As in AttentionTest.
        double ofTerms = s.onTensorCores() || tiles ? 0x1p-9 : 0;
        EXPECT_LE(worst(dq, of.dq, 2 * tolerance, ofTerms), 1);
        EXPECT_LE(worst(dk, of.dk, 2 * tolerance, ofTerms), 1);
        EXPECT_LE(worst(dv, of.dv, 2 * tolerance, ofTerms), 1);
        continue;
      }
      EXPECT_TRUE(sameBits(floats(Y), out));
      EXPECT_TRUE(sameBits(L.values<float>(), lse));
      EXPECT_TRUE(sameBits(gradient(dQ), dq));
      EXPECT_TRUE(sameBits(gradient(dK), dk));
      EXPECT_TRUE(sameBits(gradient(dV), dv));
    }
  }

  // Every sequence with a copy of its prompt, on kernels that know nothing of
  // sharing; and the same keys elsewhere: responses in front of the prompt,
  // the rest no numbers, rows in any order.
  for (size_t u = 0; u < units.size(); ++u) {
    int32_t first = rows.offsets[u], prompt = units[u].prompt;
    int32_t own = first + prompt;
    for (int32_t length : units[u].responses) {
      auto copy = [&](const std::vector<float> &x, int64_t columns) {
        auto both = part(x, columns, first, first + prompt);
        auto rest = part(x, columns, own, own + length);
        both.insert(both.end(), rest.begin(), rest.end());
        return both;
      };
      std::vector<int32_t> at(prompt + length), zero(prompt + length);
      std::iota(at.begin(), at.end(), 0);
      Buffer Q1 = this->of(copy(q, qc)), K1 = this->of(copy(k, kc)),
             V1 = this->of(copy(v, kc)), P1 = Buffer::of(at),
             B1 = Buffer::of(zero), Y = poisoned(at.size() * qc),
             L = Buffer::poisoned<float>(at.size() * s.heads);
      tuned.run("plain", {&Q1, &K1, &V1, &P1, &B1, &Y, &L}, at.size(), 2);
      EXPECT_TRUE(sameBits(floats(Y), prompt * qc, out, own * qc, length * qc));
      EXPECT_TRUE(sameBits(L.values<float>(), prompt * s.heads, lse,
                           own * s.heads, length * s.heads));

      std::vector<int32_t> order(length), position, base, share, from;
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), rng());
      order.resize(std::min(length, 7));
      std::vector<float> q2, k2((length + prompt + 9) * kc, NAN), v2 = k2;
      for (int32_t i : order) {
        auto row = part(q, qc, own + i, own + i + 1);
        q2.insert(q2.end(), row.begin(), row.end());
        position.push_back(prompt + i);
        base.push_back(2 - prompt);
        share.push_back(prompt);
        from.push_back(length + 4);
      }
      int32_t seen = *std::max_element(order.begin(), order.end()) + 1;
      for (auto [x, x2] : {std::pair(&k, &k2), std::pair(&v, &v2)}) {
        std::copy_n(x->begin() + own * kc, seen * kc, x2->begin() + 2 * kc);
        std::copy_n(x->begin() + first * kc, prompt * kc,
                    x2->begin() + (length + 4) * kc);
      }
      Buffer Q2 = this->of(q2), K2 = this->of(k2), V2 = this->of(v2),
             P2 = Buffer::of(position), B2 = Buffer::of(base),
             S2 = Buffer::of(share), F2 = Buffer::of(from),
             Y2 = poisoned(order.size() * qc),
             L2 = Buffer::poisoned<float>(order.size() * s.heads);
      tuned.run("shared", {&Q2, &K2, &V2, &P2, &B2, &S2, &F2, &Y2, &L2},
                order.size(), 2);
      for (size_t i = 0; i < order.size(); ++i)
        EXPECT_TRUE(
            sameBits(floats(Y2), i * qc, out, (own + order[i]) * qc, qc));
      own += length;
    }
  }
}

// One unit alone, in another place, has the gradients that it has among
// others; nothing beside it is read or written.
TEST_P(SharedPrompt, AUnitAlone) {
  Kernels tuned(text(s));
  std::vector<Unit> units = {{40, {3, 50}}, {90, {33, 70, 1}}, {5, {200}}};
  Rows all(units), alone({units[1]}, 6);
  int64_t n = all.count(), first = all.offsets[1], last = all.offsets[2],
          m = last - first;
  auto q = random(n * qc), k = random(n * kc), v = random(n * kc),
       g = random(n * qc);
  Buffer Q = of(q), K = of(k), V = of(v), G = of(g),
         P = Buffer::of(all.positions), B = Buffer::of(all.bases),
         S = Buffer::of(all.shared), SB = Buffer::of(all.sharedBases),
         O = Buffer::of(all.offsets), Y = poisoned(n * qc),
         L = Buffer::poisoned<float>(n * s.heads),
         dQ = poisonedGradient(n * qc), dK = poisonedGradient(n * kc),
         dV = poisonedGradient(n * kc);
  tuned.run("shared", {&Q, &K, &V, &P, &B, &S, &SB, &Y, &L}, n);
  tuned.run("backward", {&Q, &K, &V, &Y, &L, &G, &O, &B, &S, &dQ, &dK, &dV}, 3);

  auto place = [&](const std::vector<float> &x, int64_t columns) {
    std::vector<float> placed((m + 10) * columns, NAN);
    std::copy_n(x.begin() + first * columns, m * columns,
                placed.begin() + 6 * columns);
    return placed;
  };
  auto rowsOf = [&](const std::vector<int32_t> &x) {
    std::vector<int32_t> placed(m + 10, -1);
    std::copy_n(x.begin(), m, placed.begin() + 6);
    return Buffer::of(placed);
  };
  Buffer Q1 = of(place(q, qc)), K1 = of(place(k, kc)), V1 = of(place(v, kc)),
         G1 = of(place(g, qc)), Y1 = of(place(floats(Y), qc)),
         L1 = Buffer::of(place(L.values<float>(), s.heads)),
         B1 = rowsOf(alone.bases), S1 = rowsOf(alone.shared),
         O1 = Buffer::of(alone.offsets);
  for (int workers : {1, 2, 7}) {
    Buffer dQ1 = poisonedGradient((m + 10) * qc),
           dK1 = poisonedGradient((m + 10) * kc),
           dV1 = poisonedGradient((m + 10) * kc);
    tuned.run("backward",
              {&Q1, &K1, &V1, &Y1, &L1, &G1, &O1, &B1, &S1, &dQ1, &dK1, &dV1},
              1, workers);
    for (auto [x, x1, columns] :
         {std::tuple(&dQ, &dQ1, qc), {&dK, &dK1, kc}, {&dV, &dV1, kc}}) {
      EXPECT_TRUE(sameBits(gradient(*x1), 6 * columns, gradient(*x),
                           first * columns, m * columns));
      auto untouched = gradient(poisonedGradient(10 * columns)),
           now = gradient(*x1);
      EXPECT_TRUE(sameBits(now, 0, untouched, 0, 6 * columns));
      EXPECT_TRUE(sameBits(now, (m + 6) * columns, untouched, 0, 4 * columns));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, SharedPrompt,
    ::testing::Values(Shape{4, 2, 64, "f32"}, Shape{2, 1, 16, "f32"},
                      Shape{6, 2, 32, "f32"}, Shape{3, 1, 256, "f32"},
                      Shape{7, 1, 128, "f32"}, Shape{4, 2, 64, "bf16"},
                      Shape{2, 1, 128, "bf16"}, Shape{7, 1, 64, "bf16"},
                      Shape{6, 2, 64, "bf16", "f32"},
                      Shape{4, 2, 32, "bf16", "f32"}),
    [](const auto &info) { return info.param.name(); });

} // namespace
