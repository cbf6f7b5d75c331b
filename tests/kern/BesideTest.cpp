//===- BesideTest.cpp - products with results side by side ----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// kern.matmul with a `beside` result, as behind the gradient of a gated unit:
// the bits of a kern.map on the stored sums, whatever computes it.
//===----------------------------------------------------------------------===//

#include "tests/kern/Harness.h"

using namespace r1c::test;

namespace {

struct Shape {
  int64_t k, n;
  std::string type; ///< of the factors, of what is read and of what is stored
};

std::string text(const Shape &s) {
  auto wide = [&](int64_t columns, const std::string &type) {
    return "tensor<?x" + std::to_string(columns) + "x" + type + ">";
  };
  bool bf16 = s.type == "bf16";
  std::string a = wide(s.k, s.type), x = wide(s.n, s.type),
              two = wide(2 * s.n, s.type), sums = wide(s.n, "f32"),
              b = "!kern.packed<" + std::to_string(s.k) + "x" +
                  std::to_string(s.n) + "x" + s.type + ">";
  std::string body, yield = "%0, %1, %2";
  if (bf16)
    body += "    %xw = arith.extf %xv : bf16 to f32\n"
            "    %yw = arith.extf %yv : bf16 to f32\n";
  std::string xv = bf16 ? "%xw" : "%xv", yv = bf16 ? "%yw" : "%yv";
  body += "    %one = arith.constant 1.0 : f32\n    %n = arith.negf " + xv +
          " : f32\n    %e = math.exp %n : f32\n"
          "    %d = arith.addf %one, %e : f32\n"
          "    %g = arith.divf %one, %d : f32\n"
          "    %p = arith.mulf %g, " +
          yv +
          " : f32\n    %0 = arith.mulf %s, %p : f32\n"
          "    %q = arith.mulf %s, %g : f32\n"
          "    %1 = arith.addf %q, " +
          xv + " : f32\n    %2 = arith.mulf %g, " + xv + " : f32\n";
  if (bf16)
    for (char i : {'0', '1', '2'})
      body += std::string("    %r") + i + " = arith.truncf %" + i +
              " : f32 to bf16\n";
  if (bf16)
    yield = "%r0, %r1, %r2";
  body += "    kern.yield " + yield + " : " + s.type + ", " + s.type + ", " +
          s.type + "\n  }\n  return %o#0, %o#1 : " + two + ", " + x + "\n}\n";
  return "func.func @fused(%a: " + a + ", %b: " + b + ", %x: " + x +
         ", %y: " + x + ") -> (" + two + ", " + x +
         ") attributes {kern.kernel} {\n"
         "  %o:2 = kern.matmul %a, %b : " +
         a + ", " + b + " acc(%s) with (%xv = %x : element " + x +
         ", %yv = %y : element " + x + ") -> (beside " + two + ", " + x +
         ") {\n" + body + "func.func @product(%a: " + a + ", %b: " + b +
         ") -> " + sums +
         " attributes {kern.kernel} {\n"
         "  %o = kern.matmul %a, %b : " +
         a + ", " + b + " -> (" + sums + ")\n  return %o : " + sums +
         "\n}\n"
         "func.func @map(%c: " +
         sums + ", %x: " + x + ", %y: " + x + ") -> (" + two + ", " + x +
         ") attributes {kern.kernel} {\n"
         "  %o:2 = kern.map (%s = %c : element " +
         sums + ", %xv = %x : element " + x + ", %yv = %y : element " + x +
         ") -> (beside " + two + ", element " + x + ") {\n" + body;
}

class Beside : public ::testing::TestWithParam<Shape> {};

TEST_P(Beside, AsAMapOnTheSums) {
  const Shape &s = GetParam();
  bool bf16 = s.type == "bf16";
  Kernels tuned(text(s)), naive(text(s), true),
      narrow(text(s), false, "x86-64-v3");
  std::vector<const Kernels *> alike = {&tuned};
  if (!onTensorCores(s.type))
    alike.push_back(&naive);
  if (!bf16 || (!onCuda() && !hasMatrixTiles()))
    alike.push_back(&narrow);
  auto buffer = [&](const std::vector<float> &v) {
    return bf16 ? Buffer::of(toBf16(v)) : Buffer::of(v);
  };
  auto poisoned = [&](size_t n) {
    return bf16 ? Buffer::poisoned<uint16_t>(n) : Buffer::poisoned<float>(n);
  };
  auto same = [&](const Buffer &a, const Buffer &b) {
    return bf16 ? sameBits(a.values<uint16_t>(), b.values<uint16_t>())
                : sameBits(a.values<float>(), b.values<float>());
  };
  for (int64_t rows : {0, 1, 17, 70, 129}) {
    auto b = randomFloats(s.k * s.n);
    Buffer A = buffer(randomFloats(rows * s.k)),
           X = buffer(randomFloats(rows * s.n, -4, 4)),
           Y = buffer(randomFloats(rows * s.n, -4, 4)),
           B = bf16 ? Buffer::of(packBf16(toBf16(b), s.k, s.n))
                    : Buffer::of(pack(b, s.k, s.n));
    Buffer C = Buffer::poisoned<float>(rows * s.n),
           two = poisoned(rows * 2 * s.n), one = poisoned(rows * s.n);
    tuned.run("product", {&A, &B, &C}, rows, 2);
    tuned.run("map", {&C, &X, &Y, &two, &one}, rows, 2);
    for (const Kernels *kernels : alike)
      for (int64_t workers : {1, 3}) {
        Buffer fusedTwo = poisoned(rows * 2 * s.n),
               fusedOne = poisoned(rows * s.n);
        kernels->run("fused", {&A, &B, &X, &Y, &fusedTwo, &fusedOne}, rows,
                     workers);
        EXPECT_TRUE(same(fusedTwo, two)) << rows << " rows";
        EXPECT_TRUE(same(fusedOne, one)) << rows << " rows";
      }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Beside,
    ::testing::Values(Shape{40, 48, "f32"}, Shape{33, 37, "f32"},
                      Shape{64, 300, "f32"}, Shape{64, 320, "bf16"},
                      Shape{72, 48, "bf16"}, Shape{32, 203, "bf16"}),
    [](const auto &info) {
      const Shape &s = info.param;
      return s.type + "_" + std::to_string(s.k) + "x" + std::to_string(s.n);
    });

} // namespace
