//===- AmxBackward.cpp - kern.attention_backward from matrix tiles --------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// As Backward.cpp, with tiles that begin where a prompt or a sequence does.
// Scores are made with keys as rows and queries as columns: keys and values are
// then left operands where they lie, probabilities left operands of what keys
// get. What queries get takes ds the other way around, turned as pairs.
//===----------------------------------------------------------------------===//

#include "kernels/attention/Amx.h"
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
  Type bf16 = e.b.getBF16Type(), f32 = e.b.getF32Type(), i32 = e.b.getI32Type(),
       i64 = e.b.getI64Type(), i8 = e.b.getI8Type();
  Type gradient = kern::elementTypeOf(op.getDq());
  Type pointer = k.args.getType(), wide = lanesOf(f32, 16);
  int64_t heads = op.getHeads(), kvHeads = op.getKvHeads();
  int64_t each = heads / kvHeads;
  int64_t width =
      cast<RankedTensorType>(op.getQ().getType()).getDimSize(1) / heads;
  int64_t queryRows = amxQueryRows(each);
  /// A vector is a row and a head; room for whole steps of them.
  int64_t vectors = (queryRows * each + 31) / 32 * 32;
  bool shares = bool(op.getShared());
  /// Whether sums over keys may stand in the results.
  bool inPlace = gradient.isF32();
  Head head{k, bf16, width}, results{k, gradient, width};

  Pieces pieces = {};
  int64_t lseAt = pieces.add(vectors * 4), meanAt = pieces.add(vectors * 4),
          ownAt = pieces.add(vectors * 4), sharedAt = pieces.add(vectors * 4);
  int64_t qColumnsAt = pieces.add(vectors * width * 2),
          gColumnsAt = pieces.add(vectors * width * 2),
          qRowsAt = pieces.add(vectors * width * 2),
          gRowsAt = pieces.add(vectors * width * 2),
          keyRowsAt = pieces.add(amxKeys * width * 2);
  int64_t sAt = pieces.add(amxRows * vectors * 4),
          tAt = pieces.add(amxRows * vectors * 4),
          pAt = pieces.add(amxRows * vectors * 2),
          zAt = pieces.add(amxRows * vectors * 2),
          pairsAt = pieces.add(amxKeys / 2 * vectors * 4),
          turnedAt = pieces.add(vectors * amxKeys * 2);
  int64_t dqAt = pieces.add(vectors * width * 4),
          dkAt = pieces.add(amxKeys * width * 4),
          dvAt = pieces.add(amxKeys * width * 4);

  AmxTiles pairTiles{"pairs", /*load=*/false, width / 2 * 128};
  AmxTiles keyTiles{"keys", /*load=*/true, vectors / 2 * 128};
  AmxTiles queryTiles{"queries", /*load=*/true, amxKeys / 2 * 128};
  AmxPanels panels{e, width};
  func::FuncOp loadQueries = {}, pair = {};

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
  Value at(Value scratch, int64_t offset) { return e.at(scratch, offset, i8); }
  Value at(Value scratch, int64_t offset, Value index, int64_t stride,
           Type type) {
    return e.at(at(scratch, offset), e.mul(index, stride), type);
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
  /// The first row of the prompt or sequence that a row belongs to.
  Value ownFrom(Value row, Value first) {
    return shares
               ? e.add(number(op.getBases(), row), number(op.getShared(), row))
               : first;
  }
  Value sharedOf(Value row) {
    return shares ? number(op.getShared(), row) : e.i64(0);
  }
  void clear(Value memory, int64_t floats) {
    Value zero = e.splat(wide, 0.0);
    e.loop(0, e.i64(floats), 16,
           [&](Value i) { e.store(zero, e.at(memory, i, f32), f32); });
  }
  void call(func::FuncOp function, ValueRange arguments) {
    func::CallOp::create(e.b, e.loc, function, arguments);
  }
  func::FuncOp outline(StringRef name, ArrayRef<Type> numbers,
                       function_ref<void(Value, ValueRange)> body) {
    SmallVector<Type> types = {pointer, pointer};
    types.append(numbers.begin(), numbers.end());
    return k.outline(name, types, [&](ValueRange arguments) {
      auto old = k.usePointers(arguments[1]);
      body(arguments[0], arguments.drop_front(2));
      k.putBack(std::move(old));
    });
  }

  void build() {
    pairTiles.make(k);
    keyTiles.make(k);
    queryTiles.make(k);
    loadQueries =
        outline("load_queries", {i64, i64, i64, i64, i64},
                [&](Value scratch, ValueRange a) {
                  loadQueriesBody(scratch, a[0], a[1], a[2], a[3], a[4]);
                });
    pair = outline(
        "pair", {i64, i64, i64, i64, i64, i64, i64, i64, pointer, pointer, i64},
        [&](Value scratch, ValueRange a) { pairBody(scratch, a); });
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

  /// Calls body(from, end) for tiles of at most `limit` rows of a unit.
  void tiles(Value from, Value last, Value first, int64_t limit,
             function_ref<void(Value, Value)> body) {
    cutRows(
        e, from, last, e.i64(limit),
        [&](Value a, Value b) {
          return e.equal(ownFrom(a, first), ownFrom(b, first));
        },
        [&](Value from, Value end, Value) { body(from, end); });
  }
  /// How many keys of the prompt some query [i0, iEnd) sees.
  Value mostShared(Value i0, Value iEnd) {
    if (!shares)
      return e.i64(0);
    return e.loop(i0, iEnd, e.i64(1), e.i64(0),
                  [&](Value i, ValueRange most) -> SmallVector<Value> {
                    return {e.max(most[0], sharedOf(i))};
                  })[0];
  }

  /// What a pair of tiles adds to: dq, and where `dk` and `dv` are, their rows
  /// `stride` floats apart.
  struct Sums {
    bool queries, keys;
    Value dk, dv, stride;
  };
  /// The n queries of tile [i0, iEnd) and keys [j0, j0 + count) of their own
  /// sequence, or of the prompt.
  void meet(Value scratch, Value first, Value group, Value i0, Value iEnd,
            Value j0, Value count, bool own, const Sums &sums) {
    auto flag = [&](bool v) { return e.i64(v ? 1 : 0); };
    call(pair,
         {scratch, k.args, first, group, e.mul(e.sub(iEnd, i0), each), i0, j0,
          count, flag(own), e.i64((sums.queries ? 1 : 0) + (sums.keys ? 2 : 0)),
          sums.dk, sums.dv, sums.stride});
  }
  /// All tiles of keys that queries [i0, iEnd) see something of.
  void keysOf(Value scratch, Value first, Value group, Value i0, Value iEnd,
              function_ref<Sums(Value)> sums) {
    auto sweep = [&](Value from, Value to, bool own) {
      e.loop(from, to, e.i64(amxKeys), [&](Value j0) {
        meet(scratch, first, group, i0, iEnd, j0,
             e.min(e.i64(amxKeys), e.sub(to, j0)), own, sums(j0));
      });
    };
    if (shares)
      sweep(first, e.add(first, mostShared(i0, iEnd)), false);
    sweep(ownFrom(i0, first), iEnd, true);
  }

  /// One sweep for all three results.
  void one(Value scratch, Value first, Value last, Value group) {
    SmallVector<Value> zero(head.parts, e.splat(wide, 0.0));
    e.loop(first, last, e.i64(1), [&](Value row) {
      results.store(zero, key(op.getDk(), row, group));
      results.store(zero, key(op.getDv(), row, group));
    });
    tiles(first, last, first, queryRows, [&](Value i0, Value iEnd) {
      call(loadQueries, {scratch, k.args, first, group, i0, iEnd, e.i64(1)});
      clear(at(scratch, dqAt), vectors * width);
      keysOf(scratch, first, group, i0, iEnd, [&](Value j0) {
        return Sums{true, true, key(op.getDk(), j0, group),
                    key(op.getDv(), j0, group), e.i64(kvHeads * width)};
      });
      storeQueries(scratch, group, i0, iEnd);
    });
  }

  /// A sweep for queries, then one for keys; the tiles that lie in [from, to).
  void two(Value scratch, Value first, Value last, Value group, Value start,
           Value from, Value to) {
    Value rows = e.sub(last, first), square = e.mul(rows, rows);
    Value dk = at(scratch, dkAt), dv = at(scratch, dvAt), stride = e.i64(width);
    // The first sweep does three products of seven. In one long sequence late
    // queries see many keys, late keys are seen by few queries; of several
    // sequences each costs the same, and their prompt a quarter of all.
    Value several =
        e.less(rows, e.mul(e.sub(ownFrom(e.add(last, -1), first), first), 2));
    auto whenMine = [&](Value position, function_ref<void()> body) {
      Value p = e.add(start, position);
      e.when(both(e.less(from, e.add(p, 1)), e.less(p, to)), body);
    };
    tiles(first, last, first, queryRows, [&](Value i0, Value iEnd) {
      Value r = e.sub(i0, first);
      Value position = e.select(several, e.div(e.mul(r, rows), 2),
                                e.div(e.mul(e.mul(r, r), 3), 7));
      whenMine(position, [&] {
        call(loadQueries, {scratch, k.args, first, group, i0, iEnd, e.i64(0)});
        clear(at(scratch, dqAt), vectors * width);
        keysOf(scratch, first, group, i0, iEnd,
               [&](Value) { return Sums{true, false, dk, dv, stride}; });
        storeQueries(scratch, group, i0, iEnd);
      });
    });
    Value half = e.div(e.mul(square, 3), 7);
    tiles(first, last, first, amxKeys, [&](Value j0, Value jEnd) {
      Value r = e.sub(last, j0);
      Value done = e.div(e.mul(e.sub(square, e.mul(r, r)), 4), 7);
      Value within = e.sub(rows, r);
      Value behind =
          e.add(e.div(square, 2),
                e.select(e.equal(within, e.i64(0)), within,
                         e.div(e.mul(e.add(rows, within), rows), 4)));
      Value position = e.select(several, behind, e.add(half, done));
      whenMine(position, [&] {
        clear(dk, amxKeys * width);
        clear(dv, amxKeys * width);
        Value sequence = ownFrom(j0, first);
        Value isPrompt = e.equal(sequence, first);
        tiles(sequence, last, first, queryRows, [&](Value i0, Value iEnd) {
          auto some = [&](Value end, bool own, Value condition) {
            Value count = e.min(e.sub(jEnd, j0), e.sub(end, j0));
            e.when(both(condition, e.less(e.i64(0), count)), [&] {
              call(loadQueries,
                   {scratch, k.args, first, group, i0, iEnd, e.i64(1)});
              meet(scratch, first, group, i0, iEnd, j0, count, own,
                   {false, true, dk, dv, stride});
            });
          };
          Value own = e.equal(ownFrom(i0, first), sequence);
          some(iEnd, true, own);
          if (shares)
            some(e.add(first, mostShared(i0, iEnd)), false,
                 both(isPrompt, e.equal(own, e.splatInt(own.getType(), 0))));
        });
        e.loop(j0, jEnd, e.i64(1), [&](Value row) {
          Value j = e.sub(row, j0);
          results.store(head.loadFloats(at(scratch, dkAt, j, width, f32)),
                        key(op.getDk(), row, group));
          results.store(head.loadFloats(at(scratch, dvAt, j, width, f32)),
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

  /// `forKeys`: 1 if keys will get something.
  void loadQueriesBody(Value scratch, Value first, Value group, Value i0,
                       Value iEnd, Value forKeys) {
    // What is not there sees nothing.
    e.loop(0, e.i64(vectors), 16, [&](Value v) {
      for (int64_t bound : {ownAt, sharedAt})
        e.store(
            e.splatInt(lanesOf(i32, 16), std::numeric_limits<int32_t>::min()),
            at(scratch, bound, v, 1, i32), i32);
      for (int64_t one : {lseAt, meanAt})
        e.store(e.splat(wide, 0.0), at(scratch, one, v, 1, f32), f32);
    });
    eachVector(group, i0, iEnd, [&](Value row, Value h, Value v) {
      // sum p dp
      Value sum = e.splat(wide, 0.0);
      for (auto [x, y] : llvm::zip(head.load(query(op.getDOut(), row, h)),
                                   head.load(query(op.getOut(), row, h))))
        sum = e.fma(x, y, sum);
      Value mean = foldLanes(e, sum, [&](Value a, Value b) -> Value {
        return arith::AddFOp::create(e.b, e.loc, a, b);
      });
      e.store(mean, at(scratch, meanAt, v, 1, f32), f32);
      Value lse =
          e.at(k.pointer(op.getLse()), e.add(e.mul(row, heads), h), f32);
      e.store(e.load(lse, f32), at(scratch, lseAt, v, 1, f32), f32);
      auto bound = [&](int64_t offset, Value value) {
        e.store(arith::TruncIOp::create(e.b, e.loc, i32, value),
                at(scratch, offset, v, 1, i32), i32);
      };
      bound(ownAt, e.add(e.sub(row, i0), 1));
      bound(sharedAt, sharedOf(row));
    });
    Value n = e.mul(e.sub(iEnd, i0), each);
    for (auto [tensor, columns, rows] :
         {std::tuple(op.getQ(), qColumnsAt, qRowsAt),
          std::tuple(op.getDOut(), gColumnsAt, gRowsAt)}) {
      auto row = [&, tensor = tensor](Value v) {
        return query(tensor, e.add(i0, e.div(v, each)),
                     e.add(e.mul(group, each), e.rem(v, each)));
      };
      panels.columns(row, n, at(scratch, columns));
      e.when(e.equal(forKeys, e.i64(1)),
             [&] { panels.depth(row, n, vectors, at(scratch, rows)); });
    }
  }

  /// (first, group, vectors, i0, j0, keys, own, what, dk, dv, stride)
  void pairBody(Value scratch, ValueRange a) {
    Value first = a[0], group = a[1], n = a[2], i0 = a[3], j0 = a[4],
          count = a[5], own = a[6], what = a[7], dk = a[8], dv = a[9],
          stride = a[10];
    Value forQueries = e.equal(e.rem(what, e.i64(2)), e.i64(1)),
          forKeys = e.less(e.i64(1), what);
    Value steps = e.div(e.add(n, 31), 32);
    // Of a vector, keys below this are seen, counted from j0.
    Value isOwn = e.equal(own, e.i64(1));
    Value bounds = e.select(isOwn, at(scratch, ownAt), at(scratch, sharedAt));
    Value shift = e.sub(e.select(isOwn, i0, first), j0);
    e.loop(0, count, amxRows, [&](Value half) {
      Value rows = e.min(e.i64(amxRows), e.sub(count, half));
      Value row = e.add(j0, half);
      auto product = [&](Value tensor, int64_t columns, int64_t to) {
        pairTiles.call(k, key(tensor, row, group), e.i64(kvHeads * width * 2),
                       at(scratch, columns), at(scratch, to), e.i64(vectors),
                       steps, e.i64(width / amxDepth), rows);
      };
      product(op.getK(), qColumnsAt, sAt);
      product(op.getV(), gColumnsAt, tAt);
      e.loop(0, rows, 2, [&](Value j) {
        // Rows before a key of their own sequence do not see it.
        Value before = e.max(e.sub(e.add(row, j), i0), e.i64(0));
        probabilities(scratch, half, j, rows, bounds, shift,
                      e.select(isOwn, e.mul(before, each), e.i64(0)),
                      e.mul(steps, 32));
      });
      e.when(forKeys, [&] {
        auto gather = [&](int64_t weights, int64_t from, Value to) {
          keyTiles.call(k, at(scratch, weights), e.i64(vectors * 2),
                        at(scratch, from), e.at(to, e.mul(half, stride), f32),
                        stride, e.i64(width / 32), steps, rows);
        };
        gather(pAt, gRowsAt, dv);
        gather(zAt, qRowsAt, dk);
      });
    });
    e.when(forQueries, [&] {
      turn(scratch, count, n);
      panels.depth([&](Value j) { return key(op.getK(), e.add(j0, j), group); },
                   count, amxKeys, at(scratch, keyRowsAt));
      e.loop(0, n, amxRows, [&](Value v) {
        queryTiles.call(k, at(scratch, turnedAt, v, amxKeys, bf16),
                        e.i64(amxKeys * 2), at(scratch, keyRowsAt),
                        at(scratch, dqAt, v, width, f32), e.i64(width),
                        e.i64(width / 32), e.div(e.add(count, 31), 32),
                        e.min(e.i64(amxRows), e.sub(n, v)));
      });
    });
  }

  /// Keys half + j and half + j + 1 (of `rows` behind half) and all vectors: p
  /// and ds for keys, pairs of ds for queries.
  void probabilities(Value scratch, Value half, Value j, Value rows,
                     Value bounds, Value shift, Value from, Value to) {
    Value scale = e.splat(wide, op.getScale().convertToDouble()),
          zero = e.splat(wide, 0.0);
    Value pairs = at(scratch, pairsAt, e.div(e.add(half, j), 2), vectors, i32);
    auto line = [&](int64_t offset, Value j, Value v, Type type) {
      return e.at(at(scratch, offset, j, vectors, type), v, type);
    };
    // Sixteen vectors at a time; those before `from` see neither key.
    from = e.min(e.mul(e.div(from, 16), 16), to);
    e.loop(0, from, 16, [&](Value v) {
      for (int64_t i : {0, 1})
        for (int64_t offset : {pAt, zAt})
          e.store(e.narrow(zero, bf16), line(offset, e.add(j, i), v, bf16),
                  bf16);
      e.store(e.splatInt(lanesOf(i32, 16), 0), e.at(pairs, v, i32), i32);
    });
    e.loop(from, to, e.i64(16), [&](Value v) {
      Value lse = e.load(at(scratch, lseAt, v, 1, f32), f32, 16),
            mean = e.load(at(scratch, meanAt, v, 1, f32), f32, 16);
      Value bound = e.load(e.at(bounds, v, i32), i32, 16);
      Value ds[2];
      for (int64_t i : {0, 1}) {
        Value key = e.add(j, i);
        Value position = arith::TruncIOp::create(
            e.b, e.loc, i32, e.sub(e.add(half, key), shift));
        Value seen =
            arith::CmpIOp::create(e.b, e.loc, arith::CmpIPredicate::slt,
                                  e.broadcast(position, 16), bound);
        // A last key alone has no second one.
        seen = both(seen, e.broadcast(e.less(key, rows), 16));
        Value s = mul(e.load(line(sAt, key, v, f32), f32, 16), scale);
        Value p =
            math::ExpOp::create(e.b, e.loc, e.select(seen, sub(s, lse), zero));
        Value t = e.load(line(tAt, key, v, f32), f32, 16);
        Value z = mul(mul(p, sub(t, mean)), scale);
        p = roundForTile(k, e.select(seen, p, zero));
        ds[i] = roundForTile(k, e.select(seen, z, zero));
        e.store(p, line(pAt, key, v, bf16), bf16);
        e.store(ds[i], line(zAt, key, v, bf16), bf16);
      }
      auto bits = [&](Value x) {
        Value half = arith::BitcastOp::create(e.b, e.loc,
                                              lanesOf(e.b.getI16Type(), 16), x);
        return arith::ExtUIOp::create(e.b, e.loc, lanesOf(i32, 16), half);
      };
      Value high = arith::ShLIOp::create(e.b, e.loc, bits(ds[1]),
                                         e.splatInt(lanesOf(i32, 16), 16));
      e.store(arith::OrIOp::create(e.b, e.loc, bits(ds[0]), high),
              e.at(pairs, v, i32), i32);
    });
  }

  /// Pairs of ds become rows of queries.
  void turn(Value scratch, Value count, Value n) {
    Value lines = e.div(e.add(count, 1), 2);
    Value zero = e.splatInt(lanesOf(i32, 16), 0);
    e.loop(0, lines, 16, [&](Value pair) {
      e.loop(0, n, 16, [&](Value v) {
        SmallVector<Value> columns;
        for (int64_t i = 0; i < 16; ++i) {
          Value at16 = e.add(pair, i);
          Value line = at(scratch, pairsAt, at16, vectors, i32);
          columns.push_back(e.select(e.broadcast(e.less(at16, lines), 16),
                                     e.load(e.at(line, v, i32), i32, 16),
                                     zero));
        }
        columns = transpose16(e, columns);
        for (int64_t i = 0; i < 16; ++i)
          e.store(columns[i],
                  e.at(at(scratch, turnedAt, e.add(v, i), amxKeys, bf16), pair,
                       i32),
                  i32);
      });
    });
  }

  void storeQueries(Value scratch, Value group, Value i0, Value iEnd) {
    eachVector(group, i0, iEnd, [&](Value row, Value h, Value v) {
      results.store(head.loadFloats(at(scratch, dqAt, v, width, f32)),
                    query(op.getDq(), row, h));
    });
  }
};

} // namespace

LogicalResult r1c::kernels::buildAttentionBackwardAmx(Kernel &k) {
  Backward{k}.build();
  return success();
}
