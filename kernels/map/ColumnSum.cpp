//===- ColumnSum.cpp - kern.column_sum ------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

/// Rows are dealt to this many accumulators: part of the op's meaning.
static constexpr int64_t accumulators = 8;

static LogicalResult buildColumnSum(Kernel &k, int64_t lanes) {
  Emit &e = k.e;
  auto op = cast<kern::ColumnSumOp>(k.op);
  Block &body = op.getBody().front();
  Value yielded = cast<kern::YieldOp>(body.getTerminator()).getValues()[0];
  int64_t columns = op.getColumns();
  Type element = kern::elementTypeOf(op.getResult());
  RegionEmitter region(e, body, lanes);
  Binding at(k, region, op.getInputs(), op.getIndices(), op.getAccess(), lanes,
             columns, false);
  auto plus = [&](Value a, Value b) -> Value {
    return arith::AddFOp::create(e.b, e.loc, a, b);
  };

  auto group = [&](Value column, Value mask) {
    auto value = [&](Value row) {
      at.startRow(row);
      region.startGroup();
      at.column = column;
      at.mask = mask;
      region.prepare(yielded);
      return region.group(yielded);
    };
    Value zero = e.splat(lanesOf(element, lanes), 0.0);
    SmallVector<Value> sums(accumulators, zero);
    Value whole = e.sub(k.size, e.rem(k.size, accumulators));
    sums = e.loop(e.i64(0), whole, e.i64(accumulators), sums,
                  [&](Value row, ValueRange carried) {
                    SmallVector<Value> next;
                    for (auto [i, sum] : llvm::enumerate(carried))
                      next.push_back(plus(sum, value(e.add(row, i))));
                    return next;
                  });
    for (int64_t i = 0; i + 1 < accumulators; ++i) {
      Value row = e.add(whole, i);
      Value sum = sums[i];
      sums[i] = e.choose(
          e.less(row, k.size), sum.getType(),
          [&] { return SmallVector<Value>{plus(sum, value(row))}; },
          [&] { return SmallVector<Value>{sum}; })[0];
    }
    for (int64_t half = accumulators / 2; half >= 1; half /= 2)
      for (int64_t i = 0; i < half; ++i)
        sums[i] = plus(sums[i], sums[i + half]);
    Value start = e.at(k.pointer(op.getResult()), column, element);
    Value total = sums[0];
    if (op.getInit())
      total = plus(e.load(start, element, lanes, mask), total);
    e.store(total, start, element, mask);
  };

  auto [from, to] = k.share(e.i64(columns), lanes);
  Value whole = e.sub(to, e.rem(e.sub(to, from), lanes));
  e.loop(from, whole, e.i64(lanes), [&](Value column) { group(column, {}); });
  if (columns % lanes)
    e.when(e.less(whole, to),
           [&] { group(whole, e.mask(lanes, columns % lanes)); });
  return success();
}

LogicalResult r1c::kernels::buildColumnSumReference(Kernel &k) {
  return buildColumnSum(k, 1);
}
LogicalResult r1c::kernels::buildColumnSumCpu(Kernel &k) {
  return buildColumnSum(k, 16);
}
