//===- Warps.cpp - what the lanes of a warp do together -------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Arithmetic.h"
#include "compiler/target/cuda/emulate/Machine.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace r1c::cuda::emulate;
using llvm::Twine;

bool Machine::arriveWarp(Thread &t, const Instruction &in, uint32_t mask) {
  if (!(mask >> (t.id % 32) & 1))
    return fail(t, "takes part in a warp operation whose mask 0x" +
                       llvm::utohexstr(mask) + " leaves it out");
  wait(t, Waits::Warp, in);
  t.mask = mask;
  return tryWarp(t);
}

bool Machine::tryWarp(Thread &t) {
  llvm::SmallVector<Thread *, 32> lanes;
  uint32_t first = t.id / 32 * 32;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if (!(t.mask >> lane & 1) || first + lane >= uint32_t(launch.threads))
      continue;
    Thread &other = threadOf(t.block, first + lane);
    if (other.waits == Waits::Done)
      continue;
    if (other.waits != Waits::Warp || other.at != t.at)
      return true;
    if (other.mask != t.mask)
      return fail(t, "takes part in a warp operation with mask 0x" +
                         llvm::utohexstr(t.mask) + ", thread " +
                         Twine(other.id) + " with mask 0x" +
                         llvm::utohexstr(other.mask));
    lanes.push_back(&other);
  }
  const Instruction &in = *t.at;
  if (!performWarp(lanes, in))
    return false;
  for (Thread *lane : lanes)
    wake(*lane);
  return true;
}

static uint64_t reduce(unsigned kind, uint64_t a, uint64_t b) {
  uint64_t result = 0;
  auto whole = [&](Opcode op) { integer(op, a, b, 32, 0xffffffff, result); };
  switch (NVVM::ReduxKind(kind)) {
  case NVVM::ReduxKind::ADD:
    whole(Opcode::Add);
    break;
  case NVVM::ReduxKind::AND:
    whole(Opcode::And);
    break;
  case NVVM::ReduxKind::OR:
    whole(Opcode::Or);
    break;
  case NVVM::ReduxKind::XOR:
    whole(Opcode::Xor);
    break;
  case NVVM::ReduxKind::MAX:
    whole(Opcode::SMax);
    break;
  case NVVM::ReduxKind::MIN:
    whole(Opcode::SMin);
    break;
  case NVVM::ReduxKind::UMAX:
    whole(Opcode::UMax);
    break;
  case NVVM::ReduxKind::UMIN:
    whole(Opcode::UMin);
    break;
  default:
    break;
  }
  return result;
}

bool Machine::shuffle(ArrayRef<Thread *> lanes, const Instruction &in) {
  Thread *byLane[32] = {};
  uint64_t values[32] = {};
  auto slots = [](Thread *t) {
    return t->slots.data() + t->frames.back().base;
  };
  for (Thread *t : lanes) {
    byLane[t->id % 32] = t;
    values[t->id % 32] = slots(t)[in.b];
  }
  for (Thread *t : lanes) {
    uint64_t *r = slots(t);
    int lane = t->id % 32;
    int offset = r[in.c] & 31, clamp = r[in.d] & 31,
        segment = r[in.d] >> 8 & 31;
    int limit = (lane & segment) | (clamp & ~segment), from = lane;
    bool valid = false;
    switch (NVVM::ShflKind(in.kind)) {
    case NVVM::ShflKind::up:
      from = lane - offset;
      valid = from >= limit;
      break;
    case NVVM::ShflKind::down:
      from = lane + offset;
      valid = from <= limit;
      break;
    case NVVM::ShflKind::bfly:
      from = lane ^ offset;
      valid = from <= limit;
      break;
    case NVVM::ShflKind::idx:
      from = (lane & segment) | (offset & ~segment);
      valid = from <= limit;
      break;
    }
    if (!valid)
      from = lane;
    if (!byLane[from])
      return fail(*t, "shuffles from lane " + Twine(from) +
                          ", which does not take part");
    r[in.dst] = values[from];
    if (in.results == 2)
      r[in.dst + 1] = valid;
  }
  return true;
}

bool Machine::performWarp(ArrayRef<Thread *> lanes, const Instruction &in) {
  auto slots = [](Thread *t) {
    return t->slots.data() + t->frames.back().base;
  };
  switch (in.op) {
  case Opcode::Shuffle32:
    return shuffle(lanes, in);
  case Opcode::Vote: {
    uint32_t ballot = 0, members = 0;
    for (Thread *t : lanes) {
      members |= 1u << (t->id % 32);
      ballot |= uint32_t(slots(t)[in.b] & 1) << (t->id % 32);
    }
    uint64_t result = ballot;
    switch (NVVM::VoteSyncKind(in.kind)) {
    case NVVM::VoteSyncKind::any:
      result = ballot != 0;
      break;
    case NVVM::VoteSyncKind::all:
      result = ballot == members;
      break;
    case NVVM::VoteSyncKind::uni:
      result = ballot == 0 || ballot == members;
      break;
    case NVVM::VoteSyncKind::ballot:
      break;
    }
    for (Thread *t : lanes)
      slots(t)[in.dst] = result;
    return true;
  }
  case Opcode::Elect:
    // PTX leaves open which one; the machines take the lowest.
    for (Thread *t : lanes)
      slots(t)[in.dst] = t == lanes.front();
    return true;
  case Opcode::WarpSync: {
    std::vector<uint32_t> group;
    for (Thread *t : lanes)
      group.push_back(t->index);
    if (!clockRows.empty())
      synchronize(group);
    return true;
  }
  case Opcode::Redux: {
    uint64_t result = slots(lanes.front())[in.b];
    for (Thread *t : lanes.drop_front())
      result = reduce(in.kind, result, slots(t)[in.b]);
    for (Thread *t : lanes)
      slots(t)[in.dst] = result;
    return true;
  }
  case Opcode::Match: {
    uint32_t members = 0;
    bool all = true;
    for (Thread *t : lanes) {
      members |= 1u << (t->id % 32);
      all &= slots(t)[in.b] == slots(lanes.front())[in.b];
    }
    for (Thread *t : lanes) {
      uint32_t same = 0;
      for (Thread *other : lanes)
        if (slots(other)[in.b] == slots(t)[in.b])
          same |= 1u << (other->id % 32);
      if (NVVM::MatchSyncKind(in.kind) == NVVM::MatchSyncKind::any) {
        slots(t)[in.dst] = same;
      } else {
        slots(t)[in.dst] = all ? members : 0;
        slots(t)[in.dst + 1] = all;
      }
    }
    return true;
  }
  default:
    return matrixMove(lanes, in);
  }
}

// ldmatrix and stmatrix: 8 x 8 matrices of 16 bits. Lane l says where row l % 8
// of matrix l / 8 lies, and holds of each matrix elements 2 (l % 4) and the
// next of row l / 4; transposed, of column l / 4.
bool Machine::matrixMove(ArrayRef<Thread *> lanes, const Instruction &in) {
  if (lanes.size() != 32)
    return fail(*lanes.front(), "moves a matrix with lanes missing");
  auto slots = [](Thread *t) {
    return t->slots.data() + t->frames.back().base;
  };
  const bool load = in.op == Opcode::LoadMatrix, transposed = in.kind;
  for (uint32_t m = 0; m < in.lanes; ++m) {
    uint16_t matrix[8][8];
    auto element = [&](uint32_t lane, uint32_t half) -> uint16_t & {
      uint32_t major = lane / 4, minor = lane % 4 * 2 + half;
      return transposed ? matrix[minor][major] : matrix[major][minor];
    };
    if (!load)
      for (uint32_t lane = 0; lane < 32; ++lane) {
        Thread *t = lanes[lane];
        uint64_t v = slots(t)[t->frames.back().function->tables[in.extra][m]];
        element(lane, 0) = v;
        element(lane, 1) = v >> 16;
      }
    for (uint32_t row = 0; row < 8; ++row) {
      Thread &t = *lanes[m * 8 + row];
      uint64_t address = slots(&t)[in.a];
      if (load ? !read(t, address, 3, matrix[row], 16, 16)
               : !write(t, address, 3, matrix[row], 16, 16))
        return false;
    }
    if (load)
      for (uint32_t lane = 0; lane < 32; ++lane)
        slots(lanes[lane])[in.dst + m] =
            element(lane, 0) | uint64_t(element(lane, 1)) << 16;
  }
  return true;
}
