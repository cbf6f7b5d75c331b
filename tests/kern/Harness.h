//===- Harness.h - compile, load and run kernels in tests -------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_KERN_HARNESS_H
#define R1C_TESTS_KERN_HARNESS_H

#include "compiler/target/cpu/Loaded.h"
#include "compiler/target/cuda/emulate/Kernels.h"
#include "mlir/IR/OwningOpRef.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace r1c::test {

using cpu::Buffer;
using cpu::fromBf16;
using cpu::pack;
using cpu::packBf16;
using cpu::toBf16;

/// The kernels of one text, compiled and loaded. With R1C_TEST_TARGET=cuda in
/// the environment, tuned kernels for the native CPU are those for CUDA
/// instead, in the interpreter: they give the same bits.
class Kernels {
public:
  /// `module`: MLIR text. Fails the test if it does not compile.
  Kernels(const std::string &module, bool reference = false,
          const std::string &cpu = "native");
  bool ok() const { return loaded || emulated; }

  /// Runs all workers' shares, one after the other in an odd order.
  /// `size`: rows or sequences; negative: the kernel has none.
  void run(const std::string &name, std::vector<const Buffer *> buffers,
           int64_t size, int64_t workers = 1) const;

  /// Rows of a buffer, of so many bytes each, from one up to another.
  struct RowRange {
    int64_t from, to, bytes;
  };
  /// What kernels before one write of an operand that is `cached` in its
  /// launch, and what it therefore does not read before it has waited for them:
  /// the interpreter looks. Of all runs until it is given again.
  void setFresh(const Buffer &buffer, std::vector<RowRange> rows) {
    fresh[&buffer] = std::move(rows);
  }

private:
  void emulate(const std::string &name,
               const std::vector<const Buffer *> &buffers, int64_t size,
               int64_t workers) const;

  std::unique_ptr<cpu::LoadedKernels> loaded;
  std::unique_ptr<mlir::MLIRContext> context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::unique_ptr<cuda::emulate::EmulatedKernels> emulated;
  std::map<const Buffer *, std::vector<RowRange>> fresh;
};

/// Whether tuned kernels are those for CUDA.
bool onCuda();
/// Whether tuned kernels of bf16 add up on tensor cores, in an order of their
/// own: right, row invariant, but not with the bits of the naive ones.
inline bool onTensorCores(const std::string &type) {
  return onCuda() && type == "bf16";
}

/// Whether the tested products of bf16 are made of a CPU's matrix tiles, whose
/// chains of 32 k are others than those of CPUs without.
bool hasMatrixTiles();

/// Fresh numbers at each run of the tests; the seed is printed once.
std::mt19937_64 &rng();
std::vector<float> randomFloats(size_t n, float low = -1, float high = 1);
std::vector<double> randomDoubles(size_t n, double low = -1, double high = 1);

/// Largest |a - b| / (absolute + |b|).
double worst(const std::vector<float> &a, const std::vector<double> &b,
             double absolute);

/// A sum, and that of its terms' sizes.
struct Sum {
  double value = 0, size = 0;
  void operator+=(double term) { value += term, size += std::fabs(term); }
};
/// Largest |a - b| in parts of what is allowed: `relative` of 3 + |b|, and
/// `ofTerms` of the sizes of the terms.
double worst(const std::vector<float> &a, const std::vector<Sum> &b,
             double relative, double ofTerms);

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
