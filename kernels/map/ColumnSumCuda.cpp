//===- ColumnSumCuda.cpp - kern.column_sum on a GPU -----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The order of the additions is a chain of rows / 8 for each accumulator of a
// column: four cycles each, far less than memory takes. An item of work is one
// accumulator of 32 columns, 128 bytes of f32: every eighth row. All threads of
// a block load and compute its values and put them into shared memory, and a
// thread a column adds them up from there. Each thread loads a value's operands
// anew as soon as it has used them, so that as much as the registers hold is
// always on its way. Who is through with the last accumulator of a column adds
// up all of them.
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
/// Columns of an item.
static constexpr int64_t width = 32;

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
  void sumItem(Value item);
  void combine(Value tile);
  /// Of the accumulators of a tile of columns.
  Value partial(Value tile, Value accumulator, Value column);
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
  int64_t lanes;       ///< columns of a thread
  int64_t together;    ///< rows of a thread in a stage
  int64_t rowsApart;   ///< of a thread
  int64_t rowsOfStage; ///< of the block
  RegionEmitter region;
  Binding at;
  SmallVector<BlockArgument> byRow; ///< what is loaded for each row
  Value values;                     ///< of two stages, in shared memory
  Value partials, counters;         ///< in global memory
  Value through;                    ///< in shared memory
  Value accumulator, count;         ///< of the item: which one, and its rows
  Value threadRow, threadColumn;    ///< within a stage
};

} // namespace

static int64_t laneCount(int64_t columns) {
  return columns % 4 == 0 ? 4 : columns % 2 == 0 ? 2 : 1;
}

ColumnSumBuilder::ColumnSumBuilder(Kernel &k)
    : k(k), e(k.e), op(cast<kern::ColumnSumOp>(k.op)),
      body(op.getBody().front()),
      yielded(cast<kern::YieldOp>(body.getTerminator()).getValues()[0]),
      element(kern::elementTypeOf(op.getResult())), columns(op.getColumns()),
      lanes(laneCount(columns)), region(e, body, lanes),
      at(k, region, op.getInputs(), op.getIndices(), op.getAccess(), lanes,
         columns, false) {
  e.aligned = true;
  // Two blocks a multiprocessor, which leaves 64 registers.
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
  for (int64_t i = 0; i < together; ++i) {
    // Beyond the last row the last one is loaded, and not added.
    Value own = e.add(first, e.add(threadRow, i * rowsApart));
    rows.push_back(e.min(e.add(e.mul(own, accumulators), accumulator), last));
  }
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

/// This thread's column takes in the rows of a stage.
Value ColumnSumBuilder::sumStage(Value side, Value rows, Value sum) {
  auto load = [&](Value row) {
    return e.load(place(side, row, k.thread), element);
  };
  constexpr int64_t ahead = 16;
  Value whole = e.mul(e.div(rows, ahead), ahead);
  sum = e.loop(e.i64(0), whole, e.i64(ahead), sum,
               [&](Value row, ValueRange carried) {
                 SmallVector<Value> loaded;
                 for (int64_t i = 0; i < ahead; ++i)
                   loaded.push_back(load(e.add(row, i)));
                 Value sum = carried[0];
                 for (Value v : loaded)
                   sum = plus(sum, v);
                 return SmallVector<Value>{sum};
               })[0];
  return e.loop(whole, rows, e.i64(1), sum, [&](Value row, ValueRange carried) {
    return SmallVector<Value>{plus(carried[0], load(row))};
  })[0];
}

Value ColumnSumBuilder::partial(Value tile, Value accumulator, Value column) {
  Value line = e.add(e.mul(tile, accumulators), accumulator);
  return e.at(partials, e.add(e.mul(line, width), column), element);
}

void ColumnSumBuilder::sumItem(Value item) {
  Value tile = e.div(item, accumulators);
  accumulator = e.rem(item, accumulators);
  count =
      e.div(e.add(e.sub(k.size, accumulator), accumulators - 1), accumulators);
  Value firstColumn = e.mul(tile, width);
  // Threads beyond the last column compute those before it, unheard.
  at.column = e.min(e.add(firstColumn, threadColumn), e.i64(columns - lanes));
  Value isAdder = e.less(k.thread, e.i64(width));
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
      e.i64(0), count, e.i64(rowsOfStage), carried,
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
        Value here = e.min(e.sub(count, first), e.i64(rowsOfStage));
        // The others fill the other side meanwhile, and wait before they would
        // write over this one.
        next.push_back(e.sub(e.i64(sideElements), side));
        next.push_back(e.choose(
            isAdder, sum.getType(),
            [&] { return SmallVector<Value>{sumStage(side, here, sum)}; },
            [&] { return SmallVector<Value>{sum}; })[0]);
        return next;
      });
  Value sum = carried.back();
  e.when(isAdder,
         [&] { e.store(sum, partial(tile, accumulator, k.thread), element); });
  k.barrier();
  combine(tile);
  k.barrier();
}

/// By the block that finds all other accumulators of the tile there.
void ColumnSumBuilder::combine(Value tile) {
  Type i32 = e.b.getI32Type();
  Value counter = e.at(counters, tile, i32);
  e.when(e.equal(k.thread, e.i64(0)),
         [&] { e.store(k.countBlock(counter), through, i32); });
  k.barrier();
  Value isLast = e.equal(e.load(through, i32), e.i32(accumulators - 1));
  // For the next run of the kernel.
  e.when(arith::AndIOp::create(e.b, e.loc, isLast, e.equal(k.thread, e.i64(0))),
         [&] { e.store(e.i32(0), counter, i32); });
  Value column = e.add(e.mul(tile, width), k.thread);
  Value writes =
      arith::AndIOp::create(e.b, e.loc, e.less(k.thread, e.i64(width)),
                            e.less(column, e.i64(columns)));
  e.when(arith::AndIOp::create(e.b, e.loc, isLast, writes), [&] {
    SmallVector<Value> all;
    for (int64_t i = 0; i < accumulators; ++i)
      all.push_back(e.load(partial(tile, e.i64(i), k.thread), element));
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
  through = k.shared(4);
  int64_t tiles = llvm::divideCeil(columns, width);
  partials = k.globalMemory(tiles * accumulators * width * bytesOf(element));
  counters = k.globalMemory(tiles * 4);
  int64_t threadsOfRow = width / lanes;
  threadRow = e.div(k.thread, threadsOfRow);
  threadColumn = e.mul(e.rem(k.thread, threadsOfRow), lanes);
  e.loop(k.block, e.i64(tiles * accumulators), k.blocks,
         [&](Value item) { sumItem(item); });
}

LogicalResult r1c::kernels::buildColumnSumCuda(Kernel &k) {
  ColumnSumBuilder(k).build();
  return success();
}
