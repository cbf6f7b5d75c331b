//===- Cpu.cpp - kern.matmul for CPUs -------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Blocks of panels that stay in the second-level cache outside, tiles of rows
// inside. A row's sums are one chain whatever the split: k is cut only where it
// is very long, and the sums then pass through the result, exactly.
//===----------------------------------------------------------------------===//

#include "kernels/matmul/Amx.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

/// A remark on the builder that is taken.
static void explain(Kernel &k, kern::MatmulOp op, const Twine &tiles) {
  StringRef packed = op.getTransposeA() ? ", columns of A copied together"
                     : op.getPaired()   ? ", B in panels of 16 + 16 columns"
                                        : ", B in panels of 32 columns";
  if (usesAmx(op, k.features))
    return k.explain("matrix tiles of " + tiles + packed);
  bool bf16 = kern::elementTypeOf(op.getA()).isBF16();
  k.explain("tiles of " + tiles + " in registers" + packed,
            !bf16 ? "float32 has no matrix tiles"
            : !k.features.amxBf16
                ? Twine("the CPU has no matrix tiles; bfloat16 ") +
                      (k.features.avx512Bf16 ? "by its own instruction"
                                             : "by float32 operations")
                : Twine("the sum over k is no multiple of ") + Twine(amxDepth));
}

LogicalResult r1c::kernels::buildMatmulCpu(Kernel &k) {
  auto op = cast<kern::MatmulOp>(k.op);
  if (failed(checkTurned(op, /*cuda=*/false)))
    return failure();
  if (usesAmx(op, k.features)) {
    explain(k, op, Twine(amxRows) + " x 32");
    return op.getTransposeA() ? buildTransposeAAmx(k) : buildMatmulAmx(k);
  }
  int64_t height = tileRows(k.features);
  std::string high = llvm::formatv("{0} x 32", height);
  if (op.getTransposeA()) {
    explain(k, op, high);
    return buildTransposeACpu(k);
  }
  Emit &e = k.e;
  auto packed = cast<kern::PackedType>(op.getB().getType());
  Type element = packed.getElementType(), f32 = e.b.getF32Type(),
       i8 = e.b.getI8Type();
  bool pairs = element.isBF16();
  int64_t depth = packed.getK(), steps = pairs ? depth / 2 : depth;
  int64_t panelBytes = packed.getPanelElements() * bytesOf(element);
  int64_t columns = op.getColumns();
  // Sums may go straight to the result if nothing happens to them.
  bool direct = op.getBody().empty() && !op.getTurn() && columns % 32 == 0 &&
                kern::elementTypeOf(op.getResult(0)).isF32();
  bool init = op.getInit() != nullptr;
  // Of a long k a block of B does not fit into the second-level cache, and of
  // the head's backward a few rows of A fit nowhere. Parts do, for many rows.
  bool cut = direct && steps > 1536;
  int64_t partSteps = !cut           ? steps
                      : steps > 8192 ? 512
                                     : 1024,
          parts = (steps + partSteps - 1) / partSteps;
  int64_t partDepth = partSteps * (pairs ? 2 : 1);
  // About half of a second-level cache of 1 MiB, at most what the block of sums
  // can take in the first level.
  int64_t blockPanels = panelsOfBlock(op, (4 << 10) / partSteps);

  // Tiles of two panels read B twice as often: from that cache, or not at all.
  bool fits = k.features.avx512 && blockPanels * partSteps * 128 <= 3 << 18;
  explain(k, op, fits ? llvm::formatv("{0} x 64", wideRows).str() : high);

  // Rows a multiple of 4096 bytes apart fall on the same few sets of the first
  // cache: such tiles of A are copied, each row padded by one line.
  bool copies = depth * bytesOf(element) % 4096 == 0;
  int64_t pad = copies ? 64 / bytesOf(element) : 0;

  // Each height is a function more to compile.
  SmallVector<int64_t> heights;
  if (fits) {
    heights = llvm::to_vector(llvm::seq<int64_t>(1, wideRows + 1));
    heights.push_back(height);
  }
  Tiles tiles{"tile",
              element,
              copies ? partSteps + 16 : steps,
              1,
              panelBytes,
              init || cut,
              direct,
              heights,
              /*fetchNext=*/fits};
  tiles.make(k);
  func::FuncOp epilogue =
      direct ? func::FuncOp() : makeEpilogue(k, blockPanels);
  Value block = direct ? Value() : e.scratch(height * blockPanels * 32 * 4);
  // Rows are taken in blocks, so that A comes from the third-level cache for
  // every block of panels but the first; copied ones from the second.
  int64_t rowBytes = partDepth * bytesOf(element);
  int64_t blockTiles =
      cut ? 24 : (copies ? 1 << 20 : 4 << 20) / (rowBytes * height);
  int64_t blockRows = std::max<int64_t>(blockTiles, 1) * height;
  int64_t aStride = copies ? partDepth + pad : depth;
  Value aCopy =
      copies ? e.scratch(blockRows * aStride * bytesOf(element)) : Value();
  Share share =
      shareProduct(k, k.size, packed.getPanels(), height, panelUnit(op));
  Value a = k.pointer(op.getA()), b = k.pointer(op.getB()),
        c = k.pointer(op.getResult(0));
  // Rows m0 ... m1 over one part of k.
  auto rowsOverPart = [&](Value m0, Value m1, Value part) {
    Value depthSteps =
        e.min(e.i64(partSteps), e.sub(e.i64(steps), e.mul(part, partSteps)));
    Value aBlock =
        e.at(a, e.add(e.mul(m0, depth), e.mul(part, partDepth)), element);
    if (copies) {
      e.loop(0, e.sub(m1, m0), 1, [&](Value r) {
        Value from = e.at(aBlock, e.mul(r, depth), element);
        Value to = e.at(aCopy, e.mul(r, aStride), element);
        int64_t lanes = 64 / bytesOf(element);
        Value width = e.mul(depthSteps, pairs ? 2 : 1);
        e.loop(0, width, lanes, [&](Value x) {
          e.store(e.load(e.at(from, x, element), element, lanes),
                  e.at(to, x, element), element);
        });
      });
      aBlock = aCopy;
    }
    Tiling tiling(k, m0, m1, fits ? wideRows : height, height);
    e.loop(share.firstPanel, share.lastPanel, e.i64(blockPanels), [&](Value p) {
      Value panels = e.min(e.i64(blockPanels), e.sub(share.lastPanel, p));
      Value bBlock = e.at(
          b, e.add(e.mul(p, panelBytes), e.mul(part, partSteps * 128)), i8);
      // What comes behind this block; the last one fetches itself.
      Value next = bBlock;
      if (cut)
        next = e.at(b,
                    e.add(e.mul(share.firstPanel, panelBytes),
                          e.mul(e.add(part, 1), partSteps * 128)),
                    i8);
      next = e.select(e.less(e.add(p, blockPanels), share.lastPanel),
                      e.at(bBlock, blockPanels * panelBytes, i8), next);
      e.loop(0, tiling.count, 1, [&](Value t) {
        auto [row, rows] = tiling.tile(t);
        Value aRow = e.at(aBlock, e.mul(e.sub(row, m0), aStride), element);
        auto call = [&](Value target, Value stride) {
          SmallVector<Value> arguments = {aRow,   bBlock, target,
                                          stride, panels, depthSteps};
          if (fits) {
            Value number = e.min(t, e.i64(Tiles::fetchTiles - 1));
            arguments.push_back(e.at(
                next, e.mul(e.mul(number, depthSteps), 128 / Tiles::fetchTiles),
                i8));
          }
          tiles.call(k, rows, arguments);
        };
        if (direct)
          return call(e.at(c, e.add(e.mul(row, columns), e.mul(p, 32)), f32),
                      e.i64(columns));
        int64_t stride = blockPanels * 32;
        if (init) // N is not a multiple of 32: bring in what is there
          copyPanels(k, row, rows, p, panels, block, stride);
        call(block, e.i64(stride));
        auto [ahead, step] =
            fetchAhead(k, e.sub(row, m0), bBlock, blockPanels * panelBytes);
        func::CallOp::create(
            e.b, e.loc, epilogue,
            ValueRange{k.args, block, rows, row, p, panels, ahead, step});
      });
    });
  };
  // Blocks of equal size: a small one would read all of B for little.
  Value all = e.max(e.sub(share.lastRow, share.firstRow), e.i64(1));
  Value blocks = e.div(e.add(all, blockRows - 1), blockRows);
  Value step = e.div(e.add(all, e.add(blocks, -1)), blocks);
  e.loop(share.firstRow, share.lastRow, step, [&](Value m0) {
    Value m1 = e.min(e.add(m0, step), share.lastRow);
    if (!cut)
      return rowsOverPart(m0, m1, e.i64(0));
    if (!init)
      clearResult(k, m0, m1, share.firstPanel, share.lastPanel);
    e.loop(0, e.i64(parts), 1, [&](Value part) { rowsOverPart(m0, m1, part); });
  });
  return success();
}
