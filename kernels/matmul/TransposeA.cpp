//===- TransposeA.cpp - weight gradients for CPUs -------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// C[m,n] (+)= sum over rows r of A[r,m] * B[r,n]. The rows are taken in chunks;
// the sums pass through C between chunks, exactly, so a chunk's size changes no
// bit.
//===----------------------------------------------------------------------===//

#include "kernels/matmul/Matmul.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

LogicalResult r1c::kernels::buildTransposeACpu(Kernel &k) {
  // A chunk of a panel is 32 KiB, of eight panels 256 KiB.
  constexpr int64_t chunk = 256, blockPanels = 8, aStride = 16;
  Emit &e = k.e;
  auto op = cast<kern::MatmulOp>(k.op);
  Type element = kern::elementTypeOf(op.getA()), f32 = e.b.getF32Type();
  int64_t m = op.getRows(), n = op.getColumns();
  int64_t panels = (n + 31) / 32, height = tileRows(k.features);

  Tiles tiles{"tile", f32, 1, aStride, chunk * 32 * 4, true, {}};
  tiles.make(k);
  Value aBlock = e.scratch(chunk * aStride * 4);
  Value bBlock = e.scratch(blockPanels * chunk * 32 * 4);
  Value edge = e.scratch(height * 32 * 4);
  Share share = shareProduct(k, e.i64(m), panels, height);
  Value a = k.pointer(op.getA()), b = k.pointer(op.getB()),
        c = k.pointer(op.getResult(0));

  if (!op.getInit()) {
    Value zero = e.splat(lanesOf(f32, 16), 0.0);
    Value from = e.mul(share.firstPanel, 32);
    Value to = e.min(e.mul(share.lastPanel, 32), e.i64(n));
    e.loop(share.firstRow, share.lastRow, e.i64(1), [&](Value row) {
      e.loop(from, to, e.i64(16), [&](Value x) {
        e.store(zero, e.at(c, e.add(e.mul(row, n), x), f32), f32,
                n % 16 ? e.maskBelow(16, e.sub(to, x)) : Value());
      });
    });
  }

  e.loop(share.firstPanel, share.lastPanel, e.i64(blockPanels), [&](Value p) {
    Value count = e.min(e.i64(blockPanels), e.sub(share.lastPanel, p));
    e.loop(e.i64(0), k.size, e.i64(chunk), [&](Value r0) {
      Value depth = e.min(e.i64(chunk), e.sub(k.size, r0));
      // B's rows, panel by panel.
      e.loop(0, depth, 1, [&](Value r) {
        Value line = e.at(b, e.mul(e.add(r0, r), n), element);
        e.loop(0, e.mul(count, 2), 1, [&](Value h) {
          Value column = e.add(e.mul(p, 32), e.mul(h, 16));
          Value mask =
              n % 32 ? e.maskBelow(16, e.sub(e.i64(n), column)) : Value();
          Value v =
              e.widen(e.load(e.at(line, column, element), element, 16, mask));
          Value target = e.add(e.mul(e.div(h, 2), chunk * 32),
                               e.add(e.mul(r, 32), e.mul(e.rem(h, 2), 16)));
          e.store(v, e.at(bBlock, target, f32), f32);
        });
      });
      forTiles(
          k, share.firstRow, share.lastRow, height, [&](Value row, Value rows) {
            Value mask = e.maskBelow(16, rows);
            e.loop(0, depth, 1, [&](Value r) {
              Value from = e.at(a, e.add(e.mul(e.add(r0, r), m), row), element);
              e.store(e.widen(e.load(from, element, 16, mask)),
                      e.at(aBlock, e.mul(r, aStride), f32), f32);
            });
            Value target = e.at(c, e.add(e.mul(row, n), e.mul(p, 32)), f32);
            Value whole =
                e.max(e.min(count, e.sub(e.i64(n / 32), p)), e.i64(0));
            tiles.call(k, rows,
                       {aBlock, bBlock, target, e.i64(n), whole, depth});
            if (n % 32 == 0)
              return;
            // The last, partial panel goes through a small block.
            e.when(e.less(whole, count), [&] {
              auto copy = [&](bool in) {
                e.loop(0, rows, 1, [&](Value r) {
                  for (int64_t x = 0; x < n % 32; x += 16) {
                    Value part = e.mask(16, n % 32 - x);
                    Value there =
                        e.at(c, e.add(e.mul(e.add(row, r), n), n / 32 * 32 + x),
                             f32);
                    Value here = e.at(edge, e.add(e.mul(r, 32), x), f32);
                    if (in)
                      e.store(e.load(there, f32, 16, part), here, f32);
                    else
                      e.store(e.load(here, f32, 16), there, f32, part);
                  }
                });
              };
              copy(true);
              tiles.call(k, rows,
                         {aBlock, e.at(bBlock, e.mul(whole, chunk * 32), f32),
                          edge, e.i64(32), e.i64(1), depth});
              copy(false);
            });
          });
    });
  });
  return success();
}
