//===- KernInterpreter.cpp - what fused functions of a model compute -----===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The kern ops that models are made of, in float64: so that the fuse phase can
// be tested against lm without a code generator between.
//===----------------------------------------------------------------------===//

#include "compiler/reference/Interpreter.h"
#include "compiler/reference/Network.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace r1c;
using namespace r1c::reference;
using kern::AccessKind;

/// The values of a scalar for every column of a row.
using Lane = std::vector<double>;

//===----------------------------------------------------------------------===//
// Structures
//===----------------------------------------------------------------------===//

namespace {

/// The rows and columns that a region runs over, and how operands are read.
struct Space {
  Frame &f;
  ValueRange inputs;
  ArrayAttr access;
  ValueRange indices;
  int64_t rows = 0, columns = 1;
  bool hasColumns = false;

  kern::AccessAttr of(unsigned i) const {
    return cast<kern::AccessAttr>(access[i]);
  }

  void measure() {
    for (auto [i, input] : llvm::enumerate(inputs)) {
      const Tensor &x = f.tensor(input);
      AccessKind kind = of(i).getKind();
      if (kind == AccessKind::element || kind == AccessKind::row)
        rows = x.rows();
      if ((kind == AccessKind::element || kind == AccessKind::gather) &&
          x.shape.size() == 2) {
        columns = x.columns();
        hasColumns = true;
      }
    }
    if (!indices.empty())
      rows = f.tensor(indices[0]).count();
  }

  double read(unsigned input, int64_t i, int64_t j) const {
    const Tensor &x = f.tensor(inputs[input]);
    kern::AccessAttr a = of(input);
    switch (a.getKind()) {
    case AccessKind::element:
      return x.shape.size() == 2 ? x(i, j) : x(i);
    case AccessKind::row:
      return a.getLane() >= 0 ? x(i, a.getLane()) : x(i);
    case AccessKind::column:
      return x(j);
    case AccessKind::one:
      return a.getLane() >= 0 ? x(a.getLane()) : x(0);
    case AccessKind::gather: {
      int64_t from = f.tensor(indices[a.getIndex()])(i);
      return x.shape.size() == 2 ? x(from, j) : x(from);
    }
    default:
      return std::numeric_limits<double>::quiet_NaN();
    }
  }

  /// Runs the region on row i with the accumulators in front.
  bool run(Block &body, int64_t i, std::vector<Lane> lanes,
           std::vector<Lane> &yielded) const {
    return run(body, i, 0, columns, std::move(lanes), yielded);
  }
  /// The same on `count` columns from `first`.
  bool run(Block &body, int64_t i, int64_t first, int64_t count,
           std::vector<Lane> lanes, std::vector<Lane> &yielded) const {
    for (unsigned k = 0; k < inputs.size(); ++k) {
      Lane lane(count);
      for (int64_t j = 0; j < count; ++j)
        lane[j] = read(k, i, first + j);
      lanes.push_back(std::move(lane));
    }
    return evaluateRegion(body, lanes, i, first, count, yielded);
  }
  /// The same on all columns, chunk by chunk; stores what is yielded.
  /// `places`: the result of each yielded value, and which part of it.
  bool runChunks(Block &body, int64_t i, const std::vector<Lane> &sums,
                 llvm::ArrayRef<std::pair<unsigned, int64_t>> places,
                 ArrayAttr resultAccess, std::vector<Tensor> &results) const {
    std::vector<Lane> yielded;
    for (int64_t first = 0; first < columns; first += kern::chunkColumns) {
      int64_t count = std::min(kern::chunkColumns, columns - first);
      std::vector<Lane> part;
      for (const Lane &lane : sums)
        part.emplace_back(lane.begin() + first, lane.begin() + first + count);
      if (!run(body, i, first, count, part, yielded))
        return false;
      for (auto [place, lane] : llvm::zip(places, yielded)) {
        auto [k, number] = place;
        if (cast<kern::AccessAttr>(resultAccess[k]).getKind() ==
            AccessKind::chunk)
          results[k](i, first / kern::chunkColumns) = lane.at(0);
        else
          for (int64_t j = 0; j < count; ++j)
            results[k](i, number * columns + first + j) = lane[j];
      }
    }
    return true;
  }
};

/// An array for a result, a dynamic size being `rows`.
Tensor emptyLike(Value result, int64_t rows) {
  std::vector<int64_t> shape;
  for (int64_t size : cast<RankedTensorType>(result.getType()).getShape())
    shape.push_back(ShapedType::isDynamic(size) ? rows : size);
  return Tensor(shape);
}

bool evaluateRow(kern::RowOp op, Frame &f) {
  if (op.getOffsets())
    return false;
  Space space{f, op.getInputs(), op.getAccess(), op.getIndices()};
  space.measure();
  std::vector<Tensor> results;
  for (Value result : op.getResults())
    results.push_back(emptyLike(result, space.rows));
  std::vector<Lane> yielded;
  for (int64_t i = 0; i < space.rows; ++i) {
    if (op.isChunked()) {
      llvm::SmallVector<std::pair<unsigned, int64_t>> places;
      for (unsigned k = 0; k < op.getNumResults(); ++k)
        places.push_back({k, 0});
      if (!space.runChunks(op.getBody().front(), i, {}, places,
                           op.getResultAccess(), results))
        return false;
      continue;
    }
    if (!space.run(op.getBody().front(), i, {}, yielded))
      return false;
    for (auto [result, lane] : llvm::zip(results, yielded)) {
      if (result.shape.size() == 1)
        result(i) = lane.at(0);
      else
        for (int64_t j = 0; j < space.columns; ++j)
          result(i, j) = lane[j];
    }
  }
  for (auto [value, result] : llvm::zip(op.getResults(), results))
    f.set(value, result);
  return true;
}

bool evaluateMap(kern::MapOp op, Frame &f) {
  Space space{f, op.getInputs(), op.getAccess(), op.getIndices()};
  space.measure();
  std::vector<Tensor> results;
  unsigned init = 0;
  for (auto [i, value] : llvm::enumerate(op.getResults())) {
    auto access = cast<kern::AccessAttr>(op.getResultAccess()[i]);
    results.push_back(access.getKind() == AccessKind::scatter
                          ? f.tensor(op.getInits()[init++])
                          : emptyLike(value, space.rows));
  }
  std::vector<Lane> yielded;
  for (int64_t i = 0; i < space.rows; ++i) {
    if (!space.run(op.getBody().front(), i, {}, yielded))
      return false;
    for (auto [place, lane] : llvm::zip(op.getPlaces(), yielded)) {
      auto access = cast<kern::AccessAttr>(op.getResultAccess()[place.first]);
      Tensor &result = results[place.first];
      int64_t to = access.getKind() == AccessKind::scatter
                       ? f.tensor(op.getIndices()[access.getIndex()])(i)
                       : i;
      int64_t first = place.second * space.columns;
      for (int64_t j = 0; j < space.columns; ++j)
        (result.shape.size() == 2 ? result(to, first + j) : result(to)) =
            lane[j];
    }
  }
  for (auto [value, result] : llvm::zip(op.getResults(), results))
    f.set(value, result);
  return true;
}

bool evaluateColumnSum(kern::ColumnSumOp op, Frame &f) {
  Space space{f, op.getInputs(), op.getAccess(), op.getIndices()};
  space.measure();
  Tensor result =
      op.getInit() ? f.tensor(op.getInit()) : Tensor({space.columns});
  std::vector<Lane> yielded;
  for (int64_t i = 0; i < space.rows; ++i) {
    if (!space.run(op.getBody().front(), i, {}, yielded))
      return false;
    for (int64_t j = 0; j < space.columns; ++j)
      result(j) += yielded[0][j];
  }
  f.set(op.getResult(), result);
  return true;
}

/// Turns and cuts rows; `inputs` lie side by side.
void evaluateTurn(const kern::Turn &turn, llvm::ArrayRef<Tensor> inputs,
                  const Tensor &angles, bool inverse, Frame &f) {
  int64_t rows = angles.rows();
  std::vector<Tensor> results;
  for (auto [i, value] : llvm::enumerate(turn.results)) {
    size_t plain = turn.results.size() - turn.inits.size();
    results.push_back(i < plain ? emptyLike(value, rows)
                                : f.tensor(turn.inits[i - plain]));
  }
  int64_t half = turn.half;
  for (int64_t i = 0; i < rows; ++i)
    for (const kern::Turn::Part &part : turn.getParts()) {
      const Tensor &x = inputs[part.input];
      Tensor &y = results[part.result];
      int64_t row =
          turn.isScattered(part.result) ? int64_t(f.tensor(turn.to)(i)) : i;
      for (int64_t pair = 0; pair < part.count * half; ++pair) {
        int64_t head = pair / half, j = pair % half;
        double c = angles(i, j), s = angles(i, half + j);
        if (inverse)
          s = -s;
        int64_t from = (part.inputHead + head) * 2 * half + j;
        int64_t to = (part.resultHead + head) * 2 * half + j;
        double a = x(i, from), b = x(i, from + half);
        y(row, to) = part.turned ? a * c - b * s : a;
        y(row, to + half) = part.turned ? b * c + a * s : b;
      }
    }
  for (auto [value, result] : llvm::zip(turn.results, results))
    f.set(value, result);
}

bool evaluateRope(kern::RopeOp op, Frame &f) {
  std::vector<Tensor> inputs;
  for (Value input : op.getInputs())
    inputs.push_back(f.tensor(input));
  evaluateTurn(op.getTurn(), inputs,
               anglesOf(f.tensor(op.getPositions()), op.getFrequencies()),
               op.getInverse(), f);
  return true;
}

bool evaluateMatmul(kern::MatmulOp op, Frame &f) {
  const Tensor &a = f.tensor(op.getA());
  Tensor product = multiply(a, f.tensor(op.getB()), op.getTransposeA(), false);
  if (op.getInit())
    product = add(f.tensor(op.getInit()), product);
  std::optional<kern::Turn> turn = op.getTurn();
  if (op.getBody().empty()) {
    if (turn)
      evaluateTurn(*turn, product, f.tensor(op.getAngles()), false, f);
    else
      f.set(op.getResult(0), product);
    return true;
  }
  Space space{f, op.getInputs(), op.getAccess(), {}};
  space.rows = product.rows();
  space.columns = op.getColumns();
  std::vector<Tensor> results;
  ArrayAttr access = op.getResultAccess();
  auto places = op.getPlaces();
  if (turn) { // of all columns, before the turn
    places.assign(1, {0, 0});
    results.push_back(Tensor({space.rows, space.columns}));
    access = ArrayAttr::get(op.getContext(), access[0]);
  } else {
    for (Value result : op.getResults())
      results.push_back(emptyLike(result, space.rows));
  }
  for (int64_t i = 0; i < space.rows; ++i) {
    std::vector<Lane> sums(op.getPaired() ? 2 : 1, Lane(space.columns));
    for (int64_t j = 0; j < space.columns; ++j) {
      // Paired columns take turns by 16: gate, up, gate, ...
      int64_t first = op.getPaired() ? j / 16 * 32 + j % 16 : j;
      sums[0][j] = product(i, first);
      if (op.getPaired())
        sums[1][j] = product(i, first + 16);
    }
    if (!space.runChunks(op.getBody().front(), i, sums, places, access,
                         results))
      return false;
  }
  if (turn) {
    evaluateTurn(*turn, results, f.tensor(op.getAngles()), false, f);
    return true;
  }
  for (auto [value, result] : llvm::zip(op.getResults(), results))
    f.set(value, result);
  return true;
}

std::vector<int64_t> integers(const Tensor &x) {
  return {x.values.begin(), x.values.end()};
}

bool evaluateAttention(kern::AttentionOp op, Frame &f) {
  Context context;
  context.positions = integers(f.tensor(op.getPositions()));
  context.bases = integers(f.tensor(op.getBases()));
  if (op.getShared()) {
    context.shared = integers(f.tensor(op.getShared()));
    context.sharedBases = integers(f.tensor(op.getSharedBases()));
  }
  Attention of = attention(f.tensor(op.getQ()), f.tensor(op.getK()),
                           f.tensor(op.getV()), context, op.getHeads(),
                           op.getKvHeads(), op.getScale().convertToFloat());
  f.set(op.getOut(), of.result);
  if (op.getLse())
    f.set(op.getLse(), of.lse);
  return true;
}

bool evaluateAttentionBackward(kern::AttentionBackwardOp op, Frame &f) {
  const Tensor &offsets = f.tensor(op.getOffsets());
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i + 1 < offsets.count(); ++i)
    lengths.push_back(offsets(i + 1) - offsets(i));
  Context context = packedContext(lengths);
  if (op.getShared()) {
    context.sharedBases = context.bases;
    context.shared = integers(f.tensor(op.getShared()));
    context.bases = integers(f.tensor(op.getBases()));
    for (size_t i = 0; i < context.positions.size(); ++i)
      context.positions[i] = offsets(0) + int64_t(i) - context.bases.at(i);
  }
  AttentionGradient of = attentionGradient(
      f.tensor(op.getDOut()), f.tensor(op.getQ()), f.tensor(op.getK()),
      f.tensor(op.getV()), f.tensor(op.getOut()), f.tensor(op.getLse()),
      context, op.getHeads(), op.getKvHeads(), op.getScale().convertToFloat());
  f.set(op.getDq(), of.query);
  f.set(op.getDk(), of.key);
  f.set(op.getDv(), of.value);
  return true;
}

bool reshape(Value from, Value to, Frame &f) {
  Tensor x = f.tensor(from);
  int64_t known = 1;
  for (int64_t size : cast<RankedTensorType>(to.getType()).getShape())
    known *= ShapedType::isDynamic(size) ? 1 : size;
  x.shape = emptyLike(to, 0).shape;
  for (auto [size, type] :
       llvm::zip(x.shape, cast<RankedTensorType>(to.getType()).getShape()))
    if (ShapedType::isDynamic(type))
      size = x.count() / known;
  f.set(to, x);
  return true;
}

/// Tensors below each other.
Tensor joined(ValueRange parts, Frame &f) {
  Tensor result = f.tensor(parts.front());
  for (Value part : parts.drop_front()) {
    const Tensor &next = f.tensor(part);
    result.values.insert(result.values.end(), next.values.begin(),
                         next.values.end());
    result.shape[0] += next.shape[0];
  }
  return result;
}

/// Some of the first dimension.
Tensor sliced(tensor::ExtractSliceOp op, Frame &f) {
  const Tensor &from = f.tensor(op.getSource());
  Tensor result(
      {op.getType().getShape().begin(), op.getType().getShape().end()});
  int64_t line = from.count() / from.shape[0];
  std::copy_n(from.values.begin() + op.getStaticOffset(0) * line,
              result.count(), result.values.begin());
  return result;
}

} // namespace

bool reference::evaluateKern(Operation *op, Frame &f) {
  return TypeSwitch<Operation *, bool>(op)
      .Case([&](kern::RowOp op) { return evaluateRow(op, f); })
      .Case([&](kern::MapOp op) { return evaluateMap(op, f); })
      .Case([&](kern::ColumnSumOp op) { return evaluateColumnSum(op, f); })
      .Case([&](kern::MatmulOp op) { return evaluateMatmul(op, f); })
      .Case([&](kern::RopeOp op) { return evaluateRope(op, f); })
      .Case([&](kern::AnglesOp op) {
        f.set(op.getResult(),
              anglesOf(f.tensor(op.getPositions()), op.getFrequencies()));
        return true;
      })
      .Case([&](kern::AttentionOp op) { return evaluateAttention(op, f); })
      .Case([&](kern::AttentionBackwardOp op) {
        return evaluateAttentionBackward(op, f);
      })
      .Case([&](kern::ScatterAddOp op) {
        const Tensor &init = f.tensor(op.getInit());
        f.set(op.getResult(),
              add(init, scatterAdd(f.tensor(op.getX()), f.tensor(op.getIds()),
                                   init.rows())));
        return true;
      })
      .Case([&](tensor::DimOp op) {
        f.set(op.getResult(),
              Tensor::number(
                  f.tensor(op.getSource()).shape[*op.getConstantIndex()]));
        return true;
      })
      .Case([&](tensor::ConcatOp op) {
        f.set(op.getResult(), joined(op.getInputs(), f));
        return true;
      })
      .Case([&](tensor::ExtractSliceOp op) {
        f.set(op.getResult(), sliced(op, f));
        return true;
      })
      .Case([&](tensor::ExpandShapeOp op) {
        return reshape(op.getSrc(), op.getResult(), f);
      })
      .Case([&](tensor::CollapseShapeOp op) {
        return reshape(op.getSrc(), op.getResult(), f);
      })
      .Case([&](arith::ConstantOp op) {
        auto value = dyn_cast<IntegerAttr>(op.getValue());
        if (!value)
          return false;
        f.set(op.getResult(), Tensor::number(value.getInt()));
        return true;
      })
      .Default(false);
}
