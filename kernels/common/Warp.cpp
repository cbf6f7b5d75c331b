//===- Warp.cpp - what 32 threads of a GPU do together --------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Warp.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

Warp::Warp(Kernel &k) {
  Emit &e = k.e;
  lane = e.rem(k.thread, warpLanes);
  index = e.div(k.worker, warpLanes);
  count = e.div(k.workers, warpLanes);
}

//===----------------------------------------------------------------------===//
// Shuffles
//===----------------------------------------------------------------------===//

/// A shuffle of 32 bits; other widths go in parts.
static Value shuffle(Emit &e, Value v, Value offset, NVVM::ShflKind kind) {
  Type type = v.getType(), i32 = e.b.getI32Type(), i64 = e.b.getI64Type();
  auto word = [&](Value w) -> Value {
    return NVVM::ShflOp::create(e.b, e.loc, w.getType(), e.i32(-1), w, offset,
                                e.i32(31), kind, UnitAttr());
  };
  unsigned bits = type.getIntOrFloatBitWidth();
  if (bits == 32)
    return word(v);
  if (bits < 32) {
    Value wide = arith::ExtUIOp::create(e.b, e.loc, i32, v);
    return arith::TruncIOp::create(e.b, e.loc, type, word(wide));
  }
  Value all =
      type == i64 ? v : Value(arith::BitcastOp::create(e.b, e.loc, i64, v));
  Value high = arith::ShRUIOp::create(e.b, e.loc, all, e.i64(32));
  auto part = [&](Value w) -> Value {
    return arith::ExtUIOp::create(
        e.b, e.loc, i64, word(arith::TruncIOp::create(e.b, e.loc, i32, w)));
  };
  Value low = part(all);
  Value joined = arith::OrIOp::create(
      e.b, e.loc, low,
      arith::ShLIOp::create(e.b, e.loc, part(high), e.i64(32)));
  return type == i64
             ? joined
             : Value(arith::BitcastOp::create(e.b, e.loc, type, joined));
}

Value r1c::kernels::shuffleDown(Emit &e, Value v, int64_t offset) {
  return shuffle(e, v, e.i32(offset), NVVM::ShflKind::down);
}

Value r1c::kernels::shuffleFrom(Emit &e, Value v, Value lane) {
  Value i = arith::TruncIOp::create(e.b, e.loc, e.b.getI32Type(), lane);
  return shuffle(e, v, i, NVVM::ShflKind::idx);
}

Value r1c::kernels::ballot(Emit &e, Value condition) {
  return NVVM::VoteSyncOp::create(e.b, e.loc, e.b.getI32Type(), e.i32(-1),
                                  condition, NVVM::VoteSyncKind::ballot);
}

Value r1c::kernels::foldSixteen(Emit &e, Value v, bool max) {
  for (int64_t half = 8; half >= 1; half /= 2) {
    Value other = shuffleDown(e, v, half);
    v = max ? Value(arith::MaximumFOp::create(e.b, e.loc, v, other))
            : Value(arith::AddFOp::create(e.b, e.loc, v, other));
  }
  return v;
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

static Value lengthOf(Emit &e, const ColumnRange &range) {
  return range.count >= 0 ? e.i64(range.count) : range.length;
}

/// How many steps of so many columns a static row should do at once; 0: it is
/// not static, or too short. Few are left over where the row allows it.
static int64_t stepsTogether(const ColumnRange &range, int64_t columns) {
  int64_t steps = range.count / columns;
  if (range.count < 0 || steps < 2)
    return 0;
  // All seven of a row, with five inputs, are more than registers hold.
  int64_t best = steps == 7 ? 6 : std::min<int64_t>(steps, 8);
  for (int64_t n = best; n >= 4; --n)
    if (steps % n == 0)
      return n;
  return best;
}

void WarpReductions::run(const ColumnRange &range, Enter enter,
                         ArrayRef<Value> all) {
  llvm::MapVector<int64_t, SmallVector<kern::ReduceOp>> stages;
  for (auto reduce : body.getOps<kern::ReduceOp>())
    stages[region.level(reduce.getValue())].push_back(reduce);
  SmallVector<int64_t> order(llvm::make_first_range(stages));
  llvm::sort(order);
  for (int64_t stage : order)
    sweep(stages[stage], range, enter, all);
}

void WarpReductions::sweep(ArrayRef<kern::ReduceOp> reductions,
                           const ColumnRange &range, Enter enter,
                           ArrayRef<Value> all) {
  // Values of all reductions, first those of lane l, then those of l + 32.
  SmallVector<int64_t> widths;
  Values state[2];
  for (int64_t part = 0; part < 2; ++part)
    for (kern::ReduceOp reduction : reductions) {
      kern::ReduceOp reduce = reduction;
      Values start =
          identity(e, reduce.getKind(), reduce.getValue().getType(), 1, 0);
      if (start.size() > 1) {
        Value column = e.add(lane, part * warpLanes);
        if (range.first)
          column = e.add(column, range.first);
        start[1] =
            arith::TruncIOp::create(e.b, e.loc, e.b.getI32Type(), column);
      }
      if (part == 0) {
        region.prepare(reduce.getValue());
        widths.push_back(start.size());
      }
      state[part].append(start);
    }
  auto step = [&](ValueRange old, Value column) {
    region.startGroup();
    enter(column, {});
    Values next;
    for (kern::ReduceOp reduction : reductions) {
      kern::ReduceOp reduce = reduction;
      Values value = {region.group(reduce.getValue())};
      if (kern::ReduceOp::isArg(reduce.getKind()))
        value.push_back(region.columnIndex());
      next.append(combine(e, reduce.getKind(), old.take_front(value.size()),
                          value, /*inOrder=*/true));
      old = old.drop_front(value.size());
    }
    return next;
  };
  Values carried = state[0];
  carried.append(state[1]);
  size_t values = state[0].size();
  auto pair = [&](Value column, Value second, ValueRange c) {
    Values next = step(c.take_front(values), column);
    next.append(step(c.drop_front(values), second));
    return next;
  };
  auto inLoops = [&] {
    auto pairAt = [&](Value column, ValueRange c) {
      return pair(column, e.add(column, warpLanes), c);
    };
    // Both parts while both have a column, then what is left of the first.
    Value length = lengthOf(e, range);
    Value both = e.max(e.add(length, -warpLanes), lane);
    // A static row in runs of several steps, whose loads are all on their way
    // before the first combination waits for one.
    Value from = lane;
    if (int64_t run = 2 * warpLanes * stepsTogether(range, 2 * warpLanes)) {
      int64_t whole = range.count / run * run;
      carried = e.loop(lane, e.i64(whole), e.i64(run), carried,
                       [&](Value column, ValueRange c) {
                         Values next(c);
                         for (int64_t i = 0; i < run; i += 2 * warpLanes)
                           next = pairAt(e.add(column, i), next);
                         return next;
                       });
      from = e.add(lane, whole);
      both = e.max(both, from);
    }
    carried = e.loop(from, both, e.i64(2 * warpLanes), carried, pairAt);
    Value steps = e.div(e.add(e.sub(both, from), 2 * warpLanes - 1),
                        e.i64(2 * warpLanes));
    Value last = e.add(from, e.mul(steps, 2 * warpLanes));
    ValueRange first = ValueRange(carried).take_front(values);
    Values low = e.choose(
        e.less(last, length), first.getTypes(),
        [&] { return step(first, last); }, [&] { return Values(first); });
    llvm::copy(low, carried.begin());
  };
  if (all.empty())
    inLoops();
  for (auto [i, column] : llvm::enumerate(all)) {
    // Those of lanes l and of lanes l + 32 in turn.
    auto part = ValueRange(carried).slice(i % 2 * values, values);
    auto here = [&, column = column] { return step(part, column); };
    bool isWhole = static_cast<int64_t>(i + 1) * warpLanes <= range.count;
    Values next =
        isWhole ? here()
                : e.choose(e.less(column, e.i64(range.count)), part.getTypes(),
                           here, [&] { return Values(part); });
    llvm::copy(next, carried.begin() + i % 2 * values);
  }
  ValueRange a = ValueRange(carried).take_front(values),
             b = ValueRange(carried).drop_front(values);
  for (auto [reduction, width] : llvm::zip(reductions, widths)) {
    kern::ReduceOp reduce = reduction;
    Values v =
        combine(e, reduce.getKind(), a.take_front(width), b.take_front(width));
    a = a.drop_front(width);
    b = b.drop_front(width);
    for (int64_t half = warpLanes / 2; half >= 1; half /= 2) {
      Values other;
      for (Value x : v)
        other.push_back(shuffleDown(e, x, half));
      v = combine(e, reduce.getKind(), v, other);
    }
    region.define(reduce.getResult(), shuffleFrom(e, v.back(), e.i64(0)));
  }
}

void r1c::kernels::forLanes(Emit &e, const ColumnRange &range, Value lane,
                            function_ref<void(ValueRange)> body) {
  Value from = lane;
  if (int64_t run = warpLanes * stepsTogether(range, warpLanes)) {
    int64_t whole = range.count / run * run;
    e.loop(lane, e.i64(whole), e.i64(run), [&](Value column) {
      SmallVector<Value> columns;
      for (int64_t i = 0; i < run; i += warpLanes)
        columns.push_back(e.add(column, i));
      body(columns);
    });
    from = e.add(lane, whole);
  }
  e.loop(from, lengthOf(e, range), e.i64(warpLanes),
         [&](Value column) { body(column); });
}
