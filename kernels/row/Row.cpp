//===- Row.cpp - kern.row -------------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A row is computed in stages: stage s sweeps over the columns once for all
// reductions that wait for s others. Values are computed anew in each stage:
// that is cheaper than storing them, and needs no memory that grows with N.
//===----------------------------------------------------------------------===//

#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

/// Lanes of a reduction, part of its meaning: see kern.row.
constexpr int64_t reductionLanes = 64;

using Values = SmallVector<Value>;

class RowBuilder {
public:
  RowBuilder(Kernel &k, int64_t lanes)
      : k(k), e(k.e), op(cast<kern::RowOp>(k.op)), lanes(lanes),
        parts(reductionLanes / lanes), columns(op.getColumns()),
        region(e, op.getBody().front(), lanes),
        at(k, region, op.getInputs(), op.getIndices(), op.getAccess(), lanes,
           columns, /*flat=*/false) {}

  void build();

private:
  void buildRow(Value row);
  void sweep(MutableArrayRef<kern::ReduceOp> reductions);
  void finish(kern::ReduceOp reduction, ArrayRef<Values> parts);
  void storeElements();
  /// The value of `reductions` after the group at `column` entered `state`.
  void step(MutableArrayRef<kern::ReduceOp> reductions,
            MutableArrayRef<Values> state, int64_t part, Value column,
            Value mask);

  Kernel &k;
  Emit &e;
  kern::RowOp op;
  int64_t lanes, parts, columns;
  RegionEmitter region;
  Binding at;
  Value length; ///< i64: columns of this row
};

} // namespace

void RowBuilder::build() {
  auto [from, to] = k.share(k.size);
  e.loop(from, to, e.i64(1), [&](Value row) { buildRow(row); });
}

void RowBuilder::buildRow(Value row) {
  if (op.getOffsets()) {
    Type i32 = e.b.getI32Type();
    Value offsets = k.pointer(op.getOffsets());
    Value first = e.toI64(e.load(e.at(offsets, row, i32), i32));
    Value last = e.toI64(e.load(e.at(offsets, e.add(row, 1), i32), i32));
    length = e.sub(last, first);
    at.startRow(row, first);
  } else {
    length = e.i64(columns);
    at.startRow(row);
  }

  llvm::MapVector<int64_t, SmallVector<kern::ReduceOp>> stages;
  for (auto reduce : op.getBody().front().getOps<kern::ReduceOp>())
    stages[region.level(reduce.getValue())].push_back(reduce);
  SmallVector<int64_t> order(llvm::make_first_range(stages));
  llvm::sort(order);
  for (int64_t stage : order)
    sweep(stages[stage]);

  auto yield = cast<kern::YieldOp>(op.getBody().front().getTerminator());
  for (auto [i, value] : llvm::enumerate(yield.getValues())) {
    auto access = cast<kern::AccessAttr>(op.getResultAccess()[i]);
    if (access.getKind() != kern::AccessKind::row)
      continue;
    Type element = kern::elementTypeOf(op.getResult(i));
    e.store(region.uniform(value),
            e.at(k.pointer(op.getResult(i)), row, element), element);
  }
  storeElements();
}

void RowBuilder::step(MutableArrayRef<kern::ReduceOp> reductions,
                      MutableArrayRef<Values> state, int64_t part, Value column,
                      Value mask) {
  region.startGroup();
  at.column = column;
  at.mask = mask;
  for (auto [r, reduction] : llvm::enumerate(reductions)) {
    kern::ReduceOp reduce = reduction;
    Values next = {region.group(reduce.getValue())};
    if (kern::ReduceOp::isArg(reduce.getKind())) {
      Value first = e.broadcast(region.columnIndex(), lanes);
      next.push_back(lanes == 1 ? first : e.add(first, e.iota(lanes)));
    }
    Values &old = state[r * parts + part];
    Values combined = combine(e, reduce.getKind(), old, next);
    if (mask)
      for (auto [c, o] : llvm::zip(combined, old))
        c = e.select(mask, c, o);
    old = combined;
  }
}

/// Flattens the state for a loop's carried values, and back.
static Values flatten(ArrayRef<Values> state) {
  Values flat;
  for (const Values &values : state)
    flat.append(values);
  return flat;
}
static void unflatten(MutableArrayRef<Values> state, ValueRange flat) {
  for (Values &values : state)
    for (Value &value : values) {
      value = flat.front();
      flat = flat.drop_front();
    }
}

void RowBuilder::sweep(MutableArrayRef<kern::ReduceOp> reductions) {
  SmallVector<Values> state;
  for (kern::ReduceOp reduce : reductions) {
    region.prepare(reduce.getValue());
    for (int64_t part = 0; part < parts; ++part)
      state.push_back(identity(e, reduce.getKind(), reduce.getValue().getType(),
                               lanes, part * lanes));
  }
  bool ragged = columns < 0;
  auto block = [&](Value column, ValueRange carried) {
    unflatten(state, carried);
    for (int64_t part = 0; part < parts; ++part) {
      Value mask;
      if (ragged)
        mask = e.maskBelow(lanes, e.sub(length, e.add(column, part * lanes)));
      step(reductions, state, part, e.add(column, part * lanes), mask);
    }
    return flatten(state);
  };
  int64_t full = ragged ? 0 : columns / reductionLanes * reductionLanes;
  Values init = flatten(state);
  if (ragged || full)
    init = e.loop(e.i64(0), ragged ? length : e.i64(full),
                  e.i64(reductionLanes), init, block);
  unflatten(state, init);
  if (!ragged)
    for (int64_t column = full; column < columns; column += lanes)
      step(reductions, state, (column - full) / lanes, e.i64(column),
           columns - column < lanes ? e.mask(lanes, columns - column)
                                    : Value());
  for (auto [r, reduce] : llvm::enumerate(reductions))
    finish(reduce, ArrayRef(state).slice(r * parts, parts));
}

void RowBuilder::finish(kern::ReduceOp reduce, ArrayRef<Values> state) {
  SmallVector<Values> live(state);
  // Whole parts first: lane l takes in lane l + 32, l + 16.
  while (live.size() > 1) {
    size_t half = live.size() / 2;
    for (size_t i = 0; i < half; ++i)
      live[i] = combine(e, reduce.getKind(), live[i], live[i + half]);
    live.resize(half);
  }
  Values v = live.front();
  for (int64_t width = lanes; width > 1; width /= 2) {
    auto low = llvm::to_vector(llvm::seq<int64_t>(0, width / 2));
    auto high = llvm::to_vector(llvm::seq<int64_t>(width / 2, width));
    Values a, b;
    for (Value x : v) {
      a.push_back(e.shuffle(x, x, low));
      b.push_back(e.shuffle(x, x, high));
    }
    v = combine(e, reduce.getKind(), a, b);
  }
  Value result = v.back(); // the column, for argmax and argmin
  region.define(reduce.getResult(), lanes == 1 ? result : e.extract(result, 0));
}

void RowBuilder::storeElements() {
  auto yield = cast<kern::YieldOp>(op.getBody().front().getTerminator());
  SmallVector<unsigned> results;
  for (unsigned i = 0; i < yield.getValues().size(); ++i)
    if (cast<kern::AccessAttr>(op.getResultAccess()[i]).getKind() ==
        kern::AccessKind::element)
      results.push_back(i);
  if (results.empty())
    return;
  for (unsigned i : results) {
    region.prepare(yield.getValues()[i]);
    at.resultRow(op.getResult(i),
                 cast<kern::AccessAttr>(op.getResultAccess()[i]));
  }
  auto group = [&](Value column, Value mask) {
    region.startGroup();
    at.column = column;
    at.mask = mask;
    // All values before the first store: a result may lie where an input is.
    Values values;
    for (unsigned i : results)
      values.push_back(region.group(yield.getValues()[i]));
    for (auto [value, i] : llvm::zip(values, results))
      at.store(value, op.getResult(i),
               cast<kern::AccessAttr>(op.getResultAccess()[i]));
  };
  bool ragged = columns < 0;
  int64_t full = columns / lanes * lanes;
  if (ragged)
    e.loop(0, length, lanes, [&](Value column) {
      group(column,
            lanes == 1 ? Value() : e.maskBelow(lanes, e.sub(length, column)));
    });
  else {
    if (full)
      e.loop(0, e.i64(full), lanes, [&](Value column) { group(column, {}); });
    if (full < columns)
      group(e.i64(full), e.mask(lanes, columns - full));
  }
}

LogicalResult r1c::kernels::buildRowCpu(Kernel &k) {
  RowBuilder(k, 16).build();
  return success();
}
