//===- Sm90BackwardLoads.cpp - tiles and blocks for attention_backward ----===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/attention/Sm90Backward.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

void BackwardBuilder::build() {
  k.launch->threads = producers + consumerWarps * 32;
  k.launch->blocksPerSm = 1;
  k.launch->shared = sharedBytes();
  memory = k.dynamicShared();
  thread = w.thread();
  lane = w.rem(thread, 32);
  UnitTiles tiles(w, op.getOffsets(), tileRows,
                  w.sharedAt(memory, w.c(tableAt())));
  e.when(w.is(thread, 0), [&] {
    for (Barrier kind : {tileFull, tileEmpty, full, empty})
      for (int64_t s = 0; s < stagesOf(kind); ++s)
        w.initBarrier(
            barrier(kind, w.c(s)),
            w.c(kind == tileFull || kind == full ? producers : consumerWarps));
    w.fenceBarrierInit();
  });
  tiles.build(thread, k.launch->threads);
  Value role = w.warpgroup(thread);
  whole = thread;
  split();
  w.branch(
      w.is(role, 0),
      [&] {
        w.setRegisters(40, false);
        produce(tiles);
      },
      [&] {
        w.setRegisters(232, true);
        consume();
      });
}

//===----------------------------------------------------------------------===//
// The producers
//===----------------------------------------------------------------------===//

void BackwardBuilder::produce(UnitTiles &tiles) {
  // The longest come first: keys by their rows, then queries from the last row
  // on. Rounds go forth and back over the blocks of the grid, which evens out
  // what falls to each.
  auto items = [&] { return w.mul(tiles.total(), kvHeads + heads); };
  auto counters = w.repeat(
      {w.c(0), w.c(0), w.c(0)},
      [&](ValueRange carried) -> std::pair<Value, SmallVector<Value>> {
        return {e.less(e.mul(carried[2], w.blocks()), items()),
                SmallVector<Value>(carried)};
      },
      [&](ValueRange carried) -> SmallVector<Value> {
        Fresh fresh(*this);
        Value total = tiles.total(), keyItems = w.mul(total, kvHeads);
        Value block = w.block(), blocks = w.blocks(), round = carried[2];
        Value back = e.sub(w.add(blocks, -1), block);
        Value item = e.add(e.mul(round, blocks),
                           e.select(w.is(w.rem(round, 2), 0), block, back));
        SmallVector<Value> next = e.choose(
            e.less(item, items()), {i32, i32},
            [&]() -> SmallVector<Value> {
              Value tileUse = carried[0], use = carried[1];
              Value isKeys = e.less(item, keyItems);
              Value rest = e.sub(item, keyItems);
              Value n = e.select(isKeys, w.div(item, kvHeads),
                                 e.sub(w.add(total, -1), w.div(rest, heads)));
              Value head =
                  e.select(isKeys, w.rem(item, kvHeads), w.rem(rest, heads));
              UnitTiles::Tile tile = tiles.find(n, lane);
              waitFor(tileEmpty, tileUse);
              Value next = e.choose(
                  isKeys, i32,
                  [&]() -> SmallVector<Value> {
                    return {produceKeys(tile, head, tileUse, use)};
                  },
                  [&]() -> SmallVector<Value> {
                    return {produceQueries(tile, head, tileUse, use)};
                  })[0];
              return {w.add(tileUse, 1), next};
            },
            [&] { return SmallVector<Value>(carried.take_front(2)); });
        next.push_back(w.add(round, 1));
        return next;
      });
  waitFor(tileEmpty, counters[0]);
  tell(counters[0], {w.c(end)});
  w.arrive(barrierOf(tileFull, counters[0]));
}

void BackwardBuilder::tell(Value use, ArrayRef<Value> words) {
  e.when(w.is(lane, 0), [&] {
    Value at = w.mul(w.div(thread, 32), infoWords * 4);
    for (auto [i, word] : llvm::enumerate(words))
      e.store(word, w.sharedAt(info(use, i), at), i32);
  });
  w.syncWarp();
}

void BackwardBuilder::finishLoad(Barrier kind, Value use) {
  w.commitCopies();
  w.waitCopies(0);
  // What was copied is read by the matrix units.
  w.fenceAsync();
  w.arrive(barrierOf(kind, use));
}

Value BackwardBuilder::placeOf(int64_t panel) {
  int64_t chunks = width / 8;
  Value r0 = w.div(thread, chunks), chunk = w.rem(thread, chunks);
  Value swizzled = w.mul(
      arith::XOrIOp::create(e.b, e.loc, w.rem(chunk, 8), w.rem(r0, 8)), 16);
  return e.add(e.add(w.mul(w.div(chunk, 8), panel), swizzled),
               w.mul(r0, panelRow));
}

void BackwardBuilder::load(Value tensor, int64_t headCount, Value tileUse,
                           Value offset, Value head, int64_t count, Value to,
                           int64_t panel, bool linear) {
  Fresh fresh(*this);
  int64_t chunks = width / 8, rowsAtOnce = producers / chunks;
  Value r0 = w.div(thread, chunks), chunk = w.rem(thread, chunks);
  to = w.sharedAt(to, linear ? w.mul(thread, 16) : placeOf(panel));
  Value column = e.toI64(e.add(w.mul(head, width), w.mul(chunk, 8)));
  Value from = e.at(k.pointer(tensor), column, bf16);
  Value unit = mine(tileUse, Info::unit), inside = mine(tileUse, size);
  r0 = e.add(offset, r0);
  for (int64_t r = 0; r < count; r += rowsAtOnce) {
    Value row = w.add(r0, r);
    Value bytes = e.select(e.less(row, inside), w.c(16), w.c(0));
    row = e.add(unit, e.min(row, w.add(inside, -1)));
    w.copy16(w.sharedAt(to, w.c(linear ? r / rowsAtOnce * producers * 16
                                       : r * panelRow)),
             e.at(from, e.mul(e.toI64(row), headCount * width), bf16), bytes);
  }
}

void BackwardBuilder::loadQueries(Value tileUse, Value offset, Value head,
                                  Value q, Value seed, int64_t panel,
                                  ArrayRef<Value> besides) {
  load(op.getQ(), heads, tileUse, offset, head, blockRows, q, panel);
  load(op.getDOut(), heads, tileUse, offset, head, blockRows, seed, panel);
  Value out = w.sharedAt(memory, w.c(outAt()));
  load(op.getOut(), heads, tileUse, offset, head, blockRows, out, 0,
       /*linear=*/true);
  w.commitCopies();
  Fresh fresh(*this);
  e.when(w.below(thread, blockRows), [&] {
    Value unit = mine(tileUse, Info::unit), inside = mine(tileUse, size);
    Value row = e.add(offset, thread);
    Value there = e.less(row, inside);
    row = e.add(unit, e.min(row, w.add(inside, -1)));
    Value at = e.add(e.mul(e.toI64(row), heads), e.toI64(head));
    Value lse = e.load(e.at(k.pointer(op.getLse()), at, f32), f32);
    // exp2 gives 0 for rows behind the last one.
    lse = e.select(there, w.mulF(lse, w.f(-log2e)), w.f(-INFINITY));
    auto put = [&](Beside what, Value v, Type type) {
      e.store(v, w.sharedAt(besides[what], w.mul(thread, 4)), type);
    };
    put(minusLse, lse, f32);
    if (shares) {
      Value shared = w.number(op.getShared(), row);
      Value own = e.add(w.number(op.getBases(), row), shared);
      put(sharedEnd, shared, i32);
      put(ownFrom, e.sub(own, unit), i32);
    }
  });
  // D: each thread the columns that it copied itself, then over the threads of
  // a row.
  w.waitCopies(0);
  int64_t chunks = width / 8, rowsAtOnce = producers / chunks;
  constexpr int64_t atOnce = 2; // rows of a thread
  auto vector = VectorType::get(4, i32);
  seed = w.sharedAt(seed, placeOf(panel));
  out = w.sharedAt(out, w.mul(thread, 16));
  Value to = w.sharedAt(besides[mean], w.mul(w.div(thread, chunks), 4));
  auto read = [&](Value from) -> Value {
    return LLVM::LoadOp::create(e.b, e.loc, vector, from, 16);
  };
  auto half = [&](Value word, bool high) -> Value {
    Value bits = high ? w.both(word, w.c(static_cast<int32_t>(0xffff0000)))
                      : arith::ShLIOp::create(e.b, e.loc, word, w.c(16));
    return LLVM::BitcastOp::create(e.b, e.loc, f32, bits);
  };
  e.loop(w.c(0), w.c(blockRows / rowsAtOnce), w.c(atOnce), [&](Value r) {
    for (int64_t i = 0; i < atOnce; ++i) {
      auto at = [&](Value start, int64_t bytes) {
        return w.sharedAt(start, w.mul(w.add(r, i), bytes));
      };
      Value g = read(at(seed, rowsAtOnce * panelRow));
      Value o = read(at(out, producers * 16)), sum = w.f(0);
      for (int64_t c = 0; c < 8; ++c)
        sum = e.fma(half(e.extract(g, c / 2), c % 2),
                    half(e.extract(o, c / 2), c % 2), sum);
      for (int64_t lanes = chunks / 2; lanes; lanes /= 2)
        sum = w.addF(sum, w.exchange(sum, lanes));
      e.when(w.is(w.rem(thread, chunks), 0),
             [&] { e.store(sum, at(to, rowsAtOnce * 4), f32); });
    }
  });
}

/// The last row of the unit, counted inside it, that sees a key of the tile.
Value BackwardBuilder::lastSeeing(const UnitTiles::Tile &tile) {
  Value rows = e.sub(tile.end, tile.unit);
  if (!shares)
    return w.add(rows, -1);
  Value keyEnd = e.min(w.add(tile.start, tileRows), rows);
  constexpr int64_t atOnce = 4;
  Value last = e.loop(
      tile.start, rows, w.c(32 * atOnce), tile.start,
      [&](Value from, ValueRange carried) -> SmallVector<Value> {
        Value last = carried[0];
        for (int64_t i = 0; i < atOnce; ++i) {
          Value row = e.min(e.add(from, w.add(lane, 32 * i)), w.add(rows, -1));
          Value at = e.add(tile.unit, row);
          Value shared = w.number(op.getShared(), at);
          Value own =
              e.sub(e.add(w.number(op.getBases(), at), shared), tile.unit);
          Value sees =
              w.either(e.less(tile.start, shared), e.less(own, keyEnd));
          last = e.select(sees, e.max(last, row), last);
        }
        return {last};
      })[0];
  return w.greatest(last);
}

Value BackwardBuilder::produceKeys(const UnitTiles::Tile &tile, Value head,
                                   Value tileUse, Value use) {
  Value blocks =
      w.add(w.div(e.sub(lastSeeing(tile), tile.start), blockRows), 1);
  tell(tileUse, {w.c(keys), tile.start, tile.unit, e.sub(tile.end, tile.unit),
                 head, blocks, w.c(0), w.c(0)});
  for (auto [i, tensor] : llvm::enumerate(ValueRange{op.getK(), op.getV()}))
    load(tensor, kvHeads, tileUse, mine(tileUse, start),
         mine(tileUse, Info::head), tileRows, inTile(tileUse, i), tilePanel);
  finishLoad(tileFull, tileUse);
  Value last = e.add(use, w.mul(mine(tileUse, count), each));
  // Head by head, the rows of each in order.
  w.count(use, last, {w.c(0), w.mul(mine(tileUse, Info::head), each)},
          [&](Value here, ValueRange carried) -> SmallVector<Value> {
            waitFor(empty, here);
            SmallVector<Value> besides;
            for (int64_t i = 0; i < beside; ++i)
              besides.push_back(besideBlock(here, static_cast<Beside>(i)));
            Value offset =
                e.add(mine(tileUse, start), w.mul(carried[0], blockRows));
            loadQueries(tileUse, offset, carried[1], inBlock(here, 0),
                        inBlock(here, 1), blockPanel, besides);
            e.when(w.is(thread, 0),
                   [&] { e.store(carried[0], blockWord(here), i32); });
            finishLoad(full, here);
            Value next = w.add(carried[0], 1);
            Value ends = e.equal(next, mine(tileUse, count));
            return {e.select(ends, w.c(0), next),
                    e.select(ends, w.add(carried[1], 1), carried[1])};
          });
  return last;
}

Value BackwardBuilder::produceQueries(const UnitTiles::Tile &tile, Value head,
                                      Value tileUse, Value use) {
  Value rows = e.sub(tile.end, tile.unit);
  Value rowEnd = e.min(w.add(tile.start, tileRows), rows);
  Value blocks = w.ceilDiv(rowEnd, blockRows);
  // Blocks that lie between the longest shared part and the first own key are
  // seen by no row.
  Value from = w.c(0), skipped = w.c(0);
  if (shares) {
    Value longest = w.c(0), first = w.c(0x7fffffff);
    for (int64_t i = 0; i < tileRows; i += 32) {
      Value row = e.min(e.add(tile.start, w.add(lane, i)), w.add(rowEnd, -1));
      Value at = e.add(tile.unit, row);
      Value shared = w.number(op.getShared(), at);
      Value own = e.sub(e.add(w.number(op.getBases(), at), shared), tile.unit);
      longest = e.max(longest, shared);
      first = e.min(first, own);
    }
    from = w.ceilDiv(w.greatest(longest), blockRows);
    skipped = e.max(e.sub(w.div(w.least(first), blockRows), from), w.c(0));
    blocks = e.sub(blocks, skipped);
  }
  tell(tileUse, {w.c(queries), tile.start, tile.unit, rows, head, blocks, from,
                 skipped});
  e.loop(w.c(0), w.c(tileRows), w.c(blockRows), [&](Value half) {
    SmallVector<Value> besides;
    for (int64_t i = 0; i < beside; ++i)
      besides.push_back(w.sharedAt(besideTile(tileUse, static_cast<Beside>(i)),
                                   w.mul(half, 4)));
    auto at = [&](int64_t which) {
      return w.sharedAt(inTile(tileUse, which), w.mul(half, panelRow));
    };
    loadQueries(tileUse, e.add(mine(tileUse, start), half),
                mine(tileUse, Info::head), at(0), at(1), tilePanel, besides);
  });
  finishLoad(tileFull, tileUse);
  Value last = e.add(use, mine(tileUse, count));
  w.count(use, last, w.c(0),
          [&](Value here, ValueRange carried) -> SmallVector<Value> {
            waitFor(empty, here);
            Value block = carried[0];
            if (shares)
              block = e.select(e.less(block, mine(tileUse, skipFrom)), block,
                               e.add(block, mine(tileUse, skip)));
            for (auto [i, tensor] :
                 llvm::enumerate(ValueRange{op.getK(), op.getV()}))
              load(tensor, kvHeads, tileUse, w.mul(block, blockRows),
                   w.div(mine(tileUse, Info::head), each), blockRows,
                   inBlock(here, i), blockPanel);
            finishLoad(full, here);
            return {w.add(carried[0], 1)};
          });
  return last;
}

LogicalResult r1c::kernels::buildAttentionBackwardSm90(Kernel &k) {
  BackwardBuilder(k).build();
  return success();
}
