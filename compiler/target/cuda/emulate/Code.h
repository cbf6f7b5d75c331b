//===- Code.h - decoded kernels ---------------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A function becomes a dense array of instructions over numbered slots of 64
// bits. A scalar has one slot, a vector one for each element, a struct or array
// those of its parts. Integers are kept zero-extended, floats as their bits.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TARGET_CUDA_EMULATE_CODE_H
#define R1C_COMPILER_TARGET_CUDA_EMULATE_CODE_H

#include "compiler/target/cuda/emulate/Emulate.h"
#include "mlir/IR/Location.h"
#include "llvm/ADT/StringMap.h"

#include <cstdint>
#include <vector>

namespace r1c::cuda::emulate {

enum class Opcode : uint16_t {
  // Slots. Copies carry along what is known of a register (see Tag).
  Copy,        // dst[0..lanes) = a[0..lanes)
  Undef,       // dst[0..lanes) has no value
  ExtractLane, // dst = a[b], lanes of a
  InsertLane,  // dst = a, with dst[c] = b
  Shuffle,     // dst[i] = (a|b)[table[extra][i]]
  Select,      // per lane; kind 1: one condition for all
  // Integers of `width` bits; imm: the mask of these bits.
  Add,
  Sub,
  Mul,
  UDiv,
  SDiv,
  URem,
  SRem,
  And,
  Or,
  Xor,
  Shl,
  LShr,
  AShr,
  SMax,
  SMin,
  UMax,
  UMin,
  Abs,
  CtPop,
  Ctlz,
  Cttz,
  BitReverse,
  ByteSwap,
  Fshl,
  Fshr,
  ICmp, // kind: predicate
  Trunc,
  SExt,    // from `width`; imm: the mask of the result
  Address, // dst = a + sext(b, width) * imm, or without b: a + imm;
           // kind bit 0 (1): a (b) is one for all lanes
  // Floats: kind 0 f32, 1 f64.
  FAdd,
  FSub,
  FMul,
  FDiv,
  FRem,
  FNeg,
  FAbs,
  CopySign,
  Fma,
  Sqrt,
  Maximum,
  Minimum,
  MaxNum,
  MinNum,
  Floor,
  Ceil,
  FTrunc,
  Rint,
  Round,
  FCmp, // extra: predicate
  FToF, // kind: from, width: to (0 f32, 1 f64, 2 bf16)
  FToS, // kind: from; width: bits of the result
  FToU,
  SToF, // kind: to; width: bits of the source
  UToF,
  Reinterpret, // bits cut anew: lanes parts of `width` into imm of `kind` bits
  // Approximations of the special function unit, f32. kind: which.
  Approx,
  // Reductions of a vector: dst = reduce(a[0..lanes)); extra: Opcode; b: start.
  Reduce,
  // Memory. kind: space; extra: access; imm: alignment.
  Load,         // dst = [a]
  Store,        // [a] = b
  MaskedLoad,   // dst = [a] where b, else c
  MaskedStore,  // [a] = b where c
  Gather,       // dst = [a[i]] where b, else c
  Scatter,      // [b[i]] = a[i] where c
  MemCopy,      // [a] = [b], c bytes; kind, width: spaces
  MemSet,       // [a] = b, c bytes
  Atomic,       // dst = [a]; [a] = f([a], b); extra: which
  CompareSwap,  // dst = {[a], equal}; b: expected, c: new
  Alloca,       // a: how many; imm: bytes of one; extra: alignment
  SharedWindow, // address space 3 or 7 <-> 0; kind 0: to generic, 1: from
  LocalWindow,  // address space 5 <-> 0
  // Control.
  Jump,   // extra: edge
  Branch, // a; extra: edge if true, imm: edge otherwise
  Switch, // a; extra: table
  Call,   // extra: call
  Return, // a, lanes
  Unreachable,
  Predicate, // if not a, skip the next instruction
  // Special registers; kind: which.
  Special,
  // Warps.
  Shuffle32, // a: mask, b: value, c: offset, d: clamp; kind: how
  Vote,      // a: mask, b: predicate
  Elect,     // a: mask
  WarpSync,  // a: mask
  Redux,     // a: mask, b: value; kind
  Match,     // a: mask, b: value; kind
  LoadMatrix,
  StoreMatrix,
  // Blocks.
  Barrier,       // a: id or none, b: threads or none; imm: id; kind: reduction
  BarrierArrive, //
  ClusterArrive,
  ClusterWait,
  SetRegisters, // imm: registers; kind 1: less
  GridWait,     // for the kernels before
  // Memory barriers: kind says which, see FenceKind.
  Fence,
  // mbarrier; a: address; kind: space.
  MbarInit, // b: count
  MbarInval,
  MbarArrive, // b: count, or none: 1; imm bit 0: drop, bit 1: relaxed,
              // bit 2: no completion
  MbarExpect, // b: bytes; imm bit 2: and arrive
  MbarComplete,
  MbarWait, // b: state or parity; imm bit 0: a state; bit 1: only a test,
            // bit 2: until done
  // Asynchronous copies.
  BulkTensorLoad,  // a: where, b: map, extra: coordinates, c: mbarrier, d: mask
  BulkTensorStore, // a: map, b: from, extra: coordinates
  BulkLoad,        // a: where, b: from, c: mbarrier, d: mask; extra: size
  BulkPrefetch,    // a: from; b: size
  BulkStore,       // a: where, b: from, c: bytes
  BulkCommit,
  BulkWait, // imm: groups that may be left; kind 1: only reading
  CpAsync,  // a: where, b: from, imm: bytes, c: bytes to copy or none
  CpAsyncCommit,
  CpAsyncWait, // imm
  CpAsyncArrive,
  Mapa, // a: address, b: rank; kind: space
  // Matrices.
  Wgmma, // extra: wgmma
  WgmmaFence,
  WgmmaCommit,
  WgmmaWait,   // imm
  Unsupported, // an op that the interpreter does not know
  Nop,
};

enum class Register : uint8_t {
  LaneId,
  WarpSize,
  WarpId,
  WarpCount,
  ThreadX,
  ThreadsX,
  BlockX,
  BlocksX,
  Zero,
  One,
  ClusterX,
  ClustersX,
  BlockInCluster,
  ClusterSize,
  MaskEqual,
  MaskLessEqual,
  MaskLess,
  MaskGreaterEqual,
  MaskGreater,
  Clock,
  DynamicShared,
  TotalShared,
};

enum class FenceKind : uint8_t { Memory, AsyncProxy, MbarrierInit };

/// No slot.
inline constexpr uint32_t kNone = ~0u;

struct Instruction {
  Opcode op = Opcode::Nop;
  uint8_t kind = 0, width = 0;
  uint32_t lanes = 1;
  uint32_t dst = kNone, a = kNone, b = kNone, c = kNone, d = kNone;
  uint32_t extra = 0;
  uint32_t uses = 0, useCount = 0; ///< into Function::uses
  uint32_t results = 0;            ///< slots from dst on that it writes
  int64_t imm = 0;
};

struct SlotRange {
  uint32_t first, count;
};

/// Where the slots of a value lie in memory.
struct Access {
  struct Field {
    uint32_t offset;
    uint8_t bytes, bits;
  };
  std::vector<Field> fields;
  uint64_t size = 0;
  uint64_t align = 1;
  uint8_t uniform = 0; ///< bytes of a field when all lie side by side
};

struct Edge {
  struct Move {
    uint32_t dst, src, count;
  };
  uint32_t target = 0;
  std::vector<Move> moves;
  bool overlaps = false; ///< some source is another's destination
};

struct Cases {
  std::vector<std::pair<uint64_t, uint32_t>> edges; ///< value, edge
  uint32_t otherwise = 0;
};

struct CallSite {
  uint32_t function = 0;
  std::vector<Edge::Move>
      arguments; ///< from the caller's to the callee's slots
  uint32_t dst = kNone, results = 0;
};

/// A wgmma: D (64 x n, f32) += A (64 x 16, bf16) * B (16 x n, bf16).
struct WgmmaSite {
  uint32_t n = 8;
  uint32_t accumulators = kNone, result = kNone; ///< n / 2 slots
  std::vector<uint32_t> accumulatorSlots;        ///< when not one range
  uint32_t descriptorA = kNone, descriptorB = kNone;
  std::vector<uint32_t> fragmentA; ///< 4 registers of 32 bits, or 8 elements
  bool accumulate = true;
  uint32_t accumulateSlot = kNone; ///< or a number known at run time
  int scaleA = 1, scaleB = 1;
  bool transposeA = false, transposeB = false;
};

struct Function {
  std::string name;
  bool kernel = false;
  int64_t requiredThreads = 0; ///< nvvm.reqntid; 0: none
  int64_t maxRegisters = 0;    ///< nvvm.maxnreg; 0: none
  uint32_t blocksPerSm = 1;    ///< that a multiprocessor must have room for
  int64_t parameterBytes = 0;  ///< of the by-value block
  uint64_t sharedEnd = 0;      ///< where a kernel's static variables end
  bool dynamicShared = false;  ///< it uses the dynamic part
  uint32_t slots = 0;
  std::vector<uint64_t> image; ///< what the slots hold at first: constants
  std::vector<Instruction> code;
  std::vector<mlir::Location> locations; ///< of each instruction
  std::vector<uint32_t> arguments;       ///< first slot of each
  std::vector<SlotRange> uses;
  std::vector<Edge> edges;
  std::vector<Cases> cases;
  std::vector<CallSite> calls;
  std::vector<WgmmaSite> wgmmas;
  std::vector<std::vector<uint32_t>> tables; ///< of slots or lanes
};

/// A global variable.
struct Global {
  std::string name;
  unsigned space = 0;
  uint64_t size = 0, align = 1;
  bool dynamic = false; ///< shared memory of the launch's size
  bool constant = false;
  uint64_t address = 0; ///< shared: from the window's start
  /// In other spaces; of global memory, what runs have left there.
  mutable std::vector<uint8_t> bytes;
};

struct Code {
  std::vector<Function> functions;
  llvm::StringMap<uint32_t> names;
  std::vector<std::unique_ptr<Global>> globals;
  std::vector<Access> accesses;
  uint64_t dynamicAlign = 16;
  uint64_t dynamicStart = 0;
  bool asynchronous = false; ///< some kernel has wgmma: registers carry tags
};

/// The shared window of a block starts with what the system keeps.
inline constexpr uint64_t kReservedShared = 1024;
/// In shared::cluster addresses the block's rank + 1 stands from this bit on;
/// 0 is the block that uses the address, as shared::cta lies in it.
inline constexpr unsigned kRankShift = 24;
/// Generic addresses of shared and local memory.
inline constexpr uint64_t kSharedWindow = uint64_t(0xf0) << 56;
inline constexpr uint64_t kLocalWindow = uint64_t(0xe0) << 56;
inline constexpr uint64_t kWindowMask = uint64_t(0xff) << 56;

/// Decodes all functions of `module` into `code`.
llvm::Error decodeModule(mlir::Operation *module, Code &code);

} // namespace r1c::cuda::emulate

#endif // R1C_COMPILER_TARGET_CUDA_EMULATE_CODE_H
