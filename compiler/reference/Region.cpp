//===- Region.cpp - what the scalar region of a kern op computes ----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Interpreter.h"
#include "compiler/reference/Network.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace r1c;
using namespace r1c::reference;

/// The values of a scalar for every column of a row.
using Lane = std::vector<double>;

static double compare(arith::CmpFPredicate predicate, double x, double y) {
  switch (predicate) {
  case arith::CmpFPredicate::OEQ:
    return x == y;
  case arith::CmpFPredicate::OLT:
    return x < y;
  case arith::CmpFPredicate::OLE:
    return x <= y;
  case arith::CmpFPredicate::OGT:
    return x > y;
  case arith::CmpFPredicate::OGE:
    return x >= y;
  case arith::CmpFPredicate::UNO:
    return std::isnan(x) || std::isnan(y);
  default:
    return std::numeric_limits<double>::quiet_NaN();
  }
}

static double reduce(kern::ReduceKind kind, const Lane &values) {
  double result = 0;
  switch (kind) {
  case kern::ReduceKind::add:
    for (double value : values)
      result += value;
    return result;
  case kern::ReduceKind::max:
    result = -std::numeric_limits<double>::infinity();
    for (double value : values)
      result = std::max(result, value);
    return result;
  case kern::ReduceKind::min:
    result = std::numeric_limits<double>::infinity();
    for (double value : values)
      result = std::min(result, value);
    return result;
  case kern::ReduceKind::argmax: {
    double best = -std::numeric_limits<double>::infinity();
    for (size_t j = 0; j < values.size(); ++j)
      if (values[j] > best) {
        best = values[j];
        result = j;
      }
    return result;
  }
  default:
    return std::numeric_limits<double>::quiet_NaN();
  }
}

bool reference::evaluateRegion(Block &body, const std::vector<Lane> &columns,
                               int64_t row, int64_t first, int64_t count,
                               std::vector<Lane> &yielded) {
  std::map<const void *, Lane> lanes;
  auto get = [&](Value value) -> const Lane & {
    return lanes.at(value.getAsOpaquePointer());
  };
  auto set = [&](Value value, Lane lane) {
    lanes[value.getAsOpaquePointer()] = std::move(lane);
  };
  auto word = [&](Operation *op, unsigned i, int64_t j) {
    return uint32_t(int64_t(get(op->getOperand(i))[j]));
  };
  auto each = [&](Operation *op, auto function) {
    Lane lane(count);
    for (int64_t j = 0; j < count; ++j) {
      double x = get(op->getOperand(0))[j];
      double y = op->getNumOperands() > 1 ? get(op->getOperand(1))[j] : 0;
      lane[j] = function(x, y);
    }
    set(op->getResult(0), std::move(lane));
    return true;
  };
  for (auto [argument, lane] : llvm::zip(body.getArguments(), columns))
    set(argument, lane);

  for (Operation &op : body.without_terminator()) {
    bool known =
        TypeSwitch<Operation *, bool>(&op)
            .Case([&](arith::ConstantOp op) {
              double value;
              if (auto number = dyn_cast<FloatAttr>(op.getValue()))
                value = number.getValueAsDouble();
              else
                value = cast<IntegerAttr>(op.getValue()).getInt();
              set(op.getResult(), Lane(count, value));
              return true;
            })
            .Case([&](arith::AddFOp op) { return each(op, std::plus()); })
            .Case([&](arith::SubFOp op) { return each(op, std::minus()); })
            .Case([&](arith::MulFOp op) { return each(op, std::multiplies()); })
            .Case([&](arith::DivFOp op) { return each(op, std::divides()); })
            .Case([&](arith::NegFOp op) {
              return each(op, [](double x, double) { return -x; });
            })
            .Case([&](arith::AddIOp op) {
              return each(op, [](double x, double y) {
                return double(
                    int32_t(uint32_t(int64_t(x)) + uint32_t(int64_t(y))));
              });
            })
            // Exact: how a tensor is stored is not part of what a formula
            // means.
            .Case<arith::TruncFOp, arith::ExtFOp>([&](auto op) {
              return each(op, [](double x, double) { return x; });
            })
            .Case([&](arith::UIToFPOp op) {
              return each(op, [](double x, double) {
                return double(uint32_t(int64_t(x)));
              });
            })
            .Case([&](math::ExpOp op) {
              return each(op, [](double x, double) { return std::exp(x); });
            })
            .Case([&](math::LogOp op) {
              return each(op, [](double x, double) { return std::log(x); });
            })
            .Case([&](math::SqrtOp op) {
              return each(op, [](double x, double) { return std::sqrt(x); });
            })
            .Case([&](arith::CmpFOp op) {
              return each(op, [&](double x, double y) {
                return compare(op.getPredicate(), x, y);
              });
            })
            .Case([&](arith::CmpIOp op) {
              return op.getPredicate() == arith::CmpIPredicate::eq &&
                     each(op, [](double x, double y) { return x == y; });
            })
            .Case([&](arith::SelectOp op) {
              Lane lane(count);
              for (int64_t j = 0; j < count; ++j)
                lane[j] = get(op.getCondition())[j] != 0
                              ? get(op.getTrueValue())[j]
                              : get(op.getFalseValue())[j];
              set(op.getResult(), std::move(lane));
              return true;
            })
            .Case([&](kern::ReduceOp op) {
              double value = reduce(op.getKind(), get(op.getValue()));
              if (kern::ReduceOp::isArg(op.getKind()))
                value += first;
              set(op.getResult(), Lane(count, value));
              return true;
            })
            .Case([&](kern::IndexOp op) {
              Lane lane(count, row);
              if (op.getKind() == kern::IndexKind::column)
                for (int64_t j = 0; j < count; ++j)
                  lane[j] = first + j;
              set(op.getResult(), std::move(lane));
              return true;
            })
            .Case([&](kern::NoiseOp op) {
              Lane words(count);
              for (int64_t j = 0; j < count; ++j)
                words[j] =
                    int32_t(noise({word(op, 0, j), word(op, 1, j)},
                                  word(op, 2, j), word(op, 3, j), first + j));
              set(op.getResult(), std::move(words));
              return true;
            })
            .Case([&](kern::RandomOp op) {
              Lane words[4] = {Lane(count), Lane(count), Lane(count),
                               Lane(count)};
              for (int64_t j = 0; j < count; ++j) {
                auto drawn = philox({word(op, 0, j), word(op, 1, j)},
                                    {word(op, 2, j), word(op, 3, j),
                                     word(op, 4, j), word(op, 5, j)});
                for (int i = 0; i < 4; ++i)
                  words[i][j] = int32_t(drawn[i]);
              }
              for (int i = 0; i < 4; ++i)
                set(op->getResult(i), words[i]);
              return true;
            })
            .Default(false);
    if (!known)
      return false;
  }
  yielded.clear();
  for (Value value : body.getTerminator()->getOperands())
    yielded.push_back(get(value));
  return true;
}
