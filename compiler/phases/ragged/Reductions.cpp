//===- Reductions.cpp - rl.reduce as a row program ------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/ragged/Reductions.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <limits>

using namespace mlir;
using namespace r1c;

namespace {

struct RowFormula {
  OpBuilder &b;
  Location loc;
  Value where;

  Value number(double value) {
    return arith::ConstantOp::create(b, loc, b.getF64FloatAttr(value));
  }
  Value select(Value c, Value x, Value y) {
    return arith::SelectOp::create(b, loc, c, x, y);
  }
  /// x where it counts, else the value that changes nothing.
  Value masked(Value x, double neutral) {
    return where ? select(where, x, number(neutral)) : x;
  }
  Value reduce(kern::ReduceKind kind, Value x) {
    return kern::ReduceOp::create(b, loc, kind, x);
  }
  Value add(Value x) { return reduce(kern::ReduceKind::add, x); }
  Value count() { return add(masked(number(1), 0)); }
  /// x / n if n > 0, else 0.
  Value over(Value x, Value n) {
    Value zero = number(0);
    Value some =
        arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGT, n, zero);
    return select(some, arith::DivFOp::create(b, loc, x, n), zero);
  }
  Value variance(Value x) {
    Value n = count();
    Value mean = over(add(masked(x, 0)), n);
    Value deviation = arith::SubFOp::create(b, loc, x, mean);
    Value square = arith::MulFOp::create(b, loc, deviation, deviation);
    Value sum = add(masked(square, 0));
    return over(sum, arith::SubFOp::create(b, loc, n, number(1)));
  }
  Value equal(Value x, Value y) {
    return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, x, y);
  }
  /// Whether this is the first or last position that counts.
  Value isAt(bool first) {
    Value column = kern::IndexOp::create(b, loc, kern::IndexKind::column);
    Value position = arith::SIToFPOp::create(b, loc, b.getF64Type(), column);
    double none = first ? std::numeric_limits<double>::infinity() : -1;
    Value wanted = reduce(first ? kern::ReduceKind::min : kern::ReduceKind::max,
                          masked(position, none));
    return equal(position, wanted);
  }
  /// The element at the first or last position that counts.
  Value at(Value x, bool first) {
    return add(select(isAt(first), x, number(0)));
  }
  /// Whether x is what the reduction chose, of equal ones the first.
  Value isChosen(rl::ReduceKind kind, Value x) {
    if (kind == rl::ReduceKind::first || kind == rl::ReduceKind::last)
      return isAt(kind == rl::ReduceKind::first);
    bool isMin = kind == rl::ReduceKind::min;
    double infinity = std::numeric_limits<double>::infinity();
    Value extreme =
        reduce(isMin ? kern::ReduceKind::min : kern::ReduceKind::max,
               masked(x, isMin ? infinity : -infinity));
    Value candidate = equal(x, extreme);
    if (where)
      candidate = arith::AndIOp::create(b, loc, candidate, where);
    return RowFormula{b, loc, candidate}.isAt(true);
  }
};

} // namespace

Value r1c::ragged::buildReduction(OpBuilder &b, Location loc,
                                  rl::ReduceKind kind, Value x, Value where) {
  RowFormula formula{b, loc, where};
  double infinity = std::numeric_limits<double>::infinity();
  switch (kind) {
  case rl::ReduceKind::sum:
    return formula.add(formula.masked(x, 0));
  case rl::ReduceKind::mean:
    return formula.over(formula.add(formula.masked(x, 0)), formula.count());
  case rl::ReduceKind::min:
    return formula.reduce(kern::ReduceKind::min, formula.masked(x, infinity));
  case rl::ReduceKind::max:
    return formula.reduce(kern::ReduceKind::max, formula.masked(x, -infinity));
  case rl::ReduceKind::var:
    return formula.variance(x);
  case rl::ReduceKind::std:
    return math::SqrtOp::create(b, loc, formula.variance(x));
  case rl::ReduceKind::first:
    return formula.at(x, true);
  case rl::ReduceKind::last:
    return formula.at(x, false);
  case rl::ReduceKind::any:
    if (where)
      x = arith::AndIOp::create(b, loc, x, where);
    return formula.reduce(kern::ReduceKind::any, x);
  case rl::ReduceKind::all:
    if (where) {
      Value yes = arith::ConstantOp::create(b, loc, b.getBoolAttr(true));
      x = formula.select(where, x, yes);
    }
    return formula.reduce(kern::ReduceKind::all, x);
  case rl::ReduceKind::quantile:
    break;
  }
  llvm_unreachable("a quantile is not a row program");
}

Value r1c::ragged::buildReductionGrad(OpBuilder &b, Location loc,
                                      rl::ReduceKind kind, Value x, Value seed,
                                      Value where) {
  RowFormula formula{b, loc, where};
  return formula.select(formula.isChosen(kind, x), seed, formula.number(0));
}
