//===- ExpandMath.cpp - math as polynomials -------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/common/ExpandMath.h"
#include "compiler/target/common/MathWords.h"
#include "dialects/kern/Kern.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;
using namespace r1c;

namespace {

/// bf16 is the upper half of an f32.
Value expandExtF(OpBuilder &b, arith::ExtFOp op) {
  Location loc = op.getLoc();
  Type from = op.getIn().getType(), to = op.getType();
  MathWords m{b, loc, from};
  Type f32 = m.like(b.getF32Type()), i32 = m.like(b.getI32Type()),
       i16 = m.like(b.getI16Type());
  Value bits = arith::BitcastOp::create(b, loc, i16, op.getIn());
  Value wide = m.shl(arith::ExtUIOp::create(b, loc, i32, bits), 16);
  Value v = arith::BitcastOp::create(b, loc, f32, wide);
  return f32 == to ? v : arith::ExtFOp::create(b, loc, to, v);
}

Value expandTruncF(OpBuilder &b, arith::TruncFOp op) {
  Location loc = op.getLoc();
  MathWords m{b, loc, op.getIn().getType()};
  Type f32 = m.like(b.getF32Type()), i16 = m.like(b.getI16Type());
  Value x = op.getIn();
  if (m.isF64())
    x = arith::TruncFOp::create(b, loc, f32, x);
  MathWords s{b, loc, f32};
  Value bits = s.bits(x);
  Value odd = s.iand(arith::ShRUIOp::create(b, loc, bits, s.ci(16)), s.ci(1));
  Value rounded = s.iadd(bits, s.iadd(odd, s.ci(0x7fff)));
  // A NaN must not round to infinity: set its quiet bit instead.
  Value quiet = arith::OrIOp::create(b, loc, bits, s.ci(0x00400000));
  rounded = s.select(s.isNan(x), quiet, rounded);
  Value high = arith::ShRUIOp::create(b, loc, rounded, s.ci(16));
  Value narrow = arith::TruncIOp::create(b, loc, i16, high);
  return arith::BitcastOp::create(b, loc, op.getType(), narrow);
}

/// The value to put in the op's place; null: leave it.
Value expand(OpBuilder &b, Operation *op, MathUnits units) {
  Location loc = op->getLoc();
  if (auto ext = dyn_cast<arith::ExtFOp>(op))
    return getElementTypeOrSelf(ext.getIn()).isBF16() ? expandExtF(b, ext)
                                                      : Value();
  if (auto trunc = dyn_cast<arith::TruncFOp>(op))
    return getElementTypeOrSelf(trunc.getType()).isBF16()
               ? expandTruncF(b, trunc)
               : Value();
  if (op->getNumOperands() == 0)
    return {};
  Value x = op->getOperand(0),
        y = op->getNumOperands() > 1 ? op->getOperand(1) : Value();
  Type element = getElementTypeOrSelf(x);
  if (!element.isF32() && !element.isF64())
    return {};
  MathWords m{b, loc, x.getType(), units};
  // The inner select is one instruction, which gives y where either is a NaN.
  if (isa<arith::MaximumFOp>(op))
    return m.select(m.isNan(x), x, m.select(m.gt(x, y), x, y));
  if (isa<arith::MinimumFOp>(op))
    return m.select(m.isNan(x), x, m.select(m.lt(x, y), x, y));
  if (isa<arith::MaxNumFOp>(op))
    return m.select(m.either(m.gt(x, y), m.isNan(y)), x, y);
  if (isa<arith::MinNumFOp>(op))
    return m.select(m.either(m.lt(x, y), m.isNan(y)), x, y);
  if (isa<math::ExpOp>(op))
    return m.exp(x, !m.isF64() && op->hasAttr(kern::boundedAttrName));
  if (isa<math::LogOp>(op))
    return m.log(x, op->hasAttr(kern::zeroOrNormalAttrName));
  if (isa<math::RsqrtOp>(op))
    return m.div(m.c(1), math::SqrtOp::create(b, loc, x));
  if (isa<math::IsNaNOp>(op))
    return m.isNan(x);
  if (isa<math::IsInfOp>(op))
    return m.isInf(x);
  if (isa<math::IsFiniteOp>(op))
    return m.lt(m.abs(x), m.c(INFINITY));
  if (isa<math::RoundOp>(op)) {
    // Half away from zero: the largest number below 1/2, so that nothing
    // below a half is carried over.
    Value below = m.c(m.isF64() ? 0x1.fffffffffffffp-2 : 0x1.fffffep-2);
    return math::TruncOp::create(b, loc, m.add(x, m.copysign(below, x)));
  }
  // The others run in f64.
  auto wide = [&](function_ref<Value(MathWords &, Value)> f) {
    MathWords d{b, loc, m.like(b.getF64Type())};
    if (m.isF64())
      return f(d, x);
    Value v = f(d, arith::ExtFOp::create(b, loc, d.type, x));
    return Value(arith::TruncFOp::create(b, loc, m.type, v));
  };
  if (isa<math::Exp2Op>(op))
    return wide([](MathWords &d, Value v) { return d.exp2(v); });
  if (isa<math::ExpM1Op>(op))
    return wide([](MathWords &d, Value v) { return d.expm1(v); });
  if (isa<math::Log1pOp>(op))
    return wide([](MathWords &d, Value v) { return d.log1p(v); });
  if (isa<math::Log2Op, math::Log10Op>(op)) {
    double factor =
        isa<math::Log2Op>(op) ? 1.4426950408889634074 : 0.43429448190325182765;
    return wide(
        [&](MathWords &d, Value v) { return d.mul(d.log(v), d.c(factor)); });
  }
  if (isa<math::SinOp>(op))
    return wide([](MathWords &d, Value v) { return d.sincos(v).first; });
  if (isa<math::CosOp>(op))
    return wide([](MathWords &d, Value v) { return d.sincos(v).second; });
  if (isa<math::TanhOp>(op))
    return wide([](MathWords &d, Value v) { return d.tanh(v); });
  if (isa<math::ErfOp>(op))
    return wide([](MathWords &d, Value v) { return d.erf(v); });
  if (isa<math::PowFOp>(op))
    return wide([&](MathWords &d, Value v) {
      Value e = m.isF64() ? y : Value(arith::ExtFOp::create(b, loc, d.type, y));
      return d.pow(v, e);
    });
  return {};
}

/// 1 / (1 + exp(x)) in f32, in a function that says so.
bool isFlushedLogistic(Operation *op) {
  auto division = dyn_cast<arith::DivFOp>(op);
  auto function = op->getParentOfType<FunctionOpInterface>();
  if (!division || !division.getType().isF32() || !function ||
      !function->hasAttr(kern::flushedLogisticAttrName) ||
      !matchPattern(division.getLhs(), m_OneFloat()))
    return false;
  auto sum = division.getRhs().getDefiningOp<arith::AddFOp>();
  auto is = [](Value one, Value exp) {
    return matchPattern(one, m_OneFloat()) && exp.getDefiningOp<math::ExpOp>();
  };
  return sum &&
         (is(sum.getLhs(), sum.getRhs()) || is(sum.getRhs(), sum.getLhs()));
}

/// What has a machine instruction, or is exact in LLVM.
bool isNative(Operation *op) {
  return isa<math::FmaOp, math::SqrtOp, math::AbsFOp, math::CopySignOp,
             math::FloorOp, math::CeilOp, math::TruncOp, math::RoundEvenOp,
             math::AbsIOp, math::CountLeadingZerosOp,
             math::CountTrailingZerosOp, math::CtPopOp>(op);
}

struct ExpandMathPass : PassWrapper<ExpandMathPass, OperationPass<>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ExpandMathPass)
  explicit ExpandMathPass(MathUnits units) : units(units) {}
  MathUnits units;

  StringRef getArgument() const override { return "r1c-expand-math"; }
  StringRef getDescription() const override {
    return "math and bf16 conversions as explicit IEEE operations";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry
        .insert<arith::ArithDialect, LLVM::LLVMDialect, math::MathDialect>();
  }

  void runOnOperation() override {
    SmallVector<Operation *> ops;
    getOperation()->walk([&](Operation *op) {
      if (isa_and_nonnull<arith::ArithDialect, math::MathDialect>(
              op->getDialect()))
        ops.push_back(op);
    });
    // Before exp becomes something else.
    llvm::SmallPtrSet<Operation *, 8> logistic;
    for (Operation *op : ops)
      if (isFlushedLogistic(op))
        logistic.insert(op);
    for (Operation *op : ops) {
      OpBuilder b(op);
      Value v;
      if (logistic.contains(op) && units == MathUnits::Cuda)
        v = MathWords{b, op->getLoc(), b.getF32Type(), units}.logistic(
            op->getOperand(1));
      else
        v = expand(b, op, units);
      if (v) {
        op->getResult(0).replaceAllUsesWith(v);
        op->erase();
        continue;
      }
      if (isa<arith::RemFOp>(op) ||
          (isa<math::MathDialect>(op->getDialect()) && !isNative(op))) {
        op->emitOpError("has no expansion in kernels for ")
            << op->getOperand(0).getType();
        return signalPassFailure();
      }
    }
  }
};

} // namespace

std::unique_ptr<Pass> r1c::createExpandMathPass(MathUnits units) {
  return std::make_unique<ExpandMathPass>(units);
}

void r1c::registerExpandMathPass() {
  registerPass([] { return createExpandMathPass(); });
}
