//===- PackTest.cpp - kern.pack -------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/kern/Harness.h"

using namespace r1c::test;

namespace {

struct Shape {
  int64_t k, n;
};

TEST(Pack, Layouts) {
  Kernels kernels(R"(
func.func @plain(%w: tensor<30x70xf32>) -> !kern.packed<30x70xf32> attributes {kern.kernel} {
  %0 = kern.pack %w : tensor<30x70xf32> -> !kern.packed<30x70xf32>
  return %0 : !kern.packed<30x70xf32>
}
func.func @joined(%q: tensor<40x30xf32>, %k: tensor<20x30xf32>, %v: tensor<10x30xf32>) -> !kern.packed<30x70xbf16> attributes {kern.kernel} {
  %0 = kern.pack %q, %k, %v {transpose} : tensor<40x30xf32>, tensor<20x30xf32>, tensor<10x30xf32> -> !kern.packed<30x70xbf16>
  return %0 : !kern.packed<30x70xbf16>
}
func.func @below(%q: tensor<20x70xf32>, %k: tensor<10x70xf32>) -> !kern.packed<30x70xf32> attributes {kern.kernel} {
  %0 = kern.pack %q, %k {along_k} : tensor<20x70xf32>, tensor<10x70xf32> -> !kern.packed<30x70xf32>
  return %0 : !kern.packed<30x70xf32>
}
)");
  auto w = randomFloats(30 * 70);
  Buffer W = Buffer::of(w), P = Buffer::poisoned<float>(3 * 30 * 32);
  kernels.run("plain", {&W, &P}, -1, 2);
  EXPECT_TRUE(sameBits(P.values<float>(), pack(w, 30, 70)));
  // The transposed parts of the same matrix.
  std::vector<float> t(70 * 30);
  for (int i = 0; i < 30; ++i)
    for (int j = 0; j < 70; ++j)
      t[j * 30 + i] = w[i * 70 + j];
  Buffer Q = Buffer::of(std::vector<float>(t.begin(), t.begin() + 1200)),
         K = Buffer::of(std::vector<float>(t.begin() + 1200, t.begin() + 1800)),
         V = Buffer::of(std::vector<float>(t.begin() + 1800, t.end())),
         H = Buffer::poisoned<uint16_t>(3 * 30 * 32);
  kernels.run("joined", {&Q, &K, &V, &H}, -1, 3);
  EXPECT_TRUE(sameBits(H.values<uint16_t>(), packBf16(toBf16(w), 30, 70)));
  Buffer T = Buffer::of(std::vector<float>(w.begin(), w.begin() + 1400)),
         B = Buffer::of(std::vector<float>(w.begin() + 1400, w.end())),
         R = Buffer::poisoned<float>(3 * 30 * 32);
  kernels.run("below", {&T, &B, &R}, -1);
  EXPECT_TRUE(sameBits(R.values<float>(), pack(w, 30, 70)));
}

// Vectors where widths allow, with the bytes of the naive lowering.
TEST(Pack, VectorsGiveTheSameBytes) {
  struct Case {
    std::string attributes;
    std::vector<Shape> sources; // K x N
    int64_t k, n;
  };
  const Case cases[] = {
      {"", {{30, 64}}, 30, 64},
      {"", {{96, 48}, {96, 16}, {96, 16}}, 96, 80},
      {"transpose", {{64, 48}, {64, 32}}, 64, 80},
      {"transpose", {{90, 96}}, 90, 96},
      {"transpose", {{6, 16}}, 6, 16},
      {"paired, transpose", {{70, 48}, {70, 48}}, 70, 96},
      {"paired", {{70, 48}, {70, 48}}, 70, 96},
      {"along_k", {{40, 64}, {20, 64}, {2, 64}}, 62, 64},
      {"along_k, transpose", {{40, 64}, {34, 64}}, 74, 64},
      {"transpose", {{33, 64}}, 33, 64},
      {"", {{72, 136}}, 72, 136},
      {"", {{8, 200}}, 8, 200},
      {"", {{128, 64}}, 128, 64},
  };
  for (const Case &c : cases)
    for (std::string from : {"f32", "bf16"})
      for (std::string to : {"f32", "bf16"}) {
        std::string names, types, arguments;
        std::vector<Buffer> sources;
        std::vector<const Buffer *> naiveArgs, tunedArgs;
        bool transposed = c.attributes.find("transpose") != std::string::npos;
        for (auto [i, shape] : llvm::enumerate(c.sources)) {
          auto [k, n] = shape;
          std::string type = "tensor<" + std::to_string(transposed ? n : k) +
                             "x" + std::to_string(transposed ? k : n) + "x" +
                             from + ">";
          std::string name = "%s" + std::to_string(i), comma = i ? ", " : "";
          names += comma + name;
          types += comma + type;
          arguments += comma + name + ": " + type;
          auto values = randomFloats(k * n);
          sources.push_back(from == "f32" ? Buffer::of(values)
                                          : Buffer::of(toBf16(values)));
        }
        std::string result = "!kern.packed<" + std::to_string(c.k) + "x" +
                             std::to_string(c.n) + "x" + to + ">";
        std::string text = "func.func @p(" + arguments + ") -> " + result +
                           " attributes {kern.kernel} {\n  %0 = kern.pack " +
                           names + " {" + c.attributes + "} : " + types +
                           " -> " + result + "\n  return %0 : " + result +
                           "\n}\n";
        Kernels tuned(text), naive(text, true);
        int64_t bytes =
            (c.n + 31) / 32 * 32 * (to == "f32" ? c.k * 4 : (c.k + 1) / 2 * 4);
        Buffer expected = Buffer::poisoned<uint8_t>(bytes);
        std::vector<const Buffer *> args;
        for (const Buffer &source : sources)
          args.push_back(&source);
        args.push_back(&expected);
        naive.run("p", args, -1);
        for (int64_t workers : {1, 2, 5}) {
          Buffer got = Buffer::poisoned<uint8_t>(bytes);
          args.back() = &got;
          tuned.run("p", args, -1, workers);
          EXPECT_TRUE(
              sameBits(got.values<uint8_t>(), expected.values<uint8_t>()))
              << text;
        }
      }
}

} // namespace
