//===- Kernel.h - the frame of a kernel, and its scalar region --*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_COMMON_KERNEL_H
#define R1C_KERNELS_COMMON_KERNEL_H

#include "dialects/kern/Kern.h"
#include "kernels/common/Emit.h"
#include "llvm/ADT/DenseMap.h"

namespace r1c::kernels {

/// On functions that code generation must not specialise for their callers.
inline constexpr llvm::StringLiteral opaqueAttribute = "r1c-opaque";

/// Of the GPUs that kernels are planned for; they run on any number.
inline constexpr int64_t multiprocessors = 132;

/// What a CPU builder may rely on.
struct CpuFeatures {
  bool avx512 = false;     ///< 512-bit vectors, masks, 32 registers
  bool avx512Bf16 = false; ///< vdpbf16ps
  bool amxBf16 = false;    ///< tdpbf16ps, tiles
};

/// A view of an operand for the tensor copy engine (CUtensorMap): up to five
/// dimensions, that of neighbours first. What lies beyond reads as zero.
struct TensorMap {
  unsigned operand; ///< its number in the kernel ABI
  Type element;     ///< bf16 or f32
  /// In elements; the last may be -1: as many as there are up to the end of the
  /// operand's buffer.
  SmallVector<int64_t> sizes;
  SmallVector<int64_t> strides; ///< bytes, of all dimensions but the first
  SmallVector<int64_t> box;     ///< elements that a copy takes
  int64_t swizzle = 128;        ///< bytes: 0, 32, 64, 128
};

/// How a CUDA kernel is launched: static, since sizes are read on the device.
struct Launch {
  /// Instead, where the host knows that there are no more rows: another kernel
  /// with the same operands and results, or another grid of this one.
  struct FewRows {
    int64_t rows;
    std::string symbol;
    mlir::DictionaryAttr launch;
  };
  SmallVector<FewRows> fewRows; ///< by rows
  int64_t threads = 256;
  int64_t blocksPerSm = 4; ///< blocks loop over the work that there is
  int64_t shared = 0;      ///< bytes of dynamic shared memory
  int64_t cluster = 1;     ///< blocks of a cluster
  SmallVector<TensorMap> maps;
  /// Operands (numbers in the kernel ABI) that are read before what precedes
  /// the kernel has ended.
  SmallVector<unsigned> early;
  /// Of which no more is read before than was there before the run of commands.
  SmallVector<unsigned> cached;
};

/// A kernel under construction: the function with the kernel ABI that stands
/// in for the function on tensors, its arguments by the tensor they hold, and
/// the worker's share.
class Kernel {
public:
  /// For a CPU. Makes the function before `source`, with an empty body to emit
  /// into.
  Kernel(mlir::func::FuncOp source, mlir::Operation *op,
         const CpuFeatures &features);
  /// For CUDA: a worker is a thread of the grid, and `args` the parameter
  /// block. `suffix`: of its name, behind the source's.
  Kernel(mlir::func::FuncOp source, mlir::Operation *op, const Launch &launch,
         llvm::StringRef suffix = "");

  mlir::func::FuncOp source, function;
  mlir::Operation *op;
  CpuFeatures features;
  std::optional<Launch> launch; ///< on CUDA
  OpBuilder builder;
  Emit e;
  Value args, worker, workers; ///< !llvm.ptr, i64, i64
  /// On CUDA, i64: thread of the block, block, blocks of the grid.
  Value thread, block, blocks;
  Value size; ///< i64: `rows` or `sequences`, dynamic or not

  /// Start of the buffer of an operand or result of the op.
  Value pointer(Value tensor) const { return pointers.lookup(tensor); }
  /// The operand's number in the kernel ABI.
  unsigned operand(Value tensor) const;
  /// On CUDA: the kernel does not wait for what precedes it at its start, but
  /// where `wait` is called, and until then reads nothing but its size, these
  /// operands, and of `cached` what the run of commands does not write. Every
  /// thread that touches anything else waits; so does one at least where there
  /// is no work, since what follows goes by this kernel's end.
  void waitLater(mlir::ValueRange early, mlir::ValueRange cached = {});
  void wait();
  /// Address of a tensor map in the parameter block.
  Value tensorMap(const TensorMap &map);
  /// On CUDA: bytes of the block's static shared memory, aligned to 16,
  /// uninitialised.
  Value shared(int64_t bytes);
  /// On CUDA: start of the launch's `shared` bytes of dynamic shared memory, of
  /// address space 3, aligned to 1024.
  Value dynamicShared();
  /// On CUDA: bytes of global memory of the kernel's own, aligned to 16, zero
  /// when the kernels are loaded; what one run leaves is there for the next.
  Value globalMemory(int64_t bytes);
  /// On CUDA: a table of f32 in constant memory.
  Value constants(mlir::ArrayRef<float> values);
  /// On CUDA: all threads of the block arrive before one goes on.
  void barrier();
  /// [first, second) of `count` things for this worker, in units.
  std::pair<Value, Value> share(Value count, int64_t unit = 1);
  /// A private function beside the kernel, not inlined; e and builder emit
  /// into it while `body` runs. It sees no value of the kernel; one that gets
  /// `args` calls usePointers first. `opaque`: its arguments are not looked
  /// through, and it is compiled as it stands.
  mlir::func::FuncOp outline(const llvm::Twine &suffix, mlir::TypeRange types,
                             mlir::function_ref<void(ValueRange)> body,
                             bool opaque = false);
  /// Loads all pointers anew from `args`; returns the old ones, to put back.
  llvm::DenseMap<Value, Value> usePointers(Value args);
  void putBack(llvm::DenseMap<Value, Value> old) { pointers = std::move(old); }
  /// A remark, of the category "target", on how the kernel is built.
  void explain(const llvm::Twine &how, const llvm::Twine &why = "");
  /// Ends the kernel and erases the function that it came from.
  void finish();
  /// The same, for one that stands beside another of the same source.
  void finishBeside() { end(); }
  /// Launches of so few rows, where the host knows that, take `other`, which
  /// may be this one, with a grid of so many blocks a multiprocessor. In the
  /// order of rows.
  void addFewRows(Kernel &other, int64_t rows, int64_t blocksPerSm);
  /// By one thread of a block, behind a barrier: counts at `counter`, an i32 in
  /// global memory, and gives how many were counted before (i32). What all
  /// threads of the block have written is released, and behind the next barrier
  /// they see what the blocks counted before have.
  Value countBlock(Value counter);

private:
  void begin(mlir::TypeRange arguments, llvm::StringRef suffix = "");
  void end();
  mlir::DictionaryAttr launchAttr(const Launch &launch);
  /// A generic pointer to a new variable of the module.
  Value global(Type type, unsigned addressSpace, bool constant,
               mlir::Attribute value);

  int64_t globals = 0;              ///< made so far
  int64_t ownMemory = 0;            ///< bytes of global memory of its own
  mlir::Operation *waits = nullptr; ///< at the start of a CUDA kernel
  SmallVector<Value> buffers;       ///< tensors in the order of args
  llvm::DenseMap<Value, Value> pointers;
};

/// Emits a scalar region for one row: values that are the same in the whole row
/// once, as scalars; others for `lanes` columns at a time.
class RegionEmitter {
public:
  RegionEmitter(Emit &e, mlir::Block &body, int64_t lanes);

  /// Says how to get block argument `i`: `varies` ones are asked for in
  /// every group of columns, others once a row.
  struct Argument {
    bool varies = false;
    std::function<Value()> load;
  };
  SmallVector<Argument> arguments;
  /// The row and the first column of the group, as i32.
  std::function<Value()> rowIndex, columnIndex;
  /// In a map over one dimension the lanes are rows.
  bool rowsVary = false;

  /// Whether a value differs between the columns of a row.
  bool varies(Value v);
  /// How many reductions a value waits for.
  int64_t level(Value v);

  /// Forgets everything: a new row begins.
  void startRow();
  /// Forgets what varies: a new group of columns begins. `part`: which of the
  /// groups of a block of 64 columns, where its groups are asked for one after
  /// the other, from the first one on.
  void startGroup(int64_t part = -1) {
    varying.clear();
    blockPart = part;
    if (part <= 0)
      blockWords.clear();
    quarters = false;
  }
  /// The same for single columns: those of a block of 64 that are 16 apart
  /// follow each other, `part` from 0 to 3.
  void startQuarter(int64_t part) {
    startGroup(part);
    quarters = true;
  }
  /// A uniform value, as a scalar; emitted here if not there yet.
  Value uniform(Value v);
  /// Emits what is uniform and needed for `v`, so that loops may use it.
  void prepare(Value v);
  /// A value for the group of columns: lanes wide.
  Value group(Value v);
  /// Gives an argument for the group of columns, loaded before.
  void give(Value argument, Value value) { varying[argument] = value; }
  /// Gives the result of a reduction.
  void define(Value v, Value scalar) { uniforms[v] = scalar; }

private:
  Value emitOp(Value v, int64_t lanes, llvm::function_ref<Value(Value)> get,
               llvm::DenseMap<Value, Value> &known);

  /// kern.noise, from its operands.
  Value emitNoise(kern::NoiseOp op, ValueRange operands, int64_t width);

  Emit &e;
  int64_t lanes;
  int64_t blockPart = -1;
  bool quarters = false; ///< blockPart counts single columns
  /// The four words of a block's only call of Philox.
  llvm::DenseMap<mlir::Operation *, SmallVector<Value>> blockWords;
  llvm::DenseMap<Value, Value> uniforms, varying;
  llvm::DenseMap<Value, bool> variesKnown;
  llvm::DenseMap<Value, int64_t> levelKnown;
};

/// Connects a region's arguments with the operands' memory.
class Binding {
public:
  /// `columns`: static number, or -1 when ragged or flat (a map over one
  /// dimension, where `column` counts the elements).
  Binding(Kernel &k, RegionEmitter &region, ValueRange inputs,
          ValueRange indices, mlir::ArrayAttr access, int64_t lanes,
          int64_t columns, bool flat);

  // Where the region is. Set `column` and `mask` (null: all lanes) before
  // asking for a group.
  Value row, first, column, mask;

  /// Moves to a row (i64); `first` is the flat element where a ragged row
  /// starts. Emits the addresses that the row's loops need.
  void startRow(Value row, Value first = {});
  /// Stores at the current group of columns. `access` is element or scatter,
  /// or beside: then `part` of the values that lie side by side.
  void store(Value value, Value tensor, kern::AccessAttr access,
             int64_t part = 0);
  /// Where it would store; not of a flat map.
  Value place(Value tensor, kern::AccessAttr access, int64_t part = 0);
  /// Address of column 0 of a result in this row.
  Value resultRow(Value tensor, kern::AccessAttr access);

private:
  Value load(unsigned i);
  Value loadFlat(unsigned i);
  Value rowIn(kern::AccessAttr access);

  Kernel &k;
  RegionEmitter &region;
  SmallVector<Value> inputs, indices;
  mlir::ArrayAttr access;
  int64_t lanes, columns;
  bool flat;
  SmallVector<Value> starts; ///< address of column 0, by input
  llvm::DenseMap<Value, Value> resultStarts;
};

/// Philox4x32-10 on i32 scalars or vectors.
SmallVector<Value> emitPhilox(Emit &e, Value k0, Value k1, Value c0, Value c1,
                              Value c2, Value c3);

/// a and b combined as kern.reduce does. For argmax/argmin a and b are
/// (value, column) pairs. `inOrder`: b's column lies behind a's, as where a
/// lane takes its next one.
SmallVector<Value> combine(Emit &e, kern::ReduceKind kind, ValueRange a,
                           ValueRange b, bool inOrder = false);
/// What an empty reduction gives, `lanes` wide; with `firstLane` for
/// argmax/argmin.
SmallVector<Value> identity(Emit &e, kern::ReduceKind kind, Type element,
                            int64_t lanes, int64_t firstLane);

/// Whether the rows and columns of a map may be walked as one dimension.
bool isFlat(kern::MapOp op);

/// Why no builder for the target turns heads of `width` columns behind a
/// product by `b` (kern.matmul's `turned`); empty if there is one.
llvm::StringRef whyNotTurned(bool cuda, kern::PackedType b, int64_t width);

// The builders. Each emits the whole kernel; `reference` is the naive lowering
// that defines the meaning, `cpu` the tuned one, of equal bits.
mlir::LogicalResult buildRowReference(Kernel &k);
mlir::LogicalResult buildRowCpu(Kernel &k);
mlir::LogicalResult buildMapReference(Kernel &k);
mlir::LogicalResult buildMapCpu(Kernel &k);
mlir::LogicalResult buildColumnSumReference(Kernel &k);
mlir::LogicalResult buildColumnSumCpu(Kernel &k);
mlir::LogicalResult buildRope(Kernel &k);
mlir::LogicalResult buildAngles(Kernel &k);
mlir::LogicalResult buildPackReference(Kernel &k);
mlir::LogicalResult buildPackCpu(Kernel &k);
mlir::LogicalResult buildScatterAdd(Kernel &k);
mlir::LogicalResult buildScan(Kernel &k);
mlir::LogicalResult buildQuantile(Kernel &k);
mlir::LogicalResult buildMatmulReference(Kernel &k);
mlir::LogicalResult buildMatmulCpu(Kernel &k);
mlir::LogicalResult buildAttentionReference(Kernel &k);
mlir::LogicalResult buildAttentionCpu(Kernel &k);
mlir::LogicalResult buildAttentionBackwardReference(Kernel &k);
mlir::LogicalResult buildAttentionBackwardCpu(Kernel &k);

// For CUDA. The row and map kernels and the f32 products have the bits of
// `reference`.
mlir::LogicalResult buildRowCuda(Kernel &k);
mlir::LogicalResult buildMapCuda(Kernel &k);
mlir::LogicalResult buildColumnSumCuda(Kernel &k);
mlir::LogicalResult buildRopeCuda(Kernel &k);
mlir::LogicalResult buildAnglesCuda(Kernel &k);
mlir::LogicalResult buildPackCuda(Kernel &k);
mlir::LogicalResult buildScatterAddCuda(Kernel &k);
mlir::LogicalResult buildMatmulCuda(Kernel &k);
mlir::LogicalResult buildMatmulSimt(Kernel &k);
mlir::LogicalResult buildMatmulSm90(Kernel &k);
/// The same for so few rows that A goes through registers, of products for
/// which that is less to do.
inline constexpr int64_t rowsInRegisters = 16;
bool hasFewRowsMatmulSm90(kern::MatmulOp op);
mlir::LogicalResult buildFewRowsMatmulSm90(Kernel &k);
mlir::LogicalResult buildAttentionCuda(Kernel &k);
mlir::LogicalResult buildAttentionBackwardCuda(Kernel &k);
/// Whether the tensor cores serve attention over rows of `columns` elements:
/// bf16, heads 64 or 128 wide, at most 64 to a key head, a positive scale.
bool isAttentionSm90(Type element, int64_t columns, int64_t heads,
                     int64_t kvHeads, double scale);
mlir::LogicalResult buildAttentionSm90(Kernel &k);
/// The same of a cache for few rows, as at decoding, where each reads keys of
/// its own, with so many blocks a multiprocessor: two of heads of 64 have room.
mlir::LogicalResult buildFewRowsAttentionSm90(Kernel &k, int64_t blocksPerSm);
mlir::LogicalResult buildAttentionBackwardSm90(Kernel &k);

} // namespace r1c::kernels

#endif // R1C_KERNELS_COMMON_KERNEL_H
