//===- EmulateKernelsTest.cpp - products on tensor cores, in every tile ---===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The interpreter's sums are known: a step adds 16 products in double and
// rounds once. So products are held to their contract (kernels/matmul) bit for
// bit, whatever tile a launch takes for its number of rows.
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Kernels.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Parser/Parser.h"
#include "tests/cuda/EmulateHarness.h"

#include <cmath>
#include <cstring>

using namespace r1c::test;
using r1c::cuda::emulate::EmulatedKernels;

namespace {

class Kernels {
public:
  explicit Kernels(const std::string &text) {
    mlir::DialectRegistry registry;
    registry.insert<r1c::kern::KernDialect, mlir::arith::ArithDialect,
                    mlir::func::FuncDialect, mlir::math::MathDialect,
                    mlir::tensor::TensorDialect>();
    context.appendDialectRegistry(registry);
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    if (!module) {
      ADD_FAILURE() << "does not parse";
      return;
    }
    auto loaded = EmulatedKernels::load(*module, {});
    if (succeeded(loaded))
      kernels = std::move(*loaded);
    else
      ADD_FAILURE() << "does not compile";
  }
  std::string run(std::vector<Buffer> buffers, int64_t rows, int64_t blocks,
                  unsigned seed, Statistics &statistics) const {
    if (!kernels)
      return "no kernels";
    llvm::Error error =
        kernels->run("mm", buffers, rows, blocks, seed, &statistics);
    return error ? llvm::toString(std::move(error)) : std::string();
  }

private:
  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::unique_ptr<EmulatedKernels> kernels;
};

std::string num(int64_t v) { return std::to_string(v); }

float wide(uint16_t bits) {
  uint32_t word = uint32_t(bits) << 16;
  float v;
  std::memcpy(&v, &word, 4);
  return v;
}

/// 64-byte aligned memory with `count` random numbers, readable to the next
/// multiple of 64 bytes: NaN, as it may be.
class Matrix {
public:
  explicit Matrix(size_t count) : count(count), storage(count + 64, 0xffff) {
    std::normal_distribution<float> draw;
    for (size_t i = 0; i < count; ++i) {
      float f = draw(rng());
      uint32_t word;
      std::memcpy(&word, &f, 4);
      data()[i] = word >> 16;
    }
  }
  uint16_t *data() {
    return reinterpret_cast<uint16_t *>((uintptr_t(storage.data()) + 63) / 64 *
                                        64);
  }
  Buffer buffer(size_t from = 0) {
    size_t bytes = (count - from) * 2;
    return {data() + from, bytes, (bytes + 63) / 64 * 64};
  }

private:
  size_t count;
  std::vector<uint16_t> storage;
};

/// The contract's sum: `length` products x[i * xStep] y[i * yStep].
float chain(const uint16_t *x, int64_t xStep, const uint16_t *y, int64_t yStep,
            int64_t length) {
  float sum = 0;
  for (int64_t k = 0; k < length; k += 16) {
    double step = 0;
    for (int64_t i = k; i < std::min(k + 16, length); ++i)
      step += double(wide(x[i * xStep])) * double(wide(y[i * yStep]));
    sum = float(step + double(sum));
  }
  return sum;
}

} // namespace

TEST(TensorCores, ProductsInEveryTile) {
  for (auto [k, n] :
       {std::pair<int64_t, int64_t>{72, 96}, {200, 512}, {64, 1100}}) {
    std::string K = num(k), N = num(n);
    Kernels kernels(
        "func.func @mm(%a: tensor<?x" + K + "xbf16>, %b: !kern.packed<" + K +
        "x" + N + "xbf16>) -> tensor<?x" + N +
        "xf32> attributes {kern.kernel} {\n  %0 = kern.matmul %a, "
        "%b : tensor<?x" +
        K + "xbf16>, !kern.packed<" + K + "x" + N + "xbf16> -> (tensor<?x" + N +
        "xf32>)\n  return %0 : "
        "tensor<?x" +
        N + "xf32>\n}\n");
    const int64_t most = 331, columns = (n + 31) / 32 * 32;
    // B as it lies on CUDA: [columns][k], with rows of zeros at the end.
    Matrix a(most * k), b(columns * k);
    std::fill(b.data() + n * k, b.data() + columns * k, 0);
    std::vector<float> want(most * n);
    for (int64_t i = 0; i < most; ++i)
      for (int64_t j = 0; j < n; ++j)
        want[i * n + j] = chain(a.data() + i * k, 1, b.data() + j * k, 1, k);
    for (int64_t m : {1, 8, 33, 64, 65, 100, 128, 129, 331}) {
      int64_t offset = rng()() % (most - m + 1) / 8 * 8;
      Matrix part(m * k);
      std::copy_n(a.data() + offset * k, m * k, part.data());
      std::vector<float> c(m * n + 16, NAN);
      auto *to =
          reinterpret_cast<float *>((uintptr_t(c.data()) + 63) / 64 * 64);
      Statistics statistics;
      ASSERT_EQ(
          kernels.run({part.buffer(), b.buffer(), {to, size_t(m * n * 4)}}, m,
                      1 + m % 3, m % 2 ? 0 : rng()(), statistics),
          "")
          << m << " x " << n << " x " << k;
      EXPECT_GT(statistics.wgmmas, 0u);
      for (int64_t i = 0; i < m * n; ++i)
        ASSERT_EQ(to[i], want[offset * n + i])
            << m << " x " << n << " x " << k << " at " << i;
    }
  }
}

// What bench/gpu holds the others against: parts of k in different blocks,
// which add to what is there. Whatever the order, the sum is right to rounding.
TEST(TensorCores, SplitSumsAddUp) {
  for (auto [k, n, splits] : {std::tuple<int64_t, int64_t, int64_t>{72, 96, 3},
                              {328, 520, 2},
                              {1352, 104, 2},
                              {64, 40, 5}}) {
    std::string K = num(k), N = num(n), c = "tensor<?x" + N + "xf32>",
                a = "tensor<?x" + K + "xbf16>",
                b = "!kern.packed<" + K + "x" + N + "xbf16>";
    Kernels kernels(
        "func.func @mm(%a: " + a + ", %b: " + b + ", %c: " + c + ") -> " + c +
        " attributes {kern.kernel, kern.unordered_splits = " + num(splits) +
        " : i64} {\n  %0 = kern.matmul %a, %b : " + a + ", " + b +
        " init(%c : " + c + ") -> (" + c + ")\n  return %0 : " + c + "\n}\n");
    for (int64_t rows : {1, 16, 37, 64, 70}) {
      Matrix x(rows * k), y((n + 31) / 32 * 32 * k);
      std::vector<float> out(rows * n + 16);
      std::normal_distribution<float> draw;
      for (float &value : out)
        value = draw(rng());
      auto *to =
          reinterpret_cast<float *>((uintptr_t(out.data()) + 63) / 64 * 64);
      std::vector<float> before(to, to + rows * n);
      Statistics statistics;
      ASSERT_EQ(
          kernels.run({x.buffer(), y.buffer(), {to, size_t(rows * n * 4)}},
                      rows, 1 + rows % 7, rows % 2 ? 0 : rng()(), statistics),
          "")
          << rows;
      EXPECT_GT(statistics.wgmmas, 0u);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < n; ++j) {
          double sum = before[i * n + j], size = std::abs(sum);
          for (int64_t l = 0; l < k; ++l) {
            double term = double(wide(x.data()[i * k + l])) *
                          double(wide(y.data()[j * k + l]));
            sum += term;
            size += std::abs(term);
          }
          // An f32 rounding a step of 16, and one a part.
          double most = double(k / 16 + 2 + splits) * 0x1p-24 * size;
          ASSERT_NEAR(to[i * n + j], sum, most)
              << rows << " rows, " << i << ", " << j;
        }
    }
  }
}

TEST(TensorCores, WeightGradientsInSteps) {
  for (auto [mm, n] : {std::pair<int64_t, int64_t>{64, 128}, {200, 328}}) {
    std::string M = num(mm), N = num(n), c = "tensor<" + M + "x" + N + "xf32>";
    std::string a = "tensor<?x" + M + "xbf16>", b = "tensor<?x" + N + "xbf16>";
    Kernels kernels("func.func @mm(%a: " + a + ", %b: " + b + ") -> " + c +
                    " attributes {kern.kernel} {\n  %0 = kern.matmul %a, %b "
                    "transpose_a : " +
                    a + ", " + b + " -> (" + c + ")\n  return %0 : " + c +
                    "\n}\n");
    for (int64_t rows : {1, 16, 63, 64, 65, 203}) {
      Matrix x(rows * mm), y(rows * n);
      std::vector<float> out(mm * n + 16, NAN);
      auto *to =
          reinterpret_cast<float *>((uintptr_t(out.data()) + 63) / 64 * 64);
      Statistics statistics;
      ASSERT_EQ(kernels.run({x.buffer(), y.buffer(), {to, size_t(mm * n * 4)}},
                            rows, 1 + rows % 3, rows % 2 ? 0 : rng()(),
                            statistics),
                "")
          << rows;
      EXPECT_GT(statistics.wgmmas, 0u);
      for (int64_t i = 0; i < mm; ++i)
        for (int64_t j = 0; j < n; ++j)
          ASSERT_EQ(to[i * n + j],
                    chain(x.data() + i, mm, y.data() + j, n, rows))
              << rows << " rows, " << i << ", " << j;
    }
  }
}
