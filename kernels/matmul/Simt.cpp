//===- Simt.cpp - kern.matmul by threads, without tensor cores ------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// f32 has no tensor-core path that keeps its bits: each sum is one chain of
// fused multiply-adds over k in order, as on the CPU and with its bits. A block
// holds a tile of sums in registers and passes slices of A and B through shared
// memory. bf16 comes here where the tensor copy engine cannot read its rows.
//===----------------------------------------------------------------------===//

#include "kernels/common/Warp.h"
#include "kernels/matmul/Matmul.h"
#include "kernels/matmul/Sm90.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

/// Sums of a block, and how its 256 threads share them: thread (y, x) holds
/// rows y * rowsEach ... and columns x, x + width, ...
struct Shape {
  int64_t rows, columns, rowsEach, columnsEach, slice;
  int64_t width() const { return columns / columnsEach; }
};

class SimtBuilder {
public:
  explicit SimtBuilder(Kernel &k)
      : k(k), chunked(op.isChunked()),
        shape(chunked ? Shape{32, kern::chunkColumns, 4, 8, 8}
                      : Shape{64, 64, 4, 4, 16}) {}
  void build();

private:
  void tile(Value row0, Value column0);
  SmallVector<Value> start(Value row0, Value column0);
  /// Brings the slice of A and B that begins at step `s` to shared memory.
  void fetch(Value row0, Value column0, Value s, Value steps);
  SmallVector<Value> accumulate(ValueRange sums, int64_t steps);
  SmallVector<Value> accumulate(ValueRange sums, Value steps);
  SmallVector<Value> step(ValueRange sums, Value s);
  void storePlain(Value row0, Value column0, ValueRange sums);
  void applyRegion(Value row0, Value column0, ValueRange sums);
  void regionRow(Value row, Value line, Value column0);

  Value both(Value a, Value b) {
    return arith::AndIOp::create(e.b, e.loc, a, b);
  }
  Value myRow(int64_t i) { return e.add(e.mul(y, shape.rowsEach), i); }
  Value myColumn(int64_t j) { return e.add(x, j * shape.width()); }

  Kernel &k;
  Emit &e = k.e;
  kern::MatmulOp op = cast<kern::MatmulOp>(k.op);
  bool chunked, transposed = op.getTransposeA();
  Shape shape;
  Type f32 = e.b.getF32Type();
  Type element = kern::elementTypeOf(op.getA());
  kern::PackedType packed = dyn_cast<kern::PackedType>(op.getB().getType());
  /// Columns of the product: those of B.
  int64_t width = op.getColumns() * (op.getPaired() ? 2 : 1);
  Value sliceA, sliceB, block, x, y, rows, depth;
};

} // namespace

void SimtBuilder::build() {
  // Two slices of k and less are no loop that is left: all loads may come
  // first.
  bool unrolled = !transposed && op.getDepth() < 2 * shape.slice;
  k.launch->blocksPerSm = unrolled ? 1 : 2;
  sliceA = k.shared(shape.slice * shape.rows * 4);
  sliceB = k.shared(shape.slice * shape.columns * 4);
  if (!op.getBody().empty())
    block = k.shared(shape.rows * shape.columns * 4);
  x = e.rem(k.thread, shape.width());
  y = e.div(k.thread, shape.width());
  rows = transposed ? e.i64(op.getRows()) : k.size;
  depth = transposed ? k.size : e.i64(op.getDepth());
  int64_t across = llvm::divideCeil(width, shape.columns);
  Value tiles = e.mul(e.div(e.add(rows, shape.rows - 1), shape.rows), across);
  e.loop(k.block, tiles, k.blocks, [&](Value i) {
    tile(e.mul(e.div(i, across), shape.rows),
         e.mul(e.rem(i, across), shape.columns));
  });
}

void SimtBuilder::tile(Value row0, Value column0) {
  SmallVector<Value> sums = start(row0, column0);
  int64_t known = transposed ? 0 : op.getDepth();
  Value whole = transposed ? e.mul(e.div(depth, shape.slice), shape.slice)
                           : e.i64(known / shape.slice * shape.slice);
  sums = e.loop(e.i64(0), whole, e.i64(shape.slice), sums,
                [&](Value s, ValueRange c) {
                  fetch(row0, column0, s, e.i64(shape.slice));
                  SmallVector<Value> next = accumulate(c, shape.slice);
                  k.barrier();
                  return next;
                });
  if (transposed || known % shape.slice) {
    Value left = e.sub(depth, whole);
    fetch(row0, column0, whole, left);
    // The pair of a last row alone is zero.
    if (element.isBF16())
      left = e.mul(e.div(e.add(left, 1), 2), 2);
    sums = accumulate(sums, left);
    k.barrier();
  }
  if (op.getBody().empty())
    storePlain(row0, column0, sums);
  else
    applyRegion(row0, column0, sums);
}

SmallVector<Value> SimtBuilder::start(Value row0, Value column0) {
  SmallVector<Value> sums;
  Value zero = e.splat(f32, 0.0);
  for (int64_t i = 0; i < shape.rowsEach; ++i)
    for (int64_t j = 0; j < shape.columnsEach; ++j) {
      if (!op.getInit()) {
        sums.push_back(zero);
        continue;
      }
      Value row = e.add(row0, myRow(i)), column = e.add(column0, myColumn(j));
      Value inside = both(e.less(row, rows), e.less(column, e.i64(width)));
      sums.push_back(e.choose(
          inside, f32,
          [&]() -> SmallVector<Value> {
            return {e.load(e.at(k.pointer(op.getResult(0)),
                                e.add(e.mul(row, width), column), f32),
                           f32)};
          },
          [&]() -> SmallVector<Value> { return {zero}; })[0]);
    }
  return sums;
}

void SimtBuilder::fetch(Value row0, Value column0, Value s, Value steps) {
  Value zero = e.splat(f32, 0.0);
  // `fast`: the dimension along which neighbours lie in memory.
  auto bring = [&](Value slice, int64_t lines, bool stepsFast,
                   function_ref<Value(Value line)> inside,
                   function_ref<Value(Value line, Value step)> address) {
    for (int64_t i = 0; i < shape.slice * lines; i += k.launch->threads) {
      Value n = e.add(k.thread, i);
      Value line = stepsFast ? e.div(n, shape.slice) : e.rem(n, lines);
      Value step = stepsFast ? e.rem(n, shape.slice) : e.div(n, lines);
      auto move = [&] {
        Value v = e.choose(
            both(inside(line), e.less(step, steps)), f32,
            [&]() -> SmallVector<Value> {
              return {e.widen(e.load(address(line, e.add(s, step)), element))};
            },
            [&]() -> SmallVector<Value> { return {zero}; })[0];
        e.store(v, e.at(slice, e.add(e.mul(step, lines), line), f32), f32);
      };
      if (i + k.launch->threads <= shape.slice * lines)
        move();
      else
        e.when(e.less(n, e.i64(shape.slice * lines)), move);
    }
  };
  Value a = k.pointer(op.getA()), b = k.pointer(op.getB());
  int64_t aColumns = cast<RankedTensorType>(op.getA().getType()).getDimSize(1);
  bring(
      sliceA, shape.rows, !transposed,
      [&](Value line) { return e.less(e.add(row0, line), rows); },
      [&](Value line, Value step) {
        Value row = e.add(row0, line);
        return transposed ? e.at(a, e.add(e.mul(step, aColumns), row), element)
                          : e.at(a, e.add(e.mul(row, aColumns), step), element);
      });
  bring(
      sliceB, shape.columns, packed && element.isBF16(),
      [&](Value line) { return e.less(e.add(column0, line), e.i64(width)); },
      [&](Value line, Value step) {
        Value column = e.add(column0, line);
        if (!packed)
          return e.at(b, e.add(e.mul(step, width), column), element);
        if (element.isBF16()) {
          Value place = column; // of its line
          if (op.getPaired())
            place =
                e.add(e.add(e.mul(e.div(column, 32), 16), e.rem(column, 16)),
                      e.mul(e.rem(e.div(column, 16), 2), packed.getN() / 2));
          return e.at(b, e.add(e.mul(place, packed.getK()), step), element);
        }
        Value panel = e.mul(e.div(column, 32), packed.getPanelElements());
        return e.at(b, e.add(panel, e.add(e.mul(step, 32), e.rem(column, 32))),
                    f32);
      });
  k.barrier();
}

SmallVector<Value> SimtBuilder::step(ValueRange sums, Value s) {
  SmallVector<Value> a, b, next;
  for (int64_t i = 0; i < shape.rowsEach; ++i)
    a.push_back(
        e.load(e.at(sliceA, e.add(e.mul(s, shape.rows), myRow(i)), f32), f32));
  for (int64_t j = 0; j < shape.columnsEach; ++j)
    b.push_back(e.load(
        e.at(sliceB, e.add(e.mul(s, shape.columns), myColumn(j)), f32), f32));
  for (int64_t i = 0; i < shape.rowsEach; ++i)
    for (int64_t j = 0; j < shape.columnsEach; ++j)
      next.push_back(e.fma(a[i], b[j], sums[i * shape.columnsEach + j]));
  return next;
}

SmallVector<Value> SimtBuilder::accumulate(ValueRange sums, int64_t steps) {
  SmallVector<Value> next(sums);
  // bf16: of a pair the second first (README.md).
  for (int64_t s = 0; s < steps; ++s)
    next = step(next, e.i64(element.isBF16() ? s ^ 1 : s));
  return next;
}

SmallVector<Value> SimtBuilder::accumulate(ValueRange sums, Value steps) {
  return e.loop(e.i64(0), steps, e.i64(1), sums, [&](Value s, ValueRange c) {
    if (element.isBF16())
      s = arith::XOrIOp::create(e.b, e.loc, s, e.i64(1));
    return step(c, s);
  });
}

void SimtBuilder::storePlain(Value row0, Value column0, ValueRange sums) {
  Value result = op.getResult(0);
  Type to = kern::elementTypeOf(result);
  for (int64_t i = 0; i < shape.rowsEach; ++i)
    for (int64_t j = 0; j < shape.columnsEach; ++j) {
      Value row = e.add(row0, myRow(i)), column = e.add(column0, myColumn(j));
      e.when(both(e.less(row, rows), e.less(column, e.i64(width))), [&] {
        e.store(e.narrow(sums[i * shape.columnsEach + j], to),
                e.at(k.pointer(result), e.add(e.mul(row, width), column), to),
                to);
      });
    }
}

void SimtBuilder::applyRegion(Value row0, Value column0, ValueRange sums) {
  for (int64_t i = 0; i < shape.rowsEach; ++i)
    for (int64_t j = 0; j < shape.columnsEach; ++j)
      e.store(
          sums[i * shape.columnsEach + j],
          e.at(block, e.add(e.mul(myRow(i), shape.columns), myColumn(j)), f32),
          f32);
  k.barrier();
  // A warp a row.
  Value warp = e.div(k.thread, warpLanes);
  e.loop(warp, e.i64(shape.rows), e.i64(k.launch->threads / warpLanes),
         [&](Value r) {
           Value row = e.add(row0, r);
           e.when(e.less(row, rows), [&] {
             regionRow(row, e.at(block, e.mul(r, shape.columns), f32), column0);
           });
         });
  k.barrier();
}

void SimtBuilder::regionRow(Value row, Value line, Value column0) {
  Block &body = op.getBody().front();
  auto yield = cast<kern::YieldOp>(body.getTerminator());
  RegionEmitter region(e, body, 1);
  Binding at(k, region, op.getInputs(), {}, op.getAccess(), 1, op.getColumns(),
             false);
  bool paired = op.getPaired();
  for (int64_t i = 0; i < (paired ? 2 : 1); ++i)
    region.arguments[i].varies = true;
  Value lane = e.rem(k.thread, warpLanes);
  // Columns of the results.
  Value first = paired ? e.div(column0, 2) : column0;
  Value count = e.min(e.i64(paired ? shape.columns / 2 : shape.columns),
                      e.sub(e.i64(op.getColumns()), first));
  at.startRow(row);
  auto enter = [&](Value c, Value) {
    at.column = e.add(first, c);
    Value place = paired ? e.add(e.mul(e.div(c, 16), 32), e.rem(c, 16)) : c;
    for (int64_t i = 0; i < (paired ? 2 : 1); ++i)
      region.arguments[i].load = [this, line, place, i] {
        return e.load(e.at(line, e.add(place, 16 * i), f32), f32);
      };
  };
  ColumnRange range{-1, count, first};
  WarpReductions(e, region, body, lane).run(range, enter);
  SmallVector<unsigned> elements;
  SmallVector<std::pair<unsigned, int64_t>> places = op.getPlaces();
  auto accessOf = [&](unsigned i) {
    return cast<kern::AccessAttr>(op.getResultAccess()[places[i].first]);
  };
  for (auto [i, value] : llvm::enumerate(yield.getValues())) {
    kern::AccessAttr access = accessOf(i);
    Value result = op.getResult(places[i].first);
    Type type = kern::elementTypeOf(result);
    region.prepare(value);
    if (access.getKind() != kern::AccessKind::chunk) {
      at.resultRow(result, access);
      elements.push_back(i);
      continue;
    }
    Value index = e.add(e.mul(row, kern::chunksOf(op.getColumns())),
                        e.div(first, kern::chunkColumns));
    Value v = region.uniform(value);
    e.when(e.equal(lane, e.i64(0)),
           [&] { e.store(v, e.at(k.pointer(result), index, type), type); });
  }
  if (elements.empty())
    return;
  forLanes(e, range, lane, [&](ValueRange columns) {
    for (Value c : columns) {
      region.startGroup();
      enter(c, {});
      SmallVector<Value> values;
      for (unsigned i : elements)
        values.push_back(region.group(yield.getValues()[i]));
      for (auto [value, i] : llvm::zip(values, elements))
        at.store(value, op.getResult(places[i].first), accessOf(i),
                 places[i].second);
    }
  });
}

LogicalResult r1c::kernels::buildMatmulSimt(Kernel &k) {
  k.explain("by threads, without tensor cores",
            kern::elementTypeOf(cast<kern::MatmulOp>(k.op).getA()).isF32()
                ? "they do not keep float32's digits"
                : "lines of A or B are no multiple of 16 bytes");
  SimtBuilder(k).build();
  return success();
}

LogicalResult r1c::kernels::buildMatmulCuda(Kernel &k) {
  auto op = cast<kern::MatmulOp>(k.op);
  if (failed(checkTurned(op, /*cuda=*/true)))
    return failure();
  return servesMatmulSm90(op) ? buildMatmulSm90(k) : buildMatmulSimt(k);
}
