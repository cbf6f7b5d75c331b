//===- Backward.cpp - kern.attention_backward for CPUs --------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Five matrix products for each pair of a tile of queries and a tile of keys
// that meet. README.md gives the order of every sum. One worker does a unit and
// key head in one sweep, where dk and dv grow in the results; or several share
// it in two sweeps, one that gathers for queries and one for keys, in the same
// order: two of the products are then done twice.
//===----------------------------------------------------------------------===//

#include "kernels/attention/Amx.h"
#include "kernels/matmul/Matmul.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

struct Backward {
  Kernel &k;
  kern::AttentionBackwardOp op = cast<kern::AttentionBackwardOp>(k.op);
  Emit &e = k.e;
  Type element = kern::elementTypeOf(op.getQ()),
       gradient = kern::elementTypeOf(op.getDq());
  int64_t heads = op.getHeads(), kvHeads = op.getKvHeads();
  int64_t each = heads / kvHeads;
  int64_t width =
      cast<RankedTensorType>(op.getQ().getType()).getDimSize(1) / heads;
  Head head{k, element, width}, results{k, gradient, width};
  BackwardGrid grid{width, each};
  int64_t vectors = grid.rows * each;
  Type f32 = e.b.getF32Type(), i32 = e.b.getI32Type(), i64 = e.b.getI64Type();
  Type pointer = k.args.getType();
  bool shares = bool(op.getShared());
  /// Whether sums over keys may stand in the results.
  bool inPlace = gradient.isF32() && width % 32 == 0;

  /// A vector is a row and a head.
  Pieces pieces = {};
  int64_t piece(int64_t floats) { return pieces.add(floats * 4); }
  int64_t rowStride = head.parts * 16;
  int64_t qAt = piece(vectors * rowStride), seedAt = piece(vectors * rowStride),
          qPanelsAt = piece(vectors * head.padded),
          seedPanelsAt = piece(vectors * head.padded), lseAt = piece(vectors),
          meanAt = piece(vectors);
  int64_t keyColumnsAt = piece(grid.keys * width),
          valueColumnsAt = piece(grid.keys * width),
          keyPanelsAt = piece(grid.keys * head.padded),
          dvAt = piece(grid.keys * head.padded);
  /// No sweep needs both.
  int64_t dqAt = piece(std::max(vectors, grid.keys) * head.padded), dkAt = dqAt;
  int64_t pAt = piece(vectors * grid.keys), dsAt = piece(vectors * grid.keys);

  Tiles pairTiles{"pairs",        f32,   rowStride, 1,
                  width * 32 * 4, false, false,     fewHeights(k.features)};
  Tiles queryTiles{"queries",          f32,  grid.keys, 1,
                   grid.keys * 32 * 4, true, false,     fewHeights(k.features)};
  Tiles keyTiles{"keys",           f32,  1,     grid.keys,
                 vectors * 32 * 4, true, false, fewHeights(k.features)};
  Chains chains{k, head, pairTiles, grid.keys};
  int64_t pRestAt = piece(chains.restFloats()),
          dsRestAt = piece(chains.restFloats());
  func::FuncOp loadQueries = {}, loadKeys = {}, pair = {}, gather = {};

  Value f(double v) { return e.splat(f32, v); }
  Value sub(Value a, Value b) {
    return arith::SubFOp::create(e.b, e.loc, a, b);
  }
  Value mul(Value a, Value b) {
    return arith::MulFOp::create(e.b, e.loc, a, b);
  }
  Value both(Value a, Value b) {
    return arith::AndIOp::create(e.b, e.loc, a, b);
  }
  Value either(Value a, Value b) {
    return arith::OrIOp::create(e.b, e.loc, a, b);
  }
  Value at(Value scratch, int64_t offset) {
    return e.at(scratch, offset, e.b.getI8Type());
  }
  Value at(Value scratch, int64_t offset, Value index, int64_t stride = 1) {
    return e.at(at(scratch, offset), e.mul(index, stride), f32);
  }
  Value number(Value tensor, Value row) {
    return e.toI64(e.load(e.at(k.pointer(tensor), row, i32), i32));
  }
  Value query(Value tensor, Value row, Value h) {
    return e.at(k.pointer(tensor),
                e.add(e.mul(row, heads * width), e.mul(h, width)),
                kern::elementTypeOf(tensor));
  }
  Value key(Value tensor, Value row, Value group) {
    return e.at(k.pointer(tensor),
                e.add(e.mul(row, kvHeads * width), e.mul(group, width)),
                kern::elementTypeOf(tensor));
  }
  Value sharedEnd(Value row, Value first) {
    return e.add(first, number(op.getShared(), row));
  }
  Value ownFrom(Value row) {
    return e.add(number(op.getBases(), row), number(op.getShared(), row));
  }
  void call(func::FuncOp function, ValueRange arguments) {
    func::CallOp::create(e.b, e.loc, function, arguments);
  }
  /// A function of (scratch, args, ...).
  func::FuncOp outline(StringRef name, unsigned numbers,
                       function_ref<void(Value, ValueRange)> body) {
    SmallVector<Type> types = {pointer, pointer};
    types.append(numbers, i64);
    return k.outline(name, types, [&](ValueRange arguments) {
      auto old = k.usePointers(arguments[1]);
      body(arguments[0], arguments.drop_front(2));
      k.putBack(std::move(old));
    });
  }
  void clear(Value memory, int64_t floats) {
    Value zero = e.splat(lanesOf(f32, 16), 0.0);
    e.loop(0, e.i64(floats), 16,
           [&](Value i) { e.store(zero, e.at(memory, i, f32), f32); });
  }

  void build() {
    pairTiles.make(k);
    queryTiles.make(k);
    keyTiles.make(k);
    loadQueries = outline("load_queries", 3, [&](Value scratch, ValueRange a) {
      loadQueriesBody(scratch, a[0], a[1], a[2]);
    });
    loadKeys = outline("load_keys", 3, [&](Value scratch, ValueRange a) {
      loadKeysBody(scratch, a[0], a[1], a[2]);
    });
    pair = outline("pair", 6, [&](Value scratch, ValueRange a) {
      pairBody(scratch, a[0], a[1], a[2], a[3], a[4], a[5]);
    });
    gather = k.outline("gather", {pointer, pointer, pointer, i64, i64, i64},
                       [&](ValueRange a) { gatherBody(a); });
    Value scratch = e.scratch(pieces.bytes);
    shareUnits(k, op,
               [&](Value first, Value last, Value group, Value start,
                   Value from, Value to, Value whole) {
                 auto inTwo = [&] {
                   two(scratch, first, last, group, start, from, to);
                 };
                 if (!inPlace)
                   return inTwo();
                 e.when(whole, [&] { one(scratch, first, last, group); });
                 e.when(e.equal(whole, e.splatInt(whole.getType(), 0)), inTwo);
               });
  }

  /// Calls body(j0, keys) for the tiles of keys that queries [i0, iEnd) meet.
  void keysOf(Value first, Value i0, Value iEnd,
              function_ref<void(Value, Value)> body) {
    SmallVector<Value> bounds = seen(first, i0, iEnd);
    e.loop(first, iEnd, e.i64(grid.keys), [&](Value j0) {
      e.when(meet(bounds, iEnd, j0),
             [&] { body(j0, e.min(e.i64(grid.keys), e.sub(iEnd, j0))); });
    });
  }
  /// Where the last shared key of queries [i0, iEnd) ends, and where the first
  /// of their own begins.
  SmallVector<Value> seen(Value first, Value i0, Value iEnd) {
    if (!shares)
      return {};
    return e.loop(i0, iEnd, e.i64(1), {sharedEnd(i0, first), ownFrom(i0)},
                  [&](Value i, ValueRange b) -> SmallVector<Value> {
                    return {e.max(b[0], sharedEnd(i, first)),
                            e.min(b[1], ownFrom(i))};
                  });
  }
  Value meet(ArrayRef<Value> bounds, Value iEnd, Value j0) {
    Value before = e.less(j0, iEnd);
    if (!shares)
      return before;
    return both(before, either(e.less(j0, bounds[0]),
                               e.less(bounds[1], e.add(j0, grid.keys))));
  }

  /// One sweep for all three results.
  void one(Value scratch, Value first, Value last, Value group) {
    SmallVector<Value> zero(head.parts, e.splat(lanesOf(f32, 16), 0.0));
    e.loop(first, last, e.i64(1), [&](Value row) {
      results.store(zero, key(op.getDk(), row, group));
      results.store(zero, key(op.getDv(), row, group));
    });
    e.loop(first, last, e.i64(grid.rows), [&](Value i0) {
      Value iEnd = e.min(e.add(i0, grid.rows), last);
      call(loadQueries, {scratch, k.args, group, i0, iEnd});
      clear(at(scratch, dqAt), vectors * head.padded);
      keysOf(first, i0, iEnd, [&](Value j0, Value keys) {
        call(loadKeys, {scratch, k.args, group, j0, keys});
        call(pair, {scratch, k.args, first, i0, iEnd, j0, keys, e.i64(1)});
        call(gather,
             {scratch, key(op.getDk(), j0, group), key(op.getDv(), j0, group),
              e.i64(kvHeads * width), e.mul(e.sub(iEnd, i0), each), keys});
      });
      storeQueries(scratch, group, i0, iEnd);
    });
  }

  /// A sweep for queries, then one for keys; the tiles that lie in [from, to).
  void two(Value scratch, Value first, Value last, Value group, Value start,
           Value from, Value to) {
    Value rows = e.sub(last, first), square = e.mul(rows, rows);
    // The first sweep does three products of seven. Late queries see many keys,
    // late keys are seen by few queries.
    auto whenMine = [&](Value position, function_ref<void()> body) {
      Value p = e.add(start, position);
      e.when(both(e.less(from, e.add(p, 1)), e.less(p, to)), body);
    };
    e.loop(first, last, e.i64(grid.rows), [&](Value i0) {
      Value r = e.sub(i0, first);
      whenMine(e.div(e.mul(e.mul(r, r), 3), 7), [&] {
        Value iEnd = e.min(e.add(i0, grid.rows), last);
        call(loadQueries, {scratch, k.args, group, i0, iEnd});
        clear(at(scratch, dqAt), vectors * head.padded);
        keysOf(first, i0, iEnd, [&](Value j0, Value keys) {
          call(loadKeys, {scratch, k.args, group, j0, keys});
          call(pair, {scratch, k.args, first, i0, iEnd, j0, keys, e.i64(1)});
        });
        storeQueries(scratch, group, i0, iEnd);
      });
    });
    Value half = e.div(e.mul(square, 3), 7);
    e.loop(first, last, e.i64(grid.keys), [&](Value j0) {
      Value r = e.sub(last, j0);
      Value done = e.div(e.mul(e.sub(square, e.mul(r, r)), 4), 7);
      whenMine(e.add(half, done), [&] {
        Value all = e.min(e.i64(grid.keys), e.sub(last, j0));
        call(loadKeys, {scratch, k.args, group, j0, all});
        clear(at(scratch, dkAt), grid.keys * head.padded);
        clear(at(scratch, dvAt), grid.keys * head.padded);
        Value within = e.sub(j0, first);
        Value i00 = e.sub(j0, e.rem(within, grid.rows));
        e.loop(i00, last, e.i64(grid.rows), [&](Value i0) {
          Value iEnd = e.min(e.add(i0, grid.rows), last);
          e.when(meet(seen(first, i0, iEnd), iEnd, j0), [&] {
            Value keys = e.min(all, e.sub(iEnd, j0));
            call(loadQueries, {scratch, k.args, group, i0, iEnd});
            call(pair, {scratch, k.args, first, i0, iEnd, j0, keys, e.i64(0)});
            call(gather,
                 {scratch, at(scratch, dkAt), at(scratch, dvAt),
                  e.i64(head.padded), e.mul(e.sub(iEnd, i0), each), keys});
          });
        });
        e.loop(0, all, 1, [&](Value j) {
          Value row = e.add(j0, j);
          results.store(head.loadFloats(at(scratch, dkAt, j, head.padded)),
                        key(op.getDk(), row, group));
          results.store(head.loadFloats(at(scratch, dvAt, j, head.padded)),
                        key(op.getDv(), row, group));
        });
      });
    });
  }

  /// Calls body(row, head, vector) for rows [i0, iEnd).
  void eachVector(Value group, Value i0, Value iEnd,
                  function_ref<void(Value, Value, Value)> body) {
    e.loop(i0, iEnd, e.i64(1), [&](Value row) {
      e.loop(0, e.i64(each), 1, [&](Value i) {
        body(row, e.add(e.mul(group, each), i),
             e.add(e.mul(e.sub(row, i0), each), i));
      });
    });
  }

  void loadQueriesBody(Value scratch, Value group, Value i0, Value iEnd) {
    Value scale = f(op.getScale().convertToDouble());
    eachVector(group, i0, iEnd, [&](Value row, Value h, Value v) {
      auto put = [&](SmallVector<Value> x, int64_t rows, int64_t panels) {
        head.storeFloats(x, at(scratch, rows, v, rowStride));
        head.storePanelRow(x, vectors, at(scratch, panels, v, 32));
      };
      put(head.times(head.load(query(op.getQ(), row, h)), scale), qAt,
          qPanelsAt);
      SmallVector<Value> seed = head.load(query(op.getDOut(), row, h)),
                         out = head.load(query(op.getOut(), row, h));
      put(seed, seedAt, seedPanelsAt);
      // sum p dp
      Value sum = e.splat(lanesOf(f32, 16), 0.0);
      for (auto [x, y] : llvm::zip(seed, out))
        sum = e.fma(x, y, sum);
      Value mean = foldLanes(e, sum, [&](Value a, Value b) -> Value {
        return arith::AddFOp::create(e.b, e.loc, a, b);
      });
      e.store(mean, at(scratch, meanAt, v), f32);
      Value lse =
          e.at(k.pointer(op.getLse()), e.add(e.mul(row, heads), h), f32);
      e.store(e.load(lse, f32), at(scratch, lseAt, v), f32);
    });
  }

  void loadKeysBody(Value scratch, Value group, Value j0, Value keys) {
    auto rows = [&](Value tensor) {
      return [&, tensor](Value j) { return key(tensor, e.add(j0, j), group); };
    };
    packColumns(head, rows(op.getK()), keys, at(scratch, keyColumnsAt));
    packColumns(head, rows(op.getV()), keys, at(scratch, valueColumnsAt));
    packRows(head, rows(op.getK()), keys, grid.keys, at(scratch, keyPanelsAt));
  }

  /// p and ds of queries [i0, iEnd) and keys [j0, j0 + keys), and what they add
  /// to dq.
  void pairBody(Value scratch, Value first, Value i0, Value iEnd, Value j0,
                Value keys, Value forQueries) {
    Value count = e.mul(e.sub(iEnd, i0), each);
    Value panels = e.div(e.add(keys, 31), 32);
    forTiles(k, e.i64(0), count, fewHeights(k.features), [&](Value v, Value n) {
      Value p = at(scratch, pAt, v, grid.keys),
            ds = at(scratch, dsAt, v, grid.keys);
      chains.call(n, at(scratch, qAt, v, rowStride), at(scratch, keyColumnsAt),
                  p, at(scratch, pRestAt), panels);
      chains.call(n, at(scratch, seedAt, v, rowStride),
                  at(scratch, valueColumnsAt), ds, at(scratch, dsRestAt),
                  panels);
      e.loop(0, n, 1, [&](Value i) {
        Value vector = e.add(v, i), at0 = e.mul(i, grid.keys);
        probabilities(e.at(p, at0, f32), e.at(ds, at0, f32),
                      at(scratch, pRestAt, at0), at(scratch, dsRestAt, at0),
                      e.load(at(scratch, lseAt, vector), f32),
                      e.load(at(scratch, meanAt, vector), f32), first,
                      e.add(i0, e.div(vector, each)), j0, keys);
      });
      e.when(e.less(e.i64(0), forQueries), [&] {
        queryTiles.call(k, n,
                        {ds, at(scratch, keyPanelsAt),
                         at(scratch, dqAt, v, head.padded), e.i64(head.padded),
                         e.i64(head.padded / 32), keys});
      });
    });
  }

  /// Of query row i: p holds scores, ds the products of seed and values.
  void probabilities(Value p, Value ds, Value pRest, Value dsRest, Value lse,
                     Value mean, Value first, Value i, Value j0, Value keys) {
    Value zero = e.splat(lanesOf(f32, 16), 0.0);
    Value lses = e.broadcast(lse, 16), means = e.broadcast(mean, 16);
    Value causal = e.sub(e.add(i, 1), j0), sharedKeys, otherKeys;
    if (shares) {
      sharedKeys = e.sub(sharedEnd(i, first), j0);
      otherKeys = e.sub(ownFrom(i), j0);
    }
    e.loop(0, keys, 16, [&](Value c) {
      auto below = [&](Value bound) {
        return e.maskBelow(16, e.max(e.sub(bound, c), e.i64(0)));
      };
      Value seen = below(causal);
      if (shares) {
        Value all = e.mask(16, 16);
        Value own = arith::XOrIOp::create(e.b, e.loc, below(otherKeys), all);
        seen = both(seen, either(below(sharedKeys), own));
      }
      Value pAt = e.at(p, c, f32), dsAt = e.at(ds, c, f32);
      Value prob = math::ExpOp::create(
          e.b, e.loc, sub(chains.load(pAt, e.at(pRest, c, f32)), lses));
      Value grad =
          mul(prob, sub(chains.load(dsAt, e.at(dsRest, c, f32)), means));
      e.store(e.select(seen, prob, zero), pAt, f32);
      e.store(e.select(seen, grad, zero), dsAt, f32);
    });
  }

  /// (scratch, dk, dv, stride, vectors, keys): what queries add to keys.
  void gatherBody(ValueRange a) {
    Value scratch = a[0], dk = a[1], dv = a[2], stride = a[3], count = a[4],
          keys = a[5];
    forTiles(k, e.i64(0), keys, fewHeights(k.features), [&](Value j, Value n) {
      Value to = e.mul(j, stride), panels = e.i64(head.padded / 32);
      keyTiles.call(k, n,
                    {at(scratch, pAt, j), at(scratch, seedPanelsAt),
                     e.at(dv, to, f32), stride, panels, count});
      keyTiles.call(k, n,
                    {at(scratch, dsAt, j), at(scratch, qPanelsAt),
                     e.at(dk, to, f32), stride, panels, count});
    });
  }

  void storeQueries(Value scratch, Value group, Value i0, Value iEnd) {
    Value scale = f(op.getScale().convertToDouble());
    eachVector(group, i0, iEnd, [&](Value row, Value h, Value v) {
      results.store(
          head.times(head.loadFloats(at(scratch, dqAt, v, head.padded)), scale),
          query(op.getDq(), row, h));
    });
  }
};

} // namespace

LogicalResult r1c::kernels::buildAttentionBackwardCpu(Kernel &k) {
  auto op = cast<kern::AttentionBackwardOp>(k.op);
  if (choosesAttentionAmx(k, cast<RankedTensorType>(op.getQ().getType()),
                          op.getHeads()))
    return buildAttentionBackwardAmx(k);
  Backward{k}.build();
  return success();
}
