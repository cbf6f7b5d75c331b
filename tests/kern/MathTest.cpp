//===- MathTest.cpp - expanded math against libm in long double -----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/kern/Harness.h"
#include <functional>
#include <limits>
#include <set>

using namespace r1c::test;

namespace {

using Real = long double;

struct Function {
  const char *op;
  std::function<Real(Real)> f;
  double low, high; ///< range of random arguments
  double ulp32, ulp64;
};

const Function functions[] = {
    {"exp", [](Real x) { return std::exp(x); }, -120, 100, 1.0, 1.5},
    {"exp", [](Real x) { return std::exp(x); }, -760, 720, 1.0, 1.5},
    {"exp", [](Real x) { return std::exp(x); }, -1e-3, 1e-3, 1.0, 1.0},
    {"exp2", [](Real x) { return std::exp2(x); }, -1080, 1030, 0.6, 1.5},
    {"expm1", [](Real x) { return std::expm1(x); }, -50, 50, 0.6, 2},
    {"expm1", [](Real x) { return std::expm1(x); }, -1, 1, 0.6, 2},
    {"log", [](Real x) { return std::log(x); }, 0, 4, 1.0, 1.0},
    {"log", [](Real x) { return std::log(x); }, 0.9, 1.1, 1.0, 1.0},
    {"log", [](Real x) { return std::log(x); }, 0, 1e30, 1.0, 1.0},
    {"log2", [](Real x) { return std::log2(x); }, 0, 1e10, 0.6, 2},
    {"log10", [](Real x) { return std::log10(x); }, 0, 1e10, 0.6, 2},
    {"log1p", [](Real x) { return std::log1p(x); }, -1, 10, 0.6, 2},
    {"log1p", [](Real x) { return std::log1p(x); }, -1e-3, 1e-3, 0.6, 2},
    {"sin", [](Real x) { return std::sin(x); }, -10, 10, 0.6, 1.5},
    {"cos", [](Real x) { return std::cos(x); }, -10, 10, 0.6, 1.5},
    {"sin", [](Real x) { return std::sin(x); }, -1e8, 1e8, 0.6, 1.5},
    {"cos", [](Real x) { return std::cos(x); }, -1e8, 1e8, 0.6, 1.5},
    {"tanh", [](Real x) { return std::tanh(x); }, -25, 25, 0.6, 3},
    {"tanh", [](Real x) { return std::tanh(x); }, -0.1, 0.1, 0.6, 3},
    {"erf", [](Real x) { return std::erf(x); }, -7, 7, 0.6, 40},
    {"rsqrt", [](Real x) { return 1 / std::sqrt(x); }, 0, 1e5, 1.5, 1.5},
    {"sqrt", [](Real x) { return std::sqrt(x); }, 0, 1e5, 0.5, 0.5},
    {"round", [](Real x) { return std::round(x); }, -100, 100, 0, 0},
};

std::string text(const std::string &op, const std::string &type,
                 const std::string &name) {
  return "func.func @" + name + "(%x: tensor<?x" + type + ">) -> tensor<?x" +
         type +
         "> attributes {kern.kernel} {\n"
         "  %0 = kern.map (%v = %x : element tensor<?x" +
         type + ">) -> (element tensor<?x" + type +
         ">) {\n"
         "    %1 = math." +
         op + " %v : " + type + "\n    kern.yield %1 : " + type +
         "\n  }\n"
         "  return %0 : tensor<?x" +
         type + ">\n}\n";
}

std::string allFunctions(const std::string &type) {
  std::string all;
  std::set<std::string> seen;
  for (const Function &f : functions)
    if (seen.insert(f.op).second)
      all += text(f.op, type, f.op);
  // maps whose names repeat later in the table
  return all;
}

template <typename T>
double ulps(T got, Real want) {
  if (std::isnan(want))
    return std::isnan(got) ? 0 : INFINITY;
  T rounded = (T)want;
  if (std::isinf(rounded) || std::isinf(got)) {
    if (got == rounded)
      return 0;
    // At the overflow threshold either neighbour will do.
    return std::fabs(want) > std::numeric_limits<T>::max() *
                                 (1 - std::numeric_limits<T>::epsilon()) &&
                   std::fabs(want) <
                       std::numeric_limits<T>::max() * (1 + Real(1e-5))
               ? 0
               : INFINITY;
  }
  T magnitude = std::max(std::fabs(rounded), std::numeric_limits<T>::min());
  Real ulp = std::nextafter(magnitude, (T)INFINITY) - magnitude;
  return std::fabs((Real)got - want) / ulp;
}

template <typename T>
class MathTest : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(MathTest, Types);

TYPED_TEST(MathTest, Accurate) {
  using T = TypeParam;
  bool single = sizeof(T) == 4;
  Kernels kernels(allFunctions(single ? "f32" : "f64")),
      naive(allFunctions(single ? "f32" : "f64"), true);
  constexpr int64_t n = 40007;
  for (const Function &f : functions) {
    auto d = randomDoubles(n, f.low, f.high);
    std::vector<T> x(d.begin(), d.end());
    // Arguments where things go wrong.
    T specials[] = {0,
                    -T(0),
                    1,
                    -1,
                    T(INFINITY),
                    -T(INFINITY),
                    T(NAN),
                    std::numeric_limits<T>::min(),
                    std::numeric_limits<T>::denorm_min(),
                    -std::numeric_limits<T>::denorm_min(),
                    std::numeric_limits<T>::max(),
                    -std::numeric_limits<T>::max(),
                    T(0.5),
                    T(-0.5),
                    T(2.5)};
    bool periodic = std::string(f.op) == "sin" || std::string(f.op) == "cos";
    for (size_t i = 0; i < std::size(specials); ++i)
      if (!periodic || std::fabs(specials[i]) < 1e9 ||
          std::isinf(specials[i]) || std::isnan(specials[i]))
        x[i * 11] = specials[i];
    Buffer in = Buffer::of(x), out = Buffer::poisoned<T>(n),
           other = Buffer::poisoned<T>(n);
    kernels.run(f.op, {&in, &out}, n, 3);
    naive.run(f.op, {&in, &other}, n);
    auto y = out.template values<T>();
    double worstUlp = 0;
    T at = 0;
    for (int64_t i = 0; i < n; ++i) {
      double u = ulps(y[i], f.f((Real)x[i]));
      if (u > worstUlp)
        worstUlp = u, at = x[i];
    }
    EXPECT_LE(worstUlp, single ? f.ulp32 : f.ulp64)
        << f.op << (single ? " f32" : " f64") << " at " << at;
    // Scalars, vectors and tails: the same bits. A GPU makes its NaNs alike.
    auto z = other.template values<T>();
    if (onCuda())
      for (auto *values : {&y, &z})
        for (T &v : *values)
          v = v == v ? v : std::numeric_limits<T>::quiet_NaN();
    EXPECT_TRUE(sameBits(y, z)) << f.op;
  }
}

TYPED_TEST(MathTest, SignsOfZero) {
  using T = TypeParam;
  bool single = sizeof(T) == 4;
  Kernels kernels(allFunctions(single ? "f32" : "f64"));
  for (const char *op : {"expm1", "log1p", "sin", "tanh", "erf"}) {
    Buffer in = Buffer::of(std::vector<T>{-T(0), T(0)}),
           out = Buffer::poisoned<T>(2);
    kernels.run(op, {&in, &out}, 2);
    auto y = out.template values<T>();
    EXPECT_TRUE(y[0] == 0 && std::signbit(y[0])) << op;
    EXPECT_TRUE(y[1] == 0 && !std::signbit(y[1])) << op;
  }
}

// What log need not look at changes nothing where there is none of it.
TYPED_TEST(MathTest, LogOfZeroOrNormal) {
  using T = TypeParam;
  std::string type = sizeof(T) == 4 ? "f32" : "f64",
              plain = text("log", type, "plain"), known = plain;
  known.replace(known.find("@plain"), 6, "@known");
  std::string log = "math.log %v";
  known.insert(known.find(log) + log.size(), " {kern.zero_or_normal}");
  Kernels kernels(plain + known), naive(plain, true);
  std::vector<T> x = {0,
                      T(INFINITY),
                      std::numeric_limits<T>::min(),
                      std::numeric_limits<T>::max(),
                      1,
                      1 - std::numeric_limits<T>::epsilon(),
                      1 - std::numeric_limits<T>::epsilon() / 2,
                      1 + std::numeric_limits<T>::epsilon()};
  // f + 2 is full (MathWords.h): with every power of two.
  for (int k = -120; k < 120; ++k)
    x.push_back(std::ldexp(1 - std::numeric_limits<T>::epsilon(), k));
  for (double d : randomDoubles(20000, -80, 80))
    x.push_back(std::exp(T(d)));
  Buffer X = Buffer::of(x);
  std::vector<std::vector<T>> got;
  for (auto [which, name] :
       {std::pair(&kernels, "plain"), std::pair(&kernels, "known"),
        std::pair(&naive, "plain")}) {
    Buffer Y = Buffer::poisoned<T>(x.size());
    which->run(name, {&X, &Y}, x.size());
    got.push_back(Y.values<T>());
  }
  EXPECT_TRUE(sameBits(got[0], got[1]));
  EXPECT_TRUE(sameBits(got[0], got[2]));
}

TEST(Math, ExpOfBounded) {
  std::string plain = text("exp", "f32", "plain"), known = plain;
  known.replace(known.find("@plain"), 6, "@known");
  std::string exp = "math.exp %v";
  known.insert(known.find(exp) + exp.size(), " {kern.bounded}");
  Kernels kernels(plain + known);
  std::vector<float> x = {0, -0.0f, NAN, -110, 32, -87.5f, -103.9f, -104.1f};
  for (double d : randomDoubles(20000, -110, 32))
    x.push_back(float(d));
  for (double d : randomDoubles(20000, -1, 1))
    x.push_back(float(d * d * d));
  Buffer X = Buffer::of(x);
  std::vector<std::vector<float>> got;
  for (const char *name : {"plain", "known"}) {
    Buffer Y = Buffer::poisoned<float>(x.size());
    kernels.run(name, {&X, &Y}, x.size());
    got.push_back(Y.values<float>());
  }
  EXPECT_TRUE(sameBits(got[0], got[1]));
}

TEST(Math, Power) {
  Kernels kernels(R"(
func.func @pow(%x: tensor<?xf64>, %y: tensor<?xf64>) -> tensor<?xf64> attributes {kern.kernel} {
  %0 = kern.map (%a = %x : element tensor<?xf64>, %b = %y : element tensor<?xf64>) -> (element tensor<?xf64>) {
    %1 = math.powf %a, %b : f64
    kern.yield %1 : f64
  }
  return %0 : tensor<?xf64>
}
)");
  constexpr int64_t n = 20000;
  auto x = randomDoubles(n, 0, 20), y = randomDoubles(n, -30, 30);
  double cases[][2] = {
      {-2, 3},         {-2, 2},        {-2, 0.5},        {0, 0},
      {0, 2},          {0, -1},        {-0.0, -1},       {-0.0, 3},
      {1, NAN},        {NAN, 0},       {NAN, 1},         {INFINITY, 2},
      {INFINITY, -2},  {-INFINITY, 3}, {-INFINITY, 2},   {2, INFINITY},
      {0.5, INFINITY}, {2, -INFINITY}, {2, 1024},        {2, -1074},
      {2, 0.5},        {0.99, 1000},   {1.0000001, 1e8}, {10, -2},
      {3, 2},          {-3, 7}};
  for (size_t i = 0; i < std::size(cases); ++i)
    x[i] = cases[i][0], y[i] = cases[i][1];
  Buffer a = Buffer::of(x), b = Buffer::of(y),
         out = Buffer::poisoned<double>(n);
  kernels.run("pow", {&a, &b, &out}, n);
  auto z = out.values<double>();
  for (int64_t i = 0; i < n; ++i) {
    Real want = std::pow((Real)x[i], (Real)y[i]);
    double bound = 2 + std::fabs(y[i] * std::log(std::fabs(x[i]))) / 64;
    ASSERT_LE(ulps(z[i], want), std::isfinite(bound) ? bound : 2)
        << x[i] << " ^ " << y[i] << " = " << z[i];
  }
}

TEST(Math, Bfloat16RoundsToNearestEven) {
  Kernels kernels(R"(
func.func @narrow(%x: tensor<?xf32>) -> tensor<?xbf16> attributes {kern.kernel} {
  %0 = kern.map (%a = %x : element tensor<?xf32>) -> (element tensor<?xbf16>) {
    %1 = arith.truncf %a : f32 to bf16
    kern.yield %1 : bf16
  }
  return %0 : tensor<?xbf16>
}
func.func @widen(%x: tensor<?xbf16>) -> tensor<?xf32> attributes {kern.kernel} {
  %0 = kern.map (%a = %x : element tensor<?xbf16>) -> (element tensor<?xf32>) {
    %1 = arith.extf %a : bf16 to f32
    kern.yield %1 : f32
  }
  return %0 : tensor<?xf32>
}
)");
  std::vector<float> x;
  // Every upper half with midpoints and their neighbours: subnormals,
  // infinities and NaNs too.
  for (uint32_t high = 0; high < 0x10000; ++high)
    for (uint32_t low : {0x0000u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      uint32_t bits = high << 16 | low;
      float f;
      std::memcpy(&f, &bits, 4);
      x.push_back(f);
    }
  Buffer in = Buffer::of(x), out = Buffer::poisoned<uint16_t>(x.size());
  kernels.run("narrow", {&in, &out}, x.size(), 2);
  auto got = out.values<uint16_t>();
  EXPECT_TRUE(sameBits(got, toBf16(x)));
  Buffer back = Buffer::poisoned<float>(x.size());
  kernels.run("widen", {&out, &back}, x.size());
  EXPECT_TRUE(sameBits(back.values<float>(), fromBf16(got)));
}

TEST(Math, MinimumAndMaximum) {
  std::string all;
  for (const char *op : {"maximumf", "minimumf", "maxnumf", "minnumf"})
    all += std::string("func.func @") + op +
           "(%x: tensor<?xf32>, %y: tensor<?xf32>) -> tensor<?xf32> attributes "
           "{kern.kernel} {\n"
           "  %0 = kern.map (%a = %x : element tensor<?xf32>, %b = %y : "
           "element tensor<?xf32>) -> (element tensor<?xf32>) {\n"
           "    %1 = arith." +
           op +
           " %a, %b : f32\n    kern.yield %1 : f32\n  }\n  return %0 : "
           "tensor<?xf32>\n}\n";
  Kernels kernels(all);
  std::vector<float> x = {1, 2, NAN, 3, NAN, -INFINITY},
                     y = {2, 1, 4, NAN, NAN, 5};
  Buffer a = Buffer::of(x), b = Buffer::of(y);
  auto run = [&](const char *op) {
    Buffer out = Buffer::poisoned<float>(x.size());
    kernels.run(op, {&a, &b, &out}, x.size());
    return out.values<float>();
  };
  for (size_t i = 0; i < x.size(); ++i) {
    bool nan = std::isnan(x[i]) || std::isnan(y[i]);
    EXPECT_EQ(std::isnan(run("maximumf")[i]), nan);
    EXPECT_EQ(std::isnan(run("minimumf")[i]), nan);
    if (std::isnan(x[i]) && std::isnan(y[i]))
      continue;
    EXPECT_EQ(run("maxnumf")[i], std::fmax(x[i], y[i]));
    EXPECT_EQ(run("minnumf")[i], std::fmin(x[i], y[i]));
  }
}

} // namespace
