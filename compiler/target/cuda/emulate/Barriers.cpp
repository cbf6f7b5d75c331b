//===- Barriers.cpp - bar.sync, clusters, mbarrier, setmaxnreg ------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Machine.h"

using namespace mlir;
using namespace r1c::cuda::emulate;
using llvm::Twine;

static constexpr int64_t kMaxCount = (1 << 20) - 1;

// bar.sync and bar.arrive.

bool Machine::barrier(Thread &t, const Instruction &in, uint64_t *r) {
  uint64_t id = in.a == kNone ? uint64_t(in.imm) : r[in.a];
  if (id >= 16)
    return fail(t, "barrier " + Twine(id) + ": there are 16");
  NamedBarrier &b = blocks[t.block].barriers[id];
  bool all = in.b == kNone;
  uint32_t expected = all ? 0 : r[in.b];
  if (!all && (expected == 0 || expected % 32 ||
               expected > (launch.threads + 31) / 32 * 32))
    return fail(t, "barrier " + Twine(id) + " for " + Twine(expected) +
                       " threads: not a number of warps of this block");
  if (b.arrived == 0) {
    b.expected = expected;
    b.all = all;
  } else if (b.expected != expected || b.all != all) {
    return fail(t, "barrier " + Twine(id) + " for " + Twine(expected) +
                       " threads; others wait there for " + Twine(b.expected) +
                       " (0: all)");
  }
  ++b.arrived;
  if (!all && b.arrived > expected)
    return fail(t, "barrier " + Twine(id) + " has more arrivals than the " +
                       Twine(expected) + " it is for");
  if (in.op == Opcode::BarrierArrive) {
    if (!clockRows.empty()) {
      b.released.resize(agents);
      join(b.released, clocks(t.index));
      tick(t.index);
    }
    return tryBarrier(blocks[t.block], id);
  }
  wait(t, Waits::Barrier, in);
  t.object = id;
  t.resultSlot = in.kind ? in.dst : kNone;
  b.waiting.push_back(t.index);
  b.predicates.push_back(in.kind && r[in.c] != 0);
  return tryBarrier(blocks[t.block], id);
}

bool Machine::tryBarrier(Block &block, uint32_t id) {
  NamedBarrier &b = block.barriers[id];
  if (b.arrived == 0 || b.arrived < (b.all ? block.running : b.expected))
    return true;
  // Aligned barriers: a warp comes as a whole, to one instruction.
  for (uint32_t index : b.waiting) {
    Thread &t = threads[index];
    uint32_t first = index - t.id % 32;
    for (uint32_t lane = 0;
         lane < 32 && t.id / 32 * 32 + lane < uint32_t(launch.threads);
         ++lane) {
      Thread &other = threads[first + lane];
      if (other.waits != Waits::Done && other.at != t.at)
        return fail(t, "waits at barrier " + Twine(id) + ", thread " +
                           Twine(other.id) +
                           " of its warp does not: a divergent barrier");
    }
  }
  if (!clockRows.empty())
    synchronize(b.waiting, b.released);
  uint64_t count = 0;
  for (bool predicate : b.predicates)
    count += predicate;
  std::vector<uint32_t> waiting = std::move(b.waiting);
  b = NamedBarrier();
  for (uint32_t index : waiting) {
    unsigned kind = threads[index].at->kind;
    wake(threads[index], kind == 1   ? count
                         : kind == 2 ? count == waiting.size()
                                     : count != 0);
  }
  return true;
}

// The barrier of a cluster.

bool Machine::clusterBarrier(Thread &t, const Instruction &in) {
  if (in.op == Opcode::ClusterArrive) {
    if (t.clusterArrived)
      return fail(t, "arrives twice at the cluster's barrier without a wait");
    t.clusterArrived = true;
    t.clusterPhase = clusterPhase;
    ++clusterArrived;
    if (!clockRows.empty() && !in.kind) {
      clusterClocks.resize(agents);
      join(clusterClocks, clocks(t.index));
    }
    if (!clockRows.empty())
      tick(t.index);
    return tryCluster();
  }
  if (!t.clusterArrived)
    return fail(t, "waits at the cluster's barrier without having arrived");
  if (clusterPhase > t.clusterPhase) {
    if (!clockRows.empty())
      join(clocks(t.index), clusterAcquirable);
    t.clusterArrived = false;
    return true;
  }
  wait(t, Waits::Cluster, in);
  return true;
}

bool Machine::tryCluster() {
  uint32_t running = 0;
  for (Block &block : blocks)
    running += block.running;
  if (clusterArrived == 0 || clusterArrived < running)
    return true;
  clusterArrived = 0;
  ++clusterPhase;
  clusterAcquirable = std::move(clusterClocks);
  clusterClocks.clear();
  for (Thread &t : threads)
    if (t.waits == Waits::Cluster) {
      if (!clockRows.empty())
        join(clocks(t.index), clusterAcquirable);
      t.clusterArrived = false;
      wake(t);
    }
  return true;
}

// setmaxnreg: registers go back to the block's pool, and come from there.

bool Machine::setRegisters(Thread &t, const Instruction &in) {
  uint32_t wanted = in.imm;
  bool less = in.kind;
  if (wanted % 8 || wanted < 24 || wanted > 256)
    return fail(t, "setmaxnreg " + Twine(wanted) +
                       ": not a multiple of 8 from 24 to 256");
  if (less ? wanted > t.registers : wanted < t.registers)
    return fail(t, "setmaxnreg." + Twine(less ? "dec " : "inc ") +
                       Twine(wanted) + " with " + Twine(t.registers) +
                       " registers");
  Block &block = blocks[t.block];
  int64_t change = (int64_t(t.registers) - wanted) * 128;
  if (block.freeRegisters + change < 0)
    return true; // all of the warpgroup go on waiting
  block.freeRegisters += change;
  uint32_t first = t.id / 128 * 128;
  for (uint32_t i = first; i < first + 128; ++i) {
    Thread &other = threadOf(t.block, i);
    other.registers = wanted;
    wake(other);
  }
  if (less)
    for (uint32_t i = 0; i + 127 < uint32_t(launch.threads); i += 128) {
      Thread &other = threadOf(t.block, i);
      if (other.waits == Waits::Registers && !setRegisters(other, *other.at))
        return false;
    }
  return true;
}

// mbarrier.

Mbarrier *Machine::findMbarrier(const Thread &t, uint64_t address,
                                unsigned space, Piece &piece) {
  if (space == 0) {
    if ((address & kWindowMask) != kSharedWindow) {
      fail(t, "uses an address outside shared memory as an mbarrier");
      return nullptr;
    }
    address &= ~kWindowMask;
    space = 7;
  }
  if (address % 8) {
    fail(t, "uses an mbarrier that is not aligned to 8 bytes");
    return nullptr;
  }
  if (!locate(t, address, space, 8, piece))
    return nullptr;
  auto &barriers = blocks[piece.block].mbarriers;
  auto found = barriers.find(piece.offset);
  if (found == barriers.end()) {
    fail(t, "uses " + shared(piece) +
                " as an mbarrier, but none was initialised there");
    return nullptr;
  }
  Mbarrier &barrier = found->second;
  if (!before(clocks(t.index), epoch(barrier.creator, barrier.created))) {
    fail(t, "uses the mbarrier in " + shared(piece) + ", which " +
                agentName(barrier.creator) +
                " initialised without a barrier between");
    return nullptr;
  }
  return &barrier;
}

bool Machine::checkPhase(const Thread &t, const Piece &piece,
                         Mbarrier &barrier) {
  if (barrier.bytes > kMaxCount || barrier.bytes < -kMaxCount)
    return fail(t, "the mbarrier in " + shared(piece) + " expects " +
                       Twine(barrier.bytes) +
                       " bytes: the count of bytes overflows");
  if (barrier.pending || barrier.bytes)
    return true;
  if (barrier.inFlight)
    return fail(t, "completes phase " + Twine(barrier.phase) +
                       " of the mbarrier in " + shared(piece) + " while " +
                       Twine(barrier.inFlight) +
                       " copies that count there are under way: it expected "
                       "too few bytes");
  ++barrier.phase;
  barrier.pending = barrier.count;
  barrier.acquirable = std::move(barrier.clocks);
  barrier.clocks.assign(agents, 0);
  for (Thread &other : threads)
    if (other.waits == Waits::Mbarrier && other.block == piece.block &&
        other.object == piece.offset && barrier.phase > other.phase) {
      join(clocks(other.index), barrier.acquirable);
      wake(other, 1);
    }
  return true;
}

bool Machine::arrive(Thread &t, Mbarrier &barrier, const Piece &piece,
                     uint32_t count, bool relaxed, bool last) {
  if (count == 0 || count > barrier.pending)
    return fail(t, "arrives " + Twine(count) + " times at the mbarrier in " +
                       shared(piece) + ", which waits for " +
                       Twine(barrier.pending) + " of " + Twine(barrier.count) +
                       " in phase " + Twine(barrier.phase));
  if (!last && count == barrier.pending && barrier.bytes == 0)
    return fail(t, "mbarrier.arrive.nocomplete would complete the phase");
  barrier.pending -= count;
  if (!relaxed)
    join(barrier.clocks, clocks(t.index));
  tick(t.index);
  return checkPhase(t, piece, barrier);
}

bool Machine::mbarrier(Thread &t, const Instruction &in, uint64_t *r) {
  Piece piece;
  uint64_t address = r[in.a];
  if (in.op == Opcode::MbarInit) {
    unsigned space = in.kind;
    if (space == 0 && (address & kWindowMask) == kSharedWindow) {
      address &= ~kWindowMask;
      space = 7;
    } else if (space == 0) {
      return fail(t, "initialises an mbarrier outside shared memory");
    }
    int64_t count = r[in.b];
    if (count < 1 || count > kMaxCount)
      return fail(t,
                  "initialises an mbarrier for " + Twine(count) + " arrivals");
    if (address % 8)
      return fail(t, "uses an mbarrier that is not aligned to 8 bytes");
    if (!locate(t, address, space, 8, piece))
      return false;
    auto &barriers = blocks[piece.block].mbarriers;
    if (barriers.count(piece.offset))
      return fail(t, "initialises the mbarrier in " + shared(piece) +
                         ", which is one already");
    const uint64_t word = 0;
    if (!markWrite(t, piece, &word))
      return false;
    markArrived(piece, kIsMbarrier);
    Mbarrier barrier(
        t.frames.back().function->locations[t.frames.back().pc - 1]);
    barrier.count = barrier.pending = count;
    barrier.creator = t.index;
    barrier.created = clocks(t.index)[t.index];
    barrier.clocks.assign(agents, 0);
    barrier.acquirable.assign(agents, 0);
    barriers.emplace(piece.offset, std::move(barrier));
    return true;
  }
  Mbarrier *barrier = findMbarrier(t, address, in.kind, piece);
  if (!barrier)
    return false;
  switch (in.op) {
  case Opcode::MbarInval:
    if (barrier->inFlight)
      return fail(t, "invalidates the mbarrier in " + shared(piece) +
                         " while copies that count there are under way");
    blocks[piece.block].mbarriers.erase(piece.offset);
    markArrived(piece, 0);
    return true;
  case Opcode::MbarExpect:
    barrier->bytes += r[in.b];
    if (in.imm & 8) // arrive_drop
      --barrier->count;
    if (!(in.imm & 4))
      return checkPhase(t, piece, *barrier);
    if (in.dst != kNone)
      r[in.dst] = barrier->phase;
    return arrive(t, *barrier, piece, 1, in.imm & 2, true);
  case Opcode::MbarComplete:
    barrier->bytes -= r[in.b];
    return checkPhase(t, piece, *barrier);
  case Opcode::MbarArrive: {
    uint32_t count = in.b == kNone ? 1 : r[in.b];
    if (in.dst != kNone)
      r[in.dst] = barrier->phase;
    if (in.imm & 1) {
      if (barrier->count < count)
        return fail(t, "drops more arrivals than the mbarrier has");
      barrier->count -= count;
    }
    return arrive(t, *barrier, piece, count, in.imm & 2, !(in.imm & 4));
  }
  default:
    break;
  }
  // A wait.
  if (piece.block != t.block)
    return fail(t, "waits at an mbarrier of another block");
  bool state = in.imm & 1, test = in.imm & 2;
  uint64_t wanted = r[in.b];
  if (state ? wanted > barrier->phase || barrier->phase - wanted > 1
            : wanted > 1)
    return fail(t, state ? "waits for a phase of the mbarrier in " +
                               shared(piece) +
                               " that is neither the present one nor the one "
                               "before"
                         : "waits for parity " + std::to_string(wanted) +
                               " of the mbarrier in " + shared(piece));
  bool done = state ? barrier->phase > wanted : (barrier->phase & 1) != wanted;
  t.object = piece.offset;
  t.phase = barrier->phase;
  if (done) {
    join(clocks(t.index), barrier->acquirable);
    if (in.dst != kNone)
      r[in.dst] = 1;
    return true;
  }
  if (in.dst != kNone)
    r[in.dst] = 0;
  wait(t, test ? Waits::Poll : Waits::Mbarrier, in);
  t.resultSlot = test ? kNone : in.dst;
  return true;
}
