//===- Sm90.h - words of the attention kernels for Hopper -------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Tiles of bf16 lie in shared memory as panels of 64 columns: rows of 128
// bytes, whose 16-byte pieces are exchanged among each other by the number of
// the row (the 128-byte swizzle of wgmma). A tile is read with its columns as
// K (K-major), or with its rows as K (MN-major).
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_ATTENTION_SM90_H
#define R1C_KERNELS_ATTENTION_SM90_H

#include "kernels/common/Kernel.h"
#include "kernels/matmul/Sm90Words.h"

namespace r1c::kernels {

/// The words of Sm90Words, and those that attention needs beside them.
class AttentionWords : public Sm90Words {
public:
  explicit AttentionWords(Kernel &k);
  Kernel &k;
  Type f32, i32;

  Value f(double v) { return e.splat(f32, v); }
  Value mulF(Value a, Value b);
  Value addF(Value a, Value b);
  Value subF(Value a, Value b);
  /// max.f32: the other one where one is no number.
  Value maxF(Value a, Value b);
  /// ex2.approx.ftz: error at most 2 units in the last place; 0 for -inf, 1
  /// for 0; results below 2^-126 are 0.
  Value exp2(Value v);

  Value notEqual(Value a, Value b);
  Value either(Value a, Value b);
  Value bit(bool v);
  /// The number of the lane's warpgroup, known to be the same in a warp.
  Value warpgroup(Value thread);
  /// A bit for each lane of the warp.
  Value ballot(Value bit);
  Value ones(Value mask);       ///< how many bits are set
  Value lowest(Value mask);     ///< the number of the lowest bit; 32 for none
  Value lanesBelow(Value lane); ///< the bits of the lanes before this one
  Value lower(Value v, int64_t distance); ///< of the lane so far below
  Value greatest(Value v);                ///< of the warp's lanes, signed
  Value least(Value v);                   ///< likewise
  Value from(Value v, Value lane);        ///< v of this lane
  /// The sum (i32) of the lanes up to this one.
  Value sumOfLower(Value v, Value lane);
  /// Loads the i32 at index `i` (i32) of a tensor.
  Value number(Value tensor, Value i);

  /// A start that the first multiply overwrites.
  Value nothing(int64_t columns);
  /// sums + A * B of 16 values of K; A and B are descriptors. `overwrite`:
  /// without the sums. mnB: the rows of B's tile are K.
  Value multiply16(Value sums, Value a, Value b, int64_t columns, bool mnA,
                   bool mnB, bool overwrite);
  Value pack(mlir::ArrayRef<Value> values);
  Value plus(Value descriptor, int64_t bytes);
  Value plusDynamic(Value descriptor, Value bytes); ///< i32

  /// Starts to copy 16 bytes from global to shared memory: `bytes` (i32, 0 or
  /// 16) of them, zeros for the rest.
  void copy16(Value to, Value from, Value bytes);
  /// Starts to bring bytes of global memory, a multiple of 16 from a multiple
  /// of 16 on, to the second-level cache.
  void prefetch(Value from, Value bytes);
  void commitCopies();
  void waitCopies(int64_t pending);
  /// Whether the phase of this parity is complete.
  Value test(Value barrier, Value parity);

  /// scf.while: `before` gives the condition and what the body gets.
  SmallVector<Value>
  repeat(ValueRange start,
         llvm::function_ref<std::pair<Value, SmallVector<Value>>(ValueRange)>
             before,
         llvm::function_ref<SmallVector<Value>(ValueRange)> body);
  /// for i = from ... to - 1 over i32.
  SmallVector<Value>
  count(Value from, Value to, ValueRange carried,
        llvm::function_ref<SmallVector<Value>(Value, ValueRange)> body);
};

/// On a function with kern.attention, where something other than the usual is
/// to be measured or tested: for how many items of work, each a segment of keys
/// of one row, there are places. With fewer than there are items a row's
/// segments are not divided; with 0 there is no code that would. No bits depend
/// on it.
inline constexpr llvm::StringLiteral placesAttribute = "kern.attention_places";

/// Bytes of a row of a panel.
inline constexpr int64_t panelRow = 128;
/// Columns of a panel, in bf16.
inline constexpr int64_t panelColumns = 64;

} // namespace r1c::kernels

#endif // R1C_KERNELS_ATTENTION_SM90_H
