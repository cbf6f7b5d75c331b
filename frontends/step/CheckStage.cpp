//===- CheckStage.cpp - stages and their statements -----------------------===//
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

/// Policies that a stage changes: which version of them a round starts with is
/// not known.
void Checker::findModified(const std::vector<StmtPtr> &body) {
  for (const StmtPtr &stmt : body) {
    if (stmt->kind == Stmt::assign)
      modified.insert(stmt->name);
    if (stmt->kind == Stmt::call &&
        stmt->value->operands[0]->name == "update" &&
        !stmt->value->args.empty())
      modified.insert(stmt->value->args[0].value->name);
    findModified(stmt->body);
  }
}

/// Updates of one round, where constants say it.
std::optional<double> Checker::updatesPerRound(const Decl &decl, Env &env) {
  double updates = 0;
  std::function<bool(const std::vector<StmtPtr> &, bool)> count =
      [&](const std::vector<StmtPtr> &body, bool always) {
        for (const StmtPtr &stmt : body) {
          if (!count(stmt->body, false))
            return false;
          if (stmt->kind != Stmt::call ||
              stmt->value->operands[0]->name != "update")
            continue;
          double times = 1;
          for (const Arg &arg : stmt->value->args)
            if (arg.name == "minibatches" || arg.name == "epochs") {
              // Names of the stage are not known yet; a number or a param is.
              if (arg.value->kind != Expr::number &&
                  arg.value->kind != Expr::identifier)
                return false;
              Meaning value = arg.value->kind == Expr::number
                                  ? check(*arg.value, env)
                                  : find(arg.value->name, env);
              std::optional<double> known =
                  value.isFormula() ? constantOf(value.node) : std::nullopt;
              if (!known)
                return false;
              times *= *known;
            }
          if (!always)
            return false;
          updates += times;
        }
        return true;
      };
  if (!count(decl.body, true))
    return std::nullopt;
  return updates;
}

void Checker::checkStage(const Decl &decl, Env &env) {
  static const StringRef limits[] = {"steps", "rounds", "epochs"};
  StageInfo info;
  info.name = decl.name;
  if (decl.args.size() != 1 || decl.args[0].name.empty() ||
      decl.args[0].where) {
    fail(decl.loc, "a stage says how long it is: write stage " + decl.name +
                       "(steps = N), (rounds = N) or (epochs = N)");
    return;
  }
  const Arg &limit = decl.args[0];
  if (!llvm::is_contained(limits, StringRef(limit.name))) {
    fail(limit.loc, "a stage has no parameter '" + Twine(limit.name) + "'" +
                        didYouMean(limit.name, limits));
    return;
  }
  std::optional<int64_t> count = whole(limit, limit.name, env);
  if (!count)
    return;
  info.limit = *rl::symbolizeLimit(limit.name);
  info.count = *count;
  info.updates = updatesPerRound(decl, env);
  if (info.limit == rl::Limit::steps)
    info.steps = *count;
  else if (info.limit == rl::Limit::rounds && info.updates)
    info.steps = *info.updates * *count;

  // Nothing is known of how policies that change compare at the start of a
  // round; those that never change are what they were copied from.
  for (auto &[name, policy] : policies) {
    policy.version = nextVersion++;
    if (modified.count(name))
      continue;
    auto source = policies.find(policy.copyOf);
    if (source != policies.end() && !modified.count(source->first))
      policy.version = source->second.version;
  }
  auto op = rl::StageOp::create(builder, at(decl.loc),
                                builder.getStringAttr(decl.name),
                                rl::LimitAttr::get(&context, info.limit),
                                builder.getI64IntegerAttr(info.count));
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(&op.getBody().emplaceBlock());
  stage = &info;
  Env local;
  local.parent = &env;
  local.module = env.module;
  checkBlock(decl.body, local);
  if (!source.errorCount() && info.limit == rl::Limit::steps &&
      info.updates == 0.0)
    fail(limit.loc, "this stage never ends: a step is an update, and it has "
                    "none; write rounds = N or epochs = N");
  stage = nullptr;
  openReads.clear();
}

void Checker::checkBlock(const std::vector<StmtPtr> &body, Env &env) {
  std::vector<bool> deferred = readInOneSide(body);
  for (size_t i = 0; i < body.size(); ++i) {
    if (!deferred[i]) {
      checkStmt(*body[i], env);
      continue;
    }
    Meaning later;
    later.kind = Meaning::deferred;
    later.let = body[i].get();
    env.names[body[i]->name] = later;
  }
}

Meaning Checker::checkDeferred(const Stmt &let, Env &env) {
  // An error stays one, and nothing reads itself.
  env.names[let.name] = Meaning();
  Meaning value = nameIt(check(*let.value, env), let.name, let.loc);
  env.names[let.name] = value;
  return value;
}

void Checker::checkStmt(const Stmt &stmt, Env &env) {
  switch (stmt.kind) {
  case Stmt::let:
    return checkLet(stmt, env);
  case Stmt::assign:
    return checkAssign(stmt, env);
  case Stmt::every:
    return checkEvery(stmt, env);
  case Stmt::metric:
    return checkMetric(stmt, env);
  case Stmt::loss: {
    Meaning value;
    value.loc = stmt.loc;
    value.definition = stmt.definition.get();
    value.env = &env;
    if (stmt.definition->hasParams) {
      value.kind = Meaning::function;
    } else {
      value.kind = Meaning::loss;
      value.closure = std::make_shared<Loss>();
      value.closure->definition = stmt.definition.get();
      value.closure->env = &env;
    }
    env.names[stmt.name] = value;
    return;
  }
  case Stmt::call:
    break;
  }
  const Expr &callee = *stmt.value->operands[0];
  if (callee.kind == Expr::identifier && callee.name == "update")
    return checkUpdate(*stmt.value, env);
  if (callee.kind == Expr::identifier && callee.name == "save")
    return checkSave(*stmt.value, env);
  if (callee.kind == Expr::identifier && callee.name == "write")
    return checkWrite(*stmt.value, env);
  fail(stmt.loc, "this value is not used: give it a name");
}

void Checker::checkLet(const Stmt &stmt, Env &env) {
  if (stmt.where && !isSet(stmt)) {
    fail(stmt.where->start, "'where' belongs to sample, read, write and "
                            "reductions: write '... if ... "
                            "else ...' to choose");
    env.names[stmt.name] = Meaning();
    return;
  }
  env.names[stmt.name] =
      isSet(stmt) ? checkSet(stmt, env)
                  : nameIt(check(*stmt.value, env), stmt.name, stmt.loc);
}

void Checker::checkAssign(const Stmt &stmt, Env &env) {
  Meaning to = find(stmt.name, env), from = check(*stmt.value, env);
  if (from.isError() || (to.isError() && source.errorCount()))
    return;
  if (to.kind != Meaning::policy) {
    fail(stmt.loc, "':=' copies weights into a policy, not into " +
                       describe(to) + ": values are given once, with '='");
    return;
  }
  if (from.kind != Meaning::policy) {
    fail(from.loc,
         "':=' copies the weights of a policy, not " + describe(from));
    return;
  }
  if (policies[to.name].scalarHead != policies[from.name].scalarHead) {
    fail(stmt.loc, "'" + Twine(to.name) + "' and '" + from.name +
                       "' have different heads");
    return;
  }
  rl::AssignOp::create(builder, at(stmt.loc), to.name, from.name);
  policies[to.name].version = policies[from.name].version;
}

void Checker::checkEvery(const Stmt &stmt, Env &env) {
  Arg arg;
  Meaning value = check(*stmt.value, env);
  if (value.isError())
    return;
  std::optional<double> steps =
      value.isFormula() && value.node->axis == rl::Axis::one
          ? constantOf(value.node)
          : std::nullopt;
  if (!steps || *steps < 1 || *steps != std::floor(*steps)) {
    fail(stmt.value->start,
         "'every' takes a whole number of at least 1, known when the file is "
         "compiled");
    return;
  }
  // Multiples need not divide the updates of a round: say where they fall.
  if (options.remarks && stage->updates && *stage->updates >= 1 &&
      std::fmod(*steps, *stage->updates) != 0) {
    std::string places = "0";
    for (int64_t multiple = 1; multiple <= 3; ++multiple)
      places += ", " + std::to_string(static_cast<int64_t>(
                           std::ceil(multiple * *steps / *stage->updates) *
                           *stage->updates));
    source.remark(stmt.loc, "a round makes " +
                                Twine(static_cast<int64_t>(*stage->updates)) +
                                " updates, so this runs at steps " + places +
                                ", ...");
  }
  auto op = rl::EveryOp::create(builder, at(stmt.loc),
                                builder.getI64IntegerAttr(*steps));
  std::map<std::string, unsigned> before;
  for (const auto &[name, policy] : policies)
    before[name] = policy.version;
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToEnd(&op.getBody().emplaceBlock());
    Env local;
    local.parent = &env;
    local.module = env.module;
    checkBlock(stmt.body, local);
  }
  // Whether the block ran is not known.
  for (auto &[name, policy] : policies)
    if (policy.version != before[name])
      policy.version = nextVersion++;
}

/// A line of metrics.jsonl has each name once.
bool Checker::checkMetricName(const Stmt &stmt) {
  static const StringRef fields[] = {"step",      "stage",        "round",
                                     "tokens",    "seconds",      "loss",
                                     "grad_norm", "learning_rate"};
  if (llvm::is_contained(fields, StringRef(stmt.name))) {
    fail(stmt.loc, "'" + Twine(stmt.name) +
                       "' is in every line of the metrics: give this metric "
                       "another name");
    return false;
  }
  // One loss in two updates gives each update's line its own value.
  auto [first, isNew] = stage->metrics.emplace(stmt.name, stmt.loc);
  if (isNew || first->second == stmt.loc)
    return true;
  fail(stmt.loc, "a second metric '" + Twine(stmt.name) + "' in stage '" +
                     stage->name + "': give one of them another name");
  source.note(first->second, "the first is here");
  return false;
}

void Checker::checkMetric(const Stmt &stmt, Env &env) {
  if (!checkMetricName(stmt))
    return;
  Meaning value = check(*stmt.value, env);
  if (value.isError())
    return;
  if (!value.isFormula() || value.node->axis != rl::Axis::one) {
    fail(stmt.value->start,
         "a metric is one number; this one is " + describe(value) +
             (value.isFormula() ? update ? ": write batch.mean(...)"
                                         : ": write rollout.mean(...)"
                                : ""));
    return;
  }
  mlir::Value number = emit(builder, asNumber(value.node));
  rl::MetricOp::create(builder, at(stmt.loc), stmt.name, number);
}

void Checker::checkSave(const Expr &call, Env &env) {
  BoundArgs args = bind(call, "save", {"policy", "name", "best", "keep"},
                        {"policy", "name"}, 2);
  if (!args.ok)
    return;
  Meaning policy = argument(args, "policy", env);
  std::optional<std::string> name =
      constantText(*args.get("name"), "name", env);
  if (policy.isError() || !name)
    return;
  if (policy.kind != Meaning::policy) {
    fail(policy.loc, "'save' takes a policy, not " + describe(policy));
    return;
  }
  mlir::Value best;
  if (const Arg *arg = args.get("best")) {
    NodePtr node = one(*arg, "best", env);
    if (!node)
      return;
    best = emit(builder, node);
  }
  IntegerAttr keep;
  if (const Arg *arg = args.get("keep")) {
    std::optional<int64_t> given = whole(*arg, "keep", env);
    if (!given)
      return;
    keep = builder.getI64IntegerAttr(*given);
  }
  rl::SaveOp::create(builder, at(call.start),
                     FlatSymbolRefAttr::get(&context, policy.name),
                     builder.getStringAttr(*name), best, keep);
}

/// `write(d, o where c)`.
void Checker::checkWrite(const Expr &call, Env &env) {
  BoundArgs args =
      bind(call, "write", {"data", "outputs"}, {"data", "outputs"}, 2);
  if (!args.ok)
    return;
  Meaning data = argument(args, "data", env);
  Meaning outputs = argument(args, "outputs", env);
  if (data.isError() || outputs.isError())
    return;
  if (data.kind != Meaning::data || data.sets->names.size() != 1) {
    fail(data.loc, "'write' takes a declared data set, not " + describe(data));
    return;
  }
  // A line holds what the template names, with the output's text in its place.
  const DataInfo &info = datas[data.sets->names[0]];
  if (info.completions != 1 || info.completionColumns != 1) {
    fail(data.loc, "'write' fills the column that the completion of '" +
                       Twine(data.sets->names[0]) +
                       "' names: declare completion = \"{response}\", one "
                       "template with one column");
    return;
  }
  if (outputs.kind != Meaning::outputs) {
    fail(outputs.loc,
         "'write' takes a set of outputs, not " + describe(outputs));
    return;
  }
  mlir::Value mask;
  if (const Arg *arg = args.get("outputs"); arg->where) {
    Meaning where = check(*arg->where, env);
    if (where.isError())
      return;
    if (!where.isFlag() || where.node->axis != rl::Axis::sequence ||
        where.node->set != outputs.set->set) {
      fail(arg->where->start, "'where' is a flag per sequence of '" +
                                  Twine(outputs.set->name) + "', not " +
                                  describe(where));
      return;
    }
    mask = emit(builder, where.node);
  }
  rl::WriteOp::create(builder, at(call.start),
                      FlatSymbolRefAttr::get(&context, data.sets->names[0]),
                      outputs.set->value, mask);
}
