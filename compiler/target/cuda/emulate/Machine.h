//===- Machine.h - a cluster of blocks at work ------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// One cluster runs after the other. Each thread is a stack of frames that runs
// until it has to wait. Order between threads is kept as vector clocks: a
// barrier joins the clocks of who takes part, and every byte of shared memory
// knows who wrote and who read it last, and when.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TARGET_CUDA_EMULATE_MACHINE_H
#define R1C_COMPILER_TARGET_CUDA_EMULATE_MACHINE_H

#include "compiler/target/cuda/emulate/Code.h"

#include <deque>
#include <map>
#include <random>

namespace r1c::cuda::emulate {

enum class Waits : uint8_t {
  Nothing,
  Done,      ///< returned from the kernel
  Barrier,   ///< bar.sync
  Warp,      ///< shuffle, vote, …
  Warpgroup, ///< wgmma, setmaxnreg
  Mbarrier,
  Poll, ///< asked an mbarrier, got no, and let others go on
  Cluster,
  Registers,
};

/// What is known of a register beside its bits: which wgmma writes it (and
/// whether it is done), and when it was written otherwise.
struct Tag {
  uint32_t wgmma = 0;
  uint32_t time = 0;
};
/// Tag::time of undef, and of what was loaded from shared memory that nobody
/// wrote: to load it is no error yet, to compute with it is.
inline constexpr uint32_t kNoValue = ~0u, kUnwritten = ~0u - 1;

struct Frame {
  const Function *function;
  uint32_t pc, base, dst;
  uint64_t localMark;
};

struct Thread {
  uint32_t index = 0;         ///< in the cluster
  uint32_t block = 0, id = 0; ///< rank in the cluster, thread of the block
  std::vector<uint64_t> slots;
  std::vector<Tag> tags;
  std::vector<Frame> frames;
  std::vector<uint8_t> local, localKnown;

  Waits waits = Waits::Nothing;
  const Instruction *at = nullptr; ///< where it waits
  uint32_t mask = 0;               ///< lanes of a warp operation
  uint64_t object = 0;             ///< barrier id or mbarrier address
  uint64_t phase = 0;              ///< of the mbarrier, that it waits for
  uint32_t resultSlot = kNone;
  uint32_t need = 0; ///< registers

  // Asynchronous matrix products.
  uint32_t issued = 0, completed = 0; ///< numbers of wgmmas
  std::deque<uint32_t> groups;    ///< last wgmma of each that is not waited for
  uint32_t clock = 0, fenced = 0; ///< instructions; at the last wgmma.fence
  bool everFenced = false;
  bool unwritten = false;   ///< some register may be kUnwritten
  uint32_t proxyFenced = 0; ///< own clock at the last fence.proxy.async
  // Bulk copies from shared memory, and cp.async.
  std::vector<uint32_t> bulkOpen;
  std::deque<std::vector<uint32_t>> bulkGroups;
  std::vector<uint32_t> copyOpen;
  std::deque<std::vector<uint32_t>> copyGroups;
  uint32_t registers = 0;
  bool gridWaited = false; ///< for the kernels before
  bool clusterArrived = false;
  uint64_t clusterPhase = 0; ///< that it arrived in
};

struct NamedBarrier {
  uint32_t expected = 0;
  uint32_t arrived = 0;
  bool all = false;               ///< expects every thread that still runs
  std::vector<uint32_t> waiting;  ///< threads of the cluster
  std::vector<bool> predicates;   ///< of those
  std::vector<uint32_t> released; ///< clocks of those that only arrived
};

struct Mbarrier {
  uint32_t count = 0, pending = 0;
  int64_t bytes = 0;
  uint64_t phase = 0;
  uint32_t inFlight = 0; ///< copies that will complete on it
  uint32_t creator = 0, created = 0;
  bool fencedByCreator = false;
  std::vector<uint32_t> clocks;     ///< what arrivals of this phase released
  std::vector<uint32_t> acquirable; ///< of the phase before
  mlir::Location location;
  explicit Mbarrier(mlir::Location location) : location(location) {}
};

/// Who touched a byte of shared memory last: 12 bits of who, 20 of when.
struct Shadow {
  uint32_t write = 0; ///< 0: nobody
  /// Another who wrote the same value, in no order with the first: a reader has
  /// to come after either.
  uint32_t twin = 0;
  uint32_t reads[2] = {0, 0};
};
inline constexpr uint32_t kIsMbarrier = ~0u, kInFlight = ~0u - 1;
inline uint32_t epoch(uint32_t agent, uint32_t clock) {
  return agent << 20 | (clock & 0xfffff);
}
inline uint32_t agentOf(uint32_t epoch) { return epoch >> 20; }
inline uint32_t clockOf(uint32_t epoch) { return epoch & 0xfffff; }

struct Block {
  uint64_t index = 0; ///< in the grid
  std::vector<uint8_t> shared;
  std::vector<Shadow> shadow;
  std::vector<uint16_t> busy; ///< of 16 bytes: asynchronous readers
  NamedBarrier barriers[16];
  std::map<uint64_t, Mbarrier> mbarriers; ///< by offset
  uint32_t running = 0;                   ///< threads that have not returned
  int64_t freeRegisters = 0;
};

/// A piece of shared memory.
struct Piece {
  uint32_t block;
  uint64_t offset, bytes;
};

/// A copy under way.
struct Copy {
  enum Kind { TensorLoad, TensorStore, Load, Store, Elements } kind = Load;
  uint32_t thread = 0;
  const Instruction *at = nullptr;
  mlir::Location location;
  const TensorMap *map = nullptr;
  uint64_t global = 0;          ///< address
  uint64_t offset = 0;          ///< in shared memory
  uint64_t bytes = 0, fill = 0; ///< fill: zeros after the bytes
  int64_t coordinates[5] = {};
  std::vector<uint32_t> blocks; ///< whose shared memory
  uint64_t mbarrier = 0;        ///< offset in these
  bool done = false;
  std::vector<uint32_t> clocks; ///< of the thread, when it began
  explicit Copy(mlir::Location location) : location(location) {}
};

struct PendingWgmma {
  uint32_t number;
  std::vector<Piece> reads;
};
struct Warpgroup {
  uint32_t issued = 0, completed = 0;
  std::deque<PendingWgmma> pending;
};

struct GlobalRange {
  uint64_t begin, end, readable;
  bool writable;
  int index; ///< of the buffer; -1: parameters, -2: a global
};

class Machine {
public:
  Machine(const Code &code, const Function &kernel, const Launch &launch,
          llvm::ArrayRef<Buffer> buffers);
  llvm::Error run();
  Statistics statistics;

private:
  // Machine.cpp: set-up and schedule.
  bool setUp();
  bool setUpMaps();
  uint64_t sharedEnd() const;
  bool runCluster(uint64_t first);
  void startCluster(uint64_t first);
  bool finishCluster();
  /// Lets every thread that can go on do so; `ran`: one did, `polled`: one only
  /// asked an mbarrier again.
  bool sweep(bool &ran, bool &polled);
  bool deadlock();
  std::string describeWait(const Thread &t) const;
  /// Sets the error; always false.
  bool fail(const Thread &t, const llvm::Twine &what);
  bool failAt(mlir::Location location, const Thread *t,
              const llvm::Twine &what);
  std::string where(const Thread &t) const;

  // Step.cpp: threads.
  template <bool Tagged>
  bool step(Thread &t, uint64_t budget);
  bool checkUses(Thread &t, const Frame &frame, const Instruction &in);
  bool memory(Thread &t, const Instruction &in, uint64_t *r);
  bool control(Thread &t, Frame &frame, const Instruction &in);
  template <bool Tagged>
  bool move(Thread &t, Frame &frame, const Edge &edge);
  bool enter(Thread &t, uint32_t function, uint32_t dst);
  uint64_t special(const Thread &t, unsigned which) const;
  void leave(Thread &t);
  void wait(Thread &t, Waits what, const Instruction &in);
  void wake(Thread &t, uint64_t result = 0);

  // Memory.cpp.
  bool read(Thread &t, uint64_t address, unsigned space, void *to,
            uint64_t bytes, uint64_t align, bool atomic = false);
  bool write(Thread &t, uint64_t address, unsigned space, const void *from,
             uint64_t bytes, uint64_t align, bool atomic = false);
  bool global(const Thread &t, uint64_t address, uint64_t bytes, bool writes);
  /// Whether the thread may touch these bytes of a buffer already; an error if
  /// not.
  bool mayTouch(const Thread &t, int buffer, bool writes, uint64_t from = 0,
                uint64_t to = ~uint64_t(0));
  bool local(Thread &t, uint64_t address, uint64_t bytes, bool writes);
  /// Block and offset of an address of shared memory; space 3: of this block.
  bool locate(const Thread &t, uint64_t address, unsigned space, uint64_t bytes,
              Piece &piece);
  bool atomic(Thread &t, const Instruction &in, uint64_t *r);
  bool loadFields(Thread &t, const Instruction &in, uint64_t address,
                  unsigned space, uint64_t *dst);

  // Shared.cpp: the shadow of shared memory.
  bool markRead(const Thread &t, const Piece &piece);
  bool markWrite(const Thread &t, const Piece &piece, const void *from);
  /// A read by the matrix units or the copy engine for threads whose least
  /// clocks are `seen`; `unwritten`: of bytes that nobody wrote, too.
  bool markAsyncRead(const Thread &t, const Piece &piece,
                     llvm::ArrayRef<uint32_t> seen, const char *who,
                     bool unwritten = false);
  /// The start of an asynchronous write for a thread.
  bool markInFlight(const Thread &t, const Piece &piece,
                    llvm::ArrayRef<uint32_t> seen);
  void markArrived(const Piece &piece, uint32_t epoch);
  void setBusy(const Piece &piece, int change);
  bool before(llvm::ArrayRef<uint32_t> seen, uint32_t epoch) const {
    return seen[agentOf(epoch)] >= clockOf(epoch);
  }
  std::string agentName(uint32_t agent) const;
  std::string shared(const Piece &piece) const;
  llvm::MutableArrayRef<uint32_t> clocks(uint32_t thread) {
    return {clockRows.data() + size_t(thread) * agents, agents};
  }
  llvm::ArrayRef<uint32_t> clocks(uint32_t thread) const {
    return {clockRows.data() + size_t(thread) * agents, agents};
  }
  void join(llvm::MutableArrayRef<uint32_t> into,
            llvm::ArrayRef<uint32_t> from) const;
  void tick(uint32_t thread) { ++clocks(thread)[thread]; }
  /// All of these have seen what each has, and what `released` holds.
  void synchronize(llvm::ArrayRef<uint32_t> group,
                   llvm::ArrayRef<uint32_t> released = {});
  uint32_t copyAgent() const { return threads.size(); }
  uint32_t warpgroupAgent(const Thread &t) const {
    return threads.size() + 1 + t.block * groupsABlock + t.id / 128;
  }

  // Warps.cpp.
  bool arriveWarp(Thread &t, const Instruction &in, uint32_t mask);
  bool tryWarp(Thread &t);
  bool performWarp(llvm::ArrayRef<Thread *> lanes, const Instruction &in);
  bool shuffle(llvm::ArrayRef<Thread *> lanes, const Instruction &in);
  bool matrixMove(llvm::ArrayRef<Thread *> lanes, const Instruction &in);

  // Barriers.cpp.
  bool barrier(Thread &t, const Instruction &in, uint64_t *r);
  bool tryBarrier(Block &block, uint32_t id);
  bool clusterBarrier(Thread &t, const Instruction &in);
  bool tryCluster();
  bool setRegisters(Thread &t, const Instruction &in);
  bool mbarrier(Thread &t, const Instruction &in, uint64_t *r);
  Mbarrier *findMbarrier(const Thread &t, uint64_t address, unsigned space,
                         Piece &piece);
  bool arrive(Thread &t, Mbarrier &barrier, const Piece &piece, uint32_t count,
              bool relaxed, bool last);
  bool checkPhase(const Thread &t, const Piece &piece, Mbarrier &barrier);

  // Copies.cpp.
  bool bulk(Thread &t, const Instruction &in, uint64_t *r);
  bool begin(Thread &t, Copy copy);
  bool deliver(uint32_t index);
  /// A copy under way that nobody has to wait for to have it delivered: the
  /// oldest, or any; copies.size() when there is none.
  uint32_t nextCopy();
  /// Calls for each element of the box of a tensor copy.
  void
  forBox(const Copy &copy,
         llvm::function_ref<void(uint64_t global, uint64_t shared, bool inside)>
             element) const;
  bool checkTensor(const Thread &t, const TensorMap &map, uint64_t offset);
  void finishStore(Thread &t, const Copy &copy);
  const TensorMap *mapAt(const Thread &t, uint64_t address);
  bool elementCopy(Thread &t, const Instruction &in, uint64_t *r);
  bool waitCopies(Thread &t, std::deque<std::vector<uint32_t>> &groups,
                  uint64_t left);

  // Wgmma.cpp.
  bool arriveWarpgroup(Thread &t, const Instruction &in);
  bool wgmma(llvm::ArrayRef<Thread *> group, const WgmmaSite &site);
  bool wgmmaWait(Thread &t, uint64_t left);
  void completeWgmma(Thread &t);
  bool operand(const Thread &t, uint64_t descriptor, uint32_t rows,
               bool transposed, llvm::ArrayRef<uint32_t> seen,
               std::vector<float> &values, std::vector<Piece> &pieces);

  Thread &threadOf(uint32_t block, uint32_t id) {
    return threads[size_t(block) * launch.threads + id];
  }

  const Code &code;
  const Function &kernel;
  const Launch &launch;
  llvm::ArrayRef<Buffer> buffers;
  std::vector<GlobalRange> ranges;
  mutable size_t lastRange = 0;
  bool gridWaited = false; ///< any thread, for the kernels before
  std::vector<uint8_t> parameterStorage;
  uint64_t parameters = 0, mapsAt = 0;
  std::vector<TensorMap> maps;
  std::vector<uint64_t> mapBases;

  std::vector<Thread> threads;
  std::vector<Block> blocks;
  std::vector<Warpgroup> warpgroups;
  std::vector<Copy> copies;
  size_t firstCopy = 0; ///< those before are done
  uint32_t copyClock = 0;
  std::vector<uint32_t> clockRows;
  uint32_t agents = 0, groupsABlock = 0;
  uint32_t clusterArrived = 0;
  uint64_t clusterPhase = 0;
  std::vector<uint32_t> clusterClocks, clusterAcquirable;
  std::mt19937 random;
  uint64_t steps = 0;
  bool lenient = false, sawUnwritten = false; ///< of the load under way
  std::string error;
};

} // namespace r1c::cuda::emulate

#endif // R1C_COMPILER_TARGET_CUDA_EMULATE_MACHINE_H
