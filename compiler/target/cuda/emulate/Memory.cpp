//===- Memory.cpp - loads, stores and atomics -----------------------------===//
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

static std::string nameOf(const GlobalRange &range) {
  return range.index >= 0    ? "buffer " + std::to_string(range.index)
         : range.index == -1 ? std::string("the parameters")
                             : std::string("a global variable");
}

bool Machine::mayTouch(const Thread &t, int buffer, bool writes, uint64_t from,
                       uint64_t to) {
  // One that is written may be the very buffer of one that is read.
  auto isThis = [&](int64_t other) {
    return other < int64_t(buffers.size()) &&
           buffers[other].data == buffers[buffer].data;
  };
  if (writes && buffer >= 0 && launch.written &&
      llvm::none_of(*launch.written, isThis))
    return fail(t, "writes buffer " + Twine(buffer) +
                       ", which is not among those that it says it writes");
  if (!launch.overlap || t.gridWaited || buffer < 0 ||
      (!writes && llvm::is_contained(launch.early, buffer)))
    return true;
  auto touches = [&](std::pair<size_t, size_t> range) {
    return range.first < to && from < range.second;
  };
  if (!writes && llvm::is_contained(launch.cached, buffer) &&
      llvm::none_of(buffers[buffer].fresh, touches))
    return true;
  return fail(t, Twine(writes ? "writes" : "reads") + " buffer " +
                     Twine(buffer) +
                     " before it has waited for the kernels before this one");
}

bool Machine::global(const Thread &t, uint64_t address, uint64_t bytes,
                     bool writes) {
  auto inside = [&](const GlobalRange &range) {
    return address >= range.begin && address < range.readable &&
           address + bytes <= (writes ? range.end : range.readable);
  };
  auto mayTouch = [&](const GlobalRange &range) {
    uint64_t from = address - range.begin;
    return this->mayTouch(t, range.index, writes, from, from + bytes);
  };
  if (lastRange < ranges.size() && inside(ranges[lastRange]) &&
      (!writes || ranges[lastRange].writable))
    return mayTouch(ranges[lastRange]);
  for (auto [i, range] : llvm::enumerate(ranges))
    if (inside(range)) {
      if (writes && !range.writable)
        return fail(t, "writes to " + Twine(nameOf(range)) +
                           ", which is only read");
      lastRange = i;
      return mayTouch(range);
    }
  // Say it relative to the nearest memory that there is.
  const GlobalRange *near = nullptr;
  uint64_t best = ~uint64_t(0);
  for (const GlobalRange &range : ranges) {
    uint64_t distance = address >= range.begin
                            ? (address > range.end ? address - range.end : 0)
                            : range.begin - address;
    if (distance < best) {
      best = distance;
      near = &range;
    }
  }
  std::string text = (writes ? "writes " : "reads ") + std::to_string(bytes) +
                     " bytes out of bounds at ";
  if (near && best < (uint64_t(1) << 30))
    return fail(t, Twine(text) + nameOf(*near) + " + " +
                       Twine(int64_t(address - near->begin)) + ", which has " +
                       Twine(near->end - near->begin) + " bytes");
  return fail(t, Twine(text) + "0x" + llvm::utohexstr(address) +
                     ", far from any buffer");
}

bool Machine::local(Thread &t, uint64_t address, uint64_t bytes, bool writes) {
  if (address + bytes > t.local.size() || address > t.local.size())
    return fail(t, (writes ? "writes " : "reads ") + Twine(bytes) +
                       " bytes out of bounds of local memory, at " +
                       Twine(address) + " of " + Twine(t.local.size()));
  if (writes)
    std::fill_n(t.localKnown.begin() + address, bytes, 1);
  else
    for (uint64_t i = 0; i < bytes; ++i)
      if (!t.localKnown[address + i])
        return fail(t, "reads local memory that was never written");
  return true;
}

bool Machine::locate(const Thread &t, uint64_t address, unsigned space,
                     uint64_t bytes, Piece &piece) {
  uint64_t rank = address >> kRankShift,
           offset = address & ((uint64_t(1) << kRankShift) - 1);
  if (space == 3 && rank)
    return fail(t, "uses an address of the cluster's shared memory as one of "
                   "the block's");
  if (rank > blocks.size())
    return fail(t, "uses 0x" + llvm::utohexstr(address) +
                       " as an address of shared memory");
  piece = {rank ? uint32_t(rank - 1) : t.block, offset, bytes};
  const Block &block = blocks[piece.block];
  if (offset < kReservedShared || offset + bytes > block.shared.size())
    return fail(t, "uses " + Twine(bytes) + " bytes at " + Twine(offset) +
                       " of shared memory, which is out of bounds: it goes "
                       "from " +
                       Twine(kReservedShared) + " to " +
                       Twine(block.shared.size()));
  if (piece.block != t.block && !block.running)
    return fail(t, "uses shared memory of block " + Twine(block.index) +
                       ", which has ended");
  return true;
}

/// Space 0 resolved: 3 (of the cluster: 7), 5 or 1; the address without window.
static unsigned resolve(uint64_t &address, unsigned space) {
  if (space != 0)
    return space;
  uint64_t window = address & kWindowMask;
  if (window != kSharedWindow && window != kLocalWindow)
    return 1;
  address &= ~kWindowMask;
  return window == kSharedWindow ? 7 : 5;
}

bool Machine::read(Thread &t, uint64_t address, unsigned space, void *to,
                   uint64_t bytes, uint64_t align, bool atomic) {
  if (align > 1 && address % align)
    return fail(t, "reads at 0x" + llvm::utohexstr(address) +
                       ", which is not aligned to " + Twine(align) + " bytes");
  space = resolve(address, space);
  if (space == 3 || space == 7) {
    Piece piece;
    if (!locate(t, address, space, bytes, piece) ||
        (!atomic && !markRead(t, piece)))
      return false;
    memcpy(to, blocks[piece.block].shared.data() + piece.offset, bytes);
    return true;
  }
  if (space == 5) {
    if (!local(t, address, bytes, false))
      return false;
    memcpy(to, t.local.data() + address, bytes);
    return true;
  }
  if (!global(t, address, bytes, false))
    return false;
  memcpy(to, reinterpret_cast<void *>(address), bytes);
  return true;
}

bool Machine::write(Thread &t, uint64_t address, unsigned space,
                    const void *from, uint64_t bytes, uint64_t align,
                    bool atomic) {
  if (align > 1 && address % align)
    return fail(t, "writes at 0x" + llvm::utohexstr(address) +
                       ", which is not aligned to " + Twine(align) + " bytes");
  space = resolve(address, space);
  if (space == 3 || space == 7) {
    Piece piece;
    if (!locate(t, address, space, bytes, piece) ||
        (!atomic && !markWrite(t, piece, from)))
      return false;
    memcpy(blocks[piece.block].shared.data() + piece.offset, from, bytes);
    return true;
  }
  if (space == 5) {
    if (!local(t, address, bytes, true))
      return false;
    memcpy(t.local.data() + address, from, bytes);
    return true;
  }
  if (!global(t, address, bytes, true))
    return false;
  memcpy(reinterpret_cast<void *>(address), from, bytes);
  return true;
}

bool Machine::loadFields(Thread &t, const Instruction &in, uint64_t address,
                         unsigned space, uint64_t *dst) {
  const Access &access = code.accesses[in.extra];
  if (access.fields.size() == 1) {
    const Access::Field &field = access.fields[0];
    uint64_t value = 0;
    if (!read(t, address, space, &value, field.bytes, in.imm))
      return false;
    *dst = field.bits >= 64 ? value : value & ((uint64_t(1) << field.bits) - 1);
    return true;
  }
  if (access.uniform) {
    llvm::SmallVector<uint8_t, 256> bytes(access.size);
    if (!read(t, address, space, bytes.data(), access.size, in.imm))
      return false;
    for (auto [i, field] : llvm::enumerate(access.fields)) {
      dst[i] = 0;
      memcpy(&dst[i], bytes.data() + field.offset, field.bytes);
    }
    return true;
  }
  for (auto [i, field] : llvm::enumerate(access.fields)) {
    dst[i] = 0;
    if (!read(t, address + field.offset, space, &dst[i], field.bytes,
              std::min<uint64_t>(in.imm, field.bytes)))
      return false;
    if (field.bits < 64)
      dst[i] &= (uint64_t(1) << field.bits) - 1;
  }
  return true;
}

bool Machine::atomic(Thread &t, const Instruction &in, uint64_t *r) {
  const Access &access = code.accesses[in.extra];
  const unsigned bits = access.fields[0].bits, bytes = access.fields[0].bytes;
  const uint64_t mask = bits >= 64 ? ~uint64_t(0) : (uint64_t(1) << bits) - 1;
  uint64_t old = 0, address = r[in.a];
  if (!read(t, address, in.kind, &old, bytes, bytes, true))
    return false;
  if (in.op == Opcode::CompareSwap) {
    bool equal = old == r[in.b];
    uint64_t next = r[in.c];
    r[in.dst] = old;
    r[in.dst + 1] = equal;
    return !equal || write(t, address, in.kind, &next, bytes, bytes, true);
  }
  uint64_t value = r[in.b], next = 0;
  auto whole = [&](Opcode op) { integer(op, old, value, bits, mask, next); };
  auto real = [&](Opcode op) {
    next = in.d == 0
               ? bitsOfF32(floating<float>(op, asF32(old), asF32(value), 0))
               : bitsOfF64(floating<double>(op, asF64(old), asF64(value), 0));
  };
  switch (LLVM::AtomicBinOp(in.c)) {
  case LLVM::AtomicBinOp::xchg:
    next = value;
    break;
  case LLVM::AtomicBinOp::add:
    whole(Opcode::Add);
    break;
  case LLVM::AtomicBinOp::sub:
    whole(Opcode::Sub);
    break;
  case LLVM::AtomicBinOp::_and:
    whole(Opcode::And);
    break;
  case LLVM::AtomicBinOp::_or:
    whole(Opcode::Or);
    break;
  case LLVM::AtomicBinOp::_xor:
    whole(Opcode::Xor);
    break;
  case LLVM::AtomicBinOp::max:
    whole(Opcode::SMax);
    break;
  case LLVM::AtomicBinOp::min:
    whole(Opcode::SMin);
    break;
  case LLVM::AtomicBinOp::umax:
    whole(Opcode::UMax);
    break;
  case LLVM::AtomicBinOp::umin:
    whole(Opcode::UMin);
    break;
  case LLVM::AtomicBinOp::fadd:
    if (in.d > 1)
      return fail(t, "the interpreter does not know this atomic addition");
    real(Opcode::FAdd);
    break;
  default:
    return fail(t, "the interpreter does not know this atomic operation");
  }
  r[in.dst] = old;
  return write(t, address, in.kind, &next, bytes, bytes, true);
}
