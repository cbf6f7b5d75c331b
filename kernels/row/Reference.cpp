//===- Reference.cpp - kern.row, naively ----------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Column by column with scalars: the meaning that every other builder must
// reproduce bit for bit.
//===----------------------------------------------------------------------===//

#include "kernels/common/Reductions.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

LogicalResult r1c::kernels::buildRowReference(Kernel &k) {
  Emit &e = k.e;
  auto op = cast<kern::RowOp>(k.op);
  Block &body = op.getBody().front();
  auto yield = cast<kern::YieldOp>(body.getTerminator());
  int64_t columns = op.getColumns();
  RegionEmitter region(e, body, 1);
  Binding at(k, region, op.getInputs(), op.getIndices(), op.getAccess(), 1,
             columns, false);
  ReferenceReductions reductions(e, region, body);

  // What happens to a row, or to a chunk of it: `index` is where its results
  // of one value go.
  auto run = [&](const ColumnRange &range, Value index) {
    auto enter = [&](Value column, Value mask) {
      at.column = range.first ? e.add(range.first, column) : column;
      at.mask = mask;
    };
    reductions.run(range, enter);
    for (auto [i, value] : llvm::enumerate(yield.getValues())) {
      kern::AccessKind kind =
          cast<kern::AccessAttr>(op.getResultAccess()[i]).getKind();
      if (kind == kern::AccessKind::element)
        continue;
      Type element = kern::elementTypeOf(op.getResult(i));
      e.store(region.uniform(value),
              e.at(k.pointer(op.getResult(i)), index, element), element);
    }
    for (Value value : yield.getValues())
      region.prepare(value);
    forGroups(e, range, 1, [&](Value column, Value mask) {
      region.startGroup();
      enter(column, mask);
      SmallVector<Value> values;
      for (Value value : yield.getValues())
        values.push_back(region.group(value));
      for (auto [i, value] : llvm::enumerate(values)) {
        auto access = cast<kern::AccessAttr>(op.getResultAccess()[i]);
        if (access.getKind() == kern::AccessKind::element)
          at.store(value, op.getResult(i), access);
      }
    });
  };

  auto [from, to] = k.share(k.size);
  e.loop(from, to, e.i64(1), [&](Value row) {
    if (op.isChunked()) {
      int64_t chunks = kern::chunksOf(columns);
      e.loop(0, e.i64(chunks), 1, [&](Value chunk) {
        // Anew: what is uniform in one chunk is not in the next.
        at.startRow(row);
        Value first = e.mul(chunk, kern::chunkColumns);
        Value length =
            e.min(e.i64(kern::chunkColumns), e.sub(e.i64(columns), first));
        run({-1, length, first}, e.add(e.mul(row, chunks), chunk));
      });
    } else if (op.getOffsets()) {
      Type i32 = e.b.getI32Type();
      Value offsets = k.pointer(op.getOffsets());
      Value first = e.toI64(e.load(e.at(offsets, row, i32), i32));
      Value last = e.toI64(e.load(e.at(offsets, e.add(row, 1), i32), i32));
      at.startRow(row, first);
      run({-1, e.sub(last, first), {}}, row);
    } else {
      at.startRow(row);
      run({columns, {}, {}}, row);
    }
  });
  return success();
}
