//===- Sm90Forward.cpp - kern.attention on Hopper's tensor cores ----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A tile is 128 rows: neighbouring query rows that read the same keys, each
// with the heads of one key head. One warpgroup brings tiles of q, k and v to
// shared memory, two multiply, 64 rows each (in the kernel for few rows one,
// and so 64 in all): q k^T of a block of 128 keys runs while the block before
// is multiplied with v, and the softmax beside both.
// Blocks and segments lie at absolute positions and are taken in order, so that
// what a row gets does not depend on its tile.
//===----------------------------------------------------------------------===//

#include "kernels/attention/Sm90Forward.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

void ForwardBuilder::build() {
  // Which rows go together is known before what they are.
  SmallVector<Value> early{op.getPositions(), op.getBases()};
  if (op.getShared())
    early.append({op.getShared(), op.getSharedBases()});
  SmallVector<Value> cached;
  if (few)
    cached.append({op.getK(), op.getV()});
  k.waitLater(early, cached);
  k.launch->threads = producers + consumerWarps * 32;
  k.launch->blocksPerSm = blocksPerSm;
  k.launch->shared = end();
  memory = k.dynamicShared();
  thread = w.thread();
  lane = w.rem(thread, 32);
  records = k.globalMemory(countersAt() + places * 4);
  AttentionTiles tiles(w, op, rowsATile, blocksASegment * keysABlock, places,
                       w.sharedAt(memory, w.c(tableAt())));
  e.when(w.is(thread, 0), [&] {
    for (int64_t s = 0; s < stages; ++s) {
      auto init = [&](Barrier kind, int64_t arrivals) {
        w.initBarrier(barrier(kind, w.c(s)), w.c(arrivals));
      };
      for (Barrier kind : {qFull, kFull, vFull, unheard})
        init(kind, producers);
      for (Barrier kind : {qEmpty, kEmpty, vEmpty})
        init(kind, consumerWarps);
    }
    w.fenceBarrierInit();
  });
  tiles.build(thread, k.launch->threads);
  // One block of two warpgroups has more than a thread can have.
  bool registersMove = k.launch->threads * blocksPerSm > 256;
  Value role = w.warpgroup(thread);
  group = w.add(role, -1);
  thread = w.rem(thread, 128);
  w.branch(
      w.is(role, 0),
      [&] {
        if (registersMove)
          w.setRegisters(few ? 56 : 72, false);
        produce(tiles);
      },
      [&] {
        if (registersMove)
          w.setRegisters(few ? 200 : 216, true);
        // A block without work that is not the first does not wait: it makes
        // room (but for what it may prefetch).
        Value items = w.mul(tiles.total(), kvHeads);
        e.when(e.less(w.block(), e.max(items, w.c(1))), [&] { k.wait(); });
        consume();
      });
}

//===----------------------------------------------------------------------===//
// The consumers
//===----------------------------------------------------------------------===//

void ForwardBuilder::consume() {
  Value zero = w.c(0);
  SmallVector<Value> start{zero, zero};
  start.append(infoWords - 1, zero);
  w.repeat(
      start,
      [&](ValueRange carried) -> std::pair<Value, SmallVector<Value>> {
        Value use = carried[0];
        Value at = stage(use, qFull);
        w.wait(barrier(qFull, at), parity(use, qFull));
        SmallVector<Value> next{use, carried[1]};
        for (int64_t i = 1; i < infoWords; ++i)
          next.push_back(e.load(info(at, i), i32));
        Value more = e.load(info(at, 0), i32);
        return {w.notEqual(more, w.c(0)), next};
      },
      [&](ValueRange carried) -> SmallVector<Value> {
        SmallVector<Value> words(carried.drop_front(2));
        // Few rows, as at decoding, leave the second warpgroup none.
        Value inside = w.mul(words[1], each);
        auto compute = [&](int64_t halves) {
          tile(carried[0], carried[1], words, halves);
        };
        auto computeIf = [&](Value hasRows, int64_t halves) {
          if (few) // the only one
            return compute(halves);
          w.branch(
              hasRows, [&] { compute(halves); },
              [&] { passBy(carried[0], carried[1], words[3]); });
        };
        auto isFew = [&] { computeIf(w.is(group, 0), 1); };
        auto isMany = [&] { computeIf(e.less(w.mul(group, 64), inside), 2); };
        if (each <= 8)
          w.branch(e.less(w.c(8), inside), isMany, isFew);
        else
          isMany();
        SmallVector<Value> next(carried.begin(), carried.end());
        next[0] = w.add(carried[0], 1);
        next[1] = e.add(carried[1], words[3]);
        return next;
      });
}

void ForwardBuilder::release(Barrier empty, Value use) {
  e.when(w.is(lane, 0), [&] { w.arrive(barrier(empty, stage(use, empty))); });
}

Value ForwardBuilder::scores(Value use, Value qStage) {
  auto operand = [&](Value place) {
    Value address = w.sharedAddress(place);
    return w.descriptor(w.div(address, 16), Sm90Words::descriptorK());
  };
  Value a = operand(queryPlace(qStage));
  a = w.plusDynamic(a, w.mul(group, 64 * panelRow));
  Value b = operand(place(stage(use), kAt()));
  Value sums = w.nothing(keysABlock);
  w.fence();
  for (int64_t c = 0; c < width; c += 16) {
    auto at = [&](int64_t bytes) {
      return c / panelColumns * bytes + c % panelColumns * 2;
    };
    sums = w.multiply16(sums, w.plus(a, at(queryPanelBytes())),
                        w.plus(b, at(panelBytes)), keysABlock, false, false,
                        /*overwrite=*/c == 0);
  }
  w.commit();
  return sums;
}

/// `halves`: 1 where there are no more than 8 rows, of which each thread has
/// one; the other's weights are 0.
SmallVector<Value> ForwardBuilder::soften(Value scores, Rows &rows,
                                          Value shrink[2],
                                          ArrayRef<Value> limits,
                                          int64_t halves) {
  // Thread of the warpgroup: rows lane / 4 and + 8 of its warp's 16; of each 8
  // columns, 2 * (lane % 4) and the next. scores[4 j + 2 r + c].
  SmallVector<Value> s = w.unpack(scores);
  if (!limits.empty()) {
    Value never = w.f(-INFINITY);
    for (int64_t i = 0, n = s.size(); i < n; ++i) {
      Value seen = e.less(w.c(i / 4 * 8 + i % 2), limits[i / 2 % 2]);
      s[i] = e.select(seen, s[i], never);
    }
  }
  Value factor = w.f(scale * 1.4426950408889634);
  for (int64_t r = halves; r < 2; ++r) {
    shrink[r] = w.f(1);
    for (int64_t i = 0, n = s.size(); i < n; ++i)
      if (i / 2 % 2 == r)
        s[i] = w.f(0);
  }
  for (int64_t r = 0; r < halves; ++r) {
    // Two chains, folded; then over the four lanes of the row.
    Value most[2];
    SmallVector<int64_t> mine;
    for (int64_t i = 0, n = s.size(); i < n; ++i)
      if (i / 2 % 2 == r)
        mine.push_back(i);
    for (auto [n, i] : llvm::enumerate(mine))
      most[n % 2] = n < 2 ? s[i] : w.maxF(most[n % 2], s[i]);
    Value m = w.maxF(most[0], most[1]);
    m = w.maxF(m, w.exchange(m, 1));
    m = w.maxF(m, w.exchange(m, 2));
    m = w.maxF(rows.greatest[r], m);
    shrink[r] = w.exp2(w.mulF(w.subF(rows.greatest[r], m), factor));
    Value offset = w.mulF(m, w.f(-scale * 1.4426950408889634));
    Value sums[4];
    for (auto [n, i] : llvm::enumerate(mine)) {
      s[i] = w.exp2(e.fma(s[i], factor, offset));
      sums[n % 4] = n < 4 ? s[i] : w.addF(sums[n % 4], s[i]);
    }
    Value sum = w.addF(w.addF(sums[0], sums[1]), w.addF(sums[2], sums[3]));
    rows.sum[r] = e.fma(rows.sum[r], shrink[r], sum);
    rows.greatest[r] = m;
  }
  return s;
}

SmallVector<Value> ForwardBuilder::packed(ArrayRef<Value> p) {
  SmallVector<Value> words;
  for (size_t i = 0; i < p.size(); i += 2)
    words.push_back(w.packBf16(p[i], p[i + 1]));
  return words;
}

Value ForwardBuilder::weighted(Value out, ArrayRef<Value> p, Value use) {
  Value address = w.sharedAddress(place(stage(use), vAt()));
  Value b =
      w.descriptor(w.div(address, 16), Sm90Words::descriptorMN(panelBytes));
  w.fence();
  for (int64_t key = 0; key < keysABlock; key += 16)
    out = w.multiplyRegisters(out, p.slice(key / 4, 4),
                              w.plus(b, key * panelRow), width, true);
  w.commit();
  return out;
}

void ForwardBuilder::passBy(Value use, Value block0, Value count) {
  // Each place is freed once a use: not before it has been filled.
  w.count(w.c(0), count, {}, [&](Value j, ValueRange) -> SmallVector<Value> {
    Value here = e.add(block0, j);
    w.wait(barrier(kFull, stage(here)), parity(here));
    release(kEmpty, here);
    w.wait(barrier(vFull, stage(here)), parity(here));
    release(vEmpty, here);
    return {};
  });
  w.syncWarp(); // all lanes have read what the tile is
  release(qEmpty, use);
}

void ForwardBuilder::tile(Value use, Value block0, ArrayRef<Value> words,
                          int64_t halves) {
  Value first = words[0], rowsHere = words[1], count = words[3],
        unmasked = words[4];
  Value qStage = stage(use, qFull);
  // Keys below the limit are seen, counted from this thread's first column of
  // the item's first block. So are blocks.
  Value from = e.load(info(qStage, fromWord), i32);
  Value limits[2];
  Value row0 = e.add(w.mul(group, 64),
                     e.add(w.mul(w.div(thread, 32), 16), w.div(lane, 4)));
  for (int64_t r = 0; r < 2; ++r) {
    Value row = e.min(w.add(row0, 8 * r), w.add(w.mul(rowsHere, each), -1));
    Value position =
        w.number(op.getPositions(), e.add(first, w.div(row, each)));
    limits[r] = e.sub(e.sub(w.add(position, 1), w.mul(w.rem(lane, 4), 2)),
                      w.mul(from, keysABlock));
  }
  w.count(w.c(0), w.ceilDiv(count, blocksASegment), {},
          [&](Value number, ValueRange) -> SmallVector<Value> {
            Value start = w.mul(number, blocksASegment);
            Segment segment;
            segment.number = number;
            segment.block0 = e.add(block0, start);
            segment.left = e.sub(count, start);
            segment.unmasked = e.sub(unmasked, start);
            for (int64_t r = 0; r < 2; ++r)
              segment.limits[r] = e.sub(limits[r], w.mul(start, keysABlock));
            this->segment(segment, qStage, halves);
            return {};
          });
  release(qEmpty, use);
}

void ForwardBuilder::segment(const Segment &segment, Value qStage,
                             int64_t halves) {
  Value block0 = segment.block0;
  Value count = e.min(segment.left, w.c(blocksASegment));
  auto limitsAt = [&](Value j) {
    Value from = w.mul(j, keysABlock);
    return SmallVector<Value>{e.sub(segment.limits[0], from),
                              e.sub(segment.limits[1], from)};
  };
  Rows rows;
  for (int64_t r = 0; r < 2; ++r) {
    rows.greatest[r] = w.f(-INFINITY);
    rows.sum[r] = w.f(0);
  }
  Value shrink[2];
  w.wait(barrier(kFull, stage(block0)), parity(block0));
  Value s = scores(block0, qStage);
  w.waitGroups(0);
  s = w.settle(s);
  release(kEmpty, block0);
  SmallVector<Value> p =
      packed(soften(s, rows, shrink, limitsAt(w.c(0)), halves));
  w.wait(barrier(vFull, stage(block0)), parity(block0));

  int64_t sums = width / 2, weights = p.size();
  SmallVector<Value> state(sums, w.f(0));
  llvm::append_range(state, p);
  auto add = [&](Rows &rows) {
    for (int64_t r = 0; r < 2; ++r)
      state.append({rows.greatest[r], rows.sum[r]});
  };
  auto take = [&](ValueRange carried, Rows &rows) {
    ValueRange last = carried.drop_front(sums + weights);
    for (int64_t r = 0; r < 2; ++r) {
      rows.greatest[r] = last[2 * r];
      rows.sum[r] = last[2 * r + 1];
    }
  };
  add(rows);
  auto step = [&](Value j, ValueRange carried,
                  bool masked) -> SmallVector<Value> {
    Rows rows;
    take(carried, rows);
    SmallVector<Value> before(carried.take_front(sums)),
        p(carried.slice(sums, weights));
    Value here = e.add(block0, j), last = w.add(here, -1);
    w.wait(barrier(kFull, stage(here)), parity(here));
    Value s = scores(here, qStage);
    Value out = weighted(w.pack(before), p, last);
    w.waitGroups(1);
    s = w.settle(s);
    release(kEmpty, here);
    SmallVector<Value> limits;
    if (masked)
      limits = limitsAt(j);
    Value shrink[2];
    SmallVector<Value> weightsHere = soften(s, rows, shrink, limits, halves);
    // Here rather than where they are needed: no assembler moves the softmax
    // over this loop, behind the wait for the product that it runs beside.
    w.wait(barrier(vFull, stage(here)), parity(here));
    w.waitGroups(0);
    out = w.settle(out, p);
    release(vEmpty, last);
    SmallVector<Value> values = w.unpack(out);
    for (auto [i, v] : llvm::enumerate(values))
      v = w.mulF(v, shrink[i / 2 % 2]);
    state = values;
    llvm::append_range(state, packed(weightsHere));
    add(rows);
    return state;
  };
  Value middle = e.max(e.min(segment.unmasked, count), w.c(1));
  state = w.count(w.c(1), middle, state, [&](Value j, ValueRange carried) {
    return step(j, carried, false);
  });
  state = w.count(middle, count, state, [&](Value j, ValueRange carried) {
    return step(j, carried, true);
  });
  take(state, rows);
  p.assign(state.begin() + sums, state.begin() + sums + weights);
  Value last = w.add(e.add(block0, count), -1);
  Value out =
      weighted(w.pack(ArrayRef<Value>(state).take_front(sums)), p, last);
  w.waitGroups(0);
  out = w.settle(out, p);
  release(vEmpty, last);
  close(segment, rows, w.unpack(out), qStage, halves);
}

void ForwardBuilder::store(ArrayRef<Value> out, Rows &rows, Value qStage) {
  // Read again: registers are few while the blocks are walked.
  auto word = [&](int64_t i) { return e.load(info(qStage, i), i32); };
  Value first = word(1), inside = w.mul(word(2), each), keyHead = word(3);
  // The first word is 1. Only, so that all that follows from the thread's
  // number is not computed in advance and kept for long.
  Value none = w.add(word(0), -1);
  Value thread = e.add(this->thread, none), lane = e.add(this->lane, none);
  Value warp = w.div(thread, 32);
  Value row0 = e.add(w.mul(group, 64), w.mul(warp, 16)); // of this warp
  Value line = w.div(lane, 4), quarter = w.rem(lane, 4);
  auto headOf = [&](Value row) {
    return e.add(w.mul(keyHead, each), w.rem(row, each));
  };
  auto queryOf = [&](Value row) {
    return e.toI64(e.add(first, w.div(row, each)));
  };
  Value inverse[2];
  for (int64_t r = 0; r < 2; ++r) {
    Value sum = rows.sum[r];
    inverse[r] = arith::DivFOp::create(e.b, e.loc, w.f(1), sum);
    if (!op.getLse())
      continue;
    Value row = e.add(row0, w.add(line, 8 * r));
    Value writes = w.both(w.is(quarter, 0), e.less(row, inside));
    e.when(writes, [&] {
      Value lse = e.fma(rows.greatest[r], w.f(scale),
                        math::LogOp::create(e.b, e.loc, sum));
      Value at = e.add(e.mul(queryOf(row), heads), e.toI64(headOf(row)));
      e.store(lse, e.at(k.pointer(op.getLse()), at, f32), f32);
    });
  }
  // Through shared memory, where this warp's rows of q lay: all four warps must
  // be done with them.
  w.syncNamed(w.add(group, 1), 128);
  Value tile = queryPlace(qStage);
  for (int64_t i = 0; i < width / 2; i += 2) {
    int64_t r = i / 2 % 2, column = i / 4 * 8;
    Value row = e.add(row0, w.add(line, 8 * r));
    Value word =
        w.packBf16(w.mulF(out[i], inverse[r]), w.mulF(out[i + 1], inverse[r]));
    Value chunk = arith::XOrIOp::create(
        e.b, e.loc, w.c(column % panelColumns / 8), w.rem(line, 8));
    Value at =
        e.add(w.mul(row, panelRow), e.add(w.mul(chunk, 16), w.mul(quarter, 4)));
    e.store(
        word,
        w.sharedAt(tile, w.add(at, column / panelColumns * queryPanelBytes())),
        i32);
  }
  w.syncWarp();
  int64_t chunks = width / 8, rowsAtOnce = 32 / chunks;
  Value chunk = w.rem(lane, chunks);
  auto vector = VectorType::get(4, i32);
  for (int64_t r = 0; r < 16; r += rowsAtOnce) {
    Value row = e.add(row0, w.add(w.div(lane, chunks), r));
    Value piece =
        arith::XOrIOp::create(e.b, e.loc, w.rem(chunk, 8), w.rem(row, 8));
    Value at = e.add(
        w.mul(row, panelRow),
        e.add(w.mul(piece, 16), w.mul(w.div(chunk, 8), queryPanelBytes())));
    Value v =
        LLVM::LoadOp::create(e.b, e.loc, vector, w.sharedAt(tile, at), 16);
    e.when(e.less(row, inside), [&] {
      Value column = e.toI64(e.add(w.mul(headOf(row), width), w.mul(chunk, 8)));
      Value to = e.at(k.pointer(op.getOut()),
                      e.add(e.mul(queryOf(row), heads * width), column), bf16);
      LLVM::StoreOp::create(e.b, e.loc, v, to, 16);
    });
  }
  w.syncWarp();
}

LogicalResult r1c::kernels::buildFewRowsAttentionSm90(Kernel &k,
                                                      int64_t blocksPerSm) {
  ForwardBuilder(k, blocksPerSm).build();
  return success();
}

LogicalResult r1c::kernels::buildAttentionSm90(Kernel &k) {
  if (Attribute said = k.source->getAttr(placesAttribute)) {
    auto places = dyn_cast<IntegerAttr>(said);
    if (!places || places.getInt() < 0 || places.getInt() > 1 << 16)
      return k.op->emitOpError()
             << "'" << placesAttribute << "' is a whole number from 0 to "
             << (1 << 16) << ", not " << said;
  }
  ForwardBuilder(k).build();
  return success();
}
