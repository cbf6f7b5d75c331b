//===- Sm90Words.h - Hopper's instructions as small words -------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Over the nvvm dialect. Everything that is the same in a block, or counts
// things inside of it, is an i32: a GPU has no 64-bit integer units.
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_MATMUL_SM90WORDS_H
#define R1C_KERNELS_MATMUL_SM90WORDS_H

#include "kernels/common/Emit.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace r1c::kernels {

class Sm90Words {
public:
  explicit Sm90Words(Emit &e) : e(e) {}
  Emit &e;

  // i32 arithmetic.
  Value c(int64_t value) { return e.i32(value); }
  Value add(Value a, int64_t b) { return b ? e.add(a, c(b)) : a; }
  Value mul(Value a, int64_t b) { return b == 1 ? a : e.mul(a, c(b)); }
  /// Unsigned; powers of two become shifts.
  Value div(Value a, int64_t b) { return b == 1 ? a : e.div(a, c(b)); }
  Value rem(Value a, int64_t b) { return b == 1 ? c(0) : e.rem(a, c(b)); }
  Value ceilDiv(Value a, int64_t b) { return div(add(a, b - 1), b); }
  Value below(Value a, int64_t b) { return e.less(a, c(b)); }
  Value is(Value a, int64_t b) { return e.equal(a, c(b)); }
  Value both(Value a, Value b);
  Value toI32(Value i64);

  // Where this thread is.
  Value thread(); ///< in the block
  Value block();  ///< in the grid
  Value blocks(); ///< of the grid

  /// At an address of shared memory, so many bytes on.
  Value sharedAt(Value shared, Value bytes); ///< i32
  Value sharedAddress(Value shared);         ///< i32

  // Barriers in shared memory.
  void initBarrier(Value barrier, Value arrivals);
  /// Makes initialised barriers visible to copies.
  void fenceBarrierInit();
  /// Blocks until the phase of this parity (i32, 0 or 1) is complete.
  void wait(Value barrier, Value parity);
  void expectBytes(Value barrier, Value bytes); ///< and arrives
  void arrive(Value barrier);
  void syncBlock();
  void syncWarp();
  /// Waits for `threads` threads that use the same `id` (1 ... 15).
  void syncNamed(Value id, int64_t threads);
  /// Ordinary stores to shared memory of this thread before, wgmma and copies
  /// after.
  void fenceAsync();

  /// Starts the copy of a box from (x, y, ...) of a tensor map to shared
  /// memory; its bytes arrive at `barrier`.
  void copyBox(Value to, Value map, mlir::ArrayRef<Value> coordinates,
               Value barrier);

  /// A tensor map of the parameter block will be used soon.
  void prefetchMap(Value map);

  // wgmma. Operands in shared memory have the 128-byte swizzle.
  /// The part of a descriptor that is not the address: K-major, rows of 128
  /// bytes (64 elements of K), 8 rows a group.
  static int64_t descriptorK();
  /// MN-major: rows of 64 elements of M or N, one a k; `blockBytes` from 64
  /// elements of M or N to the next 64.
  static int64_t descriptorMN(int64_t blockBytes);
  /// address16: the address in units of 16 bytes, i32.
  Value descriptor(Value address16, int64_t rest);
  /// A struct of columns/2 zeros: the sums of a warpgroup, 64 x columns.
  Value zeros(int64_t columns);
  /// sums + A (64 x 16) * B (16 x columns), bf16. `mn*`: MN-major.
  Value multiply(Value sums, Value a, Value b, int64_t columns, bool mnA,
                 bool mnB);
  /// The same with A in registers: four pairs of bf16 a thread.
  Value multiplyRegisters(Value sums, mlir::ArrayRef<Value> a, Value b,
                          int64_t columns, bool mnB);
  /// Four 8 x 8 matrices of bf16 as such registers want them. By all lanes of a
  /// warp; `at`: where lane l says row l % 8 of matrix l / 8 lies.
  SmallVector<Value> loadMatrices(Value at);
  /// Behind a wait: the sums are read, and the registers `held` written, no
  /// earlier than here. Emits no instruction.
  Value settle(Value sums, ValueRange held = {});
  void fence();  ///< registers before the first multiply
  void commit(); ///< closes a group
  void waitGroups(int64_t pending);
  SmallVector<Value> unpack(Value sums);

  void setRegisters(int64_t count, bool more);
  /// The value of the lane whose number differs in the bits of `lanes`.
  Value exchange(Value v, int64_t lanes);
  /// Two f32 to bf16, in one i32; `low` comes first in memory.
  Value packBf16(Value low, Value high);
  Value lane(); ///< of this thread in its warp
  /// The same i32, of which the compiler knows nothing.
  Value opaque(Value v);

  void branch(Value condition, mlir::function_ref<void()> then,
              mlir::function_ref<void()> otherwise);
};

} // namespace r1c::kernels

#endif // R1C_KERNELS_MATMUL_SM90WORDS_H
