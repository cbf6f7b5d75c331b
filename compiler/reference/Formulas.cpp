//===- Formulas.cpp - what the formulas of rl mean ------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Formulas.h"
#include "runtime/reward/TextFunctions.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/TypeSwitch.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace mlir;
using namespace r1c;
using namespace r1c::reference;
using rl::Axis;
using rl::ReduceKind;

//===----------------------------------------------------------------------===//
// Axes
//===----------------------------------------------------------------------===//

int64_t Axes::size(Axis axis) const {
  switch (axis) {
  case Axis::one:
    return 1;
  case Axis::group:
    return groups.empty() ? 0 : groups.back() + 1;
  case Axis::sequence:
    return tokens.size();
  case Axis::token: {
    int64_t sum = 0;
    for (int64_t count : tokens)
      sum += count;
    return sum;
  }
  }
  llvm_unreachable("all axes are above");
}

std::vector<int64_t> Axes::owners(Axis fine, Axis coarse) const {
  std::vector<int64_t> result;
  if (coarse == Axis::one) {
    result.assign(size(fine), 0);
  } else if (fine == coarse) {
    for (int64_t i = 0; i < size(fine); ++i)
      result.push_back(i);
  } else if (fine == Axis::sequence) { // to group
    result = groups;
  } else { // token, to sequence or group
    for (size_t s = 0; s < tokens.size(); ++s)
      result.insert(result.end(), tokens[s],
                    coarse == Axis::sequence ? s : groups[s]);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

static double sumOf(const std::vector<double> &values) {
  double sum = 0;
  for (double value : values)
    sum += value;
  return sum;
}

static double meanOf(const std::vector<double> &values) {
  return values.empty() ? 0 : sumOf(values) / values.size();
}

static double varianceOf(const std::vector<double> &values) {
  if (values.size() < 2)
    return 0;
  double mean = meanOf(values), sum = 0;
  for (double value : values)
    sum += (value - mean) * (value - mean);
  return sum / (values.size() - 1);
}

static double quantileOf(std::vector<double> values, double q) {
  double none = std::numeric_limits<double>::quiet_NaN();
  if (values.empty() ||
      llvm::any_of(values, [](double x) { return std::isnan(x); }))
    return none;
  std::sort(values.begin(), values.end());
  size_t last = values.size() - 1;
  double rank = q * last, below = std::floor(rank);
  double low = values[below];
  double high = values[std::min<size_t>(below + 1, last)];
  // Not between two infinities: inf - inf would be NaN.
  return low == high ? low : low + (rank - below) * (high - low);
}

/// Which of `values` a minimum, maximum, first or last is; -1 of nothing. Of
/// equal ones the first.
static int64_t chosen(ReduceKind kind, const std::vector<double> &values) {
  if (values.empty())
    return -1;
  switch (kind) {
  case ReduceKind::min:
    return std::min_element(values.begin(), values.end()) - values.begin();
  case ReduceKind::max:
    return std::max_element(values.begin(), values.end()) - values.begin();
  case ReduceKind::last:
    return values.size() - 1;
  default:
    return 0;
  }
}

double reference::reduceValues(ReduceKind kind,
                               const std::vector<double> &values, double q) {
  double infinity = std::numeric_limits<double>::infinity();
  auto isSet = [](double flag) { return flag != 0; };
  switch (kind) {
  case ReduceKind::sum:
    return sumOf(values);
  case ReduceKind::mean:
    return meanOf(values);
  case ReduceKind::var:
    return varianceOf(values);
  case ReduceKind::std:
    return std::sqrt(varianceOf(values));
  case ReduceKind::min:
  case ReduceKind::max: {
    double none = kind == ReduceKind::min ? infinity : -infinity;
    for (double value : values)
      if (std::isnan(value))
        return value;
    return values.empty() ? none : values[chosen(kind, values)];
  }
  case ReduceKind::first:
  case ReduceKind::last:
    return values.empty() ? 0 : values[chosen(kind, values)];
  case ReduceKind::quantile:
    return quantileOf(values, q);
  case ReduceKind::any:
    return llvm::any_of(values, isSet);
  case ReduceKind::all:
    return llvm::all_of(values, isSet);
  }
  llvm_unreachable("all kinds are above");
}

std::vector<std::vector<int64_t>> Formulas::members(Type from, Axis to,
                                                    const Column *where) const {
  const Axes &axes = axesOf(rl::getSet(from));
  std::vector<std::vector<int64_t>> result(axes.size(to));
  for (auto [i, owner] : llvm::enumerate(axes.owners(*rl::getAxis(from), to)))
    if (!where || where->numbers[i] != 0)
      result[owner].push_back(i);
  return result;
}

/// The elements of `values` at `positions`.
static std::vector<double> pick(const std::vector<double> &values,
                                const std::vector<int64_t> &positions) {
  std::vector<double> result;
  for (int64_t position : positions)
    result.push_back(values[position]);
  return result;
}

std::optional<Column> Formulas::evaluate(rl::ReduceOp op) {
  const Column *x = evaluate(op.getValue());
  const Column *where = op.getWhere() ? evaluate(op.getWhere()) : nullptr;
  const Column *q = op.getQ() ? evaluate(op.getQ()) : nullptr;
  if (!x || (op.getWhere() && !where) || (op.getQ() && !q))
    return std::nullopt;
  Column result;
  for (const auto &positions :
       members(op.getValue().getType(), *rl::getAxis(op.getResult().getType()),
               where))
    result.numbers.push_back(reduceValues(
        op.getKind(), pick(x->numbers, positions), q ? q->numbers[0] : 0));
  return result;
}

std::optional<Column> Formulas::evaluate(rl::ReduceGradOp op) {
  const Column *x = evaluate(op.getValue());
  const Column *seed = evaluate(op.getSeed());
  const Column *where = op.getWhere() ? evaluate(op.getWhere()) : nullptr;
  if (!x || !seed || (op.getWhere() && !where))
    return std::nullopt;
  Column result;
  result.numbers.assign(x->numbers.size(), 0);
  auto rows = members(op.getValue().getType(),
                      *rl::getAxis(op.getSeed().getType()), where);
  for (auto [row, positions] : llvm::enumerate(rows)) {
    int64_t at = chosen(op.getKind(), pick(x->numbers, positions));
    if (at >= 0)
      result.numbers[positions[at]] = seed->numbers[row];
  }
  return result;
}

//===----------------------------------------------------------------------===//
// The other formulas
//===----------------------------------------------------------------------===//

std::optional<Column> Formulas::evaluate(rl::MapOp op) {
  std::vector<const Column *> inputs;
  bool complete = true;
  for (Value input : op.getInputs()) {
    inputs.push_back(evaluate(input));
    complete &= inputs.back() != nullptr;
  }
  if (!complete)
    return std::nullopt;
  Column result;
  int64_t size = sizeOf(op.getResult().getType());
  for (int64_t i = 0; i < size; ++i) {
    std::vector<double> elements;
    for (auto [input, column] : llvm::zip(op.getInputs(), inputs)) {
      bool isOne = *rl::getAxis(input.getType()) == Axis::one;
      elements.push_back(column->numbers[isOne ? 0 : i]);
    }
    std::optional<double> value =
        evaluateScalars(op.getBody().front(), elements);
    if (!value)
      return std::nullopt;
    result.numbers.push_back(*value);
  }
  return result;
}

std::optional<Column> Formulas::evaluate(rl::RepeatOp op) {
  const Column *x = evaluate(op.getValue());
  if (!x)
    return std::nullopt;
  Type to = op.getResult().getType();
  Column result;
  for (int64_t owner :
       axesOf(rl::getSet(to))
           .owners(*rl::getAxis(to), *rl::getAxis(op.getValue().getType()))) {
    if (isa<rl::TextType>(to))
      result.texts.push_back(x->texts[owner]);
    else
      result.numbers.push_back(x->numbers[owner]);
  }
  return result;
}

std::optional<Column> Formulas::evaluate(rl::ScanOp op) {
  const Column *x = evaluate(op.getValue());
  if (!x)
    return std::nullopt;
  Column result = *x;
  for (auto &positions :
       members(op.getValue().getType(), Axis::sequence, nullptr)) {
    if (op.getKind() == rl::ScanKind::suffix_sum)
      std::reverse(positions.begin(), positions.end());
    double sum = 0;
    for (int64_t position : positions)
      result.numbers[position] = sum += x->numbers[position];
  }
  return result;
}

std::optional<Column> Formulas::evaluate(rl::CountOp op) {
  const Axes &axes =
      axesOf(cast<rl::OutputsType>(op.getOutputs().getType()).getSet());
  Axis to = *rl::getAxis(op.getResult().getType());
  Column result;
  result.numbers.assign(axes.size(to), 0);
  for (int64_t owner : axes.owners(op.getOf(), to))
    result.numbers[owner] += 1;
  return result;
}

std::optional<Column> Formulas::evaluate(rl::TextOp op) {
  std::vector<const Column *> inputs;
  bool complete = true;
  for (Value input : op.getInputs()) {
    inputs.push_back(evaluate(input));
    complete &= inputs.back() != nullptr;
  }
  const Column *where = op.getWhere() ? evaluate(op.getWhere()) : nullptr;
  const runtime::TextFunction *function =
      runtime::findTextFunction(std::string_view(op.getFunction()));
  if (!function) { // run: a program's result is not ours to guess
    notKnown.push_back(op);
    return std::nullopt;
  }
  if (!complete || (op.getWhere() && !where))
    return std::nullopt;
  Column result;
  int64_t size = sizeOf(op.getResult().getType());
  for (int64_t i = 0; i < size; ++i) {
    std::vector<runtime::TextArgument> arguments;
    for (auto [input, column] : llvm::zip(op.getInputs(), inputs)) {
      int64_t at = *rl::getAxis(input.getType()) == Axis::one ? 0 : i;
      runtime::TextArgument argument;
      argument.isText = isa<rl::TextType>(input.getType());
      if (argument.isText)
        argument.text = column->texts[at];
      else
        argument.number = column->numbers[at];
      arguments.push_back(argument);
    }
    runtime::TextResult value;
    // What `where` leaves out is never read.
    if (!where || where->numbers[i] != 0)
      function->evaluate(arguments, value);
    if (function->givesText)
      result.texts.push_back(value.text);
    else
      result.numbers.push_back(value.number);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Evaluation
//===----------------------------------------------------------------------===//

const Axes &Formulas::axesOf(StringRef set) const {
  static const Axes none;
  auto found = sets.find(set.str());
  return found == sets.end() ? none : found->second;
}

int64_t Formulas::sizeOf(Type type) const {
  return axesOf(rl::getSet(type)).size(*rl::getAxis(type));
}

void Formulas::bind(Value value, Column column) {
  bound.insert(value);
  columns[value.getAsOpaquePointer()] = std::move(column);
}

std::optional<Column> Formulas::evaluateOp(Operation *op) {
  return TypeSwitch<Operation *, std::optional<Column>>(op)
      .Case<rl::MapOp, rl::RepeatOp, rl::ReduceOp, rl::ReduceGradOp, rl::ScanOp,
            rl::CountOp, rl::TextOp>(
          [&](auto formula) { return evaluate(formula); })
      .Case([&](rl::ConstantOp constant) -> std::optional<Column> {
        return Column{{constant.getValue().convertToDouble()}, {}};
      })
      .Case([&](rl::ConstantTextOp constant) -> std::optional<Column> {
        return Column{{}, {constant.getValue().str()}};
      })
      .Case([&](rl::StopOp stop) -> std::optional<Column> {
        if (const Column *x = evaluate(stop.getValue()))
          return *x;
        return std::nullopt;
      })
      .Default([&](Operation *other) {
        std::optional<Column> given = source(other);
        if (!given)
          notKnown.push_back(other);
        return given;
      });
}

const Column *Formulas::evaluate(Value value) {
  auto found = columns.find(value.getAsOpaquePointer());
  if (found != columns.end())
    return &found->second;
  if (failed.contains(value))
    return nullptr;
  std::optional<Column> column = evaluateOp(value.getDefiningOp());
  if (!column) {
    failed.insert(value);
    return nullptr;
  }
  return &(columns[value.getAsOpaquePointer()] = std::move(*column));
}
