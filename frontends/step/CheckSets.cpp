//===- CheckSets.cpp - sets of outputs, and what policies say of them -----===//
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

/// A name for the types: the step file's, with a number from the second on.
std::string Checker::uniqueSet(StringRef name) {
  std::string unique = name.str();
  for (unsigned i = 2; sets.count(unique); ++i)
    unique = (name + "." + Twine(i)).str();
  return unique;
}

Meaning Checker::checkSet(const Stmt &stmt, Env &env) {
  if (update || inCondition || !stage)
    return fail(stmt.loc, "a set of outputs is made in a stage, outside losses "
                          "and conditions");
  return stmt.value->operands[0]->name == "sample" ? checkSample(stmt, env)
                                                   : checkRead(stmt, env);
}

/// Columns, temperature and symbols of the data that a set comes from.
bool Checker::setData(const Meaning &data, bool sampled, Outputs &set,
                      SmallVectorImpl<Attribute> &symbols, SMLoc loc) {
  if (data.kind != Meaning::data) {
    fail(data.loc, "data is needed here, not " + describe(data));
    return false;
  }
  bool first = true;
  for (const std::string &name : data.sets->names) {
    const DataInfo &info = datas[name];
    symbols.push_back(FlatSymbolRefAttr::get(&context, name));
    if (sampled && !info.hasPrompt) {
      fail(loc, "'" + Twine(name) + "' has no prompt to sample from");
      return false;
    }
    if (!sampled && !info.completions && !info.hasIds) {
      fail(loc, "'" + Twine(name) +
                    "' holds no completions to read: declare completion = ..., "
                    "or sample from it");
      return false;
    }
    if (first) {
      set.columns = info.columns;
      set.maxGroupSize = info.hasIds ? 0 : info.completions;
      set.temperature = makeConstant(info.temperature, false, at(loc));
    } else {
      for (auto column = set.columns.begin(); column != set.columns.end();) {
        auto other = info.columns.find(column->first);
        bool kept =
            other != info.columns.end() && other->second == column->second;
        column = kept ? std::next(column) : set.columns.erase(column);
      }
      set.maxGroupSize =
          set.maxGroupSize && !info.hasIds
              ? std::max<int64_t>(set.maxGroupSize, info.completions)
              : 0;
      if (!sampled && set.temperature->value != info.temperature) {
        fail(loc, "these data sets were sampled at different temperatures");
        return false;
      }
    }
    first = false;
  }
  return true;
}

/// The region of `where`, which judges the candidates by the set's own name.
bool Checker::checkCondition(Region &region, const Stmt &stmt,
                             const Outputs &set, Env &env) {
  if (!stmt.where)
    return true;
  auto tried = std::make_shared<Outputs>(set);
  tried->set += ".tried";
  Block &block = region.emplaceBlock();
  tried->value = block.addArgument(rl::OutputsType::get(&context, tried->set),
                                   at(stmt.loc));
  sets[tried->set] = tried;
  Env local;
  local.parent = &env;
  local.module = env.module;
  Meaning candidates;
  candidates.kind = Meaning::outputs;
  candidates.loc = stmt.loc;
  candidates.set = tried;
  local.names[stmt.name] = candidates;

  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(&block);
  inCondition = true;
  Meaning condition = check(*stmt.where, local);
  inCondition = false;
  if (condition.isError())
    return false;
  if (!condition.isFlag() || (condition.node->axis != rl::Axis::group &&
                              condition.node->axis != rl::Axis::sequence)) {
    fail(stmt.where->start, "'where' keeps groups or sequences: it is a flag "
                            "per group or per sequence, not " +
                                describe(condition));
    return false;
  }
  if (condition.node->set != tried->set) {
    fail(stmt.where->start, "'where' judges '" + Twine(set.name) +
                                "', not values of '" +
                                displayName(condition.node->set) + "'");
    return false;
  }
  mlir::Value flag = emit(builder, condition.node);
  rl::YieldOp::create(builder, at(stmt.where->start), flag);
  return true;
}

/// Offsets of tokens are 32-bit numbers.
static constexpr int64_t maxTokensOfSet = INT32_MAX;

static std::string temperatureKey(const NodePtr &node, StringRef where) {
  if (!node->isConstant())
    return ("of " + where).str();
  std::string key;
  llvm::raw_string_ostream(key) << llvm::format("%g", node->value);
  return key;
}

Meaning Checker::checkSample(const Stmt &stmt, Env &env) {
  const Expr &call = *stmt.value;
  BoundArgs args =
      bind(call, "sample",
           {"policy", "data", "groups", "group_size", "temperature",
            "max_new_tokens", "top_p", "top_k", "min_p", "stop", "tries"},
           {"policy", "data", "groups", "max_new_tokens"}, 2);
  if (!args.ok)
    return Meaning();
  Meaning policy = argument(args, "policy", env);
  Meaning data = argument(args, "data", env);
  if (policy.isError() || data.isError())
    return Meaning();
  if (policy.kind != Meaning::policy)
    return fail(policy.loc,
                "'sample' takes a policy first, not " + describe(policy));
  if (policies[policy.name].scalarHead)
    return fail(policy.loc, "'" + Twine(policy.name) +
                                "' has a scalar head and writes no tokens");
  auto set = std::make_shared<Outputs>();
  SmallVector<Attribute> symbols;
  if (!setData(data, /*sampled=*/true, *set, symbols, data.loc))
    return Meaning();

  std::map<std::string, NodePtr> numbers;
  numbers["group_size"] = makeConstant(1, false, at(stmt.loc));
  numbers["temperature"] = makeConstant(1, false, at(stmt.loc));
  for (StringRef name : {"groups", "group_size", "temperature",
                         "max_new_tokens", "top_p", "top_k", "min_p"})
    if (const Arg *arg = args.get(name)) {
      NodePtr node = one(*arg, name, env);
      if (!node)
        return Meaning();
      const Limits &limits = name == "temperature" ? notNegative
                             : name == "top_p"     ? share
                             : name == "top_k"     ? topK
                             : name == "min_p"     ? ratio
                                                   : finite;
      if (!within(node, *arg, name, limits))
        return Meaning();
      numbers[name.str()] = node;
    }
  auto size = [&](StringRef name) -> std::optional<int64_t> {
    const Arg *arg = args.get(name);
    return capacity(numbers[name.str()], name,
                    arg ? arg->value->start : stmt.loc);
  };
  std::optional<int64_t> groups = size("groups"),
                         groupSize = size("group_size"),
                         tokens = size("max_new_tokens");
  if (!groups || !groupSize || !tokens)
    return Meaning();
  // In double: the product of three sizes need not fit anywhere else.
  double most = double(*groups) * double(*groupSize) * double(*tokens);
  if (most > maxTokensOfSet)
    return fail(stmt.loc, "groups * group_size * max_new_tokens is " +
                              printed(most) + " tokens: a round has at most " +
                              Twine(maxTokensOfSet));
  // A prompt has a token at least, and the last new one is not read again.
  if (int64_t context = policies[policy.name].context;
      context && *tokens > context)
    return fail(args.get("max_new_tokens")->value->start,
                "'max_new_tokens' is " + Twine(*tokens) + ", but '" +
                    policy.name + "' has a context of " + Twine(context) +
                    ", the prompt included: write fewer tokens or a larger "
                    "context");
  int64_t tries = 1;
  if (const Arg *arg = args.get("tries")) {
    std::optional<int64_t> given = whole(*arg, "tries", env);
    if (!given)
      return Meaning();
    if (!stmt.where)
      return fail(arg->loc, "'tries' needs a 'where': nothing is tried again");
    tries = *given;
  }
  ArrayAttr stops;
  if (const Arg *arg = args.get("stop")) {
    Meaning list = check(*arg->value, env);
    if (list.isError())
      return Meaning();
    SmallVector<StringRef> texts;
    for (const Meaning &item :
         list.kind == Meaning::list ? list.items : std::vector{list}) {
      if (!item.isText() || !item.constant)
        return fail(arg->value->start,
                    "'stop' is a list of texts: [\"</answer>\"]");
      if (item.constant->empty())
        return fail(item.loc, "an empty text would stop every output before "
                              "its first token");
      texts.push_back(builder.getStringAttr(*item.constant).getValue());
    }
    stops = builder.getStrArrayAttr(texts);
  }

  set->name = stmt.name;
  set->set = uniqueSet(stmt.name);
  set->temperature = numbers["temperature"];
  set->temperatureKey = temperatureKey(set->temperature, stmt.name);
  set->policy = policy.name;
  set->version = policies[policy.name].version;
  set->maxGroups = *groups;
  set->maxGroupSize = *groupSize;
  auto operand = [&](StringRef name) {
    auto found = numbers.find(name.str());
    return found == numbers.end() ? mlir::Value()
                                  : emit(builder, found->second);
  };
  mlir::Value operands[] = {operand("groups"),      operand("group_size"),
                            operand("temperature"), operand("max_new_tokens"),
                            operand("top_p"),       operand("top_k"),
                            operand("min_p")};
  DenseF64ArrayAttr weights;
  if (!data.sets->weights.empty())
    weights = builder.getDenseF64ArrayAttr(data.sets->weights);
  auto op = rl::SampleOp::create(
      builder, NameLoc::get(builder.getStringAttr(stmt.name), at(stmt.loc)),
      rl::OutputsType::get(&context, set->set),
      FlatSymbolRefAttr::get(&context, policy.name),
      builder.getArrayAttr(symbols), weights, operands[0], operands[1],
      operands[2], operands[3], operands[4], operands[5], operands[6],
      builder.getI64IntegerAttr(*groups), builder.getI64IntegerAttr(*groupSize),
      builder.getI64IntegerAttr(*tokens), stops,
      builder.getI64IntegerAttr(tries));
  set->value = op;
  if (!checkCondition(op.getCondition(), stmt, *set, env))
    return Meaning();
  sets[set->set] = set;
  Meaning value;
  value.kind = Meaning::outputs;
  value.loc = stmt.loc;
  value.set = set;
  return value;
}

Meaning Checker::checkRead(const Stmt &stmt, Env &env) {
  BoundArgs args =
      bind(*stmt.value, "read", {"data", "groups", "max_tokens", "order"},
           {"data", "groups"}, 1);
  if (!args.ok)
    return Meaning();
  Meaning data = argument(args, "data", env);
  if (data.isError())
    return Meaning();
  auto set = std::make_shared<Outputs>();
  SmallVector<Attribute> symbols;
  if (!setData(data, /*sampled=*/false, *set, symbols, data.loc))
    return Meaning();
  NodePtr groups = one(*args.get("groups"), "groups", env), tokens;
  if (!groups)
    return Meaning();
  std::optional<int64_t> maxGroups =
      capacity(groups, "groups", args.get("groups")->value->start);
  if (!maxGroups)
    return Meaning();
  if (*maxGroups > maxTokensOfSet)
    return fail(args.get("groups")->value->start,
                "a round has at most " + Twine(maxTokensOfSet) + " groups");
  IntegerAttr maxTokens, maxGroupSize;
  if (const Arg *arg = args.get("max_tokens")) {
    tokens = one(*arg, "max_tokens", env);
    std::optional<int64_t> size =
        tokens ? capacity(tokens, "max_tokens", arg->value->start)
               : std::nullopt;
    if (!size)
      return Meaning();
    maxTokens = builder.getI64IntegerAttr(*size);
  }
  if (set->maxGroupSize)
    maxGroupSize = builder.getI64IntegerAttr(set->maxGroupSize);
  std::string order = "shuffled";
  if (const Arg *arg = args.get("order")) {
    std::optional<std::string> given = constantText(*arg, "order", env);
    if (!given)
      return Meaning();
    if (*given != "shuffled" && *given != "file")
      return fail(arg->value->start, "'order' is \"shuffled\" or \"file\"");
    order = *given;
  }
  if (policies.empty())
    return brokenPolicies
               ? Meaning()
               : fail(stmt.loc,
                      "'read' needs a policy, whose tokenizer it uses");
  set->name = stmt.name;
  set->set = uniqueSet(stmt.name);
  set->temperatureKey = temperatureKey(set->temperature, stmt.name);
  set->maxGroups = *maxGroups;
  DenseF64ArrayAttr weights;
  if (!data.sets->weights.empty())
    weights = builder.getDenseF64ArrayAttr(data.sets->weights);
  mlir::Value g = emit(builder, groups);
  mlir::Value t = tokens ? emit(builder, tokens) : mlir::Value();
  // Whose tokenizer: of the first policy that speaks of the set, seen later.
  auto op = rl::ReadOp::create(
      builder, NameLoc::get(builder.getStringAttr(stmt.name), at(stmt.loc)),
      rl::OutputsType::get(&context, set->set),
      FlatSymbolRefAttr::get(&context, policies.begin()->first),
      builder.getArrayAttr(symbols), weights, g, t,
      builder.getI64IntegerAttr(*maxGroups), maxGroupSize, maxTokens,
      builder.getStringAttr(order));
  openReads[set->set] = op;
  set->value = op;
  if (!checkCondition(op.getCondition(), stmt, *set, env))
    return Meaning();
  sets[set->set] = set;
  Meaning value;
  value.kind = Meaning::outputs;
  value.loc = stmt.loc;
  value.set = set;
  return value;
}

//===----------------------------------------------------------------------===//
// Log-probabilities, entropies, values
//===----------------------------------------------------------------------===//

mlir::Value Checker::neededMask(rl::Axis axis, StringRef set) {
  if (!need)
    return {};
  bool fits =
      need->axis == rl::Axis::one || (need->axis == axis && need->set == set);
  // More than is needed may be computed, but not anew at every update.
  return fits && !need->changes ? emit(builder, need) : mlir::Value();
}

/// A policy that speaks of a set: it has the set's tokens.
bool Checker::readsPolicy(const Meaning &policy, const Outputs &set,
                          SMLoc loc) {
  if (inCondition && policy.kind == Meaning::policy) {
    fail(loc, "a condition speaks of the outputs, not of what policies say of "
              "them");
    return false;
  }
  if (auto open = openReads.find(set.set); open != openReads.end()) {
    open->second.setPolicy(policy.name);
    openReads.erase(open);
  }
  const std::string &own = policies[policy.name].tokenizer;
  if (set.policy.empty() || own.empty())
    return true;
  const std::string &other = policies[set.policy].tokenizer;
  if (!other.empty() && own != other) {
    fail(loc, "'" + Twine(policy.name) + "' has another tokenizer than '" +
                  set.policy + "', which sampled '" + set.name +
                  "': its log-probabilities are of other tokens");
    return false;
  }
  return true;
}

Meaning Checker::callLogprob(StringRef name, const Expr &expr, Env &env) {
  BoundArgs args = bind(expr, name, {"policy", "outputs", "temperature"},
                        {"policy", "outputs"}, 2);
  if (!args.ok)
    return Meaning();
  Meaning policy = argument(args, "policy", env);
  Meaning outputs = argument(args, "outputs", env);
  if (policy.isError() || outputs.isError())
    return Meaning();
  if (policy.kind != Meaning::policy)
    return fail(policy.loc,
                "'" + name + "' takes a policy first, not " + describe(policy));
  if (outputs.kind != Meaning::outputs)
    return fail(outputs.loc, "'" + name + "' takes a set of outputs, not " +
                                 describe(outputs));
  const Outputs &set = *outputs.set;
  PolicyInfo &info = policies[policy.name];
  if (info.scalarHead)
    return fail(policy.loc,
                "'" + Twine(policy.name) +
                    "' has a scalar head: it gives value(...), not " + name +
                    "(...)");
  if (!readsPolicy(policy, set, expr.start))
    return Meaning();
  NodePtr temperature;
  std::string key = set.temperatureKey;
  if (const Arg *arg = args.get("temperature")) {
    temperature = one(*arg, "temperature", env);
    if (!temperature)
      return Meaning();
    key = temperatureKey(temperature,
                         "line " + std::to_string(source.lineOf(arg->loc)));
    if (key == set.temperatureKey)
      temperature = nullptr;
  }
  // A set that was read carries no temperature of its own.
  if (!temperature && key == set.temperatureKey && set.policy.empty() &&
      set.temperature->value != 1)
    temperature = set.temperature;
  std::string who = (name + "(" + policy.name + ", " + set.name + ")").str();
  bool updated = update && update->policy == policy.name;
  if (update && set.set != update->set->set)
    return fail(expr.start, "a loss reads one set of outputs: '" +
                                Twine(update->set->name) + "', not '" +
                                set.name + "'");
  std::optional<Provenance> provenance;
  if (name == "logp")
    provenance = Provenance{key, who};
  // The weights that sampled it, still: what was recorded is the answer.
  if (name == "logp" && !updated && !temperature && !set.policy.empty() &&
      set.version == info.version) {
    Meaning recorded = field(set, "logp", expr.start);
    auto node = std::make_shared<Node>(*recorded.node);
    node->provenance = provenance;
    return formula(node, expr.start);
  }
  bool hoisted = update && !updated;
  if (hoisted && temperature && temperature->changes)
    return fail(args.get("temperature")->loc,
                "this temperature changes with every update, '" +
                    Twine(policy.name) + "' does not: compute it before");
  // An update runs all of its minibatch: a row without gradient is skipped
  // where the gradient is known.
  mlir::Value mask =
      updated ? mlir::Value() : neededMask(rl::Axis::token, set.set);
  mlir::Value t = temperature ? emit(builder, temperature) : mlir::Value();
  OpBuilder::InsertionGuard guard(builder);
  if (hoisted) {
    for (mlir::Value operand : {mask, t})
      if (operand)
        hoist(operand);
    builder.setInsertionPoint(update->op);
  }
  auto type = rl::NumType::get(&context, rl::Axis::token, set.set);
  auto symbol = FlatSymbolRefAttr::get(&context, policy.name);
  mlir::Value result =
      name == "logp" ? rl::LogprobOp::create(builder, at(expr.start), type,
                                             symbol, set.value, t, mask)
                           .getResult()
                     : rl::EntropyOp::create(builder, at(expr.start), type,
                                             symbol, set.value, t, mask)
                           .getResult();
  return leaf(result, expr.start, updated, updated, provenance);
}

Meaning Checker::callValue(const Expr &expr, Env &env) {
  BoundArgs args = bind(expr, "value", {"policy", "outputs", "completion"},
                        {"policy", "outputs"}, 2);
  if (!args.ok)
    return Meaning();
  Meaning policy = argument(args, "policy", env);
  Meaning outputs = argument(args, "outputs", env);
  if (policy.isError() || outputs.isError())
    return Meaning();
  if (policy.kind != Meaning::policy)
    return fail(policy.loc,
                "'value' takes a policy first, not " + describe(policy));
  if (outputs.kind != Meaning::outputs)
    return fail(outputs.loc,
                "'value' takes a set of outputs, not " + describe(outputs));
  const Outputs &set = *outputs.set;
  if (!policies[policy.name].scalarHead)
    return fail(policy.loc, "'" + Twine(policy.name) +
                                "' has no scalar head: write load(..., head = "
                                "scalar)");
  // Its own tokenizer and template: the texts are tokenized anew.
  if (auto open = openReads.find(set.set); open != openReads.end()) {
    open->second.setPolicy(policy.name);
    openReads.erase(open);
  }
  if (update && set.set != update->set->set)
    return fail(expr.start, "a loss reads one set of outputs: '" +
                                Twine(update->set->name) + "', not '" +
                                set.name + "'");
  mlir::Value completion;
  if (const Arg *arg = args.get("completion")) {
    Meaning text = check(*arg->value, env);
    if (text.isError())
      return Meaning();
    if (!text.isText() || !text.ssa ||
        rl::getAxis(text.ssa.getType()) != rl::Axis::sequence)
      return fail(arg->value->start,
                  "'completion' is a text per sequence, not " + describe(text));
    if (!combineSets(rl::Axis::sequence, set.set, rl::Axis::sequence,
                     rl::getSet(text.ssa.getType()), arg->value->start))
      return Meaning();
    completion = text.ssa;
  }
  bool updated = update && update->policy == policy.name;
  bool hoisted = update && !updated;
  mlir::Value mask =
      updated ? mlir::Value() : neededMask(rl::Axis::sequence, set.set);
  OpBuilder::InsertionGuard guard(builder);
  if (hoisted) {
    for (mlir::Value operand : {mask, completion})
      if (operand)
        hoist(operand);
    builder.setInsertionPoint(update->op);
  }
  auto op = rl::ValueOp::create(
      builder, at(expr.start),
      rl::NumType::get(&context, rl::Axis::sequence, set.set),
      FlatSymbolRefAttr::get(&context, policy.name), set.value, completion,
      mask);
  return leaf(op, expr.start, updated, updated);
}
