//===- RopeTest.cpp - kern.rope -------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/kern/Harness.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace r1c;
using namespace r1c::test;

namespace {

TEST(Rope, RotatesAndBack) {
  for (int half : {4, 16, 20, 32}) {
    int64_t heads = 3, width = heads * 2 * half, rows = 11;
    std::string w = std::to_string(width), list;
    std::vector<float> freq;
    for (int i = 0; i < half; ++i) {
      freq.push_back(std::pow(10000.0, -double(i) / half));
      char text[32];
      std::snprintf(text, sizeof text, "%s%.9e", i ? ", " : "", freq.back());
      list += text;
    }
    std::string source;
    for (std::string inverse : {"", ", inverse"})
      source +=
          "func.func @rope" + std::string(inverse.empty() ? "" : "_back") +
          "(%x: tensor<?x" + w + "xf32>, %p: tensor<?xi32>) -> tensor<?x" + w +
          "xf32> attributes {kern.kernel} {\n"
          "  %0 = kern.rope %x at %p {heads = 3, frequencies = array<f32: " +
          list + ">" + inverse + "} : tensor<?x" + w +
          "xf32> at tensor<?xi32> -> tensor<?x" + w +
          "xf32>\n"
          "  return %0 : tensor<?x" +
          w + "xf32>\n}\n";
    Kernels kernels(source);
    auto x = randomFloats(rows * width);
    std::vector<int32_t> p(rows);
    for (int32_t &v : p)
      v = rng()() % 40000;
    p[0] = 0;
    Buffer X = Buffer::of(x), P = Buffer::of(p),
           Y = Buffer::poisoned<float>(rows * width);
    kernels.run("rope", {&X, &P, &Y}, rows, 2);
    auto y = Y.values<float>();
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t h = 0; h < heads; ++h)
        for (int i = 0; i < half; ++i) {
          double a = float(p[r]) * freq[i];
          int64_t at = r * width + h * 2 * half + i;
          ASSERT_NEAR(y[at], x[at] * std::cos(a) - x[at + half] * std::sin(a),
                      3e-7);
          ASSERT_NEAR(y[at + half],
                      x[at + half] * std::cos(a) + x[at] * std::sin(a), 3e-7);
        }
    Buffer Z = Buffer::of(y);
    kernels.run("rope_back", {&Z, &P, &Z}, rows, 3); // in place
    auto z = Z.values<float>();
    for (size_t i = 0; i < z.size(); ++i)
      ASSERT_NEAR(z[i], x[i], 5e-7);
    // One row alone.
    Buffer X1 = Buffer::of(std::vector<float>(x.begin() + 4 * width,
                                              x.begin() + 5 * width)),
           P1 = Buffer::of(std::vector<int32_t>{p[4]}),
           Y1 = Buffer::poisoned<float>(width);
    kernels.run("rope", {&X1, &P1, &Y1}, 1);
    EXPECT_TRUE(sameBits(Y1.values<float>(), 0, y, 4 * width, width));
  }
}

/// Tensors of some heads each, that one kernel reads or writes.
struct Cut {
  std::vector<int64_t> heads;
  std::vector<std::string> types;
};

struct Case {
  int64_t half, turned;
  Cut from, to;
  size_t scattered = 0; ///< of the last results
};

std::string tensor(int64_t heads, int64_t half, const std::string &type) {
  return "tensor<?x" + std::to_string(heads * 2 * half) + "x" + type + ">";
}
std::string joined(const std::vector<std::string> &list) {
  std::string text;
  for (const std::string &each : list)
    text += (text.empty() ? "" : ", ") + each;
  return text;
}

std::string kernelText(const Case &c, const std::string &frequencies) {
  std::vector<std::string> arguments, inputs, inputTypes, inits, initTypes,
      types;
  for (size_t i = 0; i < c.from.heads.size(); ++i) {
    inputs.push_back("%x" + std::to_string(i));
    inputTypes.push_back(tensor(c.from.heads[i], c.half, c.from.types[i]));
    arguments.push_back(inputs.back() + ": " + inputTypes.back());
  }
  arguments.push_back("%p: tensor<?xi32>");
  if (c.scattered)
    arguments.push_back("%to: tensor<?xi32>");
  for (size_t i = 0; i < c.to.heads.size(); ++i) {
    types.push_back(tensor(c.to.heads[i], c.half, c.to.types[i]));
    if (i + c.scattered >= c.to.heads.size()) {
      inits.push_back("%c" + std::to_string(i));
      initTypes.push_back(types.back());
      arguments.push_back(inits.back() + ": " + types.back());
    }
  }
  std::string results =
      c.to.heads.size() == 1 ? "%r" : "%r:" + std::to_string(c.to.heads.size());
  std::vector<std::string> returned;
  for (size_t i = 0; i < c.to.heads.size(); ++i)
    returned.push_back(c.to.heads.size() == 1 ? "%r"
                                              : "%r#" + std::to_string(i));
  bool scatters = c.scattered;
  return "func.func @k(" + joined(arguments) + ") -> (" + joined(types) +
         ") attributes {kern.kernel} {\n  " + results + " = kern.rope " +
         joined(inputs) + " at %p" +
         (scatters ? " scatter %to inits(" + joined(inits) + ")" : "") +
         " {heads = " + std::to_string(c.turned) +
         ", frequencies = array<f32: " + frequencies +
         ">} : " + joined(inputTypes) + " at tensor<?xi32>" +
         (scatters ? " scatter tensor<?xi32> inits(" + joined(initTypes) + ")"
                   : "") +
         " -> " + joined(types) + "\n  return " + joined(returned) + " : " +
         joined(types) + "\n}\n";
}

Buffer bufferOf(const std::vector<float> &values, const std::string &type) {
  return type == "f32" ? Buffer::of(values) : Buffer::of(toBf16(values));
}
std::vector<float> valuesOf(const Buffer &buffer, const std::string &type) {
  return type == "f32" ? buffer.values<float>()
                       : fromBf16(buffer.values<uint16_t>());
}

/// However a row is cut, its heads have the bits of a rope of one tensor; what
/// is not turned has those of the input.
TEST(Rope, CutsAndScatters) {
  std::vector<Case> cases = {
      // A product apart, keys and values into a cache.
      {16, 6, {{8}, {"f32"}}, {{4, 2, 2}, {"f32", "f32", "f32"}}, 2},
      {20, 6, {{8}, {"bf16"}}, {{4, 2, 2}, {"bf16", "bf16", "bf16"}}, 2},
      {4, 3, {{4}, {"f32"}}, {{2, 1, 1}, {"bf16", "bf16", "bf16"}}, 0},
      // Together.
      {16, 5, {{4, 1, 1}, {"bf16", "f32", "bf16"}}, {{6}, {"bf16"}}, 0},
      {32, 5, {{4, 1, 1}, {"f32", "f32", "f32"}}, {{6}, {"f32"}}, 1},
      // One lane behind whole vectors, narrowed.
      {1, 3, {{3}, {"f32"}}, {{3}, {"bf16"}}, 0},
      {17, 3, {{4}, {"f32"}}, {{2, 1, 1}, {"bf16", "bf16", "bf16"}}, 2},
      // Nothing turned; cuts at other places.
      {16, 0, {{1, 3}, {"f32", "f32"}}, {{2, 2}, {"f32", "bf16"}}, 0},
      {8, 2, {{1, 3}, {"f32", "f32"}}, {{3, 1}, {"f32", "f32"}}, 1},
  };
  for (const Case &c : cases) {
    std::string list;
    for (int64_t i = 0; i < c.half; ++i) {
      char text[32];
      std::snprintf(text, sizeof text, "%s%.9e", i ? ", " : "",
                    std::pow(10000.0, -double(i) / c.half));
      list += text;
    }
    int64_t heads = 0, width = 2 * c.half;
    for (int64_t each : c.from.heads)
      heads += each;
    SCOPED_TRACE(kernelText(c, list));
    Kernels kernels(kernelText(c, list));
    Kernels whole(kernelText(
        {c.half, heads, {{heads}, {"f32"}}, {{heads}, {"f32"}}}, list));
    ASSERT_TRUE(kernels.ok() && whole.ok());
    // Of few rows a thread of a GPU turns some heads, of many all.
    for (int64_t rows : {1, 9, 300}) {
      constexpr int64_t slots = 320;
      std::vector<int32_t> p(rows), to(rows);
      for (int64_t i = 0; i < rows; ++i) {
        p[i] = rng()() % 4000;
        to[i] = (7 * i + 3) % slots; // distinct
      }
      Buffer P = Buffer::of(p), To = Buffer::of(to);
      // The inputs, and the row that they make side by side.
      std::vector<Buffer> inputs;
      std::vector<float> row(rows * heads * width);
      int64_t first = 0;
      for (size_t i = 0; i < c.from.heads.size(); ++i) {
        int64_t n = c.from.heads[i] * width;
        inputs.push_back(
            bufferOf(randomFloats(rows * n, -2, 2), c.from.types[i]));
        auto x = valuesOf(inputs.back(), c.from.types[i]);
        for (int64_t r = 0; r < rows; ++r)
          std::copy_n(x.begin() + r * n, n,
                      row.begin() + r * heads * width + first);
        first += n;
      }
      Buffer Row = Buffer::of(row),
             Turned = Buffer::poisoned<float>(rows * heads * width);
      whole.run("k", {&Row, &P, &Turned}, rows);
      auto turned = Turned.values<float>();

      for (int workers : {1, 2, 5}) {
        std::vector<Buffer> results;
        std::vector<std::vector<float>> inits;
        for (size_t i = 0; i < c.to.heads.size(); ++i) {
          int64_t n = c.to.heads[i] * width;
          bool scattered = i + c.scattered >= c.to.heads.size();
          inits.push_back(randomFloats(slots * n));
          bool isF32 = c.to.types[i] == "f32";
          results.push_back(scattered ? bufferOf(inits.back(), c.to.types[i])
                            : isF32   ? Buffer::poisoned<float>(rows * n)
                                      : Buffer::poisoned<uint16_t>(rows * n));
          inits.back() = valuesOf(results.back(), c.to.types[i]);
        }
        std::vector<const Buffer *> arguments;
        for (const Buffer &each : inputs)
          arguments.push_back(&each);
        arguments.push_back(&P);
        if (c.scattered)
          arguments.push_back(&To);
        for (const Buffer &each : results)
          arguments.push_back(&each);
        kernels.run("k", arguments, rows, workers);

        int64_t head = 0;
        for (size_t i = 0; i < c.to.heads.size(); ++i) {
          int64_t n = c.to.heads[i] * width;
          bool scattered = i + c.scattered >= c.to.heads.size();
          auto want = scattered ? inits[i] : std::vector<float>(rows * n);
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t j = 0; j < n; ++j) {
              int64_t at = r * heads * width + head * width + j;
              bool isTurned = head + j / width < c.turned;
              want[(scattered ? to[r] : r) * n + j] =
                  isTurned ? turned[at] : row[at];
            }
          if (c.to.types[i] != "f32")
            want = fromBf16(toBf16(want));
          EXPECT_TRUE(sameBits(valuesOf(results[i], c.to.types[i]), want))
              << "result " << i << ", " << rows << " rows, " << workers
              << " workers";
          head += c.to.heads[i];
        }
      }
    }
  }
}

} // namespace
