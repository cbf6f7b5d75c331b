//===- MatmulTest.cpp - kern.matmul ---------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/kern/Harness.h"

using namespace r1c::test;

namespace {

std::string text(int64_t k, int64_t n, const std::string &type,
                 const std::string &out) {
  std::string K = std::to_string(k), N = std::to_string(n);
  std::string a = "tensor<?x" + K + "x" + type + ">",
              b = "!kern.packed<" + K + "x" + N + "x" + type + ">",
              c = "tensor<?x" + N + "x" + out + ">";
  return "func.func @mm(%a: " + a + ", %b: " + b + ") -> " + c +
         " attributes {kern.kernel} {\n"
         "  %0 = kern.matmul %a, %b : " +
         a + ", " + b + " -> (" + c + ")\n  return %0 : " + c + "\n}\n";
}

/// Products of doubles, and the sum of absolute values as error scale.
void reference(const std::vector<float> &a, const std::vector<float> &b,
               int64_t m, int64_t k, int64_t n, std::vector<double> &c,
               std::vector<double> &size) {
  c.assign(m * n, 0);
  size.assign(m * n, 0);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t x = 0; x < k; ++x)
      for (int64_t j = 0; j < n; ++j) {
        double p = double(a[i * k + x]) * b[x * n + j];
        c[i * n + j] += p;
        size[i * n + j] += std::fabs(p);
      }
}

void expectClose(const std::vector<float> &got, const std::vector<double> &c,
                 const std::vector<double> &size, double relative) {
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_LE(std::fabs(got[i] - c[i]), relative * size[i] + 1e-30)
        << "at " << i << ": " << got[i] << " for " << c[i];
}

struct Shape {
  int64_t k, n;
};
class MatmulF32 : public ::testing::TestWithParam<Shape> {};

TEST_P(MatmulF32, AgreesAndIsRowInvariant) {
  auto [k, n] = GetParam();
  Kernels tuned(text(k, n, "f32", "f32")),
      naive(text(k, n, "f32", "f32"), true),
      narrow(text(k, n, "f32", "f32"), false, "x86-64-v3");
  int64_t most = 61;
  auto a = randomFloats(most * k), b = randomFloats(k * n);
  std::vector<double> c, size;
  reference(a, b, most, k, n, c, size);
  Buffer packed = Buffer::of(pack(b, k, n));
  Buffer whole = Buffer::poisoned<float>(most * n);
  Buffer aAll = Buffer::of(a);
  tuned.run("mm", {&aAll, &packed, &whole}, most);
  auto expected = whole.values<float>();
  expectClose(expected, c, size, k * 6e-8);
  for (const Kernels *other : {&naive, &narrow}) {
    Buffer r = Buffer::poisoned<float>(most * n);
    other->run("mm", {&aAll, &packed, &r}, most, 3);
    EXPECT_TRUE(sameBits(r.values<float>(), expected));
  }
  for (int64_t m : {0, 1, 2, 3, 4, 5, 7, 13, 14, 15, 28, 29, 43})
    for (int64_t workers : {1, 2, 3, 7, 16}) {
      int64_t offset = rng()() % (most - m + 1);
      Buffer part = Buffer::of(std::vector<float>(
          a.begin() + offset * k, a.begin() + (offset + m) * k));
      Buffer r = Buffer::poisoned<float>(m * n);
      tuned.run("mm", {&part, &packed, &r}, m, workers);
      EXPECT_TRUE(sameBits(r.values<float>(), 0, expected, offset * n, m * n))
          << m << " rows, " << workers << " workers";
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, MatmulF32,
                         ::testing::Values(Shape{64, 128}, Shape{1, 32},
                                           Shape{3, 5}, Shape{67, 100},
                                           Shape{130, 48}, Shape{576, 1000},
                                           Shape{33, 16}, Shape{1024, 40},
                                           Shape{5000, 64}, Shape{5120, 32}));

TEST(Matmul, Bf16) {
  for (auto [k, n] : {Shape{64, 128}, Shape{66, 100}, Shape{576, 96},
                      Shape{2080, 72}, Shape{4096, 40}, Shape{9026, 32}})
    for (std::string cpu : {"native", "x86-64-v3"}) {
      Kernels tuned(text(k, n, "bf16", "f32"), false, cpu),
          naive(text(k, n, "bf16", "f32"), true, cpu),
          rounded(text(k, n, "bf16", "bf16"), false, cpu);
      int64_t most = 37;
      auto a = toBf16(randomFloats(most * k)), b = toBf16(randomFloats(k * n));
      std::vector<double> c, size;
      reference(fromBf16(a), fromBf16(b), most, k, n, c, size);
      Buffer aAll = Buffer::of(a), packed = Buffer::of(packBf16(b, k, n));
      Buffer r = Buffer::poisoned<float>(most * n),
             s = Buffer::poisoned<float>(most * n),
             h = Buffer::poisoned<uint16_t>(most * n);
      tuned.run("mm", {&aAll, &packed, &r}, most, 2);
      naive.run("mm", {&aAll, &packed, &s}, most);
      rounded.run("mm", {&aAll, &packed, &h}, most);
      auto got = r.values<float>();
      expectClose(got, c, size, k * 6e-8);
      if (cpu != "native" || !onTensorCores("bf16")) {
        EXPECT_TRUE(sameBits(got, s.values<float>()))
            << "naive and tuned differ on " << cpu;
      }
      EXPECT_TRUE(sameBits(toBf16(got), h.values<uint16_t>()));
      for (int64_t m : {1, 3, 14, 15, 16, 17}) {
        Buffer part = Buffer::of(
            std::vector<uint16_t>(a.begin() + 2 * k, a.begin() + (2 + m) * k));
        Buffer q = Buffer::poisoned<float>(m * n);
        tuned.run("mm", {&part, &packed, &q}, m, 3);
        EXPECT_TRUE(sameBits(q.values<float>(), 0, got, 2 * n, m * n));
      }
    }
}

TEST(Matmul, Accumulates) {
  for (int64_t n : {64, 50}) {
    std::string N = std::to_string(n);
    std::string source =
        "func.func @mm(%a: tensor<?x40xf32>, %b: !kern.packed<40x" + N +
        "xf32>, %c: tensor<?x" + N + "xf32>) -> tensor<?x" + N +
        "xf32> attributes {kern.kernel} {\n"
        "  %0 = kern.matmul %a, %b : tensor<?x40xf32>, !kern.packed<40x" +
        N + "xf32> init(%c : tensor<?x" + N + "xf32>) -> (tensor<?x" + N +
        "xf32>)\n"
        "  return %0 : tensor<?x" +
        N + "xf32>\n}\n";
    Kernels tuned(source), naive(source, true);
    int64_t m = 19;
    auto a = randomFloats(m * 40), b = randomFloats(40 * n),
         c0 = randomFloats(m * n);
    std::vector<double> c, size;
    reference(a, b, m, 40, n, c, size);
    for (size_t i = 0; i < c.size(); ++i)
      c[i] += c0[i], size[i] += 1;
    Buffer A = Buffer::of(a), B = Buffer::of(pack(b, 40, n)),
           C = Buffer::of(c0), D = Buffer::of(c0);
    tuned.run("mm", {&A, &B, &C}, m, 2);
    naive.run("mm", {&A, &B, &D}, m);
    expectClose(C.values<float>(), c, size, 40 * 6e-8);
    EXPECT_TRUE(sameBits(C.values<float>(), D.values<float>()));
  }
}

TEST(Matmul, Epilogues) {
  std::string source = R"(
func.func @residual(%a: tensor<?x48xf32>, %b: !kern.packed<48x72xf32>, %r: tensor<?x72xf32>, %bias: tensor<72xf32>, %s: tensor<?xf32>, %t: tensor<f32>)
    -> (tensor<?x72xf32>, tensor<?x72xbf16>) attributes {kern.kernel} {
  %0:2 = kern.matmul %a, %b : tensor<?x48xf32>, !kern.packed<48x72xf32>
      acc(%x) with (%rv = %r : element tensor<?x72xf32>, %bv = %bias : column tensor<72xf32>, %sv = %s : row tensor<?xf32>, %tv = %t : one tensor<f32>)
      -> (tensor<?x72xf32>, tensor<?x72xbf16>) {
    %1 = arith.addf %x, %bv : f32
    %f = arith.mulf %sv, %tv : f32
    %2 = arith.mulf %1, %f : f32
    %3 = arith.addf %2, %rv : f32
    %4 = arith.truncf %x : f32 to bf16
    kern.yield %3, %4 : f32, bf16
  }
  return %0#0, %0#1 : tensor<?x72xf32>, tensor<?x72xbf16>
}
func.func @gated(%a: tensor<?x48xf32>, %b: !kern.packed<48x96xf32>) -> tensor<?x48xf32> attributes {kern.kernel} {
  %0 = kern.matmul %a, %b paired : tensor<?x48xf32>, !kern.packed<48x96xf32> acc(%g, %u) -> (tensor<?x48xf32>) {
    %one = arith.constant 1.0 : f32
    %n = arith.negf %g : f32
    %e = math.exp %n : f32
    %d = arith.addf %e, %one : f32
    %p = arith.mulf %g, %u : f32
    %q = arith.divf %p, %d : f32
    kern.yield %q : f32
  }
  return %0 : tensor<?x48xf32>
}
func.func @pack_gated(%g: tensor<48x48xf32>, %u: tensor<48x48xf32>) -> !kern.packed<48x96xf32> attributes {kern.kernel} {
  %0 = kern.pack %g, %u {transpose, paired} : tensor<48x48xf32>, tensor<48x48xf32> -> !kern.packed<48x96xf32>
  return %0 : !kern.packed<48x96xf32>
}
)";
  Kernels tuned(source), naive(source, true);
  int64_t m = 33, k = 48, n = 72;
  auto a = randomFloats(m * k), b = randomFloats(k * n),
       r = randomFloats(m * n), bias = randomFloats(n), s = randomFloats(m);
  std::vector<float> t = {1.25f};
  std::vector<double> c, size;
  reference(a, b, m, k, n, c, size);
  Buffer A = Buffer::of(a), B = Buffer::of(pack(b, k, n)), R = Buffer::of(r),
         V = Buffer::of(bias), S = Buffer::of(s), T = Buffer::of(t);
  std::vector<float> first;
  for (const Kernels *kernels : {&tuned, &naive}) {
    Buffer o = Buffer::poisoned<float>(m * n),
           h = Buffer::poisoned<uint16_t>(m * n);
    kernels->run("residual", {&A, &B, &R, &V, &S, &T, &o, &h}, m, 2);
    auto got = o.values<float>();
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double want = (c[i * n + j] + bias[j]) * (s[i] * 1.25) + r[i * n + j];
        ASSERT_NEAR(got[i * n + j], want, 2e-5);
        ASSERT_NEAR(fromBf16(h.values<uint16_t>())[i * n + j], c[i * n + j],
                    0.01 * std::fabs(c[i * n + j]) + 1e-5);
      }
    if (first.empty())
      first = got;
    else
      EXPECT_TRUE(sameBits(first, got));
    // One row alone.
    Buffer A1 = Buffer::of(
               std::vector<float>(a.begin() + 5 * k, a.begin() + 6 * k)),
           R1 = Buffer::of(
               std::vector<float>(r.begin() + 5 * n, r.begin() + 6 * n)),
           S1 = Buffer::of(std::vector<float>{s[5]});
    Buffer o1 = Buffer::poisoned<float>(n), h1 = Buffer::poisoned<uint16_t>(n);
    kernels->run("residual", {&A1, &B, &R1, &V, &S1, &T, &o1, &h1}, 1);
    EXPECT_TRUE(sameBits(o1.values<float>(), 0, first, 5 * n, n));
  }

  auto wg = randomFloats(48 * 48), wu = randomFloats(48 * 48);
  Buffer G = Buffer::of(wg), U = Buffer::of(wu),
         P = Buffer::poisoned<float>(48 * 96);
  tuned.run("pack_gated", {&G, &U, &P}, -1, 2);
  std::vector<float> gated;
  for (const Kernels *kernels : {&tuned, &naive}) {
    Buffer o = Buffer::poisoned<float>(m * 48);
    kernels->run("gated", {&A, &P, &o}, m, 3);
    auto got = o.values<float>();
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < 48; ++j) {
        double g = 0, u = 0;
        for (int64_t x = 0; x < k; ++x)
          g += double(a[i * k + x]) * wg[j * 48 + x],
              u += double(a[i * k + x]) * wu[j * 48 + x];
        ASSERT_NEAR(got[i * 48 + j], g / (1 + std::exp(-g)) * u, 2e-5);
      }
    if (gated.empty())
      gated = got;
    else
      EXPECT_TRUE(sameBits(gated, got));
  }
}

/// Gate and up as one product have the bits of each alone, whichever way their
/// weights lie, and where tiles are wider than what there is.
TEST(Matmul, PairedHasTheBitsOfEachAlone) {
  for (const char *type : {"f32", "bf16"})
    for (auto [k, n] : {Shape{96, 80}, Shape{20, 16}, Shape{264, 144}}) {
      std::string K = std::to_string(k), N = std::to_string(n),
                  both = std::to_string(2 * n);
      std::string a = "tensor<?x" + K + "x" + type + ">",
                  b = "!kern.packed<" + K + "x" + both + "x" + type + ">",
                  c = "tensor<?x" + N + "xf32>";
      Kernels kernels(text(k, n, type, "f32") + "func.func @paired(%a: " + a +
                      ", %b: " + b + ") -> (" + c + ", " + c +
                      ") attributes {kern.kernel} {\n" +
                      "  %0:2 = kern.matmul %a, %b paired : " + a + ", " + b +
                      " acc(%g, %u) -> (" + c + ", " + c +
                      ") {\n    kern.yield %g, %u : f32, f32\n  }\n" +
                      "  return %0#0, %0#1 : " + c + ", " + c + "\n}\n");
      bool narrow = std::string(type) == "bf16";
      auto gate = randomFloats(k * n), up = randomFloats(k * n);
      std::vector<float> turns(2 * k * n);
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < n; ++j) {
          int64_t at = i * 2 * n + j / 16 * 32 + j % 16;
          turns[at] = gate[i * n + j];
          turns[at + 16] = up[i * n + j];
        }
      auto weights = [&](const std::vector<float> &w, int64_t n) {
        return narrow ? Buffer::of(packBf16(toBf16(w), k, n))
                      : Buffer::of(pack(w, k, n));
      };
      Buffer Gate = weights(gate, n), Up = weights(up, n),
             Both = weights(turns, 2 * n);
      for (int64_t m : {1, 9, 33, 70, 300}) {
        auto x = randomFloats(m * k);
        Buffer A = narrow ? Buffer::of(toBf16(x)) : Buffer::of(x),
               g = Buffer::poisoned<float>(m * n),
               u = Buffer::poisoned<float>(m * n),
               first = Buffer::poisoned<float>(m * n),
               second = Buffer::poisoned<float>(m * n);
        kernels.run("mm", {&A, &Gate, &g}, m, 2);
        kernels.run("mm", {&A, &Up, &u}, m, 2);
        kernels.run("paired", {&A, &Both, &first, &second}, m, 3);
        EXPECT_TRUE(sameBits(first.values<float>(), g.values<float>()))
            << type << ", " << m << " rows, k = " << k;
        EXPECT_TRUE(sameBits(second.values<float>(), u.values<float>()))
            << type << ", " << m << " rows, k = " << k;
      }
    }
}

/// The sigmoid behind a product has the bits of the naive lowering, but on
/// tensor cores 0 in place of subnormal numbers.
TEST(Matmul, Sigmoid) {
  constexpr int64_t k = 16, n = 32;
  const char *source = R"(
func.func @sigmoid(%a: tensor<?x16xbf16>, %b: !kern.packed<16x32xbf16>) -> tensor<?x32xf32> attributes {kern.kernel} {
  %0 = kern.matmul %a, %b : tensor<?x16xbf16>, !kern.packed<16x32xbf16> acc(%s) -> (tensor<?x32xf32>) {
    %one = arith.constant 1.0 : f32
    %n = arith.negf %s : f32
    %e = math.exp %n : f32
    %d = arith.addf %one, %e : f32
    %q = arith.divf %one, %d : f32
    kern.yield %q : f32
  }
  return %0 : tensor<?x32xf32>
}
)";
  Kernels tuned(source), naive(source, true);
  // One product a sum: it is the number itself.
  std::vector<float> values = {0,    -0.0f, 1,     -1,       100,       -100,
                               -87,  -87.5, -88,   -88.5,    -89,       -1e30,
                               1e30, NAN,   -0.01, INFINITY, -INFINITY, 88};
  for (float v : randomFloats(180, -95, 95))
    values.push_back(v);
  auto rows = static_cast<int64_t>(values.size());
  std::vector<float> a(rows * k, 0), b(k * n, 0);
  for (int64_t i = 0; i < rows; ++i)
    a[i * k] = values[i];
  std::fill_n(b.begin(), n, 1.0f);
  Buffer A = Buffer::of(toBf16(a)), B = Buffer::of(packBf16(toBf16(b), k, n)),
         got = Buffer::poisoned<float>(rows * n),
         want = Buffer::poisoned<float>(rows * n);
  tuned.run("sigmoid", {&A, &B, &got}, rows, 2);
  naive.run("sigmoid", {&A, &B, &want}, rows, 2);
  auto expected = want.values<float>(), had = got.values<float>();
  int64_t flushed = 0;
  for (int64_t i = 0; i < rows * n; ++i) {
    float e = expected[i];
    if (onTensorCores("bf16") && e > 0 && !std::isnormal(e))
      ++flushed, e = 0;
    if (std::isnan(e))
      ASSERT_TRUE(std::isnan(had[i])) << values[i / n];
    else
      ASSERT_EQ(had[i], e) << values[i / n];
  }
  EXPECT_EQ(flushed > 0, onTensorCores("bf16"));
}

/// Products of one input as one, packed side by side: the bits of each alone,
/// whatever its columns begin at. K order of a column does not see the others.
TEST(Matmul, SideBySide) {
  constexpr int64_t k = 96, rows = 40;
  const std::vector<int64_t> widths = {192, 48, 48};
  for (std::string type : {"f32", "bf16"}) {
    bool bf = type == "bf16";
    auto plain = [&](int64_t n, const std::string &name) {
      std::string N = std::to_string(n), a = "tensor<?x96x" + type + ">",
                  b = "!kern.packed<96x" + N + "x" + type + ">",
                  c = "tensor<?x" + N + "xf32>", v = "tensor<" + N + "xf32>";
      return "func.func @" + name + "(%a: " + a + ", %b: " + b + ", %v: " + v +
             ") -> " + c +
             " attributes {kern.kernel} {\n  %0 = kern.matmul "
             "%a, %b : " +
             a + ", " + b + " acc(%s) with (%bv = %v : column " + v + ") -> (" +
             c + ") {\n    %t = arith.addf %s, %bv : f32\n" +
             "    kern.yield %t : f32\n  }\n  return %0 : " + c + "\n}\n";
    };
    auto packs = [&](const std::string &name, std::vector<int64_t> n) {
      std::string arguments, sources, types;
      int64_t sum = 0;
      for (size_t i = 0; i < n.size(); ++i) {
        std::string w = "%w" + std::to_string(i),
                    t = "tensor<" + std::to_string(n[i]) + "x96xf32>";
        arguments += (i ? ", " : "") + w + ": " + t;
        sources += (i ? ", " : "") + w;
        types += (i ? ", " : "") + t;
        sum += n[i];
      }
      std::string to =
          "!kern.packed<96x" + std::to_string(sum) + "x" + type + ">";
      return "func.func @" + name + "(" + arguments + ") -> " + to +
             " attributes {kern.kernel} {\n  %0 = kern.pack " + sources +
             " {transpose} : " + types + " -> " + to + "\n  return %0 : " + to +
             "\n}\n";
    };
    Kernels kernels(plain(288, "all") + plain(192, "wide") +
                    plain(48, "narrow") + packs("pack_all", widths) +
                    packs("pack_wide", {192}) + packs("pack_narrow", {48}));
    ASSERT_TRUE(kernels.ok());
    auto packed = [&](int64_t n) {
      return bf ? Buffer::poisoned<uint16_t>((n + 31) / 32 * 32 * k)
                : Buffer::poisoned<float>((n + 31) / 32 * 32 * k);
    };
    std::vector<Buffer> weights, biases, apart;
    std::vector<float> allBiases;
    std::vector<const Buffer *> sources;
    for (int64_t n : widths) {
      weights.push_back(Buffer::of(randomFloats(n * k)));
      auto bias = randomFloats(n);
      biases.push_back(Buffer::of(bias));
      allBiases.insert(allBiases.end(), bias.begin(), bias.end());
      apart.push_back(packed(n));
    }
    for (size_t i = 0; i < widths.size(); ++i) {
      sources.push_back(&weights[i]);
      kernels.run(i ? "pack_narrow" : "pack_wide", {&weights[i], &apart[i]}, -1,
                  2);
    }
    Buffer together = packed(288), Bias = Buffer::of(allBiases);
    sources.push_back(&together);
    kernels.run("pack_all", sources, -1, 3);
    auto a = randomFloats(rows * k);
    for (int64_t m : {1, 5, 40}) {
      std::vector<float> few(a.begin(), a.begin() + m * k);
      Buffer A = bf ? Buffer::of(toBf16(few)) : Buffer::of(few);
      std::vector<std::vector<float>> want;
      for (size_t i = 0; i < widths.size(); ++i) {
        Buffer C = Buffer::poisoned<float>(m * widths[i]);
        kernels.run(i ? "narrow" : "wide", {&A, &apart[i], &biases[i], &C}, m);
        want.push_back(C.values<float>());
      }
      for (int64_t workers : {1, 2, 5}) {
        Buffer C = Buffer::poisoned<float>(m * 288);
        kernels.run("all", {&A, &together, &Bias, &C}, m, workers);
        auto got = C.values<float>();
        for (int64_t r = 0; r < m; ++r)
          for (size_t i = 0, first = 0; i < widths.size(); first += widths[i++])
            EXPECT_TRUE(sameBits(got, r * 288 + first, want[i], r * widths[i],
                                 widths[i]))
                << type << ", row " << r << " of " << m << ", product " << i;
      }
    }
  }
}

std::string transposed(int64_t m, int64_t n, const std::string &type,
                       bool init) {
  std::string M = std::to_string(m), N = std::to_string(n);
  std::string a = "tensor<?x" + M + "x" + type + ">",
              b = "tensor<?x" + N + "x" + type + ">",
              c = "tensor<" + M + "x" + N + "xf32>";
  return "func.func @mm(%a: " + a + ", %b: " + b + (init ? ", %c: " + c : "") +
         ") -> " + c +
         " attributes {kern.kernel} {\n  %0 = kern.matmul %a, %b "
         "transpose_a : " +
         a + ", " + b + (init ? " init(%c : " + c + ")" : "") + " -> (" + c +
         ")\n  return %0 : " + c + "\n}\n";
}

TEST(Matmul, TransposeA) {
  for (auto [mm, n] : {Shape{64, 128}, Shape{37, 50}, Shape{15, 33}})
    for (std::string type : {"f32", "bf16"})
      for (std::string cpu : {"native", "x86-64-v3"}) {
        Kernels tuned(transposed(mm, n, type, false), false, cpu),
            naive(transposed(mm, n, type, false), true, cpu),
            more(transposed(mm, n, type, true), false, cpu),
            moreNaive(transposed(mm, n, type, true), true, cpu);
        bool bf = type == "bf16";
        // There a step of the chain is 16 rows.
        bool steps =
            cpu == "native" && onTensorCores(type) && mm % 8 == 0 && n % 8 == 0;
        // Also fewer rows than a chunk, and odd ones.
        for (int64_t rows : {1400, 1, 2, 3, 257, 701}) {
          auto a = randomFloats(rows * mm), b = randomFloats(rows * n);
          if (bf)
            a = fromBf16(toBf16(a)), b = fromBf16(toBf16(b));
          auto buffer = [&](const std::vector<float> &v) {
            return bf ? Buffer::of(toBf16(v)) : Buffer::of(v);
          };
          std::vector<double> c(mm * n), size(mm * n);
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t i = 0; i < mm; ++i)
              for (int64_t j = 0; j < n; ++j) {
                double p = double(a[r * mm + i]) * b[r * n + j];
                c[i * n + j] += p, size[i * n + j] += std::fabs(p);
              }
          Buffer A = buffer(a), B = buffer(b),
                 C = Buffer::poisoned<float>(mm * n),
                 D = Buffer::poisoned<float>(mm * n);
          tuned.run("mm", {&A, &B, &C}, rows);
          naive.run("mm", {&A, &B, &D}, rows, 2);
          auto got = C.values<float>();
          expectClose(got, c, size, rows * 6e-8);
          if (!steps) {
            EXPECT_TRUE(sameBits(got, D.values<float>()))
                << type << ", " << rows << " rows on " << cpu;
          }
          for (int64_t workers : {2, 3, 8}) {
            Buffer E = Buffer::poisoned<float>(mm * n);
            tuned.run("mm", {&A, &B, &E}, rows, workers);
            EXPECT_TRUE(sameBits(got, E.values<float>()));
          }
          // Added to something.
          auto c0 = randomFloats(mm * n);
          Buffer F = Buffer::of(c0), G = Buffer::of(c0);
          more.run("mm", {&A, &B, &F}, rows, 3);
          moreNaive.run("mm", {&A, &B, &G}, rows);
          if (!steps) {
            EXPECT_TRUE(sameBits(F.values<float>(), G.values<float>()));
          }
          for (size_t i = 0; i < c.size(); ++i)
            c[i] += c0[i], size[i] += 1;
          expectClose(F.values<float>(), c, size, (rows + 1) * 6e-8);
          // Two parts, the second added: the same chain (for bf16 of pairs of
          // rows, or of the rows of a tile).
          int64_t cut = rng()() % (rows + 1);
          bool tiles = bf && cpu == "native" && hasMatrixTiles();
          cut -= cut % (tiles ? 32 : bf ? 2 : 1);
          Buffer A1 = buffer({a.begin(), a.begin() + cut * mm}),
                 B1 = buffer({b.begin(), b.begin() + cut * n}),
                 A2 = buffer({a.begin() + cut * mm, a.end()}),
                 B2 = buffer({b.begin() + cut * n, b.end()}),
                 H = Buffer::poisoned<float>(mm * n);
          tuned.run("mm", {&A1, &B1, &H}, cut);
          more.run("mm", {&A2, &B2, &H}, rows - cut, 2);
          if (!steps) {
            EXPECT_TRUE(sameBits(got, H.values<float>()));
          }
          for (size_t i = 0; i < c.size(); ++i)
            c[i] -= c0[i];
          expectClose(H.values<float>(), c, size, (rows + 1) * 6e-8);
        }
        Buffer none = Buffer::of(std::vector<float>(1)),
               Z = Buffer::poisoned<float>(mm * n);
        tuned.run("mm", {&none, &none, &Z}, 0);
        EXPECT_EQ(Z.values<float>(), std::vector<float>(mm * n, 0.0f));
      }
}

} // namespace
