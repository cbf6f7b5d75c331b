//===- Sm90Chunks.cpp - reductions over a chunk of columns on Hopper ------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/matmul/Sm90.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;
using kern::AccessKind;

// A region over chunks may be long (random numbers, logarithms), so columns are
// walked in a loop, 64 of them (16 of this thread) at a time. What a loop
// counts cannot name registers: the row's sums pass through shared memory, each
// thread's own.

/// From a thread's pair of sums to its next one: a block of 8 columns on.
static constexpr int64_t scratchBlock =
    Sm90Epilogue::scratchBytes / (kern::chunkColumns / 8);

Value Sm90Epilogue::ownScratch() {
  return w.sharedAt(scratch, w.mul(w.thread(), 8));
}

SmallVector<Value>
Sm90Epilogue::forOctets(Line &line, ValueRange carried,
                        function_ref<SmallVector<Value>(ValueRange)> body) {
  Value first = line.column, octets = w.c(kern::chunkColumns / 64);
  if (width % kern::chunkColumns) {
    // From the row's first column on: as often in all threads of a quad.
    Value chunk = e.sub(first, w.mul(line.quad, 2));
    octets = e.min(octets, w.ceilDiv(e.sub(w.c(width), chunk), 64));
  }
  SmallVector<Value> end = e.loop(
      w.c(0), octets, w.c(1), carried, [&](Value octet, ValueRange inner) {
        line.column = e.add(first, w.mul(octet, 64));
        line.loaded.clear();
        line.fetched.clear();
        Value here = w.sharedAt(ownScratch(), w.mul(octet, 8 * scratchBlock));
        llvm::DenseMap<int64_t, Pair> read;
        line.sum = [&](int64_t block, int64_t element) {
          Pair &pair = read[block];
          if (!pair.low) {
            auto type = VectorType::get(2, e.b.getF32Type());
            Value both = LLVM::LoadOp::create(
                e.b, e.loc, type, w.sharedAt(here, w.c(block * scratchBlock)),
                8);
            pair.low = LLVM::ExtractElementOp::create(e.b, e.loc, both, w.c(0));
            pair.high =
                LLVM::ExtractElementOp::create(e.b, e.loc, both, w.c(1));
          }
          return element ? pair.high : pair.low;
        };
        return body(inner);
      });
  line.column = first;
  line.loaded.clear();
  line.fetched.clear();
  line.sum = nullptr;
  return end;
}

/// The 64 lanes of a reduction and their tree as in kern.row. Lane l is held by
/// the thread that holds column l; columns 64 apart have the same thread.
void Sm90Epilogue::reduce(Line &line) {
  Block &body = op.getBody().front();
  using Values = SmallVector<Value>;
  RegionEmitter &region = *line.region;
  llvm::MapVector<int64_t, SmallVector<kern::ReduceOp>> stages;
  for (auto reduce : body.getOps<kern::ReduceOp>())
    stages[region.level(reduce.getValue())].push_back(reduce);
  SmallVector<int64_t> order(llvm::make_first_range(stages));
  llvm::sort(order);
  for (int64_t stage : order) {
    SmallVector<kern::ReduceOp> reductions = stages[stage];
    SmallVector<SmallVector<Values>> state(reductions.size());
    for (auto [r, reduce] : llvm::enumerate(reductions)) {
      region.prepare(reduce.getValue());
      for (int64_t lane = 0; lane < 16; ++lane) {
        Values empty =
            identity(e, reduce.getKind(), reduce.getValue().getType(), 1, 0);
        if (empty.size() > 1)
          empty[1] = w.add(line.column, lane / 2 * 8 + lane % 2);
        state[r].push_back(empty);
      }
    }
    // Over the loop's border as a list.
    auto list = [&] {
      Values all;
      for (auto &lanes : state)
        for (Values &lane : lanes)
          llvm::append_range(all, lane);
      return all;
    };
    auto unlist = [&](ValueRange all) {
      size_t i = 0;
      for (auto &lanes : state)
        for (Values &lane : lanes)
          for (Value &v : lane)
            v = all[i++];
    };
    unlist(forOctets(line, list(), [&](ValueRange inner) {
      unlist(inner);
      // Columns 16 apart share a call of Philox.
      for (int64_t i = 0; i < 16; ++i) {
        line.block = i % 4 * 2 + i / 8;
        line.element = i / 4 % 2;
        region.startQuarter(i % 4);
        Value exists;
        if (width % 64)
          exists = w.below(region.columnIndex(), width);
        for (auto [r, reduce] : llvm::enumerate(reductions)) {
          Values next = {region.group(reduce.getValue())};
          if (kern::ReduceOp::isArg(reduce.getKind()))
            next.push_back(region.columnIndex());
          Values &old = state[r][line.block * 2 + line.element];
          Values combined =
              combine(e, reduce.getKind(), old, next, /*inOrder=*/true);
          if (exists)
            for (auto [c, o] : llvm::zip(combined, old))
              c = e.select(exists, c, o);
          old = combined;
        }
      }
      return list();
    }));
    for (auto [r, reduce] : llvm::enumerate(reductions)) {
      kern::ReduceKind kind = reduce.getKind();
      SmallVector<Values> &live = state[r];
      // Lane l takes in l + 32, l + 16, l + 8: of the same thread.
      while (live.size() > 2) {
        size_t left = live.size() / 2;
        for (size_t i = 0; i < left; ++i)
          live[i] = combine(e, kind, live[i], live[i + left]);
        live.resize(left);
      }
      // Then l + 4 and l + 2: of the thread two on, and one on. All four
      // compute the same, with the lower lane first.
      for (int64_t away : {2, 1}) {
        Value upper = arith::CmpIOp::create(
            e.b, e.loc, arith::CmpIPredicate::ne,
            arith::AndIOp::create(e.b, e.loc, line.quad, w.c(away)), w.c(0));
        for (Values &lane : live) {
          Values a, b;
          for (Value own : lane) {
            Type type = own.getType();
            Value sent = own;
            if (type.isInteger(1) || type.isInteger(8))
              sent = arith::ExtUIOp::create(e.b, e.loc, e.b.getI32Type(), own);
            Value other = w.exchange(sent, away);
            if (sent != own)
              other = arith::TruncIOp::create(e.b, e.loc, type, other);
            a.push_back(e.select(upper, other, own));
            b.push_back(e.select(upper, own, other));
          }
          lane = combine(e, kind, a, b);
        }
      }
      region.define(reduce.getResult(),
                    combine(e, kind, live[0], live[1]).back());
    }
  }
}

void Sm90Epilogue::keepSums(ArrayRef<Value> sums) {
  auto type = VectorType::get(2, e.b.getF32Type());
  for (size_t block = 0; block < sums.size() / 2; ++block) {
    Value both = LLVM::PoisonOp::create(e.b, e.loc, type);
    for (int64_t i : {0, 1})
      both = LLVM::InsertElementOp::create(e.b, e.loc, both,
                                           sums[block * 2 + i], w.c(i));
    LLVM::StoreOp::create(e.b, e.loc, both,
                          w.sharedAt(ownScratch(), w.c(block * scratchBlock)),
                          8);
  }
}

void Sm90Epilogue::storeChunk(Line &line) {
  auto yield = cast<kern::YieldOp>(op.getBody().front().getTerminator());
  for (auto [i, value] : llvm::enumerate(yield.getValues())) {
    if (cast<kern::AccessAttr>(op.getResultAccess()[i]).getKind() !=
        AccessKind::chunk)
      continue;
    Value number = line.region->uniform(value);
    Value result = op.getResult(i);
    Type element = kern::elementTypeOf(result);
    Value at = e.add(e.mul(line.readRow, kern::chunksOf(width)),
                     e.toI64(w.div(line.column, kern::chunkColumns)));
    e.when(
        w.both(line.valid,
               w.both(w.is(line.quad, 0), w.below(line.column, width))),
        [&] { e.store(number, e.at(global(result), at, element), element); });
  }
}
