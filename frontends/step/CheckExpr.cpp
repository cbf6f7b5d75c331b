//===- CheckExpr.cpp - expressions of a step file -------------------------===//
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

Meaning Checker::find(StringRef name, Env &env) {
  for (Env *scope = &env; scope; scope = scope->parent) {
    auto found = scope->names.find(name.str());
    if (found != scope->names.end())
      return found->second;
  }
  return Meaning();
}

Meaning Checker::check(const Expr &expr, Env &env) {
  // Templates in templates in arguments: each is of bounded depth, not their
  // sum, and this walk recurses.
  constexpr unsigned deepest = 2500;
  if (depth >= deepest)
    return fail(expr.loc, "this is too deep, with the functions around it: "
                          "give inner parts names of their own");
  ++depth;
  Meaning value = checkKind(expr, env);
  --depth;
  return value;
}

Meaning Checker::checkKind(const Expr &expr, Env &env) {
  Meaning value;
  switch (expr.kind) {
  case Expr::number:
    return formula(makeConstant(expr.value, false, at(expr.loc)), expr.loc);
  case Expr::text:
    value.kind = Meaning::text;
    value.constant = expr.name;
    break;
  case Expr::identifier:
    return checkName(expr, env);
  case Expr::list:
    value.kind = Meaning::list;
    for (const Arg &arg : expr.args) {
      value.items.push_back(check(*arg.value, env));
      if (value.items.back().isError())
        return Meaning();
    }
    break;
  case Expr::unary:
    return checkUnary(expr, env);
  case Expr::binary:
    return checkBinary(expr, env);
  case Expr::choice:
    return checkChoice(expr, env);
  case Expr::attribute:
    return checkAttribute(expr, env);
  case Expr::call:
    return checkCall(expr, env);
  }
  value.loc = expr.start;
  return value;
}

Meaning Checker::checkName(const Expr &expr, Env &env) {
  for (Env *scope = &env; scope; scope = scope->parent) {
    auto found = scope->names.find(expr.name);
    if (found == scope->names.end())
      continue;
    Meaning value = found->second;
    if (value.kind == Meaning::deferred)
      value = checkDeferred(*value.let, *scope);
    value.loc = expr.loc;
    return value;
  }
  auto symbol = [&](Node::Op op) {
    auto node = std::make_shared<Node>();
    node->op = op;
    node->loc = at(expr.loc);
    node->changes = op == Node::step && update;
    return formula(node, expr.loc);
  };
  if (expr.name == "pi")
    return formula(makeConstant(M_PI, false, at(expr.loc)), expr.loc);
  if (expr.name == "true" || expr.name == "false")
    return formula(makeConstant(expr.name == "true", true, at(expr.loc)),
                   expr.loc);
  if (expr.name == "step" || expr.name == "steps") {
    if (!stage)
      return fail(expr.loc, "'" + expr.name + "' exists only in a stage");
    if (expr.name == "step")
      return symbol(Node::step);
    if (stage->steps)
      return formula(makeConstant(*stage->steps, false, at(expr.loc)),
                     expr.loc);
    return symbol(Node::steps);
  }
  Meaning value;
  value.loc = expr.loc;
  value.name = expr.name;
  if (expr.name == "none")
    value.kind = Meaning::none;
  else if (isAxisName(expr.name) ||
           llvm::is_contained(builtinValues(), expr.name))
    value.kind = Meaning::word;
  else if (!source.errorCount())
    return fail(expr.loc, "'" + expr.name + "' is not known here");
  return value;
}

//===----------------------------------------------------------------------===//
// Combining
//===----------------------------------------------------------------------===//

bool Checker::combineSets(rl::Axis axis, StringRef set, rl::Axis otherAxis,
                          StringRef otherSet, SMLoc loc) {
  if (axis == rl::Axis::one || otherAxis == rl::Axis::one)
    return true;
  if (set != otherSet) {
    std::string a = displayName(set), b = displayName(otherSet);
    // The candidates of a `where` have the name of what is kept.
    fail(loc,
         "values of '" + a + "' do not combine with values of '" + b + "'");
    return false;
  }
  if (axis != otherAxis) {
    StringRef coarse = rl::stringifyAxis(std::min(axis, otherAxis));
    StringRef fine = rl::stringifyAxis(std::max(axis, otherAxis));
    fail(loc, coarse + " does not combine with " + fine + ": write " + fine +
                  "(...) around the " + coarse + "'s value");
    return false;
  }
  return true;
}

/// Nothing broadcasts silently, sets do not mix, and neither do
/// log-probabilities at different temperatures.
bool Checker::combine(ArrayRef<NodePtr> nodes, SMLoc loc) {
  const Node *many = nullptr, *logp = nullptr;
  for (const NodePtr &node : nodes) {
    if (node->axis != rl::Axis::one) {
      if (many &&
          !combineSets(many->axis, many->set, node->axis, node->set, loc))
        return false;
      many = node.get();
    }
    if (node->provenance) {
      if (logp &&
          logp->provenance->temperature != node->provenance->temperature) {
        fail(loc, "log-probabilities at different temperatures do not combine: "
                  "temperature " +
                      logp->provenance->temperature + " (" +
                      logp->provenance->who + ") and " +
                      node->provenance->temperature + " (" +
                      node->provenance->who + ")");
        return false;
      }
      logp = node.get();
    }
  }
  return true;
}

Meaning Checker::operate(Node::Op op, ArrayRef<Meaning> operands, SMLoc loc) {
  std::vector<NodePtr> nodes;
  for (const Meaning &operand : operands) {
    if (operand.isError())
      return Meaning();
    if (!operand.isFormula())
      return fail(operand.loc,
                  "a number is needed here, not " + describe(operand));
    nodes.push_back(operand.node);
  }
  if (!combine(nodes, loc))
    return Meaning();
  bool onFlags =
      op == Node::logicalAnd || op == Node::logicalOr || op == Node::logicalNot;
  bool bothFlags =
      (op == Node::eq || op == Node::ne) && nodes[0]->flag && nodes[1]->flag;
  if (!onFlags && !bothFlags)
    for (NodePtr &node : nodes)
      node = asNumber(node);
  for (const NodePtr &node : nodes)
    if (node->height >= maxFormulaHeight)
      return fail(loc, "this formula is too deep: give parts of it names of "
                       "their own");
  return formula(makeNode(op, std::move(nodes), at(loc)), loc);
}

Meaning Checker::checkUnary(const Expr &expr, Env &env) {
  Meaning value = check(*expr.operands[0], env);
  if (value.isError() || expr.name == "-")
    return operate(Node::neg, value, expr.loc);
  if (!value.isFlag())
    return fail(expr.loc, "'not' takes a flag, not " + describe(value) +
                              (value.isFormula() ? ": write x == 0" : ""));
  return operate(Node::logicalNot, value, expr.loc);
}

Meaning Checker::checkBinary(const Expr &expr, Env &env) {
  Meaning a = check(*expr.operands[0], env), b = check(*expr.operands[1], env);
  if (a.isError() || b.isError())
    return Meaning();
  StringRef op = expr.name;
  if ((op == "==" || op == "!=") && a.isText() && b.isText()) {
    Meaning same = textOp("same", {a, b}, 'f', expr.loc);
    return op == "==" || same.isError()
               ? same
               : operate(Node::logicalNot, same, expr.loc);
  }
  if (a.isText() || b.isText())
    return fail(expr.loc,
                "'" + op + "' does not take a text" +
                    (op == "==" || op == "!=" || op == "<" || op == ">"
                         ? ": write number(...) to read a number from it"
                         : ""));
  if (op == "and" || op == "or") {
    for (const Meaning *side : {&a, &b})
      if (!side->isFlag())
        return fail(side->loc, "'" + op + "' takes flags, not " +
                                   describe(*side) +
                                   (side->isFormula() ? ": write x != 0" : ""));
    return operate(op == "and" ? Node::logicalAnd : Node::logicalOr, {a, b},
                   expr.loc);
  }
  static const std::map<StringRef, Node::Op> ops = {
      {"+", Node::add}, {"-", Node::sub}, {"*", Node::mul}, {"/", Node::div},
      {"%", Node::rem}, {"<", Node::lt},  {"<=", Node::le}, {">", Node::gt},
      {">=", Node::ge}, {"==", Node::eq}, {"!=", Node::ne}};
  return operate(ops.at(op), {a, b}, expr.loc);
}

/// `a if c else b`. What is computed for one side only is marked with where it
/// is needed; a side that is never selected is not looked at.
Meaning Checker::checkChoice(const Expr &expr, Env &env) {
  Meaning condition = check(*expr.operands[1], env);
  if (condition.isError())
    return Meaning();
  if (!condition.isFlag())
    return fail(expr.operands[1]->start,
                "the condition of a choice is a flag, not " +
                    describe(condition));
  if (condition.node->isConstant())
    return check(*expr.operands[condition.node->value != 0 ? 0 : 2], env);

  NodePtr outer = need;
  auto side = [&](unsigned index, NodePtr selected) {
    bool joins =
        outer &&
        (outer->axis == rl::Axis::one || selected->axis == rl::Axis::one ||
         (outer->axis == selected->axis && outer->set == selected->set));
    need = joins ? makeNode(Node::logicalAnd, {outer, selected}, at(expr.loc))
                 : selected;
    Meaning value = check(*expr.operands[index], env);
    need = outer;
    return value;
  };
  Meaning yes = side(0, condition.node);
  Meaning no =
      side(2, makeNode(Node::logicalNot, {condition.node}, at(expr.loc)));
  if (yes.isError() || no.isError())
    return Meaning();
  if (yes.isText() && no.isText())
    return textOp("select", {condition, yes, no}, 't', expr.loc);
  if (!yes.isFormula() || !no.isFormula())
    return fail(expr.loc, "a choice is between numbers, flags or texts, not "
                          "between " +
                              describe(yes) + " and " + describe(no));
  if (!combine({condition.node, yes.node, no.node}, expr.loc))
    return Meaning();
  NodePtr a = yes.node, b = no.node;
  if (a->flag != b->flag) {
    a = asNumber(a);
    b = asNumber(b);
  }
  return formula(makeNode(Node::select, {condition.node, a, b}, at(expr.loc)),
                 expr.loc);
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

Meaning Checker::checkAttribute(const Expr &expr, Env &env) {
  const Expr &base = *expr.operands[0];
  if (base.kind == Expr::identifier && isAxisName(base.name))
    return checkCount(base, expr, env);
  Meaning value = check(base, env);
  if (value.isError())
    return Meaning();
  if (value.kind == Meaning::import) {
    Meaning member = find(expr.name, value.module->env);
    member.loc = expr.start;
    return member;
  }
  if (value.kind == Meaning::outputs)
    return field(*value.set, expr.name, expr.loc);
  return fail(expr.loc, describe(value) + " has no attributes");
}

Meaning Checker::field(const Outputs &set, StringRef name, SMLoc loc) {
  struct Field {
    StringRef name;
    char kind;
    rl::Axis axis;
  };
  static const Field fields[] = {{"logp", 'n', rl::Axis::token},
                                 {"position", 'n', rl::Axis::token},
                                 {"last", 'f', rl::Axis::token},
                                 {"text", 't', rl::Axis::sequence},
                                 {"prompt", 't', rl::Axis::sequence},
                                 {"length", 'n', rl::Axis::sequence},
                                 {"truncated", 'f', rl::Axis::sequence}};
  const Field *found = llvm::find_if(
      fields, [&](const Field &field) { return field.name == name; });
  char kind;
  rl::Axis axis = rl::Axis::sequence;
  if (found != std::end(fields)) {
    kind = found->kind;
    axis = found->axis;
  } else if (auto column = set.columns.find(name.str());
             column != set.columns.end()) {
    kind = column->second[0];
  } else {
    std::vector<StringRef> known;
    for (const Field &field : fields)
      known.push_back(field.name);
    for (const auto &[other, what] : set.columns)
      known.push_back(other);
    return fail(loc, set.name + " has no field '" + name + "'" +
                         didYouMean(name, known));
  }
  Type type = kind == 'n'   ? Type(rl::NumType::get(&context, axis, set.set))
              : kind == 'f' ? Type(rl::FlagType::get(&context, axis, set.set))
                            : Type(rl::TextType::get(&context, axis, set.set));
  auto op = rl::FieldOp::create(builder, at(loc), type, set.value,
                                builder.getStringAttr(name));
  if (kind == 't') {
    Meaning value;
    value.kind = Meaning::text;
    value.loc = loc;
    value.ssa = op;
    return value;
  }
  std::optional<Provenance> provenance;
  if (name == "logp")
    provenance = Provenance{set.temperatureKey, set.name + ".logp"};
  return leaf(op, loc, false, false, provenance);
}

Meaning Checker::nameIt(Meaning value, StringRef name, SMLoc loc) {
  Location named = NameLoc::get(builder.getStringAttr(name), at(loc));
  if (value.isFormula() && !value.node->isConstant()) {
    NodePtr from = value.node;
    bool fresh = from->op != Node::leaf;
    mlir::Value ssa = emit(builder, from);
    auto node = std::make_shared<Node>(*makeLeaf(ssa, *from->loc));
    // What has come a long way is no size any more.
    node->symbolic = from->op == Node::leaf                ? from->symbolic
                     : from->height < maxFormulaHeight / 2 ? from
                                                           : nullptr;
    node->height = node->symbolic ? node->symbolic->height + 1 : 0;
    node->changes = from->changes;
    node->gradient = from->gradient;
    node->provenance = from->provenance;
    value.node = node;
    Operation *op = ssa.getDefiningOp();
    if (op && (fresh || !isa<NameLoc>(op->getLoc())))
      op->setLoc(named);
  } else if (value.isText() && value.ssa) {
    Operation *op = value.ssa.getDefiningOp();
    if (op && !isa<NameLoc>(op->getLoc()))
      op->setLoc(named);
  }
  return value;
}
