//===- Runs.cpp - query rows that see the same keys -----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/attention/Attention.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

Runs::Runs(Kernel &k) : k(k), e(k.e), op(cast<kern::AttentionOp>(k.op)) {}

Value Runs::number(Value tensor, Value row) {
  Type i32 = e.b.getI32Type();
  return e.toI64(e.load(e.at(k.pointer(tensor), row, i32), i32));
}

Value Runs::equal(Value tensor, Value a, Value b) {
  return e.equal(number(tensor, a), number(tensor, b));
}

void Runs::share(int64_t rowsAtOnce, bool fetches,
                 function_ref<void(Value, Value, Value)> body) {
  int64_t groups = op.getKvHeads();
  // Keys of a row alone are read from end to end if one worker takes all its
  // heads.
  Value many = e.less(e.mul(k.workers, 8), k.size);
  // Fewer rows at once where workers would go without.
  Value fair = e.div(e.mul(k.size, groups), e.mul(k.workers, 4));
  Value limit = e.max(e.min(fair, e.i64(rowsAtOnce)), e.i64(1));
  cutRows(
      e, e.i64(0), k.size, limit, [&](Value a, Value b) { return same(a, b); },
      [&](Value first, Value end, Value index) {
        Value alone = e.less(end, e.add(first, 2));
        Value whole = arith::AndIOp::create(e.b, e.loc, alone, many);
        e.loop(0, e.i64(groups), 1, [&](Value group) {
          Value item =
              e.select(whole, index, e.add(e.mul(index, groups), group));
          e.when(e.equal(e.rem(item, k.workers), k.worker), [&] {
            if (fetches)
              e.when(alone, [&] { fetch(first, group); });
            body(first, end, group);
          });
        });
      });
}

void Runs::fetch(Value row, Value group) {
  Value next = e.min(e.add(row, k.workers), e.add(k.size, -1));
  int64_t stride =
      cast<RankedTensorType>(op.getK().getType()).getShape().back();
  Type element = kern::elementTypeOf(op.getK());
  Value part = e.mul(e.add(number(op.getPositions(), next), 1),
                     stride / op.getKvHeads());
  Value from = e.mul(number(op.getBases(), next), stride);
  for (Value tensor : {op.getK(), op.getV()}) {
    Value start = e.at(e.at(k.pointer(tensor), from, element),
                       e.mul(part, group), element);
    e.loop(0, part, 64 / bytesOf(element), [&](Value c) {
      e.prefetch(e.at(start, c, element), /*write=*/false, /*locality=*/2);
    });
  }
}

void r1c::kernels::cutRows(Emit &e, Value first, Value end, Value limit,
                           function_ref<Value(Value, Value)> together,
                           function_ref<void(Value, Value, Value)> body) {
  Type i64 = e.b.getI64Type();
  Value lastRow = e.add(end, -1);
  e.loop(first, end, e.i64(1), {first, e.i64(0)},
         [&](Value row, ValueRange carried) -> SmallVector<Value> {
           Value next = e.add(row, 1);
           Value more =
               arith::AndIOp::create(e.b, e.loc, e.less(next, end),
                                     e.less(e.sub(next, carried[0]), limit));
           Value goesOn = arith::AndIOp::create(
               e.b, e.loc, together(row, e.min(next, lastRow)), more);
           return e.choose(
               goesOn, {i64, i64}, [&] { return SmallVector<Value>(carried); },
               [&]() -> SmallVector<Value> {
                 body(carried[0], next, carried[1]);
                 return {next, e.add(carried[1], 1)};
               });
         });
}

/// Whether two rows see the same keys, or at least the same first block.
Value Runs::same(Value a, Value b) {
  Value base = equal(op.getBases(), a, b);
  if (!op.getShared())
    return base;
  Value prompt = arith::AndIOp::create(e.b, e.loc, equal(op.getShared(), a, b),
                                       equal(op.getSharedBases(), a, b));
  Value block = e.less(e.i64(blockKeys - 1), number(op.getShared(), a));
  return arith::AndIOp::create(e.b, e.loc, prompt,
                               arith::OrIOp::create(e.b, e.loc, base, block));
}

void Runs::spans(Value first, Value end,
                 function_ref<void(const Span &)> body) {
  auto span = [&](Value from, Value to, Value first, Value end) {
    Value none = e.i64(0);
    bool shares = bool(op.getShared());
    body({number(op.getBases(), first),
          shares ? number(op.getShared(), first) : none,
          shares ? number(op.getSharedBases(), first) : none, first, end, from,
          to});
  };
  Value all = e.i64(std::numeric_limits<int32_t>::max());
  if (!op.getShared())
    return span(e.i64(0), all, first, end);
  // Whole blocks of the prompt with all rows; then those that see the same keys
  // of their own.
  Value shared = number(op.getShared(), first);
  Value own = e.sub(shared, e.rem(shared, blockKeys));
  span(e.i64(0), own, first, end);
  cutRows(
      e, first, end, all,
      [&](Value a, Value b) { return equal(op.getBases(), a, b); },
      [&](Value a, Value b, Value) { span(own, all, a, b); });
}

void r1c::kernels::shareUnits(
    Kernel &k, kern::AttentionBackwardOp op,
    function_ref<void(Value, Value, Value, Value, Value, Value, Value)> body) {
  Emit &e = k.e;
  Type i32 = e.b.getI32Type();
  int64_t groups = op.getKvHeads();
  auto both = [&](Value a, Value b) -> Value {
    return arith::AndIOp::create(e.b, e.loc, a, b);
  };
  Value offsets = k.pointer(op.getOffsets());
  auto bounds = [&](Value unit) {
    auto offset = [&](Value i) {
      return e.toI64(e.load(e.at(offsets, i, i32), i32));
    };
    return std::pair(offset(unit), offset(e.add(unit, 1)));
  };
  auto cost = [&](Value first, Value last) {
    Value rows = e.sub(last, first);
    return e.mul(rows, rows);
  };
  Value total =
      e.loop(e.i64(0), k.size, e.i64(1), e.i64(0),
             [&](Value u, ValueRange sum) -> SmallVector<Value> {
               auto [first, last] = bounds(u);
               return {e.add(sum[0], e.mul(cost(first, last), groups))};
             })[0];
  Value from = e.div(e.mul(total, k.worker), k.workers);
  Value to = e.div(e.mul(total, e.add(k.worker, 1)), k.workers);
  e.loop(e.i64(0), k.size, e.i64(1), e.i64(0),
         [&](Value u, ValueRange before) -> SmallVector<Value> {
           auto [first, last] = bounds(u);
           Value each = cost(first, last);
           // Small ones go to the worker in whose part they start.
           Value small = e.less(e.mul(each, e.mul(k.workers, 8)), total);
           e.loop(0, e.i64(groups), 1, [&](Value group) {
             Value start = e.add(before[0], e.mul(each, group));
             Value end = e.add(start, e.select(small, e.i64(1), each));
             Value whole =
                 both(e.less(from, e.add(start, 1)), e.less(end, e.add(to, 1)));
             Value some = both(e.less(start, to), e.less(from, end));
             Value none = e.equal(each, e.i64(0));
             some = e.select(none, e.equal(e.i64(0), e.i64(1)), some);
             // Then no tile of it lies beyond.
             Value upTo = e.select(whole, e.add(start, each), to);
             e.when(some, [&] {
               body(first, last, group, start, from, upTo, whole);
             });
           });
           return {e.add(before[0], e.mul(each, groups))};
         });
}
