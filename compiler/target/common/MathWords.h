//===- MathWords.h - polynomials in place of math ops -----------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Coefficients marked fdlibm are those of the freely distributable libm
// (Copyright 1993 by Sun Microsystems, Inc., which grants permission to use,
// copy, modify and distribute).
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TARGET_COMMON_MATHWORDS_H
#define R1C_COMPILER_TARGET_COMMON_MATHWORDS_H

#include "compiler/target/common/ExpandMath.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/TypeUtilities.h"

namespace r1c {

namespace arith = mlir::arith;
namespace LLVM = mlir::LLVM;
namespace math = mlir::math;
using llvm::APInt;
using llvm::ArrayRef;
using mlir::Attribute;
using mlir::DenseElementsAttr;
using mlir::FloatAttr;
using mlir::IntegerAttr;
using mlir::IntegerType;
using mlir::Location;
using mlir::OpBuilder;
using mlir::Type;
using mlir::TypedAttr;
using mlir::Value;
using mlir::ValueRange;
using mlir::VectorType;

/// Arithmetic on values of one float type, f32 or f64, scalar or vector.
struct MathWords {
  OpBuilder &b;
  Location loc;
  Type type;
  MathUnits units = MathUnits::Plain;

  bool isF64() const { return mlir::getElementTypeOrSelf(type).isF64(); }
  Type like(Type element) const {
    auto vector = mlir::dyn_cast<VectorType>(type);
    return vector ? Type(vector.clone(element)) : element;
  }
  Type intType() const {
    return like(isF64() ? b.getI64Type() : b.getI32Type());
  }

  Value c(double v) const {
    TypedAttr a = FloatAttr::get(mlir::getElementTypeOrSelf(type), v);
    if (auto vector = mlir::dyn_cast<VectorType>(type))
      a = DenseElementsAttr::get(vector, Attribute(a));
    return arith::ConstantOp::create(b, loc, a);
  }
  Value ci(int64_t v) const { return ci(intType(), v); }
  Value ci(Type t, int64_t v) const {
    auto element = mlir::cast<IntegerType>(mlir::getElementTypeOrSelf(t));
    TypedAttr a = IntegerAttr::get(
        element, APInt(64, v, true).sextOrTrunc(element.getWidth()));
    if (auto vector = mlir::dyn_cast<VectorType>(t))
      a = DenseElementsAttr::get(vector, Attribute(a));
    return arith::ConstantOp::create(b, loc, a);
  }
  Value add(Value x, Value y) const {
    return arith::AddFOp::create(b, loc, x, y);
  }
  Value sub(Value x, Value y) const {
    return arith::SubFOp::create(b, loc, x, y);
  }
  Value mul(Value x, Value y) const {
    return arith::MulFOp::create(b, loc, x, y);
  }
  Value div(Value x, Value y) const {
    return arith::DivFOp::create(b, loc, x, y);
  }
  Value neg(Value x) const { return arith::NegFOp::create(b, loc, x); }
  Value fma(Value x, Value y, Value z) const {
    return math::FmaOp::create(b, loc, x, y, z);
  }
  Value abs(Value x) const { return math::AbsFOp::create(b, loc, x); }
  Value floor(Value x) const { return math::FloorOp::create(b, loc, x); }
  Value copysign(Value x, Value s) const {
    return math::CopySignOp::create(b, loc, x, s);
  }
  Value cmp(arith::CmpFPredicate p, Value x, Value y) const {
    return arith::CmpFOp::create(b, loc, p, x, y);
  }
  Value gt(Value x, Value y) const {
    return cmp(arith::CmpFPredicate::OGT, x, y);
  }
  Value lt(Value x, Value y) const {
    return cmp(arith::CmpFPredicate::OLT, x, y);
  }
  Value eq(Value x, Value y) const {
    return cmp(arith::CmpFPredicate::OEQ, x, y);
  }
  Value isNan(Value x) const { return cmp(arith::CmpFPredicate::UNO, x, x); }
  Value isInf(Value x) const { return eq(abs(x), c(INFINITY)); }
  Value both(Value x, Value y) const {
    return arith::AndIOp::create(b, loc, x, y);
  }
  Value either(Value x, Value y) const {
    return arith::OrIOp::create(b, loc, x, y);
  }
  Value select(Value s, Value x, Value y) const {
    return arith::SelectOp::create(b, loc, s, x, y);
  }
  Value bits(Value x) const {
    return arith::BitcastOp::create(b, loc, intType(), x);
  }
  Value real(Value x) const {
    return arith::BitcastOp::create(b, loc, type, x);
  }
  Value iadd(Value x, Value y) const {
    return arith::AddIOp::create(b, loc, x, y);
  }
  Value isub(Value x, Value y) const {
    return arith::SubIOp::create(b, loc, x, y);
  }
  Value iand(Value x, Value y) const {
    return arith::AndIOp::create(b, loc, x, y);
  }
  Value shl(Value x, int64_t n) const {
    return arith::ShLIOp::create(b, loc, x, ci(x.getType(), n));
  }
  Value shr(Value x, int64_t n) const {
    return arith::ShRSIOp::create(b, loc, x, ci(x.getType(), n));
  }
  Value toFloat(Value i) const {
    return arith::SIToFPOp::create(b, loc, type, i);
  }
  /// Within [low, high]; NaN stays.
  Value clamp(Value x, double low, double high) const {
    x = select(gt(x, c(high)), c(high), x);
    return select(lt(x, c(low)), c(low), x);
  }
  /// coefficients from the highest power down
  Value horner(Value x, ArrayRef<double> coefficients) const {
    Value p = c(coefficients.front());
    for (double k : coefficients.drop_front())
      p = fma(p, x, c(k));
    return p;
  }

  /// x * scale rounded to an integer (as a float and as an int), by adding
  /// 1.5 * 2^(mantissa bits): |x * scale| must stay below 2^22 (2^51).
  std::pair<Value, Value> nearest(Value x, double scale) const {
    double magic = isF64() ? 6755399441055744.0 : 12582912.0;
    Value t = fma(x, c(scale), c(magic));
    return {sub(t, c(magic)), isub(bits(t), bits(c(magic)))};
  }
  /// 2^n, -126 <= n <= 127 (-1022 ... 1023)
  Value power2(Value n) const {
    return isF64() ? real(shl(iadd(n, ci(1023)), 52))
                   : real(shl(iadd(n, ci(127)), 23));
  }
  /// x * 2^n with one rounding, for subnormal results too: two exact halves,
  /// or the one instruction that does it. n as a float and as an integer;
  /// isBounded: of f32, from -159 to 47, where one of the two may be 2^-64.
  Value scale(Value x, Value real, Value n, bool isBounded = false) const {
    if (units == MathUnits::Avx512 &&
        type == VectorType::get(16, b.getF32Type())) {
      auto constant = [&](Type t, int64_t v) -> Value {
        return LLVM::ConstantOp::create(b, loc, t, IntegerAttr::get(t, v));
      };
      Value all = constant(b.getI16Type(), -1);
      Value rounding = constant(b.getI32Type(), 4); // as the control register
      return LLVM::CallIntrinsicOp::create(
                 b, loc, type,
                 b.getStringAttr("llvm.x86.avx512.mask.scalef.ps.512"),
                 ValueRange{x, real, x, all, rounding})
          .getResult(0);
    }
    if (isBounded)
      return mul(mul(x, power2(iadd(n, ci(64)))), c(0x1p-64));
    Value half = shr(n, 1);
    return mul(mul(x, power2(half)), power2(isub(n, half)));
  }

  static ArrayRef<double> expSeries(bool f64) {
    static const double full[] = {1.0 / 6227020800,
                                  1.0 / 479001600,
                                  1.0 / 39916800,
                                  1.0 / 3628800,
                                  1.0 / 362880,
                                  1.0 / 40320,
                                  1.0 / 5040,
                                  1.0 / 720,
                                  1.0 / 120,
                                  1.0 / 24,
                                  1.0 / 6,
                                  0.5,
                                  1,
                                  1};
    return f64 ? ArrayRef<double>(full) : ArrayRef<double>(full).drop_front(6);
  }
  /// x - n ln 2 in two steps; the first is exact.
  Value reduceLn2(Value x, Value n) const {
    if (isF64())
      return fma(n, c(-2.319046813846299558e-17),
                 fma(n, c(-0.693147180559945286), x));
    return fma(n, c(-1.42860682030941723212e-6),
               fma(n, c(-0.693145751953125), x));
  }

  /// isBounded: x is f32, and from -110 to 32 or no number.
  Value exp(Value x, bool isBounded = false) const {
    if (!isBounded)
      x = isF64() ? clamp(x, -750, 711) : clamp(x, -110, 90);
    auto [n, i] = nearest(x, 1.4426950408889634);
    return scale(horner(reduceLn2(x, n), expSeries(isF64())), n, i, isBounded);
  }

  Value exp2(Value x) const { // f64
    x = clamp(x, -1080, 1026);
    auto [n, i] = nearest(x, 1.0);
    return scale(
        horner(mul(sub(x, n), c(0.693147180559945286)), expSeries(true)), n, i);
  }

  Value expm1(Value x) const { // f64
    Value saved = x;
    x = clamp(x, -40, 710);
    auto [n, i] = nearest(x, 1.4426950408889634);
    Value r = reduceLn2(x, n);
    // e^r - 1 = r + r^2 * (1/2 + r/6 + ...)
    Value e = fma(mul(r, r), horner(r, expSeries(true).drop_back(2)), r);
    // 2^(n-1) e + (2^(n-1) - 1/2) is half of the result: 2^n alone may
    // overflow.
    Value p = power2(isub(i, ci(1)));
    Value y = mul(fma(p, e, sub(p, c(0.5))), c(2));
    return select(eq(saved, c(0)), saved, y); // -0
  }

  /// x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2); x positive and finite.
  std::pair<Value, Value> split(Value x, bool isNormal = false) const {
    int64_t m = isF64() ? 52 : 23;
    double tiny = isF64() ? 0x1p-1022 : 0x1p-126;
    Value subnormal;
    if (!isNormal) {
      subnormal = lt(x, c(tiny));
      x = select(subnormal, mul(x, c(isF64() ? 0x1p52 : 0x1p23)), x);
    }
    int64_t base = isF64() ? 0x3fe6a09e00000000 : 0x3f3504f3;
    Value ix = isub(bits(x), ci(base));
    Value k = shr(ix, m);
    if (!isNormal)
      k = iadd(k, select(subnormal, ci(-m), ci(0)));
    Value f =
        sub(real(iadd(iand(ix, ci((int64_t(1) << m) - 1)), ci(base))), c(1));
    return {toFloat(k), f};
  }
  /// x / y, correctly rounded, without a branch; f32 scalars on CUDA. y is from
  /// 2^-126 to 2^126, and the quotient no subnormal number. Markstein's method:
  /// the residual of a quotient is exact, and the reciprocal correctly rounded
  /// by one step but where all bits of y's significand are set, which is seen
  /// to if it `mayBeFull`. Checked for all significands in log and in 1 / y,
  /// with first approximations two units off.
  Value quotient(Value x, Value y, bool mayBeFull = true) const {
    Value minus = neg(y);
    Value r = LLVM::CallIntrinsicOp::create(
                  b, loc, type, b.getStringAttr("llvm.nvvm.rcp.approx.ftz.f"),
                  ValueRange(y))
                  .getResult(0);
    r = fma(r, fma(minus, r, c(1)), r);
    if (mayBeFull) {
      Value all = ci(0x7fffff), set = iand(bits(y), all);
      Value full =
          arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, set, all);
      r = select(full, real(isub(ci((253 << 23) + 0x800000), bits(y))), r);
    }
    Value q = mul(x, r);
    return fma(fma(minus, q, x), r, q);
  }
  /// 1 / y for y from 1 on; 0 where that is a subnormal number.
  Value logistic(Value y) const {
    return select(gt(y, c(0x1p126)), c(0), quotient(c(1), y));
  }

  /// s * (f^2/2 + R): log(1+f) = f - f^2/2 + that. fdlibm's e_log, e_logf.
  Value logTail(Value f, Value halfSquare) const {
    bool quick = units == MathUnits::Cuda && type.isF32();
    // f + 2 is full for f = -2^-23 alone, where what s adds to log is less than
    // a unit in the last place of a unit in the last place: for no power of two
    // does s, up to three units off, change a bit of it.
    Value y = add(f, c(2)),
          s = quick ? quotient(f, y, /*mayBeFull=*/false) : div(f, y);
    Value z = mul(s, s);
    Value r =
        isF64() ? horner(z, {1.479819860511658591e-01, 1.531383769920937332e-01,
                             1.818357216161805012e-01, 2.222219843214978396e-01,
                             2.857142874366239149e-01, 3.999999999940941908e-01,
                             6.666666666666735130e-01})
                : horner(z, {0.24279078841, 0.28498786688, 0.40000972152,
                             0.66666662693});
    return mul(s, fma(z, r, halfSquare));
  }
  double ln2High() const {
    return isF64() ? 6.93147180369123816490e-01 : 6.9313812256e-01;
  }
  double ln2Low() const {
    return isF64() ? 1.90821492927058770002e-10 : 9.0580006145e-06;
  }

  /// log's values outside the positive finite numbers.
  Value logSpecial(Value x, Value y, bool isZeroOrNormal = false) const {
    y = select(eq(x, c(INFINITY)), x, y);
    y = select(eq(x, c(0)), c(-INFINITY), y);
    return isZeroOrNormal
               ? y
               : select(cmp(arith::CmpFPredicate::ULT, x, c(0)), c(NAN), y);
  }
  /// isZeroOrNormal: x is 0, a positive normal number, or infinity.
  Value log(Value x, bool isZeroOrNormal = false) const {
    auto [k, f] = split(x, isZeroOrNormal);
    Value h = mul(mul(c(0.5), f), f);
    Value low = fma(k, c(ln2Low()), logTail(f, h));
    Value y = fma(k, c(ln2High()), sub(f, sub(h, low)));
    return logSpecial(x, y, isZeroOrNormal);
  }
  Value log1p(Value x) const { // f64
    Value u = add(x, c(1));
    Value lost =
        select(lt(abs(x), c(1)), sub(x, sub(u, c(1))), sub(c(1), sub(u, x)));
    Value l = log(u);
    Value y = add(l, div(lost, u));
    y = select(either(isInf(l), isNan(l)), l, y);
    return select(eq(x, c(0)), x, y); // -0
  }

  /// sine and cosine; f64
  std::pair<Value, Value> sincos(Value x) const {
    Value bounded = clamp(x, -0x1p30, 0x1p30);
    auto [n, q] = nearest(bounded, 0.63661977236758134308);
    Value r = fma(n, c(-1.5707963267948965580), bounded);
    r = fma(n, c(-6.1232339957367660359e-17), r);
    r = fma(n, c(1.4973849048591833e-33), r);
    Value z = mul(r, r);
    // fdlibm's k_sin and k_cos
    Value s = fma(
        mul(z, r),
        horner(z, {1.58969099521155010221e-10, -2.50507602534068634195e-08,
                   2.75573137070700676789e-06, -1.98412698298579493134e-04,
                   8.33333333332248946124e-03, -1.66666666666666324348e-01}),
        r);
    Value p = mul(
        z,
        horner(z, {-1.13596475577881948265e-11, 2.08757232129817482790e-09,
                   -2.75573143513906633035e-07, 2.48015872894767294178e-05,
                   -1.38888888888741095749e-03, 4.16666666666666019037e-02}));
    Value hz = mul(c(0.5), z);
    Value w = sub(c(1), hz);
    Value k = add(w, add(sub(sub(c(1), w), hz), mul(z, p)));
    auto bit = [&](Value v, int64_t i) {
      Value masked = iand(v, ci(i));
      return Value(arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne,
                                         masked, ci(0)));
    };
    Value odd = bit(q, 1);
    Value sine = select(odd, k, s), cosine = select(odd, s, k);
    sine = select(bit(q, 2), neg(sine), sine);
    cosine = select(bit(iadd(q, ci(1)), 2), neg(cosine), cosine);
    Value far = cmp(arith::CmpFPredicate::UGT, abs(x), c(0x1p30));
    sine = select(eq(x, c(0)), x, sine); // -0
    return {select(far, c(NAN), sine), select(far, c(NAN), cosine)};
  }

  Value tanh(Value x) const { // f64
    Value a = clamp(abs(x), 0, 22);
    Value t = expm1(mul(a, c(2)));
    return copysign(div(t, add(t, c(2))), x);
  }

  /// f64. Below 2: x * series; above: 1 - exp(-x^2) / (sqrt(pi) (x + ...)).
  Value erf(Value x) const {
    Value a = clamp(abs(x), 0, 6);
    Value z = mul(a, a);
    // erf(x) = 2/sqrt(pi) exp(-x^2) sum x (2 x^2)^n / (1 3 5 ... (2n+1)):
    // positive terms only, so nothing cancels.
    Value sum = c(0);
    for (int n = 60; n >= 1; --n)
      sum = mul(mul(c(2.0 / (2 * n + 1)), z), add(c(1), sum));
    Value decay = exp(neg(z));
    Value low =
        mul(mul(mul(c(1.1283791670955125739), a), decay), add(c(1), sum));
    // Laplace's continued fraction for erfc.
    Value t = a;
    for (int n = 60; n >= 1; --n)
      t = add(a, div(c(n / 2.0), t));
    Value high = sub(c(1), div(mul(decay, c(0.56418958354775628695)), t));
    return copysign(select(lt(a, c(2.5)), low, high), x);
  }

  Value pow(Value x, Value y) const { // f64
    Value a = abs(x);
    auto [k, f] = split(a);
    Value h = mul(mul(c(0.5), f), f);
    Value lostH = fma(mul(c(0.5), f), f, neg(h));
    Value tail = logTail(f, h);
    auto twoSum = [&](Value p, Value q) {
      Value s = add(p, q), d = sub(s, p);
      return std::pair(s, add(sub(p, sub(s, d)), sub(q, d)));
    };
    auto [s1, e1] = twoSum(mul(k, c(ln2High())), f);
    auto [s2, e2] = twoSum(s1, neg(h));
    auto [s3, e3] = twoSum(s2, tail);
    Value low = add(add(e1, e2), add(e3, sub(mul(k, c(ln2Low())), lostH)));
    auto [high, lost] = twoSum(s3, low);
    high = logSpecial(a, high);
    Value special = either(isInf(high), isNan(high));
    lost = select(special, c(0), lost);
    Value e = mul(y, high);
    Value rest = add(fma(y, high, neg(e)), mul(y, lost));
    rest = select(either(isInf(e), either(isNan(e), isNan(rest))), c(0), rest);
    Value p = exp(e);
    Value r = fma(p, rest, p);
    r = select(either(isInf(p), eq(p, c(0))), p, r);
    // Negative bases: integer exponents only.
    Value whole = eq(floor(y), y);
    Value halfY = mul(y, c(0.5));
    Value odd =
        both(whole, cmp(arith::CmpFPredicate::UNE, floor(halfY), halfY));
    Value negative = lt(copysign(c(1), x), c(0));
    r = select(both(odd, negative), neg(r), r);
    Value wrong =
        both(lt(x, c(0)),
             both(arith::XOrIOp::create(b, loc, whole, ci(whole.getType(), 1)),
                  lt(a, c(INFINITY))));
    r = select(wrong, c(NAN), r);
    r = select(either(isNan(x), isNan(y)), c(NAN), r);
    return select(either(eq(y, c(0)), eq(x, c(1))), c(1), r);
  }
};

} // namespace r1c

#endif // R1C_COMPILER_TARGET_COMMON_MATHWORDS_H
