//===- Verify.cpp - what well-formed kernels are --------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/OpImplementation.h"

using namespace mlir;
using namespace r1c::kern;

namespace {

constexpr int64_t kNone = -1;

RankedTensorType tensorOf(Value v) {
  return cast<RankedTensorType>(v.getType());
}

/// Sets `size` to `value`, or complains if it already has another one.
LogicalResult unify(Operation *op, int64_t &size, int64_t value,
                    const Twine &what) {
  if (size == kNone) {
    size = value;
    return success();
  }
  if (size == value)
    return success();
  auto text = [](int64_t v) {
    return ShapedType::isDynamic(v) ? std::string("?") : std::to_string(v);
  };
  return op->emitOpError() << what << " is " << text(value)
                           << " but another operand or result says "
                           << text(size);
}

bool isRankTwo(AccessAttr access, RankedTensorType type) {
  switch (access.getKind()) {
  case AccessKind::element:
  case AccessKind::gather:
  case AccessKind::scatter:
    return type.getRank() == 2;
  case AccessKind::column:
    return true;
  default:
    return false;
  }
}

/// Derives and checks the space that a region runs over.
struct SpaceVerifier {
  Operation *op;
  ValueRange indices;
  bool ragged;
  bool rankTwo = false;
  bool chunked = false; ///< whether results of chunks may stand here
  bool besides = false; ///< whether results of several values may
  int64_t rows = kNone, columns = kNone, elements = kNone;

  LogicalResult check(Value value, AccessAttr access, StringRef what,
                      size_t position) {
    RankedTensorType type = tensorOf(value);
    std::string name = (what + " #" + Twine(position)).str();
    bool isResult = what == "result";
    AccessKind kind = access.getKind();
    bool indexed = kind == AccessKind::gather ||
                   kind == AccessKind::gather_row ||
                   kind == AccessKind::scatter;
    if (indexed != (access.getIndex() >= 0))
      return op->emitOpError()
             << name
             << (indexed ? " needs an index operand: write "
                         : " takes no index operand, but has ")
             << stringifyAccessKind(kind) << "(n)";
    if (indexed && access.getIndex() >= (int64_t)indices.size())
      return op->emitOpError()
             << name << " reads index operand " << access.getIndex()
             << ", but there are " << indices.size();
    bool laned = access.getLane() >= 0;
    if (laned && kind != AccessKind::row && kind != AccessKind::one &&
        kind != AccessKind::gather_row)
      return op->emitOpError()
             << name << ": only row, one and gather_row take a lane [k]";
    if (isResult &&
        (indexed ? kind != AccessKind::scatter
                 : kind != AccessKind::element && kind != AccessKind::row &&
                       !(chunked && kind == AccessKind::chunk) &&
                       !(besides && kind == AccessKind::beside)))
      return op->emitOpError()
             << name << " cannot be " << stringifyAccessKind(kind)
             << ": write element, row or scatter(n)";
    if (!isResult && (kind == AccessKind::scatter ||
                      kind == AccessKind::chunk || kind == AccessKind::beside))
      return op->emitOpError()
             << name << " cannot be " << stringifyAccessKind(kind)
             << ": only results can";

    int64_t rank = 0;
    switch (kind) {
    case AccessKind::element:
    case AccessKind::gather:
    case AccessKind::scatter:
      rank = rankTwo ? 2 : 1;
      break;
    case AccessKind::row:
    case AccessKind::gather_row:
      rank = laned ? 2 : 1;
      break;
    case AccessKind::column:
      rank = 1;
      if (ragged)
        return op->emitOpError() << name << ": a ragged row has no columns";
      break;
    case AccessKind::one:
      rank = laned ? 1 : 0;
      break;
    case AccessKind::chunk:
    case AccessKind::beside:
      rank = 2;
      break;
    }
    if (type.getRank() != rank)
      return op->emitOpError()
             << name << " with access " << stringifyAccessKind(kind)
             << " must have rank " << rank << ", not " << type;
    if (laned) {
      int64_t lanes = type.getShape().back();
      if (ShapedType::isDynamic(lanes) || access.getLane() >= lanes)
        return op->emitOpError()
               << name << " has no lane " << access.getLane() << " in " << type;
    }
    if (kind == AccessKind::beside) {
      int64_t width = type.getDimSize(1);
      if (columns <= 0 || ShapedType::isDynamic(width) || width == 0 ||
          width % columns)
        return op->emitOpError()
               << name << ", " << type
               << ", must be some times as wide as the columns of the others, "
               << std::max<int64_t>(columns, 0);
    } else if (rank == 2 && !laned && kind != AccessKind::chunk) {
      if (ShapedType::isDynamic(type.getDimSize(1)))
        return op->emitOpError()
               << name << ": columns must be static in " << type;
      if (failed(unify(op, columns, type.getDimSize(1), name + ": columns")))
        return failure();
    }
    if (kind == AccessKind::column) {
      if (type.isDynamicDim(0))
        return op->emitOpError()
               << name << ": columns must be static in " << type;
      if (failed(unify(op, columns, type.getDimSize(0), name + ": columns")))
        return failure();
    }
    if (kind == AccessKind::row || kind == AccessKind::chunk ||
        kind == AccessKind::beside ||
        (kind == AccessKind::element && !ragged)) {
      if (failed(unify(op, rows, type.getDimSize(0), name + ": rows")))
        return failure();
    }
    if (kind == AccessKind::element && ragged &&
        failed(unify(op, elements, type.getDimSize(0), name + ": elements")))
      return failure();
    return success();
  }
};

/// Body: terminated by yield of the right types, and only scalar operations.
LogicalResult verifyBody(Operation *op, ValueRange leading, ValueRange inputs,
                         TypeRange yielded) {
  Region &region = op->getRegion(0);
  Block &body = region.front();
  if (body.getNumArguments() != leading.size() + inputs.size())
    return op->emitOpError()
           << "region must have " << leading.size() + inputs.size()
           << " arguments, but has " << body.getNumArguments();
  auto arguments = body.getArguments().drop_front(leading.size());
  for (auto [argument, input] : llvm::zip(arguments, inputs))
    if (argument.getType() != elementTypeOf(input))
      return op->emitOpError()
             << "region argument of type " << argument.getType()
             << " stands for an element of " << input.getType();
  auto yield = dyn_cast_or_null<YieldOp>(body.empty() ? nullptr : &body.back());
  if (!yield)
    return op->emitOpError() << "region must end with kern.yield";
  if (yield.getValues().getTypes() != yielded)
    return op->emitOpError()
           << "region yields (" << yield.getValues().getTypes()
           << ") but the results hold (" << yielded << ")";
  for (Operation &inner : body.without_terminator()) {
    if (isa<ReduceOp, IndexOp, RandomOp, NoiseOp, arith::ConstantOp>(inner))
      continue;
    if (!isa_and_nonnull<arith::ArithDialect, math::MathDialect>(
            inner.getDialect()) ||
        !OpTrait::hasElementwiseMappableTraits(&inner))
      return inner.emitOpError()
             << "is not an elementwise operation of arith or math, and cannot "
                "stand inside a kernel's region";
  }
  return success();
}

SmallVector<Type> elementTypes(ValueRange values) {
  SmallVector<Type> types;
  for (Value v : values)
    types.push_back(elementTypeOf(v));
  return types;
}

LogicalResult verifyCounts(Operation *op, size_t values, ArrayAttr access,
                           StringRef what) {
  if (values == access.size())
    return success();
  return op->emitOpError() << values << ' ' << what << " but " << access.size()
                           << " accesses";
}

LogicalResult checkAll(SpaceVerifier &space, ValueRange inputs,
                       ArrayAttr access, ValueRange results,
                       ArrayAttr resultAccess) {
  if (failed(verifyCounts(space.op, inputs.size(), access, "operands")))
    return failure();
  if (resultAccess &&
      failed(verifyCounts(space.op, results.size(), resultAccess, "results")))
    return failure();
  for (auto [i, v] : llvm::enumerate(inputs))
    space.rankTwo |= isRankTwo(cast<AccessAttr>(access[i]), tensorOf(v));
  if (resultAccess)
    for (auto [i, v] : llvm::enumerate(results))
      space.rankTwo |=
          isRankTwo(cast<AccessAttr>(resultAccess[i]), tensorOf(v));
  if (space.ragged)
    space.rankTwo = false;
  for (auto [i, v] : llvm::enumerate(inputs))
    if (failed(space.check(v, cast<AccessAttr>(access[i]), "operand", i)))
      return failure();
  if (resultAccess)
    for (auto [i, v] : llvm::enumerate(results))
      if (failed(
              space.check(v, cast<AccessAttr>(resultAccess[i]), "result", i)))
        return failure();
  return success();
}

/// Rows of the space, from whatever fixes them.
int64_t rowsOf(ValueRange inputs, ArrayAttr access, ValueRange results,
               ArrayAttr resultAccess, ValueRange indices) {
  auto scan = [](ValueRange values,
                 ArrayAttr access) -> std::optional<int64_t> {
    for (auto [i, v] : llvm::enumerate(values)) {
      AccessKind kind = cast<AccessAttr>(access[i]).getKind();
      if (kind == AccessKind::element || kind == AccessKind::row ||
          kind == AccessKind::chunk || kind == AccessKind::beside)
        return tensorOf(v).getDimSize(0);
    }
    return std::nullopt;
  };
  if (resultAccess)
    if (auto rows = scan(results, resultAccess))
      return *rows;
  if (auto rows = scan(inputs, access))
    return *rows;
  return indices.empty() ? ShapedType::kDynamic
                         : tensorOf(indices.front()).getDimSize(0);
}

int64_t columnsOf(ValueRange inputs, ArrayAttr access, ValueRange results,
                  ArrayAttr resultAccess) {
  auto scan = [](ValueRange values, ArrayAttr access) -> int64_t {
    for (auto [i, v] : llvm::enumerate(values))
      if (isRankTwo(cast<AccessAttr>(access[i]), tensorOf(v)))
        return tensorOf(v).getShape().back();
    return kNone;
  };
  int64_t n = scan(inputs, access);
  return n == kNone && resultAccess ? scan(results, resultAccess) : n;
}

/// Values that differ between the columns of a row. `known` keeps the answers:
/// chains that use each value twice have exponentially many paths. The first
/// `accumulators` arguments of the region stand for sums.
bool variesByColumn(Value value, unsigned accumulators, ArrayAttr access,
                    llvm::DenseMap<Value, bool> &known) {
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    if (argument.getArgNumber() < accumulators)
      return true;
    unsigned operand = argument.getArgNumber() - accumulators;
    switch (cast<AccessAttr>(access[operand]).getKind()) {
    case AccessKind::element:
    case AccessKind::column:
    case AccessKind::gather:
      return true;
    default:
      return false;
    }
  }
  auto it = known.find(value);
  if (it != known.end())
    return it->second;
  Operation *def = value.getDefiningOp();
  bool result = false;
  if (auto index = dyn_cast<IndexOp>(def))
    result = index.getKind() == IndexKind::column;
  else if (!isa<ReduceOp>(def))
    result = llvm::any_of(def->getOperands(), [&](Value v) {
      return variesByColumn(v, accumulators, access, known);
    });
  return known[value] = result;
}

/// Values for a row or chunk must be the same at all its columns.
LogicalResult verifyUniform(Operation *op, unsigned accumulators,
                            ArrayAttr access, ArrayAttr resultAccess) {
  auto yield = cast<YieldOp>(op->getRegion(0).front().back());
  llvm::DenseMap<Value, bool> known;
  for (auto [i, value] : llvm::enumerate(yield.getValues())) {
    AccessKind kind = cast<AccessAttr>(resultAccess[i]).getKind();
    if ((kind == AccessKind::row || kind == AccessKind::chunk) &&
        variesByColumn(value, accumulators, access, known))
      return op->emitOpError()
             << "result #" << i << " has one value a "
             << stringifyAccessKind(kind)
             << ", but the yielded value differs between columns: "
                "reduce it with kern.reduce";
  }
  return success();
}

bool hasChunks(ArrayAttr resultAccess) {
  return llvm::any_of(resultAccess, [](Attribute a) {
    return cast<AccessAttr>(a).getKind() == AccessKind::chunk;
  });
}

} // namespace

//===----------------------------------------------------------------------===//
// RowOp, MapOp, ColumnSumOp
//===----------------------------------------------------------------------===//

int64_t RowOp::getRows() {
  if (!getOffsets())
    return rowsOf(getInputs(), getAccess(), getResults(), getResultAccess(),
                  getIndices());
  // The number of flat elements says nothing about the number of rows.
  for (auto [i, v] : llvm::enumerate(getResults()))
    if (cast<AccessAttr>(getResultAccess()[i]).getKind() == AccessKind::row)
      return tensorOf(v).getDimSize(0);
  int64_t entries = tensorOf(getOffsets()).getDimSize(0);
  return ShapedType::isDynamic(entries) ? entries : entries - 1;
}

int64_t RowOp::getColumns() {
  return getOffsets() ? -1
                      : columnsOf(getInputs(), getAccess(), getResults(),
                                  getResultAccess());
}

LogicalResult RowOp::verify() {
  SpaceVerifier space{*this, getIndices(), getOffsets() != nullptr};
  space.chunked = !space.ragged;
  if (failed(checkAll(space, getInputs(), getAccess(), getResults(),
                      getResultAccess())))
    return failure();
  if (!space.ragged && space.columns == kNone)
    return emitOpError(
        "has no operand or result with columns: use kern.map, or "
        "give offsets for ragged rows");
  if (failed(verifyBody(*this, {}, getInputs(), elementTypes(getResults()))))
    return failure();
  for (auto [i, v] : llvm::enumerate(getResults())) {
    AccessKind kind = cast<AccessAttr>(getResultAccess()[i]).getKind();
    if (kind == AccessKind::scatter)
      return emitOpError() << "result #" << i
                           << " cannot be scatter: use kern.map";
    if (kind == AccessKind::row && isChunked())
      return emitOpError()
             << "result #" << i
             << " cannot be row beside results of chunks, whose reductions do "
                "not see the row: bring the chunks together in a second "
                "kern.row";
    if (kind == AccessKind::chunk &&
        tensorOf(v).getDimSize(1) != chunksOf(space.columns))
      return emitOpError() << "result #" << i << " must have "
                           << chunksOf(space.columns) << " columns, one for "
                           << chunkColumns << " of " << space.columns
                           << ", not " << v.getType();
  }
  return verifyUniform(*this, 0, getAccess(), getResultAccess());
}

bool RowOp::isChunked() { return hasChunks(getResultAccess()); }

int64_t MapOp::getRows() {
  return rowsOf(getInputs(), getAccess(), getResults(), getResultAccess(),
                getIndices());
}

int64_t MapOp::getColumns() {
  return columnsOf(getInputs(), getAccess(), getResults(), getResultAccess());
}

LogicalResult MapOp::verify() {
  SpaceVerifier space{*this, getIndices(), false};
  space.besides = true;
  if (failed(checkAll(space, getInputs(), getAccess(), getResults(),
                      getResultAccess())))
    return failure();
  size_t scattered = 0;
  for (auto [i, v] : llvm::enumerate(getResults())) {
    AccessKind kind = cast<AccessAttr>(getResultAccess()[i]).getKind();
    if (kind == AccessKind::row)
      return emitOpError() << "result #" << i << " cannot be row: use kern.row";
    if (kind != AccessKind::scatter)
      continue;
    if (scattered >= getInits().size())
      return emitOpError() << "result #" << i
                           << " is scattered and needs an init";
    if (getInits()[scattered].getType() != v.getType())
      return emitOpError() << "init #" << scattered << " and result #" << i
                           << " differ in type";
    ++scattered;
  }
  if (scattered != getInits().size())
    return emitOpError() << getInits().size() << " inits for " << scattered
                         << " scattered results";
  SmallVector<Type> yielded;
  for (auto [result, part] : getPlaces())
    yielded.push_back(elementTypeOf(getResult(result)));
  return verifyBody(*this, {}, getInputs(), yielded);
}

int64_t ColumnSumOp::getRows() {
  return rowsOf(getInputs(), getAccess(), {}, {}, getIndices());
}

int64_t ColumnSumOp::getColumns() {
  return cast<RankedTensorType>(getResult().getType()).getDimSize(0);
}

LogicalResult ColumnSumOp::verify() {
  SpaceVerifier space{*this, getIndices(), false};
  if (failed(checkAll(space, getInputs(), getAccess(), {}, {})))
    return failure();
  auto type = cast<RankedTensorType>(getResult().getType());
  if (type.isDynamicDim(0))
    return emitOpError("columns must be static in ") << type;
  if (failed(unify(*this, space.columns, type.getDimSize(0),
                   "columns of the result")))
    return failure();
  if (getInit() && getInit().getType() != type)
    return emitOpError("init and result differ in type");
  return verifyBody(*this, {}, getInputs(), TypeRange(type.getElementType()));
}

LogicalResult ReduceOp::verify() {
  Type type = getValue().getType();
  bool logical = getKind() == ReduceKind::any || getKind() == ReduceKind::all;
  if (logical != type.isInteger(1))
    return emitOpError() << stringifyReduceKind(getKind())
                         << (logical ? " reduces i1" : " does not reduce i1")
                         << (logical ? ", not " : ": extend it first, from ")
                         << type;
  if (type.isBF16())
    return emitOpError("reduces in f32 or f64: extend the bf16 value first");
  return success();
}

//===----------------------------------------------------------------------===//
// MatmulOp
//===----------------------------------------------------------------------===//

LogicalResult MatmulOp::verify() {
  if (failed(verifyFactors()))
    return failure();
  if (getResults().empty())
    return emitOpError("needs a result");
  if (failed(verifyCounts(*this, getResults().size(), getResultAccess(),
                          "results")))
    return failure();
  if (failed(verifyTurned()))
    return failure();
  bool turned = getAngles() != nullptr, besides = false;
  int64_t shape[] = {getRows(), getColumns()};
  for (auto [i, v] : llvm::enumerate(getResults())) {
    AccessKind kind = cast<AccessAttr>(getResultAccess()[i]).getKind();
    if (kind != AccessKind::element && kind != AccessKind::chunk &&
        kind != AccessKind::beside)
      return emitOpError() << "result #" << i << " cannot be "
                           << stringifyAccessKind(kind)
                           << ": write element, chunk or beside";
    if (kind == AccessKind::beside) {
      if (turned || isChunked() || getPaired() || getBody().empty())
        return emitOpError() << "result #" << i
                             << " cannot be beside in a product that is "
                                "paired, turned, reduces, or has no region";
      SpaceVerifier space{*this, {}, false};
      space.besides = true;
      space.rows = shape[0];
      space.columns = shape[1];
      if (failed(space.check(v, cast<AccessAttr>(getResultAccess()[i]),
                             "result", i)))
        return failure();
      besides = true;
    }
    if (turned || kind == AccessKind::beside)
      continue;
    int64_t expected[] = {
        shape[0], kind == AccessKind::chunk ? chunksOf(shape[1]) : shape[1]};
    if (tensorOf(v).getShape() != ArrayRef(expected))
      return emitOpError() << "result #" << i << " must have shape ["
                           << (ShapedType::isDynamic(shape[0])
                                   ? "?"
                                   : std::to_string(shape[0]))
                           << ", " << expected[1] << "], not " << v.getType();
  }
  if (getInit()) {
    if (getResults().size() != 1 ||
        getInit().getType() != getResults()[0].getType())
      return emitOpError("with init must have one result, of the init's type");
    if (getPaired())
      return emitOpError("paired takes no init");
  }
  if ((getInit() || getTransposeA()) &&
      (!getBody().empty() || !elementTypeOf(getResults()[0]).isF32()))
    return emitOpError("with init or transpose_a gives plain f32 sums: apply "
                       "kern.map to them");
  if (getBody().empty()) {
    if (!getInputs().empty())
      return emitOpError("extra operands without a region that reads them");
    if (getPaired() || (getResults().size() != 1 && !turned))
      return emitOpError("needs a region: it is paired or has several results");
    if (isChunked())
      return emitOpError("needs a region that reduces: it has a result of "
                         "chunks");
    Type type = elementTypeOf(getResults()[0]);
    if (!type.isF32() && !type.isBF16())
      return emitOpError("stores f32 or bf16 without a region, not ") << type;
    return success();
  }
  SpaceVerifier space{*this, {}, false};
  space.rankTwo = true;
  space.rows = shape[0];
  space.columns = shape[1];
  if (failed(verifyCounts(*this, getInputs().size(), getAccess(), "operands")))
    return failure();
  for (auto [i, v] : llvm::enumerate(getInputs()))
    if (failed(space.check(v, cast<AccessAttr>(getAccess()[i]), "operand", i)))
      return failure();
  for (int i = 0; i < (getPaired() ? 2 : 1); ++i)
    if (getBody().getNumArguments() > 0 &&
        !getBody().getArgument(i).getType().isF32())
      return emitOpError("accumulators are f32");
  ValueRange accumulators(getOperands().take_front(getPaired() ? 2 : 1));
  SmallVector<Type> yielded;
  if (turned)
    yielded = {getSumType()};
  else
    for (auto [result, part] : getPlaces())
      yielded.push_back(elementTypeOf(getResult(result)));
  if (failed(verifyBody(*this, accumulators, getInputs(), yielded)))
    return failure();
  if (getPaired() && isChunked())
    return emitOpError("paired takes no reductions: reduce the stored result "
                       "in a kern.row");
  return besides ? success()
                 : verifyUniform(*this, accumulators.size(), getAccess(),
                                 getResultAccess());
}

bool MatmulOp::isChunked() {
  return hasChunks(getResultAccess()) ||
         (!getBody().empty() && !getBody().front().getOps<ReduceOp>().empty());
}
