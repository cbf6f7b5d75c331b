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

Head::Head(Kernel &k, Type element, int64_t width)
    : e(k.e), element(element), width(width), parts((width + 15) / 16),
      f32(k.builder.getF32Type()) {}

Value Head::mask(int64_t part) {
  int64_t left = width - part * 16;
  return left < 16 ? e.mask(16, left) : Value();
}

SmallVector<Value> Head::load(Value pointer) {
  SmallVector<Value> v;
  for (int64_t i = 0; i < parts; ++i)
    v.push_back(
        e.widen(e.load(e.at(pointer, i * 16, element), element, 16, mask(i))));
  return v;
}

void Head::store(ArrayRef<Value> v, Value pointer) {
  for (int64_t i = 0; i < parts; ++i)
    e.store(e.narrow(v[i], element), e.at(pointer, i * 16, element), element,
            mask(i));
}

SmallVector<Value> Head::zero() {
  return SmallVector<Value>(parts, e.splat(lanesOf(f32, 16), 0.0));
}

SmallVector<Value> Head::addScaled(ArrayRef<Value> sum, Value scale,
                                   ArrayRef<Value> v) {
  Value s = e.broadcast(scale, 16);
  SmallVector<Value> result;
  for (auto [x, y] : llvm::zip(sum, v))
    result.push_back(e.fma(s, y, x));
  return result;
}

SmallVector<Value> Head::times(ArrayRef<Value> v, Value scale) {
  Value s = e.broadcast(scale, 16);
  SmallVector<Value> result;
  for (Value x : v)
    result.push_back(arith::MulFOp::create(e.b, e.loc, x, s));
  return result;
}

Value Head::lanewise(ArrayRef<Value> a, ArrayRef<Value> b) {
  Value sum = e.splat(lanesOf(f32, 16), 0.0);
  for (auto [x, y] : llvm::zip(a, b))
    sum = e.fma(x, y, sum);
  return sum;
}

Value Head::fold(function_ref<Value(int64_t)> vector, int64_t first,
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

Value Head::reduce16(function_ref<Value(int64_t)> vector) {
  return fold(vector, 0, 16);
}

SmallVector<Value> r1c::kernels::group16(
    Emit &e, Value first, Value end, TypeRange types,
    function_ref<SmallVector<Value>(function_ref<Value(int64_t)>)> body) {
  return e.choose(
      e.less(end, e.add(first, 16)), types,
      [&] {
        return body(
            [&](int64_t i) { return e.min(e.add(first, i), e.add(end, -1)); });
      },
      [&] { return body([&](int64_t i) { return e.add(first, i); }); });
}

Value r1c::kernels::foldLanes(Emit &e, Value v, bool max) {
  for (int64_t w = cast<VectorType>(v.getType()).getNumElements(); w > 1;
       w /= 2) {
    auto low = llvm::to_vector(llvm::seq<int64_t>(0, w / 2));
    auto high = llvm::to_vector(llvm::seq<int64_t>(w / 2, w));
    Value a = e.shuffle(v, v, low), b = e.shuffle(v, v, high);
    v = max ? Value(arith::MaximumFOp::create(e.b, e.loc, a, b))
            : Value(arith::AddFOp::create(e.b, e.loc, a, b));
  }
  return e.extract(v, 0);
}

namespace {

constexpr int64_t blockKeys = 64;

struct Forward {
  Kernel &k;
  kern::AttentionOp op = cast<kern::AttentionOp>(k.op);
  Emit &e = k.e;
  Type element = kern::elementTypeOf(op.getQ());
  int64_t heads = op.getHeads(), kvHeads = op.getKvHeads();
  int64_t width =
      cast<RankedTensorType>(op.getQ().getType()).getDimSize(1) / heads;
  Head head{k, element, width};
  Type f32 = e.b.getF32Type(), i32 = e.b.getI32Type();

  Value f(double v) { return e.splat(f32, v); }

  void build() {
    Value scores = e.scratch(blockKeys * 4);
    // Late rows see more keys: deal the rows out instead of cutting.
    e.loop(k.worker, k.size, k.workers, [&](Value row) {
      Value position =
          e.toI64(e.load(e.at(k.pointer(op.getPositions()), row, i32), i32));
      Value base =
          e.toI64(e.load(e.at(k.pointer(op.getBases()), row, i32), i32));
      e.loop(0, e.i64(heads), 1,
             [&](Value h) { one(row, h, base, e.add(position, 1), scores); });
    });
  }

  void one(Value row, Value h, Value base, Value keys, Value scores) {
    Value group = e.div(h, heads / kvHeads);
    Value at = e.add(e.mul(row, heads * width), e.mul(h, width));
    SmallVector<Value> q = head.load(e.at(k.pointer(op.getQ()), at, element));
    int64_t stride = kvHeads * width;
    Value offset = e.add(e.mul(base, stride), e.mul(group, width));
    Value k0 = e.at(k.pointer(op.getK()), offset, element);
    Value v0 = e.at(k.pointer(op.getV()), offset, element);
    Value scale = e.broadcast(f(op.getScale().convertToDouble()), 16);

    SmallVector<Value> state = {f(-INFINITY), f(0)};
    state.append(head.zero());
    state = e.loop(
        e.i64(0), keys, e.i64(blockKeys), state,
        [&](Value first, ValueRange carried) {
          Value m = carried[0], l = carried[1];
          SmallVector<Value> out(carried.drop_front(2));
          Value count = e.min(e.i64(blockKeys), e.sub(keys, first));
          // Scores, 16 keys at a time; keys past the end repeat the last one
          // (memory behind it is not ours to read) and are masked.
          Value lowest = e.splat(lanesOf(f32, 16), -INFINITY);
          Value top = e.loop(
              e.i64(0), count, e.i64(16), lowest,
              [&](Value c, ValueRange best) -> SmallVector<Value> {
                Value sums =
                    group16(e, e.add(first, c), keys, lowest.getType(),
                            [&](function_ref<Value(int64_t)> key)
                                -> SmallVector<Value> {
                              return {head.reduce16([&](int64_t i) {
                                return head.lanewise(
                                    q, head.load(e.at(k0, e.mul(key(i), stride),
                                                      element)));
                              })};
                            })[0];
                Value s = arith::MulFOp::create(e.b, e.loc, sums, scale);
                s = e.select(e.maskBelow(16, e.sub(count, c)), s, lowest);
                e.store(s, e.at(scores, c, f32), f32);
                return {arith::MaximumFOp::create(e.b, e.loc, best[0], s)};
              })[0];
          Value newM =
              arith::MaximumFOp::create(e.b, e.loc, m, foldLanes(e, top, true));
          Value shrink = math::ExpOp::create(
              e.b, e.loc, arith::SubFOp::create(e.b, e.loc, m, newM));
          Value wide = e.broadcast(newM, 16);
          Value sums =
              e.loop(e.i64(0), count, e.i64(16), e.splat(lanesOf(f32, 16), 0.0),
                     [&](Value c, ValueRange sum) -> SmallVector<Value> {
                       Value p = math::ExpOp::create(
                           e.b, e.loc,
                           arith::SubFOp::create(
                               e.b, e.loc,
                               e.load(e.at(scores, c, f32), f32, 16), wide));
                       e.store(p, e.at(scores, c, f32), f32);
                       return {arith::AddFOp::create(e.b, e.loc, sum[0], p)};
                     })[0];
          Value newL = e.fma(l, shrink, foldLanes(e, sums, false));
          out = head.times(out, shrink);
          out = e.loop(
              e.i64(0), count, e.i64(1), out, [&](Value c, ValueRange o) {
                Value p = e.load(e.at(scores, c, f32), f32);
                Value at = e.mul(e.add(first, c), stride);
                return head.addScaled(SmallVector<Value>(o), p,
                                      head.load(e.at(v0, at, element)));
              });
          SmallVector<Value> next = {newM, newL};
          next.append(out);
          return next;
        });
    Value m = state[0], l = state[1];
    Value inverse = arith::DivFOp::create(e.b, e.loc, f(1), l);
    head.store(head.times(ArrayRef(state).drop_front(2), inverse),
               e.at(k.pointer(op.getOut()), at, element));
    if (op.getLse()) {
      Value lse = arith::AddFOp::create(e.b, e.loc, m,
                                        math::LogOp::create(e.b, e.loc, l));
      Value place = e.add(e.mul(row, heads), h);
      e.store(lse, e.at(k.pointer(op.getLse()), place, f32), f32);
    }
  }
};

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
  Head head{k, element, width};
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

LogicalResult r1c::kernels::buildAttentionCpu(Kernel &k) {
  if (cast<kern::AttentionOp>(k.op).getShared())
    return buildAttentionReference(k);
  Forward{k}.build();
  return success();
}

LogicalResult r1c::kernels::buildAttentionBackwardCpu(Kernel &k) {
  if (cast<kern::AttentionBackwardOp>(k.op).getShared())
    return buildAttentionBackwardReference(k);
  Backward{k}.build();
  return success();
}
