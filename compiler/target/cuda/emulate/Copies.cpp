//===- Copies.cpp - cp.async, in bulk and by elements ---------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A copy has two moments: it begins where a thread issues it, and is delivered
// later, in the schedule's own time. In between, where it writes must not be
// touched, and where it reads must not be written.
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Machine.h"

using namespace mlir;
using namespace r1c::cuda::emulate;
using llvm::Twine;

/// Where a byte of a tensor copy's box lies: swizzles permute the groups of 16
/// bytes by bits of the address.
static uint64_t swizzled(uint64_t offset, unsigned swizzle) {
  uint64_t rows = swizzle / 16; // 8, 4, 2, or 0
  return rows ? offset ^ ((offset >> 7 & (rows - 1)) << 4) : offset;
}

static uint64_t boxBytes(const TensorMap &map) {
  uint64_t bytes = map.elementBytes;
  for (int64_t size : map.box)
    bytes *= size;
  return bytes;
}

const TensorMap *Machine::mapAt(const Thread &t, uint64_t address) {
  uint64_t first = parameters + mapsAt;
  if (address < first || (address - first) % 128 ||
      (address - first) / 128 >= maps.size()) {
    fail(t, "gives an address as tensor map where the parameters have none");
    return nullptr;
  }
  return &maps[(address - first) / 128];
}

void Machine::forBox(
    const Copy &copy,
    llvm::function_ref<void(uint64_t, uint64_t, bool)> element) const {
  const TensorMap &map = *copy.map;
  const size_t rank = map.box.size();
  uint64_t base = mapBases[copy.map - maps.data()], place = copy.offset;
  int64_t at[5] = {};
  while (true) {
    bool rowInside = true;
    uint64_t row = base;
    for (size_t d = 1; d < rank; ++d) {
      int64_t coordinate = copy.coordinates[d] + at[d];
      rowInside &= coordinate >= 0 && coordinate < map.sizes[d];
      row += coordinate * map.strides[d - 1];
    }
    for (int64_t i = 0; i < map.box[0]; ++i) {
      int64_t coordinate = copy.coordinates[0] + i;
      element(row + coordinate * map.elementBytes, swizzled(place, map.swizzle),
              rowInside && coordinate >= 0 && coordinate < map.sizes[0]);
      place += map.elementBytes;
    }
    size_t d = 1;
    while (d < rank && ++at[d] == map.box[d])
      at[d++] = 0;
    if (d >= rank)
      return;
  }
}

bool Machine::checkTensor(const Thread &t, const TensorMap &map,
                          uint64_t offset) {
  if (offset % 128)
    return fail(t, "a tensor copy in shared memory at " + Twine(offset) +
                       ", which is not aligned to 128 bytes");
  return true;
}

bool Machine::begin(Thread &t, Copy copy) {
  ++statistics.bulkCopies;
  copy.thread = t.index;
  copy.clocks.assign(clocks(t.index).begin(), clocks(t.index).end());
  bool toShared = copy.kind == Copy::TensorLoad || copy.kind == Copy::Load ||
                  copy.kind == Copy::Elements;
  if (toShared) {
    for (uint32_t block : copy.blocks) {
      Piece piece = {block, copy.offset, copy.bytes + copy.fill};
      if (copy.offset + piece.bytes > blocks[block].shared.size())
        return fail(t, "an asynchronous copy of " + Twine(piece.bytes) +
                           " bytes to " + shared(piece) +
                           " goes beyond its end");
      if (!markInFlight(t, piece, copy.clocks))
        return false;
      if (copy.kind == Copy::Elements)
        continue;
      auto found = blocks[block].mbarriers.find(copy.mbarrier);
      if (found == blocks[block].mbarriers.end())
        return fail(t, "an asynchronous copy is to count on an mbarrier in " +
                           shared({block, copy.mbarrier, 8}) +
                           ", where none was initialised");
      Mbarrier &barrier = found->second;
      if (!before(copy.clocks, epoch(barrier.creator, barrier.created)))
        return fail(t, "an asynchronous copy counts on the mbarrier in " +
                           shared({block, copy.mbarrier, 8}) +
                           ", which was initialised without a barrier between");
      if (!barrier.fencedByCreator)
        return fail(t, "an asynchronous copy counts on the mbarrier in " +
                           shared({block, copy.mbarrier, 8}) +
                           ", whose initialisation no fence.mbarrier_init or "
                           "fence.proxy.async made visible to it");
      ++barrier.inFlight;
    }
  } else {
    Piece piece = {t.block, copy.offset, copy.bytes};
    if (copy.offset + piece.bytes > blocks[t.block].shared.size())
      return fail(t, "an asynchronous copy of " + Twine(piece.bytes) +
                         " bytes from " + shared(piece) +
                         " goes beyond its end");
    if (!markAsyncRead(t, piece, copy.clocks, "an asynchronous copy"))
      return false;
    setBusy(piece, 1);
    t.bulkOpen.push_back(copies.size());
  }
  if (copy.kind == Copy::Elements)
    t.copyOpen.push_back(copies.size());
  copies.push_back(std::move(copy));
  return true;
}

void Machine::finishStore(Thread &t, const Copy &copy) {
  Piece piece = {t.block, copy.offset, copy.bytes};
  setBusy(piece, -1);
  // To write there again, one has to know that this thread waited.
  uint32_t mine = epoch(t.index, clocks(t.index)[t.index]);
  for (uint64_t i = 0; i < copy.bytes; ++i)
    blocks[t.block].shadow[copy.offset + i].reads[1] = mine;
}

bool Machine::deliver(uint32_t index) {
  // Moved out: what waits may begin new copies.
  Copy copy = std::move(copies[index]);
  copies[index].done = true;
  Thread &t = threads[copy.thread];
  const unsigned element = copy.map ? copy.map->elementBytes : 1;
  auto memory = [](uint64_t address) {
    return reinterpret_cast<uint8_t *>(address);
  };
  if (copy.kind == Copy::TensorStore || copy.kind == Copy::Store) {
    const uint8_t *from = blocks[t.block].shared.data();
    if (copy.kind == Copy::Store)
      memcpy(memory(copy.global), from + copy.offset, copy.bytes);
    else
      forBox(copy, [&](uint64_t global, uint64_t place, bool inside) {
        if (inside)
          memcpy(memory(global), from + place, element);
      });
    return true; // the waiting thread finishes it
  }
  uint32_t agent = copy.kind == Copy::Elements ? copy.thread : copyAgent();
  uint32_t clock =
      copy.kind == Copy::Elements ? clocks(agent)[agent] : ++copyClock;
  for (uint32_t rank : copy.blocks) {
    Block &block = blocks[rank];
    uint8_t *to = block.shared.data();
    if (copy.kind == Copy::TensorLoad) {
      forBox(copy, [&](uint64_t global, uint64_t place, bool inside) {
        if (inside)
          memcpy(to + place, memory(global), element);
        else
          memset(to + place, 0, element);
      });
    } else {
      memcpy(to + copy.offset, memory(copy.global), copy.bytes);
      memset(to + copy.offset + copy.bytes, 0, copy.fill);
    }
    markArrived({rank, copy.offset, copy.bytes + copy.fill},
                epoch(agent, clock));
    if (copy.kind == Copy::Elements)
      continue;
    Piece piece = {rank, copy.mbarrier, 8};
    auto found = block.mbarriers.find(copy.mbarrier);
    if (found == block.mbarriers.end())
      return failAt(copy.location, &t,
                    "the mbarrier of a copy under way is gone");
    Mbarrier &barrier = found->second;
    --barrier.inFlight;
    barrier.bytes -= copy.bytes;
    barrier.clocks[agent] = std::max(barrier.clocks[agent], clock);
    if (!checkPhase(t, piece, barrier))
      return false;
  }
  return true;
}

uint32_t Machine::nextCopy() {
  while (firstCopy < copies.size() &&
         (copies[firstCopy].done || copies[firstCopy].kind == Copy::Elements))
    ++firstCopy;
  if (!launch.seed || firstCopy == copies.size())
    return firstCopy;
  // Any of those under way: they are not ordered among each other.
  std::vector<uint32_t> open;
  for (uint32_t i = firstCopy; i < copies.size(); ++i)
    if (!copies[i].done && copies[i].kind != Copy::Elements)
      open.push_back(i);
  return open[random() % open.size()];
}

bool Machine::waitCopies(Thread &t, std::deque<std::vector<uint32_t>> &groups,
                         uint64_t left) {
  while (groups.size() > left) {
    std::vector<uint32_t> group = std::move(groups.front());
    groups.pop_front();
    for (uint32_t index : group) {
      // Kept for what is still to be told about it.
      Copy::Kind kind = copies[index].kind;
      uint64_t offset = copies[index].offset, bytes = copies[index].bytes;
      if (!copies[index].done && !deliver(index))
        return false;
      if (kind == Copy::TensorStore || kind == Copy::Store) {
        Copy store(copies[index].location);
        store.offset = offset;
        store.bytes = bytes;
        finishStore(t, store);
      }
    }
  }
  return true;
}

bool Machine::bulk(Thread &t, const Instruction &in, uint64_t *r) {
  const Frame &frame = t.frames.back();
  Copy copy(frame.function->locations[frame.pc - 1]);
  copy.at = &in;
  auto place = [&](uint32_t slot, unsigned space, uint64_t bytes,
                   uint64_t &offset, uint32_t &block) {
    Piece piece;
    uint64_t address = r[slot];
    if (space == 0) {
      if ((address & kWindowMask) != kSharedWindow)
        return fail(t, "a bulk copy's shared memory is elsewhere");
      address &= ~kWindowMask;
      space = 7;
    }
    if (!locate(t, address, space, bytes, piece))
      return false;
    offset = piece.offset;
    block = piece.block;
    return true;
  };
  auto destinations = [&](uint32_t block, uint32_t mask) {
    if (mask == kNone) {
      copy.blocks = {block};
      return true;
    }
    uint64_t bits = r[mask];
    for (uint32_t rank = 0; rank < 16; ++rank)
      if (bits >> rank & 1) {
        if (rank >= blocks.size())
          return fail(t, "a multicast to block " + Twine(rank) +
                             " of a cluster of " + Twine(blocks.size()));
        copy.blocks.push_back(rank);
      }
    return true;
  };
  auto tensor = [&](uint32_t slot) {
    copy.map = mapAt(t, r[slot]);
    if (!copy.map)
      return false;
    const std::vector<uint32_t> &table = frame.function->tables[in.extra];
    if (table.size() != copy.map->box.size())
      return fail(t, "gives " + Twine(table.size()) +
                         " coordinates for a tensor of " +
                         Twine(copy.map->box.size()) + " dimensions");
    for (auto [i, coordinate] : llvm::enumerate(table))
      copy.coordinates[i] = int32_t(r[coordinate]);
    copy.bytes = boxBytes(*copy.map);
    return true;
  };
  auto aligned = [&](uint64_t value, const char *what) {
    return value % 16 == 0 ||
           fail(t, Twine("a bulk copy's ") + what + ", " + Twine(value) +
                       ", is not a multiple of 16");
  };
  uint32_t block = t.block, barrierBlock;
  switch (in.op) {
  case Opcode::BulkTensorLoad:
    copy.kind = Copy::TensorLoad;
    return tensor(in.b) &&
           place(in.a, in.kind, copy.bytes, copy.offset, block) &&
           checkTensor(t, *copy.map, copy.offset) &&
           mayTouch(t, copy.map->operand, false) &&
           place(in.c, in.width, 8, copy.mbarrier, barrierBlock) &&
           destinations(block, in.d) && begin(t, std::move(copy));
  case Opcode::BulkTensorStore:
    copy.kind = Copy::TensorStore;
    return tensor(in.a) &&
           place(in.b, in.kind, copy.bytes, copy.offset, block) &&
           checkTensor(t, *copy.map, copy.offset) &&
           mayTouch(t, copy.map->operand, true) && begin(t, std::move(copy));
  case Opcode::BulkLoad:
    copy.kind = Copy::Load;
    copy.bytes = r[in.extra];
    copy.global = r[in.b];
    return aligned(copy.bytes, "size") && aligned(copy.global, "source") &&
           place(in.a, in.kind, copy.bytes, copy.offset, block) &&
           aligned(copy.offset, "destination") &&
           global(t, copy.global, copy.bytes, false) &&
           place(in.c, in.width, 8, copy.mbarrier, barrierBlock) &&
           destinations(block, in.d) && begin(t, std::move(copy));
  case Opcode::BulkPrefetch: // brings nothing that a kernel could see
    return aligned(r[in.b], "size") && aligned(r[in.a], "source") &&
           global(t, r[in.a], r[in.b], false);
  case Opcode::BulkStore:
    copy.kind = Copy::Store;
    copy.bytes = r[in.c];
    copy.global = r[in.a];
    return aligned(copy.bytes, "size") && aligned(copy.global, "destination") &&
           place(in.b, in.kind, copy.bytes, copy.offset, block) &&
           aligned(copy.offset, "source") &&
           global(t, copy.global, copy.bytes, true) &&
           begin(t, std::move(copy));
  case Opcode::BulkCommit:
    t.bulkGroups.push_back(std::move(t.bulkOpen));
    t.bulkOpen.clear();
    return true;
  default:
    return waitCopies(t, t.bulkGroups, in.imm);
  }
}

bool Machine::elementCopy(Thread &t, const Instruction &in, uint64_t *r) {
  switch (in.op) {
  case Opcode::CpAsync: {
    const Frame &frame = t.frames.back();
    Copy copy(frame.function->locations[frame.pc - 1]);
    copy.kind = Copy::Elements;
    copy.at = &in;
    copy.bytes = in.c == kNone ? in.imm : r[in.c];
    if (int64_t(copy.bytes) > in.imm)
      return fail(t, "cp.async of more bytes than its size");
    copy.fill = in.imm - copy.bytes;
    copy.global = r[in.b];
    Piece piece;
    if (r[in.a] % in.imm || copy.global % in.imm)
      return fail(t, "cp.async of " + Twine(in.imm) +
                         " bytes that are not aligned to their size");
    if (!locate(t, r[in.a], 3, in.imm, piece) ||
        (copy.bytes && !global(t, copy.global, copy.bytes, false)))
      return false;
    copy.offset = piece.offset;
    copy.blocks = {t.block};
    return begin(t, std::move(copy));
  }
  case Opcode::CpAsyncCommit:
    t.copyGroups.push_back(std::move(t.copyOpen));
    t.copyOpen.clear();
    return true;
  case Opcode::CpAsyncWait:
    return waitCopies(t, t.copyGroups, in.imm);
  default: {
    // The arrival comes when the copies are done; here they are done now.
    t.copyGroups.push_back(std::move(t.copyOpen));
    t.copyOpen.clear();
    if (!waitCopies(t, t.copyGroups, 0))
      return false;
    Piece piece;
    Mbarrier *barrier = findMbarrier(t, r[in.a], in.kind, piece);
    if (!barrier)
      return false;
    if (!in.imm) // without .noinc it first makes room for itself
      ++barrier->pending;
    return arrive(t, *barrier, piece, 1, false, true);
  }
  }
}
