//===- Reductions.cpp - kern.reduce over the columns of a row -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Reductions.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

Reductions::Reductions(Emit &e, RegionEmitter &region, Block &body,
                       int64_t lanes)
    : e(e), region(region), body(body), lanes(lanes),
      parts(reductionLanes / lanes) {}

void Reductions::run(const ColumnRange &range, Enter enter) {
  llvm::MapVector<int64_t, SmallVector<kern::ReduceOp>> stages;
  for (auto reduce : body.getOps<kern::ReduceOp>())
    stages[region.level(reduce.getValue())].push_back(reduce);
  SmallVector<int64_t> order(llvm::make_first_range(stages));
  llvm::sort(order);
  for (int64_t stage : order)
    sweep(stages[stage], range, enter);
}

void Reductions::step(MutableArrayRef<kern::ReduceOp> reductions,
                      MutableArrayRef<Values> state, int64_t part, Value mask) {
  for (auto [r, reduction] : llvm::enumerate(reductions)) {
    kern::ReduceOp reduce = reduction;
    Values next = {region.group(reduce.getValue())};
    if (kern::ReduceOp::isArg(reduce.getKind())) {
      Value first = e.broadcast(region.columnIndex(), lanes);
      next.push_back(lanes == 1 ? first : e.add(first, e.iota(lanes)));
    }
    Values &old = state[r * parts + part];
    Values combined = combine(e, reduce.getKind(), old, next, /*inOrder=*/true);
    if (mask)
      for (auto [c, o] : llvm::zip(combined, old))
        c = e.select(mask, c, o);
    old = combined;
  }
}

/// Flattens the state for a loop's carried values, and back.
static SmallVector<Value> flatten(ArrayRef<SmallVector<Value>> state) {
  SmallVector<Value> flat;
  for (const SmallVector<Value> &values : state)
    flat.append(values);
  return flat;
}
static void unflatten(MutableArrayRef<SmallVector<Value>> state,
                      ValueRange flat) {
  for (SmallVector<Value> &values : state)
    for (Value &value : values) {
      value = flat.front();
      flat = flat.drop_front();
    }
}

/// Columns of argmax and argmin count from the start of the row.
static void shift(Emit &e, SmallVector<Value> &start, const ColumnRange &range,
                  int64_t lanes) {
  if (start.size() < 2 || !range.first)
    return;
  Value first =
      arith::TruncIOp::create(e.b, e.loc, e.b.getI32Type(), range.first);
  start[1] = e.add(start[1], e.broadcast(first, lanes));
}

void Reductions::sweep(MutableArrayRef<kern::ReduceOp> reductions,
                       const ColumnRange &range, Enter enter) {
  SmallVector<Values> state;
  for (kern::ReduceOp reduce : reductions) {
    region.prepare(reduce.getValue());
    for (int64_t part = 0; part < parts; ++part) {
      state.push_back(identity(e, reduce.getKind(), reduce.getValue().getType(),
                               lanes, part * lanes));
      shift(e, state.back(), range, lanes);
    }
  }
  bool fixed = range.count >= 0;
  auto group = [&](int64_t part, Value column, Value mask) {
    region.startGroup(part);
    enter(column, mask);
    step(reductions, state, part, mask);
  };
  auto block = [&](Value column, ValueRange carried) {
    unflatten(state, carried);
    for (int64_t part = 0; part < parts; ++part) {
      Value start = e.add(column, part * lanes);
      group(part, start,
            fixed ? Value() : e.maskBelow(lanes, e.sub(range.length, start)));
    }
    return flatten(state);
  };
  int64_t full = fixed ? range.count / reductionLanes * reductionLanes : 0;
  Values init = flatten(state);
  if (!fixed || full)
    init = e.loop(e.i64(0), fixed ? e.i64(full) : range.length,
                  e.i64(reductionLanes), init, block);
  unflatten(state, init);
  for (int64_t column = full; column < range.count; column += lanes)
    group((column - full) / lanes, e.i64(column),
          range.count - column < lanes ? e.mask(lanes, range.count - column)
                                       : Value());
  for (auto [r, reduce] : llvm::enumerate(reductions))
    finish(reduce, ArrayRef(state).slice(r * parts, parts));
}

void Reductions::finish(kern::ReduceOp reduce, ArrayRef<Values> state) {
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

void r1c::kernels::forGroups(Emit &e, const ColumnRange &range, int64_t lanes,
                             function_ref<void(Value, Value)> group) {
  if (range.count < 0) {
    e.loop(0, range.length, lanes, [&](Value column) {
      group(column, lanes == 1
                        ? Value()
                        : e.maskBelow(lanes, e.sub(range.length, column)));
    });
    return;
  }
  int64_t full = range.count / lanes * lanes;
  if (full)
    e.loop(0, e.i64(full), lanes, [&](Value column) { group(column, {}); });
  if (full < range.count)
    group(e.i64(full), e.mask(lanes, range.count - full));
}

//===----------------------------------------------------------------------===//
// Naively
//===----------------------------------------------------------------------===//

ReferenceReductions::ReferenceReductions(Emit &e, RegionEmitter &region,
                                         Block &body)
    : e(e), region(region) {
  for (auto reduce : body.getOps<kern::ReduceOp>()) {
    Lanes l{
        reduce, {e.scratch(reductionLanes * 8)}, {reduce.getValue().getType()}};
    if (kern::ReduceOp::isArg(reduce.getKind())) {
      l.memory.push_back(e.scratch(reductionLanes * 4));
      l.types.push_back(e.b.getI32Type());
    }
    reductions.push_back(l);
    deepest = std::max(deepest, region.level(reduce.getValue()));
  }
}

SmallVector<Value> ReferenceReductions::load(Lanes &l, Value lane) {
  SmallVector<Value> v;
  for (auto [memory, type] : llvm::zip(l.memory, l.types))
    v.push_back(e.load(e.at(memory, lane, type), type));
  return v;
}

void ReferenceReductions::store(Lanes &l, Value lane, ValueRange values) {
  for (auto [memory, type, value] : llvm::zip(l.memory, l.types, values))
    e.store(value, e.at(memory, lane, type), type);
}

void ReferenceReductions::run(const ColumnRange &range, Enter enter) {
  for (int64_t stage = 0; stage <= deepest; ++stage)
    for (Lanes &l : reductions)
      if (region.level(l.op.getValue()) == stage)
        reduce(l, range, enter);
}

void ReferenceReductions::reduce(Lanes &l, const ColumnRange &range,
                                 Enter enter) {
  kern::ReduceOp reduce = l.op;
  kern::ReduceKind kind = reduce.getKind();
  region.prepare(reduce.getValue());
  e.loop(0, e.i64(reductionLanes), 1, [&](Value lane) {
    SmallVector<Value> start =
        identity(e, kind, reduce.getValue().getType(), 1, 0);
    if (start.size() > 1)
      start[1] = arith::TruncIOp::create(e.b, e.loc, e.b.getI32Type(), lane);
    shift(e, start, range, 1);
    store(l, lane, start);
  });
  Value length = range.count >= 0 ? e.i64(range.count) : range.length;
  e.loop(0, length, 1, [&](Value column) {
    region.startGroup();
    enter(column, {});
    SmallVector<Value> next = {region.group(reduce.getValue())};
    if (l.memory.size() > 1)
      next.push_back(region.columnIndex());
    Value lane = e.rem(column, reductionLanes);
    store(l, lane, combine(e, kind, load(l, lane), next));
  });
  for (int64_t half = reductionLanes / 2; half >= 1; half /= 2)
    e.loop(0, e.i64(half), 1, [&](Value lane) {
      store(l, lane,
            combine(e, kind, load(l, lane), load(l, e.add(lane, half))));
    });
  region.define(reduce.getResult(), load(l, e.i64(0)).back());
}
