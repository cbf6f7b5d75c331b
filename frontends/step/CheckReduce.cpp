//===- CheckReduce.cpp - reductions, counts, repeats and scans ------------===//
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

/// `batch` exists in a loss only.
bool Checker::checkDomain(StringRef axis, StringRef op, SMLoc loc) {
  if (axis != "batch" || update)
    return true;
  fail(loc, "'batch." + op +
                "' exists only in a loss: outside, write rollout." + op);
  return false;
}

/// With `split = sequence`, no group is whole in an update.
bool Checker::checkTorn(rl::Axis axis, StringRef what, SMLoc loc) {
  if (axis != rl::Axis::group || !update ||
      update->split != rl::Split::sequence)
    return true;
  fail(loc, "groups are torn by split = sequence: '" + what +
                "' has no meaning in this loss; compute it before the update, "
                "or write split = group");
  return false;
}

/// The set that `group.sequences` and the like speak of: the loss's, or the
/// only one that the names in sight belong to.
std::shared_ptr<Outputs> Checker::onlySet(Env &env, SMLoc loc, StringRef what) {
  if (update)
    return update->set;
  std::set<std::string> found;
  for (Env *scope = &env; scope && found.empty(); scope = scope->parent)
    for (const auto &[name, value] : scope->names) {
      if (value.kind == Meaning::outputs)
        found.insert(value.set->set);
      else if (value.isFormula() && value.node->axis != rl::Axis::one)
        found.insert(value.node->set);
      else if (value.isText() && value.ssa &&
               !rl::getSet(value.ssa.getType()).empty())
        found.insert(rl::getSet(value.ssa.getType()).str());
    }
  if (found.size() == 1)
    return sets[*found.begin()];
  fail(loc, "'" + what + "' of which set of outputs? " +
                (found.empty() ? "there is none here"
                               : "there are several here; use it in a fn "
                                 "that takes a value of one"));
  return nullptr;
}

Meaning Checker::checkCount(const Expr &axis, const Expr &what, Env &env) {
  std::string full = axis.name + "." + what.name;
  std::optional<rl::Axis> of = what.name == "tokens" ? rl::Axis::token
                               : what.name == "sequences"
                                   ? rl::Axis::sequence
                                   : std::optional<rl::Axis>();
  if (!of)
    return fail(what.loc, "'" + full + "' is a reduction: write " + full +
                              "(...); counts are " + axis.name +
                              ".tokens and " + axis.name + ".sequences");
  rl::Axis to = *axisNamed(axis.name);
  if (to >= *of)
    return fail(what.loc, "a " + axis.name + " has no " + what.name);
  if (!checkDomain(axis.name, what.name, axis.loc) ||
      !checkTorn(to, full, axis.loc))
    return Meaning();
  std::shared_ptr<Outputs> set = onlySet(env, axis.loc, full);
  if (!set)
    return Meaning();
  OpBuilder::InsertionGuard guard(builder);
  if (axis.name == "rollout" && update)
    builder.setInsertionPoint(update->op);
  rl::DomainAttr domain;
  if (to == rl::Axis::one)
    domain = rl::DomainAttr::get(&context, axis.name == "batch"
                                               ? rl::Domain::batch
                                               : rl::Domain::rollout);
  auto type = rl::NumType::get(&context, to,
                               to == rl::Axis::one ? StringRef() : set->set);
  auto op =
      rl::CountOp::create(builder, at(axis.loc), type,
                          rl::AxisAttr::get(&context, *of), set->value, domain);
  return leaf(op, axis.loc, axis.name == "batch");
}

/// `token(x)`, `sequence(x)`.
Meaning Checker::checkRepeat(StringRef axis, const Expr &call, Env &env) {
  if (axis == "batch" || axis == "rollout")
    return fail(call.loc, "'" + axis +
                              "' is one number, which combines with "
                              "every axis: nothing to repeat");
  if (call.args.size() != 1 || !call.args[0].name.empty() || call.args[0].where)
    return fail(call.loc, "'" + axis + "(x)' repeats one value");
  Meaning value = check(*call.args[0].value, env);
  if (value.isError())
    return Meaning();
  if (!value.isFormula())
    return fail(value.loc, "'" + axis +
                               "(...)' repeats numbers and flags, not " +
                               describe(value));
  rl::Axis to = *axisNamed(axis), from = value.node->axis;
  if (from == rl::Axis::one || from == to)
    return value; // combines already: a template need not know
  if (from > to)
    return fail(call.loc, "'" + axis +
                              "(...)' repeats on a finer axis, but this "
                              "is " +
                              axisText(from) + ": reduce it, with " + axis +
                              ".mean(...) for example");
  if (!checkTorn(from, (axis + "(...)").str(), call.loc))
    return Meaning();
  mlir::Value x = emit(builder, value.node);
  Type type = value.node->flag
                  ? Type(rl::FlagType::get(&context, to, value.node->set))
                  : Type(rl::NumType::get(&context, to, value.node->set));
  auto op = rl::RepeatOp::create(builder, at(call.loc), type, x);
  return leaf(op, call.loc, value.node->changes, value.node->gradient,
              value.node->provenance);
}

/// `sequence.suffix_sum(x)`, `sequence.prefix_sum(x)`.
Meaning Checker::checkScan(StringRef kind, const Expr &call, Env &env) {
  if (call.args.size() != 1 || !call.args[0].name.empty() || call.args[0].where)
    return fail(call.loc, "'sequence." + kind + "(x)' takes one value");
  Meaning value = check(*call.args[0].value, env);
  if (value.isError())
    return Meaning();
  if (!value.isFormula() || value.node->axis != rl::Axis::token)
    return fail(call.loc, "'sequence." + kind + "' runs over tokens; this is " +
                              describe(value));
  NodePtr node = asNumber(value.node);
  auto op = rl::ScanOp::create(
      builder, at(call.loc), *rl::symbolizeScanKind(kind), emit(builder, node));
  return leaf(op, call.loc, node->changes, node->gradient, node->provenance);
}

/// `AXIS.op(x [where m] [, q])`.
Meaning Checker::checkReduction(const Expr &axis, const Expr &op,
                                const Expr &call, Env &env) {
  std::string full = axis.name + "." + op.name;
  if (op.name == "suffix_sum" || op.name == "prefix_sum") {
    if (axis.name != "sequence")
      return fail(op.loc, "'" + op.name +
                              "' runs along a sequence: write "
                              "sequence." +
                              op.name);
    return checkScan(op.name, call, env);
  }
  std::optional<rl::ReduceKind> kind = rl::symbolizeReduceKind(op.name);
  if (!kind)
    return fail(op.loc,
                "'" + axis.name + "' has no '" + op.name + "'" +
                    didYouMean(op.name, {"mean", "sum", "min", "max", "std",
                                         "var", "quantile", "first", "last",
                                         "any", "all", "suffix_sum",
                                         "prefix_sum", "tokens", "sequences"}));
  bool quantile = *kind == rl::ReduceKind::quantile;
  if (call.args.size() != (quantile ? 2 : 1) || !call.args[0].name.empty() ||
      (quantile && !call.args[1].name.empty() && call.args[1].name != "q"))
    return fail(op.loc, quantile ? "'" + full + "' is written " + full +
                                       "(x, q) with q from 0 to 1"
                                 : "'" + full + "' takes one value");
  if (!checkDomain(axis.name, op.name, axis.loc))
    return Meaning();
  Meaning value = check(*call.args[0].value, env);
  if (value.isError())
    return Meaning();
  if (!value.isFormula())
    return fail(value.loc,
                "'" + full + "' takes numbers, not " + describe(value));
  rl::Axis to = *axisNamed(axis.name);
  NodePtr node = value.node;
  if (node->axis <= to)
    return fail(axis.loc, "'" + full +
                              "' reduces a finer axis; this value is " +
                              axisText(node->axis) + " already");
  if (!checkTorn(to, full, axis.loc) || !checkTorn(node->axis, full, axis.loc))
    return Meaning();
  bool logical = *kind == rl::ReduceKind::any || *kind == rl::ReduceKind::all;
  if (logical && !node->flag)
    return fail(axis.loc, "'" + full + "' takes flags, not " + describe(value) +
                              ": write x != 0");
  if (!logical)
    node = asNumber(node);

  NodePtr mask;
  if (call.args[0].where) {
    Meaning where = check(*call.args[0].where, env);
    if (where.isError())
      return Meaning();
    if (!where.isFlag() || where.node->axis == rl::Axis::one)
      return fail(where.loc, "'where' is a flag " + axisText(node->axis) +
                                 ", not " + describe(where));
    if (!combine({node, where.node}, where.loc))
      return Meaning();
    mask = where.node;
  }
  NodePtr q;
  if (quantile) {
    q = one(call.args[1], "q", env);
    if (!q)
      return Meaning();
    if (q->isConstant() && !(q->value >= 0 && q->value <= 1))
      return fail(call.args[1].loc, "a quantile is from 0 to 1");
  }

  bool rollout = axis.name == "rollout";
  bool changes = node->changes || (mask && mask->changes) || (q && q->changes);
  if (rollout && update && changes)
    return fail(axis.loc, "'" + full +
                              "' of a value that changes with every update: "
                              "write batch." +
                              op.name + ", or compute it before the update");
  mlir::Value x = emit(builder, node);
  mlir::Value m = mask ? emit(builder, mask) : mlir::Value();
  mlir::Value rank = q ? emit(builder, q) : mlir::Value();
  OpBuilder::InsertionGuard guard(builder);
  if (rollout && update) {
    for (mlir::Value operand : {x, m, rank})
      if (operand)
        hoist(operand);
    builder.setInsertionPoint(update->op);
  }
  rl::DomainAttr domain;
  if (to == rl::Axis::one)
    domain = rl::DomainAttr::get(&context, rollout ? rl::Domain::rollout
                                                   : rl::Domain::batch);
  Type type = rl::withAxis(x.getType(), to);
  auto reduce = rl::ReduceOp::create(builder, at(axis.loc), type, *kind, x,
                                     domain, rank, m);
  bool passes = !quantile && !logical;
  return leaf(reduce, axis.loc, changes || axis.name == "batch",
              passes && node->gradient,
              to == rl::Axis::one ? std::nullopt : node->provenance);
}
