//===- ChunkTest.cpp - reductions over chunks of columns ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/kern/Harness.h"
#include <array>

using namespace r1c::test;

namespace {

/// Reductions of all kinds that a head needs, in two stages, of `z`.
const char *region = R"(
    %none = arith.constant 0.0 : f32
    %u = arith.mulf %z, %scale : f32
    %m = kern.reduce max %u : f32
    %best = kern.reduce argmax %u : f32
    %d = arith.subf %u, %m : f32
    %e = math.exp %d : f32
    %total = kern.reduce add %e : f32
    %j = kern.index column
    %hit = arith.cmpi eq, %j, %target : i32
    %picked = arith.select %hit, %u, %none : f32
    %ofTarget = kern.reduce add %picked : f32
)";

struct Shape {
  int64_t k, n;
  std::string type;
  int64_t chunks() const { return (n + 255) / 256; }
};

/// @fused reduces behind the product, @both also stores it, @product stores it
/// alone, @stored reduces a stored one.
std::string text(const Shape &s) {
  std::string K = std::to_string(s.k), N = std::to_string(s.n);
  std::string a = "tensor<?x" + K + "x" + s.type + ">",
              b = "!kern.packed<" + K + "x" + N + "x" + s.type + ">",
              z = "tensor<?x" + N + "xf32>",
              f = "tensor<?x" + std::to_string(s.chunks()) + "xf32>",
              i = "tensor<?x" + std::to_string(s.chunks()) + "xi32>";
  std::string types = f + ", " + i + ", " + f + ", " + f,
              chunks = "chunk " + f + ", chunk " + i + ", chunk " + f +
                       ", chunk " + f,
              more = "%target = %t : row tensor<?xi32>, %scale = %s : one "
                     "tensor<f32>",
              yield = "    kern.yield %m, %best, %total, %ofTarget : f32, i32, "
                      "f32, f32\n  }\n";
  std::string head = "%t: tensor<?xi32>, %s: tensor<f32>",
              product = "kern.matmul %a, %b : " + a + ", " + b;
  return "func.func @fused(%a: " + a + ", %b: " + b + ", " + head + ") -> (" +
         types + ") attributes {kern.kernel} {\n  %0:4 = " + product +
         " acc(%z) with (" + more + ") -> (" + chunks + ") {" + region + yield +
         "  return %0#0, %0#1, %0#2, %0#3 : " + types + "\n}\n" +
         "func.func @both(%a: " + a + ", %b: " + b + ", " + head + ") -> (" +
         z + ", " + types +
         ") attributes {kern.kernel} {\n  %0:5 = " + product +
         " acc(%z) with (" + more + ") -> (" + z + ", " + chunks + ") {" +
         region +
         "    kern.yield %u, %m, %best, %total, %ofTarget : f32, f32, i32, "
         "f32, f32\n  }\n  return %0#0, %0#1, %0#2, %0#3, %0#4 : " +
         z + ", " + types + "\n}\n" + "func.func @product(%a: " + a +
         ", %b: " + b + ") -> " + z +
         " attributes {kern.kernel} {\n  %0 = " + product + " -> (" + z +
         ")\n  return %0 : " + z + "\n}\n" + "func.func @stored(%0: " + z +
         ", " + head + ") -> (" + types +
         ") attributes {kern.kernel} {\n  %1:4 = kern.row (%z = %0 : "
         "element " +
         z + ", " + more + ") -> (" + chunks + ") {" + region + yield +
         "  return %1#0, %1#1, %1#2, %1#3 : " + types + "\n}\n";
}

/// The four results of the chunks, poisoned.
struct Results {
  Results(int64_t rows, int64_t chunks)
      : buffers{Buffer::poisoned<float>(rows * chunks),
                Buffer::poisoned<int32_t>(rows * chunks),
                Buffer::poisoned<float>(rows * chunks),
                Buffer::poisoned<float>(rows * chunks)} {}
  std::array<Buffer, 4> buffers;

  std::vector<const Buffer *> after(std::vector<const Buffer *> inputs) const {
    for (const Buffer &b : buffers)
      inputs.push_back(&b);
    return inputs;
  }
  std::vector<int32_t> bits() const {
    std::vector<int32_t> all;
    for (const Buffer &b : buffers) {
      auto values = b.values<int32_t>();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }
  /// The same `count` rows from `first` of each.
  std::vector<int32_t> bits(int64_t first, int64_t count,
                            int64_t chunks) const {
    std::vector<int32_t> all;
    for (const Buffer &b : buffers) {
      auto values = b.values<int32_t>();
      all.insert(all.end(), values.begin() + first * chunks,
                 values.begin() + (first + count) * chunks);
    }
    return all;
  }
};

class Chunk : public ::testing::TestWithParam<Shape> {};

TEST_P(Chunk, AgreesAndIsRowInvariant) {
  const Shape &s = GetParam();
  bool bf16 = s.type == "bf16";
  Kernels tuned(text(s)), naive(text(s), true),
      narrow(text(s), false, "x86-64-v3");
  int64_t most = 53, chunks = s.chunks();
  auto a = randomFloats(most * s.k), b = randomFloats(s.k * s.n);
  std::vector<int32_t> targets;
  for (int64_t i = 0; i < most; ++i)
    targets.push_back(rng()() % s.n);
  if (bf16)
    a = fromBf16(toBf16(a)), b = fromBf16(toBf16(b));
  auto buffer = [&](std::vector<float> v) {
    return bf16 ? Buffer::of(toBf16(v)) : Buffer::of(v);
  };
  Buffer A = buffer(a), T = Buffer::of(targets),
         S = Buffer::of(std::vector<float>{1.5f});
  Buffer B = bf16 ? Buffer::of(packBf16(toBf16(b), s.k, s.n))
                  : Buffer::of(pack(b, s.k, s.n));
  Results fused(most, chunks);
  tuned.run("fused", fused.after({&A, &B, &T, &S}), most);

  // By number, from the product that is stored.
  Buffer Z = Buffer::poisoned<float>(most * s.n);
  tuned.run("product", {&A, &B, &Z}, most);
  auto z = Z.values<float>();
  auto m = fused.buffers[0].values<float>();
  auto best = fused.buffers[1].values<int32_t>();
  auto total = fused.buffers[2].values<float>(),
       ofTarget = fused.buffers[3].values<float>();
  for (int64_t i = 0; i < most; ++i)
    for (int64_t c = 0; c < chunks; ++c) {
      float largest = -INFINITY, picked = 0;
      int64_t at = -1, end = std::min(s.n, (c + 1) * 256);
      for (int64_t j = c * 256; j < end; ++j) {
        float u = z[i * s.n + j] * 1.5f;
        if (u > largest)
          largest = u, at = j;
        if (j == targets[i])
          picked = u;
      }
      double sum = 0;
      for (int64_t j = c * 256; j < end; ++j)
        sum += std::exp(double(z[i * s.n + j] * 1.5f) - largest);
      ASSERT_EQ(m[i * chunks + c], largest);
      ASSERT_EQ(best[i * chunks + c], at);
      ASSERT_EQ(ofTarget[i * chunks + c], picked);
      ASSERT_NEAR(total[i * chunks + c], sum, 2e-6 * sum);
    }

  // By bits: whatever computes it, and from stored sums too.
  std::vector<const Kernels *> alike = {&tuned};
  if (!onTensorCores(s.type))
    alike.push_back(&naive);
  if (!bf16 || (!onCuda() && !hasMatrixTiles()))
    alike.push_back(&narrow);
  for (const Kernels *kernels : alike) {
    Results alone(most, chunks), beside(most, chunks), stored(most, chunks);
    Buffer U = Buffer::poisoned<float>(most * s.n);
    kernels->run("fused", alone.after({&A, &B, &T, &S}), most, 3);
    kernels->run("both", beside.after({&A, &B, &T, &S, &U}), most, 2);
    kernels->run("stored", stored.after({&Z, &T, &S}), most, 5);
    EXPECT_TRUE(sameBits(alone.bits(), fused.bits()));
    EXPECT_TRUE(sameBits(beside.bits(), fused.bits()));
    EXPECT_TRUE(sameBits(stored.bits(), fused.bits()));
    auto u = U.values<float>();
    for (size_t i = 0; i < u.size(); ++i)
      ASSERT_EQ(u[i], z[i] * 1.5f) << i;
  }

  // An interpreter takes its time.
  for (int64_t rows = 0; rows <= 40; rows += onCuda() ? 9 : 1)
    for (int64_t workers : {1, 2, 3, 7, 16}) {
      int64_t offset = rng()() % (most - rows + 1);
      Buffer part = buffer(
                 {a.begin() + offset * s.k, a.begin() + (offset + rows) * s.k}),
             t = Buffer::of(std::vector<int32_t>(
                 targets.begin() + offset, targets.begin() + offset + rows));
      Results r(rows, chunks);
      tuned.run("fused", r.after({&part, &B, &t, &S}), rows, workers);
      ASSERT_TRUE(sameBits(r.bits(), fused.bits(offset, rows, chunks)))
          << rows << " rows, " << workers << " workers";
    }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Chunk,
    ::testing::Values(Shape{64, 512, "f32"}, Shape{33, 5, "f32"},
                      Shape{1, 257, "f32"}, Shape{37, 300, "f32"},
                      Shape{1024, 287, "f32"}, Shape{20, 1003, "f32"},
                      Shape{64, 256, "bf16"}, Shape{64, 448, "bf16"},
                      Shape{66, 611, "bf16"}),
    [](const auto &info) {
      const Shape &s = info.param;
      return s.type + "_" + std::to_string(s.k) + "x" + std::to_string(s.n);
    });

} // namespace
