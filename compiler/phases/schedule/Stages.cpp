//===- Stages.cpp - the rounds of the stages as commands ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/schedule/Stages.h"
#include "compiler/phases/schedule/Scratch.h"
#include "compiler/phases/schedule/Support.h"
#include "dialects/kern/Kern.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::schedule;

static StringRef setName(Value outputs) {
  return cast<rl::OutputsType>(outputs.getType()).getSet();
}

/// The set that a value on an axis belongs to.
static StringRef setOfType(Type type) {
  return TypeSwitch<Type, StringRef>(type)
      .Case<rl::NumType, rl::FlagType, rl::TextType>(
          [](auto t) { return t.getSet(); });
}

static rl::Axis axisOfType(Type type) {
  return TypeSwitch<Type, rl::Axis>(type)
      .Case<rl::NumType, rl::FlagType, rl::TextType>(
          [](auto t) { return t.getAxis(); });
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

Attribute StageWriter::number(Value value) {
  if (!value)
    return {};
  if (auto constant = value.getDefiningOp<rl::ConstantOp>())
    return constant.getValueAttr();
  return numbers.lookup(value);
}

rt::RefAttr StageWriter::single(Location loc, Value value) {
  if (auto constant = value.getDefiningOp<rl::ConstantOp>()) {
    auto type = RankedTensorType::get({1}, builder.getF32Type());
    float f = constant.getValue().convertToDouble();
    return buffers.allocate(loc, "number", "constants", 4, "f32",
                            DenseElementsAttr::get(type, f));
  }
  Scratch scratch(builder, kernels);
  Value wide =
      scratch.argument(RankedTensorType::get({1}, builder.getF64Type()),
                       {numbers.lookup(value), {}});
  Value narrow = scratch.convert(loc, wide, builder.getF32Type());
  return scratch.dispatch(narrow, "tables").ref;
}

OutputSet &StageWriter::setOf(Value outputs) {
  return *sets.find(setName(outputs))->second;
}

Axes &StageWriter::axesOf(StringRef set, Scope &scope) {
  OutputSet &entry = *sets.find(set)->second;
  for (Scope *s = &scope; s; s = s->parent)
    if (s->view && s->viewedSet == entry.number)
      return *s->view;
  return *entry.axes;
}

Axes &StageWriter::axesOf(Value outputs, Scope &scope) {
  return axesOf(setName(outputs), scope);
}

OutputSet &StageWriter::makeSet(Value outputs, int64_t maxGroups,
                                int64_t maxGroupSize, int64_t maxTokens) {
  auto &entry = sets[setName(outputs)];
  entry = std::make_unique<OutputSet>();
  entry->number = nextSet++;
  entry->maxGroups = maxGroups;
  entry->maxSequences = maxGroups * maxGroupSize;
  entry->maxTokens = entry->maxSequences * maxTokens;
  return *entry;
}

//===----------------------------------------------------------------------===//
// Sets of outputs
//===----------------------------------------------------------------------===//

/// The names of data sets, without the @.
static ArrayAttr namesOf(ArrayAttr symbols) {
  SmallVector<Attribute> names;
  for (Attribute symbol : symbols)
    names.push_back(StringAttr::get(
        symbol.getContext(), cast<FlatSymbolRefAttr>(symbol).getValue()));
  return ArrayAttr::get(symbols.getContext(), names);
}

static ArrayAttr numbersOf(OpBuilder &builder, DenseF64ArrayAttr weights) {
  return weights ? builder.getF64ArrayAttr(weights.asArrayRef()) : ArrayAttr();
}

/// Lines with the same prompt form a group when token ids are read; only the
/// data knows how many.
static constexpr int64_t unknownGroupSize = 64;

/// Whether some policy's log-probability or entropy of the set is asked for.
static bool isScored(Value outputs) {
  return llvm::any_of(outputs.getUsers(), [](Operation *user) {
    return isa<rl::LogprobOp, rl::EntropyOp>(user);
  });
}

LogicalResult StageWriter::writeSample(rl::SampleOp op, Scope &scope) {
  Location loc = op.getLoc();
  OutputSet &set = makeSet(op.getOutputs(), op.getMaxGroups(),
                           op.getMaxGroupSize(), op.getMaxTokenCount());
  set.sampler = op.getPolicyAttr();
  sampledVersion[setName(op.getOutputs())] = versions[op.getPolicyAttr()];
  set.temperature = single(loc, op.getTemperature());
  bool filtered = isFiltered(op);
  set.isFiltered = filtered && (isScored(op.getOutputs()) ||
                                (!op.getCondition().empty() &&
                                 isScored(op.getCondition().getArgument(0))));
  auto filter = [&](Value value) {
    return filtered ? number(value) : Attribute();
  };
  auto command = rt::SampleOp::create(
      builder, loc, builder.getI64IntegerAttr(set.number), op.getPolicyAttr(),
      namesOf(op.getData()), numbersOf(builder, op.getWeightsAttr()),
      number(op.getGroups()), number(op.getGroupSize()),
      number(op.getTemperature()), number(op.getMaxNewTokens()),
      filter(op.getTopP()), filter(op.getTopK()), filter(op.getMinP()),
      set.isFiltered ? builder.getUnitAttr() : UnitAttr(), op.getStopAttr(),
      builder.getI64IntegerAttr(op.getTries()),
      builder.getI64IntegerAttr(op.getMaxGroups()),
      builder.getI64IntegerAttr(op.getMaxGroupSize()),
      builder.getI64IntegerAttr(op.getMaxTokenCount()), DictionaryAttr());
  command.getBody().emplaceBlock();
  if (failed(writeCondition(command, op.getCondition(), set, scope)))
    return failure();
  set.axes =
      std::make_unique<Axes>(buffers, builder, loc, set.number, false,
                             set.maxTokens, set.maxSequences, set.maxGroups);
  return success();
}

LogicalResult StageWriter::writeRead(rl::ReadOp op, Scope &scope) {
  Location loc = op.getLoc();
  int64_t context = models.contextOf(op.getPolicy());
  OutputSet &set = makeSet(
      op.getOutputs(), op.getMaxGroups(),
      op.getMaxGroupSize().value_or(unknownGroupSize),
      std::min<int64_t>(op.getMaxTokenCount().value_or(context), context));
  auto type = RankedTensorType::get({1}, builder.getF32Type());
  set.temperature = buffers.allocate(loc, "number", "constants", 4, "f32",
                                     DenseElementsAttr::get(type, 1.0f));
  auto command = rt::ReadOp::create(
      builder, loc, set.number, op.getPolicy(), namesOf(op.getData()),
      numbersOf(builder, op.getWeightsAttr()), number(op.getGroups()),
      number(op.getMaxTokens()), op.getOrder(), op.getMaxGroups(),
      op.getMaxGroupSize().value_or(unknownGroupSize), DictionaryAttr());
  command.getBody().emplaceBlock();
  if (failed(writeCondition(command, op.getCondition(), set, scope)))
    return failure();
  set.axes =
      std::make_unique<Axes>(buffers, builder, loc, set.number, false,
                             set.maxTokens, set.maxSequences, set.maxGroups);
  return success();
}

/// `where` on a sample or read: a body that judges the candidates, a set with
/// the number of its own, and a float64 flag a group or sequence.
LogicalResult StageWriter::writeCondition(Operation *command, Region &condition,
                                          OutputSet &set, Scope &scope) {
  if (condition.empty())
    return success();
  Value candidates = condition.front().getArgument(0);
  OutputSet &tried = makeSet(candidates, 1, 1, 1);
  tried.maxGroups = set.maxGroups;
  tried.maxSequences = set.maxSequences;
  tried.maxTokens = set.maxTokens;
  tried.sampler = set.sampler;
  tried.temperature = set.temperature;
  tried.isFiltered = set.isFiltered;
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(&command->getRegion(0).front());
  tried.axes = std::make_unique<Axes>(buffers, builder, command->getLoc(),
                                      tried.number, false, tried.maxTokens,
                                      tried.maxSequences, tried.maxGroups);
  Scope inner;
  inner.parent = &scope;
  if (failed(writeBlock(condition.front(), inner)))
    return failure();
  auto yield = cast<rl::YieldOp>(condition.front().getTerminator());
  rt::RefAttr flag = numbers.lookup(yield.getValue());
  if (!flag)
    return yield.emitError("the condition has no value in memory");
  StringRef axis = rl::stringifyAxis(axisOfType(yield.getValue().getType()));
  command->setAttr(
      "where", builder.getDictionaryAttr(
                   {builder.getNamedAttr("axis", builder.getStringAttr(axis)),
                    builder.getNamedAttr("flag", flag),
                    builder.getNamedAttr(
                        "set", builder.getI64IntegerAttr(tried.number))}));
  return success();
}

//===----------------------------------------------------------------------===//
// Fields, texts, externs
//===----------------------------------------------------------------------===//

LogicalResult StageWriter::writeToTensor(rl::ToTensorOp op, Scope &scope) {
  Value value = op.getValue();
  Location loc = value.getLoc();
  if (isa_and_nonnull<rl::StepOp>(value.getDefiningOp())) {
    tensors[op.getResult()] = {step, {}};
    return success();
  }
  if (isa_and_nonnull<rl::StepsOp>(value.getDefiningOp())) {
    tensors[op.getResult()] = {steps, {}};
    return success();
  }
  if (auto get = value.getDefiningOp<rl::GetParamOp>()) {
    tensors[op.getResult()] = {params.lookup(get.getParam()), {}};
    return success();
  }
  Extent rows;
  if (axisOfType(value.getType()) != rl::Axis::one) {
    Axes &axes = axesOf(setOfType(value.getType()), scope);
    switch (axisOfType(value.getType())) {
    case rl::Axis::token:
      rows = axes.tokens();
      break;
    case rl::Axis::sequence:
      rows = axes.sequences();
      break;
    default:
      rows = axes.groups();
      break;
    }
  }
  if (auto field = value.getDefiningOp<rl::FieldOp>()) {
    Axes &axes = axesOf(field.getOutputs(), scope);
    rt::RefAttr to = buffers.allocateFor(
        loc, ("set" + Twine(axes.set()) + "." + field.getName()).str(),
        "tables", op.getResult().getType(), rows);
    rt::ColumnOp::create(builder, loc, axes.set(), axes.isView(),
                         field.getName(), to);
    if (field.getName() == "logp")
      remark::passed(loc, scheduleRemark("Recorded"))
          << remark::add("no pass for old log-probabilities: those recorded "
                         "while sampling are read");
    tensors[op.getResult()] = {to, rows};
    return success();
  }
  rt::RefAttr ref = numbers.lookup(value);
  if (!ref)
    return op.emitError("the value has no buffer in the schedule");
  tensors[op.getResult()] = {ref, rows};
  return success();
}

FailureOr<ArrayAttr> StageWriter::textArguments(Operation *op,
                                                ValueRange inputs) {
  SmallVector<Attribute> args;
  auto entry = [&](StringRef key, Attribute value) {
    return builder.getNamedAttr(key, value);
  };
  for (Value input : inputs) {
    if (!isa<rl::TextType>(input.getType())) {
      Attribute value = number(input);
      if (!value)
        return op->emitError("an argument has no value in memory");
      args.push_back(value);
      continue;
    }
    // token(x), sequence(x) of a text change who asks, not what is said.
    while (auto repeat = input.getDefiningOp<rl::RepeatOp>())
      input = repeat.getValue();
    if (auto constant = input.getDefiningOp<rl::ConstantTextOp>())
      args.push_back(builder.getDictionaryAttr(
          entry("constant", constant.getValueAttr())));
    else if (auto field = input.getDefiningOp<rl::FieldOp>())
      args.push_back(builder.getDictionaryAttr(
          {entry("field", field.getNameAttr()),
           entry("set", builder.getI64IntegerAttr(
                            setOf(field.getOutputs()).number))}));
    else
      args.push_back(builder.getDictionaryAttr(
          entry("text", builder.getI64IntegerAttr(texts.lookup(input)))));
  }
  return builder.getArrayAttr(args);
}

LogicalResult StageWriter::bindHostResult(Operation *op, Value result,
                                          rt::RefAttr &to, IntegerAttr &id) {
  if (isa<rl::TextType>(result.getType())) {
    texts[result] = nextText;
    id = builder.getI64IntegerAttr(nextText++);
    return success();
  }
  int64_t sequences = 1;
  if (axisOfType(result.getType()) == rl::Axis::sequence)
    sequences = sets.find(setOfType(result.getType()))->second->maxSequences;
  else if (axisOfType(result.getType()) != rl::Axis::one)
    return op->emitError("a function of texts is per sequence, not per ")
           << rl::stringifyAxis(axisOfType(result.getType()));
  to = buffers.allocate(op->getLoc(), nameOf(op->getLoc(), "text"), "tables",
                        sequences * 8, "f64");
  numbers[result] = to;
  return success();
}

template <typename CommandTy, typename OpTy>
LogicalResult StageWriter::writeHostFunction(OpTy op, Attribute callee) {
  FailureOr<ArrayAttr> args = textArguments(op, op.getInputs());
  rt::RefAttr to;
  IntegerAttr id;
  if (failed(args) || failed(bindHostResult(op, op.getResult(), to, id)))
    return failure();
  Type type = op.getResult().getType();
  bool isOne = axisOfType(type) == rl::Axis::one;
  int64_t set = isOne ? -1 : sets.find(setOfType(type))->second->number;
  CommandTy::create(
      builder, op.getLoc(),
      cast<std::conditional_t<std::is_same_v<CommandTy, rt::TextOp>, StringAttr,
                              FlatSymbolRefAttr>>(callee),
      *args, builder.getI64IntegerAttr(set),
      builder.getStringAttr(rl::stringifyAxis(axisOfType(type))),
      op.getWhere() ? numbers.lookup(op.getWhere()) : rt::RefAttr(), to, id);
  return success();
}

//===----------------------------------------------------------------------===//
// Policies
//===----------------------------------------------------------------------===//

TokenResults StageWriter::allocateResults(Location loc, Axes &axes,
                                          bool entropy, bool lse) {
  auto allocate = [&](StringRef what) {
    return buffers.allocate(loc, what, "tables", axes.tokens().capacity * 4,
                            "f32");
  };
  TokenResults results;
  results.logp = allocate("logp");
  if (entropy)
    results.entropy = allocate("entropy");
  if (lse)
    results.lse = allocate("lse");
  return results;
}

Seeds StageWriter::seedsOf(rl::BackwardOp op, Axes &axes) {
  auto slot = [&](Value value) {
    return value ? Slot{numbers.lookup(value), axes.tokens()} : Slot();
  };
  return {slot(op.getSeeds()), slot(op.getEntropySeeds())};
}

template <typename OpTy>
LogicalResult StageWriter::writeModelRead(OpTy op, Scope &scope) {
  constexpr bool isEntropy = std::is_same_v<OpTy, rl::EntropyOp>;
  Location loc = op.getLoc();
  StringRef name = setName(op.getOutputs());
  OutputSet &set = setOf(op.getOutputs());
  Axes &axes = axesOf(op.getOutputs(), scope);
  rt::RefAttr temperature =
      op.getTemperature() ? single(loc, op.getTemperature()) : set.temperature;

  // The policy that sampled the set and has not changed since says what it
  // recorded, bit for bit: it is not run.
  bool inUpdate = axes.isView();
  if (!isEntropy && !inUpdate && set.sampler == op.getPolicyAttr() &&
      !op.getTemperature() &&
      sampledVersion.lookup(name) == versions.lookup(op.getPolicyAttr())) {
    rt::RefAttr to = buffers.allocate(loc, "logp", "tables",
                                      axes.tokens().capacity * 4, "f32");
    rt::ColumnOp::create(builder, loc, axes.set(), false, "logp", to);
    numbers[op.getResult()] = to;
    remark::passed(loc, scheduleRemark("Recorded"))
        << remark::add("no pass: @{0} has not changed since it sampled, and "
                       "what it recorded is read",
                       op.getPolicy().str());
    return success();
  }
  // One pass over a minibatch gives log-probability and entropy, and the
  // normaliser that the backward reads.
  auto key = ArrayAttr::get(op.getContext(), {op.getPolicyAttr(), temperature});
  TokenResults &pass = scope.passes[key];
  if (!pass.logp) {
    Block *block = op->getBlock();
    bool wantsEntropy =
        isEntropy ||
        (inUpdate && !block->template getOps<rl::EntropyOp>().empty());
    pass = allocateResults(loc, axes, wantsEntropy, /*lse=*/inUpdate);
    if (failed(models.forward(builder, loc, op.getPolicy(), axes,
                              {temperature, set.isFiltered}, pass,
                              /*keep=*/inUpdate)))
      return failure();
  }
  numbers[op.getResult()] = isEntropy ? pass.entropy : pass.logp;
  // Outside of an update the weights may move before the next read.
  if (!inUpdate)
    scope.passes.erase(key);
  return success();
}

LogicalResult StageWriter::writeUpdate(rl::UpdateOp op, Scope &scope) {
  Location loc = op.getLoc();
  OutputSet &set = setOf(op.getOutputs());
  versions[op.getPolicyAttr()]++;
  auto command = rt::UpdateOp::create(builder, loc, set.number, op.getPolicy(),
                                      op.getMinibatches(), op.getEpochs(),
                                      rl::stringifySplit(op.getSplit()));
  Block &body = command.getBody().emplaceBlock();
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(&body);
  Scope inner;
  inner.parent = &scope;
  inner.viewedSet = set.number;
  inner.view =
      std::make_unique<Axes>(buffers, builder, loc, set.number, true,
                             set.maxTokens, set.maxSequences, set.maxGroups);
  models.explainUnits(loc, op.getPolicy(), set);
  Operation *culprit;
  if (auto program = tokenLocalSeeds(op, culprit))
    return writeSweep(op, *program, inner);
  explainSweeps(op, culprit);
  return writeBlock(op.getBody().front(), inner);
}

LogicalResult StageWriter::writeSweep(rl::UpdateOp op,
                                      const SeedProgram &program,
                                      Scope &scope) {
  auto write = [&](ArrayRef<Operation *> ops) {
    return success(llvm::all_of(
        ops, [&](Operation *each) { return succeeded(writeOp(each, scope)); }));
  };
  if (failed(write(program.before)))
    return failure();
  Axes &axes = axesOf(op.getOutputs(), scope);
  Block &body = op.getBody().front();
  TokenResults results =
      allocateResults(op.getLoc(), axes, !body.getOps<rl::EntropyOp>().empty(),
                      /*lse=*/true);
  for (auto read : body.getOps<rl::LogprobOp>())
    numbers[read.getResult()] = results.logp;
  for (auto read : body.getOps<rl::EntropyOp>())
    numbers[read.getResult()] = results.entropy;
  // The seeds are computed for the whole view at each chunk: those of its own
  // tokens are right, the others are not read, and after the last chunk all
  // are right. They cost a thousandth of the chunk.
  auto writeSeeds = [&](OpBuilder &inside) -> FailureOr<Seeds> {
    OpBuilder::InsertionGuard guard(builder);
    builder.restoreInsertionPoint(inside.saveInsertionPoint());
    if (failed(write(program.seeds)))
      return failure();
    inside.restoreInsertionPoint(builder.saveInsertionPoint());
    return seedsOf(program.backward, axes);
  };
  OutputSet &set = setOf(op.getOutputs());
  // Seeds at the recorded log-probabilities tell, exactly while the policy is
  // the one that sampled, from which sequences nothing will be learnt.
  Seeds expected;
  if (set.sampler == op.getPolicyAttr() && !results.entropy) {
    rt::ColumnOp::create(builder, op.getLoc(), axes.set(), axes.isView(),
                         "logp", results.logp);
    FailureOr<Seeds> seeds = writeSeeds(builder);
    if (failed(seeds))
      return failure();
    expected = *seeds;
  }
  if (failed(models.sweep(builder, op.getLoc(), op.getPolicy(), axes,
                          {set.temperature, set.isFiltered}, results, expected,
                          writeSeeds)))
    return failure();
  return write(program.after);
}

//===----------------------------------------------------------------------===//
// Blocks
//===----------------------------------------------------------------------===//

LogicalResult StageWriter::writeOp(Operation *op, Scope &scope) {
  Location loc = op->getLoc();
  return TypeSwitch<Operation *, LogicalResult>(op)
      // Read where they are used.
      .Case<rl::ConstantOp, rl::ConstantTextOp, rl::StepOp, rl::StepsOp,
            rl::GetParamOp, rl::FieldOp, rl::RepeatOp, rl::YieldOp>(
          [](Operation *) { return success(); })
      .Case([&](rl::SampleOp sample) { return writeSample(sample, scope); })
      .Case([&](rl::ReadOp read) { return writeRead(read, scope); })
      .Case([&](rl::IndexOp index) {
        tensors[index.getResult()] =
            axesOf(index.getOutputs(), scope).index(index.getName());
        return success();
      })
      .Case([&](rl::ToTensorOp to) { return writeToTensor(to, scope); })
      .Case([&](rl::FromTensorOp from) {
        numbers[from.getResult()] = tensors.lookup(from.getTensor()).ref;
        return success();
      })
      .Case([&](rl::TextOp text) {
        return writeHostFunction<rt::TextOp>(text, text.getFunctionAttr());
      })
      .Case([&](rl::CallOp call) {
        return writeHostFunction<rt::ExternCallOp>(call, call.getCalleeAttr());
      })
      .Case<rl::LogprobOp, rl::EntropyOp>(
          [&](auto read) { return writeModelRead(read, scope); })
      .Case([&](rl::UpdateOp update) { return writeUpdate(update, scope); })
      .Case([&](rl::BackwardOp backward) {
        Axes &axes = axesOf(backward.getOutputs(), scope);
        OutputSet &set = setOf(backward.getOutputs());
        auto key = ArrayAttr::get(op->getContext(),
                                  {backward.getPolicyAttr(), set.temperature});
        return models.backward(builder, loc, backward.getPolicy(), axes,
                               {set.temperature, set.isFiltered},
                               scope.passes.lookup(key),
                               seedsOf(backward, axes));
      })
      .Case([&](rl::AllReduceOp reduce) {
        auto backward = reduce.getGradient().getDefiningOp<rl::BackwardOp>();
        Policy &policy = models.policy(backward.getPolicy());
        rt::AllReduceOp::create(builder, loc, policy.gradients, policy.total,
                                "f32");
        return success();
      })
      .Case([&](rl::AdamWOp adamw) {
        return models.adamw(builder, adamw, single(loc, adamw.getLr()),
                            number(adamw.getLr()));
      })
      .Case([&](rl::MetricOp metric) {
        bool inUpdate = metric->getParentOfType<rl::UpdateOp>() != nullptr;
        rt::MetricOp::create(builder, loc, metric.getName(),
                             number(metric.getValue()),
                             inUpdate ? "update" : "round");
        return success();
      })
      .Case([&](rl::EveryOp every) {
        auto command = rt::EveryOp::create(builder, loc, every.getSteps());
        Block &body = command.getBody().emplaceBlock();
        OpBuilder::InsertionGuard guard(builder);
        builder.setInsertionPointToEnd(&body);
        Scope inner;
        inner.parent = &scope;
        return writeBlock(every.getBody().front(), inner);
      })
      .Case([&](rl::AssignOp assign) {
        versions[assign.getToAttr()]++;
        rt::AssignOp::create(builder, loc, assign.getToAttr(),
                             assign.getFromAttr());
        return success();
      })
      .Case([&](rl::SaveOp save) {
        rt::SaveOp::create(builder, loc, save.getPolicyAttr(),
                           save.getNameAttr(), number(save.getBest()),
                           save.getKeepAttr());
        return success();
      })
      .Case([&](rl::WriteOp write) {
        rt::WriteOp::create(
            builder, loc, write.getDataAttr(),
            builder.getI64IntegerAttr(setOf(write.getOutputs()).number),
            write.getWhere() ? numbers.lookup(write.getWhere())
                             : rt::RefAttr());
        return success();
      })
      .Default([&](Operation *other) -> LogicalResult {
        if (isa<kern::KernDialect>(other->getDialect()))
          return kernels.dispatch(builder, other, tensors, "tables");
        return other->emitError("'")
               << other->getName() << "' cannot be scheduled";
      });
}

LogicalResult StageWriter::writeBlock(Block &block, Scope &scope) {
  for (Operation &op : block)
    if (failed(writeOp(&op, scope)))
      return failure();
  return success();
}

LogicalResult StageWriter::write(rl::StageOp stage, OpBuilder &at) {
  auto command = rt::StageOp::create(at, stage.getLoc(), stage.getSymName(),
                                     rl::stringifyLimit(stage.getLimit()),
                                     stage.getCount());
  Block &body = command.getBody().emplaceBlock();
  builder.setInsertionPointToEnd(&body);
  Scope scope;
  return writeBlock(stage.getBody().front(), scope);
}
