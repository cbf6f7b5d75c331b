//===- CheckCalls.cpp - calls of functions --------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/Checker.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::step;
using llvm::SMLoc;
using llvm::Twine;

Meaning Checker::checkCall(const Expr &expr, Env &env) {
  const Expr &callee = *expr.operands[0];
  if (callee.kind == Expr::attribute &&
      callee.operands[0]->kind == Expr::identifier &&
      isAxisName(callee.operands[0]->name))
    return checkReduction(*callee.operands[0], callee, expr, env);
  if (callee.kind == Expr::identifier) {
    if (isAxisName(callee.name))
      return checkRepeat(callee.name, expr, env);
    Meaning value = find(callee.name, env);
    bool callable =
        value.kind == Meaning::function || value.kind == Meaning::external;
    if (!callable && llvm::is_contained(builtinFunctions(), callee.name))
      return callBuiltin(callee.name, expr, env);
    if (!callable && value.isError() && source.errorCount())
      return Meaning(); // its declaration has failed, or it is unknown
  }
  Meaning value = check(callee, env);
  if (value.isError())
    return Meaning();
  if (value.kind == Meaning::external)
    return callExtern(value.name, expr, env);
  if (value.kind == Meaning::loss)
    return fail(expr.loc, "'" + Twine(callee.name) +
                              "' has no parameters: write it without ( )");
  if (value.kind != Meaning::function)
    return fail(expr.loc, describe(value) + " cannot be called");
  return callTemplate(*value.definition, *value.env, expr, env);
}

/// A fn is evaluated here and now; a loss keeps its arguments until an update.
Meaning Checker::callTemplate(const Template &definition, Env &home,
                              const Expr &expr, Env &env) {
  constexpr size_t deepest = 64;
  if (uses.size() >= deepest)
    return fail(expr.start, "'" + Twine(definition.name) + "' calls itself");
  // A fn that uses another twice, which uses a third twice, and so on.
  constexpr size_t mostExpansions = 20000;
  if (++expansions > mostExpansions)
    return expansions == mostExpansions + 1
               ? fail(expr.start, "functions are used more than " +
                                      Twine(mostExpansions) +
                                      " times, those inside others counted: "
                                      "give what is used often a name")
               : Meaning();
  if (!definition.hasParams)
    return fail(expr.start, "'" + Twine(definition.name) +
                                "' has no parameters: write it without ( )");
  std::vector<StringRef> names, required;
  for (const Param &param : definition.params) {
    names.push_back(param.name);
    if (!param.defaultValue)
      required.push_back(param.name);
  }
  BoundArgs args = bind(expr, definition.name, names, required, names.size());
  if (!args.ok)
    return Meaning();

  Env local;
  local.parent = &home;
  local.module = home.module;
  NodePtr outerNeed = need;
  if (definition.isLoss)
    need = nullptr;
  for (const Param &param : definition.params) {
    Meaning value;
    if (const Arg *arg = args.get(param.name)) {
      value = check(*arg->value, env);
    } else {
      uses.push_back({expr.start, definition.name});
      value = check(*param.defaultValue, local);
      uses.pop_back();
    }
    if (value.isError())
      return Meaning();
    // What a loss is given is computed at this line, not at each update;
    // otherwise an argument that is read twice is still computed once.
    if (value.isFormula() &&
        (definition.isLoss || value.node->axis != rl::Axis::one) &&
        value.node->op != Node::param)
      value = nameIt(value, param.name, param.loc);
    local.names[param.name] = value;
  }
  need = outerNeed;
  if (definition.isLoss) {
    Meaning loss;
    loss.kind = Meaning::loss;
    loss.loc = expr.start;
    loss.closure = std::make_shared<Loss>();
    loss.closure->definition = &definition;
    loss.closure->env = &home;
    loss.closure->bound = std::move(local.names);
    loss.closure->use = expr.start;
    return loss;
  }
  uses.push_back({expr.start, definition.name});
  bool ok = true;
  for (const StmtPtr &stmt : definition.body) {
    Meaning value = check(*stmt->value, local);
    if (stmt->where)
      value = fail(stmt->where->start,
                   "'where' belongs to sample, read, write and reductions");
    ok &= !value.isError();
    local.names[stmt->name] = nameIt(value, stmt->name, stmt->loc);
  }
  Meaning result = ok ? check(*definition.result, local) : Meaning();
  uses.pop_back();
  result.loc = expr.start;
  return result;
}

Meaning Checker::callBuiltin(StringRef name, const Expr &expr, Env &env) {
  static const StringRef statements[] = {"update", "save", "write"};
  if (llvm::is_contained(statements, name))
    return fail(expr.loc, "'" + name + "' is a statement: it gives no value");
  if (name == "sample" || name == "read")
    return fail(expr.loc,
                "a set of outputs gets a name: write o = " + name + "(...)");
  if (name == "logp" || name == "entropy")
    return callLogprob(name, expr, env);
  if (name == "value")
    return callValue(expr, env);
  if (name == "adamw")
    return callAdamW(expr, env);
  static const StringRef descriptions[] = {
      "jsonl", "mix",  "chat",    "file",    "load",
      "llama", "lora", "program", "library", "characters"};
  if (llvm::is_contained(descriptions, name))
    return callDescription(name, expr, env);
  static const StringRef texts[] = {"between", "after",   "before", "boxed",
                                    "equal",   "matches", "number", "words",
                                    "count",   "run"};
  if (llvm::is_contained(texts, name))
    return callText(name, expr, env);
  return callMath(name, expr, env);
}

Meaning Checker::callMath(StringRef name, const Expr &expr, Env &env) {
  static const std::map<StringRef, Node::Op> unary = {
      {"abs", Node::abs},    {"exp", Node::exp},     {"log", Node::log},
      {"sqrt", Node::sqrt},  {"sin", Node::sin},     {"cos", Node::cos},
      {"tanh", Node::tanh},  {"floor", Node::floor}, {"ceil", Node::ceil},
      {"round", Node::round}};
  size_t least = name == "clip" ? 3 : name == "min" || name == "max" ? 2 : 1;
  size_t most = name == "min" || name == "max" ? 16 : least;
  std::vector<Meaning> values;
  for (const Arg &arg : expr.args) {
    if (!arg.name.empty() || arg.where)
      return fail(arg.loc, "'" + name + "' takes its values by position");
    values.push_back(check(*arg.value, env));
    if (values.back().isError())
      return Meaning();
  }
  if (values.size() < least || values.size() > most)
    return fail(expr.loc,
                "'" + name + "' takes " +
                    (name == "clip" ? "a value, its least and its largest"
                     : least == 2   ? "two values or more"
                                    : "one value"));
  if (auto op = unary.find(name); op != unary.end())
    return operate(op->second, values, expr.loc);
  if (name == "min" || name == "max") {
    Meaning result = values[0];
    for (const Meaning &value : llvm::drop_begin(values))
      result = operate(name == "min" ? Node::min : Node::max, {result, value},
                       expr.loc);
    return result;
  }
  if (name == "clip")
    return operate(
        Node::min,
        {operate(Node::max, {values[0], values[1]}, expr.loc), values[2]},
        expr.loc);
  if (name == "stop") {
    if (!values[0].isFormula())
      return fail(expr.loc,
                  "'stop' takes a number, not " + describe(values[0]));
    if (!values[0].node->gradient)
      return values[0]; // nothing to stop
    NodePtr node = values[0].node;
    auto op = rl::StopOp::create(builder, at(expr.loc), emit(builder, node));
    return leaf(op, expr.loc, node->changes, false, node->provenance);
  }
  if (name == "sigmoid") { // 1 / (1 + exp(-x))
    Meaning one = formula(makeConstant(1, false, at(expr.loc)), expr.loc);
    Meaning e =
        operate(Node::exp, operate(Node::neg, values, expr.loc), expr.loc);
    return operate(Node::div, {one, operate(Node::add, {one, e}, expr.loc)},
                   expr.loc);
  }
  return fail(expr.loc, "unknown function '" + name + "'");
}
