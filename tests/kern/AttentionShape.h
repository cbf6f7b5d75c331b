//===- AttentionShape.h - what tests of attention vary ----------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_KERN_ATTENTIONSHAPE_H
#define R1C_TESTS_KERN_ATTENTIONSHAPE_H

#include "tests/kern/Harness.h"

namespace r1c::test {

/// Heads, their width, and the types of operands and of gradients.
struct AttentionShape {
  int64_t heads, kvHeads, width;
  const char *type, *gradients;
  AttentionShape(int64_t heads, int64_t kvHeads, int64_t width,
                 const char *type, const char *gradients = nullptr)
      : heads(heads), kvHeads(kvHeads), width(width), type(type),
        gradients(gradients ? gradients : type) {}

  /// At least the forward is.
  bool onTensorCores() const {
    return width % 64 == 0 && r1c::test::onTensorCores(type);
  }
  /// Chains of 32 instead of one: other bits than without.
  bool onMatrixTiles() const {
    return type == std::string("bf16") && width % 32 == 0 && hasMatrixTiles();
  }
  std::string name() const {
    return std::to_string(heads) + "_" + std::to_string(kvHeads) + "_" +
           std::to_string(width) + "_" + type +
           (type == std::string(gradients) ? "" : "_f32");
  }
};

/// The function of a kern.attention; with `attributes` of the function, `ofOp`
/// before those of the op, and weights of this type that it prefetches.
inline std::string attentionText(const AttentionShape &s,
                                 const std::string &name, bool lse, bool shares,
                                 const std::string &attributes = "",
                                 const std::string &ofOp = "",
                                 const std::string &weights = "") {
  auto tensor = [&](int64_t columns, const std::string &type) {
    return "tensor<?x" + std::to_string(columns) + "x" + type + ">";
  };
  std::string q = tensor(s.heads * s.width, s.type),
              k = tensor(s.kvHeads * s.width, s.type),
              l = tensor(s.heads, "f32"), i = "tensor<?xi32>";
  std::string result = lse ? q + ", " + l : q;
  return "func.func @" + name + "(%q: " + q + ", %k: " + k + ", %v: " + k +
         ", %p: " + i + ", %b: " + i +
         (shares ? ", %s: " + i + ", %c: " + i : "") +
         (weights.empty() ? "" : ", %w: " + weights) + ") -> (" + result +
         ") attributes {kern.kernel" + attributes + "} {\n  %0" +
         (lse ? ":2" : "") + " = kern.attention %q, %k, %v at %p from %b" +
         (shares ? " shared %s from %c" : "") +
         (weights.empty() ? "" : " prefetch(%w : " + weights + ")") + " {" +
         ofOp + "heads = " + std::to_string(s.heads) +
         ", kv_heads = " + std::to_string(s.kvHeads) + ", scale = 0.2 : f32}" +
         " : " + q + ", " + k + ", " + k + ", " + i + ", " + i +
         (shares ? " shared " + i + " from " + i : "") + " -> " + result +
         "\n  return " + (lse ? "%0#0, %0#1" : "%0") + " : " + result + "\n}\n";
}

/// Operands of a shape, and what is allowed of them. `Shape`: an
/// AttentionShape.
template <typename Shape>
class AttentionFixture : public ::testing::TestWithParam<Shape> {
protected:
  Shape s = this->GetParam();
  bool bf = std::string(s.type) == "bf16";
  int64_t qc = s.heads * s.width, kc = s.kvHeads * s.width; ///< columns
  double tolerance = bf ? 1e-2 : 5e-6;

  Buffer of(const std::vector<float> &v) {
    return bf ? Buffer::of(toBf16(v)) : Buffer::of(v);
  }
  std::vector<float> random(size_t n) {
    auto v = randomFloats(n, -2, 2);
    return bf ? fromBf16(toBf16(v)) : v;
  }
  Buffer poisoned(size_t n) {
    return bf ? Buffer::poisoned<uint16_t>(n) : Buffer::poisoned<float>(n);
  }
  std::vector<float> floats(const Buffer &b) {
    return bf ? fromBf16(b.values<uint16_t>()) : b.values<float>();
  }
  /// The same of gradients.
  bool bfGradients = std::string(s.gradients) == "bf16";
  Buffer poisonedGradient(size_t n) {
    return bfGradients ? Buffer::poisoned<uint16_t>(n)
                       : Buffer::poisoned<float>(n);
  }
  std::vector<float> gradient(const Buffer &b) {
    return bfGradients ? fromBf16(b.values<uint16_t>()) : b.values<float>();
  }
};

/// Each with each number of workers.
inline std::vector<std::pair<const Kernels *, int>>
runs(const std::vector<const Kernels *> &family, std::vector<int> workers) {
  std::vector<std::pair<const Kernels *, int>> all;
  for (const Kernels *kernels : family)
    for (int n : workers)
      all.emplace_back(kernels, n);
  return all;
}

} // namespace r1c::test

#endif // R1C_TESTS_KERN_ATTENTIONSHAPE_H
