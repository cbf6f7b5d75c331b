//===- TurnedTest.cpp - kern.matmul with a turn behind its sums -----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/kern/Harness.h"

using namespace r1c::test;

namespace {

struct Case {
  int64_t k, half;
  std::vector<int64_t> heads; ///< by result
  int64_t turned;             ///< heads
  size_t scattered;           ///< of the last results
  const char *type;           ///< of A and B
  const char *sums;           ///< in which they are turned
  const char *out;
  bool bias;
  std::vector<int64_t> rows = {1, 9, 61}; ///< of runs

  int64_t width() const { return 2 * half; }
  int64_t columns() const {
    int64_t count = 0;
    for (int64_t each : heads)
      count += each * width();
    return count;
  }
  bool isScattered(size_t result) const {
    return result + scattered >= heads.size();
  }
};

void PrintTo(const Case &c, std::ostream *out) {
  *out << c.k << "x" << c.columns() << " " << c.type << ", heads of "
       << c.width() << ", " << c.sums << " to " << c.out
       << (c.bias ? ", bias" : "");
}

std::string tensor(int64_t columns, const std::string &type) {
  return "tensor<?x" + std::to_string(columns) + "x" + type + ">";
}
std::string list(const std::vector<std::string> &parts) {
  std::string text;
  for (const std::string &each : parts)
    text += (text.empty() ? "" : ", ") + each;
  return text;
}

/// @product, @turn, and @one that is both, by @angles.
std::string text(const Case &c) {
  std::string frequencies;
  for (int64_t i = 0; i < c.half; ++i) {
    char number[32];
    std::snprintf(number, sizeof number, "%s%.9e", i ? ", " : "",
                  std::pow(10000.0, -double(i) / c.half));
    frequencies += number;
  }
  std::string heads = "heads = " + std::to_string(c.turned) + " : i64";
  frequencies = "frequencies = array<f32: " + frequencies + ">";
  std::string angles = tensor(c.width(), "f32");
  std::string N = std::to_string(c.columns());
  std::string a = tensor(c.k, c.type),
              b = "!kern.packed<" + std::to_string(c.k) + "x" + N + "x" +
                  c.type + ">",
              product = tensor(c.columns(), c.sums);
  std::vector<std::string> types, caches, cacheTypes, typedCaches, returned;
  for (size_t i = 0; i < c.heads.size(); ++i) {
    types.push_back(tensor(c.heads[i] * c.width(), c.out));
    returned.push_back(c.heads.size() == 1 ? "%r" : "%r#" + std::to_string(i));
    if (c.isScattered(i)) {
      caches.push_back("%c" + std::to_string(i));
      cacheTypes.push_back(types.back());
      typedCaches.push_back(caches.back() + ": " + types.back());
    }
  }
  std::string results =
      c.heads.size() == 1 ? "%r" : "%r:" + std::to_string(c.heads.size());
  std::string factors = "%a: " + a + ", %b: " + b, operands;
  std::string region, regionEnd;
  if (c.bias || std::string(c.sums) == "bf16") {
    region = " acc(%s)";
    std::string sum = "%s";
    regionEnd = " {\n";
    if (c.bias) {
      std::string bias = "tensor<" + N + "xf32>";
      factors += ", %bias: " + bias;
      region += " with (%v = %bias : column " + bias + ")";
      regionEnd += "    %u = arith.addf %s, %v : f32\n";
      sum = "%u";
    }
    if (std::string(c.sums) == "bf16") {
      regionEnd += "    %n = arith.truncf " + sum + " : f32 to bf16\n";
      sum = "%n";
    }
    regionEnd += "    kern.yield " + sum + " : " + c.sums + "\n  }";
  }
  std::string place;
  if (c.scattered)
    place = ", %to: tensor<?xi32>, " + list(typedCaches);
  std::string matmul = "kern.matmul %a, %b : " + a + ", " + b + region;
  std::string end =
      "\n  return " + list(returned) + " : " + list(types) + "\n}\n";
  std::string kernel = ") attributes {kern.kernel} {\n  ";
  return "func.func @product(" + factors + ") -> (" + product + kernel +
         "%r = " + matmul + " -> (" + product + ")" + regionEnd +
         "\n  return %r : " + product + "\n}\n" +
         "func.func @turn(%x: " + product + ", %p: tensor<?xi32>" + place +
         ") -> (" + list(types) + kernel + results + " = kern.rope %x at %p" +
         (c.scattered ? " scatter %to inits(" + list(caches) + ")" : "") +
         " {" + heads + ", " + frequencies + "} : " + product +
         " at tensor<?xi32>" +
         (c.scattered ? " scatter tensor<?xi32> inits(" + list(cacheTypes) + ")"
                      : "") +
         " -> " + list(types) + end +
         "func.func @angles(%p: tensor<?xi32>) -> (" + angles + kernel +
         "%r = kern.angles %p {" + frequencies + "} : tensor<?xi32> -> " +
         angles + "\n  return %r : " + angles + "\n}\n" + "func.func @one(" +
         factors + ", %t: " + angles + place + ") -> (" + list(types) + kernel +
         results + " = " + matmul + " turned(%t : " + angles + ")" +
         (c.scattered ? " scatter(%to : tensor<?xi32>) caches(" +
                            list(typedCaches) + ")"
                      : "") +
         " -> (" + list(types) + ") attributes {" + heads + "}" + regionEnd +
         end;
}

Buffer bufferOf(const std::vector<float> &values, const std::string &type) {
  return type == "f32" ? Buffer::of(values) : Buffer::of(toBf16(values));
}
Buffer poisoned(size_t count, const std::string &type) {
  return type == "f32" ? Buffer::poisoned<float>(count)
                       : Buffer::poisoned<uint16_t>(count);
}
std::vector<float> valuesOf(const Buffer &buffer, const std::string &type) {
  return type == "f32" ? buffer.values<float>()
                       : fromBf16(buffer.values<uint16_t>());
}

class Turned : public ::testing::TestWithParam<Case> {};

/// However many rows there are and whoever computes them: the bits of the
/// product, stored, and of a rope of it.
TEST_P(Turned, IsTheProductAndTheRope) {
  const Case &c = GetParam();
  SCOPED_TRACE(text(c));
  int64_t n = c.columns();
  constexpr int64_t slots = 401;
  auto b = randomFloats(c.k * n);
  Buffer B = std::string(c.type) == "f32"
                 ? Buffer::of(pack(b, c.k, n))
                 : Buffer::of(packBf16(toBf16(b), c.k, n));
  Buffer Bias = Buffer::of(randomFloats(n));
  std::vector<Kernels> all;
  all.emplace_back(text(c));
  all.emplace_back(text(c), /*reference=*/true);
  if (!onCuda())
    all.emplace_back(text(c), /*reference=*/false, "x86-64-v3");
  for (int64_t rows : c.rows) {
    std::vector<int32_t> p(rows), to(rows);
    int64_t first = rng()() % slots;
    for (int64_t i = 0; i < rows; ++i) {
      p[i] = rng()() % 4000;
      to[i] = (7 * i + first) % slots; // distinct
    }
    Buffer P = Buffer::of(p), To = Buffer::of(to),
           A = bufferOf(randomFloats(rows * c.k), c.type);
    std::vector<std::vector<float>> caches;
    for (int64_t heads : c.heads)
      caches.push_back(randomFloats(slots * heads * c.width()));
    for (const Kernels &kernels : all) {
      ASSERT_TRUE(kernels.ok());
      auto fresh = [&] {
        std::vector<Buffer> results;
        for (size_t i = 0; i < c.heads.size(); ++i)
          results.push_back(
              c.isScattered(i)
                  ? bufferOf(caches[i], c.out)
                  : poisoned(rows * c.heads[i] * c.width(), c.out));
        return results;
      };
      auto run = [&](const std::string &name,
                     std::vector<const Buffer *> arguments,
                     const std::vector<Buffer> &results, int64_t workers) {
        if (c.scattered)
          arguments.push_back(&To);
        for (const Buffer &each : results)
          arguments.push_back(&each);
        kernels.run(name, arguments, rows, workers);
      };
      std::vector<const Buffer *> factors = {&A, &B};
      if (c.bias)
        factors.push_back(&Bias);
      Buffer product = poisoned(rows * n, c.sums);
      std::vector<const Buffer *> into = factors;
      into.push_back(&product);
      kernels.run("product", into, rows);
      std::vector<Buffer> expected = fresh();
      run("turn", {&product, &P}, expected, 1);
      for (int64_t workers : {1, 2, 5, 16}) {
        Buffer angles = Buffer::poisoned<float>(rows * c.width());
        kernels.run("angles", {&P, &angles}, rows, workers);
        std::vector<Buffer> results = fresh();
        std::vector<const Buffer *> operands = factors;
        operands.push_back(&angles);
        run("one", operands, results, workers);
        for (size_t i = 0; i < results.size(); ++i)
          EXPECT_TRUE(sameBits(valuesOf(results[i], c.out),
                               valuesOf(expected[i], c.out)))
              << "result " << i << ", " << rows << " rows, " << workers
              << " workers, kernels " << &kernels - all.data();
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    , Turned,
    ::testing::Values(
        // Keys and values into a cache; what a policy in bf16 has.
        Case{64,
             32,
             {6, 2, 2},
             8,
             2,
             "bf16",
             "bf16",
             "bf16",
             false,
             {1, 9, 61, 130, 300}},
        Case{
            64, 32, {14, 2, 2}, 16, 2, "bf16", "bf16", "bf16", true, {61, 257}},
        Case{96, 64, {3, 1, 1}, 4, 0, "bf16", "f32", "bf16", true, {5, 200}},
        // Two warpgroups with parts of heads each.
        Case{32, 32, {29, 3, 3}, 32, 2, "bf16", "bf16", "bf16", false, {9}},
        // Long sums, which are cut where there are matrix tiles.
        Case{2112, 16, {2, 1, 1}, 3, 2, "bf16", "bf16", "bf16", false},
        // Heads that fill no whole panels.
        Case{64, 40, {3, 2, 2}, 5, 2, "bf16", "bf16", "bf16", true, {9, 150}},
        Case{32, 24, {5, 1, 1}, 6, 0, "bf16", "f32", "f32", false},
        Case{34, 8, {4, 2, 2}, 6, 2, "f32", "f32", "f32", false},
        Case{33, 20, {4, 2, 2}, 6, 2, "f32", "f32", "f32", true},
        Case{40, 9, {17}, 9, 0, "f32", "f32", "bf16", false},
        Case{20, 1, {3, 2}, 4, 1, "f32", "f32", "f32", true},
        // Nothing turned; more rows.
        Case{64, 16, {2, 2}, 0, 1, "f32", "f32", "f32", false},
        Case{16, 128, {2, 1}, 2, 0, "f32", "f32", "f32", false, {300}},
        Case{64, 128, {1, 1, 1}, 2, 2, "bf16", "bf16", "bf16", false, {300}}),
    [](const auto &info) {
      const Case &c = info.param;
      return c.type + ("_" + std::to_string(c.k)) + "x" +
             std::to_string(c.columns()) + "_heads" +
             std::to_string(c.width()) + (c.bias ? "_bias" : "");
    });

} // namespace
