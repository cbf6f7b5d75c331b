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
// Regions
//===----------------------------------------------------------------------===//

static double compare(arith::CmpFPredicate predicate, double x, double y) {
  switch (predicate) {
  case arith::CmpFPredicate::OEQ:
    return x == y;
  case arith::CmpFPredicate::OLT:
    return x < y;
  case arith::CmpFPredicate::OLE:
    return x <= y;
  case arith::CmpFPredicate::OGT:
    return x > y;
  case arith::CmpFPredicate::OGE:
    return x >= y;
  case arith::CmpFPredicate::UNO:
    return std::isnan(x) || std::isnan(y);
  default:
    return std::numeric_limits<double>::quiet_NaN();
  }
}

static double reduce(kern::ReduceKind kind, const Lane &values) {
  double result = 0;
  switch (kind) {
  case kern::ReduceKind::add:
    for (double value : values)
      result += value;
    return result;
  case kern::ReduceKind::max:
    result = -std::numeric_limits<double>::infinity();
    for (double value : values)
      result = std::max(result, value);
    return result;
  case kern::ReduceKind::min:
    result = std::numeric_limits<double>::infinity();
    for (double value : values)
      result = std::min(result, value);
    return result;
  case kern::ReduceKind::argmax: {
    double best = -std::numeric_limits<double>::infinity();
    for (size_t j = 0; j < values.size(); ++j)
      if (values[j] > best) {
        best = values[j];
        result = j;
      }
    return result;
  }
  default:
    return std::numeric_limits<double>::quiet_NaN();
  }
}

bool reference::evaluateRegion(Block &body, const std::vector<Lane> &columns,
                               int64_t row, int64_t first, int64_t count,
                               std::vector<Lane> &yielded) {
  std::map<const void *, Lane> lanes;
  auto get = [&](Value value) -> const Lane & {
    return lanes.at(value.getAsOpaquePointer());
  };
  auto set = [&](Value value, Lane lane) {
    lanes[value.getAsOpaquePointer()] = std::move(lane);
  };
  auto word = [&](Operation *op, unsigned i, int64_t j) {
    return uint32_t(int64_t(get(op->getOperand(i))[j]));
  };
  auto each = [&](Operation *op, auto function) {
    Lane lane(count);
    for (int64_t j = 0; j < count; ++j) {
      double x = get(op->getOperand(0))[j];
      double y = op->getNumOperands() > 1 ? get(op->getOperand(1))[j] : 0;
      lane[j] = function(x, y);
    }
    set(op->getResult(0), std::move(lane));
    return true;
  };
  for (auto [argument, lane] : llvm::zip(body.getArguments(), columns))
    set(argument, lane);

  for (Operation &op : body.without_terminator()) {
    bool known =
        TypeSwitch<Operation *, bool>(&op)
            .Case([&](arith::ConstantOp op) {
              double value;
              if (auto number = dyn_cast<FloatAttr>(op.getValue()))
                value = number.getValueAsDouble();
              else
                value = cast<IntegerAttr>(op.getValue()).getInt();
              set(op.getResult(), Lane(count, value));
              return true;
            })
            .Case([&](arith::AddFOp op) { return each(op, std::plus()); })
            .Case([&](arith::SubFOp op) { return each(op, std::minus()); })
            .Case([&](arith::MulFOp op) { return each(op, std::multiplies()); })
            .Case([&](arith::DivFOp op) { return each(op, std::divides()); })
            .Case([&](arith::NegFOp op) {
              return each(op, [](double x, double) { return -x; });
            })
            .Case([&](arith::AddIOp op) {
              return each(op, [](double x, double y) {
                return double(
                    int32_t(uint32_t(int64_t(x)) + uint32_t(int64_t(y))));
              });
            })
            // Exact: how a tensor is stored is not part of what a formula
            // means.
            .Case<arith::TruncFOp, arith::ExtFOp>([&](auto op) {
              return each(op, [](double x, double) { return x; });
            })
            .Case([&](arith::UIToFPOp op) {
              return each(op, [](double x, double) {
                return double(uint32_t(int64_t(x)));
              });
            })
            .Case([&](math::ExpOp op) {
              return each(op, [](double x, double) { return std::exp(x); });
            })
            .Case([&](math::LogOp op) {
              return each(op, [](double x, double) { return std::log(x); });
            })
            .Case([&](math::SqrtOp op) {
              return each(op, [](double x, double) { return std::sqrt(x); });
            })
            .Case([&](arith::CmpFOp op) {
              return each(op, [&](double x, double y) {
                return compare(op.getPredicate(), x, y);
              });
            })
            .Case([&](arith::CmpIOp op) {
              return op.getPredicate() == arith::CmpIPredicate::eq &&
                     each(op, [](double x, double y) { return x == y; });
            })
            .Case([&](arith::SelectOp op) {
              Lane lane(count);
              for (int64_t j = 0; j < count; ++j)
                lane[j] = get(op.getCondition())[j] != 0
                              ? get(op.getTrueValue())[j]
                              : get(op.getFalseValue())[j];
              set(op.getResult(), std::move(lane));
              return true;
            })
            .Case([&](kern::ReduceOp op) {
              double value = reduce(op.getKind(), get(op.getValue()));
              if (kern::ReduceOp::isArg(op.getKind()))
                value += first;
              set(op.getResult(), Lane(count, value));
              return true;
            })
            .Case([&](kern::IndexOp op) {
              Lane lane(count, row);
              if (op.getKind() == kern::IndexKind::column)
                for (int64_t j = 0; j < count; ++j)
                  lane[j] = first + j;
              set(op.getResult(), std::move(lane));
              return true;
            })
            .Case([&](kern::NoiseOp op) {
              Lane words(count);
              for (int64_t j = 0; j < count; ++j)
                words[j] =
                    int32_t(noise({word(op, 0, j), word(op, 1, j)},
                                  word(op, 2, j), word(op, 3, j), first + j));
              set(op.getResult(), std::move(words));
              return true;
            })
            .Case([&](kern::RandomOp op) {
              Lane words[4] = {Lane(count), Lane(count), Lane(count),
                               Lane(count)};
              for (int64_t j = 0; j < count; ++j) {
                auto drawn = philox({word(op, 0, j), word(op, 1, j)},
                                    {word(op, 2, j), word(op, 3, j),
                                     word(op, 4, j), word(op, 5, j)});
                for (int i = 0; i < 4; ++i)
                  words[i][j] = int32_t(drawn[i]);
              }
              for (int i = 0; i < 4; ++i)
                set(op->getResult(i), words[i]);
              return true;
            })
            .Default(false);
    if (!known)
      return false;
  }
  yielded.clear();
  for (Value value : body.getTerminator()->getOperands())
    yielded.push_back(get(value));
  return true;
}

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
  bool runChunks(Block &body, int64_t i, const std::vector<Lane> &sums,
                 ArrayAttr resultAccess, std::vector<Tensor> &results) const {
    std::vector<Lane> yielded;
    for (int64_t first = 0; first < columns; first += kern::chunkColumns) {
      int64_t count = std::min(kern::chunkColumns, columns - first);
      std::vector<Lane> part;
      for (const Lane &lane : sums)
        part.emplace_back(lane.begin() + first, lane.begin() + first + count);
      if (!run(body, i, first, count, part, yielded))
        return false;
      for (size_t k = 0; k < results.size(); ++k)
        if (cast<kern::AccessAttr>(resultAccess[k]).getKind() ==
            AccessKind::chunk)
          results[k](i, first / kern::chunkColumns) = yielded[k].at(0);
        else
          for (int64_t j = 0; j < count; ++j)
            results[k](i, first + j) = yielded[k][j];
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
      if (!space.runChunks(op.getBody().front(), i, {}, op.getResultAccess(),
                           results))
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

bool evaluateMatmul(kern::MatmulOp op, Frame &f) {
  const Tensor &a = f.tensor(op.getA());
  Tensor product = multiply(a, f.tensor(op.getB()), op.getTransposeA(), false);
  if (op.getInit())
    product = add(f.tensor(op.getInit()), product);
  if (op.getBody().empty()) {
    f.set(op.getResult(0), product);
    return true;
  }
  Space space{f, op.getInputs(), op.getAccess(), {}};
  space.rows = product.rows();
  space.columns = op.getColumns();
  std::vector<Tensor> results;
  for (Value result : op.getResults())
    results.push_back(emptyLike(result, space.rows));
  for (int64_t i = 0; i < space.rows; ++i) {
    std::vector<Lane> sums(op.getPaired() ? 2 : 1, Lane(space.columns));
    for (int64_t j = 0; j < space.columns; ++j) {
      // Paired columns take turns by 16: gate, up, gate, ...
      int64_t first = op.getPaired() ? j / 16 * 32 + j % 16 : j;
      sums[0][j] = product(i, first);
      if (op.getPaired())
        sums[1][j] = product(i, first + 16);
    }
    if (!space.runChunks(op.getBody().front(), i, sums, op.getResultAccess(),
                         results))
      return false;
  }
  for (auto [value, result] : llvm::zip(op.getResults(), results))
    f.set(value, result);
  return true;
}

std::vector<int64_t> integers(const Tensor &x) {
  return {x.values.begin(), x.values.end()};
}

bool evaluateRope(kern::RopeOp op, Frame &f) {
  const Tensor &positions = f.tensor(op.getPositions());
  int64_t rows = positions.count();
  std::vector<Tensor> results;
  for (auto [i, value] : llvm::enumerate(op.getResults())) {
    size_t plain = op.getNumResults() - op.getInits().size();
    results.push_back(i < plain ? emptyLike(value, rows)
                                : f.tensor(op.getInits()[i - plain]));
  }
  ArrayRef<float> frequencies = op.getFrequencies();
  int64_t half = frequencies.size();
  for (int64_t i = 0; i < rows; ++i)
    for (const kern::RopeOp::Part &part : op.getParts()) {
      const Tensor &x = f.tensor(op.getInputs()[part.input]);
      Tensor &y = results[part.result];
      int64_t row =
          op.isScattered(part.result) ? int64_t(f.tensor(op.getTo())(i)) : i;
      for (int64_t pair = 0; pair < part.count * half; ++pair) {
        int64_t head = pair / half, j = pair % half;
        double angle =
            part.turned ? positions(i) * double(frequencies[j]) : 0.0;
        double c = std::cos(angle),
               s = std::sin(op.getInverse() ? -angle : angle);
        int64_t from = (part.inputHead + head) * 2 * half + j;
        int64_t to = (part.resultHead + head) * 2 * half + j;
        double a = x(i, from), b = x(i, from + half);
        y(row, to) = part.turned ? a * c - b * s : a;
        y(row, to + half) = part.turned ? b * c + a * s : b;
      }
    }
  for (auto [value, result] : llvm::zip(op.getResults(), results))
    f.set(value, result);
  return true;
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
