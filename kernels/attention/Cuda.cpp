//===- Cuda.cpp - kern.attention by threads, without tensor cores ---------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A warp a row and head, with the bits of the naive lowering: its lanes are
// first keys (or queries), each with a score of its own, then columns of the
// head, each with a chain of its own.
//===----------------------------------------------------------------------===//

#include "kernels/attention/Attention.h"
#include "kernels/common/Warp.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

/// What both directions need; `width` columns of a head.
struct Lanes {
  Lanes(Kernel &k, Type element, int64_t width)
      : k(k), e(k.e), element(element), width(width), warp(k),
        parts(llvm::divideCeil(width, warpLanes)) {}

  Kernel &k;
  Emit &e;
  Type element;
  int64_t width;
  Warp warp;
  int64_t parts; ///< columns of a lane: lane, lane + 32, ...
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
  Value get(Value row, Value c) {
    return e.widen(e.load(e.at(row, c, element), element));
  }
  Value number(Value tensor, Value row) {
    Type i32 = e.b.getI32Type();
    return e.toI64(e.load(e.at(k.pointer(tensor), row, i32), i32));
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
      if (width > 64)
        unrollInPart(sum);
      total = total ? add(total, sum) : sum;
    }
    return total;
  }
  /// Chains of wide heads: unrolled as a whole, LLVM would load what is the
  /// same for each key (or query) once, into more registers than there are.
  void unrollInPart(Value chain) {
    MLIRContext *context = e.b.getContext();
    auto unroll = LLVM::LoopUnrollAttr::get(
        context, nullptr, e.b.getI32IntegerAttr(width > 128 ? 2 : 4), nullptr,
        nullptr, nullptr, nullptr, nullptr);
    auto annotation = LLVM::LoopAnnotationAttr::get(
        context, nullptr, nullptr, nullptr, unroll, nullptr, nullptr, nullptr,
        nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, {});
    chain.getDefiningOp<scf::ForOp>()->setAttr("llvm.loop_annotation",
                                               annotation);
  }
  /// The same in 16 chains, folded by halves.
  Value dot(Value x, Value y) {
    SmallVector<Value> sums =
        e.loop(e.i64(0), e.i64(width / 16 * 16), e.i64(16),
               SmallVector<Value>(16, f(0)), [&](Value c, ValueRange old) {
                 SmallVector<Value> next;
                 for (auto [l, sum] : llvm::enumerate(old)) {
                   Value at = e.add(c, l);
                   next.push_back(e.fma(get(x, at), get(y, at), sum));
                 }
                 return next;
               });
    if (width > 64)
      unrollInPart(sums[0]);
    for (int64_t c = width / 16 * 16; c < width; ++c)
      sums[c % 16] = e.fma(get(x, e.i64(c)), get(y, e.i64(c)), sums[c % 16]);
    for (int64_t half = 8; half >= 1; half /= 2)
      for (int64_t l = 0; l < half; ++l)
        sums[l] = add(sums[l], sums[l + half]);
    return sums[0];
  }
  /// Column `part` of this lane; the last one again where there is none.
  Value column(int64_t part) {
    Value c = e.add(warp.lane, part * warpLanes);
    return (part + 1) * warpLanes <= width ? c : e.min(c, e.i64(width - 1));
  }
  void store(ValueRange values, Value row, Type type) {
    for (int64_t part = 0; part < parts; ++part) {
      auto put = [&] {
        e.store(e.narrow(values[part], type), e.at(row, column(part), type),
                type);
      };
      if ((part + 1) * warpLanes <= width)
        put();
      else
        e.when(e.less(e.add(warp.lane, part * warpLanes), e.i64(width)), put);
    }
  }
  SmallVector<Value> zeros() { return SmallVector<Value>(parts, f(0)); }
  void once(function_ref<void()> body) {
    e.when(e.equal(warp.lane, e.i64(0)), body);
  }
};

struct Forward {
  explicit Forward(Kernel &k)
      : k(k), l(k, kern::elementTypeOf(op.getQ()),
                cast<RankedTensorType>(op.getQ().getType()).getDimSize(1) /
                    op.getHeads()) {}
  void build() {
    int64_t heads = op.getHeads();
    e.loop(l.warp.index, e.mul(k.size, heads), l.warp.count,
           [&](Value i) { head(e.div(i, heads), e.rem(i, heads)); });
  }
  void head(Value row, Value h);
  SmallVector<Value> block(Value first, ValueRange carried);

  Kernel &k;
  Emit &e = k.e;
  kern::AttentionOp op = cast<kern::AttentionOp>(k.op);
  Lanes l;
  Value q, keys, base, shared, sharedBase, keyHead;

  Value keyRow(Value tensor, Value p) {
    Value from = shared ? e.select(e.less(p, shared), sharedBase, base) : base;
    Value offset = e.add(e.mul(e.add(from, p), op.getKvHeads() * l.width),
                         e.mul(keyHead, l.width));
    return e.at(k.pointer(tensor), offset, l.element);
  }
};

void Forward::head(Value row, Value h) {
  int64_t heads = op.getHeads();
  keys = e.add(l.number(op.getPositions(), row), 1);
  base = l.number(op.getBases(), row);
  if (op.getShared()) {
    shared = l.number(op.getShared(), row);
    sharedBase = l.number(op.getSharedBases(), row);
  }
  keyHead = e.div(h, heads / op.getKvHeads());
  Value at = e.add(e.mul(row, heads * l.width), e.mul(h, l.width));
  q = e.at(k.pointer(op.getQ()), at, l.element);
  SmallVector<Value> state{l.f(-INFINITY), l.f(0)};
  state.append(l.zeros());
  state = e.loop(
      e.i64(0), keys, e.i64(blockKeys), state,
      [&](Value first, ValueRange carried) { return block(first, carried); });
  Value inverse = arith::DivFOp::create(e.b, e.loc, l.f(1), state[1]);
  SmallVector<Value> out;
  for (Value o : ArrayRef(state).drop_front(2))
    out.push_back(l.mul(o, inverse));
  l.store(out, e.at(k.pointer(op.getOut()), at, l.element), l.element);
  if (!op.getLse())
    return;
  Value lse = l.add(state[0], math::LogOp::create(e.b, e.loc, state[1]));
  l.once([&] {
    e.store(lse,
            e.at(k.pointer(op.getLse()), e.add(e.mul(row, heads), h), l.f32),
            l.f32);
  });
}

SmallVector<Value> Forward::block(Value first, ValueRange carried) {
  Value scale = l.f(op.getScale().convertToDouble());
  Value count = e.min(e.i64(blockKeys), e.sub(keys, first));
  // Keys lane and lane + 32 of the block; those that are not there repeat the
  // last one and count as nothing.
  Value score[2], seen[2];
  for (int64_t half = 0; half < 2; ++half) {
    Value c = e.add(l.warp.lane, half * warpLanes);
    seen[half] = e.less(c, count);
    Value kRow = keyRow(op.getK(), e.add(first, e.min(c, e.add(count, -1))));
    score[half] = l.chain([&](Value x) { return l.mul(l.get(q, x), scale); },
                          [&](Value x) { return l.get(kRow, x); });
  }
  Value high = arith::MaximumFOp::create(
      e.b, e.loc, e.select(seen[0], score[0], l.f(-INFINITY)),
      e.select(seen[1], score[1], l.f(-INFINITY)));
  high = arith::MaximumFOp::create(e.b, e.loc, high, shuffleDown(e, high, 16));
  high = shuffleFrom(e, foldSixteen(e, high, true), e.i64(0));
  Value m = arith::MaximumFOp::create(e.b, e.loc, carried[0], high);
  Value shrink = l.exp(l.sub(carried[0], m));
  Value p[2], sum = l.f(0);
  for (int64_t half = 0; half < 2; ++half)
    p[half] = e.select(seen[half], l.exp(l.sub(score[half], m)), l.f(0));
  for (int64_t half = 0; half < 2; ++half) {
    sum = l.add(sum, p[half]);
    sum = l.add(sum, shuffleDown(e, p[half], 16));
  }
  sum = shuffleFrom(e, foldSixteen(e, sum, false), e.i64(0));
  SmallVector<Value> next{m, e.fma(carried[1], shrink, sum)};
  SmallVector<Value> out;
  for (Value o : carried.drop_front(2))
    out.push_back(l.mul(o, shrink));
  for (int64_t half = 0; half < 2; ++half) {
    Value end = e.min(e.i64(warpLanes), e.add(count, -half * warpLanes));
    out = e.loop(e.i64(0), end, e.i64(1), out, [&](Value i, ValueRange o) {
      Value weight = shuffleFrom(e, p[half], i);
      Value vRow = keyRow(op.getV(), e.add(first, e.add(i, half * warpLanes)));
      SmallVector<Value> sums;
      for (int64_t part = 0; part < l.parts; ++part)
        sums.push_back(e.fma(weight, l.get(vRow, l.column(part)), o[part]));
      return sums;
    });
  }
  next.append(out);
  return next;
}

struct Backward {
  explicit Backward(Kernel &k)
      : k(k), l(k, kern::elementTypeOf(op.getQ()), width) {}
  void build();

  Kernel &k;
  Emit &e = k.e;
  kern::AttentionBackwardOp op = cast<kern::AttentionBackwardOp>(k.op);
  int64_t heads = op.getHeads(), kvHeads = op.getKvHeads(),
          each = heads / kvHeads;
  int64_t width =
      cast<RankedTensorType>(op.getQ().getType()).getDimSize(1) / heads;
  Lanes l;
  Type gradient = kern::elementTypeOf(op.getDq());
  BackwardGrid grid{width, each};
  bool shares = bool(op.getShared());
  Value scale, first, last; ///< of the unit

  Value query(Value tensor, Value row, Value h) {
    return e.at(k.pointer(tensor),
                e.add(e.mul(row, heads * width), e.mul(h, width)),
                kern::elementTypeOf(tensor));
  }
  Value key(Value tensor, Value row, Value h) {
    return e.at(k.pointer(tensor),
                e.add(e.mul(row, kvHeads * width), e.mul(h, width)),
                kern::elementTypeOf(tensor));
  }
  Value either(Value a, Value b) {
    return arith::OrIOp::create(e.b, e.loc, a, b);
  }
  Value both(Value a, Value b) {
    return arith::AndIOp::create(e.b, e.loc, a, b);
  }
  /// Where the keys that row i shares end, and where its own begin.
  Value sharedEnd(Value i) { return e.add(first, l.number(op.getShared(), i)); }
  Value ownFrom(Value i) {
    return e.add(l.number(op.getBases(), i), l.number(op.getShared(), i));
  }
  /// Start of the tile that holds a row.
  Value tileOf(Value row, int64_t size) {
    Value within = e.sub(row, first);
    return e.add(first, e.sub(within, e.rem(within, size)));
  }
  void findUnit(Value row);
  Value meet(Value i0, Value iEnd, Value j0);
  std::pair<Value, Value> pair(Value i, Value j, Value h, Value valid);
  void queries(Value row, Value h);
  void keys(Value row, Value group);
};

void Backward::build() {
  scale = l.f(op.getScale().convertToDouble());
  // Units need not begin at the first row.
  Value start = l.number(op.getOffsets(), e.i64(0));
  Value rows = e.sub(l.number(op.getOffsets(), k.size), start);
  int64_t items = heads + kvHeads;
  e.loop(l.warp.index, e.mul(rows, items), l.warp.count, [&](Value i) {
    Value row = e.add(start, e.div(i, items)), n = e.rem(i, items);
    findUnit(row);
    Value isQuery = e.less(n, e.i64(heads));
    e.when(isQuery, [&] { queries(row, n); });
    e.when(e.less(e.i64(heads - 1), n), [&] { keys(row, e.add(n, -heads)); });
  });
}

/// The unit with offsets[u] <= row < offsets[u + 1], by halving.
void Backward::findUnit(Value row) {
  SmallVector<Value> bounds = e.loop(
      e.i64(0), e.i64(32), e.i64(1), {e.i64(0), k.size},
      [&](Value, ValueRange b) -> SmallVector<Value> {
        Value middle = e.div(e.add(b[0], b[1]), 2);
        Value left = e.less(row, l.number(op.getOffsets(), middle));
        return {e.select(left, b[0], middle), e.select(left, middle, b[1])};
      });
  first = l.number(op.getOffsets(), bounds[0]);
  last = l.number(op.getOffsets(), e.add(bounds[0], 1));
}

/// Whether the tiles of queries [i0, iEnd) and of keys from j0 meet: also
/// unseen pairs of these two take part, as zeros.
Value Backward::meet(Value i0, Value iEnd, Value j0) {
  Value before = e.less(j0, iEnd);
  if (!shares)
    return before;
  SmallVector<Value> bounds =
      e.loop(i0, iEnd, e.i64(1), {sharedEnd(i0), ownFrom(i0)},
             [&](Value i, ValueRange b) -> SmallVector<Value> {
               return {e.max(b[0], sharedEnd(i)), e.min(b[1], ownFrom(i))};
             });
  Value apart =
      either(e.less(j0, bounds[0]), e.less(bounds[1], e.add(j0, grid.keys)));
  return both(before, apart);
}

/// p and ds of query i and key j, head h; 0 where i does not see j.
std::pair<Value, Value> Backward::pair(Value i, Value j, Value h, Value valid) {
  Value g = e.div(h, each);
  Value qi = query(op.getQ(), i, h), kj = key(op.getK(), j, g);
  Value score = l.chain([&](Value c) { return l.mul(l.get(qi, c), scale); },
                        [&](Value c) { return l.get(kj, c); });
  Value lse = e.load(
      e.at(k.pointer(op.getLse()), e.add(e.mul(i, heads), h), l.f32), l.f32);
  Value gi = query(op.getDOut(), i, h), vj = key(op.getV(), j, g);
  Value dp = l.chain([&](Value c) { return l.get(gi, c); },
                     [&](Value c) { return l.get(vj, c); });
  Value mean = l.dot(gi, query(op.getOut(), i, h));
  Value seen = both(valid, e.less(j, e.add(i, 1)));
  if (shares)
    seen = both(
        seen, either(e.less(j, sharedEnd(i)), e.less(ownFrom(i), e.add(j, 1))));
  Value p = l.exp(l.sub(score, lse));
  Value ds = l.mul(p, l.sub(dp, mean));
  return {e.select(seen, p, l.f(0)), e.select(seen, ds, l.f(0))};
}

void Backward::queries(Value row, Value h) {
  Value i0 = tileOf(row, grid.rows);
  Value iEnd = e.min(e.add(i0, grid.rows), last);
  SmallVector<Value> sums = e.loop(
      first, iEnd, e.i64(grid.keys), l.zeros(), [&](Value j0, ValueRange s) {
        return e.choose(
            meet(i0, iEnd, j0), s.getTypes(),
            [&] {
              Value end = e.min(e.add(j0, grid.keys), iEnd);
              return e.loop(
                  j0, end, e.i64(warpLanes), s,
                  [&](Value j1, ValueRange s) -> SmallVector<Value> {
                    Value mine = e.add(j1, l.warp.lane);
                    Value valid = e.less(mine, end);
                    Value ds =
                        pair(row, e.min(mine, e.add(end, -1)), h, valid).second;
                    Value count = e.min(e.i64(warpLanes), e.sub(end, j1));
                    return e.loop(
                        e.i64(0), count, e.i64(1), s,
                        [&](Value n, ValueRange s) {
                          Value weight = shuffleFrom(e, ds, n);
                          Value kj =
                              key(op.getK(), e.add(j1, n), e.div(h, each));
                          SmallVector<Value> next;
                          for (int64_t part = 0; part < l.parts; ++part)
                            next.push_back(e.fma(
                                weight, l.get(kj, l.column(part)), s[part]));
                          return next;
                        });
                  });
            },
            [&] { return SmallVector<Value>(s); });
      });
  for (Value &sum : sums)
    sum = l.mul(sum, scale);
  l.store(sums, query(op.getDq(), row, h), gradient);
}

void Backward::keys(Value row, Value group) {
  Value j0 = tileOf(row, grid.keys), h0 = e.mul(group, each);
  SmallVector<Value> sums = l.zeros();
  sums.append(l.zeros()); // dk, then dv
  sums = e.loop(
      tileOf(row, grid.rows), last, e.i64(grid.rows), sums,
      [&](Value i0, ValueRange s) {
        Value iEnd = e.min(e.add(i0, grid.rows), last);
        return e.choose(
            meet(i0, iEnd, j0), s.getTypes(),
            [&] {
              // Pairs (row, head) of the tile in order, 32 at a time.
              Value end = e.mul(e.sub(iEnd, i0), each);
              auto rowOf = [&](Value n) { return e.add(i0, e.div(n, each)); };
              auto headOf = [&](Value n) { return e.add(h0, e.rem(n, each)); };
              return e.loop(
                  e.i64(0), end, e.i64(warpLanes), s,
                  [&](Value n0, ValueRange s) -> SmallVector<Value> {
                    Value mine = e.add(n0, l.warp.lane);
                    Value valid = e.less(mine, end);
                    mine = e.min(mine, e.add(end, -1));
                    auto [p, ds] = pair(rowOf(mine), row, headOf(mine), valid);
                    Value count = e.min(e.i64(warpLanes), e.sub(end, n0));
                    return e.loop(
                        e.i64(0), count, e.i64(1), s,
                        [&, p = p, ds = ds](Value n, ValueRange s) {
                          Value pn = shuffleFrom(e, p, n),
                                dsn = shuffleFrom(e, ds, n);
                          Value at = e.add(n0, n);
                          Value qi = query(op.getQ(), rowOf(at), headOf(at));
                          Value gi = query(op.getDOut(), rowOf(at), headOf(at));
                          SmallVector<Value> next;
                          for (int64_t part = 0; part < l.parts; ++part)
                            next.push_back(e.fma(
                                dsn, l.mul(l.get(qi, l.column(part)), scale),
                                s[part]));
                          for (int64_t part = 0; part < l.parts; ++part)
                            next.push_back(e.fma(pn, l.get(gi, l.column(part)),
                                                 s[l.parts + part]));
                          return next;
                        });
                  });
            },
            [&] { return SmallVector<Value>(s); });
      });
  l.store(ValueRange(sums).take_front(l.parts), key(op.getDk(), row, group),
          gradient);
  l.store(ValueRange(sums).drop_front(l.parts), key(op.getDv(), row, group),
          gradient);
}

} // namespace

LogicalResult r1c::kernels::buildAttentionCuda(Kernel &k) {
  k.launch->blocksPerSm = 2; // for 128 registers
  Forward(k).build();
  return success();
}

LogicalResult r1c::kernels::buildAttentionBackwardCuda(Kernel &k) {
  k.launch->blocksPerSm = 1;
  Backward(k).build();
  return success();
}
