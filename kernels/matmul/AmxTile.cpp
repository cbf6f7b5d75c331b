//===- AmxTile.cpp - products of bf16 tiles -------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The intrinsics rather than the amx dialect, whose tiles have static shapes:
// a last tile of fewer rows then needs no code of its own.
//===----------------------------------------------------------------------===//

#include "kernels/matmul/Amx.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

bool r1c::kernels::usesAmx(kern::MatmulOp op, const CpuFeatures &f) {
  if (!f.amxBf16 || !kern::elementTypeOf(op.getA()).isBF16())
    return false;
  if (op.getTransposeA())
    return true;
  // The tile of a last part of k would be of another shape, and registers
  // cannot change theirs while they hold sums.
  return cast<kern::PackedType>(op.getB().getType()).getK() % amxDepth == 0;
}

namespace {

/// Emits one function.
struct TileEmitter {
  Kernel &k;
  const AmxTiles &tiles;
  int64_t rowTiles;
  bool fetch;
  Emit &e = k.e;
  Type i8 = e.b.getI8Type(), i16 = e.b.getI16Type(), f32 = e.b.getF32Type();
  Type tile = LLVM::LLVMX86AMXType::get(e.b.getContext());
  SmallVector<Value, 2> height = {}; ///< rows of each row tile
  Value full = {}, line = {};        ///< 16 rows, 64 bytes
  Value a = {}, aStride = {}, out = {}, outStride = {}, steps = {};

  Value half(int64_t value) {
    return arith::ConstantOp::create(e.b, e.loc,
                                     e.b.getIntegerAttr(i16, value));
  }
  Value call(const Twine &name, ValueRange operands) {
    return LLVM::CallIntrinsicOp::create(
               e.b, e.loc, tile,
               e.b.getStringAttr("llvm.x86." + name + ".internal"), operands)
        .getResult(0);
  }
  Value load(Value rows, Value pointer, Value stride) {
    return call("tileloadd64", {rows, line, pointer, stride});
  }

  void body(ValueRange arguments) {
    a = arguments[0], aStride = arguments[1];
    Value b = arguments[2];
    out = arguments[3], outStride = e.mul(arguments[4], 4);
    Value panels = arguments[5];
    steps = arguments[6];
    full = half(16), line = half(64);
    Value last = e.add(arguments[7], -16 * (rowTiles - 1));
    height.assign(rowTiles, full);
    height.back() = arith::TruncIOp::create(e.b, e.loc, i16, last);
    // Code for no step at all would need more registers than there are.
    LLVM::AssumeOp::create(e.b, e.loc, e.less(e.i64(0), steps));
    e.loop(e.i64(0), panels, e.i64(1), [&](Value p) { panel(b, p); });
  }

  void panel(Value b, Value p) {
    Value b0 = e.at(b, e.mul(p, tiles.panelBytes), i8);
    Value c0 = e.at(out, e.mul(p, 32), f32);
    SmallVector<Value> sums, places;
    for (int64_t r = 0; r < rowTiles; ++r)
      for (int64_t c = 0; c < 2; ++c) {
        places.push_back(
            e.at(e.at(c0, e.mul(outStride, 16 * r), i8), 16 * c, f32));
        sums.push_back(tiles.load ? load(height[r], places.back(), outStride)
                                  : call("tilezero", {height[r], line}));
      }
    Value lineBytes = e.i64(128);
    sums = e.loop(
        e.i64(0), steps, e.i64(1), sums,
        [&](Value s, ValueRange carried) -> SmallVector<Value> {
          Value aStep = e.at(a, e.mul(s, tiles.aStep), i8);
          Value bStep = e.at(b0, e.mul(s, 2048), i8);
          for (int64_t byte = 0; fetch && byte < 2048; byte += 64)
            e.prefetch(e.at(bStep, 2048 + byte, i8),
                       /*write=*/false, /*locality=*/2);
          SmallVector<Value> aTiles, next(carried);
          for (int64_t r = 0; r < rowTiles; ++r) {
            Value row = !r            ? aStep
                        : tiles.aTile ? e.at(aStep, tiles.aTile * r, i8)
                                      : e.at(aStep, e.mul(aStride, 16 * r), i8);
            aTiles.push_back(load(height[r], row, aStride));
          }
          for (int64_t c = 0; c < 2; ++c) {
            Value place = e.at(bStep, 64 * c, i8);
            // B's tiles pass by, A's stay in the first-level cache.
            Value bTile = call("tileloaddt164", {full, line, place, lineBytes});
            for (int64_t r = 0; r < rowTiles; ++r) {
              Value &sum = next[r * 2 + c];
              sum = call("tdpbf16ps",
                         {height[r], line, line, sum, aTiles[r], bTile});
            }
          }
          return next;
        });
    for (int64_t r = 0, i = 0; r < rowTiles; ++r)
      for (int64_t c = 0; c < 2; ++c, ++i)
        LLVM::CallIntrinsicOp::create(
            e.b, e.loc, e.b.getStringAttr("llvm.x86.tilestored64.internal"),
            ValueRange{height[r], line, places[i], outStride, sums[i]});
  }
};

} // namespace

void AmxTiles::make(Kernel &k) {
  Type pointer = k.args.getType(), i64 = k.builder.getI64Type();
  for (bool fetch : {false, true})
    for (int64_t rowTiles : {1, 2})
      if (mayFetch || !fetch)
        functions[fetch][rowTiles - 1] = k.outline(
            name + Twine(fetch ? "_fetch" : "") + Twine(rowTiles),
            {pointer, i64, pointer, pointer, i64, i64, i64, i64},
            [&](ValueRange arguments) {
              TileEmitter{k, *this, rowTiles, fetch}.body(arguments);
            },
            // A copy for few panels, all unrolled, would need more tile
            // registers than there are, and they cannot be spilt.
            /*opaque=*/true);
}

void AmxTiles::call(Kernel &k, Value a, Value aStride, Value b, Value out,
                    Value outStride, Value panels, Value steps, Value rows,
                    Value fetch) const {
  Emit &e = k.e;
  auto either = [&](bool fetches) {
    auto with = [&](int64_t rowTiles) {
      return [&, rowTiles] {
        func::CallOp::create(
            e.b, e.loc, functions[fetches][rowTiles - 1],
            ValueRange{a, aStride, b, out, outStride, panels, steps, rows});
      };
    };
    e.when(e.less(rows, e.i64(17)), with(1));
    e.when(e.less(e.i64(16), rows), with(2));
  };
  if (!mayFetch)
    return either(false);
  e.when(fetch, [&] { either(true); });
  e.when(e.equal(fetch, e.splatInt(fetch.getType(), 0)),
         [&] { either(false); });
}
