//===- Harness.h - compile, load and run kernels in tests -------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_KERN_HARNESS_H
#define R1C_TESTS_KERN_HARNESS_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace r1c::test {

/// A buffer as kernels want them: 64-byte aligned, readable to the next
/// multiple of 64 bytes, and guarded behind by bytes that must not change.
class Buffer {
public:
  explicit Buffer(size_t bytes);
  template <typename T>
  static Buffer of(const std::vector<T> &values) {
    Buffer b(values.size() * sizeof(T));
    std::memcpy(b.data(), values.data(), values.size() * sizeof(T));
    return b;
  }
  /// All bits of an unlikely NaN.
  template <typename T>
  static Buffer poisoned(size_t count) {
    Buffer b(count * sizeof(T));
    std::memset(b.data(), 0xff, count * sizeof(T));
    return b;
  }
  template <typename T>
  std::vector<T> values() const {
    std::vector<T> v(bytes / sizeof(T));
    std::memcpy(v.data(), data(), v.size() * sizeof(T));
    return v;
  }
  void *data() const { return start.get(); }
  size_t size() const { return bytes; }
  /// Whether nothing was written behind the end.
  bool intact() const;

private:
  struct Free {
    void operator()(void *p) const { std::free(p); }
  };
  size_t bytes;
  std::unique_ptr<void, Free> start;
};

/// The kernels of one text, compiled and loaded.
class Kernels {
public:
  /// `module`: MLIR text. Fails the test if it does not compile.
  Kernels(const std::string &module, bool reference = false,
          const std::string &cpu = "native");
  ~Kernels();
  bool ok() const { return handle; }

  /// Runs all workers' shares, one after the other in an odd order.
  /// `size`: rows or sequences; negative: the kernel has none.
  void run(const std::string &name, std::vector<const Buffer *> buffers,
           int64_t size, int64_t workers = 1) const;

private:
  void *handle = nullptr;
  int file = -1;
};

/// Fresh numbers at each run of the tests; the seed is printed once.
std::mt19937_64 &rng();
std::vector<float> randomFloats(size_t n, float low = -1, float high = 1);
std::vector<double> randomDoubles(size_t n, double low = -1, double high = 1);

uint16_t toBf16(float v);
float fromBf16(uint16_t v);
std::vector<uint16_t> toBf16(const std::vector<float> &v);
std::vector<float> fromBf16(const std::vector<uint16_t> &v);

/// K x N row-major -> panels, by the definition of !kern.packed.
std::vector<float> pack(const std::vector<float> &b, int64_t k, int64_t n);
std::vector<uint16_t> packBf16(const std::vector<uint16_t> &b, int64_t k,
                               int64_t n);

/// Largest |a - b| / (absolute + |b|).
double worst(const std::vector<float> &a, const std::vector<double> &b,
             double absolute);

/// Equality of bits, not of numbers.
template <typename T>
bool sameBits(const std::vector<T> &a, const std::vector<T> &b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}
template <typename T>
bool sameBits(const std::vector<T> &a, size_t from, const std::vector<T> &b,
              size_t from2, size_t count) {
  return std::memcmp(a.data() + from, b.data() + from2, count * sizeof(T)) == 0;
}

} // namespace r1c::test

#endif // R1C_TESTS_KERN_HARNESS_H
