//===- Shared.cpp - who may touch shared memory when ----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Two accesses to a byte, one of them a write, must be ordered: by a barrier of
// threads, by arriving at and waiting for an mbarrier, or by program order. Of
// the readers since the last write two are remembered, so that a missing order
// is found in the usual case, though not if only a third one lacks it. Writing
// again what is there needs no order: whoever comes first, all see the same.
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Machine.h"

using namespace mlir;
using namespace r1c::cuda::emulate;
using llvm::Twine;

std::string Machine::agentName(uint32_t agent) const {
  if (agent < threads.size()) {
    const Thread &t = threads[agent];
    std::string name = "thread " + std::to_string(t.id);
    if (blocks.size() > 1)
      name += " of block " + std::to_string(blocks[t.block].index);
    return name;
  }
  if (agent == copyAgent())
    return "an asynchronous copy";
  return "the wgmma of warpgroup " +
         std::to_string((agent - copyAgent() - 1) % groupsABlock);
}

std::string Machine::shared(const Piece &piece) const {
  std::string name = "shared memory at " + std::to_string(piece.offset);
  if (blocks.size() > 1)
    name += " of block " + std::to_string(blocks[piece.block].index);
  return name;
}

void Machine::join(MutableArrayRef<uint32_t> into,
                   ArrayRef<uint32_t> from) const {
  for (size_t i = 0; i < from.size(); ++i)
    into[i] = std::max(into[i], from[i]);
}

void Machine::synchronize(ArrayRef<uint32_t> group,
                          ArrayRef<uint32_t> released) {
  std::vector<uint32_t> all(agents, 0);
  join(all, released);
  for (uint32_t thread : group)
    join(all, clocks(thread));
  for (uint32_t thread : group) {
    llvm::copy(all, clocks(thread).begin());
    tick(thread);
  }
}

bool Machine::markRead(const Thread &t, const Piece &piece) {
  Block &block = blocks[piece.block];
  ArrayRef<uint32_t> seen = clocks(t.index);
  const uint32_t mine = epoch(t.index, seen[t.index]);
  uint32_t fine = 0; // the write that was found to be ordered last
  for (uint64_t i = piece.offset; i < piece.offset + piece.bytes; ++i) {
    Shadow &shadow = block.shadow[i];
    if (shadow.write != fine || !fine || shadow.twin) {
      if (shadow.write == 0 && lenient) {
        sawUnwritten = true;
        continue;
      }
      if (shadow.write == 0)
        return fail(t, "reads " + shared(piece) + ", which was never written");
      if (shadow.write == kIsMbarrier)
        return fail(t, "reads " + shared(piece) + ", where an mbarrier is");
      if (shadow.write == kInFlight)
        return fail(t, "reads " + shared(piece) +
                           ", where an asynchronous copy is still to write: "
                           "nothing waited for it");
      if (!before(seen, shadow.write) &&
          !(shadow.twin && before(seen, shadow.twin)))
        return fail(t, "reads " + shared(piece) + ", which " +
                           agentName(agentOf(shadow.write)) +
                           " wrote without a barrier between");
      fine = shadow.write;
    }
    if (shadow.reads[0] == 0 || agentOf(shadow.reads[0]) == t.index ||
        before(seen, shadow.reads[0]))
      shadow.reads[0] = mine;
    else
      shadow.reads[1] = mine;
  }
  return true;
}

bool Machine::markWrite(const Thread &t, const Piece &piece, const void *from) {
  Block &block = blocks[piece.block];
  ArrayRef<uint32_t> seen = clocks(t.index);
  const uint32_t mine = epoch(t.index, seen[t.index]);
  for (uint64_t i = piece.offset; i < piece.offset + piece.bytes; ++i) {
    Shadow &shadow = block.shadow[i];
    if (shadow.write == kIsMbarrier)
      return fail(t, "writes " + shared(piece) + ", where an mbarrier is");
    if (shadow.write == kInFlight)
      return fail(t, "writes " + shared(piece) +
                         ", where an asynchronous copy is still to write");
    // What was there is written again: nobody can tell who came first.
    const bool same =
        shadow.write &&
        static_cast<const uint8_t *>(from)[i - piece.offset] == block.shared[i];
    if (block.busy[i / 16] && !same)
      return fail(t, "writes " + shared(piece) +
                         ", which a wgmma or an asynchronous copy still reads");
    bool ordered = !block.busy[i / 16];
    for (uint32_t writer : {shadow.write, shadow.twin})
      if (writer && !before(seen, writer)) {
        if (!same)
          return fail(t, "writes " + shared(piece) + ", which " +
                             agentName(agentOf(writer)) +
                             " wrote without a barrier between");
        ordered = false;
      }
    for (uint32_t reader : shadow.reads)
      if (reader && !before(seen, reader)) {
        if (!same)
          return fail(t, "writes " + shared(piece) + ", which " +
                             agentName(agentOf(reader)) +
                             " read without a barrier between");
        ordered = false;
      }
    if (ordered)
      shadow = {mine, 0, {0, 0}};
    else
      shadow.twin = mine;
  }
  return true;
}

bool Machine::markAsyncRead(const Thread &t, const Piece &piece,
                            ArrayRef<uint32_t> seen, const char *who,
                            bool unwritten) {
  Block &block = blocks[piece.block];
  uint32_t fine = 0;
  for (uint64_t i = piece.offset; i < piece.offset + piece.bytes; ++i) {
    uint32_t write = block.shadow[i].write, twin = block.shadow[i].twin;
    if (write == fine && fine && !twin)
      continue;
    Piece byte = {piece.block, i, 1};
    if (write == 0 && unwritten)
      continue;
    if (write == 0)
      return fail(t, Twine(who) + " reads " + shared(byte) +
                         ", which was never written");
    if (write == kIsMbarrier)
      return fail(t, Twine(who) + " reads " + shared(byte) +
                         ", where an mbarrier is");
    if (write == kInFlight)
      return fail(t, Twine(who) + " reads " + shared(byte) +
                         ", where an asynchronous copy is still to write: "
                         "nothing waited for it");
    if (twin && !before(seen, write))
      write = twin;
    if (!before(seen, write))
      return fail(t, Twine(who) + " reads " + shared(byte) + ", which " +
                         agentName(agentOf(write)) +
                         " wrote without a barrier between");
    if (agentOf(write) < threads.size() &&
        threads[agentOf(write)].proxyFenced < clockOf(write))
      return fail(t, Twine(who) + " reads " + shared(byte) + ", which " +
                         agentName(agentOf(write)) +
                         " wrote without a fence.proxy.async after it");
    fine = write;
  }
  return true;
}

bool Machine::markInFlight(const Thread &t, const Piece &piece,
                           ArrayRef<uint32_t> seen) {
  Block &block = blocks[piece.block];
  for (uint64_t i = piece.offset; i < piece.offset + piece.bytes; ++i) {
    Shadow &shadow = block.shadow[i];
    Piece byte = {piece.block, i, 1};
    if (block.busy[i / 16])
      return fail(t, "an asynchronous copy writes " + shared(byte) +
                         ", which a wgmma or another copy still reads");
    if (shadow.write == kIsMbarrier)
      return fail(t, "an asynchronous copy writes " + shared(byte) +
                         ", where an mbarrier is");
    if (shadow.write == kInFlight)
      return fail(t, "an asynchronous copy writes " + shared(byte) +
                         ", where another one is still to write");
    for (uint32_t writer : {shadow.write, shadow.twin})
      if (!before(seen, writer))
        return fail(t, "an asynchronous copy writes " + shared(byte) +
                           ", which " + agentName(agentOf(writer)) +
                           " wrote without a barrier between");
    for (uint32_t reader : shadow.reads)
      if (reader && !before(seen, reader))
        return fail(t, "an asynchronous copy writes " + shared(byte) +
                           ", which " + agentName(agentOf(reader)) +
                           " read without a barrier between");
    shadow = {kInFlight, 0, {0, 0}};
  }
  return true;
}

void Machine::markArrived(const Piece &piece, uint32_t epoch) {
  Block &block = blocks[piece.block];
  for (uint64_t i = piece.offset; i < piece.offset + piece.bytes; ++i)
    block.shadow[i] = {epoch, 0, {0, 0}};
}

void Machine::setBusy(const Piece &piece, int change) {
  Block &block = blocks[piece.block];
  for (uint64_t i = piece.offset / 16;
       i <= (piece.offset + piece.bytes - 1) / 16; ++i)
    block.busy[i] += change;
}
