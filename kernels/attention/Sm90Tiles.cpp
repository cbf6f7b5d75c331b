//===- Sm90Tiles.cpp - which query rows go together -----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/attention/Sm90Tiles.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

AttentionTiles::AttentionTiles(AttentionWords &w, kern::AttentionOp op,
                               int64_t rowsATile, Value table)
    : w(w), e(w.e), op(op), rowsATile(rowsATile), table(table) {
  origins.push_back(op.getBases());
  if (op.getShared()) {
    origins.push_back(op.getShared());
    origins.push_back(op.getSharedBases());
  }
  rows = w.toI32(w.k.size);
  groups = e.max(w.ceilDiv(rows, 32 * pieces), w.c(1));
  Value ofPiece = w.mul(groups, 32);
  count = e.div(e.add(rows, w.add(ofPiece, -1)), ofPiece);
}

Value AttentionTiles::leads(Value row) {
  Value before = e.max(w.add(row, -1), w.c(0));
  Value result = w.is(w.rem(row, rowsATile), 0);
  for (Value tensor : origins)
    result = w.either(
        result, w.notEqual(w.number(tensor, row), w.number(tensor, before)));
  return result;
}

void AttentionTiles::build(Value thread, int64_t threads) {
  // A thread a piece: vectors of four rows, all loads before the first use.
  // Rows behind the last one, up to a multiple of four, may be read.
  Value lastVector = w.mul(w.div(w.add(rows, -1), 4), 4);
  Type i32 = w.i32;
  e.loop(thread, count, w.c(threads), [&](Value piece) {
    Value found =
        w.count(w.c(0), groups, w.c(0),
                [&](Value group, ValueRange carried) -> SmallVector<Value> {
                  Value first = w.mul(e.add(e.mul(piece, groups), group), 32);
                  SmallVector<SmallVector<Value>> loaded(origins.size());
                  SmallVector<Value> before;
                  for (auto [tensor, vectors] : llvm::zip(origins, loaded)) {
                    Value at = e.max(w.add(e.min(first, rows), -1), w.c(0));
                    before.push_back(w.number(tensor, at));
                    for (int64_t i = 0; i < 32; i += 4) {
                      Value from = e.min(w.add(first, i), lastVector);
                      Value address =
                          e.at(w.k.pointer(tensor), e.toI64(from), i32);
                      vectors.push_back(LLVM::LoadOp::create(
                          e.b, e.loc, VectorType::get(4, i32), address, 16));
                    }
                  }
                  Value sum = carried[0];
                  for (int64_t i = 0; i < 32; ++i) {
                    Value row = w.add(first, i);
                    Value leads = w.is(w.rem(row, rowsATile), 0);
                    for (size_t o = 0; o < origins.size(); ++o) {
                      Value here = e.extract(loaded[o][i / 4], i % 4);
                      leads = w.either(leads, w.notEqual(here, before[o]));
                      before[o] = here;
                    }
                    leads = w.both(leads, e.less(row, rows));
                    sum = e.select(leads, w.add(sum, 1), sum);
                  }
                  return {sum};
                })[0];
    e.store(found, entry(piece), i32);
  });
  w.syncBlock();
  // The first warp makes sums of what lies before each piece, and behind the
  // last one.
  e.when(w.below(thread, 32), [&] {
    Value each = w.ceilDiv(count, 32);
    Value from = e.min(e.mul(thread, each), count);
    Value to = e.min(e.add(from, each), count);
    Value mine = w.count(from, to, w.c(0), [&](Value i, ValueRange sum) {
      return SmallVector<Value>{e.add(sum[0], load(i))};
    })[0];
    Value before = mine;
    for (int64_t distance = 1; distance < 32; distance *= 2) {
      Value other = w.lower(before, distance);
      before =
          e.select(w.below(thread, distance), before, e.add(before, other));
    }
    // In the last lane: all of them.
    e.when(w.is(thread, 31), [&] { e.store(before, entry(w.c(pieces)), i32); });
    before = e.sub(before, mine);
    w.count(from, to, before, [&](Value i, ValueRange sum) {
      Value next = e.add(sum[0], load(i));
      e.store(sum[0], entry(i), i32);
      return SmallVector<Value>{next};
    });
  });
  w.syncBlock();
}

Value AttentionTiles::total() { return load(w.c(pieces)); }

AttentionTiles::Tile AttentionTiles::find(Value n, Value lane) {
  Value none = w.c(0x7fffffff);
  // The last piece with no more leaders before it than n: first among every
  // 32nd, then among the 32 from there on.
  auto last = [&](Value piece) {
    Value before = e.choose(
        e.less(piece, count), w.i32,
        [&]() -> SmallVector<Value> { return {load(piece)}; },
        [&]() -> SmallVector<Value> { return {none}; })[0];
    return w.add(w.ones(w.ballot(e.less(before, w.add(n, 1)))), -1);
  };
  Value coarse = w.mul(last(w.mul(lane, 32)), 32);
  Value piece = e.add(coarse, last(e.add(coarse, lane)));
  Value rank = e.sub(n, load(piece));
  Value first = w.count(
      w.c(0), groups, {rank, w.c(0)},
      [&](Value group, ValueRange carried) -> SmallVector<Value> {
        Value from = w.mul(e.add(e.mul(piece, groups), group), 32);
        Value row = e.add(from, lane);
        Value leader =
            w.both(leads(e.min(row, w.add(rows, -1))), e.less(row, rows));
        Value mask = w.ballot(leader);
        Value before = w.ones(w.both(mask, w.lanesBelow(lane)));
        Value hit = w.ballot(w.both(leader, e.equal(before, carried[0])));
        Value found = e.add(from, w.lowest(hit));
        return {e.sub(carried[0], w.ones(mask)),
                e.select(w.is(hit, 0), carried[1], found)};
      })[1];
  Tile tile;
  tile.first = first;
  // The next leader, or the end of the rows.
  tile.rows = w.c(rowsATile);
  Value greatest = w.c(-1), least = none;
  SmallVector<Value> stops;
  for (int64_t i = 0; i < rowsATile; i += 32) {
    Value row = e.add(first, w.add(lane, i + 1));
    Value stop = w.either(e.less(w.add(rows, -1), row),
                          leads(e.min(row, w.add(rows, -1))));
    stops.push_back(w.ballot(stop));
  }
  for (int64_t i = static_cast<int64_t>(stops.size()) - 1; i >= 0; --i)
    tile.rows =
        e.select(w.is(stops[i], 0), tile.rows,
                 e.min(w.c(rowsATile), w.add(w.lowest(stops[i]), 32 * i + 1)));
  for (int64_t i = 0; i < rowsATile; i += 32) {
    Value within = e.min(w.add(lane, i), w.add(tile.rows, -1));
    Value position = w.number(op.getPositions(), e.add(first, within));
    greatest = e.max(greatest, position);
    least = e.min(least, position);
  }
  tile.greatest = w.greatest(greatest);
  tile.least = w.least(least);
  tile.base = w.number(op.getBases(), first);
  if (op.getShared()) {
    tile.shared = w.number(op.getShared(), first);
    tile.sharedBase = w.number(op.getSharedBases(), first);
  }
  return tile;
}
