//===- Row.cpp - kern.row -------------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Values are computed anew in each stage of the reductions and for the stores:
// that is cheaper than storing them, and needs no memory that grows with N.
//===----------------------------------------------------------------------===//

#include "kernels/common/Reductions.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

class RowBuilder {
public:
  RowBuilder(Kernel &k, int64_t lanes)
      : k(k), e(k.e), op(cast<kern::RowOp>(k.op)), lanes(lanes),
        columns(op.getColumns()), region(e, op.getBody().front(), lanes),
        at(k, region, op.getInputs(), op.getIndices(), op.getAccess(), lanes,
           columns, /*flat=*/false) {}

  void build();

private:
  void buildChunks();
  void buildRow(Value row);
  void run(const ColumnRange &range);
  /// Results of one value a row or chunk, at `index` of the result.
  void storeUniform(kern::AccessKind kind, Value index);
  void storeElements(const ColumnRange &range);
  /// Puts the region at a group of columns of the range.
  void enter(const ColumnRange &range, Value column, Value mask) {
    at.column = range.first ? e.add(range.first, column) : column;
    at.mask = mask;
  }

  Kernel &k;
  Emit &e;
  kern::RowOp op;
  int64_t lanes, columns;
  RegionEmitter region;
  Binding at;
};

} // namespace

void RowBuilder::build() {
  if (op.isChunked())
    return buildChunks();
  auto [from, to] = k.share(k.size);
  e.loop(from, to, e.i64(1), [&](Value row) { buildRow(row); });
}

void RowBuilder::buildChunks() {
  int64_t chunks = kern::chunksOf(columns);
  auto [from, to] = k.share(e.mul(k.size, chunks));
  e.loop(from, to, e.i64(1), [&](Value i) {
    at.startRow(e.div(i, chunks));
    Value first = e.mul(e.rem(i, chunks), kern::chunkColumns);
    Value length =
        e.min(e.i64(kern::chunkColumns), e.sub(e.i64(columns), first));
    ColumnRange range{-1, length, first};
    run(range);
    storeUniform(kern::AccessKind::chunk, i);
    storeElements(range);
  });
}

void RowBuilder::buildRow(Value row) {
  ColumnRange range{columns, {}, {}};
  if (op.getOffsets()) {
    Type i32 = e.b.getI32Type();
    Value offsets = k.pointer(op.getOffsets());
    Value first = e.toI64(e.load(e.at(offsets, row, i32), i32));
    Value last = e.toI64(e.load(e.at(offsets, e.add(row, 1), i32), i32));
    range.length = e.sub(last, first);
    at.startRow(row, first);
  } else {
    at.startRow(row);
  }
  run(range);
  storeUniform(kern::AccessKind::row, row);
  storeElements(range);
}

void RowBuilder::run(const ColumnRange &range) {
  Reductions(e, region, op.getBody().front(), lanes)
      .run(range,
           [&](Value column, Value mask) { enter(range, column, mask); });
}

void RowBuilder::storeUniform(kern::AccessKind kind, Value index) {
  auto yield = cast<kern::YieldOp>(op.getBody().front().getTerminator());
  for (auto [i, value] : llvm::enumerate(yield.getValues())) {
    auto access = cast<kern::AccessAttr>(op.getResultAccess()[i]);
    if (access.getKind() != kind)
      continue;
    Type element = kern::elementTypeOf(op.getResult(i));
    e.store(region.uniform(value),
            e.at(k.pointer(op.getResult(i)), index, element), element);
  }
}

void RowBuilder::storeElements(const ColumnRange &range) {
  auto yield = cast<kern::YieldOp>(op.getBody().front().getTerminator());
  SmallVector<unsigned> results;
  for (unsigned i = 0; i < yield.getValues().size(); ++i)
    if (cast<kern::AccessAttr>(op.getResultAccess()[i]).getKind() ==
        kern::AccessKind::element)
      results.push_back(i);
  if (results.empty())
    return;
  for (unsigned i : results) {
    region.prepare(yield.getValues()[i]);
    at.resultRow(op.getResult(i),
                 cast<kern::AccessAttr>(op.getResultAccess()[i]));
  }
  forGroups(e, range, lanes, [&](Value column, Value mask) {
    region.startGroup();
    enter(range, column, mask);
    // All values before the first store: a result may lie where an input is.
    SmallVector<Value> values;
    for (unsigned i : results)
      values.push_back(region.group(yield.getValues()[i]));
    for (auto [value, i] : llvm::zip(values, results))
      at.store(value, op.getResult(i),
               cast<kern::AccessAttr>(op.getResultAccess()[i]));
  });
}

LogicalResult r1c::kernels::buildRowCpu(Kernel &k) {
  RowBuilder(k, 16).build();
  return success();
}
