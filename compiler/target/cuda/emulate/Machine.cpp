//===- Machine.cpp - set-up, schedule, reports ----------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Machine.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace r1c::cuda::emulate;
using llvm::Twine;

/// Instructions that a thread may run before others get their turn.
static constexpr uint64_t kTurn = 1 << 20;
/// So often may threads ask mbarriers in vain, with nothing else going on.
static constexpr unsigned kIdleTurns = 1000;
/// What a block of sm_90 can have.
static constexpr int64_t kMostShared = 227 * 1024;
static constexpr int64_t kMostThreads = 1024;

// Errors.

static std::string textOf(Location location) {
  if (auto place = location->findInstanceOf<FileLineColLoc>())
    return (place.getFilename().getValue() + ":" + Twine(place.getLine()) +
            ":" + Twine(place.getColumn()))
        .str();
  std::string text;
  llvm::raw_string_ostream(text) << location;
  return text;
}

std::string Machine::where(const Thread &t) const {
  return "block " + std::to_string(blocks[t.block].index) + ", thread " +
         std::to_string(t.id);
}

bool Machine::failAt(Location location, const Thread *t, const Twine &what) {
  if (error.empty())
    error = (Twine(textOf(location)) + ": " + kernel.name + ": " +
             (t ? where(*t) + ": " : std::string()) + what)
                .str();
  return false;
}

bool Machine::fail(const Thread &t, const Twine &what) {
  const Frame &frame = t.frames.back();
  uint32_t pc = frame.pc ? frame.pc - 1 : 0;
  return failAt(frame.function->locations[pc], &t, what);
}

// Set-up.

Machine::Machine(const Code &code, const Function &kernel, const Launch &launch,
                 ArrayRef<Buffer> buffers)
    : code(code), kernel(kernel), launch(launch), buffers(buffers),
      random(launch.seed) {}

bool Machine::setUpMaps() {
  auto bad = [&](size_t i, const Twine &what) {
    error =
        (Twine(kernel.name) + ": tensor map " + Twine(i) + ": " + what).str();
    return false;
  };
  for (auto [i, map] : llvm::enumerate(launch.tensorMaps)) {
    if (map.operand >= buffers.size())
      return bad(i, "there is no operand " + Twine(map.operand));
    size_t rank = map.sizes.size();
    if (rank < 1 || rank > 5 || map.box.size() != rank ||
        map.strides.size() + 1 != rank)
      return bad(i, "sizes, strides and box do not fit together");
    if (map.elementBytes != 2 && map.elementBytes != 4)
      return bad(i, "elements of " + Twine(map.elementBytes) + " bytes");
    const Buffer &buffer = buffers[map.operand];
    uint64_t base = uint64_t(buffer.data);
    if (base % 16)
      return bad(i, "its tensor is not aligned to 16 bytes");
    for (int64_t stride : map.strides)
      if (stride <= 0 || stride % 16)
        return bad(i, "a stride of " + Twine(stride) +
                          " bytes is not a multiple of 16");
    for (int64_t size : map.box)
      if (size < 1 || size > 256)
        return bad(i, "a box of " + Twine(size) + " elements in a dimension");
    int64_t inner = map.box[0] * map.elementBytes;
    if (inner % 16)
      return bad(i, "a box's row of " + Twine(inner) +
                        " bytes is not a multiple of 16");
    if (map.swizzle != 0 && map.swizzle != 32 && map.swizzle != 64 &&
        map.swizzle != 128)
      return bad(i, "a swizzle of " + Twine(map.swizzle) + " bytes");
    if (map.swizzle && inner > map.swizzle)
      return bad(i, "a box's row of " + Twine(inner) +
                        " bytes is longer than the swizzle");
    TensorMap known = map;
    if (known.sizes.back() == -1)
      known.sizes.back() =
          buffer.bytes /
          (rank > 1 ? known.strides.back() : int64_t(known.elementBytes));
    uint64_t reach = known.elementBytes;
    for (size_t d = 0; d < rank; ++d) {
      if (known.sizes[d] < 0)
        return bad(i, "a size of " + Twine(known.sizes[d]));
      reach += std::max<int64_t>(0, known.sizes[d] - 1) *
               (d ? known.strides[d - 1] : int64_t(known.elementBytes));
    }
    bool empty = llvm::is_contained(known.sizes, 0);
    if (!empty && reach > std::max(buffer.bytes, buffer.readable))
      return bad(i, "its tensor has " + Twine(reach) + " bytes, buffer " +
                        Twine(map.operand) + " " + Twine(buffer.bytes));
    maps.push_back(std::move(known));
    mapBases.push_back(base);
  }
  return true;
}

bool Machine::setUp() {
  auto bad = [&](const Twine &what) {
    error = (Twine(kernel.name) + ": " + what).str();
    return false;
  };
  if (!kernel.kernel)
    return bad("is not a kernel");
  if (launch.threads < 1 || launch.threads > kMostThreads)
    return bad(Twine(launch.threads) + " threads a block");
  if (kernel.requiredThreads && kernel.requiredThreads != launch.threads)
    return bad("launched with " + Twine(launch.threads) +
               " threads a block, made for " + Twine(kernel.requiredThreads));
  if (launch.blocks < 1 || launch.cluster < 1 || launch.cluster > 8 ||
      launch.blocks % launch.cluster)
    return bad(Twine(launch.blocks) + " blocks in clusters of " +
               Twine(launch.cluster));
  int64_t shared =
      std::max(kernel.sharedEnd + launch.shared, sharedEnd()) - kReservedShared;
  if (shared > kMostShared)
    return bad(Twine(shared) + " bytes of shared memory a block; there are " +
               Twine(kMostShared));
  if (kernel.arguments.size() > 1)
    return bad("has more than one parameter block");
  for (auto [i, buffer] : llvm::enumerate(buffers)) {
    uint64_t begin = uint64_t(buffer.data);
    ranges.push_back({begin, begin + buffer.bytes,
                      begin + std::max(buffer.bytes, buffer.readable),
                      buffer.writable, int(i)});
  }
  for (auto &global : code.globals)
    if (global->space != 3) {
      uint64_t begin = uint64_t(global->bytes.data());
      ranges.push_back({begin, begin + global->size, begin + global->size,
                        !global->constant, -2});
    }
  if (!setUpMaps())
    return false;
  // The parameter block.
  mapsAt = llvm::alignTo(8 * buffers.size(), 64);
  uint64_t bytes =
      maps.empty() ? 8 * buffers.size() : mapsAt + 128 * maps.size();
  if (!kernel.arguments.empty() && uint64_t(kernel.parameterBytes) < bytes)
    return bad("its parameter block has " + Twine(kernel.parameterBytes) +
               " bytes, the launch gives " + Twine(bytes));
  parameterStorage.assign(bytes + 64, 0xa5);
  parameters = llvm::alignTo(uint64_t(parameterStorage.data()), 64);
  for (auto [i, buffer] : llvm::enumerate(buffers))
    memcpy(reinterpret_cast<void *>(parameters + 8 * i), &buffer.data, 8);
  ranges.push_back(
      {parameters, parameters + bytes, parameters + bytes, false, -1});
  if (launch.cluster * (launch.threads + 9) + 1 > 4094)
    return bad("the interpreter has no clusters of so many threads");
  return true;
}

/// Where a block's shared memory ends.
uint64_t Machine::sharedEnd() const {
  return launch.shared && kernel.dynamicShared
             ? code.dynamicStart + launch.shared
             : kernel.sharedEnd;
}

void Machine::startCluster(uint64_t first) {
  const uint32_t perBlock = launch.threads;
  const uint32_t count = launch.cluster * perBlock;
  groupsABlock = (perBlock + 127) / 128;
  agents = count + 1 + launch.cluster * groupsABlock;
  const uint64_t end = sharedEnd();
  const bool hasShared = end > kReservedShared;
  blocks.clear();
  blocks.resize(launch.cluster);
  threads.clear();
  threads.resize(count);
  warpgroups.assign(launch.cluster * groupsABlock, Warpgroup());
  copies.clear();
  firstCopy = copyClock = clusterArrived = 0;
  clusterPhase = 0;
  clusterClocks.clear();
  clusterAcquirable.assign(agents, 0);
  clockRows.assign(hasShared ? size_t(count) * agents : 0, 0);
  steps = 0;
  // A kernel with setmaxnreg is launched with all the registers of its share,
  // unless it says how many.
  uint32_t registers =
      kernel.maxRegisters
          ? kernel.maxRegisters
          : std::min<uint32_t>(255, 65536 / kernel.blocksPerSm / perBlock) / 8 *
                8;
  for (auto [rank, block] : llvm::enumerate(blocks)) {
    block.index = first + rank;
    block.running = perBlock;
    // What nobody wrote is NaN: rows of a product that are of no consequence
    // may be so.
    block.shared.assign(end, 0xff);
    block.shadow.assign(hasShared ? end : 0, Shadow());
    block.busy.assign(end / 16 + 1, 0);
  }
  uint32_t index = code.names.lookup(kernel.name);
  for (uint32_t i = 0; i < count; ++i) {
    Thread &t = threads[i];
    t.index = i;
    t.block = i / perBlock;
    t.id = i % perBlock;
    t.registers = registers;
    if (hasShared)
      clocks(i)[i] = 1;
    enter(t, index, kNone);
    if (!kernel.arguments.empty())
      t.slots[kernel.arguments[0]] = parameters;
  }
}

void Machine::leave(Thread &t) {
  // The frame is gone: errors here name the kernel's last instruction.
  Location location = kernel.locations.back();
  t.waits = Waits::Done;
  Block &block = blocks[t.block];
  --block.running;
  if (t.issued > t.completed)
    failAt(location, &t, "returns before it waited for its wgmmas");
  if (!t.bulkOpen.empty() || !t.bulkGroups.empty())
    failAt(location, &t,
           "returns before it waited for its bulk copies, which may still read "
           "shared memory");
  if (!t.copyOpen.empty() || !t.copyGroups.empty())
    failAt(location, &t, "returns before it waited for its cp.async");
  if (!error.empty())
    return;
  // Those who wait for all that still run may go on now.
  uint32_t first = t.id / 32 * 32;
  for (uint32_t i = first; i < first + 32 && i < uint32_t(launch.threads);
       ++i) {
    Thread &other = threadOf(t.block, i);
    if (other.waits == Waits::Warp && !tryWarp(other))
      return;
  }
  for (uint32_t id = 0; id < 16; ++id)
    if (block.barriers[id].all && !tryBarrier(block, id))
      return;
  tryCluster();
}

// The schedule.

bool Machine::sweep(bool &ran, bool &polled) {
  const uint32_t warps = (threads.size() + 31) / 32;
  std::vector<uint32_t> order(warps);
  for (uint32_t w = 0; w < warps; ++w)
    order[w] = w;
  if (launch.seed)
    std::shuffle(order.begin(), order.end(), random);
  for (uint32_t w : order)
    for (uint32_t i = w * 32; i < w * 32 + 32 && i < threads.size(); ++i) {
      Thread &t = threads[i];
      bool poll = t.waits == Waits::Poll;
      if (t.waits != Waits::Nothing && !poll)
        continue;
      t.waits = Waits::Nothing;
      if (!(code.asynchronous ? step<true>(t, kTurn) : step<false>(t, kTurn)))
        return false;
      if (poll && t.waits == Waits::Poll)
        polled = true;
      else
        ran = true;
      if (steps > launch.maxSteps)
        return fail(t, "more than " + Twine(launch.maxSteps) +
                           " instructions: a loop without end");
    }
  return true;
}

bool Machine::runCluster(uint64_t first) {
  startCluster(first);
  unsigned idle = 0;
  while (true) {
    bool ran = false, polled = false;
    if (!sweep(ran, polled))
      return false;
    bool running = false;
    for (Block &block : blocks)
      running |= block.running != 0;
    if (!running)
      return finishCluster();
    uint32_t copy = nextCopy();
    bool now = !ran || (launch.seed && random() % 2);
    if (now && copy < copies.size()) {
      if (!deliver(copy))
        return false;
      idle = 0;
    } else if (ran) {
      idle = 0;
    } else if (!polled || ++idle > kIdleTurns) {
      return deadlock();
    }
  }
}

bool Machine::finishCluster() {
  for (Copy &copy : copies)
    if (!copy.done && copy.kind != Copy::TensorStore &&
        copy.kind != Copy::Store)
      return failAt(copy.location, &threads[copy.thread],
                    "this copy is under way when its block ends");
  return true;
}

std::string Machine::describeWait(const Thread &t) const {
  const Block &block = blocks[t.block];
  switch (t.waits) {
  case Waits::Barrier: {
    const NamedBarrier &b = block.barriers[t.object];
    return "at barrier " + std::to_string(t.object) + " (" +
           std::to_string(b.arrived) + " of " +
           std::to_string(b.all ? block.running : b.expected) +
           " have arrived)";
  }
  case Waits::Warp:
    return "for lanes of its warp (mask 0x" + llvm::utohexstr(t.mask) + ")";
  case Waits::Warpgroup:
    return "for threads of its warpgroup";
  case Waits::Registers:
    return "for registers (" + std::to_string(block.freeRegisters) +
           " are free)";
  case Waits::Cluster:
    return "at the cluster's barrier";
  case Waits::Mbarrier:
  case Waits::Poll: {
    auto found = block.mbarriers.find(t.object);
    if (found == block.mbarriers.end())
      return "at an mbarrier that is gone";
    const Mbarrier &b = found->second;
    return "at the mbarrier in shared memory at " + std::to_string(t.object) +
           " for phase " + std::to_string(t.phase) + " (parity " +
           std::to_string(t.phase & 1) + "); it is in phase " +
           std::to_string(b.phase) + ", lacks " + std::to_string(b.pending) +
           " of " + std::to_string(b.count) + " arrivals and " +
           std::to_string(b.bytes) + " bytes";
  }
  default:
    return "for nothing";
  }
}

bool Machine::deadlock() {
  std::string text;
  const Thread *culprit = nullptr;
  for (size_t i = 0; i < threads.size();) {
    const Thread &t = threads[i];
    if (t.waits == Waits::Done) {
      ++i;
      continue;
    }
    if (!culprit)
      culprit = &t;
    auto describe = [&](const Thread &thread) {
      const Frame &frame = thread.frames.back();
      return describeWait(thread) + ", " +
             textOf(frame.function->locations[frame.pc - 1]);
    };
    std::string what = describe(t);
    size_t end = i + 1;
    while (end < threads.size() && threads[end].block == t.block &&
           threads[end].waits != Waits::Done && describe(threads[end]) == what)
      ++end;
    text += "\n  block " + std::to_string(blocks[t.block].index) + ", thread" +
            (end - i > 1 ? "s " : " ") + std::to_string(t.id) +
            (end - i > 1 ? " to " + std::to_string(threads[end - 1].id) : "") +
            (end - i > 1 ? " wait " : " waits ") + what;
    i = end;
  }
  return fail(*culprit, "deadlock: no thread can go on" + text);
}

llvm::Error Machine::run() {
  if (setUp())
    for (uint64_t first = 0; first < uint64_t(launch.blocks);
         first += launch.cluster)
      if (!runCluster(first))
        break;
  if (error.empty() && launch.overlap && !gridWaited)
    error = (Twine(kernel.name) +
             ": no thread has waited for the kernels before this one, which "
             "those behind it go by")
                .str();
  if (error.empty())
    return llvm::Error::success();
  return llvm::createStringError(error);
}
