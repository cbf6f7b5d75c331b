//===- Cuda.cpp - kern.scatter_add and kern.pack on a GPU -----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Warp.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

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

  /// Element (kk, n) of the matrix, as f32; zero in the padding. `paired`: a
  /// gate's and up's columns are taken in turn.
  Value element(Value n, Value kk, bool paired) {
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
      if (paired) {
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
      put(element(n, e.rem(e.div(i, 32), depth), op.getPaired()), i);
    });
  }

  /// bf16, [N][K], one source after the other: tiles of 32 x 32 through shared
  /// memory, so that neighbours read and write neighbours whichever way the
  /// source lies.
  void lines() {
    constexpr int64_t side = 32, stride = side + 1;
    Type f32 = e.b.getF32Type();
    Value tile = k.shared(side * stride * 4);
    int64_t across = llvm::divideCeil(packed.getK(), side);
    int64_t down = llvm::divideCeil(packed.getN(), side);
    Value fast = e.rem(k.thread, side), slow = e.div(k.thread, side);
    int64_t step = k.launch->threads / side;
    auto place = [&](Value n, Value kk) {
      return e.at(tile, e.add(e.mul(n, stride), kk), f32);
    };
    e.loop(k.block, e.i64(down * across), k.blocks, [&](Value i) {
      Value n0 = e.mul(e.div(i, across), side);
      Value k0 = e.mul(e.rem(i, across), side);
      for (int64_t j = 0; j < side; j += step) {
        Value other = e.add(slow, j);
        Value n = op.getTranspose() ? other : fast;
        Value kk = op.getTranspose() ? fast : other;
        e.store(element(e.add(n0, n), e.add(k0, kk), /*paired=*/false),
                place(n, kk), f32);
      }
      k.barrier();
      for (int64_t j = 0; j < side; j += step) {
        Value n = e.add(slow, j), kk = e.add(k0, fast);
        Value line = e.add(n0, n);
        Value inside =
            arith::AndIOp::create(e.b, e.loc, e.less(kk, e.i64(packed.getK())),
                                  e.less(line, e.i64(packed.getN())));
        e.when(inside, [&] {
          put(e.load(place(n, fast), f32),
              e.add(e.mul(line, packed.getK()), kk));
        });
      }
      k.barrier();
    });
  }

  /// Whether `transposedLines` can: a bf16 matrix as it lies, in lines of whole
  /// sixteen bytes either way.
  bool canTransposeLines() {
    if (op.getSources().size() > 1 || op.getTranspose())
      return false;
    Type from = kern::elementTypeOf(op.getSources().front());
    return from.isBF16() && packed.getK() % 8 == 0 && packed.getN() % 8 == 0;
  }

  /// bf16 [K][N] to [N][K]: tiles of 64 x 64, sixteen bytes a thread both ways.
  void transposedLines() {
    constexpr int64_t side = 64, lanes = 8, words = lanes / 2;
    // Four lines of k lie in different banks, and eight columns of eight.
    constexpr int64_t pitch = 2 * side + 4;
    Type bf16 = e.b.getBF16Type(), i32 = e.b.getI32Type(), i8 = e.b.getI8Type();
    Value tile = k.shared(side * pitch), source = k.pointer(op.getSources()[0]);
    int64_t across = llvm::divideCeil(packed.getK(), side);
    int64_t down = llvm::divideCeil(packed.getN(), side);
    auto both = [&](Value a, Value b) {
      return arith::AndIOp::create(e.b, e.loc, a, b);
    };
    auto place = [&](Value kk, Value bytes) {
      return e.at(tile, e.add(e.mul(kk, pitch), bytes), i8);
    };
    e.aligned = true;
    e.loop(k.block, e.i64(down * across), k.blocks, [&](Value i) {
      Value n0 = e.mul(e.div(i, across), side);
      Value k0 = e.mul(e.rem(i, across), side);
      for (int64_t j = 0; j < side * side / lanes; j += k.launch->threads) {
        Value number = e.add(k.thread, j);
        Value kk = e.div(number, side / lanes);
        Value n = e.mul(e.rem(number, side / lanes), lanes);
        Value row = e.add(k0, kk), column = e.add(n0, n);
        e.when(both(e.less(row, e.i64(packed.getK())),
                    e.less(column, e.i64(packed.getN()))),
               [&] {
                 Value at = e.add(e.mul(row, packed.getN()), column);
                 Value v = vector::BitCastOp::create(
                     e.b, e.loc, VectorType::get(words, i32),
                     e.load(e.at(source, at, bf16), bf16, lanes));
                 for (int64_t word = 0; word < words; ++word)
                   e.store(e.extract(v, word),
                           place(kk, e.add(e.mul(n, 2), 4 * word)), i32);
               });
      }
      k.barrier();
      for (int64_t j = 0; j < side * side / lanes; j += k.launch->threads) {
        Value number = e.add(k.thread, j);
        // A warp: four times eight of k beside each other, of eight columns.
        Value eighth =
            e.add(e.rem(number, 4), e.mul(e.rem(e.div(number, 32), 2), 4));
        Value n =
            e.add(e.rem(e.div(number, 4), 8), e.mul(e.div(number, 64), 8));
        Value kk = e.mul(eighth, lanes);
        Value row = e.add(k0, kk), column = e.add(n0, n);
        e.when(both(e.less(row, e.i64(packed.getK())),
                    e.less(column, e.i64(packed.getN()))),
               [&] {
                 SmallVector<Value> all;
                 for (int64_t step = 0; step < lanes; ++step)
                   all.push_back(
                       e.load(place(e.add(kk, step), e.mul(n, 2)), bf16));
                 Value v = vector::FromElementsOp::create(
                     e.b, e.loc, VectorType::get(lanes, bf16), all);
                 Value at = e.add(e.mul(column, packed.getK()), row);
                 e.store(v, e.at(k.pointer(op.getResult()), at, bf16), bf16);
               });
      }
      k.barrier();
    });
  }
};

} // namespace

LogicalResult r1c::kernels::buildPackCuda(Kernel &k) {
  PackBuilder builder{k};
  if (builder.to.isBF16() && builder.canTransposeLines())
    builder.transposedLines();
  else if (builder.to.isBF16())
    builder.lines();
  else
    builder.panels();
  return success();
}
