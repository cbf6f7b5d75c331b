//===- Panels.cpp - rows of one head as operands of tiles -----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/attention/Attention.h"
#include "kernels/matmul/Matmul.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

Head::Head(Kernel &k, Type element, int64_t width)
    : e(k.e), element(element), width(width), parts((width + 15) / 16),
      padded((width + 31) / 32 * 32), f32(k.builder.getF32Type()) {}

Value Head::mask(int64_t part) {
  int64_t left = width - part * 16;
  return left < 16 ? e.mask(16, left) : Value();
}

SmallVector<Value> Head::load(Value pointer) {
  SmallVector<Value> v;
  for (int64_t i = 0; i < parts; ++i)
    v.push_back(
        e.widen(e.load(e.at(pointer, i * 16, element), element, 16, mask(i))));
  return v;
}

void Head::store(ArrayRef<Value> v, Value pointer) {
  for (int64_t i = 0; i < parts; ++i)
    e.store(e.narrow(v[i], element), e.at(pointer, i * 16, element), element,
            mask(i));
}

SmallVector<Value> Head::loadFloats(Value pointer) {
  SmallVector<Value> v;
  for (int64_t i = 0; i < parts; ++i)
    v.push_back(e.load(e.at(pointer, i * 16, f32), f32, 16));
  return v;
}

void Head::storeFloats(ArrayRef<Value> v, Value pointer) {
  for (int64_t i = 0; i < parts; ++i)
    e.store(v[i], e.at(pointer, i * 16, f32), f32);
}

void Head::storePanelRow(SmallVector<Value> v, int64_t depth, Value pointer) {
  if (v.size() % 2)
    v.push_back(e.splat(lanesOf(f32, 16), 0.0));
  for (auto [part, x] : llvm::enumerate(v))
    e.store(x, e.at(pointer, part / 2 * depth * 32 + part % 2 * 16, f32), f32);
}

SmallVector<Value> Head::addScaled(ArrayRef<Value> sum, Value scale,
                                   ArrayRef<Value> v) {
  Value s = e.broadcast(scale, 16);
  SmallVector<Value> result;
  for (auto [x, y] : llvm::zip(sum, v))
    result.push_back(e.fma(s, y, x));
  return result;
}

SmallVector<Value> Head::times(ArrayRef<Value> v, Value scale) {
  Value s = e.broadcast(scale, 16);
  SmallVector<Value> result;
  for (Value x : v)
    result.push_back(arith::MulFOp::create(e.b, e.loc, x, s));
  return result;
}

Value r1c::kernels::foldLanes(Emit &e, Value v,
                              function_ref<Value(Value, Value)> combine) {
  for (int64_t w = cast<VectorType>(v.getType()).getNumElements(); w > 1;
       w /= 2) {
    auto low = llvm::to_vector(llvm::seq<int64_t>(0, w / 2));
    auto high = llvm::to_vector(llvm::seq<int64_t>(w / 2, w));
    v = combine(e.shuffle(v, v, low), e.shuffle(v, v, high));
  }
  return e.extract(v, 0);
}

Value r1c::kernels::foldRows(Emit &e, SmallVector<Value> rows,
                             function_ref<Value(Value, Value)> combine) {
  // Rows i and i + half share a vector: runs of `lanes` lanes, each row's own
  // in turn.
  for (int64_t half = 8; half >= 1; half /= 2) {
    SmallVector<Value> next;
    for (int64_t i = 0; i < half; ++i) {
      // A vector has 16 / (2 half) rows, `2 half` lanes each.
      SmallVector<int64_t> low, high;
      for (int64_t from : {0, 16})
        for (int64_t run = 0; run < 16; run += 2 * half)
          for (int64_t l = 0; l < half; ++l) {
            low.push_back(from + run + l);
            high.push_back(from + run + half + l);
          }
      next.push_back(combine(e.shuffle(rows[i], rows[i + half], low),
                             e.shuffle(rows[i], rows[i + half], high)));
    }
    rows = next;
  }
  // Lane j holds the row whose bits are those of j turned around.
  SmallVector<int64_t> order(16);
  for (int64_t i = 0; i < 16; ++i) {
    int64_t j = 0;
    for (int64_t bit = 0; bit < 4; ++bit)
      j |= (i >> bit & 1) << (3 - bit);
    order[i] = j;
  }
  return e.shuffle(rows[0], rows[0], order);
}

//===----------------------------------------------------------------------===//
// Panels
//===----------------------------------------------------------------------===//

SmallVector<Value> r1c::kernels::transpose16(Emit &e, ArrayRef<Value> rows) {
  // First inside groups of four lanes, then the groups: each step is one
  // instruction of two operands.
  auto inGroups = [&](Value a, Value b, ArrayRef<int64_t> lanes) {
    SmallVector<int64_t> all;
    for (int64_t group = 0; group < 16; group += 4)
      for (int64_t l : lanes)
        all.push_back(group + (l < 4 ? l : l + 12));
    return e.shuffle(a, b, all);
  };
  auto groups = [&](Value a, Value b, int64_t first) {
    SmallVector<int64_t> all;
    for (int64_t group : {first, first + 2, first + 4, first + 6})
      for (int64_t l = 0; l < 4; ++l)
        all.push_back(group * 4 + l);
    return e.shuffle(a, b, all);
  };
  SmallVector<Value> columns(16);
  // quad[q][c]: columns c, c + 4, c + 8, c + 12 of rows 4q ... 4q + 3.
  Value quad[4][4];
  for (int64_t q = 0; q < 4; ++q) {
    Value low[2], high[2];
    for (int64_t i = 0; i < 2; ++i) {
      Value a = rows[4 * q + 2 * i], b = rows[4 * q + 2 * i + 1];
      low[i] = inGroups(a, b, {0, 4, 1, 5});
      high[i] = inGroups(a, b, {2, 6, 3, 7});
    }
    quad[q][0] = inGroups(low[0], low[1], {0, 1, 4, 5});
    quad[q][1] = inGroups(low[0], low[1], {2, 3, 6, 7});
    quad[q][2] = inGroups(high[0], high[1], {0, 1, 4, 5});
    quad[q][3] = inGroups(high[0], high[1], {2, 3, 6, 7});
  }
  for (int64_t c = 0; c < 4; ++c)
    for (int64_t odd = 0; odd < 2; ++odd) {
      Value x = groups(quad[0][c], quad[1][c], odd);
      Value y = groups(quad[2][c], quad[3][c], odd);
      columns[c + 4 * odd] = groups(x, y, 0);
      columns[c + 4 * odd + 8] = groups(x, y, 1);
    }
  return columns;
}

void r1c::kernels::packColumns(Head &head, function_ref<Value(Value)> row,
                               Value count, Value to) {
  Emit &e = head.e;
  Value last = e.add(count, -1);
  e.loop(0, count, 16, [&](Value first) {
    SmallVector<Value> rows;
    for (int64_t i = 0; i < 16; ++i)
      rows.push_back(row(e.min(e.add(first, i), last)));
    Value target = e.at(
        to, e.add(e.mul(e.div(first, 32), head.width * 32), e.rem(first, 32)),
        head.f32);
    auto block = [&](Value c, int64_t columns) {
      Value mask = columns < 16 ? e.mask(16, columns) : Value();
      SmallVector<Value> v;
      for (Value r : rows)
        v.push_back(
            e.widen(e.load(e.at(r, c, head.element), head.element, 16, mask)));
      v = transpose16(e, v);
      Value place = e.at(target, e.mul(c, 32), head.f32);
      for (int64_t i = 0; i < columns; ++i)
        e.store(v[i], e.at(place, i * 32, head.f32), head.f32);
    };
    int64_t whole = head.width / 16 * 16;
    e.loop(0, e.i64(whole), 16, [&](Value c) { block(c, 16); });
    if (whole < head.width)
      block(e.i64(whole), head.width - whole);
  });
}

void r1c::kernels::packRows(Head &head, function_ref<Value(Value)> row,
                            Value count, int64_t depth, Value to) {
  Emit &e = head.e;
  e.loop(0, count, 1, [&](Value i) {
    head.storePanelRow(head.load(row(i)), depth,
                       e.at(to, e.mul(i, 32), head.f32));
  });
}

//===----------------------------------------------------------------------===//
// Dot products
//===----------------------------------------------------------------------===//

Chains::Chains(Kernel &k, Head &head, Tiles &tiles, int64_t keys)
    : k(k), head(head), tiles(tiles), keys(keys),
      count((head.width + chainColumns - 1) / chainColumns),
      part(tileRows(k.features) * keys) {}

void Chains::call(Value rows, Value a, Value columns, Value out, Value rest,
                  Value panels) {
  Emit &e = k.e;
  for (int64_t i = 0; i < count; ++i) {
    int64_t first = i * chainColumns;
    tiles.call(k, rows,
               {e.at(a, first, head.f32), e.at(columns, first * 32, head.f32),
                i ? e.at(rest, (i - 1) * part, head.f32) : out, e.i64(keys),
                panels, e.i64(std::min(chainColumns, head.width - first))});
  }
}

Value Chains::load(Value out, Value rest) {
  Emit &e = k.e;
  Value sum = e.load(out, head.f32, 16);
  for (int64_t i = 1; i < count; ++i)
    sum = arith::AddFOp::create(
        e.b, e.loc, sum,
        e.load(e.at(rest, (i - 1) * part, head.f32), head.f32, 16));
  return sum;
}
