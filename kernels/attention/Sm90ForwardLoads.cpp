//===- Sm90ForwardLoads.cpp - what attention on Hopper brings -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The warpgroup that brings tiles of q, k and v to shared memory, row by row:
// a block of keys may straddle the end of a shared prompt.
//===----------------------------------------------------------------------===//

#include "kernels/attention/Sm90Forward.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

void ForwardBuilder::startLoad(Barrier empty, Value use, Pending &pending) {
  // Loads that are under way are told of when the next one has begun. But who
  // would free the place for it may wait for just these.
  Value there = barrier(empty, stage(use, empty));
  Value phase = w.rem(w.add(w.div(use, stagesOf(empty)), 1), 2);
  Value none = barrier(unheard, w.c(0));
  SmallVector<Type> types(pending.size(), none.getType());
  pending = e.choose(
      w.test(there, phase), types, [&] { return pending; },
      [&]() -> SmallVector<Value> {
        announce(pending);
        w.wait(there, phase);
        return pending;
      });
}

void ForwardBuilder::announce(Pending &pending) {
  w.waitCopies(0);
  w.fenceAsync();
  for (Value full : pending)
    w.arrive(full);
  pending.assign(pending.size(), barrier(unheard, w.c(0)));
}

void ForwardBuilder::endLoad(Barrier full, Value use, Pending &pending) {
  w.commitCopies();
  w.waitCopies(pending.size());
  // What was copied is read by the matrix units.
  w.fenceAsync();
  w.arrive(pending.front());
  pending.erase(pending.begin());
  pending.push_back(barrier(full, stage(use, full)));
}

void ForwardBuilder::loadQueries(const AttentionTiles::Tile &tile,
                                 Value keyHead, Value use) {
  int64_t chunks = width / 8, rowsAtOnce = producers / chunks;
  Value r0 = w.div(thread, chunks), chunk = w.rem(thread, chunks);
  Value panel = w.mul(w.div(chunk, 8), queryPanelBytes());
  Value swizzled = w.mul(
      arith::XOrIOp::create(e.b, e.loc, w.rem(chunk, 8), w.rem(r0, 8)), 16);
  Value to = w.sharedAt(queryPlace(stage(use, qFull)),
                        e.add(e.add(panel, swizzled), w.mul(r0, panelRow)));
  Value inside = w.mul(tile.rows, each);
  for (int64_t r = 0; r < tileRows; r += rowsAtOnce) {
    Value row = w.add(r0, r);
    Value bytes = e.select(e.less(row, inside), w.c(16), w.c(0));
    row = e.min(row, w.add(inside, -1));
    Value head = e.add(w.mul(keyHead, each), w.rem(row, each));
    Value query = e.toI64(e.add(tile.first, w.div(row, each)));
    Value column = e.toI64(e.add(w.mul(head, width), w.mul(chunk, 8)));
    Value from = e.at(k.pointer(op.getQ()),
                      e.add(e.mul(query, heads * width), column), bf16);
    w.copy16(w.sharedAt(to, w.c(r * panelRow)), from, bytes);
  }
}

void ForwardBuilder::loadKeys(Value tensor, int64_t at,
                              const AttentionTiles::Tile &tile, Value keyHead,
                              Value block, Value use) {
  int64_t chunks = width / 8, rowsAtOnce = producers / chunks;
  Value r0 = w.div(thread, chunks), chunk = w.rem(thread, chunks);
  Value panel = w.mul(w.div(chunk, 8), panelBytes);
  Value swizzled = w.mul(
      arith::XOrIOp::create(e.b, e.loc, w.rem(chunk, 8), w.rem(r0, 8)), 16);
  Value to = w.sharedAt(place(stage(use), at),
                        e.add(e.add(panel, swizzled), w.mul(r0, panelRow)));
  Value column = e.toI64(e.add(w.mul(keyHead, width), w.mul(chunk, 8)));
  Value start = e.at(k.pointer(tensor), column, bf16);
  Value position0 = e.add(w.mul(block, keysABlock), r0);
  for (int64_t r = 0; r < keysABlock; r += rowsAtOnce) {
    // Zeros behind the last key that a row of the tile sees: what lies there
    // may be anything.
    Value position = w.add(position0, r);
    Value bytes = e.select(e.less(tile.greatest, position), w.c(0), w.c(16));
    position = e.min(position, tile.greatest);
    Value origin = tile.base;
    if (tile.shared)
      origin =
          e.select(e.less(position, tile.shared), tile.sharedBase, tile.base);
    Value row = e.toI64(e.add(origin, position));
    Value from = e.at(start, e.mul(row, kvHeads * width), bf16);
    w.copy16(w.sharedAt(to, w.c(r * panelRow)), from, bytes);
  }
}

void ForwardBuilder::tell(Value stage, ArrayRef<Value> words) {
  e.when(w.is(thread, 0), [&] {
    for (auto [i, word] : llvm::enumerate(words))
      e.store(word, info(stage, i), i32);
  });
}

//===----------------------------------------------------------------------===//
// Items
//===----------------------------------------------------------------------===//

/// How many of these blocks, the item's first ones, no kernel of this step
/// writes.
Value ForwardBuilder::cachedBlocks(const Item &item, AttentionTiles &tiles,
                                   Value blocks) {
  Value whole = e.sub(w.div(item.tile.least, keysABlock), item.from);
  Value cached = e.max(e.min(whole, blocks), w.c(0));
  return e.select(tiles.begins(item.tile), cached, w.c(0));
}

void ForwardBuilder::bring(const Item &item, bool values, Value j, Value use) {
  loadKeys(values ? op.getV() : op.getK(), values ? vAt() : kAt(), item.tile,
           item.keyHead, e.add(item.from, j), use);
}

/// The first item's queries and `blocks` blocks of keys and values: as many as
/// there are places, all of them free. What was there before this step comes
/// while the kernels before this one end, and is told of with the queries.
void ForwardBuilder::produceFirst(const Item &item, AttentionTiles &tiles,
                                  ArrayRef<Value> words, Value blocks) {
  Value cached = cachedBlocks(item, tiles, blocks);
  auto each = [&](Value from, Value to, function_ref<void(Value)> body) {
    w.count(from, to, {}, [&](Value j, ValueRange) -> SmallVector<Value> {
      body(j);
      return {};
    });
  };
  auto bringBoth = [&](Value j) {
    bring(item, false, j, j);
    bring(item, true, j, j);
  };
  auto tellOfBoth = [&](Value j) {
    w.arrive(barrier(kFull, stage(j)));
    w.arrive(barrier(vFull, stage(j)));
  };
  each(w.c(0), cached, bringBoth);
  k.wait();
  loadQueries(item.tile, item.keyHead, item.use);
  tell(stage(item.use, qFull), words);
  w.commitCopies();
  // A group a block, and empty ones, so that it is known how many there are.
  each(cached, blocks, [&](Value j) {
    bringBoth(j);
    w.commitCopies();
  });
  each(blocks, w.add(cached, stages), [&](Value) { w.commitCopies(); });
  w.waitCopies(stages);
  w.fenceAsync();
  w.arrive(barrier(qFull, stage(item.use, qFull)));
  each(w.c(0), cached, tellOfBoth);
  for (int64_t i = 0; i < stages; ++i) {
    w.waitCopies(stages - 1 - i);
    w.fenceAsync();
    Value j = w.add(cached, i);
    e.when(e.less(j, blocks), [&] { tellOfBoth(j); });
  }
}

void ForwardBuilder::produceItem(const Item &item, AttentionTiles &tiles,
                                 ArrayRef<Value> words, Pending &pending) {
  // Runs `body` unless the condition holds, or always.
  auto unless = [&](
                    Value condition, function_ref<void()> body,
                    function_ref<void()> otherwise = [] {}) {
    if (!condition)
      return body();
    SmallVector<Type> types(pending.size(), pending[0].getType());
    Pending before = pending;
    pending = e.choose(
        condition, types,
        [&] {
          otherwise();
          return before;
        },
        [&] {
          body();
          return pending;
        });
  };
  Value isFirst, brought; // blocks of keys and values
  if (few) {
    isFirst = w.is(item.use, 0);
    brought = e.min(item.count, w.c(stages));
  }
  unless(
      isFirst,
      [&] {
        k.wait(); // for nothing behind the first item
        startLoad(qEmpty, item.use, pending);
        loadQueries(item.tile, item.keyHead, item.use);
        tell(stage(item.use, qFull), words);
        endLoad(qFull, item.use, pending);
      },
      [&] { produceFirst(item, tiles, words, brought); });
  if (few)
    brought = e.select(isFirst, brought, w.c(0));
  auto load = [&](bool values, Value j) {
    unless(few ? e.less(j, brought) : Value(), [&] {
      Value use = e.add(item.keyUse, j);
      startLoad(values ? vEmpty : kEmpty, use, pending);
      bring(item, values, j, use);
      endLoad(values ? vFull : kFull, use, pending);
    });
  };
  // In the order of their use: the keys of a block before the values of the
  // one before.
  load(false, w.c(0));
  pending = w.count(w.c(1), item.count, pending,
                    [&](Value j, ValueRange inner) -> SmallVector<Value> {
                      pending.assign(inner.begin(), inner.end());
                      load(false, j);
                      load(true, w.add(j, -1));
                      return pending;
                    });
  load(true, w.add(item.count, -1));
}

/// By `idle` blocks that have nothing to do, of which this is a certain one:
/// with few rows memory rests while the others compute, and the products behind
/// wait for little else. Not before the keys and values that those bring while
/// they wait, which would come later.
void ForwardBuilder::prefetchWeights(Value idle, Value number) {
  k.wait();
  constexpr int64_t piece = 8192;
  int64_t left = mostPrefetched;
  for (Value weights : op.getPrefetch()) {
    auto type = cast<kern::PackedType>(weights.getType());
    if (type.getK() % 8) // a bulk prefetch takes multiples of 16 bytes
      continue;
    int64_t bytes = std::min(2 * type.getK() * type.getN(), left);
    left -= bytes;
    // A thread a piece; neighbouring pieces by different blocks.
    e.loop(e.add(number, e.mul(thread, idle)),
           w.c(llvm::divideCeil(bytes, piece)), w.mul(idle, producers),
           [&](Value i) {
             Value at = w.mul(i, piece);
             w.prefetch(e.at(k.pointer(weights), e.toI64(at), e.b.getI8Type()),
                        e.min(w.c(piece), e.sub(w.c(bytes), at)));
           });
  }
}

void ForwardBuilder::produce(AttentionTiles &tiles) {
  Value total = tiles.total(), items = w.mul(total, kvHeads);
  Value block = w.block(), blocks = w.blocks();
  if (few && !op.getPrefetch().empty())
    e.when(e.less(w.add(items, -1), block),
           [&] { prefetchWeights(e.sub(blocks, items), e.sub(block, items)); });
  Value none = barrier(unheard, w.c(0));
  // Late tiles see most keys and come first. Rounds go forth and back over the
  // blocks of the grid, which evens out what falls to each.
  auto itemOf = [&](Value round) {
    Value back = e.sub(w.add(blocks, -1), block);
    return e.add(e.mul(round, blocks),
                 e.select(w.is(w.rem(round, 2), 0), block, back));
  };
  Value rounds = e.div(e.add(items, w.add(blocks, -1)), blocks);
  const size_t later = stages; // loads that may be under way
  SmallVector<Value> start{w.c(0), w.c(0)};
  start.append(later, none);
  auto end = w.count(
      w.c(0), rounds, start,
      [&](Value round, ValueRange carried) -> SmallVector<Value> {
        Value item = itemOf(round);
        return e.choose(
            e.less(item, items), carried.getTypes(),
            [&]() -> SmallVector<Value> {
              Value tileUse = carried[0], keyUse = carried[1];
              Pending pending(carried.drop_front(2));
              Value n = e.sub(w.add(total, -1), w.div(item, kvHeads));
              Value keyHead = w.rem(item, kvHeads);
              // The tile before is told of before the next one is found.
              announce(pending);
              AttentionTiles::Tile tile = tiles.find(n, lane);
              // Blocks of keys; of one segment, if it is one of several.
              Value from = w.mul(tile.segment, blocksASegment);
              Value count =
                  e.sub(w.add(w.div(tile.greatest, keysABlock), 1), from);
              count = e.select(e.less(w.c(1), tile.segments),
                               e.min(count, w.c(blocksASegment)), count);
              Value whole =
                  e.sub(w.div(w.add(tile.least, 1), keysABlock), from);
              Value place =
                  e.add(w.mul(e.sub(n, tile.segment), kvHeads), keyHead);
              produceItem({tile, keyHead, from, count, tileUse, keyUse}, tiles,
                          {w.c(1), tile.first, tile.rows, keyHead, count, whole,
                           from, place, tile.segments},
                          pending);
              SmallVector<Value> next{w.add(tileUse, 1), e.add(keyUse, count)};
              llvm::append_range(next, pending);
              return next;
            },
            [&]() -> SmallVector<Value> {
              return SmallVector<Value>(carried.begin(), carried.end());
            });
      });
  Pending pending(ArrayRef<Value>(end).drop_front(2));
  startLoad(qEmpty, end[0], pending);
  tell(stage(end[0], qFull), {w.c(0)});
  announce(pending);
  w.arrive(barrier(qFull, stage(end[0], qFull)));
}
