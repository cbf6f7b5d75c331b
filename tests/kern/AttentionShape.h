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
