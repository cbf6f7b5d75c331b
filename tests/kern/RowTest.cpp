//===- RowTest.cpp - kern.row, kern.scan, kern.quantile -------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/kern/Harness.h"
#include <algorithm>
#include <numeric>

using namespace r1c::test;

namespace {

std::string replace(std::string s, const std::string &from,
                    const std::string &to) {
  for (size_t i = 0; (i = s.find(from, i)) != std::string::npos; i += to.size())
    s.replace(i, from.size(), to);
  return s;
}

const char *norm = R"(
func.func @k(%x: tensor<?xNxf32>, %w: tensor<Nxf32>) -> (tensor<?xNxf32>, tensor<?xf32>) attributes {kern.kernel} {
  %y:2 = kern.row (%xv = %x : element tensor<?xNxf32>, %wv = %w : column tensor<Nxf32>) -> (element tensor<?xNxf32>, row tensor<?xf32>) {
    %n = arith.constant N.0 : f32
    %eps = arith.constant 1.0e-5 : f32
    %s = arith.mulf %xv, %xv : f32
    %t = kern.reduce add %s : f32
    %m = arith.divf %t, %n : f32
    %e = arith.addf %m, %eps : f32
    %r = math.rsqrt %e : f32
    %p = arith.mulf %xv, %r : f32
    %q = arith.mulf %p, %wv : f32
    kern.yield %q, %r : f32, f32
  }
  return %y#0, %y#1 : tensor<?xNxf32>, tensor<?xf32>
}
)";

class Columns : public ::testing::TestWithParam<int64_t> {};

TEST_P(Columns, Norm) {
  // More rows than a GPU's warps, of which there are 24 with one worker.
  int64_t n = GetParam(), most = n <= 128 ? 70 : 23;
  std::string source = replace(norm, "N", std::to_string(n));
  Kernels tuned(source), naive(source, true),
      narrow(source, false, "x86-64-v3");
  auto x = randomFloats(most * n, -3, 3), w = randomFloats(n);
  Buffer X = Buffer::of(x), W = Buffer::of(w),
         Y = Buffer::poisoned<float>(most * n),
         R = Buffer::poisoned<float>(most);
  tuned.run("k", {&X, &W, &Y, &R}, most, 1);
  auto y = Y.values<float>(), r = R.values<float>();
  for (int64_t i = 0; i < most; ++i) {
    double s = 0;
    for (int64_t j = 0; j < n; ++j)
      s += double(x[i * n + j]) * x[i * n + j];
    double want = 1 / std::sqrt(s / n + 1e-5);
    ASSERT_NEAR(r[i], want, 1e-6 * want);
    for (int64_t j = 0; j < n; ++j)
      ASSERT_NEAR(y[i * n + j], x[i * n + j] * want * w[j], 2e-6 * want * 3);
  }
  for (const Kernels *other : {&naive, &narrow}) {
    Buffer Y2 = Buffer::poisoned<float>(most * n),
           R2 = Buffer::poisoned<float>(most);
    other->run("k", {&X, &W, &Y2, &R2}, most, 3);
    EXPECT_TRUE(sameBits(Y2.values<float>(), y));
    EXPECT_TRUE(sameBits(R2.values<float>(), r));
  }
  for (int64_t rows : {0, 1, 2, 5, 17})
    for (int64_t workers : {1, 2, 5}) {
      int64_t o = rng()() % (most - rows + 1);
      Buffer X2 = Buffer::of(
          std::vector<float>(x.begin() + o * n, x.begin() + (o + rows) * n));
      Buffer Y2 = Buffer::poisoned<float>(rows * n),
             R2 = Buffer::poisoned<float>(rows);
      tuned.run("k", {&X2, &W, &Y2, &R2}, rows, workers);
      EXPECT_TRUE(sameBits(Y2.values<float>(), 0, y, o * n, rows * n));
    }
  // In place.
  Buffer Z = Buffer::of(x), R3 = Buffer::poisoned<float>(most);
  tuned.run("k", {&Z, &W, &Z, &R3}, most, 2);
  EXPECT_TRUE(sameBits(Z.values<float>(), y));
}

INSTANTIATE_TEST_SUITE_P(Widths, Columns,
                         ::testing::Values(1, 7, 16, 17, 63, 64, 65, 70, 96,
                                           128, 160, 200, 576, 1000, 1024, 1088,
                                           4096));

const char *head = R"(
func.func @k(%z: tensor<?xNxf32>, %target: tensor<?xi32>, %t: tensor<f32>) -> (tensor<?xf32>, tensor<?xf32>, tensor<?xf32>, tensor<?xi32>) attributes {kern.kernel} {
  %y:4 = kern.row (%zv = %z : element tensor<?xNxf32>, %tv = %target : row tensor<?xi32>, %temp = %t : one tensor<f32>)
      -> (row tensor<?xf32>, row tensor<?xf32>, row tensor<?xf32>, row tensor<?xi32>) {
    %zero = arith.constant 0.0 : f32
    %u = arith.divf %zv, %temp : f32
    %m = kern.reduce max %u : f32
    %d = arith.subf %u, %m : f32
    %e = math.exp %d : f32
    %s = kern.reduce add %e : f32
    %de = arith.mulf %d, %e : f32
    %ds = kern.reduce add %de : f32
    %j = kern.index column
    %hit = arith.cmpi eq, %j, %tv : i32
    %pick = arith.select %hit, %u, %zero : f32
    %ut = kern.reduce add %pick : f32
    %ls = math.log %s : f32
    %lse = arith.addf %m, %ls : f32
    %logp = arith.subf %ut, %lse : f32
    %mean = arith.divf %ds, %s : f32
    %ent = arith.subf %ls, %mean : f32
    %best = kern.reduce argmax %zv : f32
    kern.yield %logp, %lse, %ent, %best : f32, f32, f32, i32
  }
  return %y#0, %y#1, %y#2, %y#3 : tensor<?xf32>, tensor<?xf32>, tensor<?xf32>, tensor<?xi32>
}
)";

TEST(Row, LogProbability) {
  for (int64_t n : {13, 100, 128, 1024, 4097}) {
    std::string source = replace(head, "N", std::to_string(n));
    Kernels tuned(source), naive(source, true);
    int64_t rows = 9;
    auto z = randomFloats(rows * n, -20, 20);
    std::vector<int32_t> target(rows);
    for (int32_t &t : target)
      t = rng()() % n;
    // Ties: the first wins.
    z[2 * n + 5] = z[2 * n + 11] = 50;
    Buffer Z = Buffer::of(z), T = Buffer::of(target),
           temp = Buffer::of(std::vector<float>{0.7f});
    Buffer L = Buffer::poisoned<float>(rows), S = Buffer::poisoned<float>(rows),
           H = Buffer::poisoned<float>(rows),
           A = Buffer::poisoned<int32_t>(rows);
    tuned.run("k", {&Z, &T, &temp, &L, &S, &H, &A}, rows, 2);
    for (int64_t i = 0; i < rows; ++i) {
      double m = -INFINITY, s = 0, h = 0;
      for (int64_t j = 0; j < n; ++j)
        m = std::max(m, z[i * n + j] / 0.7f * 1.0);
      for (int64_t j = 0; j < n; ++j)
        s += std::exp(double(z[i * n + j]) / 0.7f - m);
      double lse = m + std::log(s);
      for (int64_t j = 0; j < n; ++j) {
        double l = double(z[i * n + j]) / 0.7f - lse;
        h -= std::exp(l) * l;
      }
      EXPECT_NEAR(L.values<float>()[i],
                  double(z[i * n + target[i]]) / 0.7f - lse, 2e-5);
      EXPECT_NEAR(S.values<float>()[i], lse, 2e-5);
      EXPECT_NEAR(H.values<float>()[i], h, 2e-5);
      EXPECT_EQ(A.values<int32_t>()[i],
                std::max_element(z.begin() + i * n, z.begin() + (i + 1) * n) -
                    (z.begin() + i * n));
    }
    Buffer L2 = Buffer::poisoned<float>(rows),
           S2 = Buffer::poisoned<float>(rows),
           H2 = Buffer::poisoned<float>(rows),
           A2 = Buffer::poisoned<int32_t>(rows);
    naive.run("k", {&Z, &T, &temp, &L2, &S2, &H2, &A2}, rows);
    EXPECT_TRUE(sameBits(L.values<float>(), L2.values<float>()));
    EXPECT_TRUE(sameBits(H.values<float>(), H2.values<float>()));
    EXPECT_TRUE(sameBits(A.values<int32_t>(), A2.values<int32_t>()));
  }
}

/// The reference implementation of Salmon et al., written out.
void philox(uint32_t c[4], uint32_t k0, uint32_t k1) {
  for (int r = 0; r < 10; ++r) {
    if (r)
      k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    uint64_t a = uint64_t(0xD2511F53u) * c[0], b = uint64_t(0xCD9E8D57u) * c[2];
    uint32_t n[4] = {uint32_t(b >> 32) ^ c[1] ^ k0, uint32_t(b),
                     uint32_t(a >> 32) ^ c[3] ^ k1, uint32_t(a)};
    std::copy(n, n + 4, c);
  }
}

TEST(Row, RandomWords) {
  // Known answers of the Random123 distribution.
  uint32_t zero[4] = {};
  philox(zero, 0, 0);
  EXPECT_EQ(zero[0], 0x6627e8d5u);
  EXPECT_EQ(zero[3], 0x9b00dbd8u);
  uint32_t pi[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
  philox(pi, 0xa4093822, 0x299f31d0);
  EXPECT_EQ(pi[0], 0xd16cfe09u);
  EXPECT_EQ(pi[3], 0x24126ea1u);

  std::string source = R"(
func.func @k(%c: tensor<?x4xi32>, %key: tensor<2xi32>, %x: tensor<?x37xi32>) -> (tensor<?x37xi32>, tensor<?x37xi32>, tensor<?xi32>) attributes {kern.kernel} {
  %y:3 = kern.row (%c0 = %c : row[0] tensor<?x4xi32>, %c1 = %c : row[1] tensor<?x4xi32>, %c2 = %c : row[2] tensor<?x4xi32>, %c3 = %c : row[3] tensor<?x4xi32>,
                   %k0 = %key : one[0] tensor<2xi32>, %k1 = %key : one[1] tensor<2xi32>, %xv = %x : element tensor<?x37xi32>)
      -> (element tensor<?x37xi32>, element tensor<?x37xi32>, row tensor<?xi32>) {
    %j = kern.index column
    %i = kern.index row
    %d = arith.addi %c3, %j : i32
    %r0, %r1, %r2, %r3 = kern.random key(%k0, %k1) counter(%c0, %c1, %c2, %d)
    %s0, %s1, %s2, %s3 = kern.random key(%k0, %k1) counter(%c0, %c1, %c2, %i)
    kern.yield %r0, %r3, %s1 : i32, i32, i32
  }
  return %y#0, %y#1, %y#2 : tensor<?x37xi32>, tensor<?x37xi32>, tensor<?xi32>
}
)";
  for (bool reference : {false, true}) {
    Kernels kernels(source, reference);
    int64_t rows = 5;
    std::vector<uint32_t> c(rows * 4),
        key = {uint32_t(rng()()), uint32_t(rng()())};
    for (uint32_t &v : c)
      v = rng()();
    Buffer C = Buffer::of(c), K = Buffer::of(key), X(rows * 37 * 4),
           A = Buffer::poisoned<uint32_t>(rows * 37),
           B = Buffer::poisoned<uint32_t>(rows * 37),
           S = Buffer::poisoned<uint32_t>(rows);
    kernels.run("k", {&C, &K, &X, &A, &B, &S}, rows, 2);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < 37; ++j) {
        uint32_t w[4] = {c[i * 4], c[i * 4 + 1], c[i * 4 + 2],
                         c[i * 4 + 3] + uint32_t(j)};
        philox(w, key[0], key[1]);
        ASSERT_EQ(A.values<uint32_t>()[i * 37 + j], w[0]);
        ASSERT_EQ(B.values<uint32_t>()[i * 37 + j], w[3]);
      }
      uint32_t w[4] = {c[i * 4], c[i * 4 + 1], c[i * 4 + 2], uint32_t(i)};
      philox(w, key[0], key[1]);
      ASSERT_EQ(S.values<uint32_t>()[i], w[1]);
    }
  }
}

TEST(Row, Noise) {
  // Chunks of a product, whose sweeps share the words of four groups, and rows,
  // whose stored elements do not; a last chunk with a part of a group.
  std::string source = R"(
func.func @row(%c: tensor<?x2xi32>, %key: tensor<2xi32>, %x: tensor<?x109xi32>) -> (tensor<?x109xi32>, tensor<?xi32>) attributes {kern.kernel} {
  %y:2 = kern.row (%c1 = %c : row[0] tensor<?x2xi32>, %c2 = %c : row[1] tensor<?x2xi32>,
                   %k0 = %key : one[0] tensor<2xi32>, %k1 = %key : one[1] tensor<2xi32>, %xv = %x : element tensor<?x109xi32>)
      -> (element tensor<?x109xi32>, row tensor<?xi32>) {
    %n = kern.noise key(%k0, %k1) counter(%c1, %c2)
    %m = arith.muli %n, %xv : i32
    %s = kern.reduce add %m : i32
    kern.yield %n, %s : i32, i32
  }
  return %y#0, %y#1 : tensor<?x109xi32>, tensor<?xi32>
}
func.func @chunks(%a: tensor<?x2xf32>, %b: !kern.packed<2x333xf32>, %c: tensor<?x2xi32>, %key: tensor<2xi32>) -> tensor<?x2xi32> attributes {kern.kernel} {
  %y = kern.matmul %a, %b : tensor<?x2xf32>, !kern.packed<2x333xf32> acc(%z) with (%c1 = %c : row[0] tensor<?x2xi32>, %c2 = %c : row[1] tensor<?x2xi32>,
      %k0 = %key : one[0] tensor<2xi32>, %k1 = %key : one[1] tensor<2xi32>) -> (chunk tensor<?x2xi32>) {
    %n = kern.noise key(%k0, %k1) counter(%c1, %c2)
    %j = kern.index column
    %m = arith.muli %n, %j : i32
    %s = kern.reduce add %m : i32
    kern.yield %s : i32
  }
  return %y : tensor<?x2xi32>
}
)";
  for (bool reference : {false, true}) {
    Kernels kernels(source, reference);
    int64_t rows = 7;
    std::vector<uint32_t> c(rows * 2), x(rows * 109),
        key = {uint32_t(rng()()), uint32_t(rng()())};
    for (std::vector<uint32_t> *words : {&c, &x})
      for (uint32_t &word : *words)
        word = rng()();
    Buffer C = Buffer::of(c), K = Buffer::of(key), X = Buffer::of(x),
           N = Buffer::poisoned<uint32_t>(rows * 109),
           S = Buffer::poisoned<uint32_t>(rows),
           T = Buffer::poisoned<uint32_t>(rows * 2), A(rows * 2 * 4),
           B(2 * 352 * 4);
    kernels.run("row", {&C, &K, &X, &N, &S}, rows, 2);
    kernels.run("chunks", {&A, &B, &C, &K, &T}, rows, 2);
    for (int64_t i = 0; i < rows; ++i) {
      auto noise = [&](uint32_t j) {
        uint32_t w[4] = {j / 64 * 16 + j % 16, c[i * 2], c[i * 2 + 1], 0};
        philox(w, key[0], key[1]);
        return w[j / 16 % 4];
      };
      uint32_t sum = 0, chunks[2] = {};
      for (uint32_t j = 0; j < 109; ++j) {
        ASSERT_EQ(N.values<uint32_t>()[i * 109 + j], noise(j));
        sum += noise(j) * x[i * 109 + j];
      }
      for (uint32_t j = 0; j < 333; ++j)
        chunks[j / 256] += noise(j) * j;
      ASSERT_EQ(S.values<uint32_t>()[i], sum);
      ASSERT_EQ(T.values<uint32_t>()[i * 2], chunks[0]);
      ASSERT_EQ(T.values<uint32_t>()[i * 2 + 1], chunks[1]);
    }
  }
}

const char *ragged = R"(
func.func @k(%x: tensor<?xf64>, %m: tensor<?xi1>, %s: tensor<?xf64>, %g: tensor<?xf64>, %idx: tensor<?xi32>, %o: tensor<?xi32>)
    -> (tensor<?xf64>, tensor<?xf64>, tensor<?xi1>, tensor<?xi32>, tensor<?xf64>, tensor<?xi1>) attributes {kern.kernel} {
  %y:6 = kern.row (%xv = %x : element tensor<?xf64>, %mv = %m : element tensor<?xi1>, %sv = %s : row tensor<?xf64>, %gv = %g : gather(0) tensor<?xf64>)
      indices(%idx : tensor<?xi32>) offsets(%o : tensor<?xi32>)
      -> (row tensor<?xf64>, row tensor<?xf64>, row tensor<?xi1>, row tensor<?xi32>, element tensor<?xf64>, element tensor<?xi1>) {
    %zero = arith.constant 0.0 : f64
    %one = arith.constant 1.0 : f64
    %p = arith.select %mv, %xv, %zero : f64
    %sum = kern.reduce add %p : f64
    %c = arith.select %mv, %one, %zero : f64
    %count = kern.reduce add %c : f64
    %mean = arith.divf %sum, %count : f64
    %max = kern.reduce max %gv : f64
    %any = kern.reduce any %mv : i1
    %best = kern.reduce argmin %xv : f64
    %d = arith.subf %xv, %mean : f64
    %e = arith.mulf %d, %sv : f64
    %n = arith.cmpf olt, %e, %zero : f64
    kern.yield %mean, %max, %any, %best, %e, %n : f64, f64, i1, i32, f64, i1
  }
  return %y#0, %y#1, %y#2, %y#3, %y#4, %y#5 : tensor<?xf64>, tensor<?xf64>, tensor<?xi1>, tensor<?xi32>, tensor<?xf64>, tensor<?xi1>
}
)";

struct Ragged {
  std::vector<int32_t> offsets = {0};
  int64_t rows() const { return offsets.size() - 1; }
  int64_t elements() const { return offsets.back(); }
  Ragged() {
    for (int64_t length : {5, 0, 1, 16, 17, 64, 65, 200, 3, 130})
      offsets.push_back(offsets.back() + length);
  }
};

TEST(Row, RaggedRows) {
  Ragged r;
  int64_t n = r.elements(), rows = r.rows();
  Kernels tuned(ragged), naive(ragged, true);
  auto x = randomDoubles(n), s = randomDoubles(rows), g = randomDoubles(50);
  std::vector<uint8_t> m(n);
  std::vector<int32_t> idx(n);
  for (int64_t i = 0; i < n; ++i)
    m[i] = rng()() % 2, idx[i] = rng()() % 50;
  Buffer X = Buffer::of(x), M = Buffer::of(m), S = Buffer::of(s),
         G = Buffer::of(g), I = Buffer::of(idx), O = Buffer::of(r.offsets);
  std::vector<double> mean;
  std::vector<uint8_t> flags;
  for (const Kernels *kernels : {&tuned, &naive})
    for (int workers : {1, 3}) {
      Buffer a = Buffer::poisoned<double>(rows),
             b = Buffer::poisoned<double>(rows),
             c = Buffer::poisoned<uint8_t>(rows),
             d = Buffer::poisoned<int32_t>(rows),
             e = Buffer::poisoned<double>(n), f = Buffer::poisoned<uint8_t>(n);
      kernels->run("k", {&X, &M, &S, &G, &I, &O, &a, &b, &c, &d, &e, &f}, rows,
                   workers);
      if (mean.empty()) {
        mean = a.values<double>();
        for (int64_t i = 0; i < rows; ++i) {
          double sum = 0, count = 0, top = -INFINITY;
          bool any = false;
          int32_t best = 0;
          for (int64_t j = r.offsets[i]; j < r.offsets[i + 1]; ++j) {
            sum += m[j] ? x[j] : 0, count += m[j], any |= m[j],
                top = std::max(top, g[idx[j]]);
            if (x[j] < x[r.offsets[i] + best])
              best = j - r.offsets[i];
          }
          if (count)
            EXPECT_NEAR(mean[i], sum / count, 1e-14);
          else
            EXPECT_TRUE(std::isnan(mean[i]));
          EXPECT_EQ(b.values<double>()[i], top);
          EXPECT_EQ(c.values<uint8_t>()[i], any);
          EXPECT_EQ(d.values<int32_t>()[i], best);
          for (int64_t j = r.offsets[i]; j < r.offsets[i + 1]; ++j) {
            double want = (x[j] - mean[i]) * s[i];
            if (count) {
              EXPECT_EQ(e.values<double>()[j], want);
            }
            EXPECT_EQ(f.values<uint8_t>()[j], want < 0);
          }
        }
      } else
        for (int64_t i = 0; i < rows; ++i)
          EXPECT_TRUE(std::isnan(mean[i]) ? std::isnan(a.values<double>()[i])
                                          : a.values<double>()[i] == mean[i]);
    }
}

TEST(Row, Scans) {
  std::string source;
  for (std::string kind : {"prefix_sum", "suffix_sum"})
    source += "func.func @" + kind +
              "(%x: tensor<?xf64>, %o: tensor<?xi32>) -> tensor<?xf64> "
              "attributes {kern.kernel} {\n"
              "  %0 = kern.scan " +
              kind +
              " %x offsets %o : tensor<?xf64>, tensor<?xi32> -> "
              "tensor<?xf64>\n  return %0 : tensor<?xf64>\n}\n";
  Kernels kernels(source);
  Ragged r;
  auto x = randomDoubles(r.elements());
  Buffer X = Buffer::of(x), O = Buffer::of(r.offsets),
         P = Buffer::poisoned<double>(x.size()),
         S = Buffer::poisoned<double>(x.size());
  kernels.run("prefix_sum", {&X, &O, &P}, r.rows(), 2);
  kernels.run("suffix_sum", {&X, &O, &S}, r.rows(), 3);
  for (int64_t i = 0; i < r.rows(); ++i) {
    double sum = 0;
    for (int64_t j = r.offsets[i]; j < r.offsets[i + 1]; ++j)
      EXPECT_EQ(P.values<double>()[j], sum += x[j]);
    sum = 0;
    for (int64_t j = r.offsets[i + 1] - 1; j >= r.offsets[i]; --j)
      EXPECT_EQ(S.values<double>()[j], sum += x[j]);
  }
}

TEST(Row, Quantiles) {
  for (double q : {0.0, 0.25, 0.5, 0.9, 1.0}) {
    std::string Q = std::to_string(q);
    Kernels kernels(
        "func.func @k(%x: tensor<?xf64>, %m: tensor<?xi1>, %o: tensor<?xi32>) "
        "-> tensor<?xf64> attributes {kern.kernel} {\n"
        "  %0 = kern.quantile " +
        Q +
        " of %x where %m : tensor<?xi1> offsets %o : tensor<?xf64>, "
        "tensor<?xi32> -> tensor<?xf64>\n  return %0 : tensor<?xf64>\n}\n");
    Ragged r;
    auto x = randomDoubles(r.elements(), -100, 100);
    for (size_t i = 0; i < x.size(); i += 7)
      x[i] = -double(i % 3); // ties and zeros of both signs
    std::vector<uint8_t> m(x.size());
    for (uint8_t &v : m)
      v = rng()() % 4 != 0;
    x[r.offsets[7] + 3] = INFINITY, m[r.offsets[7] + 3] = 1;
    x[r.offsets[9] + 3] = NAN, m[r.offsets[9] + 3] = 0;
    x[r.offsets[8]] = NAN, m[r.offsets[8]] = 1;
    Buffer X = Buffer::of(x), M = Buffer::of(m), O = Buffer::of(r.offsets),
           Y = Buffer::poisoned<double>(r.rows());
    kernels.run("k", {&X, &M, &O, &Y}, r.rows(), 2);
    for (int64_t i = 0; i < r.rows(); ++i) {
      std::vector<double> v;
      bool nan = false;
      for (int64_t j = r.offsets[i]; j < r.offsets[i + 1]; ++j)
        if (m[j])
          v.push_back(x[j]), nan |= std::isnan(x[j]);
      double got = Y.values<double>()[i];
      if (v.empty() || nan) {
        EXPECT_TRUE(std::isnan(got));
        continue;
      }
      std::sort(v.begin(), v.end());
      double at = (v.size() - 1) * q;
      size_t low = at;
      size_t high = std::min(low + 1, v.size() - 1);
      double want =
          v[low] == v[high] ? v[low] : v[low] + (at - low) * (v[high] - v[low]);
      EXPECT_EQ(got, want) << "row " << i << ", q " << q;
    }
  }
}

} // namespace
