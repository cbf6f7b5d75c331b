//===- Pack.cpp - kern.pack and kern.scatter_add --------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

struct Packer {
  Kernel &k;
  Emit &e = k.e;
  kern::PackOp op = cast<kern::PackOp>(k.op);
  kern::PackedType packed = op.getResult().getType();
  Type to = packed.getElementType();
  bool pairs = to.isBF16();

  int64_t depth() { return packed.getPanelElements() / packed.panelColumns; }

  /// Element (k, c) of a panel, in elements from the panel's start.
  Value inPanel(Value kk, Value c) {
    if (!pairs)
      return e.add(e.mul(kk, packed.panelColumns), c);
    Value pair = e.mul(e.div(kk, 2), 2 * packed.panelColumns);
    return e.add(e.add(pair, e.mul(c, 2)), e.rem(kk, 2));
  }

  /// Copies one source's column `n` into rows k0... of a panel's column.
  void copy(Value source, Value n, Value panel, Value c, int64_t k0) {
    auto type = cast<RankedTensorType>(source.getType());
    Type from = type.getElementType();
    bool transpose = op.getTranspose();
    int64_t rows = type.getDimSize(transpose ? 1 : 0);
    int64_t columns = type.getDimSize(transpose ? 0 : 1);
    Value base = k.pointer(source);
    e.loop(0, e.i64(rows), 1, [&](Value kk) {
      Value index =
          transpose ? e.add(e.mul(n, rows), kk) : e.add(e.mul(kk, columns), n);
      Value v = e.load(e.at(base, index, from), from);
      v = e.narrow(e.widen(v), to);
      e.store(v, e.at(panel, inPanel(e.add(kk, k0), c), to), to);
    });
  }

  void build() {
    Value result = k.pointer(op.getResult());
    auto [from, to_] = k.share(e.i64(packed.getPanels()));
    e.loop(from, to_, e.i64(1), [&](Value p) {
      Value panel = e.at(result, e.mul(p, packed.getPanelElements()), to);
      e.loop(0, e.i64(packed.panelColumns), 1,
             [&](Value c) { column(p, panel, c); });
    });
  }

  void column(Value p, Value panel, Value c) {
    Value zero = e.splat(to, 0.0);
    auto clear = [&](int64_t k0) {
      if (k0 < depth())
        e.loop(e.i64(k0), e.i64(depth()), e.i64(1), [&](Value kk) {
          e.store(zero, e.at(panel, inPanel(kk, c), to), to);
        });
    };
    if (op.getPaired()) {
      Value n = e.add(e.mul(p, 16), e.rem(c, 16));
      for (int half = 0; half < 2; ++half)
        e.when(e.equal(e.div(c, 16), e.i64(half)),
               [&] { copy(op.getSources()[half], n, panel, c, 0); });
      return clear(packed.getK());
    }
    Value n = e.add(e.mul(p, packed.panelColumns), c);
    if (op.getAlongK()) {
      e.when(e.less(n, e.i64(packed.getN())), [&] {
        int64_t k0 = 0;
        for (Value source : op.getSources()) {
          copy(source, n, panel, c, k0);
          k0 += cast<RankedTensorType>(source.getType())
                    .getDimSize(op.getTranspose() ? 1 : 0);
        }
      });
    } else {
      int64_t n0 = 0;
      for (Value source : op.getSources()) {
        int64_t n1 = n0 + cast<RankedTensorType>(source.getType())
                              .getDimSize(op.getTranspose() ? 0 : 1);
        Value inside = arith::AndIOp::create(
            e.b, e.loc, e.less(e.i64(n0 - 1), n), e.less(n, e.i64(n1)));
        e.when(inside, [&] { copy(source, e.add(n, -n0), panel, c, 0); });
        n0 = n1;
      }
    }
    if (packed.getN() % packed.panelColumns)
      e.when(e.less(e.i64(packed.getN() - 1), n), [&] { clear(0); });
    clear(packed.getK());
  }
};

} // namespace

LogicalResult r1c::kernels::buildPackReference(Kernel &k) {
  Packer{k}.build();
  return success();
}

LogicalResult r1c::kernels::buildScatterAdd(Kernel &k) {
  constexpr int64_t lanes = 16;
  Emit &e = k.e;
  auto op = cast<kern::ScatterAddOp>(k.op);
  Type from = kern::elementTypeOf(op.getX()), f32 = e.b.getF32Type(),
       i32 = e.b.getI32Type();
  int64_t columns = cast<RankedTensorType>(op.getX().getType()).getDimSize(1);
  auto [first, last] = k.share(e.i64(columns), lanes);
  Value begin = first, end = last;
  e.loop(0, k.size, 1, [&](Value row) {
    Value id = e.toI64(e.load(e.at(k.pointer(op.getIds()), row, i32), i32));
    Value x = e.at(k.pointer(op.getX()), e.mul(row, columns), from);
    Value y = e.at(k.pointer(op.getResult()), e.mul(id, columns), f32);
    auto add = [&](Value column, Value mask) {
      Value target = e.at(y, column, f32);
      Value v = e.widen(e.load(e.at(x, column, from), from, lanes, mask));
      Value old = e.load(target, f32, lanes, mask);
      e.store(arith::AddFOp::create(e.b, e.loc, old, v), target, f32, mask);
    };
    Value whole = e.sub(end, e.rem(e.sub(end, begin), lanes));
    e.loop(begin, whole, e.i64(lanes), [&](Value c) { add(c, {}); });
    if (columns % lanes)
      e.when(e.less(whole, end),
             [&] { add(whole, e.mask(lanes, columns % lanes)); });
  });
  return success();
}
