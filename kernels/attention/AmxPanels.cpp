//===- AmxPanels.cpp - rows of one head as operands of tiles --------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/attention/Amx.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

bool r1c::kernels::choosesAttentionAmx(Kernel &k, RankedTensorType queries,
                                       int64_t heads) {
  Type element = queries.getElementType();
  int64_t width = queries.getDimSize(1) / heads;
  if (isAttentionAmx(element, width, k.features)) {
    k.explain("matrix tiles, heads of " + Twine(width));
    return true;
  }
  k.explain("vectors, without matrix tiles",
            element.isF32() ? Twine("float32 has no matrix tiles")
            : !k.features.amxBf16
                ? Twine("the CPU has no matrix tiles")
                : "heads of " + Twine(width) + ", no multiple of 32");
  return false;
}

Value r1c::kernels::roundForTile(Kernel &k, Value v) {
  Emit &e = k.e;
  if (!k.features.avx512Bf16)
    return e.narrow(v, e.b.getBF16Type());
  return LLVM::CallIntrinsicOp::create(
             e.b, e.loc, lanesOf(e.b.getBF16Type(), 16),
             e.b.getStringAttr("llvm.x86.avx512bf16.cvtneps2bf16.512"),
             ValueRange{v})
      .getResult(0);
}

void AmxPanels::columns(function_ref<Value(Value)> row, Value count, Value to) {
  Value last = e.add(count, -1);
  e.loop(0, count, 16, [&](Value first) {
    SmallVector<Value> rows;
    for (int64_t i = 0; i < 16; ++i)
      rows.push_back(row(e.min(e.add(first, i), last)));
    Value target = e.at(
        to, e.add(e.mul(e.div(first, 32), width / 2 * 32), e.rem(first, 32)),
        i32);
    e.loop(0, e.i64(width / 2), 16, [&](Value pair) {
      SmallVector<Value> v;
      for (Value r : rows)
        v.push_back(e.load(e.at(r, pair, i32), i32, 16));
      v = transpose16(e, v);
      Value place = e.at(target, e.mul(pair, 32), i32);
      for (int64_t i = 0; i < 16; ++i)
        e.store(v[i], e.at(place, i * 32, i32), i32);
    });
  });
}

void AmxPanels::depth(function_ref<Value(Value)> row, Value count,
                      int64_t depth, Value to) {
  Type i16 = e.b.getI16Type();
  Value zero = e.splatInt(lanesOf(i16, 32), 0);
  // Rows 2 pair and 2 pair + 1, of which `given` are there.
  auto line = [&](Value pair, int64_t given) {
    Value rows[2] = {};
    for (int64_t i = 0; i < given; ++i)
      rows[i] = row(e.add(e.mul(pair, 2), i));
    for (int64_t c = 0; c < width; c += 32) {
      auto load = [&](Value row) {
        return row ? e.load(e.at(row, c, bf16), i16, 32) : zero;
      };
      Value a = load(rows[0]), b = load(rows[1]);
      Value place =
          e.at(e.at(to, e.mul(pair, 32), i32), c / 32 * (depth / 2 * 32), i32);
      for (int64_t half : {0, 16}) {
        SmallVector<int64_t> lanes;
        for (int64_t l = half; l < half + 16; ++l)
          lanes.append({l, 32 + l});
        e.store(e.shuffle(a, b, lanes), e.at(place, half, i32), i16);
      }
    }
  };
  Value pairs = e.div(count, 2), lines = e.div(e.add(count, 1), 2);
  e.loop(0, pairs, 1, [&](Value pair) { line(pair, 2); });
  e.loop(pairs, lines, e.i64(1), [&](Value pair) { line(pair, 1); });
  e.loop(lines, e.mul(e.div(e.add(lines, 15), 16), 16), e.i64(1),
         [&](Value pair) { line(pair, 0); });
}
