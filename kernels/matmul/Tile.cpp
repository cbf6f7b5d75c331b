//===- Tile.cpp - register tiles of a matrix product ----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/matmul/Matmul.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Dialect/X86Vector/X86VectorDialect.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

Value r1c::kernels::bf16Step(Emit &e, Value acc, Value a, Value b) {
  auto half = [&](Value v, bool odd) -> Value {
    Value bits =
        odd ? Value(arith::AndIOp::create(
                  e.b, e.loc, v, e.splatInt(v.getType(), (int32_t)0xffff0000)))
            : Value(arith::ShLIOp::create(e.b, e.loc, v,
                                          e.splatInt(v.getType(), 16)));
    return arith::BitcastOp::create(e.b, e.loc, acc.getType(), bits);
  };
  acc = e.fma(half(a, true), half(b, true), acc);
  return e.fma(half(a, false), half(b, false), acc);
}

namespace {

/// Emits one function of the set.
struct TileEmitter {
  Kernel &k;
  const Tiles &tiles;
  int64_t rows;
  Emit &e = k.e;
  int64_t lanes = k.features.avx512 ? 16 : 8;
  int64_t perPanel = 32 / lanes;
  bool pairs = tiles.element.isBF16();
  Type f32 = e.b.getF32Type(), i32 = e.b.getI32Type();
  /// One step of A and of B, as they lie in memory.
  Type aType = pairs ? i32 : f32;

  Value lines = {}, next = {};

  /// How far ahead of its use B is fetched, in steps: few rows are bound by
  /// memory, many only want the next lines.
  int64_t ahead() const { return rows <= 4 ? 64 : 16; }

  void body(ValueRange arguments) {
    Value a = arguments[0], b = arguments[1], out = arguments[2],
          stride = arguments[3], panels = arguments[4], depth = arguments[5];
    if (tiles.fetchNext)
      next = arguments[6];
    // Few rows have few independent sums: several panels at once hide the
    // latency of the multiply-adds, and share what is read of A.
    int64_t together = !k.features.avx512 ? 1
                       : rows <= 2        ? 4
                       : rows <= wideRows ? 2
                                          : 1;
    Value whole = e.sub(panels, e.rem(panels, together));
    // Lines of a row of A that each panel fetches; a step takes 4 bytes.
    Value part = e.mul(panels, 16);
    lines = e.div(e.add(depth, e.sub(part, e.i64(1))), part);
    e.loop(e.i64(0), whole, e.i64(together),
           [&](Value p) { panelGroup(a, b, out, stride, p, depth, together); });
    if (together > 1)
      e.loop(whole, panels, e.i64(1),
             [&](Value p) { panelGroup(a, b, out, stride, p, depth, 1); });
  }

  void panelGroup(Value a, Value b, Value out, Value stride, Value p,
                  Value depth, int64_t together) {
    Type i8 = e.b.getI8Type();
    Value b0 = e.at(b, e.mul(p, tiles.panelBytes), i8);
    Value c0 = e.at(out, e.mul(p, 32), f32);
    int64_t vectors = perPanel * together;
    SmallVector<Value> acc, rowStart;
    for (int64_t r = 0; r < rows; ++r) {
      rowStart.push_back(r ? e.at(c0, e.mul(stride, r), f32) : c0);
      for (int64_t v = 0; v < vectors; ++v)
        acc.push_back(
            tiles.load ? e.load(e.at(rowStart[r], v * lanes, f32), f32, lanes)
                       : e.splat(lanesOf(f32, lanes), 0.0));
    }
    // The sums of the next panel, which may lie far away.
    if (tiles.fetchOut)
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t line = 0; line < 2 * together; ++line)
          e.prefetch(e.at(rowStart[r], 32 * together + 16 * line, f32),
                     /*write=*/true);
    // This panel's part of the next tile of A: its rows are as many streams,
    // too short for the hardware to run ahead of.
    if (tiles.aDepthStride == 1 && rows > 4) {
      Value next = e.at(a, rows * tiles.aRowStride, aType);
      e.loop(e.mul(p, lines), e.mul(e.add(p, together), lines), e.i64(1),
             [&](Value line) {
               for (int64_t r = 0; r < rows; ++r)
                 e.prefetch(e.at(next,
                                 e.add(e.mul(line, 16), r * tiles.aRowStride),
                                 aType));
             });
    }
    auto steps = [&](Value step, ValueRange carried, int64_t unroll) {
      SmallVector<Value> sums(carried);
      Value aStep = e.at(a, e.mul(step, tiles.aDepthStride), aType);
      Value bStep = e.at(b0, e.mul(step, 128), i8);
      for (int64_t u = 0; u < unroll; ++u)
        oneStep(sums, aStep, bStep, u, vectors);
      return sums;
    };
    constexpr int64_t unroll = 4;
    Value whole = e.sub(depth, e.rem(depth, unroll));
    acc =
        e.loop(e.i64(0), whole, e.i64(unroll), acc, [&](Value s, ValueRange c) {
          // A line of each panel's part of the next block of B.
          for (int64_t i = 0; next && i < together; ++i)
            e.prefetch(e.at(next,
                            e.add(e.mul(e.add(p, i), tiles.panelBytes),
                                  e.mul(s, 128 / Tiles::fetchTiles)),
                            i8),
                       /*write=*/false, /*locality=*/2);
          return steps(s, c, unroll);
        });
    acc = e.loop(whole, depth, e.i64(1), acc,
                 [&](Value s, ValueRange c) { return steps(s, c, 1); });
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t v = 0; v < vectors; ++v)
        e.store(acc[r * vectors + v], e.at(rowStart[r], v * lanes, f32), f32);
  }

  void oneStep(SmallVector<Value> &sums, Value aStep, Value bStep, int64_t u,
               int64_t vectors) {
    Type i8 = e.b.getI8Type();
    SmallVector<Value> b;
    // A step of a panel is 128 bytes: 32 f32, or 32 pairs of bf16.
    auto place = [&](int64_t v, int64_t step) {
      return e.at(bStep,
                  (v / perPanel) * tiles.panelBytes + step * 128 +
                      (v % perPanel) * lanes * 4,
                  i8);
    };
    for (int64_t v = 0; v < vectors; ++v)
      b.push_back(e.load(place(v, u), aType, lanes));
    for (int64_t v = 0; v < vectors; ++v)
      if (v * lanes % 16 == 0)
        e.prefetch(place(v, u + ahead()));
    for (int64_t r = 0; r < rows; ++r) {
      Value scalar = e.load(
          e.at(aStep, r * tiles.aRowStride + u * tiles.aDepthStride, aType),
          aType);
      Value x = e.broadcast(scalar, lanes);
      for (int64_t v = 0; v < vectors; ++v) {
        Value &sum = sums[r * vectors + v];
        sum = pairs ? dot(sum, x, b[v]) : e.fma(x, b[v], sum);
      }
    }
  }

  Value dot(Value sum, Value a, Value b) {
    if (!k.features.avx512Bf16)
      return bf16Step(e, sum, a, b);
    auto type = VectorType::get(32, e.b.getBF16Type());
    return x86vector::DotBF16Op::create(
        e.b, e.loc, sum.getType(), sum,
        LLVM::BitcastOp::create(e.b, e.loc, type, a),
        LLVM::BitcastOp::create(e.b, e.loc, type, b));
  }
};

} // namespace

void Tiles::make(Kernel &k) {
  Type pointer = k.args.getType(), i64 = k.builder.getI64Type();
  if (heights.empty())
    heights = llvm::to_vector(llvm::seq<int64_t>(1, tileRows(k.features) + 1));
  SmallVector<Type> types = {pointer, pointer, pointer, i64, i64, i64};
  if (fetchNext)
    types.push_back(pointer);
  for (int64_t rows : heights)
    functions.push_back(
        k.outline(name + Twine(rows), types, [&](ValueRange arguments) {
          TileEmitter{k, *this, rows}.body(arguments);
        }));
}

void Tiles::call(Kernel &k, Value rows, ValueRange arguments) {
  Emit &e = k.e;
  Value index =
      arith::IndexCastOp::create(e.b, e.loc, e.b.getIndexType(), rows);
  auto op = scf::IndexSwitchOp::create(e.b, e.loc, TypeRange(), index, heights,
                                       heights.size());
  OpBuilder::InsertionGuard guard(e.b);
  auto fill = [&](Region &region, func::FuncOp function) {
    e.b.setInsertionPointToStart(&region.emplaceBlock());
    if (function)
      func::CallOp::create(e.b, e.loc, function, arguments);
    scf::YieldOp::create(e.b, e.loc);
  };
  for (auto [region, function] : llvm::zip(op.getCaseRegions(), functions))
    fill(region, function);
  fill(op.getDefaultRegion(), {});
}

Share r1c::kernels::shareProduct(Kernel &k, Value rows, int64_t panels,
                                 int64_t rowUnit, int64_t panelUnit) {
  Emit &e = k.e;
  int64_t units = (panels + panelUnit - 1) / panelUnit;
  // Split the longer side first: the other operand is then read once in all.
  Value tiles = e.div(e.add(rows, rowUnit - 1), rowUnit);
  Value wide = e.less(rows, e.i64(panels * 32));
  Value perPanels = e.min(k.workers, e.i64(units));
  Value perRows = e.max(e.min(k.workers, tiles), e.i64(1));
  Value across = e.select(wide, perPanels, e.div(k.workers, perRows));
  across = e.min(across, e.i64(units));
  Value down = e.select(wide, e.div(k.workers, perPanels), perRows);
  Value mine = e.less(k.worker, e.mul(across, down));
  Value x = e.rem(k.worker, across), y = e.div(k.worker, across);
  auto part = [&](Value count, Value i, Value n) {
    return e.div(e.mul(count, i), n);
  };
  Share s;
  auto panel = [&](Value i) {
    return e.min(e.mul(part(e.i64(units), i, across), panelUnit),
                 e.i64(panels));
  };
  s.firstPanel = panel(x);
  s.lastPanel = panel(e.add(x, 1));
  s.firstRow = e.min(e.mul(part(tiles, y, down), rowUnit), rows);
  Value last = e.min(e.mul(part(tiles, e.add(y, 1), down), rowUnit), rows);
  s.lastRow = e.select(mine, last, s.firstRow);
  return s;
}

void r1c::kernels::clearResult(Kernel &k, Value from, Value to, Value first,
                               Value last) {
  Emit &e = k.e;
  Type f32 = e.b.getF32Type();
  auto op = cast<kern::MatmulOp>(k.op);
  int64_t columns = op.getColumns();
  Value result = k.pointer(op.getResult(0));
  Value zero = e.splat(lanesOf(f32, 16), 0.0);
  Value end = e.min(e.mul(last, 32), e.i64(columns));
  e.loop(from, to, e.i64(1), [&](Value row) {
    Value line = e.at(result, e.mul(row, columns), f32);
    e.loop(e.mul(first, 32), end, e.i64(16), [&](Value x) {
      e.store(zero, e.at(line, x, f32), f32,
              columns % 16 ? e.maskBelow(16, e.sub(end, x)) : Value());
    });
  });
}

void r1c::kernels::copyPanels(Kernel &k, Value row, Value rows, Value panel,
                              Value panels, Value block, int64_t stride,
                              bool back) {
  Emit &e = k.e;
  Type f32 = e.b.getF32Type();
  auto op = cast<kern::MatmulOp>(k.op);
  int64_t columns = op.getColumns();
  Value result = k.pointer(op.getResult(0));
  Value width = e.sub(e.i64(columns), e.mul(panel, 32));
  e.loop(0, rows, 1, [&](Value r) {
    Value line = e.at(
        result, e.add(e.mul(e.add(row, r), columns), e.mul(panel, 32)), f32);
    e.loop(0, e.min(width, e.mul(panels, 32)), 16, [&](Value x) {
      Value there = e.at(line, x, f32),
            here = e.at(block, e.add(e.mul(r, stride), x), f32);
      Value mask = e.maskBelow(16, e.sub(width, x));
      if (back)
        e.store(e.load(here, f32, 16), there, f32, mask);
      else
        e.store(e.load(there, f32, 16, mask), here, f32);
    });
  });
}

Tiling::Tiling(Kernel &k, Value first, Value last, int64_t height,
               int64_t highest)
    : e(k.e), hasHighest(highest > height) {
  Value rows = e.max(e.sub(last, first), e.i64(0));
  high = hasHighest
             ? e.select(e.less(rows, e.i64(highest)), e.i64(0), e.i64(highest))
             : e.i64(0);
  this->first = e.add(first, high);
  rows = e.sub(rows, high);
  count = e.div(e.add(rows, height - 1), height);
  Value divisor = e.max(count, e.i64(1));
  base = e.div(rows, divisor);
  more = e.rem(rows, divisor);
  if (hasHighest)
    count = e.add(count, e.min(high, e.i64(1)));
}

std::pair<Value, Value> Tiling::tile(Value t) const {
  Value number = hasHighest ? e.sub(t, e.min(high, e.i64(1))) : t;
  Value extra = arith::ExtUIOp::create(e.b, e.loc, e.b.getI64Type(),
                                       e.less(number, more));
  Value row = e.add(first, e.add(e.mul(number, base), e.min(number, more)));
  Value rows = e.add(base, extra);
  if (!hasHighest)
    return {row, rows};
  Value isHigh = e.less(number, e.i64(0));
  return {e.select(isHigh, e.sub(first, high), row),
          e.select(isHigh, high, rows)};
}

SmallVector<int64_t> r1c::kernels::fewHeights(const CpuFeatures &f) {
  if (tileRows(f) == 14)
    return {1, 2, 3, 4, 8, 14};
  return llvm::to_vector(llvm::seq<int64_t>(1, tileRows(f) + 1));
}

void r1c::kernels::forTiles(Kernel &k, Value first, Value last,
                            ArrayRef<int64_t> heights,
                            function_ref<void(Value, Value)> body) {
  Emit &e = k.e;
  Value rows = e.max(e.sub(last, first), e.i64(0));
  // What is left behind the full tiles takes three at most; one body for all.
  Value turns = e.add(e.div(rows, heights.back()), 3);
  e.loop(e.i64(0), turns, e.i64(1), {first, rows},
         [&](Value, ValueRange carried) -> SmallVector<Value> {
           Value row = carried[0], left = carried[1];
           Value height = e.i64(heights.front());
           for (int64_t each : heights.drop_front())
             height = e.select(e.less(left, e.i64(each)), height, e.i64(each));
           e.when(e.less(e.i64(0), left), [&] { body(row, height); });
           return {e.add(row, height), e.sub(left, height)};
         });
}
