//===- Softmax.cpp - between a block's scores and its probabilities -------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/attention/Attention.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

static int64_t whole16(int64_t n) { return (n + 15) / 16 * 16; }

Softmax::Softmax(Kernel &k, Pieces &pieces, int64_t vectors, int64_t atOnce,
                 int64_t width)
    : e(k.e), f32(k.builder.getF32Type()), wide(lanesOf(f32, 16)),
      width(width) {
  // Numbers of 16 vectors are read at once, from any vector on.
  int64_t numbers = (vectors + 16) * 4;
  resultAt = pieces.add(vectors * width * 4);
  topAt = pieces.add(numbers);
  sumAt = pieces.add(numbers);
  seenAt = pieces.add(vectors * 8);
  scoresAt = pieces.add(atOnce * blockKeys * 4);
  foldAt = pieces.add(whole16(atOnce) * 16 * 4);
  shrinkAt = pieces.add(whole16(atOnce) * 4);
}

Value Softmax::at(Value scratch, int64_t offset, Value index, int64_t stride,
                  Type type) {
  return e.at(e.at(scratch, offset, e.b.getI8Type()), e.mul(index, stride),
              type);
}

Value Softmax::result(Value scratch, Value v) {
  return at(scratch, resultAt, v, width, f32);
}

Value Softmax::scores(Value scratch, Value i) {
  return at(scratch, scoresAt, i, blockKeys, f32);
}

Value Softmax::inverse(Value scratch, Value v) {
  return e.load(at(scratch, sumAt, v, 1, f32), f32);
}

Value Softmax::logSum(Value scratch, Value v) {
  return e.load(at(scratch, topAt, v, 1, f32), f32);
}

void Softmax::start(Value scratch, Value v, Value count) {
  Value zero = e.splat(wide, 0.0), out = result(scratch, v);
  for (int64_t c = 0; c < width; c += 16)
    e.store(zero, e.at(out, c, f32), f32);
  e.store(e.splat(f32, -INFINITY), at(scratch, topAt, v, 1, f32), f32);
  e.store(e.splat(f32, 0), at(scratch, sumAt, v, 1, f32), f32);
  Type i64 = e.b.getI64Type();
  e.store(count, at(scratch, seenAt, v, 1, i64), i64);
}

Value Softmax::left(Value scratch, Value v, Value block) {
  Type i64 = e.b.getI64Type();
  return e.sub(e.load(at(scratch, seenAt, v, 1, i64), i64), block);
}

std::pair<Value, Value> Softmax::seen(Value scratch, Value first, Value end) {
  auto count = [&](Value v) { return left(scratch, v, e.i64(0)); };
  Value start = count(first);
  SmallVector<Value> r =
      e.loop(first, end, e.i64(1), {start, start},
             [&](Value v, ValueRange carried) -> SmallVector<Value> {
               Value c = count(v);
               return {e.min(carried[0], c), e.max(carried[1], c)};
             });
  return {r[0], r[1]};
}

/// What is no number does not get past the exponential; so it need not get past
/// the maximum.
Value Softmax::larger(Value a, Value b) {
  return e.select(
      arith::CmpFOp::create(e.b, e.loc, arith::CmpFPredicate::OGT, a, b), a, b);
}

void Softmax::block(Value scratch, Value first, Value n,
                    function_ref<Value(Value)> left,
                    function_ref<Value(Value)> end,
                    function_ref<Value(Value, Value)> score,
                    function_ref<void(Value, Value, Value)> keep) {
  Value lowest = e.splat(wide, -INFINITY), zero = e.splat(wide, 0.0);
  auto sub = [&](Value a, Value b) -> Value {
    return arith::SubFOp::create(e.b, e.loc, a, b);
  };
  auto exp = [&](Value a) -> Value {
    return math::ExpOp::create(e.b, e.loc, a);
  };
  auto fold = [&](Value i) { return at(scratch, foldAt, i, 16, f32); };
  auto shrinkOf = [&](Value i) { return at(scratch, shrinkAt, i, 1, f32); };
  /// body(column, mask of what vector i sees, carried)
  auto groups = [&](Value i, Value start,
                    function_ref<Value(Value, Value, Value)> body) {
    Value sees = left(i);
    return e.loop(e.i64(0), end(i), e.i64(16), start,
                  [&](Value c, ValueRange carried) -> SmallVector<Value> {
                    return {
                        body(c, e.maskBelow(16, e.sub(sees, c)), carried[0])};
                  })[0];
  };
  auto folded = [&](Value i, function_ref<Value(Value, Value)> combine) {
    SmallVector<Value> rows;
    for (int64_t r = 0; r < 16; ++r)
      rows.push_back(e.load(e.at(fold(i), r * 16, f32), f32, 16));
    return foldRows(e, rows, combine);
  };

  e.loop(0, n, 1, [&](Value i) {
    Value highest =
        groups(i, lowest, [&](Value c, Value mask, Value so) -> Value {
          Value s = e.select(mask, score(i, c), lowest);
          e.store(s, e.at(scores(scratch, i), c, f32), f32);
          return larger(so, s);
        });
    e.store(highest, fold(i), f32);
  });
  e.loop(0, n, 16, [&](Value i) {
    Value place = at(scratch, topAt, e.add(first, i), 1, f32);
    Value old = e.load(place, f32, 16);
    Value m =
        larger(old, folded(i, [&](Value a, Value b) { return larger(a, b); }));
    // Before the first block there is nothing to shrink.
    Value none = arith::CmpFOp::create(e.b, e.loc, arith::CmpFPredicate::OEQ,
                                       old, lowest);
    Value mask = e.maskBelow(16, e.sub(n, i));
    e.store(exp(e.select(mask, e.select(none, zero, sub(old, m)), zero)),
            shrinkOf(i), f32);
    e.store(m, place, f32, mask);
  });
  e.loop(0, n, 1, [&](Value i) {
    Value m = e.broadcast(
        e.load(at(scratch, topAt, e.add(first, i), 1, f32), f32), 16);
    // Exponentials that would be 0 are not computed: processors are slow at
    // them.
    Value total = groups(i, zero, [&](Value c, Value mask, Value so) -> Value {
      Value s = e.load(e.at(scores(scratch, i), c, f32), f32, 16);
      Value p = e.select(mask, exp(e.select(mask, sub(s, m), zero)), zero);
      keep(i, c, p);
      return arith::AddFOp::create(e.b, e.loc, so, p);
    });
    e.store(total, fold(i), f32);
    Value shrink = e.broadcast(e.load(shrinkOf(i), f32), 16);
    Value out = result(scratch, e.add(first, i));
    for (int64_t c = 0; c < width; c += 16) {
      Value x = e.at(out, c, f32);
      e.store(arith::MulFOp::create(e.b, e.loc, e.load(x, f32, 16), shrink), x,
              f32);
    }
  });
  e.loop(0, n, 16, [&](Value i) {
    Value place = at(scratch, sumAt, e.add(first, i), 1, f32);
    Value sum = folded(i, [&](Value a, Value b) -> Value {
      return arith::AddFOp::create(e.b, e.loc, a, b);
    });
    e.store(e.fma(e.load(place, f32, 16), e.load(shrinkOf(i), f32, 16), sum),
            place, f32, e.maskBelow(16, e.sub(n, i)));
  });
}

void Softmax::finish(Value scratch, Value count) {
  e.loop(e.i64(0), count, e.i64(16), [&](Value v) {
    // What lies behind the last is not looked at.
    Value top = at(scratch, topAt, v, 1, f32),
          sum = at(scratch, sumAt, v, 1, f32);
    Value l = e.load(sum, f32, 16);
    e.store(arith::AddFOp::create(e.b, e.loc, e.load(top, f32, 16),
                                  math::LogOp::create(e.b, e.loc, l)),
            top, f32);
    e.store(arith::DivFOp::create(e.b, e.loc, e.splat(wide, 1.0), l), sum, f32);
  });
}
