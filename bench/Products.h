//===- Products.h - matrix products, ours and the peer's ------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_BENCH_PRODUCTS_H
#define R1C_BENCH_PRODUCTS_H

#include "bench/Kernels.h"
#include <functional>
#include <optional>
#include <vector>

namespace r1c::bench {

/// C[m][n], sums of k products.
struct Shape {
  int64_t m, n, k;
  double flops() const { return 2.0 * m * n * k; }
};

/// Small random numbers, f32 or bf16; equal requests share them.
Buffer randoms(size_t count, bool bf16);
/// Somewhere to write `bytes`; equal requests share it.
Buffer output(size_t bytes);

/// body(0) ... body(threads - 1) at once, on the pool that the peer uses: two
/// pools that spin would starve each other.
void parallel(int threads, const std::function<void(int)> &body);

/// One run, everything about it being set up.
using Run = std::function<void()>;

/// A kernel over `size` rows (absent: none) with its arguments, which it keeps.
Run runOf(Kernel kernel, std::vector<Buffer> buffers,
          std::optional<int64_t> size, int threads);

enum class Epilogue { none, gated, residual };
Run product(Shape s, bool bf16, int threads, Epilogue epilogue);
/// The product reduced to log-probabilities, entropies and log-sum-exps.
Run head(Shape s, bool bf16, int threads);
/// The same sums in a way that row invariance forbids, since only few rows
/// could gain by it: each of two threads takes half of k, and the halves are
/// added.
Run splitProduct(Shape s, bool bf16);
/// C += A^T B for A: k x m, B: k x n.
Run weightGradient(Shape s, bool bf16, int threads);

/// oneDNN's; null without it.
Run oneDnnProduct(Shape s, bool bf16, int threads);
Run oneDnnWeightGradient(Shape s, bool bf16, int threads);
/// Its version; empty without it.
std::string oneDnnVersion();

/// Independent multiply-adds, or dot products of pairs, on each thread; gives
/// the flops of a run in all. Null where the CPU has none of 512 bits.
Run peakArithmetic(bool bf16, int threads, double &flops);
/// Reads memory that no cache holds; gives the bytes.
Run peakRead(int threads, double &bytes);

} // namespace r1c::bench

#endif // R1C_BENCH_PRODUCTS_H
