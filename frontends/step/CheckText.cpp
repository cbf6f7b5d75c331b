//===- CheckText.cpp - functions of texts, and functions outside ----------===//
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

mlir::Value Checker::emitText(const Meaning &text) {
  if (text.ssa)
    return text.ssa;
  return rl::ConstantTextOp::create(builder, at(text.loc), *text.constant);
}

/// An rl.text; `result` is t, f or n. `masked`: costly enough to be run only
/// where it is needed.
Meaning Checker::textOp(StringRef function, ArrayRef<Meaning> operands,
                        char result, SMLoc loc, bool masked,
                        ArrayRef<NamedAttribute> attributes) {
  SmallVector<mlir::Value> inputs;
  rl::Axis axis = rl::Axis::one;
  StringRef set;
  for (const Meaning &operand : operands) {
    if (operand.isError())
      return Meaning();
    inputs.push_back(operand.isText() ? emitText(operand)
                                      : emit(builder, operand.node));
    Type type = inputs.back().getType();
    if (!combineSets(axis, set, *rl::getAxis(type), rl::getSet(type), loc))
      return Meaning();
    if (*rl::getAxis(type) != rl::Axis::one) {
      axis = *rl::getAxis(type);
      set = rl::getSet(type);
    }
  }
  Type type = result == 't'   ? Type(rl::TextType::get(&context, axis, set))
              : result == 'f' ? Type(rl::FlagType::get(&context, axis, set))
                              : Type(rl::NumType::get(&context, axis, set));
  mlir::Value mask = masked ? neededMask(axis, set) : mlir::Value();
  auto op = rl::TextOp::create(builder, at(loc), type,
                               builder.getStringAttr(function), inputs, mask);
  for (NamedAttribute attribute : attributes)
    op->setAttr(attribute.getName(), attribute.getValue());
  if (result != 't')
    return leaf(op, loc);
  Meaning value;
  value.kind = Meaning::text;
  value.loc = loc;
  value.ssa = op.getResult();
  return value;
}

/// Equality by value: texts as written by the text function, a number against
/// what can be read from the text.
Meaning Checker::callEqual(const Meaning &a, const Meaning &b, SMLoc loc) {
  if (a.isText() && b.isText())
    return textOp("equal", {a, b}, 'f', loc);
  auto number = [&](const Meaning &value) {
    return value.isText() ? textOp("number", value, 'n', loc) : value;
  };
  return operate(Node::eq, {number(a), number(b)}, loc);
}

Meaning Checker::callText(StringRef name, const Expr &expr, Env &env) {
  struct Function {
    StringRef name;
    std::vector<StringRef> params;
    size_t required, positional;
    char result;
  };
  static const Function functions[] = {
      {"between", {"text", "start", "end"}, 3, 3, 't'},
      {"after", {"text", "mark"}, 2, 2, 't'},
      {"before", {"text", "mark"}, 2, 2, 't'},
      {"boxed", {"text"}, 1, 1, 't'},
      {"equal", {"a", "b"}, 2, 2, 'f'},
      {"matches", {"text", "pattern"}, 2, 2, 'f'},
      {"number", {"text"}, 1, 1, 'n'},
      {"words", {"text", "language"}, 1, 2, 'n'},
      {"count", {"text", "part"}, 2, 2, 'n'},
      {"run", {"code", "language", "tests", "timeout", "memory"}, 3, 3, 'n'}};
  const Function &function = *llvm::find_if(
      functions, [&](const Function &f) { return f.name == name; });
  BoundArgs args = bind(expr, name, function.params,
                        ArrayRef(function.params).take_front(function.required),
                        function.positional);
  if (!args.ok)
    return Meaning();
  std::vector<Meaning> operands;
  SmallVector<NamedAttribute> attributes;
  for (StringRef param : function.params) {
    const Arg *arg = args.get(param);
    if (!arg)
      continue;
    if (name == "run" && param == "language") {
      std::optional<std::string> language = constantText(*arg, param, env);
      if (!language)
        return Meaning();
      attributes.push_back(
          builder.getNamedAttr("language", builder.getStringAttr(*language)));
      continue;
    }
    if (param == "timeout" || param == "memory") {
      std::optional<double> limit =
          constantWithin(args, param, 0, positive, env);
      if (!limit)
        return Meaning();
      attributes.push_back(
          builder.getNamedAttr(param, builder.getF64FloatAttr(*limit)));
      continue;
    }
    Meaning value = check(*arg->value, env);
    if (value.isError())
      return Meaning();
    // words(t, any) is words(t).
    if (param == "language" && value.kind == Meaning::word &&
        value.name == "any")
      continue;
    bool numberTo = name == "equal" && value.isFormula();
    if (!value.isText() && !numberTo)
      return fail(arg->value->start, "'" + name + "' takes a text for '" +
                                         param + "', not " + describe(value));
    if (param == "pattern" && !value.constant)
      return fail(arg->value->start, "a pattern is known when the file is "
                                     "compiled: write it in back-quotes");
    operands.push_back(value);
  }
  if (name == "equal")
    return callEqual(operands[0], operands[1], expr.loc);
  return textOp(name, operands, function.result, expr.loc,
                /*masked=*/name == "run", attributes);
}

Meaning Checker::callExtern(StringRef name, const Expr &expr, Env &env) {
  const Decl &decl = *externs[name.str()];
  std::vector<StringRef> names;
  for (const Param &param : decl.params)
    names.push_back(param.name);
  BoundArgs args = bind(expr, name, names, names, names.size());
  if (!args.ok)
    return Meaning();
  SmallVector<mlir::Value> inputs;
  rl::Axis axis = rl::Axis::one;
  StringRef set;
  bool changes = false;
  for (const Param &param : decl.params) {
    const Arg &arg = *args.get(param.name);
    Meaning value = check(*arg.value, env);
    if (value.isError())
      return Meaning();
    bool fits = param.kind == "text"   ? value.isText()
                : param.kind == "flag" ? value.isFlag()
                                       : value.isFormula();
    if (!fits)
      return fail(arg.value->start, "'" + name + "' takes a " + param.kind +
                                        " for '" + param.name + "', not " +
                                        describe(value));
    inputs.push_back(value.isText() ? emitText(value)
                     : param.kind == "flag"
                         ? emit(builder, value.node)
                         : emit(builder, asNumber(value.node)));
    changes |= value.isFormula() && value.node->changes;
    Type type = inputs.back().getType();
    if (!combineSets(axis, set, *rl::getAxis(type), rl::getSet(type), expr.loc))
      return Meaning();
    if (*rl::getAxis(type) != rl::Axis::one) {
      axis = *rl::getAxis(type);
      set = rl::getSet(type);
    }
  }
  if (update && changes)
    return fail(expr.start, "'" + name +
                                "' would be asked anew at every "
                                "update: call it before the update");
  Type type =
      decl.result == "text"   ? Type(rl::TextType::get(&context, axis, set))
      : decl.result == "flag" ? Type(rl::FlagType::get(&context, axis, set))
                              : Type(rl::NumType::get(&context, axis, set));
  auto op = rl::CallOp::create(builder, at(expr.start), type, name, inputs,
                               neededMask(axis, set));
  if (decl.result != "text")
    return leaf(op, expr.start);
  Meaning value;
  value.kind = Meaning::text;
  value.loc = expr.start;
  value.ssa = op.getResult();
  return value;
}
