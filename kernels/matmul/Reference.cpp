//===- Reference.cpp - kern.matmul, naively -------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Reductions.h"
#include "kernels/common/Turn.h"
#include "kernels/matmul/Amx.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {
/// Both elements of a pair of A and of B, as f32.
struct AmxPair {
  Value a0, a1, b0, b1;
};
} // namespace

/// What tdpbf16ps sums: of 16 pairs the even products and the odd ones, each in
/// a chain of its own from 0, then start + (even + odd).
static Value amxSum(Kernel &k, Value start, Value pairs,
                    function_ref<AmxPair(Value)> at) {
  Emit &e = k.e;
  Value zero = e.splat(e.b.getF32Type(), 0.0);
  return e.loop(e.i64(0), pairs, e.i64(amxDepth / 2), start,
                [&](Value first, ValueRange carried) -> SmallVector<Value> {
                  Value last = e.min(e.add(first, amxDepth / 2), pairs);
                  SmallVector<Value> sums =
                      e.loop(first, last, e.i64(1), {zero, zero},
                             [&](Value i, ValueRange c) -> SmallVector<Value> {
                               AmxPair pair = at(i);
                               return {e.fma(pair.a0, pair.b0, c[0]),
                                       e.fma(pair.a1, pair.b1, c[1])};
                             });
                  Value sum =
                      arith::AddFOp::create(e.b, e.loc, sums[0], sums[1]);
                  return {arith::AddFOp::create(e.b, e.loc, carried[0], sum)};
                })[0];
}

LogicalResult r1c::kernels::buildMatmulReference(Kernel &k) {
  Emit &e = k.e;
  auto op = cast<kern::MatmulOp>(k.op);
  Type element = kern::elementTypeOf(op.getA()), f32 = e.b.getF32Type(),
       i32 = e.b.getI32Type();
  bool pairs = element.isBF16(), transposed = op.getTransposeA();
  Value a = k.pointer(op.getA()), b = k.pointer(op.getB());
  int64_t columns = op.getColumns();
  auto packed = dyn_cast<kern::PackedType>(op.getB().getType());
  bool amx = usesAmx(op, k.features);

  // The sum for row `row` and packed (or plain) column `n`.
  auto sum = [&](Value row, Value n, Value start) {
    int64_t m = op.getRows();
    if (transposed) {
      auto at = [&](Value r) -> std::pair<Value, Value> {
        return {e.load(e.at(a, e.add(e.mul(r, m), row), element), element),
                e.load(e.at(b, e.add(e.mul(r, columns), n), element), element)};
      };
      if (!pairs)
        return e.loop(e.i64(0), k.size, e.i64(1), start,
                      [&](Value r, ValueRange c) -> SmallVector<Value> {
                        auto [x, y] = at(r);
                        return {e.fma(x, y, c[0])};
                      })[0];
      // Pairs of rows, the second one first; a last row alone has a zero
      // partner.
      auto step = [&](Value sum, Value x, Value y) {
        return e.fma(e.widen(x), e.widen(y), sum);
      };
      if (amx)
        return amxSum(k, start, e.div(e.add(k.size, 1), 2), [&](Value pair) {
          Value r = e.mul(pair, 2);
          auto [x0, y0] = at(r);
          SmallVector<Value> second = e.choose(
              e.less(e.add(r, 1), k.size), {element, element},
              [&]() -> SmallVector<Value> {
                auto [x1, y1] = at(e.add(r, 1));
                return {x1, y1};
              },
              [&]() -> SmallVector<Value> {
                Value none = e.splat(element, 0.0);
                return {none, none};
              });
          return AmxPair{e.widen(x0), e.widen(second[0]), e.widen(y0),
                         e.widen(second[1])};
        });
      Value whole = e.mul(e.div(k.size, 2), 2);
      Value sums = e.loop(e.i64(0), whole, e.i64(2), start,
                          [&](Value r, ValueRange c) -> SmallVector<Value> {
                            auto [x0, y0] = at(r);
                            auto [x1, y1] = at(e.add(r, 1));
                            return {step(step(c[0], x1, y1), x0, y0)};
                          })[0];
      return e.loop(whole, k.size, e.i64(1), sums,
                    [&](Value r, ValueRange c) -> SmallVector<Value> {
                      auto [x, y] = at(r);
                      Value none = e.splat(element, 0.0);
                      return {step(step(c[0], none, none), x, y)};
                    })[0];
    }
    Value panel =
        e.at(b, e.mul(e.div(n, 32), packed.getPanelElements()), element);
    Value column = e.rem(n, 32);
    Type step = pairs ? i32 : f32;
    int64_t steps = pairs ? packed.getK() / 2 : packed.getK();
    Value line = e.at(a, e.mul(row, packed.getK()), element);
    if (amx)
      return amxSum(k, start, e.i64(steps), [&](Value s) {
        auto load = [&](Value from, Value i) {
          return e.widen(e.load(e.at(from, i, element), element));
        };
        Value x = e.mul(s, 2), y = e.mul(e.add(e.mul(s, 32), column), 2);
        return AmxPair{load(line, x), load(line, e.add(x, 1)), load(panel, y),
                       load(panel, e.add(y, 1))};
      });
    return e.loop(
        e.i64(0), e.i64(steps), e.i64(1), start,
        [&](Value s, ValueRange c) -> SmallVector<Value> {
          Value x = e.load(e.at(line, s, step), step);
          Value y =
              e.load(e.at(panel, e.add(e.mul(s, 32), column), step), step);
          return {pairs ? bf16Step(e, c[0], x, y) : e.fma(x, y, c[0])};
        })[0];
  };

  Value rows = transposed ? e.i64(op.getRows()) : k.size;
  auto [from, to] = k.share(rows);
  Value zero = e.splat(f32, 0.0);
  auto address = [&](Value result, Value row, Value column) {
    return e.at(k.pointer(result), e.add(e.mul(row, columns), column),
                kern::elementTypeOf(result));
  };
  // With a turn: the row before it, in memory; then what kern.rope does.
  std::optional<TurnEmitter> turn;
  Value whole;
  if (auto meaning = op.getTurn()) {
    turn.emplace(k, *meaning, 16);
    turn->types = {f32};
    whole = e.scratch(columns * 4);
  }
  auto turnRow = [&](Value row) { turn->row(row, whole, op.getAngles()); };
  if (op.getBody().empty()) {
    Value result = op.getResult(0);
    Type type = turn ? f32 : kern::elementTypeOf(result);
    e.loop(from, to, e.i64(1), [&](Value row) {
      e.loop(0, e.i64(columns), 1, [&](Value column) {
        Value target =
            turn ? e.at(whole, column, f32) : address(result, row, column);
        Value start = op.getInit() ? e.load(target, f32) : zero;
        e.store(e.narrow(sum(row, column, start), type), target, type);
      });
      if (turn)
        turnRow(row);
    });
    return success();
  }
  // With a region (so not transposed, and no init): the sums of a chunk in
  // memory, then the region over them.
  Block &body = op.getBody().front();
  RegionEmitter region(e, body, 1);
  Binding at(k, region, op.getInputs(), {}, op.getAccess(), 1, columns, false);
  auto yield = cast<kern::YieldOp>(body.getTerminator());
  ReferenceReductions reductions(e, region, body);
  SmallVector<Value> memory;
  for (int64_t i = 0; i < (op.getPaired() ? 2 : 1); ++i) {
    memory.push_back(e.scratch(kern::chunkColumns * 4));
    region.arguments[i].varies = true;
  }
  auto accessOf = [&](unsigned result) {
    return cast<kern::AccessAttr>(op.getResultAccess()[result]);
  };
  int64_t chunks = kern::chunksOf(columns);
  e.loop(from, to, e.i64(1), [&](Value row) {
    e.loop(0, e.i64(chunks), 1, [&](Value chunk) {
      Value first = e.mul(chunk, kern::chunkColumns);
      Value length =
          e.min(e.i64(kern::chunkColumns), e.sub(e.i64(columns), first));
      e.loop(0, length, 1, [&](Value c) {
        Value n = e.add(first, c);
        if (op.getPaired())
          n = e.add(e.mul(e.div(n, 16), 32), e.rem(n, 16));
        for (auto [i, sums] : llvm::enumerate(memory))
          e.store(sum(row, e.add(n, 16 * i), zero), e.at(sums, c, f32), f32);
      });
      at.startRow(row);
      ColumnRange range{-1, length, first};
      auto enter = [&](Value c, Value mask) {
        at.column = e.add(first, c);
        at.mask = mask;
        for (auto [i, sums] : llvm::enumerate(memory))
          region.arguments[i].load = [&e, sums = sums, c, f32] {
            return e.load(e.at(sums, c, f32), f32);
          };
      };
      reductions.run(range, enter);
      for (auto [i, value] : llvm::enumerate(yield.getValues())) {
        region.prepare(value);
        if (!op.isChunked() ||
            accessOf(i).getKind() == kern::AccessKind::element)
          continue;
        Value result = op.getResult(i);
        Type type = kern::elementTypeOf(result);
        Value index = e.add(e.mul(row, chunks), chunk);
        e.store(region.uniform(value), e.at(k.pointer(result), index, type),
                type);
      }
      forGroups(e, range, 1, [&](Value c, Value mask) {
        region.startGroup();
        enter(c, mask);
        SmallVector<Value> values;
        for (Value value : yield.getValues())
          values.push_back(region.group(value));
        if (turn)
          return e.store(e.widen(values[0]), e.at(whole, at.column, f32), f32);
        for (auto [place, value] : llvm::zip(op.getPlaces(), values))
          if (accessOf(place.first).getKind() != kern::AccessKind::chunk)
            at.store(value, op.getResult(place.first), accessOf(place.first),
                     place.second);
      });
    });
    if (turn)
      turnRow(row);
  });
  return success();
}
