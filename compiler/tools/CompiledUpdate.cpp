//===- CompiledUpdate.cpp - a round's formulas as machine code ------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/CompiledUpdate.h"
#include "compiler/phases/Phases.h"
#include "compiler/target/cpu/Loaded.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c;
using reference::Axes;
using reference::Column;
using reference::Formulas;

/// On an op whose result is given: its number in `given`.
static constexpr llvm::StringLiteral givenName = "r1c.given";

namespace {

/// A tensor in memory.
struct Memory {
  int64_t count;
  std::shared_ptr<cpu::Buffer> buffer;

  Memory() = default;
  Memory(int64_t count, Type element) : count(count) {
    size_t width =
        element.isInteger(1) ? 1 : element.getIntOrFloatBitWidth() / 8;
    buffer =
        std::make_shared<cpu::Buffer>(cpu::Buffer::poisoned(count * width));
  }
  template <typename T>
  T *as() const {
    return static_cast<T *>(buffer->data());
  }
};

} // namespace

struct CompiledUpdate::Implementation {
  Implementation(reference::Loss &loss, Options options)
      : loss(loss), options(std::move(options)) {}

  LogicalResult compile(ModuleOp module);
  LogicalResult isolate(IRMapping &mapping);
  LogicalResult lower();
  LogicalResult build();
  LogicalResult execute(Block &block);
  LogicalResult execute(Operation *op);
  LogicalResult call(Operation *op);
  Value asGiven(OpBuilder &builder, Value original);
  void giveOrReplace(Operation *op, Operation *clone);
  void keep(Operation *op, unsigned operand, Value original);

  reference::Loss &loss;
  Options options;
  OwningOpRef<ModuleOp> clone;
  rl::StageOp stage;        // in the clone
  std::vector<Value> given; // by the number in the attribute
  std::vector<std::pair<OpOperand *, Value>>
      wanted; // result of the clone, value
  DenseMap<Operation *, std::string> symbols;
  std::unique_ptr<cpu::LoadedKernels> kernels;

  // Of one run.
  Formulas *formulas = nullptr;
  int64_t workers = 1;
  DenseMap<Value, Memory> tensors;
  DenseMap<Value, Column> results; // of rl.from_tensor
};

using Implementation = CompiledUpdate::Implementation;

static bool isFormula(Operation *op) {
  return isa<rl::MapOp, rl::RepeatOp, rl::ReduceOp, rl::ReduceGradOp,
             rl::ScanOp, rl::StopOp, rl::CountOp, rl::ConstantOp>(op);
}

/// An op without operands that stands for what the interpreter knows.
Value Implementation::asGiven(OpBuilder &builder, Value original) {
  auto op = UnrealizedConversionCastOp::create(
      builder, original.getLoc(), original.getType(), ValueRange());
  op->setAttr(givenName, builder.getI64IntegerAttr(given.size()));
  given.push_back(original);
  return op.getResult(0);
}

/// A result that is no formula, or whose formula has been replaced, is given.
void Implementation::giveOrReplace(Operation *op, Operation *clone) {
  if (op->getNumResults() != 1 ||
      !isa<rl::NumType, rl::FlagType>(op->getResult(0).getType()))
    return;
  OpBuilder builder(clone);
  if (!isFormula(op)) {
    clone->setAttr(givenName, builder.getI64IntegerAttr(given.size()));
    given.push_back(op->getResult(0));
  } else if (options.isGiven && options.isGiven(op->getResult(0))) {
    clone->getResult(0).replaceAllUsesWith(asGiven(builder, op->getResult(0)));
  }
}

/// What the update reads from outside is given.
static bool isFromOutside(Value operand, rl::UpdateOp update) {
  return isa<rl::NumType, rl::FlagType>(operand.getType()) &&
         !update->isProperAncestor(operand.getDefiningOp());
}

/// Erases from the end, so that what only the dead read dies too.
static void prune(Block &block, rl::UpdateOp update) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (op.use_empty() && !op.isAncestor(update) &&
        !isa<rl::MetricOp, rl::AdamWOp>(op))
      op.erase();
}

/// Leaves of the clone nothing but formulas and what they read.
LogicalResult Implementation::isolate(IRMapping &mapping) {
  auto update = cast<rl::UpdateOp>(mapping.lookup(loss.update.getOperation()));
  OpBuilder before(update), inside(update.getContext());
  DenseMap<Value, Value> outside;
  for (Operation &op : loss.update.getBody().front()) {
    Operation *clone = mapping.lookup(&op);
    for (auto [i, operand] : llvm::enumerate(op.getOperands())) {
      if (options.withStage || !isFromOutside(operand, loss.update))
        continue;
      Value &value = outside[operand];
      Operation *source = operand.getDefiningOp();
      if (!value && isa<rl::ConstantOp>(source))
        value = before.clone(*source)->getResult(0);
      else if (!value)
        value = asGiven(before, operand);
      clone->setOperand(i, value);
    }
    giveOrReplace(&op, clone);
  }
  // The loss is kept by a metric; the gradient by rl.backward.
  auto backward =
      cast<rl::BackwardOp>(mapping.lookup(loss.backward.getOperation()));
  inside.setInsertionPoint(backward);
  auto metric = rl::MetricOp::create(inside, backward.getLoc(), "loss",
                                     mapping.lookup(loss.value));
  keep(metric, 0, loss.value);
  for (auto [i, operand] : llvm::enumerate(loss.backward->getOperands()))
    if (isa<rl::NumType>(operand.getType()))
      keep(backward, i, operand);
  for (auto other : loss.update.getBody().getOps<rl::MetricOp>())
    keep(mapping.lookup(other.getOperation()), 0, other.getValue());
  // The optimizer keeps rl.backward alive; its rate is of no interest.
  for (auto adamw : update.getBody().getOps<rl::AdamWOp>()) {
    inside.setInsertionPoint(adamw);
    adamw.getLrMutable().assign(rl::ConstantOp::create(
        inside, adamw.getLoc(), inside.getF64FloatAttr(0)));
  }
  prune(update.getBody().front(), update);
  // The blocks around the update, from the inside out.
  for (Operation *at = loss.update; at != loss.stage; at = at->getParentOp()) {
    Block *around = at->getBlock();
    SmallVector<Operation *> metrics;
    for (Operation &op : *around) {
      Operation *clone = mapping.lookup(&op);
      if (isa<rl::MetricOp>(op) && options.withStage)
        keep(clone, 0, op.getOperand(0));
      else if (isa<rl::MetricOp>(op))
        metrics.push_back(clone);
      else if (options.withStage)
        giveOrReplace(&op, clone);
    }
    for (Operation *metric : metrics)
      metric->erase();
    prune(*mapping.lookup(at)->getBlock(), update);
  }
  return success();
}

void Implementation::keep(Operation *op, unsigned operand, Value original) {
  wanted.push_back({&op->getOpOperand(operand), original});
}

/// The phase `ragged`, and nothing but it.
LogicalResult Implementation::lower() {
  PassManager pm(clone->getContext());
  return failed(addPhase(*findPhase("ragged"), pm)) ? failure()
                                                    : pm.run(*clone);
}

/// One kernel for each kern op, loaded.
LogicalResult Implementation::build() {
  clone->getContext()->loadDialect<func::FuncDialect>();
  OpBuilder builder(clone->getContext());
  OwningOpRef<ModuleOp> all = ModuleOp::create(builder, clone->getLoc());
  clone->walk([&](Operation *op) {
    if (!isa<kern::KernDialect>(op->getDialect()) ||
        !isa<rl::UpdateOp, rl::StageOp, rl::EveryOp>(op->getParentOp()))
      return;
    builder.setInsertionPointToEnd(all->getBody());
    std::string name = "formula_" + std::to_string(symbols.size());
    auto function = func::FuncOp::create(
        builder, op->getLoc(), name,
        builder.getFunctionType(op->getOperandTypes(), op->getResultTypes()));
    function->setAttr("kern.kernel", builder.getUnitAttr());
    IRMapping arguments;
    arguments.map(op->getOperands(), function.addEntryBlock()->getArguments());
    builder.setInsertionPointToEnd(&function.getBody().front());
    Operation *body = builder.clone(*op, arguments);
    func::ReturnOp::create(builder, op->getLoc(), body->getResults());
    symbols[op] = name;
  });
  cpu::TargetOptions target;
  target.cpu = options.cpu;
  auto loaded = cpu::LoadedKernels::load(*all, target);
  if (failed(loaded))
    return failure();
  kernels = std::move(*loaded);
  return success();
}

/// Rows of a kern op, and elements of its ragged rows.
static std::pair<int64_t, int64_t>
sizesOf(Operation *op, llvm::function_ref<const Memory &(Value)> buffer) {
  auto ofOffsets = [&](Value offsets) -> std::pair<int64_t, int64_t> {
    const Memory &b = buffer(offsets);
    return {b.count - 1, b.as<int32_t>()[b.count - 1]};
  };
  if (auto row = dyn_cast<kern::RowOp>(op))
    return ofOffsets(row.getOffsets());
  if (auto scan = dyn_cast<kern::ScanOp>(op))
    return ofOffsets(scan.getOffsets());
  if (auto quantile = dyn_cast<kern::QuantileOp>(op))
    return ofOffsets(quantile.getOffsets());
  auto map = cast<kern::MapOp>(op);
  for (auto [input, attr] : llvm::zip(map.getInputs(), map.getAccess())) {
    auto access = cast<kern::AccessAttr>(attr);
    if (access.getKind() == kern::AccessKind::element)
      return {buffer(input).count, buffer(input).count};
    if (access.getKind() == kern::AccessKind::gather) {
      int64_t count = buffer(map.getIndices()[access.getIndex()]).count;
      return {count, count};
    }
  }
  return {1, 1};
}

LogicalResult Implementation::call(Operation *op) {
  if (!isa<kern::RowOp, kern::ScanOp, kern::QuantileOp, kern::MapOp>(op))
    return op->emitError("'") << op->getName() << "' is no formula";
  auto memory = [&](Value value) -> const Memory & {
    return tensors.find(value)->second;
  };
  auto [rows, elements] = sizesOf(op, memory);
  std::vector<std::shared_ptr<cpu::Buffer>> buffers;
  for (Value operand : op->getOperands())
    buffers.push_back(memory(operand).buffer);
  for (auto [i, result] : llvm::enumerate(op->getResults())) {
    auto type = cast<RankedTensorType>(result.getType());
    int64_t count = rows;
    if (type.hasStaticShape())
      count = type.getNumElements();
    else if (isa<kern::ScanOp>(op))
      count = elements;
    else if (auto row = dyn_cast<kern::RowOp>(op);
             row &&
             cast<kern::AccessAttr>(row.getResultAccess()[i]).getKind() !=
                 kern::AccessKind::row)
      count = elements;
    Memory made(count, type.getElementType());
    buffers.push_back(made.buffer);
    tensors[result] = made;
  }
  auto plain = llvm::map_to_vector(
      buffers, [](const auto &b) -> const cpu::Buffer * { return b.get(); });
  // The size is read only where rows are dynamic.
  if (llvm::Error error = kernels->run(symbols.at(op), plain, rows, workers))
    return op->emitError() << llvm::toString(std::move(error));
  return success();
}

/// The integers of rl.index. The minibatch is the whole set here.
static std::vector<int64_t> indexOf(StringRef name, const Axes &axes) {
  using rl::Axis;
  auto count = [](int64_t n) {
    std::vector<int64_t> result;
    for (int64_t i = 0; i < n; ++i)
      result.push_back(i);
    return result;
  };
  /// The first element of each owner, and the number of elements.
  auto offsets = [&](Axis fine, Axis coarse) {
    std::vector<int64_t> result(axes.size(coarse) + 1, 0);
    for (int64_t owner : axes.owners(fine, coarse))
      ++result[owner + 1];
    for (size_t i = 1; i < result.size(); ++i)
      result[i] += result[i - 1];
    return result;
  };
  using V = std::vector<int64_t>;
  return llvm::StringSwitch<llvm::function_ref<V()>>(name)
      .Case("sequence_offsets",
            [&] { return offsets(Axis::token, Axis::sequence); })
      .Case("group_offsets",
            [&] { return offsets(Axis::sequence, Axis::group); })
      .Case("group_token_offsets",
            [&] { return offsets(Axis::token, Axis::group); })
      .Case("token_sequence",
            [&] { return axes.owners(Axis::token, Axis::sequence); })
      .Case("token_group",
            [&] { return axes.owners(Axis::token, Axis::group); })
      .Case("sequence_group",
            [&] { return axes.owners(Axis::sequence, Axis::group); })
      .Case("all_tokens", [&] { return V{0, axes.size(Axis::token)}; })
      .Case("all_sequences", [&] { return V{0, axes.size(Axis::sequence)}; })
      .Case("all_groups", [&] { return V{0, axes.size(Axis::group)}; })
      .Case("view_tokens", [&] { return count(axes.size(Axis::token)); })
      .Case("view_sequences", [&] { return count(axes.size(Axis::sequence)); })
      .Default([&] { return count(axes.size(Axis::group)); })();
}

LogicalResult Implementation::execute(Operation *op) {
  return TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](rl::IndexOp index) {
        std::vector<int64_t> values = indexOf(
            index.getName(),
            formulas->axesOf(
                cast<rl::OutputsType>(index.getOutputs().getType()).getSet()));
        auto type = cast<RankedTensorType>(index.getResult().getType());
        Memory &made = tensors[index.getResult()] =
            Memory(values.size(), type.getElementType());
        std::copy(values.begin(), values.end(), made.as<int32_t>());
        return success();
      })
      .Case([&](rl::ToTensorOp to) -> LogicalResult {
        Operation *source = to.getValue().getDefiningOp();
        auto number = source->getAttrOfType<IntegerAttr>(givenName);
        const Column *column =
            number ? formulas->evaluate(given[number.getInt()]) : nullptr;
        if (!column)
          return source->emitError("this is not given");
        Type type =
            cast<RankedTensorType>(to.getResult().getType()).getElementType();
        Memory &made = tensors[to.getResult()] =
            Memory(column->numbers.size(), type);
        if (type.isF32())
          std::copy(column->numbers.begin(), column->numbers.end(),
                    made.as<float>());
        else
          std::copy(column->numbers.begin(), column->numbers.end(),
                    made.as<double>());
        return success();
      })
      .Case([&](rl::FromTensorOp from) {
        const Memory &source = tensors.find(from.getTensor())->second;
        results[from.getResult()].numbers.assign(
            source.as<double>(), source.as<double>() + source.count);
        return success();
      })
      .Default([&](Operation *other) -> LogicalResult {
        if (isa<kern::KernDialect>(other->getDialect()))
          return call(other);
        if (isa<rl::UpdateOp, rl::EveryOp>(other))
          return execute(other->getRegion(0).front());
        return success();
      });
}

LogicalResult Implementation::execute(Block &block) {
  for (Operation &op : block)
    if (failed(execute(&op)))
      return failure();
  return success();
}

LogicalResult Implementation::compile(ModuleOp module) {
  IRMapping mapping;
  clone = cast<ModuleOp>(module->clone(mapping));
  stage = cast<rl::StageOp>(mapping.lookup(loss.stage.getOperation()));
  if (failed(isolate(mapping)) || failed(lower()))
    return failure();
  if (options.change)
    options.change(*clone);
  return build();
}

CompiledUpdate::CompiledUpdate() = default;
CompiledUpdate::~CompiledUpdate() = default;

FailureOr<std::unique_ptr<CompiledUpdate>>
CompiledUpdate::compile(ModuleOp module, reference::Loss &loss,
                        Options options) {
  std::unique_ptr<CompiledUpdate> compiled(new CompiledUpdate);
  compiled->implementation =
      std::make_unique<Implementation>(loss, std::move(options));
  if (failed(compiled->implementation->compile(module)))
    return failure();
  return compiled;
}

FailureOr<CompiledUpdate::Results> CompiledUpdate::run(Formulas &formulas,
                                                       int64_t workers) {
  Implementation &it = *implementation;
  it.formulas = &formulas;
  it.workers = workers;
  it.tensors.clear();
  it.results.clear();
  if (failed(it.execute(it.stage.getBody().front())))
    return failure();
  Results results;
  for (auto &[operand, original] : it.wanted) {
    auto found = it.results.find(operand->get());
    if (found != it.results.end())
      results[original] = found->second;
    // A single constant stays one, without a kernel.
    else if (auto constant = operand->get().getDefiningOp<rl::ConstantOp>())
      results[original] = {{constant.getValue().convertToDouble()}, {}};
    else
      return operand->getOwner()->emitError("no kernel gave this value");
  }
  return results;
}
