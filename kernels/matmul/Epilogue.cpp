//===- Epilogue.cpp - what is fused behind a matrix product ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The tiles leave their sums in a block that stays in the first-level cache;
// one function applies the region there. Applied inside the tiles, the region
// would stand in the code once a row count and push sums out of registers.
//===----------------------------------------------------------------------===//

#include "kernels/common/Reductions.h"
#include "kernels/common/Turn.h"
#include "kernels/matmul/Matmul.h"
#include "kernels/matmul/Sm90.h"

#include <numeric>

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

static constexpr int64_t lanes = 16;
/// The most panels that a block has: as many as fit, 14 rows of them, in the
/// first-level cache.
static constexpr int64_t mostPanels = 16;
/// Bytes that a row of a chunk fetches: about what memory brings meanwhile.
static constexpr int64_t aheadStep = 6144;

namespace {

struct EpilogueEmitter {
  Kernel &k;
  int64_t blockPanels;
  Emit &e = k.e;
  kern::MatmulOp op = cast<kern::MatmulOp>(k.op);
  bool paired = op.getPaired();
  int64_t columns = op.getColumns();
  int64_t perPanel = paired ? 16 : 32;
  Type f32 = e.b.getF32Type(), i8 = e.b.getI8Type();
  Value ahead = {}, step = {};
  Value angles = op.getAngles();

  void body(ValueRange arguments) {
    Value x = arguments[1], rows = arguments[2], firstRow = arguments[3],
          firstPanel = arguments[4], panels = arguments[5];
    ahead = arguments[6], step = arguments[7];
    Value column0 = e.mul(firstPanel, perPanel);
    if (op.isChunked()) {
      // A block is one chunk; the last one may be narrower.
      int64_t last = columns % kern::chunkColumns;
      Value whole = e.less(
          column0, e.i64(columns / kern::chunkColumns * kern::chunkColumns));
      if (columns >= kern::chunkColumns)
        e.when(whole,
               [&] { chunk(x, rows, firstRow, column0, kern::chunkColumns); });
      if (last)
        e.when(e.equal(column0, e.i64(columns - last)),
               [&] { chunk(x, rows, firstRow, column0, last); });
      return;
    }
    Value count =
        e.min(e.mul(panels, perPanel), e.sub(e.i64(columns), column0));
    Value full = e.sub(count, e.rem(count, lanes));
    if (op.getBody().empty() && angles)
      return e.loop(0, rows, 1, [&](Value r) {
        turn(r, e.at(x, e.mul(r, blockPanels * 32), f32), firstRow, column0,
             count);
      });
    if (op.getBody().empty())
      return identity(x, rows, firstRow, column0, count, full);

    Block &body = op.getBody().front();
    auto yield = cast<kern::YieldOp>(body.getTerminator());
    RegionEmitter region(e, body, lanes);
    Binding at(k, region, op.getInputs(), {}, op.getAccess(), lanes, columns,
               false);
    for (int64_t i = 0; i < (paired ? 2 : 1); ++i)
      region.arguments[i].varies = true;
    e.loop(0, rows, 1, [&](Value r) {
      at.startRow(e.add(firstRow, r));
      for (Value value : yield.getValues())
        region.prepare(value);
      if (!angles)
        for (auto [i, result] : llvm::enumerate(op.getResults()))
          at.resultRow(result, accessOf(i));
      Value line = e.at(x, e.mul(r, blockPanels * 32), f32);
      auto group = [&](Value c, Value mask) {
        region.startGroup();
        at.column = e.add(column0, c);
        at.mask = mask;
        Value start = e.at(line, paired ? e.mul(c, 2) : c, f32);
        for (int64_t i = 0; i < (paired ? 2 : 1); ++i)
          region.arguments[i].load = [&, start, i] {
            return e.load(e.at(start, 16 * i, f32), f32, lanes);
          };
        SmallVector<Value> values;
        for (Value value : yield.getValues())
          values.push_back(region.group(value));
        if (angles) // back to where the sum was
          return e.store(e.widen(values[0]), start, f32);
        for (auto [value, place] : llvm::zip(values, op.getPlaces()))
          at.store(value, op.getResult(place.first), accessOf(place.first),
                   place.second);
      };
      e.loop(0, full, lanes, [&](Value c) { group(c, {}); });
      if (columns % lanes)
        e.when(e.less(full, count),
               [&] { group(full, e.mask(lanes, columns % lanes)); });
      if (angles)
        turn(r, line, firstRow, column0, count);
    });
  }

  /// Turns row `r` of the block, which holds whole heads, and stores it.
  void turn(Value r, Value line, Value firstRow, Value column0, Value count) {
    TurnEmitter turn(k, *op.getTurn(), lanes);
    turn.types = {f32}; // rounded already
    int64_t width = turn.turn.width();
    // The row's first column lies before the block.
    Value source = e.at(line, e.sub(e.i64(0), column0), f32);
    turn.row(e.add(firstRow, r), source, angles, e.div(column0, width),
             e.div(e.add(column0, count), width));
  }

  /// Reduces `count` columns of each row of the block, then stores what is one
  /// value a chunk, then the columns.
  void chunk(Value x, Value rows, Value firstRow, Value column0,
             int64_t count) {
    Block &body = op.getBody().front();
    auto yield = cast<kern::YieldOp>(body.getTerminator());
    RegionEmitter region(e, body, lanes);
    Binding at(k, region, op.getInputs(), {}, op.getAccess(), lanes, columns,
               false);
    region.arguments[0].varies = true;
    Reductions reductions(e, region, body, lanes);
    ColumnRange range{count, {}, column0};
    Value number = e.div(column0, kern::chunkColumns);
    e.loop(0, rows, 1, [&](Value r) {
      Value row = e.add(firstRow, r);
      at.startRow(row);
      Value line = e.at(x, e.mul(r, blockPanels * 32), f32);
      // A sweep takes the chunk's columns 64 at a time, in four groups; the
      // first two sweeps share what the row fetches.
      constexpr int64_t sharing = 8, bytes = aheadStep / (16 * 2);
      Value fetched = e.at(ahead, e.mul(r, step), i8);
      int64_t group = 0;
      auto enter = [&](Value c, Value mask) {
        Value from = e.at(fetched, e.mul(e.div(c, 64), sharing * bytes), i8);
        for (int64_t i = 0; i < bytes && group < sharing; i += 64)
          e.prefetch(e.at(from, group * bytes + i, i8), /*write=*/false,
                     /*locality=*/2);
        ++group;
        at.column = e.add(column0, c);
        at.mask = mask;
        region.arguments[0].load = [this, line, c] {
          return e.load(e.at(line, c, f32), f32, lanes);
        };
      };
      reductions.run(range, enter);
      SmallVector<std::pair<Value, Value>> elements; // of the region, stored
      for (auto [i, value] : llvm::enumerate(yield.getValues())) {
        Value result = op.getResult(i);
        if (accessOf(i).getKind() == kern::AccessKind::element) {
          region.prepare(value);
          at.resultRow(result, accessOf(i));
          elements.push_back({value, result});
          continue;
        }
        Type element = kern::elementTypeOf(result);
        Value index = e.add(e.mul(row, kern::chunksOf(columns)), number);
        e.store(region.uniform(value), e.at(k.pointer(result), index, element),
                element);
      }
      if (elements.empty())
        return;
      auto access =
          kern::AccessAttr::get(e.b.getContext(), kern::AccessKind::element);
      forGroups(e, range, lanes, [&](Value c, Value mask) {
        region.startGroup();
        enter(c, mask);
        SmallVector<Value> values;
        for (auto &[value, result] : elements)
          values.push_back(region.group(value));
        for (auto [value, element] : llvm::zip(values, elements))
          at.store(value, element.second, access);
      });
    });
  }

  kern::AccessAttr accessOf(unsigned result) {
    return cast<kern::AccessAttr>(op.getResultAccess()[result]);
  }

  void identity(Value x, Value rows, Value firstRow, Value column0, Value count,
                Value full) {
    Value result = op.getResult(0);
    Type to = kern::elementTypeOf(result);
    e.loop(0, rows, 1, [&](Value r) {
      Value target =
          e.at(k.pointer(result),
               e.add(e.mul(e.add(firstRow, r), columns), column0), to);
      Value line = e.at(x, e.mul(r, blockPanels * 32), f32);
      auto group = [&](Value c, Value mask) {
        e.store(e.narrow(e.load(e.at(line, c, f32), f32, lanes), to),
                e.at(target, c, to), to, mask);
      };
      e.loop(0, full, lanes, [&](Value c) { group(c, {}); });
      if (columns % lanes)
        e.when(e.less(full, count),
               [&] { group(full, e.mask(lanes, columns % lanes)); });
    });
  }
};

} // namespace

int64_t r1c::kernels::panelUnit(kern::MatmulOp op) {
  if (op.isChunked())
    return kern::chunkColumns / 32;
  if (auto turn = op.getTurn())
    return std::lcm<int64_t>(turn->width(), 32) / 32;
  return 1;
}

int64_t r1c::kernels::panelsOfBlock(kern::MatmulOp op, int64_t wanted) {
  int64_t unit = panelUnit(op);
  if (op.isChunked())
    return unit;
  // Even, as tiles take two at once.
  wanted = std::clamp<int64_t>((wanted + 1) / 2 * 2, 4, mostPanels);
  return std::max<int64_t>(wanted / unit, 1) * unit;
}

func::FuncOp r1c::kernels::makeEpilogue(Kernel &k, int64_t blockPanels) {
  Type pointer = k.args.getType(), i64 = k.builder.getI64Type();
  return k.outline("epilogue",
                   {pointer, pointer, i64, i64, i64, i64, pointer, i64},
                   [&](ValueRange arguments) {
                     auto old = k.usePointers(arguments[0]);
                     EpilogueEmitter{k, blockPanels}.body(arguments);
                     k.putBack(std::move(old));
                   });
}

std::array<Value, 2> r1c::kernels::fetchAhead(Kernel &k, Value done,
                                              Value block, int64_t blockBytes) {
  Emit &e = k.e;
  Value few = e.less(done, e.i64(32));
  Value behind =
      e.at(block, e.add(e.mul(done, aheadStep), blockBytes), e.b.getI8Type());
  return {e.select(few, behind, block),
          e.select(few, e.i64(aheadStep), e.i64(0))};
}

StringRef r1c::kernels::whyNotTurned(bool cuda, kern::PackedType b,
                                     int64_t width) {
  if (!cuda)
    return std::lcm<int64_t>(width, 32) / 32 > mostPanels
               ? "whole heads are more columns than a block of sums has"
               : "";
  if (!servesMatmulSm90(b))
    return "a product without tensor cores has no turn behind it";
  if (!holdsPairs(16, width) || width > 256)
    return "heads are no multiple of 16 columns, or more than 256";
  return "";
}

LogicalResult r1c::kernels::checkTurned(kern::MatmulOp op, bool cuda) {
  auto turn = op.getTurn();
  if (!turn)
    return success();
  StringRef why = whyNotTurned(
      cuda, cast<kern::PackedType>(op.getB().getType()), turn->width());
  if (why.empty())
    return success();
  return op.emitOpError() << why;
}
