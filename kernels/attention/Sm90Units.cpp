//===- Sm90Units.cpp - tiles of rows of packed units ----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/attention/Sm90Units.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

UnitTiles::UnitTiles(AttentionWords &w, Value offsets, int64_t rowsATile,
                     Value table)
    : w(w), e(w.e), offsets(offsets), rowsATile(rowsATile), table(table) {
  units = w.toI32(w.k.size);
  groups = e.max(w.ceilDiv(units, 32 * pieces), w.c(1));
  Value ofPiece = w.mul(groups, 32);
  count = e.div(e.add(units, w.add(ofPiece, -1)), ofPiece);
}

UnitTiles::Unit UnitTiles::unit(Value u) {
  Unit unit;
  unit.first = w.number(offsets, e.min(u, units));
  unit.end = w.number(offsets, e.min(w.add(u, 1), units));
  unit.tiles = w.ceilDiv(e.sub(unit.end, unit.first), rowsATile);
  return unit;
}

void UnitTiles::build(Value thread, int64_t threads) {
  // A warp a piece, a lane a unit.
  Value lane = w.rem(thread, 32), warp = w.div(thread, 32);
  e.loop(warp, count, w.c(threads / 32), [&](Value piece) {
    Value sum =
        w.count(w.c(0), groups, w.c(0), [&](Value group, ValueRange sum) {
          Value from = w.mul(e.add(e.mul(piece, groups), group), 32);
          return SmallVector<Value>{
              e.add(sum[0], unit(e.add(from, lane)).tiles)};
        })[0];
    for (int64_t lanes = 16; lanes; lanes /= 2)
      sum = e.add(sum, w.exchange(sum, lanes));
    e.when(w.is(lane, 0), [&] { e.store(sum, entry(piece), w.i32); });
  });
  w.syncBlock();
  // Kept beside the counts rather than in registers.
  e.when(w.is(thread, 0), [&] {
    e.store(units, entry(w.c(pieces + 1)), w.i32);
    e.store(groups, entry(w.c(pieces + 2)), w.i32);
    e.store(count, entry(w.c(pieces + 3)), w.i32);
  });
  // The first warp makes sums of what lies before each piece, and behind the
  // last one.
  e.when(w.below(thread, 32), [&] {
    Value each = w.ceilDiv(count, 32);
    Value from = e.min(e.mul(thread, each), count);
    Value to = e.min(e.add(from, each), count);
    Value mine = w.count(from, to, w.c(0), [&](Value i, ValueRange sum) {
      return SmallVector<Value>{e.add(sum[0], load(i))};
    })[0];
    Value before = w.sumOfLower(mine, thread);
    e.when(w.is(thread, 31),
           [&] { e.store(before, entry(w.c(pieces)), w.i32); });
    before = e.sub(before, mine);
    w.count(from, to, before, [&](Value i, ValueRange sum) {
      Value next = e.add(sum[0], load(i));
      e.store(sum[0], entry(i), w.i32);
      return SmallVector<Value>{next};
    });
  });
  w.syncBlock();
}

Value UnitTiles::total() { return load(w.c(pieces)); }

UnitTiles::Tile UnitTiles::find(Value n, Value lane) {
  units = load(w.c(pieces + 1));
  groups = load(w.c(pieces + 2));
  count = load(w.c(pieces + 3));
  // The last piece with no more tiles before it than n: first among every 32nd,
  // then among the 32 from there on.
  auto last = [&](Value piece) {
    Value before = e.choose(
        e.less(piece, count), w.i32,
        [&]() -> SmallVector<Value> { return {load(piece)}; },
        [&]() -> SmallVector<Value> { return {w.c(0x7fffffff)}; })[0];
    return w.add(w.ones(w.ballot(e.less(before, w.add(n, 1)))), -1);
  };
  Value coarse = w.mul(last(w.mul(lane, 32)), 32);
  Value piece = e.add(coarse, last(e.add(coarse, lane)));
  Value rank = e.sub(n, load(piece)), zero = w.c(0);
  auto found = w.count(
      zero, groups, {rank, zero, zero, zero},
      [&](Value group, ValueRange carried) -> SmallVector<Value> {
        Value from = w.mul(e.add(e.mul(piece, groups), group), 32);
        Unit here = unit(e.add(from, lane));
        Value behind = w.sumOfLower(here.tiles, lane);
        Value rank = carried[0];
        Value hit =
            w.ballot(w.both(e.less(rank, behind), e.less(w.c(-1), rank)));
        // The first unit behind which more tiles lie than the rank.
        Value owner = e.min(w.lowest(hit), w.c(31));
        Value start = e.sub(rank, w.from(e.sub(behind, here.tiles), owner));
        Value none = w.is(hit, 0);
        return {e.select(none, e.sub(rank, w.from(behind, w.c(31))), w.c(-1)),
                e.select(none, carried[1], w.from(here.first, owner)),
                e.select(none, carried[2], w.from(here.end, owner)),
                e.select(none, carried[3], w.mul(start, rowsATile))};
      });
  return {found[1], found[2], found[3]};
}
