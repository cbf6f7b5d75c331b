//===- ColumnSumCuda.cpp - kern.column_sum on a GPU -----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The order of the additions is a chain of rows / 8 for each accumulator of a
// column: four cycles each, far less than memory takes. So all threads of a
// block load and compute values of a few columns, put them into shared memory,
// and a thread a chain adds them up from there. Blocks have so few columns that
// there are as many as multiprocessors; of f32 a sector of memory (32 bytes) is
// then read whole. Each thread loads a value's operands anew as soon as it has
// used them, so that as much as the registers hold is always on its way.
//===----------------------------------------------------------------------===//

#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;
using kern::AccessAttr;
using kern::AccessKind;

/// Rows are dealt to this many accumulators: part of the op's meaning.
static constexpr int64_t accumulators = 8;

namespace {

class ColumnSumBuilder {
public:
  explicit ColumnSumBuilder(Kernel &k);
  void build();

private:
  /// What is added where the region is.
  Value fetchedValue(ValueRange fetched);
  /// Loads what the value of a row is computed from.
  SmallVector<Value> fetch(Value row);
  /// A thread's rows of the stage that begins at `first`.
  SmallVector<Value> rowsOf(Value first);
  Value sumStage(Value side, Value rows, Value sum);
  void sumColumns(Value tile);
  void combine(Value firstColumn);
  /// Of the block's values: those of a row stand together.
  Value place(Value side, Value row, Value column) {
    Value index = e.add(e.mul(row, width), column);
    return e.at(values, e.add(side, index), element);
  }
  Value plus(Value a, Value b) {
    return arith::AddFOp::create(e.b, e.loc, a, b);
  }

  Kernel &k;
  Emit &e;
  kern::ColumnSumOp op;
  Block &body;
  Value yielded;
  Type element;
  int64_t columns;
  int64_t width;       ///< columns of a block
  int64_t lanes;       ///< columns of a thread
  int64_t together;    ///< rows of a thread in a stage
  int64_t rowsApart;   ///< of a thread
  int64_t rowsOfStage; ///< of the block
  RegionEmitter region;
  Binding at;
  SmallVector<BlockArgument> byRow; ///< what is loaded for each row
  Value values;                     ///< of two stages, in shared memory
  Value sums;                       ///< of a tile
  Value threadRow, threadColumn;    ///< within a stage
};

} // namespace

/// Wide tensors have tiles enough with 128 bytes of a row each.
static int64_t tileWidth(int64_t columns) {
  constexpr int64_t multiprocessors = 132, narrow = 8, wide = 32;
  return columns > 2 * narrow * multiprocessors ? wide : narrow;
}

static int64_t laneCount(int64_t columns) {
  return columns % 4 == 0 ? 4 : columns % 2 == 0 ? 2 : 1;
}

ColumnSumBuilder::ColumnSumBuilder(Kernel &k)
    : k(k), e(k.e), op(cast<kern::ColumnSumOp>(k.op)),
      body(op.getBody().front()),
      yielded(cast<kern::YieldOp>(body.getTerminator()).getValues()[0]),
      element(kern::elementTypeOf(op.getResult())), columns(op.getColumns()),
      width(tileWidth(columns)), lanes(laneCount(columns)),
      region(e, body, lanes), at(k, region, op.getInputs(), op.getIndices(),
                                 op.getAccess(), lanes, columns, false) {
  e.aligned = true;
  // Two blocks a multiprocessor: where there are somewhat more tiles than
  // multiprocessors, none waits for another. That leaves 64 registers.
  k.launch->threads = 512;
  k.launch->blocksPerSm = 2;
  int64_t bytes = 0;
  for (auto [argument, input, access] :
       llvm::zip(body.getArguments(), op.getInputs(), op.getAccess())) {
    AccessKind kind = cast<AccessAttr>(access).getKind();
    if (argument.use_empty() || kind == AccessKind::one ||
        kind == AccessKind::column)
      continue;
    byRow.push_back(argument);
    bool isUniform = kind == AccessKind::row || kind == AccessKind::gather_row;
    int64_t size = bytesOf(kern::elementTypeOf(input));
    bytes += std::max<int64_t>(4, isUniform ? size : lanes * size);
  }
  constexpr int64_t registers = 36, address = 3, stageBytes = 32 << 10;
  rowsApart = k.launch->threads * lanes / width;
  together = std::min({int64_t(8), registers / (bytes / 4 + address),
                       stageBytes / (rowsApart * width * bytesOf(element))});
  together = std::max<int64_t>(1, together);
  rowsOfStage = together * rowsApart;
}

SmallVector<Value> ColumnSumBuilder::rowsOf(Value first) {
  SmallVector<Value> rows;
  Value last = e.add(k.size, -1);
  for (int64_t i = 0; i < together; ++i)
    // Beyond the last row the last one is loaded, and not added.
    rows.push_back(e.min(e.add(first, e.add(threadRow, i * rowsApart)), last));
  return rows;
}

SmallVector<Value> ColumnSumBuilder::fetch(Value row) {
  Value column = at.column;
  at.startRow(row);
  region.startGroup();
  at.column = column;
  SmallVector<Value> loaded;
  for (BlockArgument argument : byRow)
    loaded.push_back(region.varies(argument) ? region.group(argument)
                                             : region.uniform(argument));
  return loaded;
}

Value ColumnSumBuilder::fetchedValue(ValueRange fetched) {
  for (auto [argument, value] : llvm::zip(byRow, fetched))
    if (region.varies(argument))
      region.give(argument, value);
    else
      region.define(argument, value);
  return region.group(yielded);
}

/// This thread's accumulator takes in its rows of a stage.
Value ColumnSumBuilder::sumStage(Value side, Value rows, Value sum) {
  Value mine = e.div(k.thread, width), column = e.rem(k.thread, width);
  auto load = [&](Value row) {
    return e.load(place(side, row, column), element);
  };
  constexpr int64_t ahead = 16, stride = ahead * accumulators;
  Value last = e.max(e.add(rows, accumulators - stride), mine);
  sum = e.loop(mine, last, e.i64(stride), sum,
               [&](Value row, ValueRange carried) {
                 SmallVector<Value> loaded;
                 for (int64_t i = 0; i < ahead; ++i)
                   loaded.push_back(load(e.add(row, i * accumulators)));
                 Value sum = carried[0];
                 for (Value v : loaded)
                   sum = plus(sum, v);
                 return SmallVector<Value>{sum};
               })[0];
  Value steps = e.div(e.add(e.sub(last, mine), stride - 1), stride);
  return e.loop(e.add(mine, e.mul(steps, stride)), rows, e.i64(accumulators),
                sum, [&](Value row, ValueRange carried) {
                  return SmallVector<Value>{plus(carried[0], load(row))};
                })[0];
}

void ColumnSumBuilder::sumColumns(Value tile) {
  Value firstColumn = e.mul(tile, width);
  // Threads beyond the last column compute those before it, unheard.
  at.column = e.min(e.add(firstColumn, threadColumn), e.i64(columns - lanes));
  Value isAdder = e.less(k.thread, e.i64(accumulators * width));
  auto fetchStage = [&](Value first) {
    SmallVector<Value> loaded;
    for (Value row : rowsOf(first))
      llvm::append_range(loaded, fetch(row));
    return loaded;
  };
  SmallVector<Type> types;
  for (BlockArgument argument : byRow)
    types.push_back(
        lanesOf(argument.getType(), region.varies(argument) ? lanes : 1));
  SmallVector<Type> all;
  for (int64_t i = 0; i < together; ++i)
    llvm::append_range(all, types);
  SmallVector<Value> carried = e.choose(
      e.less(e.i64(0), k.size), all, [&] { return fetchStage(e.i64(0)); },
      [&] {
        SmallVector<Value> zeros;
        for (Type type : all)
          zeros.push_back(arith::ConstantOp::create(
              e.b, e.loc, cast<TypedAttr>(e.b.getZeroAttr(type))));
        return zeros;
      });
  int64_t sideElements = rowsOfStage * width;
  carried.push_back(e.i64(0)); // where the stage's values stand
  carried.push_back(e.splat(element, 0.0));
  carried = e.loop(
      e.i64(0), k.size, e.i64(rowsOfStage), carried,
      [&](Value first, ValueRange old) {
        Value side = old[old.size() - 2], sum = old.back();
        SmallVector<Value> next;
        SmallVector<Value> rows = rowsOf(first),
                           nextRows = rowsOf(e.add(first, rowsOfStage));
        for (int64_t i = 0; i < together; ++i) {
          Value column = at.column;
          at.startRow(rows[i]);
          region.startGroup();
          at.column = column;
          Value here = e.add(threadRow, i * rowsApart);
          e.store(fetchedValue(old.slice(i * byRow.size(), byRow.size())),
                  place(side, here, threadColumn), element);
          llvm::append_range(next, fetch(nextRows[i]));
        }
        k.barrier();
        Value count = e.min(e.sub(k.size, first), e.i64(rowsOfStage));
        // The others fill the other side meanwhile, and wait before they would
        // write over this one.
        next.push_back(e.sub(e.i64(sideElements), side));
        next.push_back(e.choose(
            isAdder, sum.getType(),
            [&] { return SmallVector<Value>{sumStage(side, count, sum)}; },
            [&] { return SmallVector<Value>{sum}; })[0]);
        return next;
      });
  Value sum = carried.back();
  e.when(isAdder,
         [&] { e.store(sum, e.at(sums, k.thread, element), element); });
  k.barrier();
  combine(firstColumn);
  k.barrier();
}

void ColumnSumBuilder::combine(Value firstColumn) {
  Value column = e.add(firstColumn, k.thread);
  Value writes =
      arith::AndIOp::create(e.b, e.loc, e.less(k.thread, e.i64(width)),
                            e.less(column, e.i64(columns)));
  e.when(writes, [&] {
    SmallVector<Value> all;
    for (int64_t i = 0; i < accumulators; ++i)
      all.push_back(
          e.load(e.at(sums, e.add(k.thread, i * width), element), element));
    for (int64_t half = accumulators / 2; half >= 1; half /= 2)
      for (int64_t i = 0; i < half; ++i)
        all[i] = plus(all[i], all[i + half]);
    Value target = e.at(k.pointer(op.getResult()), column, element);
    Value total = all[0];
    if (op.getInit())
      total = plus(e.load(target, element), total);
    e.store(total, target, element);
  });
}

void ColumnSumBuilder::build() {
  int64_t bytes = 2 * rowsOfStage * width * bytesOf(element);
  k.launch->shared = bytes;
  values = k.dynamicShared();
  sums = k.shared(accumulators * width * bytesOf(element));
  int64_t threadsOfRow = width / lanes;
  threadRow = e.div(k.thread, threadsOfRow);
  threadColumn = e.mul(e.rem(k.thread, threadsOfRow), lanes);
  e.loop(k.block, e.i64(llvm::divideCeil(columns, width)), k.blocks,
         [&](Value tile) { sumColumns(tile); });
}

LogicalResult r1c::kernels::buildColumnSumCuda(Kernel &k) {
  ColumnSumBuilder(k).build();
  return success();
}
