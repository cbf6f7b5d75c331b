//===- PackCpu.cpp - kern.pack by vectors ---------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A line of half a panel, 16 columns, is 64 bytes: one k of f32 or a pair of
// bf16. All of the weights are packed after every update, so this should cost
// what reading and writing them does: sources are read in the order in which
// they lie, and lines go past the caches, which would first read what is
// there. Nothing of them is needed before the next forward pass.
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
  /// Line `index` of half `half` of the result (two to a panel).
  void storeLine(Value line, Value half, Value index) {
    int64_t panelBytes =
        packed.getPanelElements() * bytesOf(packed.getElementType());
    Value panel =
        e.at(k.pointer(op.getResult()), e.mul(e.div(half, 2), panelBytes), i8);
    Value offset = e.add(e.mul(e.rem(half, 2), 64), e.mul(index, 128));
    e.stream(line, e.at(panel, offset, i8));
  }

  /// Rows `line` * perLine ... of a source as line `at` of the halves from
  /// `firstHalf` on, every `step`-th.
  void rowsAsLine(Value source, Value line, Value at, int64_t firstHalf,
                  int64_t step) {
    Type from = kern::elementTypeOf(source);
    int64_t width = widthOf(source);
    Value row = e.at(k.pointer(source), e.mul(line, perLine * width), from);
    e.loop(0, e.i64(width / lanes), 1, [&](Value i) {
      Value place = e.at(row, e.mul(i, lanes), from);
      Value x = load(place, from);
      if (pairs)
        x = join(x, load(e.at(place, width, from), from), /*interleaved=*/true);
      storeLine(x, e.add(e.mul(i, step), firstHalf), at);
    });
  }

  /// Rows n ... n + 15 of a source, the columns of a half, as its lines from
  /// `firstLine` on: 16 at once, transposed.
  void rowsAsColumns(Value source, Value n, Value half, int64_t firstLine) {
    Type from = kern::elementTypeOf(source);
    int64_t depth = depthOf(source);
    Value start = e.at(k.pointer(source), e.mul(n, depth), from);
    int64_t step = lanes * perLine, rest = depth % step;
    auto group = [&](Value kk, int64_t count) {
      SmallVector<Value> rows;
      for (int64_t r = 0; r < lanes; ++r) {
        Value row = e.at(e.at(start, r * depth, from), kk, from);
        for (int64_t ahead = 0; ahead < step * bytesOf(from); ahead += 64)
          e.prefetch(e.at(row, 1024 + ahead, i8));
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
      Value line = e.add(e.div(kk, perLine), firstLine);
      for (int64_t i = 0; i < count / perLine; ++i)
        storeLine(rows[i], half, e.add(line, i));
    };
    e.loop(0, e.i64(depth - rest), step, [&](Value kk) { group(kk, step); });
    if (rest)
      group(e.i64(depth - rest), rest);
  }

  /// Calls `each` with a source, its first line and its first half, both of the
  /// result, and how far apart its halves are there.
  void forSources(function_ref<void(Value, int64_t, int64_t, int64_t)> each) {
    int64_t line = 0, half = 0;
    for (Value source : op.getSources()) {
      each(source, line, half, op.getPaired() ? 2 : 1);
      if (op.getAlongK())
        line += depthOf(source) / perLine;
      else
        half += op.getPaired() ? 1 : widthOf(source) / lanes;
    }
  }

  /// Workers share the columns of the result where those are rows of the
  /// sources, else the lines.
  void build() {
    if (transpose) {
      auto [from, to] = k.share(e.i64(packed.getPanels() * 2));
      forSources([&](Value source, int64_t line, int64_t first, int64_t step) {
        int64_t halves = widthOf(source) / lanes;
        // Those of its halves that are in the worker's share.
        auto inSource = [&](Value half) {
          Value i = e.div(e.max(e.add(half, step - 1 - first), e.i64(0)), step);
          return e.min(i, e.i64(halves));
        };
        e.loop(inSource(from), inSource(to), e.i64(1), [&](Value i) {
          rowsAsColumns(source, e.mul(i, lanes), e.add(e.mul(i, step), first),
                        line);
        });
      });
    } else {
      auto [from, to] = k.share(e.i64(packed.getK() / perLine));
      forSources([&](Value source, int64_t line, int64_t first, int64_t step) {
        auto inSource = [&](Value at) {
          return e.min(e.max(e.add(at, -line), e.i64(0)),
                       e.i64(depthOf(source) / perLine));
        };
        e.loop(inSource(from), inSource(to), e.i64(1), [&](Value i) {
          rowsAsLine(source, i, e.add(i, line), first, step);
        });
      });
    }
    if (packed.getN() % (2 * lanes)) {
      auto [from, to] = k.share(e.i64(packed.getK() / perLine));
      Value zero = e.splatInt(VectorType::get(lanes, i32), 0);
      e.loop(from, to, e.i64(1), [&](Value line) {
        storeLine(zero, e.i64(packed.getPanels() * 2 - 1), line);
      });
    }
    e.streamed();
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
