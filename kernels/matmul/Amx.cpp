//===- Amx.cpp - kern.matmul for CPUs with matrix tiles -------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The loops of Cpu.cpp, with two things that differ: B's block must lie in the
// second-level cache and A's rows in the first, as tiles take in 64 bytes a
// cycle, so a long k is cut, and the sums pass through memory in between,
// exactly; and sums of a cut k lie there for a block of rows until they are
// whole.
//===----------------------------------------------------------------------===//

#include "kernels/matmul/Amx.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

struct AmxEmitter {
  Kernel &k;
  Emit &e = k.e;
  kern::MatmulOp op = cast<kern::MatmulOp>(k.op);
  kern::PackedType packed = cast<kern::PackedType>(op.getB().getType());
  Type element = packed.getElementType(), f32 = e.b.getF32Type(),
       i8 = e.b.getI8Type();
  int64_t depth = packed.getK(), columns = op.getColumns();
  int64_t panelBytes = packed.getPanelElements() * bytesOf(element);
  int64_t rowBytes = depth * bytesOf(element);

  /// Parts of k, of about 1024 each where it is cut.
  int64_t steps = depth / amxDepth;
  int64_t partSteps =
      depth <= 2048 ? steps
                    : llvm::divideCeil(steps, llvm::divideCeil(depth, 1024));
  int64_t parts = llvm::divideCeil(steps, partSteps);
  int64_t partBytes = partSteps * 2 * amxDepth;

  int64_t innerSteps =
      llvm::divideCeil(partSteps, llvm::divideCeil(partSteps, amxSteps));

  /// Half of a second-level cache of 2 MiB, and at most a block of sums that
  /// leaves the other half of it to A.
  int64_t blockPanels = panelsOfBlock(op, (1 << 20) / (partSteps * 2048));
  bool direct = op.getBody().empty() && !op.getTurn() && columns % 32 == 0 &&
                kern::elementTypeOf(op.getResult(0)).isF32();
  bool init = op.getInit() != nullptr;
  int64_t sumRows = parts == 1 ? amxRows : 256;
  int64_t stride = blockPanels * 32;

  Value a = k.pointer(op.getA()), b = k.pointer(op.getB()),
        c = k.pointer(op.getResult(0));
  Value sums = {};
  AmxTiles fresh{"amx", false, panelBytes, 64, 0, true},
      more{"amx_add", true, panelBytes, 64, 0, true};
  func::FuncOp epilogue = {};

  /// Sums of a tile of rows over one part of k; `first`: of the block, so that
  /// B still lies in memory.
  void product(Value part, Value row, Value rows, Value p, Value panels,
               Value sumRow, Value first) {
    Value from = e.mul(part, partBytes);
    Value count =
        e.min(e.i64(partSteps), e.sub(e.i64(steps), e.mul(part, partSteps)));
    Value aTile = e.at(a, e.add(e.mul(row, rowBytes), from), i8);
    Value aStride = e.i64(rowBytes);
    Value bBlock =
        e.at(b, e.add(e.mul(p, panelBytes), e.mul(part, partSteps * 2048)), i8);
    Value out = direct ? e.at(c, e.add(e.mul(row, columns), e.mul(p, 32)), f32)
                       : e.at(sums, e.mul(sumRow, stride), f32);
    Value outStride = e.i64(direct ? columns : stride);
    auto sweep = [&](bool started) {
      return [&, started] {
        e.loop(e.i64(0), count, e.i64(innerSteps), [&](Value s) {
          Value now = e.min(e.i64(innerSteps), e.sub(count, s));
          auto call = [&](const AmxTiles &tiles) {
            return [&] {
              tiles.call(k, e.at(aTile, e.mul(s, 64), i8), aStride,
                         e.at(bBlock, e.mul(s, 2048), i8), out, outStride,
                         panels, now, rows, first);
            };
          };
          if (started)
            return call(more)();
          e.when(e.equal(s, e.i64(0)), call(fresh));
          if (innerSteps < partSteps)
            e.when(e.less(e.i64(0), s), call(more));
        });
      };
    };
    if (init)
      return sweep(true)();
    if (parts == 1)
      return sweep(false)();
    e.when(e.equal(part, e.i64(0)), sweep(false));
    e.when(e.less(e.i64(0), part), sweep(true));
  }

  /// The init of a tile whose sums do not go to the result at once.
  void bringInit(Value row, Value rows, Value p, Value panels, Value sumRow) {
    copyPanels(k, row, rows, p, panels, e.at(sums, e.mul(sumRow, stride), f32),
               stride);
  }

  void build() {
    if (!init)
      fresh.make(k);
    if (init || innerSteps < steps)
      more.make(k);
    if (!direct) {
      epilogue = makeEpilogue(k, blockPanels);
      sums = e.scratch(sumRows * stride * 4);
    }
    // Of a block of rows A comes from the third-level cache for every block of
    // panels but the first.
    int64_t blockRows =
        parts > 1
            ? sumRows
            : std::max<int64_t>((4 << 20) / (rowBytes * amxRows), 1) * amxRows;
    Share share =
        shareProduct(k, k.size, packed.getPanels(), amxRows, panelUnit(op));
    e.loop(share.firstRow, share.lastRow, e.i64(blockRows), [&](Value m0) {
      Value m1 = e.min(e.add(m0, blockRows), share.lastRow);
      e.loop(
          share.firstPanel, share.lastPanel, e.i64(blockPanels), [&](Value p) {
            Value panels = e.min(e.i64(blockPanels), e.sub(share.lastPanel, p));
            block(m0, m1, p, panels);
          });
    });
  }

  void block(Value m0, Value m1, Value p, Value panels) {
    auto forTiles = [&](function_ref<void(Value, Value, Value)> body) {
      e.loop(m0, m1, e.i64(amxRows), [&](Value row) {
        Value rows = e.min(e.i64(amxRows), e.sub(m1, row));
        body(row, rows, parts > 1 ? e.sub(row, m0) : e.i64(0));
      });
    };
    auto firstTile = [&](Value row) { return e.equal(row, m0); };
    auto finish = [&](Value row, Value rows, Value sumRow) {
      auto [ahead, step] =
          fetchAhead(k, e.sub(row, m0), e.at(b, e.mul(p, panelBytes), i8),
                     blockPanels * panelBytes);
      func::CallOp::create(e.b, e.loc, epilogue,
                           ValueRange{k.args,
                                      e.at(sums, e.mul(sumRow, stride), f32),
                                      rows, row, p, panels, ahead, step});
    };
    if (parts == 1)
      return forTiles([&](Value row, Value rows, Value sumRow) {
        if (init && !direct)
          bringInit(row, rows, p, panels, sumRow);
        product(e.i64(0), row, rows, p, panels, sumRow, firstTile(row));
        if (!direct)
          finish(row, rows, sumRow);
      });
    if (init && !direct)
      forTiles([&](Value row, Value rows, Value sumRow) {
        bringInit(row, rows, p, panels, sumRow);
      });
    e.loop(0, e.i64(parts), 1, [&](Value part) {
      forTiles([&](Value row, Value rows, Value sumRow) {
        product(part, row, rows, p, panels, sumRow, firstTile(row));
      });
    });
    if (!direct)
      forTiles(finish);
  }
};

} // namespace

LogicalResult r1c::kernels::buildMatmulAmx(Kernel &k) {
  AmxEmitter{k}.build();
  return success();
}
