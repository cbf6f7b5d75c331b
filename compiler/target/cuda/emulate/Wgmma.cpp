//===- Wgmma.cpp - matrix products of a warpgroup -------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The product is computed when the warpgroup issues it, and its accumulators
// and operands stay marked until a thread of it has waited. Each element of D
// is the old one and 16 products, added up in double and rounded once: the
// tensor cores align and cut the products in ways that PTX leaves open.
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Arithmetic.h"
#include "compiler/target/cuda/emulate/Machine.h"

using namespace mlir;
using namespace r1c::cuda::emulate;
using llvm::Twine;

bool Machine::arriveWarpgroup(Thread &t, const Instruction &in) {
  uint32_t first = t.id / 128 * 128;
  if (first + 128 > uint32_t(launch.threads))
    return fail(t, "an instruction of a warpgroup, in one of less than 128 "
                   "threads");
  wait(t, Waits::Warpgroup, in);
  llvm::SmallVector<Thread *, 128> group;
  for (uint32_t i = first; i < first + 128; ++i) {
    Thread &other = threadOf(t.block, i);
    if (other.waits == Waits::Done)
      return fail(t, "an instruction of a warpgroup, but thread " + Twine(i) +
                         " of it has returned");
    if (other.waits != Waits::Warpgroup || other.at != t.at)
      return true;
    group.push_back(&other);
  }
  if (in.op == Opcode::SetRegisters) {
    for (Thread *other : group)
      other->waits = Waits::Registers;
    return setRegisters(*group.front(), in);
  }
  if (!wgmma(group, t.frames.back().function->wgmmas[in.extra]))
    return false;
  for (Thread *other : group)
    wake(*other);
  return true;
}

/// Elements that nobody wrote are NaN: kernels leave rows as they are whose
/// sums they do not store.
/// Reads a matrix of `rows` (the M or N of the product) x 16 bfloat16 through
/// its descriptor.
bool Machine::operand(const Thread &t, uint64_t descriptor, uint32_t rows,
                      bool transposed, ArrayRef<uint32_t> seen,
                      std::vector<float> &values, std::vector<Piece> &pieces) {
  const uint64_t start = (descriptor & 0x3fff) << 4;
  const uint64_t leading = (descriptor >> 16 & 0x3fff) << 4;
  const uint64_t stride = (descriptor >> 32 & 0x3fff) << 4;
  const unsigned base = descriptor >> 49 & 7, mode = descriptor >> 62;
  // Swizzles of 128, 64 and 32 bytes; 0: none.
  const uint64_t span = mode == 1 ? 128 : mode == 2 ? 64 : mode == 3 ? 32 : 0;
  if (base)
    return fail(t, "the interpreter does not know matrix descriptors with a "
                   "base offset");
  // The pattern repeats every 1024, 512 or 256 bytes and has to begin there.
  if (span && (start >> 7 & (span / 16 - 1)))
    return fail(t, "a matrix descriptor with a swizzle of " + Twine(span) +
                       " bytes starts at " + Twine(start) +
                       ", which is not where the pattern starts");
  values.resize(size_t(rows) * 16);
  const Block &block = blocks[t.block];
  std::vector<uint64_t> touched;
  for (uint32_t row = 0; row < rows; ++row)
    for (uint32_t k = 0; k < 16; ++k) {
      uint64_t place;
      if (!transposed && span)
        place = row / 8 * stride + row % 8 * span + k * 2;
      else if (!transposed)
        place = row / 8 * stride + k / 8 * leading + row % 8 * 16 + k % 8 * 2;
      else if (span) {
        // `span` bytes of rows side by side, then eight k, one below the other.
        uint32_t across = span / 2;
        place = row % across * 2 + row / across * leading + k % 8 * span +
                k / 8 * stride;
      } else
        place = row % 8 * 2 + row / 8 * stride + k % 8 * 16 + k / 8 * leading;
      place += start;
      if (span)
        place ^= (place >> 7 & (span / 16 - 1)) << 4;
      if (place < kReservedShared || place + 2 > block.shared.size())
        return fail(t, "a matrix descriptor reaches " + Twine(place) +
                           " of shared memory, which is out of bounds: it "
                           "goes from " +
                           Twine(kReservedShared) + " to " +
                           Twine(block.shared.size()));
      uint16_t bits;
      memcpy(&bits, block.shared.data() + place, 2);
      values[row * 16 + k] = bf16ToF32(bits);
      touched.push_back(place / 16);
    }
  llvm::sort(touched);
  touched.erase(llvm::unique(touched), touched.end());
  for (size_t i = 0; i < touched.size();) {
    size_t end = i + 1;
    while (end < touched.size() && touched[end] == touched[end - 1] + 1)
      ++end;
    pieces.push_back({t.block, touched[i] * 16, (end - i) * 16});
    if (!markAsyncRead(t, pieces.back(), seen, "wgmma", /*unwritten=*/true))
      return false;
    i = end;
  }
  return true;
}

bool Machine::wgmma(ArrayRef<Thread *> group, const WgmmaSite &site) {
  Thread &first = *group.front();
  auto slots = [](Thread *t) {
    return t->slots.data() + t->frames.back().base;
  };
  auto tagsOf = [](Thread *t) {
    return t->tags.data() + t->frames.back().base;
  };
  auto accumulator = [&](uint32_t i) {
    return site.accumulatorSlots.empty() ? site.accumulators + i
                                         : site.accumulatorSlots[i];
  };
  ++statistics.wgmmas;
  const uint32_t count = site.n / 2;
  bool accumulate = site.accumulate;
  if (site.accumulateSlot != kNone)
    accumulate = uint32_t(slots(&first)[site.accumulateSlot]) != 0;
  // What all threads must agree on, and what must be ordered before.
  std::vector<uint32_t> seen(clocks(first.index).begin(),
                             clocks(first.index).end());
  for (Thread *t : group) {
    for (uint32_t slot : {site.descriptorA, site.descriptorB})
      if (slot != kNone && slots(t)[slot] != slots(&first)[slot])
        return fail(*t, "wgmma with another matrix descriptor than thread " +
                            Twine(first.id));
    if (!t->everFenced)
      return fail(*t, "wgmma without a wgmma.fence before it");
    ArrayRef<uint32_t> own = clocks(t->index);
    for (size_t i = 0; i < seen.size(); ++i)
      seen[i] = std::min(seen[i], own[i]);
    auto ordered = [&](uint32_t slot) {
      const Tag &tag = tagsOf(t)[slot];
      if (tag.time == kNoValue)
        return fail(*t, "wgmma reads a register that was never written");
      if (tag.wgmma == 0 && tag.time > t->fenced)
        return fail(*t, "wgmma reads a register that was written after the "
                        "last wgmma.fence");
      return true;
    };
    for (uint32_t slot : site.fragmentA)
      if (!ordered(slot) ||
          (tagsOf(t)[slot].wgmma > t->completed &&
           !fail(*t, "wgmma reads as A a register that another one still "
                     "writes")))
        return false;
    for (uint32_t i = 0; accumulate && i < count; ++i)
      if (!ordered(accumulator(i)))
        return false;
  }
  // A warpgroup's own clock is what no thread but those that wait for it know.
  std::vector<float> a, b;
  PendingWgmma pending;
  if (site.fragmentA.empty()) {
    if (!operand(first, slots(&first)[site.descriptorA], 64, site.transposeA,
                 seen, a, pending.reads))
      return false;
  } else {
    a.resize(64 * 16);
    const bool packed = site.fragmentA.size() == 4;
    for (uint32_t i = 0; i < 128; ++i) {
      uint32_t lane = i % 32;
      for (uint32_t e = 0; e < 8; ++e) {
        uint32_t row = i / 32 * 16 + lane / 4 + e / 2 % 2 * 8,
                 k = lane % 4 * 2 + e % 2 + e / 4 * 8;
        uint64_t bits = slots(group[i])[site.fragmentA[packed ? e / 2 : e]];
        a[row * 16 + k] =
            bf16ToF32((packed ? bits >> (e % 2 * 16) : bits) & 0xffff);
      }
    }
  }
  if (!operand(first, slots(&first)[site.descriptorB], site.n, site.transposeB,
               seen, b, pending.reads))
    return false;
  uint32_t wg = first.block * groupsABlock + first.id / 128;
  Warpgroup &warpgroup = warpgroups[wg];
  pending.number = ++warpgroup.issued;
  for (const Piece &piece : pending.reads)
    setBusy(piece, 1);
  double sign = site.scaleA * site.scaleB;
  for (uint32_t i = 0; i < 128; ++i) {
    Thread *t = group[i];
    uint64_t *r = slots(t);
    t->issued = pending.number;
    uint32_t lane = i % 32;
    for (uint32_t e = 0; e < count; ++e) {
      uint32_t row = i / 32 * 16 + lane / 4 + e / 2 % 2 * 8,
               column = e / 4 * 8 + lane % 4 * 2 + e % 2;
      double sum = 0;
      const float *x = a.data() + row * 16, *y = b.data() + column * 16;
      for (uint32_t k = 0; k < 16; ++k)
        sum += double(x[k]) * double(y[k]);
      sum *= sign;
      if (accumulate)
        sum += double(asF32(r[accumulator(e)]));
      r[site.result + e] = bitsOfF32(float(sum));
      tagsOf(t)[site.result + e] = {pending.number, t->clock};
    }
  }
  warpgroup.pending.push_back(std::move(pending));
  return true;
}

bool Machine::wgmmaWait(Thread &t, uint64_t left) {
  while (t.groups.size() > left) {
    t.completed = std::max(t.completed, t.groups.front());
    t.groups.pop_front();
  }
  completeWgmma(t);
  return true;
}

/// The products that `t` has waited for have read their operands: for all the
/// warpgroup, since its warps run them together.
void Machine::completeWgmma(Thread &t) {
  if (launch.threads < 128 || t.completed == 0)
    return;
  uint32_t agent = warpgroupAgent(t);
  Warpgroup &warpgroup = warpgroups[t.block * groupsABlock + t.id / 128];
  while (!warpgroup.pending.empty() &&
         warpgroup.pending.front().number <= t.completed) {
    const PendingWgmma &done = warpgroup.pending.front();
    for (const Piece &piece : done.reads) {
      setBusy(piece, -1);
      Block &block = blocks[piece.block];
      for (uint64_t i = 0; i < piece.bytes; ++i) {
        Shadow &shadow = block.shadow[piece.offset + i];
        uint32_t mine = epoch(agent, done.number);
        if (shadow.reads[0] == 0 || agentOf(shadow.reads[0]) == agent)
          shadow.reads[0] = mine;
        else
          shadow.reads[1] = mine;
      }
    }
    warpgroup.pending.pop_front();
  }
  clocks(t.index)[agent] = std::max(clocks(t.index)[agent], t.completed);
}
