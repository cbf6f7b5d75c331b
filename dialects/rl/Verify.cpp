//===- Verify.cpp - verifiers of rl: values and formulas ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/rl/RL.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace r1c::rl;

/// `type` is per `axis` of the same set as `outputs`.
static LogicalResult verifyPer(Operation *op, Type type, Axis axis,
                               Type outputs, StringRef what) {
  if (getAxis(type) != axis || getSet(type) != getSet(outputs))
    return op->emitOpError()
           << what << " is per " << stringifyAxis(axis) << " of \""
           << getSet(outputs) << "\", not " << type;
  return success();
}

/// A mask for values of type `type`: on their axis, or one flag for all.
static LogicalResult verifyWhere(Operation *op, Value mask, Type type) {
  if (!mask || getAxis(mask.getType()) == Axis::one)
    return success();
  Type where = mask.getType();
  if (getAxis(where) != getAxis(type) || getSet(where) != getSet(type))
    return op->emitOpError()
           << "'where' is " << where << " but what it masks is " << type;
  return success();
}

//===----------------------------------------------------------------------===//
// Values of a set
//===----------------------------------------------------------------------===//

LogicalResult FieldOp::verify() {
  Type type = getResult().getType();
  auto expect = [&](auto kind, Axis axis) -> LogicalResult {
    if (!isa<decltype(kind)>(type))
      return emitOpError() << "'" << getName() << "' cannot be " << type;
    return verifyPer(*this, type, axis, getOutputs().getType(), getName());
  };
  StringRef name = getName();
  if (name == "logp" || name == "position")
    return expect(NumType(), Axis::token);
  if (name == "last")
    return expect(FlagType(), Axis::token);
  if (name == "length")
    return expect(NumType(), Axis::sequence);
  if (name == "truncated")
    return expect(FlagType(), Axis::sequence);
  if (name == "text" || name == "prompt")
    return expect(TextType(), Axis::sequence);
  return verifyPer(*this, type, Axis::sequence, getOutputs().getType(), name);
}

/// Rules of every reduction: to a coarser axis of the same set; a single
/// number says over what, and the batch exists in an update only.
static LogicalResult verifyCoarser(Operation *op, Axis from, StringRef set,
                                   Type result, std::optional<Domain> domain) {
  Axis to = *getAxis(result);
  if (to >= from)
    return op->emitOpError()
           << "reduces values per " << stringifyAxis(from)
           << " to a coarser axis, not to " << stringifyAxis(to);
  if (to != Axis::one) {
    if (domain)
      return op->emitOpError("says 'over' only when it gives one number");
    if (getSet(result) != set)
      return op->emitOpError() << "reduces values of \"" << set
                               << "\" to values of \"" << getSet(result) << '"';
    return success();
  }
  if (!domain)
    return op->emitOpError(
        "gives one number: say 'over batch' or 'over rollout'");
  bool inUpdate = static_cast<bool>(getEnclosingUpdate(op));
  if (*domain == Domain::batch && !inUpdate)
    return op->emitOpError("'over batch' exists only inside rl.update");
  if (*domain == Domain::rollout && inUpdate)
    return op->emitOpError("'over rollout' stands before rl.update: inside it, "
                           "values are seen through the minibatch");
  return success();
}

LogicalResult CountOp::verify() {
  if (getOf() != Axis::token && getOf() != Axis::sequence)
    return emitOpError("counts tokens or sequences");
  return verifyCoarser(*this, getOf(), getSet(getOutputs().getType()),
                       getResult().getType(), getDomain());
}

/// Inside an update only the updated policy may be read.
static LogicalResult verifyReader(Operation *op, FlatSymbolRefAttr policy) {
  UpdateOp update = getEnclosingUpdate(op);
  if (update && update.getPolicyAttr() != policy)
    return op->emitOpError()
           << "of " << policy << " does not change in an update of "
           << update.getPolicyAttr() << ": it stands before rl.update";
  return success();
}

LogicalResult LogprobOp::verify() {
  if (failed(verifyReader(*this, getPolicyAttr())) ||
      failed(verifyPer(*this, getResult().getType(), Axis::token,
                       getOutputs().getType(), "a log-probability")))
    return failure();
  return verifyWhere(*this, getWhere(), getResult().getType());
}

LogicalResult EntropyOp::verify() {
  if (failed(verifyReader(*this, getPolicyAttr())) ||
      failed(verifyPer(*this, getResult().getType(), Axis::token,
                       getOutputs().getType(), "an entropy")))
    return failure();
  return verifyWhere(*this, getWhere(), getResult().getType());
}

LogicalResult ValueOp::verify() {
  if (failed(verifyReader(*this, getPolicyAttr())) ||
      failed(verifyPer(*this, getResult().getType(), Axis::sequence,
                       getOutputs().getType(), "a value")))
    return failure();
  if (getCompletion() &&
      failed(verifyPer(*this, getCompletion().getType(), Axis::sequence,
                       getOutputs().getType(), "'completion'")))
    return failure();
  return verifyWhere(*this, getWhere(), getResult().getType());
}

//===----------------------------------------------------------------------===//
// Formulas
//===----------------------------------------------------------------------===//

/// Operands are on the axis and of the set of the result, or single values.
static LogicalResult verifyAxes(Operation *op, ValueRange inputs, Type result) {
  for (Value input : inputs) {
    Axis axis = *getAxis(input.getType());
    if (axis == Axis::one)
      continue;
    if (getSet(input.getType()) != getSet(result))
      return op->emitOpError()
             << "combines values of different sets: " << input.getType()
             << " and " << result;
    if (axis != *getAxis(result))
      return op->emitOpError() << "combines different axes: " << input.getType()
                               << " and " << result;
  }
  return success();
}

LogicalResult MapOp::verify() {
  if (failed(verifyAxes(*this, getInputs(), getResult().getType())))
    return failure();
  Block &block = getBody().front();
  if (block.getNumArguments() != getInputs().size())
    return emitOpError("has one region argument an operand");
  auto scalar = [&](Type type) -> Type {
    return isa<FlagType>(type) ? Type(IntegerType::get(getContext(), 1))
                               : Type(Float64Type::get(getContext()));
  };
  for (auto [argument, input] : llvm::zip(block.getArguments(), getInputs()))
    if (argument.getType() != scalar(input.getType()))
      return emitOpError() << "sees " << scalar(input.getType()) << " of "
                           << input.getType() << ", not " << argument.getType();
  for (Operation &op : block.without_terminator())
    if (!isa<arith::ArithDialect, math::MathDialect>(op.getDialect()))
      return op.emitOpError("is not allowed in rl.map: arith and math only");
  auto yield = dyn_cast<YieldOp>(block.getTerminator());
  if (!yield)
    return emitOpError("ends in rl.yield");
  if (yield.getValue().getType() != scalar(getResult().getType()))
    return emitOpError() << "yields " << yield.getValue().getType() << " for "
                         << getResult().getType();
  return success();
}

LogicalResult RepeatOp::verify() {
  Type from = getValue().getType(), to = getResult().getType();
  if (from.getTypeID() != to.getTypeID() || getSet(from) != getSet(to) ||
      *getAxis(from) == Axis::one || *getAxis(from) >= *getAxis(to))
    return emitOpError() << "repeats values on a finer axis of their set, not "
                         << from << " as " << to;
  return success();
}

LogicalResult ReduceOp::verify() {
  Type from = getValue().getType(), to = getResult().getType();
  if (failed(
          verifyCoarser(*this, *getAxis(from), getSet(from), to, getDomain())))
    return failure();
  if (from.getTypeID() != to.getTypeID())
    return emitOpError() << "of " << from << " cannot give " << to;
  bool logical = getKind() == ReduceKind::any || getKind() == ReduceKind::all;
  if (logical != isa<FlagType>(from))
    return emitOpError() << stringifyReduceKind(getKind()) << " takes "
                         << (logical ? "flags" : "numbers") << ", not " << from;
  if ((getKind() == ReduceKind::quantile) != static_cast<bool>(getQ()))
    return emitOpError("a quantile, and nothing else, has an operand 'q'");
  if (getWhere() && (getAxis(getWhere().getType()) != getAxis(from) ||
                     getSet(getWhere().getType()) != getSet(from)))
    return emitOpError() << "'where' is " << getWhere().getType()
                         << " but what it masks is " << from;
  return success();
}

LogicalResult ReduceGradOp::verify() {
  if (!llvm::is_contained({ReduceKind::min, ReduceKind::max, ReduceKind::first,
                           ReduceKind::last},
                          getKind()))
    return emitOpError() << "of " << stringifyReduceKind(getKind())
                         << " is not needed: min, max, first and last choose "
                            "one of their elements";
  Type of = getValue().getType(), seed = getSeed().getType();
  if (*getAxis(seed) >= *getAxis(of) ||
      (*getAxis(seed) != Axis::one && getSet(seed) != getSet(of)))
    return emitOpError() << "takes a seed on a coarser axis of its set, not "
                         << seed << " for " << of;
  return verifyWhere(*this, getWhere(), of);
}

LogicalResult ScanOp::verify() {
  if (getAxis(getValue().getType()) != Axis::token)
    return emitOpError() << "runs over tokens, not over "
                         << getValue().getType();
  return success();
}

//===----------------------------------------------------------------------===//
// Texts and functions outside
//===----------------------------------------------------------------------===//

namespace {
struct TextFunction {
  unsigned least, most;
  /// Kind of the result: t(ext), n(um), f(lag).
  char result;
};
} // namespace

static std::optional<TextFunction> findTextFunction(StringRef name) {
  return llvm::StringSwitch<std::optional<TextFunction>>(name)
      .Case("between", TextFunction{3, 3, 't'})
      .Cases({"after", "before"}, TextFunction{2, 2, 't'})
      .Case("boxed", TextFunction{1, 1, 't'})
      .Cases({"equal", "same", "matches"}, TextFunction{2, 2, 'f'})
      .Case("number", TextFunction{1, 1, 'n'})
      .Case("count", TextFunction{2, 2, 'n'})
      .Case("words", TextFunction{1, 2, 'n'})
      .Case("select", TextFunction{3, 3, 't'})
      .Case("run", TextFunction{2, 2, 'n'})
      .Default(std::nullopt);
}

LogicalResult TextOp::verify() {
  std::optional<TextFunction> function = findTextFunction(getFunction());
  if (!function)
    return emitOpError() << "unknown function '" << getFunction() << "'";
  size_t n = getInputs().size();
  if (n < function->least || n > function->most)
    return emitOpError() << "'" << getFunction() << "' does not take " << n
                         << " operands";
  Type result = getResult().getType();
  if ((function->result == 't') != isa<TextType>(result) ||
      (function->result == 'f') != isa<FlagType>(result))
    return emitOpError() << "'" << getFunction() << "' cannot give " << result;
  bool select = getFunction() == "select";
  for (auto [index, input] : llvm::enumerate(getInputs()))
    if (select && index == 0 ? !isa<FlagType>(input.getType())
                             : !isa<TextType>(input.getType()))
      return emitOpError() << "operand " << index << " of '" << getFunction()
                           << "' cannot be " << input.getType();
  if (failed(verifyAxes(*this, getInputs(), result)))
    return failure();
  return verifyWhere(*this, getWhere(), result);
}

LogicalResult CallOp::verify() {
  if (failed(verifyAxes(*this, getInputs(), getResult().getType())))
    return failure();
  return verifyWhere(*this, getWhere(), getResult().getType());
}
