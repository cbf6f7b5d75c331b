//===- Step.cpp - one thread, until it has to wait ------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Arithmetic.h"
#include "compiler/target/cuda/emulate/Machine.h"

using namespace mlir;
using namespace r1c::cuda::emulate;
using llvm::Twine;

/// Deeper calls than any kernel of ours has.
static constexpr size_t kMaxFrames = 64;

uint64_t Machine::special(const Thread &t, unsigned which) const {
  uint64_t lane = t.id % 32, bit = uint64_t(1) << lane;
  switch (Register(which)) {
  case Register::LaneId:
    return lane;
  case Register::WarpSize:
    return 32;
  case Register::WarpId:
    return t.id / 32;
  case Register::WarpCount:
    return (launch.threads + 31) / 32;
  case Register::ThreadX:
    return t.id;
  case Register::ThreadsX:
    return launch.threads;
  case Register::BlockX:
    return blocks[t.block].index;
  case Register::BlocksX:
    return launch.blocks;
  case Register::Zero:
    return 0;
  case Register::One:
    return 1;
  case Register::ClusterX:
    return blocks[t.block].index / launch.cluster;
  case Register::ClustersX:
    return launch.blocks / launch.cluster;
  case Register::BlockInCluster:
    return t.block;
  case Register::ClusterSize:
    return launch.cluster;
  case Register::MaskEqual:
    return bit;
  case Register::MaskLessEqual:
    return bit * 2 - 1;
  case Register::MaskLess:
    return bit - 1;
  case Register::MaskGreaterEqual:
    return 0xffffffff & ~(bit - 1);
  case Register::MaskGreater:
    return 0xffffffff & ~(bit * 2 - 1);
  case Register::Clock:
    return statistics.steps;
  case Register::DynamicShared:
    return launch.shared;
  case Register::TotalShared:
    return blocks[t.block].shared.size();
  }
  return 0;
}

bool Machine::enter(Thread &t, uint32_t index, uint32_t dst) {
  if (t.frames.size() >= kMaxFrames)
    return fail(t, "calls are nested too deep");
  const Function &function = code.functions[index];
  uint32_t base = t.slots.size();
  t.slots.insert(t.slots.end(), function.image.begin(), function.image.end());
  if (code.asynchronous)
    t.tags.resize(t.slots.size());
  t.frames.push_back({&function, 0, base, dst, t.local.size()});
  return true;
}

void Machine::wait(Thread &t, Waits what, const Instruction &in) {
  t.waits = what;
  t.at = &in;
}

void Machine::wake(Thread &t, uint64_t result) {
  if (t.resultSlot != kNone)
    t.slots[t.frames.back().base + t.resultSlot] = result;
  t.resultSlot = kNone;
  t.waits = Waits::Nothing;
  t.at = nullptr;
}

bool Machine::checkUses(Thread &t, const Frame &frame, const Instruction &in) {
  for (uint32_t u = in.uses; u < in.uses + in.useCount; ++u) {
    SlotRange range = frame.function->uses[u];
    for (uint32_t s = 0; s < range.count; ++s) {
      const Tag &tag = t.tags[frame.base + range.first + s];
      if (tag.time == kUnwritten)
        return fail(t, "computes with what it read of shared memory that was "
                       "never written");
      if (tag.wgmma > t.completed)
        return fail(t, "reads accumulators of a wgmma that no "
                       "wgmma.wait_group has waited for");
    }
  }
  return true;
}

template <bool Tagged>
bool Machine::move(Thread &t, Frame &frame, const Edge &edge) {
  uint64_t *r = t.slots.data() + frame.base;
  Tag *tags = Tagged ? t.tags.data() + frame.base : nullptr;
  if (!edge.overlaps) {
    for (const Edge::Move &m : edge.moves) {
      std::copy_n(r + m.src, m.count, r + m.dst);
      if (Tagged)
        std::copy_n(tags + m.src, m.count, tags + m.dst);
    }
  } else {
    std::vector<uint64_t> values;
    std::vector<Tag> known;
    for (const Edge::Move &m : edge.moves) {
      values.insert(values.end(), r + m.src, r + m.src + m.count);
      if (Tagged)
        known.insert(known.end(), tags + m.src, tags + m.src + m.count);
    }
    size_t at = 0;
    for (const Edge::Move &m : edge.moves) {
      std::copy_n(values.data() + at, m.count, r + m.dst);
      if (Tagged)
        std::copy_n(known.data() + at, m.count, tags + m.dst);
      at += m.count;
    }
  }
  frame.pc = edge.target;
  return true;
}

bool Machine::control(Thread &t, Frame &frame, const Instruction &in) {
  switch (in.op) {
  case Opcode::Call: {
    const CallSite &call = frame.function->calls[in.extra];
    uint32_t from = frame.base;
    if (!enter(t, call.function, call.dst))
      return false;
    uint32_t to = t.frames.back().base;
    for (const Edge::Move &m : call.arguments) {
      std::copy_n(t.slots.data() + from + m.src, m.count,
                  t.slots.data() + to + m.dst);
      if (code.asynchronous)
        std::copy_n(t.tags.data() + from + m.src, m.count,
                    t.tags.data() + to + m.dst);
    }
    return true;
  }
  case Opcode::Return: {
    Frame old = frame;
    t.frames.pop_back();
    if (t.frames.empty()) {
      leave(t);
      return error.empty();
    }
    uint32_t to = t.frames.back().base + old.dst;
    if (old.dst != kNone) {
      std::copy_n(t.slots.data() + old.base + in.a, in.lanes,
                  t.slots.data() + to);
      if (code.asynchronous)
        std::copy_n(t.tags.data() + old.base + in.a, in.lanes,
                    t.tags.data() + to);
    }
    t.slots.resize(old.base);
    if (code.asynchronous)
      t.tags.resize(old.base);
    t.local.resize(old.localMark);
    t.localKnown.resize(old.localMark);
    return true;
  }
  case Opcode::Unreachable:
    return fail(t, "reaches what must not be reached");
  default: {
    std::string name;
    Location location = frame.function->locations[frame.pc - 1];
    if (auto named = dyn_cast<NameLoc>(location))
      name = named.getName().str();
    return fail(t, "the interpreter does not know " + Twine(name));
  }
  }
}

bool Machine::memory(Thread &t, const Instruction &in, uint64_t *r) {
  const unsigned space = in.kind;
  auto element = [&](uint64_t address, uint64_t &value, bool store) {
    const Access &access = code.accesses[in.extra];
    const Access::Field &field = access.fields[0];
    uint64_t align = std::min<uint64_t>(in.imm, field.bytes);
    if (store)
      return write(t, address, space, &value, field.bytes, align);
    value = 0;
    return read(t, address, space, &value, field.bytes, align);
  };
  switch (in.op) {
  case Opcode::Load:
    return loadFields(t, in, r[in.a], space, r + in.dst);
  case Opcode::Store: {
    const Access &access = code.accesses[in.extra];
    const uint64_t *value = r + in.b;
    if (access.fields.size() == 1)
      return write(t, r[in.a], space, value, access.size, in.imm);
    if (access.uniform) {
      llvm::SmallVector<uint8_t, 256> bytes(access.size);
      for (auto [i, field] : llvm::enumerate(access.fields))
        memcpy(bytes.data() + field.offset, &value[i], field.bytes);
      return write(t, r[in.a], space, bytes.data(), access.size, in.imm);
    }
    for (auto [i, field] : llvm::enumerate(access.fields))
      if (!write(t, r[in.a] + field.offset, space, &value[i], field.bytes,
                 std::min<uint64_t>(in.imm, field.bytes)))
        return false;
    return true;
  }
  case Opcode::MaskedLoad:
  case Opcode::MaskedStore: {
    const Access &access = code.accesses[in.extra];
    for (uint32_t i = 0; i < in.lanes; ++i) {
      uint64_t address = r[in.a] + access.fields[i].offset;
      if (in.op == Opcode::MaskedStore) {
        if (r[in.c + i] & 1 && !element(address, r[in.b + i], true))
          return false;
      } else if (!(r[in.b + i] & 1)) {
        r[in.dst + i] = r[in.c + i];
      } else if (!element(address, r[in.dst + i], false)) {
        return false;
      }
    }
    return true;
  }
  case Opcode::Gather:
    for (uint32_t i = 0; i < in.lanes; ++i)
      if (!(r[in.b + i] & 1))
        r[in.dst + i] = r[in.c + i];
      else if (!element(r[in.a + i], r[in.dst + i], false))
        return false;
    return true;
  case Opcode::Scatter:
    for (uint32_t i = 0; i < in.lanes; ++i)
      if (r[in.c + i] & 1 && !element(r[in.b + i], r[in.a + i], true))
        return false;
    return true;
  case Opcode::MemCopy: {
    std::vector<uint8_t> bytes(r[in.c]);
    return bytes.empty() ||
           (read(t, r[in.b], in.width, bytes.data(), bytes.size(), 1) &&
            write(t, r[in.a], in.kind, bytes.data(), bytes.size(), 1));
  }
  case Opcode::MemSet: {
    std::vector<uint8_t> bytes(r[in.c], uint8_t(r[in.b]));
    return bytes.empty() ||
           write(t, r[in.a], in.kind, bytes.data(), bytes.size(), 1);
  }
  case Opcode::Alloca: {
    uint64_t bytes = r[in.a] * in.imm;
    uint64_t start = llvm::alignTo(t.local.size(), std::max(1u, in.extra));
    t.local.resize(start + bytes);
    t.localKnown.resize(start + bytes);
    r[in.dst] = start | (space == 5 ? 0 : kLocalWindow);
    return true;
  }
  case Opcode::SharedWindow:
    for (uint32_t i = 0; i < in.lanes; ++i) {
      uint64_t address = r[in.a + i];
      if (in.kind == 0)
        r[in.dst + i] = address | kSharedWindow;
      else if ((address & kWindowMask) == kSharedWindow)
        r[in.dst + i] = address & ~kWindowMask;
      else
        return fail(t, "casts a pointer to shared memory that is none");
    }
    return true;
  case Opcode::LocalWindow:
    for (uint32_t i = 0; i < in.lanes; ++i)
      r[in.dst + i] = in.kind == 0 ? r[in.a + i] | kLocalWindow
                                   : r[in.a + i] & ~kWindowMask;
    return true;
  default:
    return atomic(t, in, r);
  }
}

template <bool Tagged>
bool Machine::step(Thread &t, uint64_t budget) {
  Frame *frame = &t.frames.back();
  uint64_t *r = t.slots.data() + frame->base;
  auto refresh = [&] {
    frame = &t.frames.back();
    r = t.slots.data() + frame->base;
  };
  uint64_t left = budget;
  auto count = [&] {
    steps += budget - left;
    statistics.steps += budget - left;
    return error.empty();
  };
  while (left) {
    --left;
    const Instruction &in = frame->function->code[frame->pc++];
    if (Tagged) {
      ++t.clock;
      if ((t.issued > t.completed || t.unwritten) && in.useCount &&
          !checkUses(t, *frame, in))
        return count();
    }
    bool good = true;
    switch (in.op) {
    case Opcode::Copy:
      std::copy_n(r + in.a, in.lanes, r + in.dst);
      if (Tagged)
        std::copy_n(t.tags.data() + frame->base + in.a, in.lanes,
                    t.tags.data() + frame->base + in.dst);
      continue;
    case Opcode::Undef:
      std::fill_n(r + in.dst, in.lanes, 0);
      if (Tagged)
        std::fill_n(t.tags.data() + frame->base + in.dst, in.lanes,
                    Tag{0, kNoValue});
      continue;
    case Opcode::Jump:
      move<Tagged>(t, *frame, frame->function->edges[in.extra]);
      continue;
    case Opcode::Branch:
      move<Tagged>(
          t, *frame,
          frame->function->edges[r[in.a] & 1 ? in.extra : uint32_t(in.imm)]);
      continue;
    case Opcode::Switch: {
      const Cases &cases = frame->function->cases[in.extra];
      uint32_t edge = cases.otherwise;
      for (auto [value, target] : cases.edges)
        if (value == r[in.a])
          edge = target;
      move<Tagged>(t, *frame, frame->function->edges[edge]);
      continue;
    }
    case Opcode::Predicate:
      if (!(r[in.a] & 1))
        ++frame->pc;
      continue;
    case Opcode::Nop:
      continue;
    case Opcode::ExtractLane:
      if (r[in.b] >= in.lanes)
        good = fail(t, "extracts an element beyond the end of a vector");
      else
        r[in.dst] = r[in.a + r[in.b]];
      break;
    case Opcode::InsertLane:
      if (r[in.c] >= in.lanes)
        good = fail(t, "inserts an element beyond the end of a vector");
      else
        r[in.dst + r[in.c]] = r[in.b];
      break;
    case Opcode::Special:
      r[in.dst] = special(t, in.kind);
      break;
    case Opcode::Call:
    case Opcode::Return:
    case Opcode::Unreachable:
    case Opcode::Unsupported:
      if (!control(t, *frame, in) || t.waits != Waits::Nothing)
        return count();
      refresh();
      continue;
    case Opcode::Load:
      if (Tagged) {
        lenient = true;
        good = memory(t, in, r);
        lenient = false;
        if (!good || !sawUnwritten)
          break;
        sawUnwritten = false;
        t.unwritten = true;
        std::fill_n(t.tags.data() + frame->base + in.dst, in.results,
                    Tag{0, kUnwritten});
        continue;
      }
      good = memory(t, in, r);
      break;
    case Opcode::Store:
    case Opcode::MaskedLoad:
    case Opcode::MaskedStore:
    case Opcode::Gather:
    case Opcode::Scatter:
    case Opcode::MemCopy:
    case Opcode::MemSet:
    case Opcode::Atomic:
    case Opcode::CompareSwap:
    case Opcode::Alloca:
    case Opcode::SharedWindow:
    case Opcode::LocalWindow:
      good = memory(t, in, r);
      break;
    case Opcode::Shuffle32:
    case Opcode::Vote:
    case Opcode::Elect:
    case Opcode::WarpSync:
    case Opcode::Redux:
    case Opcode::Match:
      good = arriveWarp(t, in, uint32_t(r[in.a]));
      break;
    case Opcode::LoadMatrix:
    case Opcode::StoreMatrix:
      good = arriveWarp(t, in, ~0u);
      break;
    case Opcode::Barrier:
    case Opcode::BarrierArrive:
      good = barrier(t, in, r);
      break;
    case Opcode::ClusterArrive:
    case Opcode::ClusterWait:
      good = clusterBarrier(t, in);
      break;
    case Opcode::GridWait:
      t.gridWaited = gridWaited = true;
      break;
    case Opcode::Fence:
      if (clockRows.empty())
        break;
      if (FenceKind(in.kind) == FenceKind::AsyncProxy) {
        t.proxyFenced = clocks(t.index)[t.index];
        tick(t.index);
      }
      if (FenceKind(in.kind) != FenceKind::Memory)
        for (auto &[offset, barrier] : blocks[t.block].mbarriers)
          barrier.fencedByCreator |= barrier.creator == t.index;
      break;
    case Opcode::MbarInit:
    case Opcode::MbarInval:
    case Opcode::MbarArrive:
    case Opcode::MbarExpect:
    case Opcode::MbarComplete:
    case Opcode::MbarWait:
      good = mbarrier(t, in, r);
      break;
    case Opcode::BulkTensorLoad:
    case Opcode::BulkTensorStore:
    case Opcode::BulkLoad:
    case Opcode::BulkPrefetch:
    case Opcode::BulkStore:
    case Opcode::BulkCommit:
    case Opcode::BulkWait:
      good = bulk(t, in, r);
      break;
    case Opcode::CpAsync:
    case Opcode::CpAsyncCommit:
    case Opcode::CpAsyncWait:
    case Opcode::CpAsyncArrive:
      good = elementCopy(t, in, r);
      break;
    case Opcode::Mapa: {
      uint64_t rank = r[in.b], address = r[in.a];
      if (rank >= uint64_t(launch.cluster))
        good = fail(t, "mapa to block " + Twine(rank) + " of a cluster of " +
                           Twine(launch.cluster));
      r[in.dst] = (address & (kWindowMask | ((1u << kRankShift) - 1))) |
                  (rank + 1) << kRankShift;
      break;
    }
    case Opcode::SetRegisters:
    case Opcode::Wgmma:
      good = arriveWarpgroup(t, in);
      break;
    case Opcode::WgmmaFence:
      t.fenced = t.clock;
      t.everFenced = true;
      break;
    case Opcode::WgmmaCommit:
      t.groups.push_back(t.issued);
      break;
    case Opcode::WgmmaWait:
      good = wgmmaWait(t, in.imm);
      break;
    default:
      if (!compute(in, *frame->function, r))
        good = fail(t, "divides by zero");
      break;
    }
    if (!good)
      return count();
    if (Tagged && in.results)
      std::fill_n(t.tags.data() + frame->base + in.dst, in.results,
                  Tag{0, t.clock});
    if (t.waits != Waits::Nothing)
      return count();
  }
  return count();
}

namespace r1c::cuda::emulate {
template bool Machine::step<true>(Thread &, uint64_t);
template bool Machine::step<false>(Thread &, uint64_t);
} // namespace r1c::cuda::emulate
