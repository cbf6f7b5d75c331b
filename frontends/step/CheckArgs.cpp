//===- CheckArgs.cpp - arguments of calls, constants, capacities ----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/Checker.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::step;
using llvm::SMLoc;
using llvm::Twine;

BoundArgs Checker::bind(const Expr &call, StringRef name,
                        ArrayRef<StringRef> params,
                        ArrayRef<StringRef> required, size_t positional) {
  BoundArgs bound;
  size_t index = 0;
  for (const Arg &arg : call.args) {
    if (arg.name.empty()) {
      if (index >= positional) {
        bound.ok = false;
        fail(arg.loc,
             "'" + name + "' takes " + Twine(positional) +
                 (positional == 1 ? " value" : " values") + " by position" +
                 (index < params.size()
                      ? ": write " + params[index] + " = ... for this one"
                      : ""));
        return bound;
      }
      bound.byName[params[index++].str()] = &arg;
      continue;
    }
    if (!llvm::is_contained(params, StringRef(arg.name))) {
      bound.ok = false;
      fail(arg.loc, "'" + name + "' has no parameter '" + arg.name + "'" +
                        didYouMean(arg.name, params));
      continue;
    }
    if (!bound.byName.emplace(arg.name, &arg).second) {
      bound.ok = false;
      fail(arg.loc, "'" + Twine(arg.name) + "' is given twice");
    }
  }
  for (StringRef need : required)
    if (!bound.get(need)) {
      bound.ok = false;
      fail(call.loc, "'" + name + "' needs '" + need + "'");
    }
  for (const auto &[param, arg] : bound.byName)
    if (arg->where && name != "write") {
      bound.ok = false;
      fail(arg->where->start,
           "'where' belongs to sample, read, write and reductions");
    }
  return bound;
}

Meaning Checker::argument(const BoundArgs &args, StringRef name, Env &env) {
  const Arg *arg = args.get(name);
  return arg ? check(*arg->value, env) : Meaning();
}

NodePtr Checker::one(const Arg &arg, StringRef what, Env &env) {
  Meaning value = check(*arg.value, env);
  if (value.isError())
    return nullptr;
  if (!value.isFormula() || value.node->axis != rl::Axis::one) {
    fail(arg.value->start,
         "'" + what + "' is one number, not " + describe(value));
    return nullptr;
  }
  return asNumber(value.node);
}

/// The value of a formula of constants and params, which are then frozen.
std::optional<double> Checker::constantOf(const NodePtr &node) {
  if (reads(*node, Node::step) || reads(*node, Node::steps))
    return std::nullopt;
  Assignment assignment;
  assignment.param = [&](const std::string &name) {
    return params[name].value;
  };
  std::optional<double> value = evaluate(*node, assignment);
  if (value)
    forEachParam(*node,
                 [&](const std::string &name) { params[name].frozen = true; });
  return value;
}

std::optional<double> Checker::constant(const Arg &arg, StringRef what,
                                        Env &env) {
  NodePtr node = one(arg, what, env);
  if (!node)
    return std::nullopt;
  std::optional<double> value = constantOf(node);
  if (!value)
    fail(arg.value->start,
         "'" + what +
             "' is known when the file is compiled: constants and "
             "params only");
  return value;
}

static bool isWhole(double value) {
  return value >= 1 && value < 9e15 && value == std::floor(value);
}

std::string r1c::step::printed(double value) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%g", value);
  return text;
}

std::optional<int64_t> Checker::whole(const Arg &arg, StringRef what,
                                      Env &env) {
  std::optional<double> value = constant(arg, what, env);
  if (!value)
    return std::nullopt;
  if (!isWhole(*value)) {
    fail(arg.value->start, "'" + what +
                               "' is a whole number of at least 1, "
                               "not " +
                               printed(*value));
    return std::nullopt;
  }
  return static_cast<int64_t>(*value);
}

const Checker::Limits Checker::finite = {
    [](double x) { return std::isfinite(x); }, "a number"};
const Checker::Limits Checker::positive = {
    [](double x) { return x > 0 && std::isfinite(x); }, "above 0"};
const Checker::Limits Checker::notNegative = {
    [](double x) { return x >= 0 && std::isfinite(x); }, "at least 0"};
const Checker::Limits Checker::belowOne = {
    [](double x) { return x >= 0 && x < 1; }, "at least 0 and below 1"};
const Checker::Limits Checker::ratio = {
    [](double x) { return x >= 0 && x <= 1; }, "from 0 to 1"};
const Checker::Limits Checker::share = {
    [](double x) { return x > 0 && x <= 1; }, "above 0 and at most 1"};

const Checker::Limits Checker::topK = {
    [](double x) { return x >= 0 && x < 9e15 && x == std::floor(x); },
    "a whole number, or 0 for all tokens"};

bool Checker::within(const NodePtr &node, const Arg &arg, StringRef what,
                     const Limits &limits) {
  if (reads(*node, Node::step) || reads(*node, Node::steps))
    return true;
  Assignment assignment;
  assignment.param = [&](const std::string &name) {
    return params[name].value;
  };
  std::optional<double> value = evaluate(*node, assignment);
  if (!value || limits.hold(*value))
    return true;
  fail(arg.value->start,
       "'" + what + "' is " + limits.words + ", not " + printed(*value));
  return false;
}

std::optional<double> Checker::constantWithin(const BoundArgs &args,
                                              StringRef what, double fallback,
                                              const Limits &limits, Env &env) {
  const Arg *arg = args.get(what);
  if (!arg)
    return fallback;
  NodePtr node = one(*arg, what, env);
  if (!node || !within(node, *arg, what, limits))
    return std::nullopt;
  return constant(*arg, what, env);
}

std::optional<std::string> Checker::constantText(const Arg &arg, StringRef what,
                                                 Env &env) {
  Meaning value = check(*arg.value, env);
  if (value.isError())
    return std::nullopt;
  if (!value.isText() || !value.constant) {
    fail(arg.value->start, "'" + what +
                               "' is a text that is known when the "
                               "file is compiled, not " +
                               describe(value));
    return std::nullopt;
  }
  return value.constant;
}

/// The largest value of a size over all steps of the stage.
std::optional<int64_t> Checker::capacity(const NodePtr &node, StringRef what,
                                         SMLoc loc) {
  Assignment assignment;
  assignment.param = [&](const std::string &name) {
    return params[name].value;
  };
  int64_t count = 1;
  bool scheduled = reads(*node, Node::step) || reads(*node, Node::steps);
  if (scheduled) {
    if (!stage || !stage->steps) {
      fail(loc, "'" + what +
                    "' depends on the step, whose last is not known "
                    "here: write stage ...(steps = N)");
      return std::nullopt;
    }
    assignment.steps = *stage->steps;
    if (reads(*node, Node::step))
      count = std::max<int64_t>(1, *stage->steps);
    constexpr int64_t most = 1000000;
    if (count > most) {
      fail(loc, "'" + what +
                    "' depends on the step, and is looked at for each when the "
                    "file is compiled: a stage with such a size has at most " +
                    Twine(most) + " steps");
      return std::nullopt;
    }
  }
  std::optional<double> largest;
  for (int64_t step = 0; step < count; ++step) {
    assignment.step = step;
    std::optional<double> value = evaluate(*node, assignment);
    if (!value) {
      fail(loc, "'" + what +
                    "' is a size: it depends on constants, params and "
                    "the step only");
      return std::nullopt;
    }
    if (!isWhole(*value)) {
      fail(loc, "'" + what + "' is a whole number of at least 1, not " +
                    printed(*value) +
                    (count > 1 ? " (at step " + std::to_string(step) + ")"
                               : std::string()));
      return std::nullopt;
    }
    largest = std::max(largest.value_or(0), *value);
  }
  forEachParam(*node,
               [&](const std::string &name) { params[name].frozen = true; });
  return static_cast<int64_t>(*largest);
}
