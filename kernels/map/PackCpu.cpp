//===- PackCpu.cpp - kern.pack by vectors ---------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Half a panel, 16 columns, at a time: a line of it is 64 bytes, one k of f32
// or a pair of bf16. All of the weights are packed after every update, so this
// should cost what reading and writing them does.
//===----------------------------------------------------------------------===//

#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

struct VectorPacker {
  static constexpr int64_t lanes = 16;
  Kernel &k;
  Emit &e = k.e;
  kern::PackOp op = cast<kern::PackOp>(k.op);
  kern::PackedType packed = op.getResult().getType();
  bool pairs = packed.getElementType().isBF16();
  bool transpose = op.getTranspose();
  Type f32 = e.b.getF32Type(), i16 = e.b.getI16Type(), i32 = e.b.getI32Type(),
       i8 = e.b.getI8Type();
  /// Lines that are made at once, and the k of each.
  int64_t perLine = pairs ? 2 : 1;

  int64_t depthOf(Value source) {
    return cast<RankedTensorType>(source.getType())
        .getDimSize(transpose ? 1 : 0);
  }
  int64_t widthOf(Value source) {
    return cast<RankedTensorType>(source.getType())
        .getDimSize(transpose ? 0 : 1);
  }

  /// Whether halves of panels, and pairs, belong to one source each.
  bool applies() {
    return k.features.avx512 &&
           llvm::all_of(op.getSources(), [&](Value source) {
             return widthOf(source) % lanes == 0 &&
                    depthOf(source) % perLine == 0;
           });
  }

  /// 16 numbers as those of the packed matrix: f32, or bf16 as i16.
  Value load(Value from, Type element, Value mask = {}) {
    Value v = e.load(from, element, lanes, mask);
    if (!pairs)
      return e.widen(v);
    Value narrow = e.narrow(e.widen(v), packed.getElementType());
    return LLVM::BitcastOp::create(e.b, e.loc, VectorType::get(lanes, i16),
                                   narrow);
  }
  /// Two times 16 bf16 as 16 pairs, in this order of the 32.
  Value join(Value x, Value y, bool interleaved) {
    SmallVector<int64_t> order;
    for (int64_t lane = 0; lane < lanes; ++lane)
      if (interleaved)
        order.append({lane, lanes + lane});
    if (!interleaved)
      order = llvm::to_vector(llvm::seq<int64_t>(0, 2 * lanes));
    return LLVM::BitcastOp::create(e.b, e.loc, VectorType::get(lanes, i32),
                                   e.shuffle(x, y, order));
  }
  void storeLine(Value line, Value half, Value index) {
    e.store(line, e.at(half, e.mul(index, 128), i8), pairs ? i32 : f32);
  }

  /// Columns n ... n + 15 of a source into rows k0 ... of half a panel.
  void copy(Value source, Value n, Value half, int64_t k0) {
    Type from = kern::elementTypeOf(source);
    int64_t depth = depthOf(source), width = widthOf(source);
    Value base = k.pointer(source);
    Value firstLine = e.i64(k0 / perLine);
    if (!transpose) {
      Value start = e.at(base, n, from);
      e.loop(0, e.i64(depth / perLine), 1, [&](Value line) {
        Value row = e.at(start, e.mul(line, perLine * width), from);
        Value x = load(row, from);
        if (pairs)
          x = join(x, load(e.at(row, width, from), from),
                   /*interleaved=*/true);
        storeLine(x, half, e.add(firstLine, line));
      });
      return;
    }
    // A source's rows are the panel's columns: 16 lines at once, transposed.
    Value start = e.at(base, e.mul(n, depth), from);
    auto group = [&](Value kk, int64_t count) {
      SmallVector<Value> rows;
      for (int64_t r = 0; r < lanes; ++r) {
        Value row = e.at(e.at(start, r * depth, from), kk, from);
        auto part = [&](int64_t i) {
          int64_t left = count - i * lanes;
          if (left <= 0) // not read beyond the end
            return e.splat(VectorType::get(lanes, pairs ? i16 : f32), 0.0);
          return load(e.at(row, i * lanes, from), from,
                      left < lanes ? e.mask(lanes, left) : Value());
        };
        rows.push_back(pairs ? join(part(0), part(1), /*interleaved=*/false)
                             : part(0));
      }
      e.transpose(rows);
      Value line = e.add(firstLine, e.div(kk, perLine));
      for (int64_t i = 0; i < count / perLine; ++i)
        storeLine(rows[i], half, e.add(line, i));
    };
    int64_t step = lanes * perLine, rest = depth % step;
    e.loop(0, e.i64(depth - rest), step, [&](Value kk) { group(kk, step); });
    if (rest)
      group(e.i64(depth - rest), rest);
  }

  /// Half `h` of panel `p`.
  void half(Value p, int64_t h, Value to) {
    if (op.getPaired())
      return copy(op.getSources()[h], e.mul(p, lanes), to, 0);
    Value n = e.add(e.mul(p, 2 * lanes), h * lanes);
    int64_t k0 = 0, n0 = 0;
    for (Value source : op.getSources()) {
      int64_t n1 = n0 + widthOf(source);
      Value inside = arith::AndIOp::create(e.b, e.loc, e.less(e.i64(n0 - 1), n),
                                           e.less(n, e.i64(n1)));
      e.when(inside, [&] { copy(source, e.add(n, -n0), to, k0); });
      (op.getAlongK() ? k0 : n0) +=
          op.getAlongK() ? depthOf(source) : widthOf(source);
    }
    if (packed.getN() % (2 * lanes) == 0)
      return;
    e.when(e.less(e.i64(packed.getN() - 1), n), [&] {
      Value zero = e.splatInt(VectorType::get(lanes, i32), 0);
      e.loop(0, e.i64(packed.getK() / perLine), 1, [&](Value line) {
        e.store(zero, e.at(to, e.mul(line, 128), i8), i32);
      });
    });
  }

  void build() {
    Value result = k.pointer(op.getResult());
    int64_t panelBytes =
        packed.getPanelElements() * bytesOf(packed.getElementType());
    auto [from, to] = k.share(e.i64(packed.getPanels()));
    e.loop(from, to, e.i64(1), [&](Value p) {
      Value panel = e.at(result, e.mul(p, panelBytes), i8);
      for (int64_t h : {0, 1})
        half(p, h, e.at(panel, 64 * h, i8));
    });
  }
};

} // namespace

LogicalResult r1c::kernels::buildPackCpu(Kernel &k) {
  VectorPacker packer{k};
  if (!packer.applies())
    return buildPackReference(k);
  packer.build();
  return success();
}
