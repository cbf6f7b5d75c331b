//===- Ragged.cpp - kern.scan and kern.quantile ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

/// Calls `body(row, first, length)` for the worker's rows.
static void forRows(Kernel &k, Value offsets,
                    function_ref<void(Value, Value, Value)> body) {
  Emit &e = k.e;
  Type i32 = e.b.getI32Type();
  Value base = k.pointer(offsets);
  auto [from, to] = k.share(k.size);
  e.loop(from, to, e.i64(1), [&](Value row) {
    Value first = e.toI64(e.load(e.at(base, row, i32), i32));
    Value last = e.toI64(e.load(e.at(base, e.add(row, 1), i32), i32));
    body(row, first, e.sub(last, first));
  });
}

LogicalResult r1c::kernels::buildScan(Kernel &k) {
  Emit &e = k.e;
  auto op = cast<kern::ScanOp>(k.op);
  Type element = kern::elementTypeOf(op.getX());
  bool suffix = op.getKind() == kern::ScanKind::suffix_sum;
  forRows(k, op.getOffsets(), [&](Value, Value first, Value length) {
    Value zero = e.splat(element, 0.0);
    e.loop(e.i64(0), length, e.i64(1), zero,
           [&](Value i, ValueRange carried) -> SmallVector<Value> {
             Value at = suffix ? e.sub(e.add(first, e.add(length, -1)), i)
                               : e.add(first, i);
             Value v = e.load(e.at(k.pointer(op.getX()), at, element), element);
             Value sum = arith::AddFOp::create(e.b, e.loc, carried[0], v);
             e.store(sum, e.at(k.pointer(op.getResult()), at, element),
                     element);
             return {sum};
           });
  });
  return success();
}

namespace {

/// Order statistics without memory: doubles are mapped to integers of the same
/// order, and the k-th smallest is found bit by bit, 64 counts over the row.
struct Quantile {
  Kernel &k;
  kern::QuantileOp op;
  Emit &e = k.e;
  Type f64 = e.b.getF64Type(), i64 = e.b.getI64Type(), i1 = e.b.getI1Type();

  Value cmp(arith::CmpIPredicate p, Value a, Value b) {
    return arith::CmpIOp::create(e.b, e.loc, p, a, b);
  }
  Value load(Value at) {
    return e.load(e.at(k.pointer(op.getX()), at, f64), f64);
  }
  Value picked(Value at) {
    if (!op.getWhere())
      return e.splatInt(i1, 1);
    return e.load(e.at(k.pointer(op.getWhere()), at, i1), i1);
  }
  /// Unsigned order of the result = order of the doubles.
  Value key(Value v) {
    Value bits = arith::BitcastOp::create(e.b, e.loc, i64, v);
    Value sign = arith::ShRSIOp::create(e.b, e.loc, bits, e.i64(63));
    Value flip = arith::OrIOp::create(e.b, e.loc, sign, e.i64(INT64_MIN));
    return arith::XOrIOp::create(e.b, e.loc, bits, flip);
  }
  Value unkey(Value v) {
    Value sign = arith::ShRSIOp::create(e.b, e.loc, v, e.i64(63));
    Value all = arith::XOrIOp::create(e.b, e.loc, sign, e.i64(-1));
    Value flip = arith::OrIOp::create(e.b, e.loc, all, e.i64(INT64_MIN));
    return arith::BitcastOp::create(e.b, e.loc, f64,
                                    arith::XOrIOp::create(e.b, e.loc, v, flip));
  }
  Value count(Value first, Value length, function_ref<Value(Value)> test) {
    return e.loop(
        e.i64(0), length, e.i64(1), e.i64(0),
        [&](Value i, ValueRange c) -> SmallVector<Value> {
          Value at = e.add(first, i);
          Value hit =
              arith::AndIOp::create(e.b, e.loc, picked(at), test(load(at)));
          return {e.add(c[0], arith::ExtUIOp::create(e.b, e.loc, i64, hit))};
        })[0];
  }
  /// The largest key with at most `rank` smaller ones: the rank-th smallest.
  Value select(Value first, Value length, Value rank) {
    Value found =
        e.loop(e.i64(0), e.i64(64), e.i64(1), e.i64(0),
               [&](Value bit, ValueRange prefix) -> SmallVector<Value> {
                 Value one = arith::ShLIOp::create(e.b, e.loc, e.i64(1),
                                                   e.sub(e.i64(63), bit));
                 Value trial = arith::OrIOp::create(e.b, e.loc, prefix[0], one);
                 Value below = count(first, length, [&](Value v) {
                   return cmp(arith::CmpIPredicate::ult, key(v), trial);
                 });
                 return {e.select(cmp(arith::CmpIPredicate::sle, below, rank),
                                  trial, prefix[0])};
               })[0];
    return unkey(found);
  }

  void build() {
    forRows(k, op.getOffsets(), [&](Value row, Value first, Value length) {
      Value n = count(first, length, [&](Value) { return e.splatInt(i1, 1); });
      Value nans = count(first, length, [&](Value v) -> Value {
        return arith::CmpFOp::create(e.b, e.loc, arith::CmpFPredicate::UNO, v,
                                     v);
      });
      Value good = arith::AndIOp::create(e.b, e.loc, e.less(e.i64(0), n),
                                         e.equal(nans, e.i64(0)));
      Value result = e.choose(
          good, f64,
          [&]() -> SmallVector<Value> {
            Value last = e.add(n, -1);
            Value rank = arith::MulFOp::create(
                e.b, e.loc, arith::SIToFPOp::create(e.b, e.loc, f64, last),
                e.splat(f64, op.getQ().convertToDouble()));
            Value whole = math::FloorOp::create(e.b, e.loc, rank);
            Value part = arith::SubFOp::create(e.b, e.loc, rank, whole);
            Value low = arith::FPToSIOp::create(e.b, e.loc, i64, whole);
            Value a = select(first, length, low);
            Value b = select(first, length, e.min(e.add(low, 1), last));
            Value step = arith::SubFOp::create(e.b, e.loc, b, a);
            Value inside = arith::AddFOp::create(
                e.b, e.loc, a, arith::MulFOp::create(e.b, e.loc, part, step));
            // Not between two infinities: inf - inf would be NaN.
            Value same = arith::CmpFOp::create(e.b, e.loc,
                                               arith::CmpFPredicate::OEQ, a, b);
            return {e.select(same, a, inside)};
          },
          [&]() -> SmallVector<Value> { return {e.splat(f64, NAN)}; })[0];
      e.store(result, e.at(k.pointer(op.getResult()), row, f64), f64);
    });
  }
};

} // namespace

LogicalResult r1c::kernels::buildQuantile(Kernel &k) {
  Quantile{k, cast<kern::QuantileOp>(k.op)}.build();
  return success();
}
