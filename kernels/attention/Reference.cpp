//===- Reference.cpp - kern.attention, naively ----------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Scalars and small arrays, the same order of every sum as the vector builder.
//===----------------------------------------------------------------------===//

#include "kernels/attention/Amx.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

/// Scalar words that both directions use.
struct Scalar {
  Emit &e;
  Type element;
  int64_t width;
  Value lanes; ///< 16 floats of scratch
  Type f32 = e.b.getF32Type();

  Value f(double v) { return e.splat(f32, v); }
  Value mul(Value a, Value b) {
    return arith::MulFOp::create(e.b, e.loc, a, b);
  }
  Value add(Value a, Value b) {
    return arith::AddFOp::create(e.b, e.loc, a, b);
  }
  Value sub(Value a, Value b) {
    return arith::SubFOp::create(e.b, e.loc, a, b);
  }
  Value exp(Value a) { return math::ExpOp::create(e.b, e.loc, a); }
  Value get(Value pointer, Value c) {
    return e.widen(e.load(e.at(pointer, c, element), element));
  }
  void put(Value v, Value pointer, Value c, Type type) {
    e.store(e.narrow(v, type), e.at(pointer, c, type), type);
  }
  /// Folds `count` floats by halves in place.
  Value fold(Value memory, int64_t count, bool max) {
    for (int64_t half = count / 2; half >= 1; half /= 2)
      e.loop(0, e.i64(half), 1, [&](Value l) {
        Value a = e.load(e.at(memory, l, f32), f32);
        Value b = e.load(e.at(memory, e.add(l, half), f32), f32);
        Value r = max ? Value(arith::MaximumFOp::create(e.b, e.loc, a, b))
                      : add(a, b);
        e.store(r, e.at(memory, l, f32), f32);
      });
    return e.load(memory, f32);
  }
  /// sum over c of x(c) * y(c): a chain for 32 columns.
  Value chain(function_ref<Value(Value)> x, function_ref<Value(Value)> y) {
    Value total;
    for (int64_t first = 0; first < width; first += chainColumns) {
      int64_t end = std::min(first + chainColumns, width);
      Value sum = e.loop(e.i64(first), e.i64(end), e.i64(1), f(0),
                         [&](Value c, ValueRange sum) -> SmallVector<Value> {
                           return {e.fma(x(c), y(c), sum[0])};
                         })[0];
      total = total ? add(total, sum) : sum;
    }
    return total;
  }
  /// start + sum over i < count of x(i) * y(i), as matrix tiles do it
  /// (matmul/README.md): 32 terms a step, of which the even and the odd ones
  /// are a chain each.
  Value tileChain(Value start, Value count, function_ref<Value(Value)> x,
                  function_ref<Value(Value)> y) {
    return e.loop(
        e.i64(0), count, e.i64(amxDepth), start,
        [&](Value first, ValueRange carried) -> SmallVector<Value> {
          Value end = e.min(e.add(first, amxDepth), count);
          SmallVector<Value> sums = e.loop(
              first, end, e.i64(2), {f(0), f(0)},
              [&](Value i, ValueRange c) -> SmallVector<Value> {
                auto step = [&](Value i, Value sum) {
                  return e.fma(x(i), y(i), sum);
                };
                Value odd = e.add(i, 1);
                return {step(i, c[0]),
                        e.choose(
                            e.less(odd, end), f32,
                            [&]() -> SmallVector<Value> {
                              return {step(odd, c[1])};
                            },
                            [&]() -> SmallVector<Value> { return {c[1]}; })[0]};
              });
          return {add(carried[0], add(sums[0], sums[1]))};
        })[0];
  }
  /// An f32 as tiles take it.
  Value rounded(Value v) { return e.widen(e.narrow(v, e.b.getBF16Type())); }
  /// The same in 16 lanes.
  Value dot(function_ref<Value(Value)> x, function_ref<Value(Value)> y) {
    e.loop(0, e.i64(16), 1,
           [&](Value l) { e.store(f(0), e.at(lanes, l, f32), f32); });
    e.loop(0, e.i64(width), 1, [&](Value c) {
      Value lane = e.at(lanes, e.rem(c, 16), f32);
      e.store(e.fma(x(c), y(c), e.load(lane, f32)), lane, f32);
    });
    return fold(lanes, 16, false);
  }
};

} // namespace

LogicalResult r1c::kernels::buildAttentionReference(Kernel &k) {
  Emit &e = k.e;
  auto op = cast<kern::AttentionOp>(k.op);
  Type element = kern::elementTypeOf(op.getQ()), f32 = e.b.getF32Type(),
       i32 = e.b.getI32Type();
  int64_t heads = op.getHeads(), kvHeads = op.getKvHeads();
  int64_t width =
      cast<RankedTensorType>(op.getQ().getType()).getDimSize(1) / heads;
  Value scores = e.scratch(64 * 4), folds = e.scratch(16 * 4),
        out = e.scratch(width * 4);
  Scalar s{e, element, width, e.scratch(16 * 4)};
  bool amx = isAttentionAmx(element, width, k.features);
  e.loop(k.worker, k.size, k.workers, [&](Value row) {
    Value keys = e.add(
        e.toI64(e.load(e.at(k.pointer(op.getPositions()), row, i32), i32)), 1);
    auto number = [&](Value tensor) {
      return e.toI64(e.load(e.at(k.pointer(tensor), row, i32), i32));
    };
    Value base = number(op.getBases()), shared, sharedBase;
    if (op.getShared())
      shared = number(op.getShared()), sharedBase = number(op.getSharedBases());
    e.loop(0, e.i64(heads), 1, [&](Value h) {
      Value at = e.add(e.mul(row, heads * width), e.mul(h, width));
      Value q = e.at(k.pointer(op.getQ()), at, element);
      Value scale = s.f(op.getScale().convertToDouble());
      auto keyRow = [&](Value tensor, Value p) {
        Value from =
            shared ? e.select(e.less(p, shared), sharedBase, base) : base;
        Value offset = e.add(e.mul(e.add(from, p), kvHeads * width),
                             e.mul(e.div(h, heads / kvHeads), width));
        return e.at(k.pointer(tensor), offset, element);
      };
      e.loop(0, e.i64(width), 1,
             [&](Value c) { e.store(s.f(0), e.at(out, c, f32), f32); });
      SmallVector<Value> state = e.loop(
          e.i64(0), keys, e.i64(64), {s.f(-INFINITY), s.f(0)},
          [&](Value first, ValueRange carried) -> SmallVector<Value> {
            Value count = e.min(e.i64(64), e.sub(keys, first));
            auto clear = [&](double v) {
              e.loop(0, e.i64(16), 1, [&](Value l) {
                e.store(s.f(v), e.at(folds, l, f32), f32);
              });
            };
            clear(-INFINITY);
            e.loop(0, count, 1, [&](Value c) {
              Value kRow = keyRow(op.getK(), e.add(first, c));
              auto key = [&](Value x) { return s.get(kRow, x); };
              Value score =
                  amx ? s.mul(s.tileChain(
                                  s.f(0), e.i64(width),
                                  [&](Value x) { return s.get(q, x); }, key),
                              scale)
                      : s.chain(
                            [&](Value x) { return s.mul(s.get(q, x), scale); },
                            key);
              e.store(score, e.at(scores, c, f32), f32);
              Value lane = e.at(folds, e.rem(c, 16), f32);
              e.store(arith::MaximumFOp::create(e.b, e.loc, e.load(lane, f32),
                                                score),
                      lane, f32);
            });
            Value m = arith::MaximumFOp::create(e.b, e.loc, carried[0],
                                                s.fold(folds, 16, true));
            Value shrink = s.exp(s.sub(carried[0], m));
            clear(0);
            e.loop(0, count, 1, [&](Value c) {
              Value place = e.at(scores, c, f32);
              Value p = s.exp(s.sub(e.load(place, f32), m));
              e.store(p, place, f32);
              Value lane = e.at(folds, e.rem(c, 16), f32);
              e.store(s.add(e.load(lane, f32), p), lane, f32);
            });
            Value l = e.fma(carried[1], shrink, s.fold(folds, 16, false));
            e.loop(0, e.i64(width), 1, [&](Value c) {
              Value start = s.mul(e.load(e.at(out, c, f32), f32), shrink);
              auto p = [&](Value i) {
                return e.load(e.at(scores, i, f32), f32);
              };
              auto v = [&](Value i) {
                return s.get(keyRow(op.getV(), e.add(first, i)), c);
              };
              Value sum = amx ? s.tileChain(
                                    start, count,
                                    [&](Value i) { return s.rounded(p(i)); }, v)
                              : e.loop(e.i64(0), count, e.i64(1), start,
                                       [&](Value i,
                                           ValueRange o) -> SmallVector<Value> {
                                         return {e.fma(p(i), v(i), o[0])};
                                       })[0];
              e.store(sum, e.at(out, c, f32), f32);
            });
            return {m, l};
          });
      Value inverse = arith::DivFOp::create(e.b, e.loc, s.f(1), state[1]);
      Value target = e.at(k.pointer(op.getOut()), at, element);
      e.loop(0, e.i64(width), 1, [&](Value c) {
        Value x = s.mul(e.load(e.at(out, c, f32), f32), inverse);
        if (amx)
          x = e.select(arith::CmpFOp::create(
                           e.b, e.loc, arith::CmpFPredicate::OLT,
                           math::AbsFOp::create(e.b, e.loc, x), s.f(0x1p-126)),
                       s.f(0), x);
        s.put(x, target, c, element);
      });
      if (op.getLse())
        e.store(s.add(state[0], math::LogOp::create(e.b, e.loc, state[1])),
                e.at(k.pointer(op.getLse()), e.add(e.mul(row, heads), h), f32),
                f32);
    });
  });
  return success();
}

LogicalResult r1c::kernels::buildAttentionBackwardReference(Kernel &k) {
  Emit &e = k.e;
  auto op = cast<kern::AttentionBackwardOp>(k.op);
  Type element = kern::elementTypeOf(op.getQ()), f32 = e.b.getF32Type(),
       i32 = e.b.getI32Type();
  int64_t heads = op.getHeads(), kvHeads = op.getKvHeads(),
          each = heads / kvHeads;
  int64_t width =
      cast<RankedTensorType>(op.getQ().getType()).getDimSize(1) / heads;
  Scalar s{e, element, width, e.scratch(16 * 4)};
  Value sum = e.scratch(width * 4), sum2 = e.scratch(width * 4);
  Value scale = s.f(op.getScale().convertToDouble());
  auto query = [&](Value tensor, Value row, Value h) {
    return e.at(k.pointer(tensor),
                e.add(e.mul(row, heads * width), e.mul(h, width)),
                kern::elementTypeOf(tensor));
  };
  auto key = [&](Value tensor, Value row, Value h) {
    return e.at(k.pointer(tensor),
                e.add(e.mul(row, kvHeads * width), e.mul(h, width)),
                kern::elementTypeOf(tensor));
  };
  auto number = [&](Value tensor, Value row) {
    return e.toI64(e.load(e.at(k.pointer(tensor), row, i32), i32));
  };
  bool shares = bool(op.getShared()),
       amx = isAttentionAmx(element, width, k.features);
  // Rows of the unit from `first`: where the keys that row i shares end, and
  // where its own begin.
  auto sharedEnd = [&](Value i, Value first) {
    return e.add(first, number(op.getShared(), i));
  };
  auto ownFrom = [&](Value i) {
    return e.add(number(op.getBases(), i), number(op.getShared(), i));
  };
  auto either = [&](Value a, Value b) -> Value {
    return arith::OrIOp::create(e.b, e.loc, a, b);
  };
  // p and ds of query i and key j, head h; 0 where i does not see j.
  auto pair = [&](Value i, Value j, Value h, Value first) {
    Value g = e.div(h, each);
    Value qi = query(op.getQ(), i, h), kj = key(op.getK(), j, g);
    auto keyOf = [&](Value c) { return s.get(kj, c); };
    Value columns = e.i64(width);
    Value score =
        amx ? s.mul(s.tileChain(
                        s.f(0), columns, [&](Value c) { return s.get(qi, c); },
                        keyOf),
                    scale)
            : s.chain([&](Value c) { return s.mul(s.get(qi, c), scale); },
                      keyOf);
    Value lse = e.load(
        e.at(k.pointer(op.getLse()), e.add(e.mul(i, heads), h), f32), f32);
    Value gi = query(op.getDOut(), i, h), oi = query(op.getOut(), i, h),
          vj = key(op.getV(), j, g);
    auto seed = [&](Value c) { return s.get(gi, c); };
    auto valueOf = [&](Value c) { return s.get(vj, c); };
    Value dp = amx ? s.tileChain(s.f(0), columns, seed, valueOf)
                   : s.chain(seed, valueOf);
    Value mean = s.dot(seed, [&](Value c) { return s.get(oi, c); });
    Value seen = e.less(j, e.add(i, 1));
    if (shares) {
      Value apart = either(e.less(j, sharedEnd(i, first)),
                           e.less(ownFrom(i), e.add(j, 1)));
      seen = arith::AndIOp::create(e.b, e.loc, seen, apart);
    }
    Value p = s.exp(s.sub(score, lse));
    Value ds = s.mul(p, s.sub(dp, mean));
    if (amx)
      p = s.rounded(p), ds = s.rounded(s.mul(ds, scale));
    return std::pair(e.select(seen, p, s.f(0)), e.select(seen, ds, s.f(0)));
  };
  auto clear = [&](Value memory) {
    e.loop(0, e.i64(width), 1,
           [&](Value c) { e.store(s.f(0), e.at(memory, c, f32), f32); });
  };
  auto accumulate = [&](Value memory, Value w, function_ref<Value(Value)> x) {
    e.loop(0, e.i64(width), 1, [&](Value c) {
      Value place = e.at(memory, c, f32);
      e.store(e.fma(w, x(c), e.load(place, f32)), place, f32);
    });
  };
  auto write = [&](Value memory, Value factor, Value target) {
    e.loop(0, e.i64(width), 1, [&](Value c) {
      s.put(s.mul(e.load(e.at(memory, c, f32), f32), factor), target, c,
            kern::elementTypeOf(op.getDq()));
    });
  };
  BackwardGrid grid(width, each);
  // Whether the tiles of queries [i0, iEnd) and of keys from j0 meet: also
  // unseen pairs of these two then take part, as zeros.
  auto meet = [&](Value i0, Value iEnd, Value j0, Value first) -> Value {
    Value before = e.less(j0, iEnd);
    if (!shares)
      return before;
    SmallVector<Value> bounds = e.loop(
        i0, iEnd, e.i64(1), {sharedEnd(i0, first), ownFrom(i0)},
        [&](Value i, ValueRange b) -> SmallVector<Value> {
          return {e.max(b[0], sharedEnd(i, first)), e.min(b[1], ownFrom(i))};
        });
    Value apart =
        either(e.less(j0, bounds[0]), e.less(bounds[1], e.add(j0, grid.keys)));
    return arith::AndIOp::create(e.b, e.loc, before, apart);
  };
  auto tileOf = [&](Value row, Value first, int64_t size) {
    Value within = e.sub(row, first);
    return e.add(first, e.sub(within, e.rem(within, size)));
  };
  // On matrix tiles: tiles begin where a prompt or a sequence does.
  Value steps = e.scratch(4 * width * 4);
  int64_t queryRows = amxQueryRows(each);
  auto sequence = [&](Value row, Value first) {
    return shares ? ownFrom(row) : first;
  };
  auto tiles = [&](Value from, Value last, Value first, int64_t limit,
                   function_ref<void(Value, Value)> body) {
    cutRows(
        e, from, last, e.i64(limit),
        [&](Value a, Value b) {
          return e.equal(sequence(a, first), sequence(b, first));
        },
        [&](Value from, Value end, Value) { body(from, end); });
  };
  auto mostShared = [&](Value i0, Value iEnd) {
    if (!shares)
      return e.i64(0);
    return e.loop(i0, iEnd, e.i64(1), e.i64(0),
                  [&](Value i, ValueRange most) -> SmallVector<Value> {
                    return {e.max(most[0], number(op.getShared(), i))};
                  })[0];
  };
  // sums[n] += what steps of 32 of `count` terms give; term(i, even[n]) adds
  // one to what is given, of each sum.
  auto inSteps = [&](ArrayRef<Value> sums, Value count,
                     function_ref<void(Value, ArrayRef<Value>)> term) {
    e.loop(0, count, amxDepth, [&](Value i0) {
      e.loop(0, e.i64(4 * width), 1,
             [&](Value c) { e.store(s.f(0), e.at(steps, c, f32), f32); });
      e.loop(i0, e.min(e.add(i0, amxDepth), count), e.i64(1), [&](Value i) {
        SmallVector<Value> chains;
        for (size_t n = 0; n < sums.size(); ++n)
          chains.push_back(
              e.at(steps, e.mul(e.add(e.rem(i, 2), 2 * n), width), f32));
        term(i, chains);
      });
      for (auto [n, sum] : llvm::enumerate(sums))
        e.loop(0, e.i64(width), 1, [&, n = n, sum = sum](Value c) {
          auto chain = [&](int64_t odd) {
            return e.load(e.at(e.at(steps, (2 * n + odd) * width, f32), c, f32),
                          f32);
          };
          Value place = e.at(sum, c, f32);
          e.store(s.add(e.load(place, f32), s.add(chain(0), chain(1))), place,
                  f32);
        });
    });
  };
  auto buildTiles = [&](Value first, Value last) {
    auto mine = [&](Value row, function_ref<void()> body) {
      e.when(e.equal(e.rem(row, k.workers), k.worker), body);
    };
    auto keysOf = [&](Value i0, Value iEnd,
                      function_ref<void(Value, Value)> body) {
      auto sweep = [&](Value from, Value to) {
        e.loop(from, to, e.i64(amxKeys), [&](Value j0) {
          body(j0, e.min(e.i64(amxKeys), e.sub(to, j0)));
        });
      };
      if (shares)
        sweep(first, e.add(first, mostShared(i0, iEnd)));
      sweep(sequence(i0, first), iEnd);
    };
    tiles(first, last, first, queryRows, [&](Value i0, Value iEnd) {
      e.loop(i0, iEnd, e.i64(1), [&](Value row) {
        mine(row, [&] {
          e.loop(0, e.i64(heads), 1, [&](Value h) {
            clear(sum);
            keysOf(i0, iEnd, [&](Value j0, Value count) {
              inSteps(sum, count, [&](Value j, ArrayRef<Value> chains) {
                Value jRow = e.add(j0, j);
                Value ds = pair(row, jRow, h, first).second;
                Value kj = key(op.getK(), jRow, e.div(h, each));
                accumulate(chains[0], ds,
                           [&](Value c) { return s.get(kj, c); });
              });
            });
            write(sum, s.f(1), query(op.getDq(), row, h));
          });
        });
      });
    });
    e.loop(first, last, e.i64(1), [&](Value row) {
      mine(row, [&] {
        e.loop(0, e.i64(kvHeads), 1, [&](Value group) {
          clear(sum);
          clear(sum2);
          Value from = sequence(row, first);
          tiles(from, last, first, queryRows, [&](Value i0, Value iEnd) {
            Value isOwn = e.equal(sequence(i0, first), from);
            // Where this tile's part of the row's tile of keys ends.
            Value end =
                e.select(isOwn, iEnd,
                         e.select(e.equal(from, first),
                                  e.add(first, mostShared(i0, iEnd)), from));
            e.when(e.less(row, end), [&] {
              Value n = e.mul(e.sub(iEnd, i0), each);
              inSteps({sum, sum2}, n, [&](Value v, ArrayRef<Value> chains) {
                Value i = e.add(i0, e.div(v, each)),
                      h = e.add(e.mul(group, each), e.rem(v, each));
                auto [p, ds] = pair(i, row, h, first);
                Value qi = query(op.getQ(), i, h),
                      gi = query(op.getDOut(), i, h);
                accumulate(chains[0], ds,
                           [&](Value c) { return s.get(qi, c); });
                accumulate(chains[1], p, [&](Value c) { return s.get(gi, c); });
              });
            });
          });
          write(sum, s.f(1), key(op.getDk(), row, group));
          write(sum2, s.f(1), key(op.getDv(), row, group));
        });
      });
    });
  };
  Value offsets = k.pointer(op.getOffsets());
  e.loop(0, k.size, 1, [&](Value unit) {
    Value first = e.toI64(e.load(e.at(offsets, unit, i32), i32));
    Value last = e.toI64(e.load(e.at(offsets, e.add(unit, 1), i32), i32));
    if (amx)
      return buildTiles(first, last);
    e.loop(e.add(first, k.worker), last, k.workers, [&](Value row) {
      e.loop(0, e.i64(heads), 1, [&](Value h) {
        clear(sum);
        Value i0 = tileOf(row, first, grid.rows);
        Value iEnd = e.min(e.add(i0, grid.rows), last);
        e.loop(first, iEnd, e.i64(grid.keys), [&](Value j0) {
          e.when(meet(i0, iEnd, j0, first), [&] {
            e.loop(j0, e.min(e.add(j0, grid.keys), iEnd), e.i64(1),
                   [&](Value j) {
                     auto [p, ds] = pair(row, j, h, first);
                     Value kj = key(op.getK(), j, e.div(h, each));
                     accumulate(sum, ds, [&](Value c) { return s.get(kj, c); });
                   });
          });
        });
        write(sum, scale, query(op.getDq(), row, h));
      });
      e.loop(0, e.i64(kvHeads), 1, [&](Value group) {
        clear(sum);
        clear(sum2);
        Value h0 = e.mul(group, each), j0 = tileOf(row, first, grid.keys);
        e.loop(tileOf(row, first, grid.rows), last, e.i64(grid.rows),
               [&](Value i0) {
                 Value iEnd = e.min(e.add(i0, grid.rows), last);
                 e.when(meet(i0, iEnd, j0, first), [&] {
                   e.loop(i0, iEnd, e.i64(1), [&](Value i) {
                     e.loop(h0, e.add(h0, each), e.i64(1), [&](Value h) {
                       auto [p, ds] = pair(i, row, h, first);
                       Value qi = query(op.getQ(), i, h),
                             gi = query(op.getDOut(), i, h);
                       accumulate(sum, ds, [&](Value c) {
                         return s.mul(s.get(qi, c), scale);
                       });
                       accumulate(sum2, p,
                                  [&](Value c) { return s.get(gi, c); });
                     });
                   });
                 });
               });
        write(sum, s.f(1), key(op.getDk(), row, group));
        write(sum2, s.f(1), key(op.getDv(), row, group));
      });
    });
  });
  return success();
}
