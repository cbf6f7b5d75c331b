//===- Differences.cpp - a loss's gradient by finite differences ----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Differences.h"

#include <cmath>

using namespace mlir;
using namespace r1c;
using namespace r1c::reference;

namespace {

class Comparison {
public:
  Comparison(Loss &loss, const GeneratedRound &round)
      : loss(loss), round(round), base(round.formulas()) {
    loss.update.walk([&](Operation *op) {
      auto reduce = dyn_cast<rl::ReduceOp>(op);
      bool isFlag = op->getNumResults() == 1 &&
                    isa<rl::FlagType>(op->getResult(0).getType());
      if (isa<rl::StopOp>(op) || isFlag ||
          (reduce && reduce.getKind() == rl::ReduceKind::quantile))
        if (const Column *column = base.evaluate(op->getResult(0)))
          held[op->getResult(0)] = *column;
    });
  }

  double lossAt(const Point &at) {
    Formulas formulas = round.formulasAt(at);
    for (auto &[value, column] : held)
      formulas.bind(value, column);
    const Column *column = formulas.evaluate(loss.value);
    return column ? column->numbers[0] : std::nan("");
  }

  DifferencesResult run(Value seeds, std::vector<double> Point::*input) {
    std::vector<double> gradient((round.point.*input).size(), 0);
    if (const Column *column = seeds ? base.evaluate(seeds) : nullptr)
      gradient = column->numbers;
    double at = lossAt(round.point);
    DifferencesResult result;
    result.points = gradient.size();
    result.scale = std::max(1.0, std::fabs(at));
    for (double g : gradient)
      result.scale = std::max(result.scale, std::fabs(g));
    double bound = differencesBound * result.scale;
    for (size_t i = 0; i < gradient.size(); ++i) {
      auto moved = [&](double by) {
        Point point = round.point;
        (point.*input)[i] += by;
        return lossAt(point);
      };
      const double h = 1e-5;
      double above = moved(h), below = moved(-h);
      double central = (above - below) / (2 * h);
      double error = std::fabs(gradient[i] - central);
      if (!(error <= bound) &&
          isUnresolved(gradient[i], (above - at) / h, (at - below) / h, central,
                       bound, [&](double by) { return moved(by); }))
        ++result.leftOut;
      // Not std::max, which drops a NaN.
      else if (!(error <= result.absolute))
        result.absolute = error;
    }
    return result;
  }

private:
  static bool isUnresolved(double gradient, double right, double left,
                           double central, double bound,
                           llvm::function_ref<double(double)> moved) {
    bool isKink = std::fabs(right - left) > bound &&
                  gradient >= std::min(left, right) - bound &&
                  gradient <= std::max(left, right) + bound;
    if (isKink)
      return true;
    // Where half the step gives another slope, the step was too long; the
    // gradient must still agree as well as the two do with each other.
    const double half = 5e-6;
    double finer = (moved(half) - moved(-half)) / (2 * half);
    double spread = std::fabs(finer - central);
    return spread > bound && std::fabs(gradient - finer) <= 2 * spread;
  }

  Loss &loss;
  const GeneratedRound &round;
  Formulas base;
  llvm::MapVector<Value, Column> held;
};

} // namespace

DifferencesResult
reference::compareWithDifferences(Loss &loss, const GeneratedRound &round,
                                  Value seeds,
                                  std::vector<double> Point::*input) {
  return Comparison(loss, round).run(seeds, input);
}
