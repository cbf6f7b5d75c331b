//===- ExpandMath.h - math as polynomials -----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TARGET_COMMON_EXPANDMATH_H
#define R1C_COMPILER_TARGET_COMMON_EXPANDMATH_H

#include "mlir/Pass/Pass.h"
#include <memory>

namespace r1c {

/// r1c-expand-math: rewrites every op of `math` that has no machine
/// instruction, and the ops of `arith` whose machine instructions differ
/// between targets, to explicit IEEE operations on f32 or f64, scalars or
/// vectors.
///
/// | op | method | error, in units in the last place |
/// |---|---|---|
/// | exp f32, f64 | 2^n times a Taylor polynomial of degree 7 (13) | 1 |
/// | exp2 | exp(x ln 2) in f64; f64: remainder times ln 2 | 1 |
/// | expm1 | 2^n p + (2^n - 1); f32 in f64 | 2 |
/// | log f32, f64, log1p | atanh series of fdlibm; log1p with correction term |
/// 1 (log1p 2) | | log2, log10 | log times a constant | 2 | | sin, cos |
/// three-part reduction by pi/2, fdlibm's kernels, |x| <= 2^30 (beyond: NaN);
/// f32 in f64 | 1.5 | | tanh | expm1(2x) / (expm1(2x) + 2); f32 in f64 | 2 | |
/// erf | f64 power series and continued fraction, blended by a select; f32 in
/// f64 | f32: 1, f64: 40 | | powf | exp(y log x), log in two parts | 2 + |y log
/// x| / 64 | | rsqrt | 1 / sqrt(x) | 1 | | round, isnan, isinf, isfinite |
/// exact | 0 | | maximumf, minimumf, maxnumf, minnumf | compare and select
/// (zeros are equal) | 0 | | extf, truncf with bf16 | integers; nearest even,
/// NaN stays NaN | 0 |
///
/// Subnormal numbers are neither flushed on input nor on output, but for
/// kern.flushed_logistic.
enum class MathUnits {
  Plain,
  Avx512, ///< exp of vector<16xf32> ends in scalef, with the same bits
  /// The division in log of f32 scalars starts from an approximate reciprocal,
  /// with the same bits: a division of the machine has a branch, past which no
  /// two columns are computed side by side.
  Cuda
};
std::unique_ptr<mlir::Pass>
createExpandMathPass(MathUnits units = MathUnits::Plain);

void registerExpandMathPass();

} // namespace r1c

#endif // R1C_COMPILER_TARGET_COMMON_EXPANDMATH_H
