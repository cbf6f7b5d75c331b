//===- Reference.cpp - kern.row, naively ----------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Column by column with scalars, and the 64 lanes of a reduction in memory:
// the meaning that every other builder must reproduce bit for bit.
//===----------------------------------------------------------------------===//

#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

LogicalResult r1c::kernels::buildRowReference(Kernel &k) {
  constexpr int64_t lanes = 64;
  Emit &e = k.e;
  auto op = cast<kern::RowOp>(k.op);
  Block &body = op.getBody().front();
  int64_t columns = op.getColumns();
  RegionEmitter region(e, body, 1);
  Binding at(k, region, op.getInputs(), op.getIndices(), op.getAccess(), 1,
             columns, false);
  Type i32 = e.b.getI32Type();

  // One array of lanes a reduction, and for argmax a second one of columns.
  struct Lanes {
    kern::ReduceOp op;
    SmallVector<Value> memory;
    SmallVector<Type> types;
  };
  SmallVector<Lanes> reductions;
  int64_t deepest = 0;
  for (auto reduce : body.getOps<kern::ReduceOp>()) {
    Lanes l{reduce, {e.scratch(lanes * 8)}, {reduce.getValue().getType()}};
    if (kern::ReduceOp::isArg(reduce.getKind())) {
      l.memory.push_back(e.scratch(lanes * 4));
      l.types.push_back(i32);
    }
    reductions.push_back(l);
    deepest = std::max(deepest, region.level(reduce.getValue()));
  }
  auto load = [&](Lanes &l, Value lane) {
    SmallVector<Value> v;
    for (auto [memory, type] : llvm::zip(l.memory, l.types))
      v.push_back(e.load(e.at(memory, lane, type), type));
    return v;
  };
  auto store = [&](Lanes &l, Value lane, ValueRange v) {
    for (auto [memory, type, value] : llvm::zip(l.memory, l.types, v))
      e.store(value, e.at(memory, lane, type), type);
  };

  auto [from, to] = k.share(k.size);
  e.loop(from, to, e.i64(1), [&](Value row) {
    Value length;
    if (op.getOffsets()) {
      Value offsets = k.pointer(op.getOffsets());
      Value first = e.toI64(e.load(e.at(offsets, row, i32), i32));
      Value last = e.toI64(e.load(e.at(offsets, e.add(row, 1), i32), i32));
      length = e.sub(last, first);
      at.startRow(row, first);
    } else {
      length = e.i64(columns);
      at.startRow(row);
    }
    for (int64_t stage = 0; stage <= deepest; ++stage)
      for (Lanes &l : reductions) {
        kern::ReduceOp reduce = l.op;
        if (region.level(reduce.getValue()) != stage)
          continue;
        kern::ReduceKind kind = reduce.getKind();
        region.prepare(reduce.getValue());
        e.loop(0, e.i64(lanes), 1, [&](Value lane) {
          SmallVector<Value> start =
              identity(e, kind, reduce.getValue().getType(), 1, 0);
          if (start.size() > 1)
            start[1] = arith::TruncIOp::create(e.b, e.loc, i32, lane);
          store(l, lane, start);
        });
        e.loop(0, length, 1, [&](Value column) {
          region.startGroup();
          at.column = column;
          SmallVector<Value> next = {region.group(reduce.getValue())};
          if (l.memory.size() > 1)
            next.push_back(region.columnIndex());
          Value lane = e.rem(column, lanes);
          store(l, lane, combine(e, kind, load(l, lane), next));
        });
        for (int64_t half = lanes / 2; half >= 1; half /= 2)
          e.loop(0, e.i64(half), 1, [&](Value lane) {
            store(l, lane,
                  combine(e, kind, load(l, lane), load(l, e.add(lane, half))));
          });
        region.define(reduce.getResult(), load(l, e.i64(0)).back());
      }
    auto yield = cast<kern::YieldOp>(body.getTerminator());
    for (auto [i, value] : llvm::enumerate(yield.getValues())) {
      auto access = cast<kern::AccessAttr>(op.getResultAccess()[i]);
      if (access.getKind() != kern::AccessKind::row)
        continue;
      Type element = kern::elementTypeOf(op.getResult(i));
      e.store(region.uniform(value),
              e.at(k.pointer(op.getResult(i)), row, element), element);
    }
    for (Value value : yield.getValues())
      region.prepare(value);
    e.loop(0, length, 1, [&](Value column) {
      region.startGroup();
      at.column = column;
      SmallVector<Value> values;
      for (Value value : yield.getValues())
        values.push_back(region.group(value));
      for (auto [i, value] : llvm::enumerate(values)) {
        auto access = cast<kern::AccessAttr>(op.getResultAccess()[i]);
        if (access.getKind() == kern::AccessKind::element)
          at.store(value, op.getResult(i), access);
      }
    });
  });
  return success();
}
