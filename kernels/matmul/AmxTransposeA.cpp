//===- AmxTransposeA.cpp - weight gradients by matrix tiles ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// C[m,n] (+)= sum over rows r of A[r,m] * B[r,n], as in TransposeA.cpp. A step
// is 32 rows: B's tiles are pairs of rows interleaved, A's are that,
// transposed. The sums pass through C between chunks of rows, exactly; rows
// behind the last one are zeros.
//===----------------------------------------------------------------------===//

#include "kernels/matmul/Amx.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

struct AmxTransposeAEmitter {
  // Of a chunk a tile column of A takes up to 40 KiB; the panels of a group, 20
  // of 64 KiB or as many as that makes, lie in the second-level cache beside
  // eight of those.
  static constexpr int64_t mostSteps = 40, tileBytes = mostSteps * 1024,
                           panelBytes = mostSteps * 2048, mostTiles = 8,
                           mostPanels = 20, groupSteps = 20 * 32;
  Kernel &k;
  Emit &e = k.e;
  kern::MatmulOp op = cast<kern::MatmulOp>(k.op);
  Type f32 = e.b.getF32Type(), bf16 = e.b.getBF16Type(), i8 = e.b.getI8Type(),
       i16 = e.b.getI16Type(), i32 = e.b.getI32Type();
  int64_t m = op.getRows(), n = op.getColumns();
  int64_t panels = llvm::divideCeil(n, 32);
  Value a = k.pointer(op.getA()), b = k.pointer(op.getB()),
        c = k.pointer(op.getResult(0));

  /// 16 columns of two rows of a matrix of `width` columns, a pair a lane:
  /// rows r and r + 1, of which those below `left` exist.
  Value pairs(Value from, int64_t width, Value mask, int64_t r, Value left) {
    auto load = [&](int64_t row) {
      Value exists = e.broadcast(e.less(e.i64(row), left), 16);
      Value visible =
          mask ? arith::AndIOp::create(e.b, e.loc, exists, mask) : exists;
      return e.load(e.at(from, row * width, bf16), i16, 16, visible);
    };
    SmallVector<int64_t> order;
    for (int64_t lane = 0; lane < 16; ++lane)
      order.append({lane, 16 + lane});
    return LLVM::BitcastOp::create(e.b, e.loc, VectorType::get(16, i32),
                                   e.shuffle(load(r), load(r + 1), order));
  }

  /// Address of `column` of the row where step `s` after row r0 begins.
  Value stepOf(Value matrix, int64_t width, Value r0, Value s, Value column) {
    Value row = e.add(r0, e.mul(s, amxDepth));
    return e.at(matrix, e.add(e.mul(row, width), column), bf16);
  }

  /// Panels p ... p + count of the `depth` rows after r0 of B.
  void packB(Value p, Value count, Value r0, Value depth, Value steps,
             Value to) {
    e.loop(0, steps, 1, [&](Value s) {
      Value left = e.sub(depth, e.mul(s, amxDepth));
      e.loop(0, count, 1, [&](Value q) {
        Value column = e.mul(e.add(p, q), 32);
        Value out = e.at(to, e.add(e.mul(q, panelBytes), e.mul(s, 2048)), i8);
        for (int64_t i : {0, 1}) {
          Value mask = n % 32
                           ? e.maskBelow(16, e.sub(e.i64(n - 16 * i), column))
                           : Value();
          Value from = stepOf(b, n, r0, s, e.add(column, 16 * i));
          for (int64_t pair = 0; pair < 16; ++pair)
            e.store(pairs(from, n, mask, 2 * pair, left),
                    e.at(out, 128 * pair + 64 * i, i8), i32);
        }
      });
    });
  }

  /// Tile columns t ... t + count of A. Several together, so that lines that
  /// two of them share are fetched once.
  void packA(Value m0, Value count, Value mEnd, Value r0, Value depth,
             Value steps, Value to) {
    e.loop(0, steps, 1, [&](Value s) {
      Value left = e.sub(depth, e.mul(s, amxDepth));
      e.loop(0, count, 1, [&](Value t) {
        Value column = e.add(m0, e.mul(t, 16));
        Value from = stepOf(a, m, r0, s, column);
        Value mask = e.maskBelow(16, e.sub(mEnd, column));
        SmallVector<Value> lines;
        for (int64_t pair = 0; pair < 16; ++pair)
          lines.push_back(pairs(from, m, mask, 2 * pair, left));
        e.transpose(lines);
        Value out = e.at(to, e.add(e.mul(t, tileBytes), e.mul(s, 1024)), i8);
        for (int64_t i = 0; i < 16; ++i)
          e.store(lines[i], e.at(out, 64 * i, i8), i32);
      });
    });
  }

  void build() {
    AmxTiles tiles{"amx", true, panelBytes, 1024, tileBytes};
    tiles.make(k);
    Value aTiles = e.scratch(mostTiles * tileBytes);
    Value bGroup = e.scratch(std::min(panels, mostPanels) * panelBytes);
    Value edge = e.scratch(amxRows * 32 * 4);
    Share share = shareProduct(k, e.i64(m), panels, amxRows);
    Value mEnd = e.min(share.lastRow, e.i64(m));
    if (!op.getInit()) // the chains start from zeros
      clearResult(k, share.firstRow, share.lastRow, share.firstPanel,
                  share.lastPanel);

    // The size of parts that are nearly equal, `most` at most.
    auto evenly = [&](Value count, Value most) {
      auto ceil = [&](Value x, Value y) {
        return e.div(e.add(x, e.add(y, -1)), y);
      };
      return ceil(count, e.max(ceil(count, most), e.i64(1)));
    };
    // So many steps at once that their tiles of A stay in the first-level
    // cache.
    auto inParts = [&](Value steps, function_ref<void(Value, Value)> body) {
      Value part = evenly(steps, e.i64(amxSteps));
      e.loop(e.i64(0), steps, part,
             [&](Value s) { body(s, e.min(part, e.sub(steps, s))); });
    };
    Value line = e.i64(64);
    auto tile = [&](Value p, Value count, Value steps, Value aTile, Value row,
                    Value rows) {
      Value target = e.at(c, e.add(e.mul(row, n), e.mul(p, 32)), f32);
      Value whole = e.max(e.min(count, e.sub(e.i64(n / 32), p)), e.i64(0));
      inParts(steps, [&](Value s, Value now) {
        tiles.call(k, e.at(aTile, e.mul(s, 1024), i8), line,
                   e.at(bGroup, e.mul(s, 2048), i8), target, e.i64(n), whole,
                   now, rows);
      });
      if (n % 32 == 0)
        return;
      e.when(e.less(whole, count), [&] {
        // A last panel of fewer than 32 columns.
        Value last = e.i64(n / 32), one = e.i64(1);
        copyPanels(k, row, rows, last, one, edge, 32);
        tiles.call(k, aTile, line, e.at(bGroup, e.mul(whole, panelBytes), i8),
                   edge, e.i64(32), e.i64(1), steps, rows);
        copyPanels(k, row, rows, last, one, edge, 32, /*back=*/true);
      });
    };
    // Each chunk reads and writes all of C; A is packed once for each group of
    // panels.
    Value allSteps = e.div(e.add(k.size, amxDepth - 1), amxDepth);
    Value chunkSteps = e.max(evenly(allSteps, e.i64(mostSteps)), e.i64(1));
    Value chunkRows = e.mul(chunkSteps, amxDepth);
    Value groupPanels = e.max(
        evenly(e.sub(share.lastPanel, share.firstPanel),
               e.min(e.div(e.i64(groupSteps), chunkSteps), e.i64(mostPanels))),
        e.i64(1));
    e.loop(e.i64(0), k.size, chunkRows, [&](Value r0) {
      Value depth = e.min(chunkRows, e.sub(k.size, r0));
      Value steps = e.div(e.add(depth, amxDepth - 1), amxDepth);
      e.loop(share.firstPanel, share.lastPanel, groupPanels, [&](Value p) {
        Value count = e.min(groupPanels, e.sub(share.lastPanel, p));
        packB(p, count, r0, depth, steps, bGroup);
        e.loop(share.firstRow, mEnd, e.i64(16 * mostTiles), [&](Value m0) {
          Value m1 = e.min(e.add(m0, 16 * mostTiles), mEnd);
          Value count16 = e.div(e.add(e.sub(m1, m0), 15), 16);
          packA(m0, count16, mEnd, r0, depth, steps, aTiles);
          e.loop(m0, m1, e.i64(amxRows), [&](Value row) {
            Value rows = e.min(e.i64(amxRows), e.sub(m1, row));
            Value aTile =
                e.at(aTiles, e.mul(e.div(e.sub(row, m0), 16), tileBytes), i8);
            tile(p, count, steps, aTile, row, rows);
          });
        });
      });
    });
  }
};

} // namespace

LogicalResult r1c::kernels::buildTransposeAAmx(Kernel &k) {
  AmxTransposeAEmitter{k}.build();
  return success();
}
