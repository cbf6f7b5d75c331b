//===- Sm90Backward.cpp - attention_backward on Hopper's tensor cores -----===//
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

void BackwardBuilder::consume() {
  w.repeat(
      {w.c(0), w.c(0)},
      [&](ValueRange carried) -> std::pair<Value, SmallVector<Value>> {
        waitFor(tileFull, carried[0]);
        return {w.notEqual(word(carried[0], kind), w.c(end)),
                SmallVector<Value>(carried)};
      },
      [&](ValueRange carried) -> SmallVector<Value> {
        Value use = e.choose(
            w.is(word(carried[0], kind), keys), i32,
            [&]() -> SmallVector<Value> {
              return {keysItem(carried[0], carried[1])};
            },
            [&]() -> SmallVector<Value> {
              return {queriesItem(carried[0], carried[1])};
            })[0];
        Fresh fresh(*this);
        release(tileEmpty, carried[0]);
        return {w.add(carried[0], 1), use};
      });
}

/// Rows of this warpgroup times the rows of a block, over the width; which: 0
/// for X x^T, 1 for Y y^T.
Value BackwardBuilder::product(Value tileUse, Value use, int64_t which) {
  auto operand = [&](Value from) {
    return w.descriptor(w.div(w.sharedAddress(from), 16),
                        Sm90Words::descriptorK());
  };
  Value a = w.plusDynamic(operand(inTile(w.opaque(tileUse), which)),
                          w.mul(group, 64 * panelRow));
  Value b = operand(inBlock(use, which));
  Value sums = w.nothing(blockRows);
  w.fence();
  for (int64_t c = 0; c < width; c += 16) {
    int64_t panel = c / panelColumns, inside = c % panelColumns * 2;
    sums = w.multiply16(sums, w.plus(a, panel * tilePanel + inside),
                        w.plus(b, panel * blockPanel + inside), blockRows,
                        false, false, /*overwrite=*/c == 0);
  }
  w.commit();
  return sums;
}

Value BackwardBuilder::accumulate(Value sums, ArrayRef<Value> words, Value use,
                                  int64_t which) {
  Value address = w.sharedAddress(inBlock(use, which));
  Value b =
      w.descriptor(w.div(address, 16), Sm90Words::descriptorMN(blockPanel));
  w.fence();
  for (int64_t row = 0; row < blockRows; row += 16)
    sums = w.multiplyRegisters(sums, words.slice(row / 4, 4),
                               w.plus(b, row * panelRow), width, true);
  w.commit();
  return sums;
}

SmallVector<Value> BackwardBuilder::packed(ArrayRef<Value> values) {
  SmallVector<Value> words;
  for (size_t i = 0; i < values.size(); i += 2)
    words.push_back(w.packBf16(values[i], values[i + 1]));
  return words;
}

SmallVector<Value> BackwardBuilder::columns(Value use, Beside what, Type type) {
  SmallVector<Value> result;
  Value from = w.sharedAt(besideBlock(use, what), w.mul(w.rem(lane, 4), 8));
  for (int64_t n = 0; n < blockRows; n += 8) {
    Value pair = LLVM::LoadOp::create(e.b, e.loc, VectorType::get(2, type),
                                      w.sharedAt(from, w.c(n * 4)), 8);
    result.push_back(e.extract(pair, 0));
    result.push_back(e.extract(pair, 1));
  }
  return result;
}

/// Bit i: whether the query of a thread's score i sees its key.
Value BackwardBuilder::seenBits(Value tileUse, Value use) {
  SmallVector<Value> ends = columns(use, sharedEnd, i32),
                     owns = columns(use, ownFrom, i32);
  Value tileStart = word(tileUse, start);
  Value query = e.add(tileStart, firstColumn(e.load(blockWord(use), i32)));
  Value bits = w.c(0);
  for (int64_t i = 0; i < blockRows / 2; ++i) {
    Value key = e.add(tileStart, w.add(rowOfGroup(), i / 2 % 2 * 8));
    int64_t c = i / 4 * 2 + i % 2;
    Value apart =
        w.either(e.less(key, ends[c]), e.less(w.add(owns[c], -1), key));
    Value seen = w.both(apart, e.less(key, w.add(query, columnOf(i) + 1)));
    int32_t one = static_cast<int32_t>(uint32_t(1) << i);
    bits = w.either(bits, e.select(seen, w.c(one), w.c(0)));
  }
  return bits;
}

/// The scores of a block of query rows against keys, -inf where not seen.
SmallVector<Value> BackwardBuilder::keysSeen(Value tileUse, Value use,
                                             ArrayRef<Value> scores) {
  auto mask = [&](function_ref<Value(int64_t)> seen) {
    SmallVector<Value> m(scores);
    for (int64_t i = 0, size = m.size(); i < size; ++i)
      m[i] = e.select(seen(i), m[i], w.f(-INFINITY));
    return m;
  };
  Fresh fresh(*this);
  if (shares) {
    Value bits = e.load(keptBits(), i32);
    return mask([&](int64_t i) {
      int32_t one = static_cast<int32_t>(uint32_t(1) << i);
      return w.notEqual(w.both(bits, w.c(one)), w.c(0));
    });
  }
  // Query rows behind the keys see them all.
  SmallVector<Type> types(scores.size(), f32);
  Value block = e.load(blockWord(use), i32);
  return e.choose(
      e.less(block, w.add(group, 1)), types,
      [&] {
        Value from = e.sub(rowOfGroup(), firstColumn(block));
        return mask([&](int64_t i) {
          return e.less(w.add(from, i / 2 % 2 * 8), w.c(columnOf(i) + 1));
        });
      },
      [&] { return SmallVector<Value>(scores); });
}

/// dk and dv, and what a block of query rows adds to them.
SmallVector<Value> BackwardBuilder::keysStep(Value tileUse, Value use,
                                             ValueRange carried) {
  SmallVector<Value> dk(carried.take_front(width / 2)),
      dv(carried.drop_front(width / 2));
  Fresh fresh(*this);
  waitFor(full, use);
  // With a shared prompt: a bit for each score that is seen, in shared memory,
  // as all registers are for the sums and scores.
  if (shares)
    e.store(seenBits(tileUse, use), keptBits(), i32);
  Value s = product(tileUse, use, 0), t = product(tileUse, use, 1);
  w.waitGroups(0);
  s = w.settle(s);
  t = w.settle(t);
  // Both products before the first weight: no register is left for weights that
  // wait for the second one.
  SmallVector<Value> p = keysSeen(tileUse, use, w.unpack(s)), z = w.unpack(t);
  SmallVector<Value> lse = columns(use, minusLse, f32),
                     means = columns(use, mean, f32);
  for (int64_t i = 0, size = p.size(); i < size; ++i) {
    int64_t c = i / 4 * 2 + i % 2;
    p[i] = w.exp2(e.fma(p[i], w.f(scale * log2e), lse[c]));
    z[i] = w.mulF(p[i], w.subF(z[i], means[c]));
  }
  SmallVector<Value> pWords = packed(p), zWords = packed(z);
  Value dvSums = accumulate(w.pack(dv), pWords, use, 1);
  Value dkSums = accumulate(w.pack(dk), zWords, use, 0);
  w.waitGroups(0);
  dvSums = w.settle(dvSums, pWords);
  dkSums = w.settle(dkSums, zWords);
  release(empty, use);
  SmallVector<Value> next = w.unpack(dkSums);
  llvm::append_range(next, w.unpack(dvSums));
  return next;
}

Value BackwardBuilder::keysItem(Value tileUse, Value use) {
  // Sums of a thread: [4 j + 2 r + c] is of row lane / 4 + 8 r of its warp's
  // 16, column 8 j + 2 (lane % 4) + c.
  int64_t sums = width / 2;
  SmallVector<Value> state(2 * sums, w.f(0));
  Value last = e.add(use, w.mul(word(tileUse, count), each));
  state = w.count(use, last, state, [&](Value here, ValueRange carried) {
    return keysStep(tileUse, here, carried);
  });
  Fresh fresh(*this);
  // The sums go through shared memory, where the tile lay: all four warps must
  // be done with it.
  w.syncNamed(w.add(group, 1), 128);
  ArrayRef<Value> all(state);
  store(all.take_front(sums), scale, op.getDk(), kvHeads, tileUse, 0);
  store(all.slice(sums, sums), 1, op.getDv(), kvHeads, tileUse, 1);
  return last;
}

Value BackwardBuilder::queriesItem(Value tileUse, Value use) {
  std::optional<Fresh> first(*this);
  Value lse[2], means[2], row[2], ends[2], owns[2];
  for (int64_t r = 0; r < 2; ++r) {
    Value at = w.add(rowOfGroup(), 8 * r);
    auto read = [&](Beside what, Type type) {
      return e.load(w.sharedAt(besideTile(tileUse, what), w.mul(at, 4)), type);
    };
    row[r] = e.add(at, word(tileUse, start));
    lse[r] = read(minusLse, f32);
    means[r] = read(mean, f32);
    if (shares) {
      ends[r] = read(sharedEnd, i32);
      owns[r] = read(ownFrom, i32);
    }
  }
  first.reset();
  Value count = word(tileUse, Info::count);
  SmallVector<Value> state(width / 2, w.f(0));
  Value last = e.add(use, count);
  state = w.count(
      use, last, state,
      [&](Value here, ValueRange carried) -> SmallVector<Value> {
        Value n = e.sub(here, use);
        Fresh fresh(*this);
        waitFor(full, here);
        Value s = product(tileUse, here, 0), t = product(tileUse, here, 1);
        w.waitGroups(1);
        s = w.settle(s);
        SmallVector<Value> p = w.unpack(s);
        SmallVector<Type> types(p.size(), f32);
        // Blocks before this warpgroup's rows are seen as a whole.
        Value whole = e.add(w.div(word(tileUse, start), blockRows), group);
        Value masked = shares ? w.bit(true) : e.less(w.add(whole, -1), n);
        p = e.choose(
            masked, types,
            [&] {
              SmallVector<Value> m(p);
              Value block = e.select(e.less(n, word(tileUse, skipFrom)), n,
                                     e.add(n, word(tileUse, skip)));
              // Bounds of the columns, counted from this thread's first.
              Value first = firstColumn(block);
              for (int64_t i = 0, size = m.size(); i < size; ++i) {
                Value column = w.c(columnOf(i));
                int64_t r = i / 2 % 2;
                Value seen = e.less(column, e.sub(w.add(row[r], 1), first));
                if (shares)
                  seen = w.both(
                      seen, w.either(e.less(column, e.sub(ends[r], first)),
                                     e.less(e.sub(w.add(owns[r], -1), first),
                                            column)));
                m[i] = e.select(seen, m[i], w.f(-INFINITY));
              }
              return m;
            },
            [&] { return p; });
        for (int64_t i = 0, size = p.size(); i < size; ++i)
          p[i] = w.exp2(e.fma(p[i], w.f(scale * log2e), lse[i / 2 % 2]));
        w.waitGroups(0);
        t = w.settle(t);
        SmallVector<Value> z = w.unpack(t);
        for (int64_t i = 0, size = z.size(); i < size; ++i)
          z[i] = w.mulF(p[i], w.subF(z[i], means[i / 2 % 2]));
        SmallVector<Value> zWords = packed(z);
        SmallVector<Value> before(carried);
        Value dq = accumulate(w.pack(before), zWords, here, 0);
        w.waitGroups(0);
        dq = w.settle(dq, zWords);
        release(empty, here);
        return w.unpack(dq);
      });
  Fresh fresh(*this);
  w.syncNamed(w.add(group, 1), 128);
  store(state, scale, op.getDq(), heads, tileUse, 0);
  return last;
}

void BackwardBuilder::store(ArrayRef<Value> sums, double factor, Value tensor,
                            int64_t headCount, Value tileUse, int64_t which) {
  // Told again, and counted again from the thread: registers were few.
  Fresh fresh(*this);
  Value tile = inTile(tileUse, which), tileStart = word(tileUse, start);
  Value inside = e.sub(word(tileUse, size), tileStart);
  Value line = w.div(lane, 4), quarter = w.rem(lane, 4);
  Value row0 = e.add(w.mul(group, 64), w.mul(w.div(thread, 32), 16));
  auto scaled = [&](Value v) {
    return factor == 1 ? v : w.mulF(v, w.f(factor));
  };
  for (int64_t i = 0; i < width / 2; i += 2) {
    int64_t r = i / 2 % 2, column = i / 4 * 8;
    Value row = e.add(row0, w.add(line, 8 * r));
    Value word = w.packBf16(scaled(sums[i]), scaled(sums[i + 1]));
    Value chunk = arith::XOrIOp::create(
        e.b, e.loc, w.c(column % panelColumns / 8), w.rem(line, 8));
    Value at =
        e.add(w.mul(row, panelRow), e.add(w.mul(chunk, 16), w.mul(quarter, 4)));
    e.store(word,
            w.sharedAt(tile, w.add(at, column / panelColumns * tilePanel)),
            i32);
  }
  w.syncWarp();
  int64_t chunks = width / 8, rowsAtOnce = 32 / chunks;
  Value chunk = w.rem(lane, chunks);
  auto vector = VectorType::get(4, i32);
  Value first = e.add(word(tileUse, unit), tileStart);
  Value column =
      e.toI64(e.add(w.mul(word(tileUse, head), width), w.mul(chunk, 8)));
  for (int64_t r = 0; r < 16; r += rowsAtOnce) {
    Value row = e.add(row0, w.add(w.div(lane, chunks), r));
    Value piece =
        arith::XOrIOp::create(e.b, e.loc, w.rem(chunk, 8), w.rem(row, 8));
    Value at =
        e.add(w.mul(row, panelRow),
              e.add(w.mul(piece, 16), w.mul(w.div(chunk, 8), tilePanel)));
    Value v =
        LLVM::LoadOp::create(e.b, e.loc, vector, w.sharedAt(tile, at), 16);
    e.when(e.less(row, inside), [&] {
      Value to = e.at(
          k.pointer(tensor),
          e.add(e.mul(e.toI64(e.add(first, row)), headCount * width), column),
          bf16);
      LLVM::StoreOp::create(e.b, e.loc, v, to, 16);
    });
  }
  w.syncWarp();
}
