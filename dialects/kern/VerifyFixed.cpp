//===- VerifyFixed.cpp - kernels without a region -------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/kern/Kern.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace r1c::kern;

static RankedTensorType tensorOf(Value v) {
  return cast<RankedTensorType>(v.getType());
}

LogicalResult PackOp::verify() {
  PackedType packed = getResult().getType();
  if (getSources().empty())
    return emitOpError("needs a source");
  if (getPaired() && getAlongK())
    return emitOpError("paired and along_k exclude each other");
  int64_t sumK = 0, sumN = 0;
  for (Value source : getSources()) {
    RankedTensorType type = tensorOf(source);
    if (type.getRank() != 2 || !type.hasStaticShape())
      return emitOpError("sources are static matrices, not ") << type;
    int64_t k = type.getDimSize(getTranspose() ? 1 : 0);
    int64_t n = type.getDimSize(getTranspose() ? 0 : 1);
    if (getAlongK() ? n != packed.getN() : k != packed.getK())
      return emitOpError("source ")
             << type << (getTranspose() ? " (transposed)" : "")
             << " does not fit into " << packed;
    sumK += k;
    sumN += n;
  }
  if (getAlongK() ? sumK != packed.getK() : sumN != packed.getN())
    return emitOpError("sources fill ")
           << (getAlongK() ? sumK : sumN) << " of "
           << (getAlongK() ? packed.getK() : packed.getN())
           << (getAlongK() ? " rows" : " columns");
  if (getPaired() && (getSources().size() != 2 || packed.getN() % 32 ||
                      getSources()[0].getType() != getSources()[1].getType()))
    return emitOpError("paired takes two sources of equal shape whose columns "
                       "are a multiple of 16");
  return success();
}

LogicalResult RopeOp::verify() { return getTurn().verify(*this); }

Turn RopeOp::getTurn() {
  return {llvm::map_to_vector(getInputs(), tensorOf),
          getResults(),
          getTo(),
          getInits(),
          (int64_t)getHeads(),
          (int64_t)getFrequencies().size(),
          tensorOf(getPositions()).getDimSize(0)};
}

LogicalResult AnglesOp::verify() {
  int64_t shape[] = {tensorOf(getPositions()).getDimSize(0),
                     2 * (int64_t)getFrequencies().size()};
  if (shape[1] == 0)
    return emitOpError("needs frequencies");
  if (tensorOf(getResult()).getShape() != ArrayRef(shape))
    return emitOpError("result must have a row a position and two columns a "
                       "frequency, not ")
           << getResult().getType();
  return success();
}

LogicalResult Turn::verify(Operation *op) const {
  int64_t d = width();
  if (d == 0)
    return op->emitOpError("needs frequencies, one for two columns of a head");
  auto check = [&](RankedTensorType type, StringRef what, unsigned i, bool free,
                   int64_t &columns) -> LogicalResult {
    if (type.getRank() != 2 || type.isDynamicDim(1) || type.getDimSize(1) % d)
      return op->emitOpError() << what << " #" << i << ", " << type
                               << ", is not cut between heads of " << d
                               << " columns (twice the number of frequencies)";
    if (type.getDimSize(0) != rows && !free)
      return op->emitOpError()
             << what << " #" << i << " and positions differ in rows";
    columns += type.getDimSize(1);
    return success();
  };
  if (inits.size() > results.size())
    return op->emitOpError()
           << inits.size() << " inits for " << results.size() << " results";
  if (inputs.empty() || results.empty())
    return op->emitOpError("needs inputs and results");
  int64_t from = 0, columns = 0;
  for (auto [i, type] : llvm::enumerate(inputs))
    if (failed(check(type, "input", i, false, from)))
      return failure();
  for (auto [i, result] : llvm::enumerate(results))
    if (failed(check(tensorOf(result), "result", i, isScattered(i), columns)))
      return failure();
  if (from != columns)
    return op->emitOpError() << "inputs have " << from / d << " heads of " << d
                             << ", results " << columns / d;
  if (heads * d > from || heads < 0)
    return op->emitOpError()
           << heads << " heads of " << d << " to be turned are more than the "
           << from / d << " that there are";
  if (!to != inits.empty())
    return op->emitOpError(
        "scattered rows and inits stand together or not at all");
  if (to && tensorOf(to).getDimSize(0) != rows)
    return op->emitOpError("scattered rows and positions differ in rows");
  for (auto [init, result] : llvm::zip(inits, results.take_back(inits.size())))
    if (init.getType() != result.getType())
      return op->emitOpError() << "init " << init.getType() << " and result "
                               << result.getType() << " differ in type";
  return success();
}

SmallVector<Turn::Part> Turn::getParts() const {
  int64_t d = width();
  auto headsOf = [&](RankedTensorType type) { return type.getDimSize(1) / d; };
  SmallVector<Part> parts;
  Part at{0, 0, 0, 0, 0, 0, false};
  while (at.input < inputs.size() && at.result < results.size()) {
    int64_t inputLeft = headsOf(inputs[at.input]) - at.inputHead;
    int64_t resultLeft = headsOf(tensorOf(results[at.result])) - at.resultHead;
    at.turned = at.head < heads;
    at.count = std::min(inputLeft, resultLeft);
    if (at.turned)
      at.count = std::min(at.count, heads - at.head);
    if (at.count)
      parts.push_back(at);
    at.head += at.count;
    at.inputHead += at.count;
    at.resultHead += at.count;
    if (at.count == inputLeft) {
      ++at.input;
      at.inputHead = 0;
    }
    if (at.count == resultLeft) {
      ++at.result;
      at.resultHead = 0;
    }
  }
  return parts;
}

LogicalResult ScatterAddOp::verify() {
  RankedTensorType x = tensorOf(getX()), result = tensorOf(getResult());
  if (getInit().getType() != result)
    return emitOpError("init and result differ in type");
  if (x.getRank() != 2 || result.getRank() != 2 || x.isDynamicDim(1) ||
      x.getDimSize(1) != result.getDimSize(1))
    return emitOpError("x and the result must have the same static columns");
  if (tensorOf(getIds()).getDimSize(0) != x.getDimSize(0))
    return emitOpError("ids and x differ in rows");
  return success();
}

static LogicalResult verifyHeads(Operation *op, RankedTensorType q,
                                 RankedTensorType k, RankedTensorType v,
                                 int64_t heads, int64_t kvHeads) {
  if (q.getRank() != 2 || k.getRank() != 2 || k != v || q.isDynamicDim(1) ||
      k.isDynamicDim(1))
    return op->emitOpError("q is tensor<?x(heads*d)x...>, k and v are equal "
                           "tensor<?x(kv_heads*d)x...>");
  if (heads <= 0 || kvHeads <= 0 || heads % kvHeads)
    return op->emitOpError() << heads << " heads are not a multiple of "
                             << kvHeads << " key-value heads";
  if (q.getDimSize(1) % heads || k.getDimSize(1) % kvHeads ||
      q.getDimSize(1) / heads != k.getDimSize(1) / kvHeads)
    return op->emitOpError()
           << "heads of q (" << q << " in " << heads << ") and of k (" << k
           << " in " << kvHeads << ") differ in size";
  if (q.getElementType() != k.getElementType())
    return op->emitOpError("q and k differ in element type");
  return success();
}

/// Both or none, one number a row of q.
static LogicalResult verifyShared(Operation *op, RankedTensorType q,
                                  StringRef firstName, Value first,
                                  StringRef secondName, Value second) {
  if (!first != !second)
    return op->emitOpError() << firstName << " and " << secondName
                             << " stand together or not at all";
  if (first && (tensorOf(first).getDimSize(0) != q.getDimSize(0) ||
                tensorOf(second).getDimSize(0) != q.getDimSize(0)))
    return op->emitOpError()
           << "q, " << firstName << " and " << secondName << " differ in rows";
  return success();
}

LogicalResult AttentionOp::verify() {
  RankedTensorType q = tensorOf(getQ());
  if (failed(verifyHeads(*this, q, tensorOf(getK()), tensorOf(getV()),
                         getHeads(), getKvHeads())))
    return failure();
  if (getOut().getType() != q)
    return emitOpError("q and out differ in type");
  if (tensorOf(getPositions()).getDimSize(0) != q.getDimSize(0) ||
      tensorOf(getBases()).getDimSize(0) != q.getDimSize(0))
    return emitOpError("q, positions and bases differ in rows");
  if (failed(verifyShared(*this, q, "shared", getShared(), "shared_bases",
                          getSharedBases())))
    return failure();
  if (getCached() && getShared())
    return emitOpError("'cached' goes with keys of one place; a shared prompt "
                       "may be written by the same run of commands");
  if (getLse()) {
    RankedTensorType lse = tensorOf(getLse());
    if (lse.getRank() != 2 || lse.getDimSize(1) != (int64_t)getHeads() ||
        !lse.getElementType().isF32())
      return emitOpError("lse must be tensor<?x")
             << getHeads() << "xf32>, not " << lse;
  }
  return success();
}

LogicalResult AttentionBackwardOp::verify() {
  RankedTensorType q = tensorOf(getQ()), k = tensorOf(getK());
  if (failed(
          verifyHeads(*this, q, k, tensorOf(getV()), getHeads(), getKvHeads())))
    return failure();
  if (getOut().getType() != q || getDOut().getType() != q)
    return emitOpError("q, out and d_out must have the same type");
  Type element = elementTypeOf(getDq());
  if (!element.isF32() && element != q.getElementType())
    return emitOpError("dq must be of float32 or of q's element type");
  if (getDq().getType() != q.clone(element) ||
      getDk().getType() != k.clone(element) ||
      getDv().getType() != k.clone(element))
    return emitOpError("dq, dk and dv must have the shapes of q, k and v and "
                       "one element type");
  RankedTensorType lse = tensorOf(getLse());
  if (lse.getRank() != 2 || lse.getDimSize(1) != (int64_t)getHeads())
    return emitOpError("lse must be tensor<?x")
           << getHeads() << "xf32>, not " << lse;
  return verifyShared(*this, q, "bases", getBases(), "shared", getShared());
}

LogicalResult ScanOp::verify() {
  if (getX().getType() != getResult().getType())
    return emitOpError("x and the result differ in type");
  return success();
}

LogicalResult QuantileOp::verify() {
  double q = getQ().convertToDouble();
  if (!(q >= 0 && q <= 1))
    return emitOpError("q must be between 0 and 1");
  return success();
}
