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
                               int64_t rowsATile, int64_t segmentKeys,
                               int64_t places, Value table)
    : w(w), e(w.e), op(op), rowsATile(rowsATile), segmentKeys(segmentKeys),
      places(places), table(table) {
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

Value AttentionTiles::differs(Value row) {
  Value before = e.max(w.add(row, -1), w.c(0));
  Value result;
  for (Value tensor : origins) {
    Value here = w.notEqual(w.number(tensor, row), w.number(tensor, before));
    result = result ? w.either(result, here) : here;
  }
  return result;
}

Value AttentionTiles::leads(Value row) {
  return w.either(w.is(w.rem(row, rowsATile), 0), differs(row));
}

Value AttentionTiles::itemsOf(Value position) {
  return e.min(w.add(w.div(position, segmentKeys), 1), most);
}

void AttentionTiles::build(Value thread, int64_t threads) {
  if (!places) {
    most = w.c(1);
    return countItems(thread, threads);
  }
  // Rows alone as their segments first; where there are no places for so many
  // items, there is enough to do without.
  most = w.repeat(
      w.c(0x7fffffff),
      [&](ValueRange carried) -> std::pair<Value, SmallVector<Value>> {
        most = carried[0];
        countItems(thread, threads);
        Value items = w.mul(total(), op.getKvHeads());
        Value tooMany =
            w.both(e.less(w.c(places), items), e.less(w.c(1), most));
        return {tooMany, {most}};
      },
      [&](ValueRange) -> SmallVector<Value> {
        w.syncBlock(); // all have read the total
        return {w.c(1)};
      })[0];
}

void AttentionTiles::countItems(Value thread, int64_t threads) {
  // For `find`: kept beside the counts rather than in registers.
  e.when(w.is(thread, 0), [&] {
    Value kept[] = {rows, groups, count, most};
    for (auto [i, v] : llvm::enumerate(kept))
      e.store(v, entry(w.c(pieces + 1 + i)), w.i32);
  });
  // A thread a piece: vectors of four rows, all loads before the first use.
  // Rows behind the last one, up to a multiple of four, may be read.
  Value lastVector = w.mul(w.div(w.add(rows, -1), 4), 4),
        lastRow = w.add(rows, -1);
  Type i32 = w.i32;
  auto vectorsOf = [&](Value tensor, Value first) {
    SmallVector<Value> vectors;
    for (int64_t i = 0; i < 32; i += 4) {
      Value from = e.min(w.add(first, i), lastVector);
      Value address = e.at(w.k.pointer(tensor), e.toI64(from), i32);
      vectors.push_back(LLVM::LoadOp::create(
          e.b, e.loc, VectorType::get(4, i32), address, 16));
    }
    return vectors;
  };
  e.loop(thread, count, w.c(threads), [&](Value piece) {
    Value found = w.count(
        w.c(0), groups, w.c(0),
        [&](Value group, ValueRange carried) -> SmallVector<Value> {
          Value first = w.mul(e.add(e.mul(piece, groups), group), 32);
          SmallVector<SmallVector<Value>> loaded;
          SmallVector<Value> before, behind;
          for (Value tensor : origins) {
            auto numberAt = [&](Value row) {
              return w.number(tensor, e.min(e.max(row, w.c(0)), lastRow));
            };
            before.push_back(numberAt(w.add(first, -1)));
            loaded.push_back(vectorsOf(tensor, first));
            if (places)
              behind.push_back(numberAt(w.add(first, 32)));
          }
          SmallVector<Value> positions;
          if (places)
            positions = vectorsOf(op.getPositions(), first);
          Value sum = carried[0], ledBefore, inTile = w.rem(first, rowsATile);
          for (int64_t i = 0; i <= 32; ++i) {
            if (i == 32 && !places)
              break;
            Value row = w.add(first, i);
            // Counted on: a division for each row takes more registers, in
            // which all these numbers lie, than there are.
            Value leads = w.is(inTile, 0);
            inTile = w.add(inTile, 1);
            inTile = e.select(w.is(inTile, rowsATile), w.c(0), inTile);
            for (size_t o = 0; o < origins.size(); ++o) {
              Value here =
                  i < 32 ? e.extract(loaded[o][i / 4], i % 4) : behind[o];
              leads = w.either(leads, w.notEqual(here, before[o]));
              before[o] = here;
            }
            Value inside = e.less(row, rows);
            // A leader that another one, or nothing, follows is alone.
            if (places && i) {
              Value alone =
                  w.both(w.both(ledBefore, e.less(w.add(row, -1), rows)),
                         w.either(leads, e.less(lastRow, row)));
              Value position = e.extract(positions[(i - 1) / 4], (i - 1) % 4);
              Value more = w.add(itemsOf(position), -1);
              sum = e.select(alone, e.add(sum, more), sum);
            }
            ledBefore = leads;
            if (i < 32)
              sum = e.select(w.both(leads, inside), w.add(sum, 1), sum);
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
    Value before = w.sumOfLower(mine, thread);
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
  Value *kept[] = {&rows, &groups, &count, &most};
  for (auto [i, v] : llvm::enumerate(kept))
    *v = load(w.c(pieces + 1 + i));
  Value none = w.c(0x7fffffff);
  // The last piece with no more items before it than n: first among every
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
  SmallVector<Value> found = w.count(
      w.c(0), groups, {e.sub(n, load(piece)), w.c(0), w.c(0), w.c(1)},
      [&](Value group, ValueRange carried) -> SmallVector<Value> {
        Value rank = carried[0];
        Value from = w.mul(e.add(e.mul(piece, groups), group), 32);
        Value row = e.add(from, lane), last = w.add(rows, -1);
        Value leader = w.both(leads(e.min(row, last)), e.less(row, rows));
        Value items = e.select(leader, w.c(1), w.c(0));
        if (places) {
          Value next = w.add(row, 1);
          Value alone = w.either(e.less(last, next), leads(e.min(next, last)));
          Value position = w.number(op.getPositions(), e.min(row, last));
          items = e.select(w.both(leader, alone), itemsOf(position), items);
        }
        Value behind = w.sumOfLower(items, lane);
        Value before = e.sub(behind, items);
        Value hit = w.ballot(
            w.both(e.less(before, w.add(rank, 1)), e.less(rank, behind)));
        Value isHere = w.notEqual(hit, w.c(0));
        Value at = e.min(w.lowest(hit), w.c(31));
        SmallVector<Value> next{
            e.sub(rank, w.from(behind, w.c(31))), e.add(from, at),
            e.sub(rank, w.from(before, at)), w.from(items, at)};
        for (size_t i = 1; i < next.size(); ++i)
          next[i] = e.select(isHere, next[i], carried[i]);
        return next;
      });
  Value first = found[1];
  Tile tile;
  tile.first = first;
  tile.segment = found[2];
  tile.segments = found[3];
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
