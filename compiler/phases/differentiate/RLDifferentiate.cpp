//===- RLDifferentiate.cpp - the derivative of a loss formula -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Reverse mode over the axis-typed ops of an rl.update, from the loss to the
// log-probabilities, entropies and values of the updated policy. The result is
// again rl, so everything after this phase treats it like the user's own
// formulas.
//===----------------------------------------------------------------------===//

#include "compiler/phases/Passes.h"
#include "compiler/phases/differentiate/ScalarAdjoint.h"
#include "dialects/rl/RL.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"

namespace r1c {
#define GEN_PASS_DEF_RLDIFFERENTIATEPASS
#include "compiler/phases/Passes.h.inc"
} // namespace r1c

using namespace mlir;
using namespace r1c;
using rl::Axis;

namespace {

using Formula = llvm::function_ref<Value(OpBuilder &, Location, ValueRange)>;

Value number(OpBuilder &b, Location loc, double value) {
  return arith::ConstantOp::create(b, loc, b.getF64FloatAttr(value));
}

/// x / y, and 0 where y is 0 or below: a mean over nothing has no gradient.
Value divideOrZero(OpBuilder &b, Location loc, Value x, Value y) {
  Value zero = number(b, loc, 0);
  Value some =
      arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGT, y, zero);
  Value quotient = arith::DivFOp::create(b, loc, x, y);
  return arith::SelectOp::create(b, loc, some, quotient, zero);
}

/// One reverse sweep over the body of an rl.update.
class LossReverse {
public:
  LossReverse(rl::GradientOp gradient)
      : gradient(gradient), builder(gradient),
        set(cast<rl::OutputsType>(gradient->getParentOfType<rl::UpdateOp>()
                                      .getOutputs()
                                      .getType())
                .getSet()) {}

  LogicalResult run();

private:
  Axis axisOf(Value value) {
    return cast<rl::NumType>(value.getType()).getAxis();
  }
  Type numOn(Axis axis) {
    return rl::NumType::get(builder.getContext(), axis,
                            axis == Axis::one ? StringRef() : set);
  }

  /// A num on `axis` computed from operands on that axis or of axis one.
  Value map(Location loc, Axis axis, ValueRange operands, Formula formula);
  Value reduce(Location loc, rl::ReduceKind kind, Value x, Axis to,
               Value where);
  Value sum(Location loc, Value x, Axis to, Value where = {});
  /// x as a value that combines with `axis`.
  Value spread(Location loc, Value x, Axis axis);
  void add(Value to, Value contribution);

  bool isActive(Value value) { return active.contains(value); }
  void findActive();
  LogicalResult reverse(Operation *op, Value adjoint);
  LogicalResult reverseMap(rl::MapOp op, Value adjoint);
  LogicalResult reverseReduce(rl::ReduceOp op, Value adjoint);

  rl::GradientOp gradient;
  OpBuilder builder;
  StringRef set;          // the only set whose values a loss may combine
  DenseSet<Value> active; // depend on the updated policy, differentiably
  DenseMap<Value, Value> adjoints;
};

Value LossReverse::map(Location loc, Axis axis, ValueRange operands,
                       Formula formula) {
  auto op = rl::MapOp::create(builder, loc, numOn(axis), operands);
  OpBuilder::InsertionGuard guard(builder);
  Block *body = builder.createBlock(&op.getBody());
  for (Value operand : operands)
    body->addArgument(isa<rl::FlagType>(operand.getType())
                          ? Type(builder.getI1Type())
                          : Type(builder.getF64Type()),
                      loc);
  Value result = formula(builder, loc, body->getArguments());
  rl::YieldOp::create(builder, loc, result);
  return op.getResult();
}

Value LossReverse::reduce(Location loc, rl::ReduceKind kind, Value x, Axis to,
                          Value where) {
  rl::DomainAttr domain;
  if (to == Axis::one)
    domain = rl::DomainAttr::get(builder.getContext(), rl::Domain::batch);
  return rl::ReduceOp::create(builder, loc, numOn(to), kind, x, domain,
                              /*q=*/Value(), where);
}

Value LossReverse::sum(Location loc, Value x, Axis to, Value where) {
  return reduce(loc, rl::ReduceKind::sum, x, to, where);
}

Value LossReverse::spread(Location loc, Value x, Axis axis) {
  if (axisOf(x) == axis || axisOf(x) == Axis::one)
    return x;
  return rl::RepeatOp::create(builder, loc, numOn(axis), x);
}

void LossReverse::add(Value to, Value contribution) {
  Value &sum = adjoints[to];
  if (!sum) {
    sum = contribution;
    return;
  }
  sum = map(contribution.getLoc(), axisOf(to), {sum, contribution},
            [](OpBuilder &b, Location loc, ValueRange x) -> Value {
              return arith::AddFOp::create(b, loc, x[0], x[1]);
            });
}

void LossReverse::findActive() {
  StringRef policy = gradient.getPolicy();
  for (Operation &op : *gradient->getBlock()) {
    bool isActive =
        TypeSwitch<Operation *, bool>(&op)
            .Case<rl::LogprobOp, rl::EntropyOp, rl::ValueOp>(
                [&](auto read) { return read.getPolicy() == policy; })
            .Case([](rl::StopOp) { return false; })
            .Default([&](Operation *) {
              return llvm::any_of(op.getOperands(),
                                  [&](Value v) { return active.contains(v); });
            });
    if (!isActive)
      continue;
    for (Value result : op.getResults())
      if (isa<rl::NumType>(result.getType()))
        active.insert(result);
  }
}

LogicalResult LossReverse::reverseMap(rl::MapOp op, Value adjoint) {
  Axis axis = axisOf(op.getResult());
  SmallVector<Value> operands(op.getInputs());
  operands.push_back(adjoint);
  for (auto [i, operand] : llvm::enumerate(op.getInputs())) {
    if (!isActive(operand))
      continue;
    bool ok = true, depends = true;
    Value partial =
        map(op.getLoc(), axis, operands,
            [&, n = i](OpBuilder &b, Location loc, ValueRange x) -> Value {
              SmallVector<Value> results;
              ok = succeeded(buildScalarAdjoint(
                  b, op.getBody().front(), x.drop_back(), x.back(), results));
              depends = ok && results[n];
              return depends ? results[n] : number(b, loc, 0);
            });
    if (!ok)
      return failure();
    if (!depends) {
      partial.getDefiningOp()->erase();
      continue;
    }
    // A number of axis one was seen by every element.
    if (axisOf(operand) == Axis::one && axis != Axis::one)
      partial = sum(op.getLoc(), partial, Axis::one);
    add(operand, partial);
  }
  return success();
}

LogicalResult LossReverse::reverseReduce(rl::ReduceOp op, Value adjoint) {
  Value x = op.getValue();
  if (!isActive(x))
    return success();
  Location loc = op.getLoc();
  Axis axis = axisOf(x), to = axisOf(op.getResult());
  Value where = op.getWhere();
  auto count = [&]() {
    Value ones =
        map(loc, axis, {x}, [](OpBuilder &b, Location loc, ValueRange) {
          return number(b, loc, 1);
        });
    return sum(loc, ones, to, where);
  };
  // What each element of x gets: a value on the axis of x.
  Value share;
  switch (op.getKind()) {
  case rl::ReduceKind::sum:
    share = map(loc, axis, {x, spread(loc, adjoint, axis)},
                [](OpBuilder &, Location, ValueRange v) { return v[1]; });
    break;
  case rl::ReduceKind::mean: {
    Value each = map(loc, to, {adjoint, count()},
                     [](OpBuilder &b, Location loc, ValueRange v) {
                       return divideOrZero(b, loc, v[0], v[1]);
                     });
    share = map(loc, axis, {x, spread(loc, each, axis)},
                [](OpBuilder &, Location, ValueRange v) { return v[1]; });
    break;
  }
  case rl::ReduceKind::var:
  case rl::ReduceKind::std: {
    // d var / d x_i = 2 (x_i - mean) / (n - 1);  d std = d var / (2 std).
    bool isStd = op.getKind() == rl::ReduceKind::std;
    Value mean = reduce(loc, rl::ReduceKind::mean, x, to, where);
    Value each =
        map(loc, to, {adjoint, count(), op.getResult()},
            [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
              Value n = arith::SubFOp::create(b, loc, v[1], number(b, loc, 1));
              if (isStd)
                return divideOrZero(b, loc, v[0],
                                    arith::MulFOp::create(b, loc, n, v[2]));
              Value twice =
                  arith::MulFOp::create(b, loc, v[0], number(b, loc, 2));
              return divideOrZero(b, loc, twice, n);
            });
    share =
        map(loc, axis, {x, spread(loc, mean, axis), spread(loc, each, axis)},
            [](OpBuilder &b, Location loc, ValueRange v) -> Value {
              Value deviation = arith::SubFOp::create(b, loc, v[0], v[1]);
              return arith::MulFOp::create(b, loc, deviation, v[2]);
            });
    break;
  }
  case rl::ReduceKind::quantile:
  case rl::ReduceKind::any:
  case rl::ReduceKind::all:
    return success(); // no gradient, by the language
  case rl::ReduceKind::min:
  case rl::ReduceKind::max:
  case rl::ReduceKind::first:
  case rl::ReduceKind::last:
    // The element that was chosen gets all of it.
    add(x, rl::ReduceGradOp::create(builder, loc, x.getType(), op.getKind(), x,
                                    adjoint, where));
    return success();
  }
  if (where)
    share = map(loc, axis, {share, where},
                [](OpBuilder &b, Location loc, ValueRange v) -> Value {
                  return arith::SelectOp::create(b, loc, v[1], v[0],
                                                 number(b, loc, 0));
                });
  add(x, share);
  return success();
}

LogicalResult LossReverse::reverse(Operation *op, Value adjoint) {
  return TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](rl::MapOp map) { return reverseMap(map, adjoint); })
      .Case([&](rl::ReduceOp reduce) { return reverseReduce(reduce, adjoint); })
      .Case([&](rl::RepeatOp repeat) {
        if (isActive(repeat.getValue()))
          add(repeat.getValue(),
              sum(op->getLoc(), adjoint, axisOf(repeat.getValue())));
        return success();
      })
      .Case([&](rl::ScanOp scan) {
        if (!isActive(scan.getValue()))
          return success();
        // Each element enters all sums on the other side of it.
        auto opposite = scan.getKind() == rl::ScanKind::suffix_sum
                            ? rl::ScanKind::prefix_sum
                            : rl::ScanKind::suffix_sum;
        add(scan.getValue(),
            rl::ScanOp::create(builder, op->getLoc(), adjoint.getType(),
                               opposite, adjoint));
        return success();
      })
      .Case<rl::LogprobOp, rl::EntropyOp, rl::ValueOp>(
          [](auto) { return success(); })
      .Default([](Operation *other) {
        return other->emitError("'")
               << other->getName() << "' has no derivative";
      });
}

LogicalResult LossReverse::run() {
  findActive();
  if (!isActive(gradient.getLoss()))
    return gradient.emitError("the loss does not depend on ")
           << gradient.getPolicy();
  SmallVector<Operation *> forward;
  for (Operation &op : *gradient->getBlock()) {
    if (&op == gradient)
      break;
    forward.push_back(&op);
  }
  Location loc = gradient.getLoc();
  add(gradient.getLoss(),
      map(loc, Axis::one, {}, [](OpBuilder &b, Location loc, ValueRange) {
        return number(b, loc, 1);
      }));

  Value seeds, entropySeeds, valueSeeds;
  auto collect = [&](Value &into, Value adjoint) {
    into = into ? map(loc, axisOf(adjoint), {into, adjoint},
                      [](OpBuilder &b, Location loc, ValueRange x) -> Value {
                        return arith::AddFOp::create(b, loc, x[0], x[1]);
                      })
                : adjoint;
  };
  Value outputs;
  for (Operation *op : llvm::reverse(forward)) {
    if (op->getNumResults() != 1)
      continue;
    Value adjoint = adjoints.lookup(op->getResult(0));
    if (!adjoint)
      continue;
    if (failed(reverse(op, adjoint)))
      return failure();
    if (auto read = dyn_cast<rl::LogprobOp>(op)) {
      collect(seeds, adjoint);
      outputs = read.getOutputs();
    } else if (auto read = dyn_cast<rl::EntropyOp>(op)) {
      collect(entropySeeds, adjoint);
      outputs = read.getOutputs();
    } else if (auto read = dyn_cast<rl::ValueOp>(op)) {
      collect(valueSeeds, adjoint);
      outputs = read.getOutputs();
    }
  }
  if (!outputs)
    return gradient.emitError("no gradient reaches ") << gradient.getPolicy();
  auto backward = rl::BackwardOp::create(builder, loc, gradient.getType(),
                                         gradient.getPolicyAttr(), outputs,
                                         seeds, entropySeeds, valueSeeds);
  gradient.replaceAllUsesWith(backward.getResult());
  gradient.erase();
  return success();
}

class RLDifferentiatePass
    : public r1c::impl::RLDifferentiatePassBase<RLDifferentiatePass> {
  void runOnOperation() override {
    SmallVector<rl::GradientOp> gradients;
    getOperation().walk([&](rl::GradientOp op) { gradients.push_back(op); });
    for (rl::GradientOp gradient : gradients)
      if (failed(LossReverse(gradient).run()))
        return signalPassFailure();
  }
};

} // namespace
