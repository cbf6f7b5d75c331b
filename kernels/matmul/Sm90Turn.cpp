//===- Sm90Turn.cpp - sums that are turned on Hopper ----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A column's partner is half a head further. A thread holds both where its
// warpgroup has whole heads; a narrower one takes as many columns of the first
// half of a head as of the second, which the copies bring from there.
//===----------------------------------------------------------------------===//

#include "kernels/common/Turn.h"
#include "kernels/matmul/Sm90.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

bool r1c::kernels::holdsPairs(int64_t columns, int64_t head) {
  return columns % 16 == 0 && (columns % head == 0 || head % columns == 0);
}

void Sm90Epilogue::storeTurned(Line &line, int64_t columns) {
  TurnEmitter turn(k, *op.getTurn(), 1);
  int64_t half = turn.turn.half, head = turn.turn.width();
  int64_t heads = std::max<int64_t>(1, columns / head);
  int64_t blocks = std::min(half, columns / 2) / 8; // of half a head
  Type f32 = e.b.getF32Type();

  // The warpgroup's first head, and its first column there.
  Value tile = e.sub(line.column, w.mul(line.quad, 2));
  Value firstHead = w.div(tile, head), inside = w.div(w.rem(tile, head), 2);
  Value own = e.add(inside, w.mul(line.quad, 2));
  Value column = e.add(w.mul(firstHead, head), own);
  line.column = column;
  line.jumpBlock = blocks;
  line.jump = heads == 1 ? half - 8 * blocks : 0;

  // Where column 0 of the product would be in each result's row.
  SmallVector<Value> starts;
  SmallVector<int64_t> ends; // heads
  for (auto [i, result] : llvm::enumerate(turn.turn.results)) {
    int64_t width = cast<RankedTensorType>(result.getType()).getDimSize(1);
    int64_t first = ends.empty() ? 0 : ends.back();
    Value at =
        e.add(e.mul(turn.targetRow(i, line.readRow), width), -first * head);
    starts.push_back(e.at(global(result), at, kern::elementTypeOf(result)));
    ends.push_back(first + width / head);
  }
  int64_t turned = turn.turn.heads;
  auto isTurned = [&](Value h) { return w.below(h, turned); };
  auto value = [&](int64_t block, int64_t element) -> Value {
    if (op.getBody().empty())
      return line.sum(block, element);
    line.block = block;
    line.element = element;
    line.region->startGroup();
    return e.widen(line.region->group(
        op.getBody().front().getTerminator()->getOperand(0)));
  };
  Type element = kern::elementTypeOf(turn.turn.results[0]);
  Value table = e.at(global(op.getAngles()), e.mul(line.readRow, head), f32);
  auto pairAt = [&](Value c) -> Pair { // two neighbours of the table
    Value both =
        LLVM::LoadOp::create(e.b, e.loc, VectorType::get(2, f32),
                             e.at(table, e.toI64(c), f32), 2 * bytesOf(f32));
    return {LLVM::ExtractElementOp::create(e.b, e.loc, both, w.c(0)),
            LLVM::ExtractElementOp::create(e.b, e.loc, both, w.c(1))};
  };
  auto anglesOf = [&](int64_t first) { // of four blocks, the same in all heads
    SmallVector<Angle> angles;
    for (int64_t i = first; i < std::min(first + 4, blocks); ++i) {
      Value c = w.add(own, 8 * i);
      Pair cos = pairAt(c), sin = pairAt(w.add(c, half));
      angles.append({{cos.low, sin.low}, {cos.high, sin.high}});
    }
    return angles;
  };
  SmallVector<Angle> next = anglesOf(0);
  for (int64_t first = 0; first < blocks; first += 4) {
    int64_t count = std::min<int64_t>(4, blocks - first);
    SmallVector<Angle> angles = std::move(next);
    next = anglesOf(first + 4); // no load passes a store
    for (int64_t h = 0; h < heads; ++h) {
      Value number = w.add(firstHead, h);
      SmallVector<Pair> low(count), high(count);
      for (int64_t i = 0; i < 2 * count; ++i) {
        int64_t block = 2 * h * blocks + first + i / 2;
        Value a = value(block, i % 2), b = value(block + blocks, i % 2);
        auto [c, d] = turn.turned(a, b, angles[i]);
        if (turned < ends.back()) {
          c = e.select(isTurned(number), c, a);
          d = e.select(isTurned(number), d, b);
        }
        (i % 2 ? low[i / 2].high : low[i / 2].low) = e.narrow(c, element);
        (i % 2 ? high[i / 2].high : high[i / 2].low) = e.narrow(d, element);
      }
      Value start = starts.back();
      for (int64_t r = starts.size() - 2; r >= 0; --r)
        start = e.select(w.below(number, ends[r]), starts[r], start);
      line.column = w.add(column, h * head);
      storePairs(start, element, line, first, low);
      line.column = w.add(column, h * head + half);
      storePairs(start, element, line, first, high);
      line.column = column;
    }
  }
}
