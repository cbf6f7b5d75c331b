//===- Verify.cpp - what lm ops require of their operands -----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/lm/LM.h"
#include "llvm/ADT/StringSet.h"

#include <cmath>

using namespace mlir;
using namespace r1c::lm;

static int64_t size(Value value, unsigned dimension) {
  return cast<RankedTensorType>(value.getType()).getDimSize(dimension);
}

/// The columns of an activation, the sizes of a weight.
static LogicalResult requireSize(Operation *op, StringRef what, Value value,
                                 unsigned dimension, int64_t expected) {
  int64_t actual = size(value, dimension);
  if (actual == expected)
    return success();
  auto print = [](int64_t n) {
    return ShapedType::isDynamic(n) ? std::string("?") : std::to_string(n);
  };
  return op->emitOpError() << "needs " << what << " to be " << print(expected)
                           << ", not " << print(actual);
}

static LogicalResult requireHeads(Operation *op, StringRef what, Value value,
                                  int64_t heads) {
  int64_t columns = size(value, 1);
  if (heads > 0 && columns % heads == 0)
    return success();
  return op->emitOpError() << "cannot divide the " << columns << " columns of "
                           << what << " among " << heads << " heads";
}

static LogicalResult requirePositive(Operation *op, StringRef what,
                                     const APFloat &value) {
  if (value.convertToDouble() > 0)
    return success();
  return op->emitOpError() << "needs a positive " << what << ", not "
                           << value.convertToDouble();
}

LogicalResult ModelOp::verify() {
  llvm::StringSet<> names;
  for (Operation &op : getBody().front()) {
    auto parameter = dyn_cast<ParameterOp>(op);
    if (!parameter)
      return op.emitOpError("cannot stand in lm.model, which lists parameters");
    if (!names.insert(parameter.getParameter()).second)
      return parameter.emitOpError()
             << "repeats the name '" << parameter.getParameter() << "'";
  }
  return success();
}

LogicalResult ParameterOp::verify() {
  if (!cast<RankedTensorType>(getType()).hasStaticShape())
    return emitOpError("needs a static shape, not ") << getType();
  bool placeholder = getParameter().contains("{}");
  if (getLayers() && *getLayers() < 1)
    return emitOpError("is stacked over ") << *getLayers() << " layers";
  if (getLayers() && !placeholder)
    return emitOpError("is stacked, so its name needs '{}' for the layer: '")
           << getParameter() << "'";
  if (!getLayers() && placeholder)
    return emitOpError("has '{}' in its name but is not stacked: '")
           << getParameter() << "'";
  if (getInit() == InitKind::normal && getInitValue().convertToDouble() < 0)
    return emitOpError("needs a standard deviation that is not negative");
  return success();
}

LogicalResult EmbeddingOp::verify() {
  return success(succeeded(requireSize(*this, "the table's width", getTable(),
                                       1, size(getResult(), 1))) &&
                 succeeded(requireSize(*this, "the number of result rows",
                                       getResult(), 0, size(getIds(), 0))));
}

LogicalResult EmbeddingGradOp::verify() {
  return success(succeeded(requireSize(*this, "the table's width", getTable(),
                                       1, size(getGradient(), 1))) &&
                 succeeded(requireSize(*this, "the number of gradient rows",
                                       getGradient(), 0, size(getIds(), 0))));
}

LogicalResult GatherOp::verify() {
  return success(succeeded(requireSize(*this, "the result's columns",
                                       getResult(), 1, size(getInput(), 1))) &&
                 succeeded(requireSize(*this, "the number of result rows",
                                       getResult(), 0, size(getRows(), 0))));
}

LogicalResult GatherGradOp::verify() {
  if (getResult().getType() != getLike().getType())
    return emitOpError("needs a result like its operand 'like', ")
           << getLike().getType() << ", not " << getResult().getType();
  return requireSize(*this, "the gradient's columns", getGradient(), 1,
                     size(getLike(), 1));
}

template <typename Op>
static LogicalResult verifyNorm(Op op) {
  if (failed(requireHeads(op, "the input", op.getInput(), op.getHeads())) ||
      failed(requirePositive(op, "epsilon", op.getEpsilon())))
    return failure();
  return requireSize(op, "the weight's size", op.getWeight(), 0,
                     size(op.getInput(), 1) / op.getHeads());
}
LogicalResult RMSNormOp::verify() { return verifyNorm(*this); }
LogicalResult RMSNormGradOp::verify() { return verifyNorm(*this); }

LogicalResult LinearOp::verify() {
  if (failed(requireSize(*this, "the weight's columns (in)", getWeight(), 1,
                         size(getInput(), 1))) ||
      failed(requireSize(*this, "the result's columns", getResult(), 1,
                         size(getWeight(), 0))))
    return failure();
  if (!getBias())
    return success();
  return requireSize(*this, "the bias's size", getBias(), 0,
                     size(getWeight(), 0));
}

LogicalResult LinearInputGradOp::verify() {
  return success(
      succeeded(requireSize(*this, "the gradient's columns", getGradient(), 1,
                            size(getWeight(), 0))) &&
      succeeded(requireSize(*this, "the result's columns", getResult(), 1,
                            size(getWeight(), 1))));
}

LogicalResult LinearWeightGradOp::verify() {
  return success(
      succeeded(requireSize(*this, "the result's rows (out)", getResult(), 0,
                            size(getGradient(), 1))) &&
      succeeded(requireSize(*this, "the result's columns (in)", getResult(), 1,
                            size(getInput(), 1))));
}

LogicalResult LinearBiasGradOp::verify() {
  return requireSize(*this, "the result's size", getResult(), 0,
                     size(getGradient(), 1));
}

LogicalResult RopeOp::verify() {
  if (failed(requireHeads(*this, "the input", getInput(), getHeads())))
    return failure();
  int64_t width = size(getInput(), 1) / getHeads();
  if (width % 2)
    return emitOpError("needs an even number of columns a head, not ") << width;
  if (int64_t(getFrequencies().size()) != width / 2)
    return emitOpError("needs ")
           << width / 2 << " frequencies, one for each pair of columns, not "
           << getFrequencies().size();
  for (double frequency : getFrequencies())
    if (!(frequency > 0) || !std::isfinite(frequency))
      return emitOpError("frequencies must be positive, not ") << frequency;
  return success();
}

/// Shapes that the attention and its derivative share.
template <typename Op>
static LogicalResult verifyAttention(Op op) {
  int64_t heads = op.getHeads(), keyHeads = op.getKvHeads();
  if (failed(requireHeads(op, "the query", op.getQuery(), heads)) ||
      failed(requireHeads(op, "the key", op.getKey(), keyHeads)))
    return failure();
  if (heads % keyHeads)
    return op.emitOpError("cannot share ")
           << keyHeads << " key heads among " << heads << " query heads";
  int64_t width = size(op.getQuery(), 1) / heads;
  if (size(op.getKey(), 1) / keyHeads != width)
    return op.emitOpError("needs query and key heads of one width, not ")
           << width << " and " << size(op.getKey(), 1) / keyHeads;
  if (failed(requireSize(op, "the value's columns", op.getValue(), 1,
                         size(op.getKey(), 1))))
    return failure();
  return requireSize(op, "the columns of lse", op.getLse(), 1, heads);
}
LogicalResult AttentionOp::verify() { return verifyAttention(*this); }
LogicalResult AttentionGradOp::verify() { return verifyAttention(*this); }

/// A kept set, if there is one: a row a target, a flag a token.
static LogicalResult requireKept(Operation *op, Value kept, int64_t rows,
                                 int64_t vocabulary) {
  if (!kept)
    return success();
  return success(
      succeeded(requireSize(op, "the rows of the kept set", kept, 0, rows)) &&
      succeeded(
          requireSize(op, "the columns of the kept set", kept, 1, vocabulary)));
}

LogicalResult HeadOp::verify() {
  if (failed(requireSize(*this, "the weight's columns", getWeight(), 1,
                         size(getInput(), 1))) ||
      failed(requireKept(*this, getKept(), size(getTargets(), 0),
                         size(getWeight(), 0))))
    return failure();
  return requireSize(*this, "the number of results", getLogp(), 0,
                     size(getTargets(), 0));
}

LogicalResult HeadGradOp::verify() {
  if (!getLogpGradient() && !getEntropyGradient())
    return emitOpError("needs a gradient of logp, of entropy, or both");
  if (!getEntropyGradient() != !getEntropy())
    return emitOpError("needs the entropy with its gradient, and only then");
  if (failed(requireKept(*this, getKept(), size(getTargets(), 0),
                         size(getWeight(), 0))))
    return failure();
  return requireSize(*this, "the weight's columns", getWeight(), 1,
                     size(getInput(), 1));
}

LogicalResult LogProbOp::verify() {
  if (failed(requireKept(*this, getKept(), size(getLogits(), 0),
                         size(getLogits(), 1))))
    return failure();
  return requireSize(*this, "the number of results", getLogp(), 0,
                     size(getTargets(), 0));
}

LogicalResult SampleOp::verify() {
  if (failed(requireKept(*this, getKept(), size(getLogits(), 0),
                         size(getLogits(), 1))))
    return failure();
  return success(
      succeeded(
          requireSize(*this, "the counter's columns", getCounter(), 1, 4)) &&
      succeeded(requireSize(*this, "the key's size", getKey(), 0, 2)) &&
      succeeded(requireSize(*this, "the number of tokens", getToken(), 0,
                            size(getLogits(), 0))));
}
