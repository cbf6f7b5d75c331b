//===- CheckUpdate.cpp - updates and their losses -------------------------===//
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

/// Moves the op of `value`, and what it reads, before the update. Only for
/// values that do not change from update to update.
void Checker::hoist(mlir::Value value) {
  Operation *op = value.getDefiningOp();
  if (!op || !update->op->isProperAncestor(op))
    return;
  for (mlir::Value operand : op->getOperands())
    hoist(operand);
  op->moveBefore(update->op);
}

static void addSets(const Meaning &value, std::set<std::string> &found) {
  if (value.kind == Meaning::outputs)
    found.insert(value.set->set);
  else if (value.isFormula() && value.node->axis != rl::Axis::one)
    found.insert(value.node->set);
  else if (value.isText() && value.ssa &&
           !rl::getSet(value.ssa.getType()).empty())
    found.insert(rl::getSet(value.ssa.getType()).str());
}

/// Calls `found` with every name that the expression reads.
static void forEachName(const Expr &expr,
                        const std::function<void(StringRef)> &found) {
  if (expr.kind == Expr::identifier)
    found(expr.name);
  for (const ExprPtr &operand : expr.operands)
    forEachName(*operand, found);
  for (const Arg &arg : expr.args) {
    forEachName(*arg.value, found);
    if (arg.where)
      forEachName(*arg.where, found);
  }
}

/// The one set of outputs that a loss speaks of: its minibatches are dealt.
std::shared_ptr<Outputs> Checker::setOfLoss(const Loss &loss, SMLoc loc) {
  std::set<std::string> found;
  for (const auto &[name, value] : loss.bound)
    addSets(value, found);
  auto read = [&](StringRef name) { addSets(find(name, *loss.env), found); };
  for (const StmtPtr &stmt : loss.definition->body)
    forEachName(*stmt->value, read);
  forEachName(*loss.definition->result, read);
  if (found.size() == 1)
    return sets[*found.begin()];
  if (found.empty())
    fail(loc, "this loss reads no outputs");
  else
    fail(loc, "a loss reads one set of outputs; this one reads '" +
                  displayName(*found.begin()) + "' and '" +
                  displayName(*std::next(found.begin())) + "'");
  return nullptr;
}

/// The statements of the loss in the update's region; the number that is
/// minimized, or null.
NodePtr Checker::checkLoss(const Loss &loss, Env &body) {
  const Template &definition = *loss.definition;
  bool ok = true;
  for (const StmtPtr &stmt : definition.body) {
    if (stmt->kind == Stmt::metric) {
      unsigned before = source.errorCount();
      checkMetric(*stmt, body);
      ok &= source.errorCount() == before;
      continue;
    }
    if (stmt->where)
      fail(stmt->where->start,
           "'where' belongs to sample, read, write and reductions");
    Meaning value = check(*stmt->value, body);
    ok &= !value.isError();
    body.names[stmt->name] = nameIt(value, stmt->name, stmt->loc);
  }
  if (!ok)
    return nullptr;
  Meaning result = check(*definition.result, body);
  if (result.isError())
    return nullptr;
  if (!result.isFormula()) {
    fail(definition.result->start,
         "a loss is a number, not " + describe(result));
    return nullptr;
  }
  if (result.node->axis != rl::Axis::one) {
    fail(definition.result->start,
         "a loss reduces to one number; this one is " +
             axisText(result.node->axis) + ": write batch.mean(...) around it");
    return nullptr;
  }
  return asNumber(result.node);
}

void Checker::emitStep(const NodePtr &loss, StringRef name,
                       const Meaning &optimizer, SMLoc loc) {
  auto symbol = FlatSymbolRefAttr::get(&context, update->policy);
  mlir::Value number = emit(builder, loss);
  auto type = rl::GradientType::get(&context);
  mlir::Value gradient = rl::GradientOp::create(
      builder, NameLoc::get(builder.getStringAttr(name), at(loc)), type, number,
      symbol);
  mlir::Value sum = rl::AllReduceOp::create(builder, at(loc), gradient);
  mlir::Value rate = emit(builder, optimizer.rate);
  auto field = [&](const char *name) {
    auto found = optimizer.fields.find(name);
    return found == optimizer.fields.end() ? FloatAttr()
                                           : cast<FloatAttr>(found->second);
  };
  rl::AdamWOp::create(builder, at(optimizer.loc), symbol, sum, rate,
                      field("beta1"), field("beta2"), field("epsilon"),
                      field("weight_decay"), field("clip_norm"));
}

void Checker::checkUpdate(const Expr &call, Env &env) {
  BoundArgs args =
      bind(call, "update",
           {"policy", "loss", "optimizer", "minibatches", "epochs", "split"},
           {"policy", "loss", "optimizer"}, 3);
  if (!args.ok)
    return;
  Meaning policy = argument(args, "policy", env);
  Meaning loss = argument(args, "loss", env);
  if (policy.isError() || loss.isError())
    return;
  if (policy.kind != Meaning::policy) {
    fail(policy.loc, "'update' takes a policy first, not " + describe(policy));
    return;
  }
  if (loss.kind == Meaning::function && loss.definition->isLoss &&
      !loss.definition->hasParams) {
    // A loss of the file, without parameters.
    loss.closure = std::make_shared<Loss>();
    loss.closure->definition = loss.definition;
    loss.closure->env = loss.env;
    loss.kind = Meaning::loss;
  }
  if (loss.kind != Meaning::loss) {
    fail(loss.loc, "'update' takes a loss, not " + describe(loss));
    return;
  }
  int64_t minibatches = 1, epochs = 1;
  for (auto [name, number] :
       {std::pair("minibatches", &minibatches), std::pair("epochs", &epochs)})
    if (const Arg *arg = args.get(name)) {
      std::optional<int64_t> given = whole(*arg, name, env);
      if (!given)
        return;
      *number = *given;
    }
  UpdateInfo info;
  info.policy = policy.name;
  if (const Arg *arg = args.get("split")) {
    Meaning split = check(*arg->value, env);
    if (split.isError())
      return;
    if (split.kind != Meaning::word ||
        (split.name != "group" && split.name != "sequence")) {
      fail(arg->value->start, "'split' is group or sequence");
      return;
    }
    info.split = *rl::symbolizeSplit(split.name);
  }
  info.set = setOfLoss(*loss.closure, loss.loc);
  if (!info.set)
    return;
  const Outputs &set = *info.set;
  int64_t parts = set.maxGroups;
  if (info.split == rl::Split::sequence)
    parts *= set.maxGroupSize ? set.maxGroupSize : minibatches;
  if (parts < minibatches) {
    bool isByGroup = info.split == rl::Split::group;
    fail(args.get("minibatches")->loc,
         Twine(minibatches) + " minibatches of " + Twine(parts) + " " +
             rl::stringifySplit(info.split) + (parts == 1 ? "" : "s") +
             ": write at most " + Twine(parts) +
             (isByGroup && parts * set.maxGroupSize >= minibatches
                  ? ", more groups, or split = sequence"
                  : ", or more of them"));
    return;
  }
  if (auto open = openReads.find(set.set); open != openReads.end()) {
    open->second.setPolicy(policy.name);
    openReads.erase(open);
  }

  auto op = rl::UpdateOp::create(
      builder, at(call.start), FlatSymbolRefAttr::get(&context, policy.name),
      set.value, builder.getI64IntegerAttr(minibatches),
      builder.getI64IntegerAttr(epochs),
      rl::SplitAttr::get(&context, info.split));
  info.op = op;
  update = &info;
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToEnd(&op.getBody().emplaceBlock());
    Env body;
    body.parent = loss.closure->env;
    body.module = loss.closure->env->module;
    body.names = loss.closure->bound;
    bool isTemplate = loss.closure->definition->hasParams;
    if (isTemplate)
      uses.push_back({loss.closure->use, loss.closure->definition->name});
    NodePtr number = checkLoss(*loss.closure, body);
    if (isTemplate)
      uses.pop_back();
    Meaning optimizer = argument(args, "optimizer", env);
    if (!optimizer.isError() && optimizer.kind != Meaning::optimizer)
      optimizer =
          fail(optimizer.loc, "'update' takes an optimizer, adamw(...), "
                              "not " +
                                  describe(optimizer));
    if (number && !number->gradient)
      fail(call.start,
           "the loss does not depend on " + Twine(policy.name) +
               ": log-probabilities that were taken outside a loss are "
               "constants; write logp(" +
               policy.name + ", " + set.name + ") inside it");
    else if (number && !optimizer.isError())
      emitStep(number, loss.closure->definition->name, optimizer, call.start);
  }
  update = nullptr;
  policies[policy.name].version = nextVersion++;
}
