//===- GeneratedRound.cpp - random values for all that a loss reads -------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/GeneratedRound.h"
#include "llvm/ADT/TypeSwitch.h"

#include <algorithm>

using namespace mlir;
using namespace r1c;
using namespace r1c::reference;
using rl::Axis;

static StringRef setOf(Value outputs) {
  return cast<rl::OutputsType>(outputs.getType()).getSet();
}

/// Whether the op gives numbers or flags without being a formula.
static bool isLeaf(Operation *op) {
  return op->getNumResults() == 1 &&
         isa<rl::NumType, rl::FlagType>(op->getResult(0).getType()) &&
         !isa<rl::MapOp, rl::RepeatOp, rl::ReduceOp, rl::ReduceGradOp,
              rl::ScanOp, rl::StopOp, rl::CountOp, rl::ConstantOp>(op);
}

/// Equal for ops that give equal values.
static std::string keyOf(Operation *op) {
  auto read = [](StringRef kind, StringRef policy, Value outputs) {
    return (kind + " " + policy + " " + setOf(outputs)).str();
  };
  return TypeSwitch<Operation *, std::string>(op)
      .Case([&](rl::FieldOp field) {
        return read("field", field.getName(), field.getOutputs());
      })
      .Case([&](rl::LogprobOp logp) {
        return read("logp", logp.getPolicy(), logp.getOutputs());
      })
      .Case([&](rl::EntropyOp entropy) {
        return read("entropy", entropy.getPolicy(), entropy.getOutputs());
      })
      .Default([](Operation *other) {
        return llvm::formatv("{0} {1}", other->getName(), (void *)other).str();
      });
}

double GeneratedRound::uniform(double low, double high) {
  return float(std::uniform_real_distribution<double>(low, high)(*random));
}

static Axes drawAxes(const GeneratedRound::Shape &shape,
                     std::mt19937_64 &random) {
  Axes axes;
  for (int g = 0; g < shape.groups; ++g)
    for (int s = 1 + random() % shape.mostSequences; s > 0; --s) {
      axes.tokens.push_back(1 + random() % shape.mostTokens);
      axes.groups.push_back(g);
    }
  if (shape.hasEdgeCases)
    axes.tokens.back() = 1;
  return axes;
}

/// Rewards, columns of the data, answers of text functions.
Column GeneratedRound::draw(Type type) {
  Column column;
  Axis axis = *rl::getAxis(type);
  std::vector<int64_t> group{-1};
  if (axis != Axis::one)
    group = sets.at(rl::getSet(type).str()).owners(axis, Axis::group);
  for (int64_t g : group) {
    double value =
        isa<rl::FlagType>(type) ? double((*random)() % 2) : uniform(0, 2);
    // All of a group right, or all wrong: sums of them are exact.
    if (shape.hasEdgeCases && axis == Axis::sequence && g < 2)
      value = g == 0;
    column.numbers.push_back(value);
  }
  return column;
}

/// What another policy, or this one with other weights, says of the tokens
/// whose recorded log-probabilities are given.
Column GeneratedRound::drawLogp(StringRef set) {
  auto recorded = given.find(("field logp " + set).str());
  Column column;
  for (int64_t i = 0; i < sets.at(set.str()).size(Axis::token); ++i) {
    double from = recorded == given.end() ? uniform(-3, -1)
                                          : recorded->second.column.numbers[i];
    bool isEqual = shape.hasEdgeCases && (*random)() % 6 == 0;
    column.numbers.push_back(isEqual ? from : float(from + uniform(-0.3, 0.3)));
  }
  return column;
}

void GeneratedRound::drawPoint() {
  Column &recorded = given["field logp " + loss->set()].column;
  recorded.numbers.clear();
  int64_t sequences = axes().size(Axis::sequence);
  for (int64_t s = 0; s < sequences; ++s) {
    point.value.push_back(uniform(-1, 1));
    for (int64_t t = 0; t < axes().tokens[s]; ++t) {
      // Ratios from 0.4 to 2.5: on all sides of the usual clips.
      double from = uniform(-3, -1), by = uniform(-0.9, 0.9);
      if (shape.hasEdgeCases) {
        int choice = (*random)() % 8;
        if (choice == 0) {
          from = uniform(-9, -5); // ratios up to 50
          by = uniform(-4, 4);
        }
        if (choice == 1 || s == sequences / 2)
          by = 0;
      }
      recorded.numbers.push_back(from);
      point.logp.push_back(float(from + by));
      point.entropy.push_back(uniform(0.05, 3));
    }
  }
}

/// Draws what `op` gives, if it is not fixed by the sizes.
void GeneratedRound::give(Operation *op) {
  std::string key = keyOf(op);
  if (!isLeaf(op) || given.count(key))
    return;
  Type type = op->getResult(0).getType();
  Column column;
  if (auto text = dyn_cast<rl::TextOp>(op))
    replacedNames.insert(text.getFunction().str() + "()");
  if (auto call = dyn_cast<rl::CallOp>(op))
    replacedNames.insert(call.getCallee().str() + "()");
  if (auto value = dyn_cast<rl::ValueOp>(op))
    replacedNames.insert("value(" + value.getPolicy().str() + ")");
  if (auto get = dyn_cast<rl::GetParamOp>(op)) {
    auto param =
        loss->stage->getParentOfType<ModuleOp>().lookupSymbol<rl::ParamOp>(
            get.getParam());
    column.numbers = {param.getValue().convertToDouble()};
  } else if (isa<rl::StepOp, rl::StepsOp>(op)) {
    double steps = loss->stage.getLimit() == rl::Limit::steps
                       ? double(loss->stage.getCount())
                       : 10;
    column.numbers = {isa<rl::StepsOp>(op)
                          ? steps
                          : std::floor(shape.progress * (steps - 1))};
  } else if (isa<rl::LogprobOp>(op) ||
             StringRef(key).starts_with("field logp")) {
    column = drawLogp(rl::getSet(type));
  } else if (isa<rl::EntropyOp>(op)) {
    for (int64_t i = sets.at(rl::getSet(type).str()).size(Axis::token); i > 0;
         --i)
      column.numbers.push_back(uniform(0.05, 3));
  } else {
    column = draw(type);
  }
  given[key] = {type, column};
}

GeneratedRound::GeneratedRound(Loss &loss, Shape shape, std::mt19937_64 &random)
    : loss(&loss), shape(shape), random(&random) {
  auto add = [&](Type type) {
    if (auto outputs = dyn_cast<rl::OutputsType>(type))
      if (!sets.count(outputs.getSet().str()))
        sets[outputs.getSet().str()] = drawAxes(shape, random);
  };
  loss.stage.walk([&](Operation *op) {
    for (Type type : op->getResultTypes())
      add(type);
    for (Region &region : op->getRegions())
      if (!region.empty())
        for (Type type : region.front().getArgumentTypes())
          add(type);
  });
  given["field logp " + loss.set()].type =
      rl::NumType::get(loss.stage.getContext(), Axis::token, loss.set());
  drawPoint();
  loss.stage.walk([&](Operation *op) { give(op); });
}

std::optional<Column> GeneratedRound::source(const Point &at,
                                             Operation *op) const {
  if (loss->update->isProperAncestor(op)) {
    if (isa<rl::LogprobOp>(op))
      return Column{at.logp, {}};
    if (isa<rl::EntropyOp>(op))
      return Column{at.entropy, {}};
    if (isa<rl::ValueOp>(op))
      return Column{at.value, {}};
  }
  if (auto field = dyn_cast<rl::FieldOp>(op)) {
    const Axes &axes = sets.at(setOf(field.getOutputs()).str());
    StringRef name = field.getName();
    Column column;
    for (int64_t count : axes.tokens) {
      if (name == "length")
        column.numbers.push_back(count);
      for (int64_t t = 0; t < count; ++t)
        if (name == "position" || name == "last")
          column.numbers.push_back(name == "position" ? t : t + 1 == count);
    }
    if (!column.numbers.empty())
      return column;
  }
  auto found = given.find(keyOf(op));
  return found == given.end() ? std::nullopt
                              : std::optional(found->second.column);
}

Formulas GeneratedRound::formulasAt(const Point &at) const {
  Formulas formulas(sets, [this, at](Operation *op) { return source(at, op); });
  // Texts are not made up: what functions say of them is drawn.
  loss->stage.walk([&](rl::TextOp op) {
    auto found = given.find(keyOf(op));
    if (found != given.end())
      formulas.bind(op.getResult(), found->second.column);
  });
  return formulas;
}

//===----------------------------------------------------------------------===//
// Another order
//===----------------------------------------------------------------------===//

const std::vector<int64_t> &GeneratedRound::Order::of(Type type) const {
  static const std::vector<int64_t> one{0};
  Axis axis = *rl::getAxis(type);
  return axis == Axis::one ? one
                           : from.at(rl::getSet(type).str())[size_t(axis)];
}

static std::vector<double> pick(const std::vector<double> &values,
                                const std::vector<int64_t> &from) {
  std::vector<double> result;
  for (int64_t i : from)
    result.push_back(values[i]);
  return result;
}

GeneratedRound GeneratedRound::reordered(std::mt19937_64 &random,
                                         Order &order) const {
  GeneratedRound result = *this;
  for (auto &[set, axes] : sets) {
    std::vector<std::vector<int64_t>> members(axes.size(Axis::group));
    std::vector<int64_t> starts;
    int64_t tokens = 0;
    for (size_t s = 0; s < axes.tokens.size(); ++s) {
      members[axes.groups[s]].push_back(s);
      starts.push_back(tokens);
      tokens += axes.tokens[s];
    }
    auto &from = order.from[set];
    auto &groups = from[size_t(Axis::group)];
    for (size_t g = 0; g < members.size(); ++g)
      groups.push_back(g);
    std::shuffle(groups.begin(), groups.end(), random);
    Axes &made = result.sets[set] = Axes();
    for (auto [g, old] : llvm::enumerate(groups)) {
      std::shuffle(members[old].begin(), members[old].end(), random);
      for (int64_t s : members[old]) {
        made.tokens.push_back(axes.tokens[s]);
        made.groups.push_back(g);
        from[size_t(Axis::sequence)].push_back(s);
        for (int64_t t = 0; t < axes.tokens[s]; ++t)
          from[size_t(Axis::token)].push_back(starts[s] + t);
      }
    }
  }
  for (auto &[key, value] : result.given)
    value.column.numbers = pick(value.column.numbers, order.of(value.type));
  auto &from = order.from.at(loss->set());
  result.point.logp = pick(point.logp, from[size_t(Axis::token)]);
  result.point.entropy = pick(point.entropy, from[size_t(Axis::token)]);
  result.point.value = pick(point.value, from[size_t(Axis::sequence)]);
  return result;
}

bool reference::dependsOnOrder(Loss &loss) {
  bool depends = false;
  // first and last of the tokens of a sequence are not meant.
  loss.stage.walk([&](rl::ReduceOp op) {
    Axis from = *rl::getAxis(op.getValue().getType()),
         to = *rl::getAxis(op.getResult().getType());
    bool isEnd = op.getKind() == rl::ReduceKind::first ||
                 op.getKind() == rl::ReduceKind::last;
    depends |= isEnd && !(from == Axis::token && to == Axis::sequence);
  });
  return depends;
}
