//===- TransposeA.cpp - weight gradients for CPUs -------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// C[m,n] (+)= sum over rows r of A[r,m] * B[r,n]. The rows are taken in chunks;
// the sums pass through C between chunks, exactly, so a chunk's size changes no
// bit. bf16 takes rows in pairs, so that only the last chunk may be odd.
//===----------------------------------------------------------------------===//

#include "kernels/matmul/Matmul.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

struct TransposeAEmitter {
  // A chunk of a tile of A takes 32 KiB, in the first-level cache; one of up to
  // eight panels 512 KiB, in the second; A's tiles lie in the third until all
  // panels have met them.
  static constexpr int64_t chunkSteps = 512, aStride = 16,
                           tileBytes = chunkSteps * aStride * 4,
                           panelBytes = chunkSteps * 128, mostTiles = 64;
  Kernel &k;
  Emit &e = k.e;
  kern::MatmulOp op = cast<kern::MatmulOp>(k.op);
  Type element = kern::elementTypeOf(op.getA()), f32 = e.b.getF32Type(),
       i16 = e.b.getI16Type(), i8 = e.b.getI8Type();
  bool pairs = element.isBF16();
  int64_t m = op.getRows(), n = op.getColumns();
  int64_t panels = (n + 31) / 32, height = tileRows(k.features);
  /// Of nearly equal size: a small block would not pay for reading A's tiles.
  int64_t blocks = (panels + 7) / 8,
          blockPanels = (panels + blocks - 1) / blocks;
  int64_t chunkRows = chunkSteps * (pairs ? 2 : 1);
  Value a = k.pointer(op.getA()), b = k.pointer(op.getB()),
        c = k.pointer(op.getResult(0));

  /// body(step, alone) for the steps of `rows` rows; alone: a pair's first row
  /// without its second.
  void forSteps(Value rows, function_ref<void(Value, bool)> body) {
    Value whole = pairs ? e.div(rows, 2) : rows;
    e.loop(0, whole, 1, [&](Value s) { body(s, false); });
    if (pairs)
      e.when(e.equal(e.rem(rows, 2), e.i64(1)), [&] { body(whole, true); });
  }

  /// Copies 16 columns (those in `mask`, if any) of one step of a matrix of
  /// `width` columns, a pair of rows element by element.
  void copyStep(Value from, int64_t width, Value mask, bool alone, Value to) {
    // Rows are far apart: nothing else would fetch those to come.
    int64_t rows = pairs ? 2 : 1;
    for (int64_t row = 0; row < rows; ++row)
      e.prefetch(e.at(from, (16 * rows + row) * width, element));
    if (!pairs)
      return e.store(e.load(from, f32, 16, mask), to, f32);
    Value x = e.load(from, i16, 16, mask);
    Value y = alone ? e.splatInt(x.getType(), 0)
                    : e.load(e.at(from, width, element), i16, 16, mask);
    SmallVector<int64_t> order;
    for (int64_t lane = 0; lane < 16; ++lane)
      order.append({lane, 16 + lane});
    e.store(e.shuffle(x, y, order), to, i16);
  }

  /// Address of column `column` of the row where step `s` after row r0 begins.
  Value stepOf(Value matrix, int64_t width, Value r0, Value s, Value column) {
    Value row = e.add(r0, pairs ? e.mul(s, 2) : s);
    return e.at(matrix, e.add(e.mul(row, width), column), element);
  }

  /// Panels p ... p + count of rows r0 ... r0 + depth of B.
  void packB(Value p, Value count, Value r0, Value depth, Value to) {
    e.loop(0, count, 1, [&](Value q) {
      Value column = e.mul(e.add(p, q), 32);
      Value panel = e.at(to, e.mul(q, panelBytes), i8);
      Value masks[2];
      if (n % 32)
        for (int64_t i : {0, 1})
          masks[i] = e.maskBelow(16, e.sub(e.i64(n - 16 * i), column));
      forSteps(depth, [&](Value s, bool alone) {
        for (int64_t i : {0, 1})
          copyStep(stepOf(b, n, r0, s, e.add(column, 16 * i)), n, masks[i],
                   alone, e.at(panel, e.add(e.mul(s, 128), 64 * i), i8));
      });
    });
  }

  /// The tiles of columns m0 ... m1 of A. A tile takes parts of lines: several
  /// at once, and a line is fetched once.
  void packA(const Tiling &tiling, Value r0, Value depth, Value to) {
    constexpr int64_t together = 8;
    e.loop(0, tiling.count, together, [&](Value first) {
      Value last = e.min(e.add(first, together), tiling.count);
      forSteps(depth, [&](Value s, bool alone) {
        e.loop(first, last, e.i64(1), [&](Value i) {
          auto [column, columns] = tiling.tile(i);
          Value out = e.add(e.mul(i, tileBytes), e.mul(s, aStride * 4));
          copyStep(stepOf(a, m, r0, s, column), m, e.maskBelow(16, columns),
                   alone, e.at(to, out, i8));
        });
      });
    });
  }

  void build() {
    Tiles tiles{"tile", element, 1, aStride, panelBytes, true, true};
    tiles.make(k);
    int64_t most = std::min(mostTiles, (m + height - 1) / height);
    Value aTiles = e.scratch(most * tileBytes);
    Value bBlock = e.scratch(blockPanels * panelBytes);
    Value edge = e.scratch(height * 32 * 4);
    Share share = shareProduct(k, e.i64(m), panels, height);
    if (!op.getInit()) // the chains start from zeros
      clearResult(k, share.firstRow, share.lastRow, share.firstPanel,
                  share.lastPanel);

    auto tile = [&](Value p, Value count, Value steps, Value aTile, Value row,
                    Value rows) {
      Value target = e.at(c, e.add(e.mul(row, n), e.mul(p, 32)), f32);
      // What comes next of C is far away, too.
      Value next = e.at(target, e.mul(rows, n), f32);
      for (int64_t r = 0; r < height; ++r)
        for (int64_t line : {0, 16})
          e.prefetch(e.at(next, r * n + line, f32), /*write=*/true);
      Value whole = e.max(e.min(count, e.sub(e.i64(n / 32), p)), e.i64(0));
      tiles.call(k, rows, {aTile, bBlock, target, e.i64(n), whole, steps});
      if (n % 32 == 0)
        return;
      e.when(e.less(whole, count), [&] {
        // A last panel of fewer than 32 columns.
        Value last = e.i64(n / 32), one = e.i64(1);
        copyPanels(k, row, rows, last, one, edge, 32);
        tiles.call(k, rows,
                   {aTile, e.at(bBlock, e.mul(whole, panelBytes), i8), edge,
                    e.i64(32), e.i64(1), steps});
        copyPanels(k, row, rows, last, one, edge, 32, /*back=*/true);
      });
    };
    e.loop(e.i64(0), k.size, e.i64(chunkRows), [&](Value r0) {
      Value depth = e.min(e.i64(chunkRows), e.sub(k.size, r0));
      Value steps = pairs ? e.div(e.add(depth, 1), 2) : depth;
      e.loop(
          share.firstRow, share.lastRow, e.i64(most * height), [&](Value m0) {
            Tiling tiling(k, m0, e.min(e.add(m0, most * height), share.lastRow),
                          height);
            packA(tiling, r0, depth, aTiles);
            e.loop(share.firstPanel, share.lastPanel, e.i64(blockPanels),
                   [&](Value p) {
                     Value count =
                         e.min(e.i64(blockPanels), e.sub(share.lastPanel, p));
                     packB(p, count, r0, depth, bBlock);
                     e.loop(0, tiling.count, 1, [&](Value i) {
                       auto [row, rows] = tiling.tile(i);
                       tile(p, count, steps,
                            e.at(aTiles, e.mul(i, tileBytes), i8), row, rows);
                     });
                   });
          });
    });
  }
};

} // namespace

LogicalResult r1c::kernels::buildTransposeACpu(Kernel &k) {
  TransposeAEmitter{k}.build();
  return success();
}
