//===- RLToKern.cpp - axis-typed values become tensors with offsets -------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A value on an axis becomes a flat tensor over the tokens, sequences or groups
// of its set; a map becomes a kern.map, a repeat a gather, a reduction a ragged
// kern.row. Inside an rl.update a value from outside is gathered through the
// current minibatch.
//===----------------------------------------------------------------------===//

#include "compiler/phases/Passes.h"
#include "compiler/phases/ragged/KernBuilder.h"
#include "compiler/phases/ragged/Reductions.h"
#include "dialects/rl/RL.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/TypeSwitch.h"

namespace r1c {
#define GEN_PASS_DEF_RLTOKERNPASS
#include "compiler/phases/Passes.h.inc"
} // namespace r1c

using namespace mlir;
using namespace r1c;
using rl::Axis;

namespace {

bool isFormula(Type type) { return isa<rl::NumType, rl::FlagType>(type); }

Axis axisOf(Type type) {
  return TypeSwitch<Type, Axis>(type)
      .Case<rl::NumType, rl::FlagType, rl::TextType>(
          [](auto t) { return t.getAxis(); });
}
StringRef setOf(Type type) {
  return TypeSwitch<Type, StringRef>(type)
      .Case<rl::NumType, rl::FlagType, rl::TextType>(
          [](auto t) { return t.getSet(); });
}

StringRef plural(Axis axis) {
  return axis == Axis::token      ? "tokens"
         : axis == Axis::sequence ? "sequences"
                                  : "groups";
}

/// Tensors and outputs that ops of one body see.
struct Scope {
  Scope *parent = nullptr;
  bool isUpdate = false;
  Block *block = nullptr;
  bool inUpdate() const { return isUpdate || (parent && parent->inUpdate()); }
  DenseMap<Value, Value> tensors;
  llvm::StringMap<Value> outputs;                       // by set
  DenseMap<std::pair<Value, Attribute>, Value> indices; // by set and name
};

class Converter {
public:
  explicit Converter(MLIRContext *context) : builder(context) {}
  LogicalResult convert(Block &block, Scope &scope);

private:
  RankedTensorType tensorType(Axis axis, Type element) {
    int64_t size = axis == Axis::one ? 1 : ShapedType::kDynamic;
    return RankedTensorType::get({size}, element);
  }
  RankedTensorType tensorFor(Type type) {
    Type element = isa<rl::FlagType>(type) ? Type(builder.getI1Type())
                                           : Type(builder.getF64Type());
    return tensorType(axisOf(type), element);
  }

  Value outputsOf(Scope &scope, StringRef set);
  Value index(Scope &scope, StringRef set, StringRef name);
  Value tensorOf(Scope &scope, Value value, Location loc);
  Value numbersOf(Value flags, Location loc);
  ragged::Operand operandFor(Scope &scope, Value value, Axis axis,
                             Location loc);

  LogicalResult convertOp(Operation *op, Scope &scope);
  LogicalResult convertMap(rl::MapOp op, Scope &scope);
  LogicalResult convertRepeat(rl::RepeatOp op, Scope &scope);
  LogicalResult convertReduce(rl::ReduceOp op, Scope &scope);
  LogicalResult convertReduceGrad(rl::ReduceGradOp op, Scope &scope);
  void convertCount(rl::CountOp op, Scope &scope);
  FailureOr<Value> offsetsFor(Scope &scope, Operation *op, Axis from, Axis to,
                              StringRef set);
  void crossBorder(Operation *op, Scope &scope);

  OpBuilder builder;
};

Value Converter::outputsOf(Scope &scope, StringRef set) {
  for (Scope *s = &scope; s; s = s->parent)
    if (Value value = s->outputs.lookup(set))
      return value;
  return {};
}

Value Converter::index(Scope &scope, StringRef set, StringRef name) {
  Value outputs = outputsOf(scope, set);
  Value &value = scope.indices[{outputs, builder.getStringAttr(name)}];
  if (value)
    return value;
  // At the start of the body, or right behind the op that makes the set: the
  // same index then serves all that follows.
  OpBuilder::InsertionGuard guard(builder);
  if (outputs.getParentBlock() == scope.block && outputs.getDefiningOp())
    builder.setInsertionPointAfterValue(outputs);
  else
    builder.setInsertionPointToStart(scope.block);
  bool isPair = name.starts_with("all_");
  auto type = RankedTensorType::get({isPair ? 2 : ShapedType::kDynamic},
                                    builder.getI32Type());
  value = rl::IndexOp::create(builder, outputs.getLoc(), type, outputs, name,
                              scope.inUpdate());
  return value;
}

Value Converter::tensorOf(Scope &scope, Value value, Location loc) {
  if (Value tensor = scope.tensors.lookup(value))
    return tensor;
  if (!scope.parent)
    return {};
  Value outer = tensorOf(*scope.parent, value, loc);
  if (!outer || !scope.isUpdate || axisOf(value.getType()) == Axis::one)
    return outer;
  // A value of the whole set, seen through the minibatch.
  OpBuilder::InsertionGuard guard(builder);
  Axis axis = axisOf(value.getType());
  Value through =
      index(scope, setOf(value.getType()), ("view_" + plural(axis)).str());
  builder.setInsertionPointAfterValue(through);
  Value view =
      ragged::map(builder, value.getLoc(), tensorFor(value.getType()),
                  ragged::gathered(outer), through,
                  [](OpBuilder &, Location, ValueRange x) { return x[0]; });
  scope.tensors[value] = view;
  return view;
}

ragged::Operand Converter::operandFor(Scope &scope, Value value, Axis axis,
                                      Location loc) {
  Value tensor = tensorOf(scope, value, loc);
  if (axisOf(value.getType()) == Axis::one && axis != Axis::one)
    return ragged::one(tensor);
  return ragged::element(tensor);
}

LogicalResult Converter::convertMap(rl::MapOp op, Scope &scope) {
  Type type = op.getResult().getType();
  Axis axis = axisOf(type);
  SmallVector<ragged::Operand> operands;
  SmallVector<std::optional<double>> constants;
  for (Value input : op.getInputs()) {
    auto constant = input.getDefiningOp<rl::ConstantOp>();
    constants.push_back(
        constant ? std::optional(constant.getValue().convertToDouble())
                 : std::nullopt);
    if (!constant)
      operands.push_back(operandFor(scope, input, axis, op.getLoc()));
  }
  // A formula of nothing but numbers still needs rows of its axis to stand on:
  // an index over them gives their number.
  bool needsRows = axis != Axis::one &&
                   llvm::all_of(operands, [](const ragged::Operand &operand) {
                     return operand.access.getKind() == kern::AccessKind::one;
                   });
  if (needsRows && axis == Axis::group)
    return op.emitError("a formula of single numbers has no group to stand on");
  if (needsRows)
    operands.push_back(ragged::element(
        index(scope, setOf(type),
              axis == Axis::token ? "token_sequence" : "sequence_group")));
  Block &body = op.getBody().front();
  scope.tensors[op.getResult()] = ragged::map(
      builder, op.getLoc(), tensorFor(type), operands, Value(),
      [&](OpBuilder &b, Location loc, ValueRange elements) {
        IRMapping mapping;
        unsigned next = 0;
        for (auto [argument, constant] :
             llvm::zip(body.getArguments(), constants))
          mapping.map(argument, constant
                                    ? arith::ConstantOp::create(
                                          b, loc, b.getF64FloatAttr(*constant))
                                          .getResult()
                                    : elements[next++]);
        for (Operation &inner : body.without_terminator())
          b.clone(inner, mapping);
        return mapping.lookup(body.getTerminator()->getOperand(0));
      });
  return success();
}

LogicalResult Converter::convertRepeat(rl::RepeatOp op, Scope &scope) {
  Axis from = axisOf(op.getValue().getType()),
       to = axisOf(op.getResult().getType());
  Value tensor = tensorOf(scope, op.getValue(), op.getLoc());
  if (from == Axis::one)
    return op.emitError("a single number needs no repeat");
  std::string name =
      (rl::stringifyAxis(to) + "_" + rl::stringifyAxis(from)).str();
  scope.tensors[op.getResult()] =
      ragged::map(builder, op.getLoc(), tensorFor(op.getResult().getType()),
                  ragged::gathered(tensor),
                  index(scope, setOf(op.getResult().getType()), name),
                  [](OpBuilder &, Location, ValueRange x) { return x[0]; });
  return success();
}

FailureOr<Value> Converter::offsetsFor(Scope &scope, Operation *op, Axis from,
                                       Axis to, StringRef set) {
  if (to == Axis::one)
    return index(scope, set, ("all_" + plural(from)).str());
  if (from == Axis::token && to == Axis::sequence)
    return index(scope, set, "sequence_offsets");
  if (from == Axis::token && to == Axis::group)
    return index(scope, set, "group_token_offsets");
  if (from == Axis::sequence && to == Axis::group)
    return index(scope, set, "group_offsets");
  return op->emitError("no offsets from ")
         << rl::stringifyAxis(from) << " to " << rl::stringifyAxis(to);
}

LogicalResult Converter::convertReduce(rl::ReduceOp op, Scope &scope) {
  Type from = op.getValue().getType(), to = op.getResult().getType();
  FailureOr<Value> offsets =
      offsetsFor(scope, op, axisOf(from), axisOf(to), setOf(from));
  if (failed(offsets))
    return failure();
  Location loc = op.getLoc();
  Value where = op.getWhere();
  if (op.getKind() == rl::ReduceKind::quantile) {
    auto q = op.getQ().getDefiningOp<rl::ConstantOp>();
    if (!q)
      return op.emitError("the rank of a quantile must be a constant");
    scope.tensors[op.getResult()] = kern::QuantileOp::create(
        builder, loc, tensorFor(to), tensorOf(scope, op.getValue(), loc),
        where ? tensorOf(scope, where, loc) : Value(), *offsets,
        q.getValueAttr());
    return success();
  }
  SmallVector<ragged::Operand> operands{
      ragged::element(tensorOf(scope, op.getValue(), loc))};
  if (where)
    operands.push_back(ragged::element(tensorOf(scope, where, loc)));
  scope.tensors[op.getResult()] = ragged::reduce(
      builder, loc, tensorFor(to), operands, *offsets,
      [&](OpBuilder &b, Location loc, ValueRange x) {
        return ragged::buildReduction(b, loc, op.getKind(), x[0],
                                      x.size() > 1 ? x[1] : Value());
      });
  return success();
}

LogicalResult Converter::convertReduceGrad(rl::ReduceGradOp op, Scope &scope) {
  Type of = op.getValue().getType();
  FailureOr<Value> offsets = offsetsFor(
      scope, op, axisOf(of), axisOf(op.getSeed().getType()), setOf(of));
  if (failed(offsets))
    return failure();
  Location loc = op.getLoc();
  Value seed = tensorOf(scope, op.getSeed(), loc);
  SmallVector<ragged::Operand> operands{
      ragged::element(tensorOf(scope, op.getValue(), loc)),
      axisOf(op.getSeed().getType()) == Axis::one ? ragged::one(seed)
                                                  : ragged::row(seed)};
  if (Value where = op.getWhere())
    operands.push_back(ragged::element(tensorOf(scope, where, loc)));
  scope.tensors[op.getResult()] = ragged::reduce(
      builder, loc, tensorFor(of), operands, *offsets,
      [&](OpBuilder &b, Location loc, ValueRange x) {
        return ragged::buildReductionGrad(b, loc, op.getKind(), x[0], x[1],
                                          x.size() > 2 ? x[2] : Value());
      },
      kern::AccessKind::element);
  return success();
}

void Converter::convertCount(rl::CountOp op, Scope &scope) {
  Type to = op.getResult().getType();
  StringRef set = cast<rl::OutputsType>(op.getOutputs().getType()).getSet();
  FailureOr<Value> offsets = offsetsFor(scope, op, op.getOf(), axisOf(to), set);
  scope.tensors[op.getResult()] = ragged::reduce(
      builder, op.getLoc(), tensorFor(to), {}, *offsets,
      [](OpBuilder &b, Location loc, ValueRange) -> Value {
        Value one = arith::ConstantOp::create(b, loc, b.getF64FloatAttr(1));
        return kern::ReduceOp::create(b, loc, kern::ReduceKind::add, one);
      });
}

/// Flags as 0 and 1.
Value Converter::numbersOf(Value flags, Location loc) {
  auto type = cast<RankedTensorType>(flags.getType());
  return ragged::map(
      builder, loc,
      RankedTensorType::get(type.getShape(), builder.getF64Type()),
      ragged::element(flags), Value(),
      [](OpBuilder &b, Location loc, ValueRange x) -> Value {
        return arith::UIToFPOp::create(b, loc, b.getF64Type(), x[0]);
      });
}

/// An op that stays: its formula operands come from tensors, its formula
/// results go to tensors.
void Converter::crossBorder(Operation *op, Scope &scope) {
  Location loc = op->getLoc();
  // A field read here is that of the minibatch: not the same value as the
  // same field read outside.
  if (isa<rl::FieldOp>(op) && scope.inUpdate())
    op->setAttr("view", builder.getUnitAttr());
  for (OpOperand &operand : op->getOpOperands()) {
    Value value = operand.get();
    if (!isFormula(value.getType()) || value.getDefiningOp<rl::ConstantOp>())
      continue;
    Value tensor = tensorOf(scope, value, loc);
    if (isa<rl::FlagType>(value.getType()))
      tensor = numbersOf(tensor, loc);
    operand.set(rl::FromTensorOp::create(builder, value.getLoc(),
                                         value.getType(), tensor));
  }
  builder.setInsertionPointAfter(op);
  for (Value result : op->getResults()) {
    if (auto outputs = dyn_cast<rl::OutputsType>(result.getType()))
      scope.outputs[outputs.getSet()] = result;
    if (!isFormula(result.getType()))
      continue;
    auto field = dyn_cast<rl::FieldOp>(op);
    bool isSingle = isa<rl::LogprobOp, rl::EntropyOp>(op) ||
                    (field && field.getName() == "logp");
    Type element = isSingle ? Type(builder.getF32Type()) : builder.getF64Type();
    Axis axis = axisOf(result.getType());
    Value tensor =
        rl::ToTensorOp::create(builder, loc, tensorType(axis, element), result);
    if (isSingle)
      tensor = ragged::map(
          builder, loc, tensorFor(result.getType()), ragged::element(tensor),
          Value(), [](OpBuilder &b, Location loc, ValueRange x) -> Value {
            return arith::ExtFOp::create(b, loc, b.getF64Type(), x[0]);
          });
    if (isa<rl::FlagType>(result.getType()))
      tensor = ragged::map(
          builder, loc, tensorFor(result.getType()), ragged::element(tensor),
          Value(), [](OpBuilder &b, Location loc, ValueRange x) -> Value {
            Value zero =
                arith::ConstantOp::create(b, loc, b.getF64FloatAttr(0));
            return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNE,
                                         x[0], zero);
          });
    scope.tensors[result] = tensor;
  }
}

LogicalResult Converter::convertOp(Operation *op, Scope &scope) {
  builder.setInsertionPoint(op);
  return TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](rl::MapOp map) { return convertMap(map, scope); })
      .Case([&](rl::ReduceOp reduce) { return convertReduce(reduce, scope); })
      .Case(
          [&](rl::ReduceGradOp grad) { return convertReduceGrad(grad, scope); })
      .Case([&](rl::CountOp count) {
        convertCount(count, scope);
        return success();
      })
      .Case([&](rl::RepeatOp repeat) {
        if (!isFormula(repeat.getResult().getType()))
          return success(); // texts stay with the host
        return convertRepeat(repeat, scope);
      })
      .Case([&](rl::ScanOp scan) {
        Value x = tensorOf(scope, scan.getValue(), op->getLoc());
        Value offsets =
            index(scope, setOf(scan.getValue().getType()), "sequence_offsets");
        auto kind = scan.getKind() == rl::ScanKind::prefix_sum
                        ? kern::ScanKind::prefix_sum
                        : kern::ScanKind::suffix_sum;
        scope.tensors[scan.getResult()] = kern::ScanOp::create(
            builder, op->getLoc(), x.getType(), kind, x, offsets);
        return success();
      })
      .Case([&](rl::StopOp stop) {
        scope.tensors[stop.getResult()] =
            tensorOf(scope, stop.getValue(), op->getLoc());
        return success();
      })
      .Case([&](rl::ConstantOp constant) {
        // For those that are an operand of a kernel on axis one or a reduction.
        auto type = tensorFor(constant.getResult().getType());
        scope.tensors[constant.getResult()] = ragged::map(
            builder, op->getLoc(), type, {}, Value(),
            [&](OpBuilder &b, Location loc, ValueRange) -> Value {
              return arith::ConstantOp::create(
                  b, loc,
                  b.getF64FloatAttr(constant.getValue().convertToDouble()));
            });
        return success();
      })
      .Default([&](Operation *other) {
        crossBorder(other, scope);
        for (Region &region : other->getRegions()) {
          if (region.empty())
            continue;
          Scope inner;
          inner.parent = &scope;
          inner.block = &region.front();
          inner.isUpdate = isa<rl::UpdateOp>(other);
          for (Value argument : region.front().getArguments())
            if (auto outputs = dyn_cast<rl::OutputsType>(argument.getType()))
              inner.outputs[outputs.getSet()] = argument;
          if (failed(convert(region.front(), inner)))
            return failure();
        }
        return success();
      });
}

LogicalResult Converter::convert(Block &block, Scope &scope) {
  SmallVector<Operation *> ops;
  for (Operation &op : block)
    ops.push_back(&op);
  for (Operation *op : ops)
    if (failed(convertOp(op, scope)))
      return failure();
  // Users come after definitions, so formulas die from the end.
  for (Operation *op : llvm::reverse(ops))
    if (isa<rl::MapOp, rl::ReduceOp, rl::ReduceGradOp, rl::RepeatOp, rl::ScanOp,
            rl::StopOp, rl::CountOp, rl::ConstantOp>(op) &&
        op->use_empty())
      op->erase();
  return success();
}

class RLToKernPass : public r1c::impl::RLToKernPassBase<RLToKernPass> {
  void runOnOperation() override {
    for (auto stage : getOperation().getOps<rl::StageOp>()) {
      Scope scope;
      scope.block = &stage.getBody().front();
      if (failed(Converter(&getContext()).convert(*scope.block, scope)))
        return signalPassFailure();
    }
  }
};

} // namespace
