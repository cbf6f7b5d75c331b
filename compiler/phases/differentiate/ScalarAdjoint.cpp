//===- ScalarAdjoint.cpp - reverse mode through a scalar region -----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/differentiate/ScalarAdjoint.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using arith::CmpFPredicate;

namespace {

/// The state of one reverse sweep.
struct Sweep {
  OpBuilder &b;
  Location loc;
  DenseMap<Value, Value> adjoint; // by cloned forward value

  Value constant(Type type, double value) {
    return arith::ConstantOp::create(b, loc, b.getFloatAttr(type, value));
  }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, loc, x, y); }
  Value div(Value x, Value y) { return arith::DivFOp::create(b, loc, x, y); }
  Value neg(Value x) { return arith::NegFOp::create(b, loc, x); }
  Value select(Value c, Value x, Value y) {
    return arith::SelectOp::create(b, loc, c, x, y);
  }
  Value compare(CmpFPredicate predicate, Value x, Value y) {
    return arith::CmpFOp::create(b, loc, predicate, x, y);
  }

  void add(Value to, Value contribution) {
    Value &sum = adjoint[to];
    sum = sum ? arith::AddFOp::create(b, loc, sum, contribution).getResult()
              : contribution;
  }

  /// seed * partial, but exactly 0 for a seed of 0.
  Value guarded(Value seed, Value product) {
    Value zero = constant(seed.getType(), 0);
    return select(compare(CmpFPredicate::OEQ, seed, zero), zero, product);
  }

  /// Sends the adjoint `s` of `op`'s result to its operands; false if there is
  /// no rule.
  bool reverse(Operation *op, Value s);
};

bool Sweep::reverse(Operation *op, Value s) {
  auto operand = [&](unsigned i) { return op->getOperand(i); };
  Type type = s.getType();
  return TypeSwitch<Operation *, bool>(op)
      .Case([&](arith::AddFOp) {
        add(operand(0), s);
        add(operand(1), s);
        return true;
      })
      .Case([&](arith::SubFOp) {
        add(operand(0), s);
        add(operand(1), neg(s));
        return true;
      })
      .Case([&](arith::MulFOp) {
        add(operand(0), guarded(s, mul(s, operand(1))));
        add(operand(1), guarded(s, mul(s, operand(0))));
        return true;
      })
      .Case([&](arith::DivFOp) {
        Value quotient = div(s, operand(1));
        add(operand(0), guarded(s, quotient));
        add(operand(1), guarded(s, neg(mul(quotient, op->getResult(0)))));
        return true;
      })
      .Case([&](arith::NegFOp) {
        add(operand(0), neg(s));
        return true;
      })
      .Case([&](arith::SelectOp) {
        Value zero = constant(type, 0);
        add(operand(1), select(operand(0), s, zero));
        add(operand(2), select(operand(0), zero, s));
        return true;
      })
      // Ties go to the first operand, as the language says.
      .Case<arith::MaximumFOp, arith::MaxNumFOp, arith::MinimumFOp,
            arith::MinNumFOp>([&](Operation *) {
        bool isMax = isa<arith::MaximumFOp, arith::MaxNumFOp>(op);
        Value first = compare(isMax ? CmpFPredicate::OGE : CmpFPredicate::OLE,
                              operand(0), operand(1));
        Value zero = constant(type, 0);
        add(operand(0), select(first, s, zero));
        add(operand(1), select(first, zero, s));
        return true;
      })
      .Case([&](math::ExpOp) {
        add(operand(0), guarded(s, mul(s, op->getResult(0))));
        return true;
      })
      .Case([&](math::LogOp) {
        add(operand(0), guarded(s, div(s, operand(0))));
        return true;
      })
      .Case([&](math::SqrtOp) {
        Value twice = mul(constant(type, 2), op->getResult(0));
        add(operand(0), guarded(s, div(s, twice)));
        return true;
      })
      .Case([&](math::AbsFOp) {
        Value zero = constant(type, 0);
        Value positive = compare(CmpFPredicate::OGT, operand(0), zero);
        Value negative = compare(CmpFPredicate::OLT, operand(0), zero);
        add(operand(0), select(positive, s, select(negative, neg(s), zero)));
        return true;
      })
      .Case([&](math::SinOp) {
        Value partial = math::CosOp::create(b, loc, operand(0));
        add(operand(0), guarded(s, mul(s, partial)));
        return true;
      })
      .Case([&](math::CosOp) {
        Value partial = math::SinOp::create(b, loc, operand(0));
        add(operand(0), guarded(s, neg(mul(s, partial))));
        return true;
      })
      .Case([&](math::TanhOp) {
        Value square = mul(op->getResult(0), op->getResult(0));
        Value partial =
            arith::SubFOp::create(b, loc, constant(type, 1), square);
        add(operand(0), guarded(s, mul(s, partial)));
        return true;
      })
      // x - n * y with a locally constant n; the language has no gradient to y.
      .Case([&](arith::RemFOp) {
        add(operand(0), s);
        return true;
      })
      // Piecewise constant.
      .Case<arith::ConstantOp, arith::UIToFPOp, arith::SIToFPOp, math::FloorOp,
            math::CeilOp, math::RoundEvenOp, math::RoundOp, math::TruncOp>(
          [](Operation *) { return true; })
      .Default([](Operation *) { return false; });
}

} // namespace

LogicalResult r1c::buildScalarAdjoint(OpBuilder &builder, Block &block,
                                      ValueRange args, Value seed,
                                      SmallVectorImpl<Value> &adjoints) {
  IRMapping mapping;
  mapping.map(block.getArguments(), args);
  SmallVector<Operation *> forward;
  for (Operation &op : block.without_terminator())
    forward.push_back(builder.clone(op, mapping));

  Sweep sweep{builder, seed.getLoc(), DenseMap<Value, Value>()};
  sweep.add(mapping.lookup(block.getTerminator()->getOperand(0)), seed);
  for (Operation *op : llvm::reverse(forward)) {
    if (op->getNumResults() != 1)
      return op->emitOpError("has no derivative rule");
    Value s = sweep.adjoint.lookup(op->getResult(0));
    if (!s)
      continue;
    sweep.loc = op->getLoc();
    if (!sweep.reverse(op, s))
      return op->emitOpError("has no derivative rule");
  }
  adjoints.clear();
  for (Value arg : args)
    adjoints.push_back(sweep.adjoint.lookup(arg));
  return success();
}
