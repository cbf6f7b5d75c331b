//===- Sm90.h - matrix products on Hopper -----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// One main loop: of a block's warps the last ones copy tiles of A and B to a
// ring of stages in shared memory, and two warpgroups multiply.
// Tiles differ only in their sizes; every sum goes through k in steps of 16,
// in order, into one accumulator, so its bits do not depend on the tile.
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_MATMUL_SM90_H
#define R1C_KERNELS_MATMUL_SM90_H

#include "kernels/common/Kernel.h"
#include "kernels/matmul/Sm90Words.h"

#include <functional>
#include <memory>

namespace r1c::kernels {

/// What a block computes at a time, and how.
struct Sm90Tile {
  /// What the two multiplying warpgroups have in common.
  enum Share {
    Columns, ///< they take neighbouring rows of the same columns
    /// They take tiles in turn: one multiplies while the other stores.
    Turns
  };
  int64_t blocks = 1;    ///< times 64 rows for each warpgroup
  int64_t columns = 256; ///< n of a wgmma
  int64_t stages = 4;
  int64_t depth = 64; ///< of a stage, a multiple of 64
  Share share = Columns;
  /// A's rows, no more than `rowsInRegisters`, go through registers. A wgmma
  /// then takes 13 cycles where its columns are few: the 16 in which it reads
  /// 64 rows from shared memory need not be, nor is there room for so many.
  bool registers = false;

  int64_t rows() const { return 64 * blocks * (share == Columns ? 2 : 1); }
  int64_t rowsOfA() const { return registers ? rowsInRegisters : rows(); }
  /// Lower boxes for A, of a low tile: of few rows no more are copied than
  /// there are, or nearly.
  SmallVector<int64_t> lowBoxes() const {
    if (registers)
      return {8};
    return rows() == 64 ? SmallVector<int64_t>{32, 16, 8}
                        : SmallVector<int64_t>{};
  }
  int64_t bytesA() const { return rowsOfA() * depth * 2; }
  int64_t bytesB() const { return columns * depth * 2; }
  int64_t stageBytes() const { return bytesA() + bytesB(); }
  /// Whether a warpgroup's columns are the first and second halves of parts of
  /// a head, and not neighbours: its columns n, n + 1, ... stand for a part of
  /// a head of `head` columns that is half as long, and the partners of it.
  bool splits(int64_t head) const { return head && columns % head != 0; }
  /// As many stages as fit in `bytes`.
  Sm90Tile &fill(int64_t bytes) {
    stages = bytes / stageBytes();
    return *this;
  }
};

/// The tiles of a kernel, of which a launch chooses by its number of rows.
struct Sm90Plan {
  /// How long it takes, in a unit that the choices share.
  struct Cost {
    int64_t tile = 1; ///< each
    int64_t once = 0; ///< beside
  };
  struct Choice {
    Sm90Tile tile;
    /// Up to so many rows this tile is taken, whatever the costs.
    int64_t fewRows = 0;
    Cost cost = {};
  };
  SmallVector<Choice> choices; ///< at least one
  /// Tiles are walked in bands of so many rows, so that the blocks at work at a
  /// time share parts of A and B in the second-level cache.
  static constexpr int64_t bandRows = 1024;
  int64_t blocksPerSm = 1;
  /// At least two. Registers move between warpgroups only: 4 warps, or none
  /// moves (0).
  int64_t producerWarps = 4;
  int64_t producerRegisters = 40, consumerRegisters = 232;
  /// Blocks among which the steps of k of a tile are divided. With more than
  /// one they add to the result as they come, in no order: for comparison.
  int64_t splits = 1;

  /// "64 x 8 (up to 64 rows), 128 x 256"
  std::string describe() const;
};

/// On a kernel's function: `splits` of its product's plan. For bench/gpu alone,
/// to show the price of what every other kernel keeps: that a row's bits depend
/// on the row, and are the same in every run. No phase writes it.
inline constexpr llvm::StringLiteral splitAttribute = "kern.unordered_splits";

/// Whether the product can be computed from tensor maps: bf16, lines of A and B
/// a multiple of 16 bytes long.
bool servesMatmulSm90(kern::MatmulOp op);
bool servesMatmulSm90(kern::PackedType b); ///< with B packed
/// Whether a warpgroup with so many columns can turn heads of `head` columns: a
/// thread holds both of a pair if those are whole heads, or both halves of an
/// equal part of one.
bool holdsPairs(int64_t columns, int64_t head);
/// The plan for a device of `processors` multiprocessors.
Sm90Plan planMatmulSm90(kern::MatmulOp op,
                        int64_t processors = multiprocessors);
/// The plan of a kernel for at most rowsInRegisters rows.
Sm90Plan planFewRowsSm90(kern::MatmulOp op,
                         int64_t processors = multiprocessors);
/// The plan for few rows with k divided among so many blocks. The op has an
/// init.
Sm90Plan planSplitSm90(kern::MatmulOp op, int64_t splits,
                       int64_t processors = multiprocessors);
void buildMatmulSm90(Kernel &k, const Sm90Plan &plan);

/// What is fused behind a product: applies the op's region to sums in
/// registers and stores its results.
class Sm90Epilogue {
public:
  /// Bytes of shared memory that a region over chunks needs.
  static constexpr int64_t scratchBytes = 256 * 64 * 4;
  /// `scratch`: where they are.
  Sm90Epilogue(Kernel &k, Sm90Words &w, Value rows, Value scratch);
  /// Sums of 64 rows from `row` x `columns` from `column` (i32; columns of B),
  /// held by a warpgroup as wgmma leaves them. `loaded`: what loadAhead gave.
  void store(mlir::ArrayRef<Value> sums, Value row, Value column,
             int64_t columns, ValueRange loaded = {});
  /// Loads the operands that are added to so many sums, f32, before there are
  /// sums, where a tile is narrow enough that registers hold both. Nothing
  /// where there are none.
  SmallVector<Value> loadAhead(Value row, Value column, int64_t columns);
  /// The same, added to what is there while others add, too; without a region.
  void add(mlir::ArrayRef<Value> sums, Value row, Value column,
           int64_t columns);

private:
  struct Pair {
    Value low, high;
  };
  /// What belongs to a row of this thread.
  struct Line {
    Value row;     ///< i32
    Value readRow; ///< i64: the same, or the last row if there is none such
    Value valid;   ///< i1
    Value column;  ///< i32: of the results, the thread's first
    Value quad;    ///< i32: the thread's place in its quad
    std::unique_ptr<RegionEmitter> region;
    /// The sum of a block (of the product) and element of a pair.
    std::function<Value(int64_t block, int64_t element)> sum;
    /// The column that the region is at: block and element of a pair.
    int64_t block = 0, element = 0;
    /// Pairs of operands by (input, block).
    llvm::DenseMap<std::pair<unsigned, int64_t>, Pair> loaded;
    /// By (input, first block): of four blocks of bf16 words of one of them, of
    /// two blocks of f32 four neighbours.
    llvm::DenseMap<std::pair<unsigned, int64_t>, Value> fetched;
    /// Blocks from this one on are `jump` columns further.
    int64_t jumpBlock = 0, jump = 0;
    /// From `column` to the block that the region is at.
    int64_t offset() const {
      return 8 * block + (block >= jumpBlock ? jump : 0);
    }
  };

  /// Operands (their number is the init's) of which every element is used once.
  SmallVector<unsigned> streams();
  Value streamed(unsigned input); ///< the operand
  void storeLine(Line &line, mlir::ArrayRef<Value> sums, int64_t columns);
  void storeChunk(Line &line);
  void storeElements(Line &line, mlir::ArrayRef<unsigned> yielded,
                     int64_t blocks);
  void storeTurned(Line &line, int64_t columns);
  void keepSums(mlir::ArrayRef<Value> sums);
  void reduce(Line &line);
  Value ownScratch();
  SmallVector<Value>
  forOctets(Line &line, ValueRange carried,
            mlir::function_ref<SmallVector<Value>(ValueRange)> body);
  void fetch(Line &line, unsigned input, int64_t first, int64_t blocks);
  void receive(Line &line, unsigned input, int64_t first);
  Pair loadPair(Value line, Value column, Type element);
  void storePairs(Value start, Type element, Line &line, int64_t first,
                  mlir::ArrayRef<Pair> pairs);
  void bind(Line &line);
  Value global(Value tensor);

  Kernel &k;
  Emit &e;
  Sm90Words &w;
  kern::MatmulOp op;
  Value rows;    ///< i32: rows of the results
  Value scratch; ///< address in shared memory
  bool paired;
  int64_t width; ///< columns of the results
};

} // namespace r1c::kernels

#endif // R1C_KERNELS_MATMUL_SM90_H
