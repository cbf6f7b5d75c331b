//===- CheckLoss.cpp - one loss of a step file, held against itself -------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// docs/check.md gives the reason of each bound.
//===----------------------------------------------------------------------===//

#include "compiler/reference/Differences.h"
#include "compiler/tools/Check.h"
#include "compiler/tools/CompiledUpdate.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

#include <cmath>

using namespace mlir;
using namespace r1c;
using namespace r1c::reference;
using rl::Axis;

/// Both sides are float64 sums of a few hundred terms in other orders.
static constexpr double formulaBound = 1e-12;
/// Values below these count as that large: the rounding of terms of size one,
/// and of gradients of a mean over a long batch, that cancel.
static constexpr double valueFloor = 1, gradientFloor = 1e-6;

namespace {

/// What the updated policy says that the loss reads, with its gradient: none
/// where all of it is stopped or goes into metrics.
struct Input {
  const char *name;
  Value seeds;
  std::vector<double> Point::*values;
};

template <typename Read>
bool reads(Loss &loss) {
  return loss.update.walk([](Read) { return WalkResult::interrupt(); })
      .wasInterrupted();
}

class LossCheck {
public:
  LossCheck(Loss &loss, CompiledUpdate &compiled, uint64_t seed)
      : loss(loss), compiled(compiled), random(seed) {
    if (reads<rl::LogprobOp>(loss))
      inputs.push_back({"logp", loss.backward.getSeeds(), &Point::logp});
    if (reads<rl::EntropyOp>(loss))
      inputs.push_back(
          {"entropy", loss.backward.getEntropySeeds(), &Point::entropy});
    if (reads<rl::ValueOp>(loss))
      inputs.push_back({"value", loss.backward.getValueSeeds(), &Point::value});
    for (size_t i = 0; i < inputs.size(); ++i) {
      gradientErrors.push_back(Errors(gradientFloor));
      orderErrors.push_back(Errors(gradientFloor));
      differenceErrors.push_back(Errors(1));
      leftOut.push_back(0);
      points.push_back(0);
    }
    auto collect = [&](Block &block) {
      for (auto metric : block.getOps<rl::MetricOp>())
        metrics.push_back(metric.getValue());
    };
    collect(loss.update.getBody().front());
    for (Operation *at = loss.update; at != loss.stage; at = at->getParentOp())
      collect(*at->getBlock());
  }

  LogicalResult run(CheckSection &section);

private:
  LogicalResult checkRound(const GeneratedRound &round);
  LogicalResult checkOrder(const GeneratedRound &round);
  void addRows(CheckSection &section);

  Loss &loss;
  CompiledUpdate &compiled;
  std::mt19937_64 random;
  std::vector<Input> inputs;
  std::vector<Value> metrics;
  Errors lossErrors{valueFloor}, metricErrors{valueFloor},
      orderLossErrors{valueFloor}, workerErrors{valueFloor}, finite{1};
  std::vector<Errors> gradientErrors, orderErrors, differenceErrors;
  std::vector<int64_t> leftOut, points;
  int64_t rounds = 0, tokens = 0;
  std::set<std::string> replaced;
};

} // namespace

static LogicalResult reportMissing(const Formulas &formulas) {
  for (Operation *op : formulas.missing())
    op->emitError("r1c check cannot generate what '")
        << op->getName() << "' gives";
  return failure();
}

LogicalResult LossCheck::checkRound(const GeneratedRound &round) {
  Formulas formulas = round.formulas();
  const Column *value = formulas.evaluate(loss.value);
  if (!value)
    return reportMissing(formulas);
  bool isFinite = std::isfinite(value->numbers[0]);
  auto results = compiled.run(formulas), again = compiled.run(formulas, 3);
  if (failed(results) || failed(again))
    return failure();
  lossErrors.add((*results)[loss.value].numbers, value->numbers);
  for (auto &[of, column] : *results)
    workerErrors.add((*again)[of].numbers, column.numbers);
  for (Value metric : metrics) {
    const Column *expected = formulas.evaluate(metric);
    if (!expected)
      return reportMissing(formulas);
    metricErrors.add((*results)[metric].numbers, expected->numbers);
  }
  for (auto [i, input] : llvm::enumerate(inputs)) {
    if (!input.seeds)
      continue;
    const Column *expected = formulas.evaluate(input.seeds);
    if (!expected)
      return reportMissing(formulas);
    isFinite &= llvm::all_of(expected->numbers,
                             [](double g) { return std::isfinite(g); });
    gradientErrors[i].add((*results)[input.seeds].numbers, expected->numbers);
  }
  ++finite.compared;
  finite.differing += !isFinite;
  for (auto [i, input] : llvm::enumerate(inputs)) {
    // Between infinities there are no differences.
    if (!isFinite)
      continue;
    auto differences =
        compareWithDifferences(loss, round, input.seeds, input.values);
    differenceErrors[i].addKnown(differences.absolute, differences.scale);
    leftOut[i] += differences.leftOut;
    points[i] += differences.points;
  }
  ++rounds;
  tokens += round.axes().size(Axis::token);
  replaced.insert(round.replaced().begin(), round.replaced().end());
  return success();
}

/// The compiled loss and its gradient, of the same sequences in another order.
LogicalResult LossCheck::checkOrder(const GeneratedRound &round) {
  GeneratedRound::Order order;
  GeneratedRound other = round.reordered(random, order);
  Formulas formulas = round.formulas(), otherFormulas = other.formulas();
  auto results = compiled.run(formulas), moved = compiled.run(otherFormulas);
  if (failed(results) || failed(moved))
    return failure();
  orderLossErrors.add((*moved)[loss.value].numbers,
                      (*results)[loss.value].numbers);
  for (auto [i, input] : llvm::enumerate(inputs)) {
    if (!input.seeds)
      continue;
    std::vector<double> expected;
    for (int64_t from : order.of(input.seeds.getType()))
      expected.push_back((*results)[input.seeds].numbers[from]);
    orderErrors[i].add((*moved)[input.seeds].numbers, expected);
  }
  return success();
}

void LossCheck::addRows(CheckSection &section) {
  auto add = [&](const llvm::Twine &what, const Errors &errors,
                 std::optional<double> bound) -> CheckRow & {
    return section.rows.emplace_back(what.str(), errors, bound);
  };
  CheckRow &row = add("loss and gradient are finite", finite, std::nullopt);
  if (!row.isGood)
    row.remark = llvm::formatv(
        "not in {0} of {1} rounds; some have groups of equal rewards and of a "
        "single sequence, whose std is 0: divide by std + 1e-6, say",
        finite.differing, finite.compared);
  add("loss, compiled = interpreter", lossErrors, formulaBound);
  if (!metrics.empty())
    add("metrics, compiled = interpreter", metricErrors, formulaBound);
  for (auto [i, input] : llvm::enumerate(inputs))
    if (input.seeds)
      add(llvm::Twine("gradient by ") + input.name + ", compiled = interpreter",
          gradientErrors[i], formulaBound);
  for (auto [i, input] : llvm::enumerate(inputs)) {
    CheckRow &row = add(llvm::Twine("gradient by ") + input.name +
                            ", interpreter = differences",
                        differenceErrors[i], differencesBound);
    if (leftOut[i])
      row.remark = llvm::formatv("{0} of {1} points at kinks left out",
                                 leftOut[i], points[i]);
    if (leftOut[i] == points[i]) {
      row.isGood = false;
      row.remark = points[i] ? "every point is at a kink: nothing was compared"
                             : "no round is finite: nothing was compared";
    }
  }
  add("formulas, 3 workers = 1", workerErrors, std::nullopt);
  if (dependsOnOrder(loss)) {
    section.notes.push_back("order of sequences not checked: the stage reads "
                            "the first or last of a group");
    return;
  }
  add("loss, sequences in another order", orderLossErrors, formulaBound);
  for (auto [i, input] : llvm::enumerate(inputs))
    if (input.seeds)
      add(llvm::Twine("gradient by ") + input.name +
              ", sequences in another order",
          orderErrors[i], formulaBound);
}

LogicalResult LossCheck::run(CheckSection &section) {
  // Of the smallest; with edge cases, at the stage's begin and end; large.
  for (GeneratedRound::Shape shape :
       {GeneratedRound::Shape{1, 1, 1, false, 0},
        GeneratedRound::Shape{4, 4, 6, true, 0},
        GeneratedRound::Shape{5, 3, 5, true, 1},
        GeneratedRound::Shape{3, 6, 12, false, 0.5}})
    if (failed(checkRound(GeneratedRound(loss, shape, random))))
      return failure();
  // Ties go to the first, which another order changes: none by construction.
  if (!dependsOnOrder(loss))
    for (int repeat = 0; repeat < 2; ++repeat)
      if (failed(checkOrder(
              GeneratedRound(loss, {5, 5, 6, false, double(repeat)}, random))))
        return failure();
  section.title += llvm::formatv(" ({0} rounds, {1} tokens)", rounds, tokens);
  if (!replaced.empty()) {
    std::string names = llvm::join(replaced, ", ");
    section.notes.push_back("random results instead of " + names);
  }
  addRows(section);
  return success();
}

/// A derivative that is wrong by a thousandth, in what the interpreter and the
/// compiler both start from.
static void spoilDerivative(Loss &loss) {
  Value seeds = loss.backward.getSeeds();
  OpBuilder builder(loss.backward);
  Location loc = loss.backward.getLoc();
  auto map = rl::MapOp::create(builder, loc, seeds.getType(), seeds);
  Block *body =
      builder.createBlock(&map.getBody(), {}, builder.getF64Type(), loc);
  Value factor =
      arith::ConstantOp::create(builder, loc, builder.getF64FloatAttr(1.001));
  rl::YieldOp::create(
      builder, loc,
      arith::MulFOp::create(builder, loc, body->getArgument(0), factor)
          .getResult());
  loss.backward.getSeedsMutable().assign(map.getResult());
}

/// The first compiled negation gets wrong by a millionth.
static void spoilFormula(ModuleOp lowered) {
  lowered.walk([](arith::NegFOp op) {
    OpBuilder builder(op);
    Value factor = arith::ConstantOp::create(
        builder, op.getLoc(), builder.getFloatAttr(op.getType(), -1.000001));
    op.replaceAllUsesWith(
        arith::MulFOp::create(builder, op.getLoc(), op.getOperand(), factor)
            .getResult());
    return WalkResult::interrupt();
  });
}

LogicalResult r1c::checkLoss(ModuleOp module, size_t index,
                             const CheckOptions &options, CheckReport &report) {
  auto [stage, name] = listLosses(module)[index];
  OwningOpRef<ModuleOp> clone(module.clone());
  auto loss = prepareLoss(*clone, index);
  if (failed(loss))
    return failure();
  if (options.mistake == "derivative")
    spoilDerivative(*loss);
  CompiledUpdate::Options compile;
  compile.cpu = options.cpu;
  compile.withStage = true;
  if (options.mistake == "formula")
    compile.change = spoilFormula;
  auto compiled = CompiledUpdate::compile(*clone, *loss, compile);
  if (failed(compiled))
    return failure();
  CheckSection &section =
      report.section("loss " + name + " of stage " + stage + ", " +
                     placeOf(loss->backward.getLoc()));
  return LossCheck(*loss, **compiled, options.seed).run(section);
}
