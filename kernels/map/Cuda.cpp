//===- Cuda.cpp - kern.scatter_add and kern.pack on a GPU -----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Warp.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

LogicalResult r1c::kernels::buildScatterAddCuda(Kernel &k) {
  // A warp an id, at the first row that has it: rows of one id add up in order,
  // and nobody else touches its row of the result. It looks through the ids 32
  // at a time.
  Emit &e = k.e;
  auto op = cast<kern::ScatterAddOp>(k.op);
  Type from = kern::elementTypeOf(op.getX()), f32 = e.b.getF32Type(),
       i32 = e.b.getI32Type();
  int64_t columns = cast<RankedTensorType>(op.getX().getType()).getDimSize(1);
  Warp warp(k);
  Value lane = warp.lane;
  auto idAt = [&](Value row) {
    return e.load(e.at(k.pointer(op.getIds()), row, i32), i32);
  };
  // Which of the rows first + lane < end have this id.
  auto matches = [&](Value first, Value end, Value id) -> Value {
    Value row = e.add(first, lane);
    Value other = idAt(e.min(row, e.add(end, -1)));
    return ballot(e, arith::AndIOp::create(e.b, e.loc, e.less(row, end),
                                           e.equal(other, id)));
  };
  auto addRow = [&](Value row, Value target) {
    Value x = e.at(k.pointer(op.getX()), e.mul(row, columns), from);
    e.loop(lane, e.i64(columns), e.i64(warpLanes), [&](Value c) {
      Value place = e.at(target, c, f32);
      Value v = e.widen(e.load(e.at(x, c, from), from));
      e.store(arith::AddFOp::create(e.b, e.loc, e.load(place, f32), v), place,
              f32);
    });
  };
  auto none = [&](Value found) { return e.equal(found, e.i32(0)); };
  e.loop(warp.index, k.size, warp.count, [&](Value row) {
    Value id = idAt(row);
    Value before =
        e.loop(e.i64(0), row, e.i64(warpLanes), e.i32(0),
               [&](Value first, ValueRange found) -> SmallVector<Value> {
                 return {arith::OrIOp::create(e.b, e.loc, found[0],
                                              matches(first, row, id))};
               })[0];
    e.when(none(before), [&] {
      Value target =
          e.at(k.pointer(op.getResult()), e.mul(e.toI64(id), columns), f32);
      e.loop(row, k.size, e.i64(warpLanes), [&](Value first) {
        Value found = matches(first, k.size, id);
        Value some = arith::CmpIOp::create(e.b, e.loc, arith::CmpIPredicate::ne,
                                           found, e.i32(0));
        e.when(some, [&] {
          e.loop(0, e.i64(warpLanes), 1, [&](Value l) {
            Value shifted = arith::ShRUIOp::create(
                e.b, e.loc, found, arith::TruncIOp::create(e.b, e.loc, i32, l));
            Value bit = arith::AndIOp::create(e.b, e.loc, shifted, e.i32(1));
            e.when(e.equal(bit, e.i32(1)),
                   [&] { addRow(e.add(first, l), target); });
          });
        });
      });
    });
  });
  return success();
}

namespace {

struct PackBuilder {
  Kernel &k;
  Emit &e = k.e;
  kern::PackOp op = cast<kern::PackOp>(k.op);
  kern::PackedType packed = op.getResult().getType();
  Type to = packed.getElementType();
  int64_t depth = packed.getPanelElements() / packed.panelColumns;

  /// Element (kk, n) of the matrix, as f32; zero in the padding.
  Value element(Value n, Value kk) {
    Type f32 = e.b.getF32Type();
    Value found = e.splat(f32, 0.0);
    int64_t n0 = 0, k0 = 0;
    for (auto [s, source] : llvm::enumerate(op.getSources())) {
      auto type = cast<RankedTensorType>(source.getType());
      Type from = type.getElementType();
      int64_t rows = type.getDimSize(op.getTranspose() ? 1 : 0);
      int64_t columns = type.getDimSize(op.getTranspose() ? 0 : 1);
      Value sourceN = e.add(n, -n0), sourceK = e.add(kk, -k0);
      auto within = [&](Value v, int64_t size) {
        // Unsigned: what is negative lies outside, too.
        return arith::CmpIOp::create(e.b, e.loc, arith::CmpIPredicate::ult, v,
                                     e.i64(size));
      };
      Value inside = within(sourceK, rows);
      if (op.getPaired()) {
        sourceN = e.add(e.mul(e.div(n, 32), 16), e.rem(n, 16));
        inside = arith::AndIOp::create(
            e.b, e.loc, inside, e.equal(e.rem(e.div(n, 16), 2), e.i64(s)));
      }
      inside =
          arith::AndIOp::create(e.b, e.loc, inside, within(sourceN, columns));
      found = e.choose(
          inside, f32,
          [&, source = source]() -> SmallVector<Value> {
            Value index = op.getTranspose()
                              ? e.add(e.mul(sourceN, rows), sourceK)
                              : e.add(e.mul(sourceK, columns), sourceN);
            return {
                e.widen(e.load(e.at(k.pointer(source), index, from), from))};
          },
          [&]() -> SmallVector<Value> { return {found}; })[0];
      (op.getAlongK() ? k0 : n0) += op.getAlongK() ? rows : columns;
    }
    return found;
  }
  void put(Value v, Value index) {
    e.store(e.narrow(v, to), e.at(k.pointer(op.getResult()), index, to), to);
  }

  /// f32, panels [N / 32][K][32]: a thread an element, padding included.
  void panels() {
    int64_t total = packed.getPanels() * packed.getPanelElements();
    e.loop(k.worker, e.i64(total), k.workers, [&](Value i) {
      Value n = e.add(e.mul(e.div(i, depth * 32), 32), e.rem(i, 32));
      put(element(n, e.rem(e.div(i, 32), depth)), i);
    });
  }

  /// bf16, [N][K]: tiles of 32 x 32 through shared memory, so that neighbours
  /// read and write neighbours whichever way the source lies.
  void lines() {
    constexpr int64_t side = 32, stride = side + 1;
    Type f32 = e.b.getF32Type();
    Value tile = k.shared(side * stride * 4);
    int64_t across = llvm::divideCeil(depth, side);
    Value fast = e.rem(k.thread, side), slow = e.div(k.thread, side);
    int64_t step = k.launch->threads / side;
    auto place = [&](Value n, Value kk) {
      return e.at(tile, e.add(e.mul(n, stride), kk), f32);
    };
    e.loop(k.block, e.i64(packed.getPanels() * across), k.blocks, [&](Value i) {
      Value n0 = e.mul(e.div(i, across), side);
      Value k0 = e.mul(e.rem(i, across), side);
      for (int64_t j = 0; j < side; j += step) {
        Value other = e.add(slow, j);
        Value n = op.getTranspose() ? other : fast;
        Value kk = op.getTranspose() ? fast : other;
        e.store(element(e.add(n0, n), e.add(k0, kk)), place(n, kk), f32);
      }
      k.barrier();
      for (int64_t j = 0; j < side; j += step) {
        Value n = e.add(slow, j), kk = e.add(k0, fast);
        e.when(e.less(kk, e.i64(depth)), [&] {
          put(e.load(place(n, fast), f32),
              e.add(e.mul(e.add(n0, n), depth), kk));
        });
      }
      k.barrier();
    });
  }
};

} // namespace

LogicalResult r1c::kernels::buildPackCuda(Kernel &k) {
  PackBuilder builder{k};
  if (builder.to.isBF16())
    builder.lines();
  else
    builder.panels();
  return success();
}
