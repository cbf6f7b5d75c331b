//===- EvalCpu.cpp - run an update's formulas as compiled -----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/EvalCpu.h"
#include "compiler/phases/Phases.h"
#include "compiler/target/cpu/Cpu.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/TargetSelect.h"

#include <cstring>
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace mlir;
using namespace r1c;
using reference::Axes;
using reference::Column;

namespace {

/// On an op whose result is given: its number in `given`.
constexpr llvm::StringLiteral givenName = "r1c.given";

/// A tensor in memory, aligned and padded as the kernel ABI wants it.
struct Buffer {
  int64_t count = 0;
  std::unique_ptr<void, decltype(&std::free)> start{nullptr, std::free};

  Buffer() = default;
  Buffer(int64_t count, Type element) : count(count) {
    size_t width =
        element.isInteger(1) ? 1 : element.getIntOrFloatBitWidth() / 8;
    size_t bytes = (count * width + 127) / 64 * 64;
    start.reset(std::aligned_alloc(64, bytes));
    // As floats and doubles: NaN. What no kernel writes must not pass for a
    // result.
    std::memset(start.get(), 0xff, bytes);
  }
  template <typename T>
  T *as() const {
    return static_cast<T *>(start.get());
  }
};

using Kernel = void (*)(void *const *, int64_t, int64_t);

class CpuUpdate {
public:
  CpuUpdate(reference::Loss &loss, reference::Formulas &formulas,
            StringRef cpuName)
      : loss(loss), formulas(formulas), cpuName(cpuName) {}
  ~CpuUpdate() {
    if (library)
      dlclose(library);
    if (file >= 0)
      close(file);
  }
  LogicalResult run(ModuleOp module);

private:
  LogicalResult isolate(IRMapping &mapping);
  LogicalResult lower(ModuleOp clone);
  LogicalResult build(ModuleOp clone);
  LogicalResult execute(Block &block);
  LogicalResult execute(Operation *op);
  LogicalResult call(Operation *op);
  Value asGiven(OpBuilder &builder, Value original);
  void keep(Operation *op, unsigned operand, Value original);

  reference::Loss &loss;
  reference::Formulas &formulas;
  StringRef cpuName;
  std::vector<Value> given; // by the number in the attribute
  std::vector<std::pair<OpOperand *, Value>>
      wanted; // result of the clone, value
  DenseMap<Operation *, std::string> symbols;
  std::map<const void *, Buffer> tensors;
  std::map<const void *, Column> results; // of rl.from_tensor
  int file = -1;
  void *library = nullptr;
};

bool isFormula(Operation *op) {
  return isa<rl::MapOp, rl::RepeatOp, rl::ReduceOp, rl::ReduceGradOp,
             rl::ScanOp, rl::StopOp, rl::CountOp, rl::ConstantOp>(op);
}

} // namespace

/// An op without operands that stands for what the interpreter knows.
Value CpuUpdate::asGiven(OpBuilder &builder, Value original) {
  auto op = UnrealizedConversionCastOp::create(
      builder, original.getLoc(), original.getType(), ValueRange());
  op->setAttr(givenName, builder.getI64IntegerAttr(given.size()));
  given.push_back(original);
  return op.getResult(0);
}

/// Leaves of the clone nothing but the update's formulas and what they read.
LogicalResult CpuUpdate::isolate(IRMapping &mapping) {
  auto update = cast<rl::UpdateOp>(mapping.lookup(loss.update.getOperation()));
  OpBuilder before(update), inside(update.getContext());
  DenseMap<Value, Value> outside;
  loss.update.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (op->getParentOp() != loss.update)
      return;
    Operation *clone = mapping.lookup(op);
    for (auto [i, operand] : llvm::enumerate(op->getOperands())) {
      Operation *source = operand.getDefiningOp();
      if (!isa<rl::NumType, rl::FlagType>(operand.getType()) ||
          loss.update->isProperAncestor(source))
        continue;
      Value &value = outside[operand];
      if (!value && isa<rl::ConstantOp>(source))
        value = before.clone(*source)->getResult(0);
      else if (!value)
        value = asGiven(before, operand);
      clone->setOperand(i, value);
    }
    if (op->getNumResults() != 1 ||
        !isa<rl::NumType, rl::FlagType>(op->getResult(0).getType()))
      return;
    if (!isFormula(op)) {
      clone->setAttr(givenName, inside.getI64IntegerAttr(given.size()));
      given.push_back(op->getResult(0));
    } else if (formulas.isBound(op->getResult(0))) {
      inside.setInsertionPoint(clone);
      clone->getResult(0).replaceAllUsesWith(asGiven(inside, op->getResult(0)));
    }
  });
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
  // From the end, so that what only the dead read dies too.
  auto prune = [&](Block &block) {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (op.use_empty() && !isa<rl::UpdateOp, rl::MetricOp, rl::AdamWOp>(op))
        op.erase();
  };
  prune(update.getBody().front());
  for (auto outer :
       llvm::make_early_inc_range(update->getBlock()->getOps<rl::MetricOp>()))
    outer.erase();
  prune(*update->getBlock());
  return success();
}

void CpuUpdate::keep(Operation *op, unsigned operand, Value original) {
  wanted.push_back({&op->getOpOperand(operand), original});
}

/// The phase `ragged`, and nothing but it.
LogicalResult CpuUpdate::lower(ModuleOp clone) {
  PassManager pm(clone.getContext());
  return failed(addPhase(*findPhase("ragged"), pm)) ? failure() : pm.run(clone);
}

/// One kernel for each kern op, in a library that is opened.
LogicalResult CpuUpdate::build(ModuleOp clone) {
  clone.getContext()->loadDialect<func::FuncDialect>();
  OpBuilder builder(clone.getContext());
  OwningOpRef<ModuleOp> kernels = ModuleOp::create(builder, clone.getLoc());
  clone.walk([&](Operation *op) {
    if (!isa<kern::KernDialect>(op->getDialect()) ||
        !isa<rl::UpdateOp, rl::StageOp, rl::EveryOp>(op->getParentOp()))
      return;
    builder.setInsertionPointToEnd(kernels->getBody());
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
  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  cpu::TargetOptions options;
  options.cpu = cpuName;
  auto code = cpu::buildKernels(*kernels, options);
  if (failed(code))
    return failure();
  file = memfd_create("formulas", MFD_CLOEXEC);
  if (file < 0 || write(file, code->data(), code->size()) !=
                      static_cast<ssize_t>(code->size()))
    return clone.emitError("cannot write the kernels to memory");
  std::string path = "/proc/self/fd/" + std::to_string(file);
  library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return clone.emitError("cannot open the kernels: ") << dlerror();
  return success();
}

/// Rows of a kern op, and elements of its ragged rows.
static std::pair<int64_t, int64_t>
sizesOf(Operation *op, llvm::function_ref<const Buffer &(Value)> buffer) {
  auto ofOffsets = [&](Value offsets) -> std::pair<int64_t, int64_t> {
    const Buffer &b = buffer(offsets);
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

LogicalResult CpuUpdate::call(Operation *op) {
  if (!isa<kern::RowOp, kern::ScanOp, kern::QuantileOp, kern::MapOp>(op))
    return op->emitError("'") << op->getName() << "' is no formula";
  auto buffer = [&](Value value) -> const Buffer & {
    return tensors.at(value.getAsOpaquePointer());
  };
  auto [rows, elements] = sizesOf(op, buffer);
  std::vector<void *> arguments;
  for (Value operand : op->getOperands())
    arguments.push_back(buffer(operand).start.get());
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
    Buffer &made = tensors[result.getAsOpaquePointer()] =
        Buffer(count, type.getElementType());
    arguments.push_back(made.start.get());
  }
  // Read only where rows are dynamic.
  int64_t size = rows;
  arguments.push_back(&size);
  auto kernel =
      reinterpret_cast<Kernel>(dlsym(library, symbols.at(op).c_str()));
  if (!kernel)
    return op->emitError("has no kernel");
  kernel(arguments.data(), 0, 1);
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

LogicalResult CpuUpdate::execute(Operation *op) {
  return TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](rl::IndexOp index) {
        std::vector<int64_t> values =
            indexOf(index.getName(), formulas.axesOf(loss.set()));
        auto type = cast<RankedTensorType>(index.getResult().getType());
        Buffer &made = tensors[index.getResult().getAsOpaquePointer()] =
            Buffer(values.size(), type.getElementType());
        std::copy(values.begin(), values.end(), made.as<int32_t>());
        return success();
      })
      .Case([&](rl::ToTensorOp to) -> LogicalResult {
        Operation *source = to.getValue().getDefiningOp();
        auto number = source->getAttrOfType<IntegerAttr>(givenName);
        const Column *column =
            number ? formulas.evaluate(given[number.getInt()]) : nullptr;
        if (!column)
          return source->emitError("this is not given");
        Type type =
            cast<RankedTensorType>(to.getResult().getType()).getElementType();
        Buffer &made = tensors[to.getResult().getAsOpaquePointer()] =
            Buffer(column->numbers.size(), type);
        if (type.isF32())
          std::copy(column->numbers.begin(), column->numbers.end(),
                    made.as<float>());
        else
          std::copy(column->numbers.begin(), column->numbers.end(),
                    made.as<double>());
        return success();
      })
      .Case([&](rl::FromTensorOp from) {
        const Buffer &source =
            tensors.at(from.getTensor().getAsOpaquePointer());
        results[from.getResult().getAsOpaquePointer()].numbers.assign(
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

LogicalResult CpuUpdate::execute(Block &block) {
  for (Operation &op : block)
    if (failed(execute(&op)))
      return failure();
  return success();
}

LogicalResult CpuUpdate::run(ModuleOp module) {
  IRMapping mapping;
  OwningOpRef<ModuleOp> clone = cast<ModuleOp>(module->clone(mapping));
  auto stage = cast<rl::StageOp>(mapping.lookup(loss.stage.getOperation()));
  if (failed(isolate(mapping)) || failed(lower(*clone)) ||
      failed(build(*clone)) || failed(execute(stage.getBody().front())))
    return failure();
  for (auto &[operand, original] : wanted) {
    auto found = results.find(operand->get().getAsOpaquePointer());
    // A single constant stays one, without a kernel.
    if (found != results.end())
      formulas.bind(original, found->second);
    else if (!operand->get().getDefiningOp<rl::ConstantOp>())
      return operand->getOwner()->emitError("no kernel gave this value");
  }
  return success();
}

LogicalResult r1c::evaluateOnCpu(ModuleOp module, reference::Loss &loss,
                                 reference::Formulas &formulas,
                                 llvm::StringRef cpu) {
  return CpuUpdate(loss, formulas, cpu).run(module);
}
