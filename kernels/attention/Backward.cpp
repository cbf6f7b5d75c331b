//===- Cpu.cpp - kern.attention for CPUs ----------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// One query row of one head at a time, keys in blocks of 64 from its base:
// the row's bits cannot depend on any other row. Inside, 16 scores are reduced
// together. README.md gives the order of every sum.
//===----------------------------------------------------------------------===//

#include "kernels/attention/Attention.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

struct OldHead : Head {
  using Head::Head;
  SmallVector<Value> zero() {
    return SmallVector<Value>(parts, e.splat(lanesOf(f32, 16), 0.0));
  }
  Value lanewise(ArrayRef<Value> a, ArrayRef<Value> b) {
    Value sum = e.splat(lanesOf(f32, 16), 0.0);
    for (auto [x, y] : llvm::zip(a, b))
      sum = e.fma(x, y, sum);
    return sum;
  }

  Value fold(function_ref<Value(int64_t)> vector, int64_t first,
             int64_t count) {
    if (count == 1)
      return vector(first);
    Value a = fold(vector, first, count / 2);
    Value b = fold(vector, first + count / 2, count / 2);
    // a and b hold count/2 sums each, of w lanes each: lane l takes in lane
    // l + w/2, as in a tree of one vector.
    int64_t w = 32 / count;
    SmallVector<int64_t> low, high;
    for (int64_t source = 0; source < 32; source += w)
      for (int64_t l = 0; l < w / 2; ++l) {
        low.push_back(source + l);
        high.push_back(source + l + w / 2);
      }
    return arith::AddFOp::create(e.b, e.loc, e.shuffle(a, b, low),
                                 e.shuffle(a, b, high));
  }

  Value reduce16(function_ref<Value(int64_t)> vector) {
    return fold(vector, 0, 16);
  }
};

SmallVector<Value>
group16(Emit &e, Value first, Value end, TypeRange types,
        function_ref<SmallVector<Value>(function_ref<Value(int64_t)>)> body) {
  return e.choose(
      e.less(end, e.add(first, 16)), types,
      [&] {
        return body(
            [&](int64_t i) { return e.min(e.add(first, i), e.add(end, -1)); });
      },
      [&] { return body([&](int64_t i) { return e.add(first, i); }); });
}

/// Row r is a query for dq and a key for dk, dv: no sums in memory, so any
/// worker may do any row. Scores are computed once for each role.
struct Backward {
  Kernel &k;
  kern::AttentionBackwardOp op = cast<kern::AttentionBackwardOp>(k.op);
  Emit &e = k.e;
  Type element = kern::elementTypeOf(op.getQ());
  int64_t heads = op.getHeads(), kvHeads = op.getKvHeads();
  int64_t width =
      cast<RankedTensorType>(op.getQ().getType()).getDimSize(1) / heads;
  OldHead head{k, element, width};
  Type f32 = e.b.getF32Type(), i32 = e.b.getI32Type();
  double scale = op.getScale().convertToDouble();

  Value mul(Value a, Value b) {
    return arith::MulFOp::create(e.b, e.loc, a, b);
  }
  Value sub(Value a, Value b) {
    return arith::SubFOp::create(e.b, e.loc, a, b);
  }
  Value query(Value tensor, Value row, Value h) {
    return e.at(k.pointer(tensor),
                e.add(e.mul(row, heads * width), e.mul(h, width)), element);
  }
  Value key(Value tensor, Value row, Value h) {
    return e.at(k.pointer(tensor),
                e.add(e.mul(row, kvHeads * width), e.mul(h, width)), element);
  }
  SmallVector<Value> minus(ArrayRef<Value> a, ArrayRef<Value> b) {
    SmallVector<Value> r;
    for (auto [x, y] : llvm::zip(a, b))
      r.push_back(sub(x, y));
    return r;
  }

  void build() {
    Value p = e.scratch(16 * 4), ds = e.scratch(16 * 4);
    Value offsets = k.pointer(op.getOffsets());
    e.loop(0, k.size, 1, [&](Value s) {
      Value first = e.toI64(e.load(e.at(offsets, s, i32), i32));
      Value last = e.toI64(e.load(e.at(offsets, e.add(s, 1), i32), i32));
      e.loop(e.add(first, k.worker), last, k.workers, [&](Value row) {
        e.loop(0, e.i64(heads), 1,
               [&](Value h) { asQuery(row, h, first, ds); });
        e.loop(0, e.i64(kvHeads), 1,
               [&](Value h) { asKey(row, h, last, p, ds); });
      });
    });
  }

  /// dq[row] = sum over keys j in order of ds_j k_j, with
  /// p = exp(scale q.k - lse), ds = p * (d_out.(v - out)) * scale.
  void asQuery(Value row, Value h, Value first, Value ds) {
    Value group = e.div(h, heads / kvHeads);
    SmallVector<Value> q = head.load(query(op.getQ(), row, h));
    SmallVector<Value> g = head.load(query(op.getDOut(), row, h));
    SmallVector<Value> out = head.load(query(op.getOut(), row, h));
    Value lse = e.broadcast(
        e.load(e.at(k.pointer(op.getLse()), e.add(e.mul(row, heads), h), f32),
               f32),
        16);
    Value scales = e.broadcast(e.splat(f32, scale), 16);
    Value keys = e.sub(e.add(row, 1), first);
    SmallVector<Value> dq = e.loop(
        e.i64(0), keys, e.i64(16), head.zero(),
        [&](Value c, ValueRange carried) {
          SmallVector<Type> two(2, lse.getType());
          SmallVector<Value> sd = group16(
              e, e.add(first, c), e.add(row, 1), two,
              [&](function_ref<Value(int64_t)> j) -> SmallVector<Value> {
                return {head.reduce16([&](int64_t i) {
                          return head.lanewise(
                              q, head.load(key(op.getK(), j(i), group)));
                        }),
                        head.reduce16([&](int64_t i) {
                          return head.lanewise(
                              g, minus(head.load(key(op.getV(), j(i), group)),
                                       out));
                        })};
              });
          Value prob =
              math::ExpOp::create(e.b, e.loc, sub(mul(sd[0], scales), lse));
          e.store(mul(mul(prob, sd[1]), scales), ds, f32);
          return e.loop(e.i64(0), e.min(e.i64(16), e.sub(keys, c)), e.i64(1),
                        carried, [&](Value i, ValueRange sum) {
                          Value j = e.add(first, e.add(c, i));
                          return head.addScaled(
                              SmallVector<Value>(sum),
                              e.load(e.at(ds, i, f32), f32),
                              head.load(key(op.getK(), j, group)));
                        });
        });
    head.store(dq, query(op.getDq(), row, h));
  }

  /// dk[row] and dv[row]: sums over the heads of the group, and for each over
  /// queries i in order.
  void asKey(Value row, Value group, Value last, Value p, Value ds) {
    SmallVector<Value> kk = head.load(key(op.getK(), row, group));
    SmallVector<Value> v = head.load(key(op.getV(), row, group));
    Value scales = e.broadcast(e.splat(f32, scale), 16);
    Value h0 = e.mul(group, heads / kvHeads);
    SmallVector<Value> zero = head.zero();
    zero.append(head.zero());
    SmallVector<Value> sums = e.loop(
        h0, e.add(h0, heads / kvHeads), e.i64(1), zero,
        [&](Value h, ValueRange outer) {
          return e.loop(
              row, last, e.i64(16), outer, [&](Value i0, ValueRange carried) {
                SmallVector<Type> two(2, scales.getType());
                SmallVector<Value> sd = group16(
                    e, i0, last, two,
                    [&](function_ref<Value(int64_t)> i) -> SmallVector<Value> {
                      return {
                          head.reduce16([&](int64_t n) {
                            return head.lanewise(
                                kk, head.load(query(op.getQ(), i(n), h)));
                          }),
                          head.reduce16([&](int64_t n) {
                            Value r = i(n);
                            return head.lanewise(
                                head.load(query(op.getDOut(), r, h)),
                                minus(v, head.load(query(op.getOut(), r, h))));
                          })};
                    });
                // lse of the queries: heads floats apart.
                Value steps = e.iota(16);
                Value left = e.sub(last, i0);
                Value lse =
                    e.gather(e.at(k.pointer(op.getLse()),
                                  e.add(e.mul(i0, heads), h), f32),
                             e.mul(steps, e.splatInt(steps.getType(), heads)),
                             f32, e.maskBelow(16, left));
                Value prob = math::ExpOp::create(e.b, e.loc,
                                                 sub(mul(sd[0], scales), lse));
                e.store(prob, p, f32);
                e.store(mul(mul(prob, sd[1]), scales), ds, f32);
                return e.loop(e.i64(0), e.min(e.i64(16), left), e.i64(1),
                              carried, [&](Value i, ValueRange sum) {
                                Value query_ = e.add(i0, i);
                                SmallVector<Value> both(sum);
                                SmallVector<Value> dk = head.addScaled(
                                    ArrayRef(both).take_front(head.parts),
                                    e.load(e.at(ds, i, f32), f32),
                                    head.load(query(op.getQ(), query_, h)));
                                dk.append(head.addScaled(
                                    ArrayRef(both).drop_front(head.parts),
                                    e.load(e.at(p, i, f32), f32),
                                    head.load(query(op.getDOut(), query_, h))));
                                return dk;
                              });
              });
        });
    head.store(ArrayRef(sums).take_front(head.parts),
               key(op.getDk(), row, group));
    head.store(ArrayRef(sums).drop_front(head.parts),
               key(op.getDv(), row, group));
  }
};

} // namespace

LogicalResult r1c::kernels::buildAttentionBackwardCpu(Kernel &k) {
  if (cast<kern::AttentionBackwardOp>(k.op).getShared())
    return buildAttentionBackwardReference(k);
  Backward{k}.build();
  return success();
}
