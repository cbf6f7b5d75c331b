//===- Attention.h - parts of the attention builders ------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_ATTENTION_ATTENTION_H
#define R1C_KERNELS_ATTENTION_ATTENTION_H

#include "kernels/common/Kernel.h"

namespace r1c::kernels {

/// Keys of a block of the forward: part of a row's meaning.
constexpr int64_t blockKeys = 64;
/// Columns of a head that one chain of a score runs over: longer ones would
/// round too often.
constexpr int64_t chainColumns = 32;

/// The grid over a unit that the backward sums along: rows of queries (each
/// with the heads of one key head) and keys of a tile. Part of the meaning.
struct BackwardGrid {
  BackwardGrid(int64_t width, int64_t headsOfKey)
      : rows(std::max<int64_t>(1, (width <= 64    ? 64
                                   : width <= 128 ? 32
                                                  : 16) /
                                      headsOfKey)),
        keys(width <= 64 ? 64 : 32) {}
  int64_t rows, keys;
};

/// Cuts [first, end) into runs of at most `limit` neighbours that go
/// `together`; calls body(first, end, number of the run).
void cutRows(Emit &e, Value first, Value end, Value limit,
             llvm::function_ref<Value(Value, Value)> together,
             llvm::function_ref<void(Value, Value, Value)> body);

/// Calls body for each unit [first, last) and key head of which this worker of
/// a backward has a share. What a unit costs is the square of its rows; it lies
/// from `start` on a line that is cut at `from` and `to`. `whole`: no other
/// worker has a share of it.
void shareUnits(
    Kernel &k, kern::AttentionBackwardOp op,
    llvm::function_ref<void(Value first, Value last, Value group, Value start,
                            Value from, Value to, Value whole)>
        body);

/// How the forward's query rows are dealt to workers, and which keys they see.
struct Runs {
  explicit Runs(Kernel &k);

  /// Cuts the rows into runs of neighbours that see the same keys, or at least
  /// the same first block, at most `rowsAtOnce`, and calls body(first row, end,
  /// key head) for this worker's. `fetches`: before a row alone, a part of what
  /// the worker's next row will read of keys and values is fetched.
  void share(int64_t rowsAtOnce, bool fetches,
             llvm::function_ref<void(Value, Value, Value)> body);

  /// Keys [from, to) by position, at most as many as each row sees, of rows
  /// [first, end): key p lies in row p + sharedBase before `shared`, in row
  /// p + base from there on.
  struct Span {
    Value base, shared, sharedBase, first, end, from, to;
  };
  /// What rows [first, end) of a run see, first to last.
  void spans(Value first, Value end,
             llvm::function_ref<void(const Span &)> body);
  /// An element of a tensor of i32.
  Value number(Value tensor, Value row);

private:
  Value equal(Value tensor, Value a, Value b);
  Value same(Value a, Value b);
  void fetch(Value row, Value group);

  Kernel &k;
  Emit &e;
  kern::AttentionOp op;
};

/// Vectors of one head in registers: parts of 16 lanes, f32, the last one
/// filled up with zeros.
struct Head {
  Head(Kernel &k, Type element, int64_t width);

  Emit &e;
  Type element;
  int64_t width, parts;
  int64_t padded; ///< to whole panels of 32
  Type f32;

  SmallVector<Value> load(Value pointer);
  void store(mlir::ArrayRef<Value> v, Value pointer);
  /// The same in floats and whole parts: to and from scratch.
  SmallVector<Value> loadFloats(Value pointer);
  void storeFloats(mlir::ArrayRef<Value> v, Value pointer);
  /// As one row of panels [padded / 32][depth][32], filled up with zeros.
  void storePanelRow(SmallVector<Value> v, int64_t depth, Value pointer);
  /// sum + scale * v, fused
  SmallVector<Value> addScaled(mlir::ArrayRef<Value> sum, Value scale,
                               mlir::ArrayRef<Value> v);
  SmallVector<Value> times(mlir::ArrayRef<Value> v, Value scale);

private:
  Value mask(int64_t part);
};

/// Folds a vector's lanes by halves: lane l takes in l + 8, 4, 2, 1.
Value foldLanes(Emit &e, Value v,
                llvm::function_ref<Value(Value, Value)> combine);

/// What foldLanes makes of each of 16 vectors of 16, in the order of the
/// vectors.
Value foldRows(Emit &e, SmallVector<Value> rows,
               llvm::function_ref<Value(Value, Value)> combine);

/// 16 vectors of 16 -> their columns.
SmallVector<Value> transpose16(Emit &e, mlir::ArrayRef<Value> rows);

/// Rows 0 ... count - 1, given by their addresses, as columns of panels
/// [count / 32][width][32] of floats. Columns from `count` on, up to a multiple
/// of 16, repeat the last one: memory behind it is not ours to read.
void packColumns(Head &head, llvm::function_ref<Value(Value)> row, Value count,
                 Value to);
/// The same as rows of panels [padded / 32][depth][32], of which `count` are
/// written.
void packRows(Head &head, llvm::function_ref<Value(Value)> row, Value count,
              int64_t depth, Value to);

/// Offsets of pieces of working memory, each from a cache line on.
struct Pieces {
  int64_t bytes = 0;
  int64_t add(int64_t size) {
    int64_t offset = bytes;
    bytes += (size + 63) / 64 * 64;
    return offset;
  }
};

/// What the forward's vectors (a row and a head) carry from one block of keys
/// to the next: maximum, sum and result. Sixteen have theirs folded together:
/// one alone would wait for each of its steps.
struct Softmax {
  /// Of `vectors` in all, up to `atOnce` at a time, with results of `width`
  /// floats, a multiple of 16.
  Softmax(Kernel &k, Pieces &pieces, int64_t vectors, int64_t atOnce,
          int64_t width);

  /// Before the first block: vector v is to see `count` keys.
  void start(Value scratch, Value v, Value count);
  /// Its result, not yet divided by its sum.
  Value result(Value scratch, Value v);
  /// Smallest and largest number of keys that vectors [first, end) see.
  std::pair<Value, Value> seen(Value scratch, Value first, Value end);
  /// How many keys vector v sees from key `block` on; may be negative.
  Value left(Value scratch, Value v, Value block);
  /// Where scores of the i-th of the vectors at work are, blockKeys in all.
  Value scores(Value scratch, Value i);

  /// Vectors [first, first + n) meet a block of keys: `score(i, c)` gives the
  /// scores of the i-th with 16 keys from c on, of which it sees those below
  /// `left(i)`; `keep(i, c, p)` takes the probabilities, 0 where it does not,
  /// up to key `end(i)`. The results shrink for the new maxima.
  void block(Value scratch, Value first, Value n,
             llvm::function_ref<Value(Value)> left,
             llvm::function_ref<Value(Value)> end,
             llvm::function_ref<Value(Value, Value)> score,
             llvm::function_ref<void(Value, Value, Value)> keep);

  /// After the last block, for vectors [0, count): 1 / sum, in its place, and
  /// maximum + log(sum) in that of the maximum.
  void finish(Value scratch, Value count);
  Value inverse(Value scratch, Value v);
  Value logSum(Value scratch, Value v);

private:
  Value at(Value scratch, int64_t offset, Value index, int64_t stride,
           Type type);
  Value larger(Value a, Value b);

  Emit &e;
  Type f32, wide;
  int64_t width, resultAt, topAt, sumAt, seenAt, scoresAt, foldAt, shrinkAt;
};

struct Tiles;
/// Dot products over a head of `rows` rows of `a` with columns of panels: a
/// chain for 32 columns. The first chains' sums go to `out`, the others' to
/// `more`, restFloats() in all; rows are `keys` floats apart.
struct Chains {
  Chains(Kernel &k, Head &head, Tiles &tiles, int64_t keys);
  int64_t restFloats() const { return (count - 1) * part; }
  void call(Value rows, Value a, Value columns, Value out, Value rest,
            Value panels);
  /// 16 of the sums, all chains in order.
  Value load(Value out, Value rest);

private:
  Kernel &k;
  Head &head;
  Tiles &tiles;
  int64_t keys, count, part;
};

} // namespace r1c::kernels

#endif // R1C_KERNELS_ATTENTION_ATTENTION_H
