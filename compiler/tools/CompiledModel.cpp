//===- CompiledModel.cpp - a model's functions as machine code ------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/CompiledModel.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c;
using cpu::Buffer;
using reference::Environment;
using reference::Tensor;

bool r1c::isKernelOp(Operation *op) {
  return isa_and_nonnull<kern::KernDialect>(op->getDialect()) &&
         isa<func::FuncOp>(op->getParentOp());
}

llvm::SetVector<Value> r1c::kernelArguments(Operation *op) {
  return {op->operand_begin(), op->operand_end()};
}

llvm::SmallDenseMap<Value, unsigned> r1c::kernelInits(Operation *op) {
  llvm::SmallDenseMap<Value, unsigned> inits;
  auto last = [&](ValueRange values) {
    unsigned first = op->getNumResults() - values.size();
    for (auto [i, init] : llvm::enumerate(values))
      inits[init] = first + i;
  };
  if (auto map = dyn_cast<kern::MapOp>(op)) {
    unsigned next = 0;
    for (auto [i, access] : llvm::enumerate(map.getResultAccess()))
      if (cast<kern::AccessAttr>(access).getKind() == kern::AccessKind::scatter)
        inits[map.getInits()[next++]] = i;
  } else if (auto rope = dyn_cast<kern::RopeOp>(op)) {
    last(rope.getInits());
  } else if (auto sum = dyn_cast<kern::ColumnSumOp>(op)) {
    if (sum.getInit())
      inits[sum.getInit()] = 0;
  } else if (auto product = dyn_cast<kern::MatmulOp>(op)) {
    if (product.getInit())
      inits[product.getInit()] = 0;
    last(product.getCaches());
  } else if (auto scatter = dyn_cast<kern::ScatterAddOp>(op)) {
    inits[scatter.getInit()] = 0;
  }
  return inits;
}

OwningOpRef<ModuleOp> r1c::outlineKernel(Operation *op, StringRef name) {
  OwningOpRef<ModuleOp> module = ModuleOp::create(op->getLoc());
  auto arguments = kernelArguments(op);
  OpBuilder at = OpBuilder::atBlockEnd(module->getBody());
  auto func = func::FuncOp::create(
      at, op->getLoc(), name,
      at.getFunctionType(
          llvm::map_to_vector(arguments, [](Value v) { return v.getType(); }),
          op->getResultTypes()));
  func->setAttr(kern::kernelAttrName, at.getUnitAttr());
  Block *entry = func.addEntryBlock();
  IRMapping map;
  for (auto [value, argument] : llvm::zip(arguments, entry->getArguments()))
    map.map(value, argument);
  OpBuilder inside = OpBuilder::atBlockEnd(entry);
  Operation *copy = inside.clone(*op, map);
  func::ReturnOp::create(inside, op->getLoc(), copy->getResults());
  return module;
}

FailureOr<std::unique_ptr<CompiledModel>>
CompiledModel::compile(ModuleOp fused, StringRef cpuName) {
  std::unique_ptr<CompiledModel> model(new CompiledModel);
  OwningOpRef<ModuleOp> all = ModuleOp::create(fused.getLoc());
  std::map<std::string, std::string> byText;
  fused.walk([&](Operation *op) {
    if (!isKernelOp(op))
      return;
    OwningOpRef<ModuleOp> module = outlineKernel(op, "kernel");
    auto func = *module->getOps<func::FuncOp>().begin();
    std::string text;
    llvm::raw_string_ostream(text) << func;
    auto [entryOf, fresh] =
        byText.emplace(text, "k" + std::to_string(byText.size()));
    model->symbols[op] = entryOf->second;
    if (fresh) {
      func.setName(entryOf->second);
      func->moveBefore(all->getBody(), all->getBody()->end());
    }
  });
  cpu::TargetOptions options;
  options.cpu = cpuName;
  auto kernels = cpu::LoadedKernels::load(*all, options);
  if (failed(kernels))
    return failure();
  model->kernels = std::move(*kernels);
  return model;
}

namespace {

/// A value while a function runs.
struct Memory {
  std::shared_ptr<Buffer> buffer;
  std::vector<int64_t> shape;
};

} // namespace

static Type elementType(Type type) {
  return isa<kern::PackedType>(type)
             ? cast<kern::PackedType>(type).getElementType()
             : cast<RankedTensorType>(type).getElementType();
}

static Memory store(const Tensor &x, Type type) {
  std::vector<float> floats(x.values.begin(), x.values.end());
  bool bf16 = elementType(type).isBF16();
  if (auto packed = dyn_cast<kern::PackedType>(type))
    return {
        std::make_shared<Buffer>(
            bf16 ? Buffer::of(cpu::packBf16(cpu::toBf16(floats), packed.getK(),
                                            packed.getN()))
                 : Buffer::of(cpu::pack(floats, packed.getK(), packed.getN()))),
        x.shape};
  if (elementType(type).isInteger(1))
    return {std::make_shared<Buffer>(Buffer::of(
                std::vector<uint8_t>(x.values.begin(), x.values.end()))),
            x.shape};
  if (elementType(type).isInteger()) {
    std::vector<int32_t> integers;
    for (double value : x.values)
      integers.push_back(int32_t(int64_t(value)));
    return {std::make_shared<Buffer>(Buffer::of(integers)), x.shape};
  }
  return {std::make_shared<Buffer>(bf16 ? Buffer::of(cpu::toBf16(floats))
                                        : Buffer::of(floats)),
          x.shape};
}

static Tensor load(const Memory &memory, Type type) {
  Tensor result(memory.shape);
  if (elementType(type).isInteger(1)) {
    auto values = memory.buffer->values<uint8_t>();
    std::copy(values.begin(), values.end(), result.values.begin());
  } else if (elementType(type).isInteger()) {
    auto values = memory.buffer->values<int32_t>();
    std::copy(values.begin(), values.end(), result.values.begin());
  } else {
    auto values = elementType(type).isBF16()
                      ? cpu::fromBf16(memory.buffer->values<uint16_t>())
                      : memory.buffer->values<float>();
    std::copy(values.begin(), values.end(), result.values.begin());
  }
  return result;
}

/// Tensors below each other, or some rows of one.
static Tensor partsOf(Operation &op, llvm::function_ref<Tensor(Value)> tensor) {
  auto type = cast<RankedTensorType>(op.getResult(0).getType());
  Tensor result({type.getShape().begin(), type.getShape().end()});
  auto to = result.values.begin();
  if (isa<tensor::ConcatOp>(op)) {
    for (Value part : op.getOperands())
      to = llvm::copy(tensor(part).values, to);
    return result;
  }
  auto slice = cast<tensor::ExtractSliceOp>(op);
  Tensor from = tensor(slice.getSource());
  int64_t first = from.count() / from.shape[0] * slice.getStaticOffset(0);
  std::copy_n(from.values.begin() + first, result.count(), to);
  return result;
}

/// The number of rows (of sequences, for attention's backward) that a kernel is
/// told.
static int64_t sizeOf(Operation *op,
                      llvm::function_ref<const Memory &(Value)> at) {
  auto rows = [&](Value value) { return at(value).shape.at(0); };
  auto space = [&](ValueRange inputs, ArrayAttr access, ValueRange indices) {
    for (auto [input, attribute] : llvm::zip(inputs, access)) {
      auto kind = cast<kern::AccessAttr>(attribute).getKind();
      if (kind == kern::AccessKind::element || kind == kern::AccessKind::row)
        return rows(input);
    }
    return rows(indices.front());
  };
  return TypeSwitch<Operation *, int64_t>(op)
      .Case<kern::RowOp, kern::MapOp, kern::ColumnSumOp>([&](auto op) {
        return space(op.getInputs(), op.getAccess(), op.getIndices());
      })
      .Case([&](kern::MatmulOp op) { return rows(op.getA()); })
      .Case<kern::RopeOp, kern::AnglesOp>(
          [&](auto op) { return rows(op.getPositions()); })
      .Case([&](kern::ScatterAddOp op) { return rows(op.getIds()); })
      .Case([&](kern::AttentionOp op) { return rows(op.getQ()); })
      .Case([&](kern::AttentionBackwardOp op) {
        return rows(op.getOffsets()) - 1;
      })
      .Default(int64_t(-1));
}

FailureOr<Environment> CompiledModel::run(func::FuncOp func,
                                          const Environment &environment,
                                          int64_t workers) {
  llvm::DenseMap<Value, Memory> memory;
  auto at = [&](Value value) -> const Memory & {
    return memory.find(value)->second;
  };
  auto arguments = reference::bindArguments(func, environment);
  if (failed(arguments))
    return failure();
  for (auto [argument, datum] : llvm::zip(func.getArguments(), *arguments))
    memory[argument] = store(std::get<Tensor>(datum), argument.getType());

  for (Operation &op : func.getBody().front().without_terminator()) {
    if (isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op)) {
      // A view: the same buffer.
      Memory view = at(op.getOperand(0));
      auto type = cast<RankedTensorType>(op.getResult(0).getType());
      int64_t count = 1, known = 1;
      for (int64_t size : view.shape)
        count *= size;
      for (int64_t size : type.getShape())
        known *= ShapedType::isDynamic(size) ? 1 : size;
      view.shape.clear();
      for (int64_t size : type.getShape())
        view.shape.push_back(ShapedType::isDynamic(size) ? count / known
                                                         : size);
      memory[op.getResult(0)] = view;
      continue;
    }
    if (isa<tensor::ConcatOp, tensor::ExtractSliceOp>(op)) {
      // Side by side, which these tensors need not lie here: copies.
      Value result = op.getResult(0);
      memory[result] = store(partsOf(op,
                                     [&](Value value) {
                                       return load(at(value), value.getType());
                                     }),
                             result.getType());
      continue;
    }
    if (!isKernelOp(&op))
      continue; // sizes
    auto inits = kernelInits(&op);
    int64_t size = sizeOf(&op, at);
    SmallVector<Memory> results(op.getNumResults());
    std::vector<const Buffer *> buffers;
    for (Value argument : kernelArguments(&op)) {
      auto init = inits.find(argument);
      if (init == inits.end()) {
        buffers.push_back(at(argument).buffer.get());
        continue;
      }
      // The init's buffer becomes the result's; others may still read it here.
      results[init->second] =
          store(load(at(argument), argument.getType()), argument.getType());
    }
    bool backward = isa<kern::AttentionBackwardOp>(op);
    for (auto [result, value] : llvm::zip(results, op.getResults())) {
      if (!result.buffer) {
        auto type = cast<RankedTensorType>(value.getType());
        int64_t count = 1;
        for (int64_t dimension : type.getShape()) {
          if (ShapedType::isDynamic(dimension))
            dimension = backward ? at(op.getOperand(0)).shape[0] : size;
          result.shape.push_back(dimension);
          count *= dimension;
        }
        Type element = type.getElementType();
        result.buffer = std::make_shared<Buffer>(
            element.isInteger(1) ? Buffer::poisoned<uint8_t>(count)
            : element.isBF16()   ? Buffer::poisoned<uint16_t>(count)
                                 : Buffer::poisoned<float>(count));
      }
      buffers.push_back(result.buffer.get());
    }
    if (llvm::Error error =
            kernels->run(symbols.lookup(&op), buffers, size, workers))
      return op.emitError() << llvm::toString(std::move(error));
    for (auto [result, value] : llvm::zip(results, op.getResults()))
      memory[value] = result;
  }
  Environment byKey;
  for (auto [i, value] :
       llvm::enumerate(func.getBody().front().getTerminator()->getOperands()))
    byKey[reference::keyOf(func.getResultAttrDict(i))] =
        load(at(value), value.getType());
  return byKey;
}
