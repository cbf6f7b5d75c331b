//===- Scalars.cpp - what a scalar region means ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Formulas.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace r1c;

static bool compare(arith::CmpFPredicate predicate, double x, double y) {
  using P = arith::CmpFPredicate;
  bool unordered = std::isnan(x) || std::isnan(y);
  switch (predicate) {
  case P::AlwaysFalse:
    return false;
  case P::OEQ:
    return x == y;
  case P::OGT:
    return x > y;
  case P::OGE:
    return x >= y;
  case P::OLT:
    return x < y;
  case P::OLE:
    return x <= y;
  case P::ONE:
    return !unordered && x != y;
  case P::ORD:
    return !unordered;
  case P::UEQ:
    return unordered || x == y;
  case P::UGT:
    return unordered || x > y;
  case P::UGE:
    return unordered || x >= y;
  case P::ULT:
    return unordered || x < y;
  case P::ULE:
    return unordered || x <= y;
  case P::UNE:
    return unordered || x != y;
  case P::UNO:
    return unordered;
  case P::AlwaysTrue:
    return true;
  }
  llvm_unreachable("all predicates are above");
}

/// The smaller one (`sign` 1) or larger one (-1); NaN if one of them is NaN.
static double least(double x, double y, double sign) {
  if (std::isnan(x) || std::isnan(y))
    return std::numeric_limits<double>::quiet_NaN();
  return sign * x <= sign * y ? x : y;
}

/// The value of one op; flags are 0 and 1.
static std::optional<double> evaluateScalar(Operation *op, ArrayRef<double> x) {
  using Result = std::optional<double>;
  return TypeSwitch<Operation *, Result>(op)
      .Case([&](arith::ConstantOp c) -> Result {
        if (auto number = dyn_cast<FloatAttr>(c.getValue()))
          return number.getValueAsDouble();
        if (auto flag = dyn_cast<BoolAttr>(c.getValue()))
          return flag.getValue();
        return std::nullopt;
      })
      .Case([&](arith::AddFOp) -> Result { return x[0] + x[1]; })
      .Case([&](arith::SubFOp) -> Result { return x[0] - x[1]; })
      .Case([&](arith::MulFOp) -> Result { return x[0] * x[1]; })
      .Case([&](arith::DivFOp) -> Result { return x[0] / x[1]; })
      .Case([&](arith::RemFOp) -> Result { return std::fmod(x[0], x[1]); })
      .Case([&](arith::NegFOp) -> Result { return -x[0]; })
      .Case<arith::MinimumFOp>(
          [&](auto) -> Result { return least(x[0], x[1], 1); })
      .Case<arith::MaximumFOp>(
          [&](auto) -> Result { return least(x[0], x[1], -1); })
      .Case([&](arith::CmpFOp c) -> Result {
        return compare(c.getPredicate(), x[0], x[1]);
      })
      .Case([&](arith::CmpIOp c) -> Result {
        if (c.getPredicate() == arith::CmpIPredicate::eq)
          return x[0] == x[1];
        if (c.getPredicate() == arith::CmpIPredicate::ne)
          return x[0] != x[1];
        return std::nullopt; // flags have no order
      })
      .Case([&](arith::AndIOp) -> Result { return x[0] != 0 && x[1] != 0; })
      .Case([&](arith::OrIOp) -> Result { return x[0] != 0 || x[1] != 0; })
      .Case([&](arith::XOrIOp) -> Result { return x[0] != x[1]; })
      .Case([&](arith::SelectOp) -> Result { return x[0] != 0 ? x[1] : x[2]; })
      .Case([&](arith::UIToFPOp) -> Result { return x[0]; })
      .Case([&](math::ExpOp) -> Result { return std::exp(x[0]); })
      .Case([&](math::LogOp) -> Result { return std::log(x[0]); })
      .Case([&](math::SqrtOp) -> Result { return std::sqrt(x[0]); })
      .Case([&](math::AbsFOp) -> Result { return std::fabs(x[0]); })
      .Case([&](math::SinOp) -> Result { return std::sin(x[0]); })
      .Case([&](math::CosOp) -> Result { return std::cos(x[0]); })
      .Case([&](math::TanhOp) -> Result { return std::tanh(x[0]); })
      .Case([&](math::FloorOp) -> Result { return std::floor(x[0]); })
      .Case([&](math::CeilOp) -> Result { return std::ceil(x[0]); })
      // Ties to even: the default rounding mode.
      .Case([&](math::RoundEvenOp) -> Result { return std::nearbyint(x[0]); })
      .Default([](Operation *) -> Result { return std::nullopt; });
}

std::optional<double>
reference::evaluateScalars(Block &block, const std::vector<double> &arguments) {
  DenseMap<Value, double> values;
  for (auto [argument, value] : llvm::zip(block.getArguments(), arguments))
    values[argument] = value;
  for (Operation &op : block.without_terminator()) {
    SmallVector<double> operands;
    for (Value operand : op.getOperands())
      operands.push_back(values.lookup(operand));
    std::optional<double> value = evaluateScalar(&op, operands);
    if (!value) {
      op.emitError("the interpreter has no meaning for '")
          << op.getName() << "'";
      return std::nullopt;
    }
    values[op.getResult(0)] = *value;
  }
  return values.lookup(block.getTerminator()->getOperand(0));
}
