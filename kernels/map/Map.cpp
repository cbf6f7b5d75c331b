//===- Map.cpp - kern.map -------------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The naive and the vector lowering differ in the number of lanes only: every
// element is computed by the same operations, so their bits are equal.
//===----------------------------------------------------------------------===//

#include "kernels/common/Kernel.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;
using kern::AccessAttr;
using kern::AccessKind;

bool r1c::kernels::isFlat(kern::MapOp op) {
  if (op.getColumns() < 0)
    return true;
  auto plain = [](Attribute a) {
    AccessKind kind = cast<AccessAttr>(a).getKind();
    return kind == AccessKind::element || kind == AccessKind::one;
  };
  return llvm::all_of(op.getAccess(), plain) &&
         llvm::all_of(op.getResultAccess(), plain) &&
         op.getBody().front().getOps<kern::IndexOp>().empty();
}

static LogicalResult buildMap(Kernel &k, int64_t lanes) {
  Emit &e = k.e;
  auto op = cast<kern::MapOp>(k.op);
  Block &body = op.getBody().front();
  auto yield = cast<kern::YieldOp>(body.getTerminator());
  auto places = op.getPlaces();
  bool flat = isFlat(op);
  int64_t columns = flat ? -1 : op.getColumns();
  RegionEmitter region(e, body, lanes);
  Binding at(k, region, op.getInputs(), op.getIndices(), op.getAccess(), lanes,
             columns, flat);

  auto prepare = [&] {
    for (Value value : yield.getValues())
      region.prepare(value);
    if (!flat)
      for (unsigned i = 0; i < op.getNumResults(); ++i)
        at.resultRow(op.getResult(i),
                     cast<AccessAttr>(op.getResultAccess()[i]));
  };
  auto group = [&](Value column, Value mask) {
    region.startGroup();
    at.column = column;
    at.mask = mask;
    // All values before the first store: a result may lie where an input is.
    SmallVector<Value> values;
    for (Value value : yield.getValues())
      values.push_back(region.group(value));
    for (auto [value, place] : llvm::zip(values, places))
      at.store(value, op.getResult(place.first),
               cast<AccessAttr>(op.getResultAccess()[place.first]),
               place.second);
  };

  if (flat) {
    Value count = op.getColumns() < 0 ? k.size : e.mul(k.size, op.getColumns());
    auto [from, to] = k.share(count, 64);
    prepare();
    Value whole = e.sub(to, e.rem(e.sub(to, from), lanes));
    e.loop(from, whole, e.i64(lanes), [&](Value i) { group(i, {}); });
    if (lanes > 1)
      e.when(e.less(whole, to),
             [&] { group(whole, e.maskBelow(lanes, e.sub(to, whole))); });
    return success();
  }
  auto [from, to] = k.share(k.size);
  e.loop(from, to, e.i64(1), [&](Value row) {
    at.startRow(row);
    prepare();
    int64_t full = columns / lanes * lanes;
    if (full)
      e.loop(0, e.i64(full), lanes, [&](Value column) { group(column, {}); });
    if (full < columns)
      group(e.i64(full), e.mask(lanes, columns - full));
  });
  return success();
}

LogicalResult r1c::kernels::buildMapReference(Kernel &k) {
  return buildMap(k, 1);
}
LogicalResult r1c::kernels::buildMapCpu(Kernel &k) { return buildMap(k, 16); }
