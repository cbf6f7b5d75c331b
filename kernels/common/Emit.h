//===- Emit.h - small words for writing kernels -----------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A kernel is written on raw pointers (`!llvm.ptr`) with `scf` loops over i64,
// `arith`, `math` and `vector`: sizes are few and strides static, so a pointer
// and an index say all that a memref descriptor would, and alignment and
// masks stay in our hands.
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_COMMON_EMIT_H
#define R1C_KERNELS_COMMON_EMIT_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"

namespace r1c::kernels {

using mlir::Location;
using mlir::OpBuilder;
using mlir::SmallVector;
using mlir::Type;
using mlir::Value;
using mlir::ValueRange;

/// Bytes that one element of a tensor takes (i1: one).
int64_t bytesOf(Type element);
/// The type as which an element is read and written (i1: i8, bf16: i16).
Type storageOf(Type element);
/// `element`, or a vector of `lanes` of it when lanes > 1.
Type lanesOf(Type element, int64_t lanes);

/// Emits at the insertion point of its builder.
class Emit {
public:
  Emit(OpBuilder &b, Location loc) : b(b), loc(loc) {}
  OpBuilder &b;
  Location loc;
  /// Vectors are loaded from and stored to multiples of their own size.
  bool aligned = false;

  // Constants.
  Value i64(int64_t value);
  Value i32(int32_t value);
  /// A constant of a scalar or vector type of integers or floats.
  Value splat(Type type, double value);
  Value splatInt(Type type, int64_t value);
  /// vector<lanes x i32>: 0, 1, 2, ...; lanes 1: the scalar 0.
  Value iota(int64_t lanes);
  /// The first `count` lanes true.
  Value mask(int64_t lanes, int64_t count);
  /// Lanes l with l < count (i64), count may be anything.
  Value maskBelow(int64_t lanes, Value count);

  // Integers (i64 unless the operands are others).
  Value add(Value a, Value b);
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value add(Value a, int64_t b);
  Value mul(Value a, int64_t b);
  Value div(Value a, Value b); ///< unsigned
  Value rem(Value a, Value b); ///< unsigned
  Value div(Value a, int64_t b);
  Value rem(Value a, int64_t b);
  Value min(Value a, Value b); ///< signed
  Value max(Value a, Value b); ///< signed
  Value less(Value a, Value b);
  Value equal(Value a, Value b);
  Value toI64(Value i32);

  // Floats and vectors.
  Value fma(Value a, Value b, Value c);
  Value broadcast(Value scalar, int64_t lanes);
  Value select(Value condition, Value a, Value b);
  /// Lanes listed in `lanes` of a|b.
  Value shuffle(Value a, Value b, mlir::ArrayRef<int64_t> lanes);
  Value extract(Value vector, int64_t lane);
  /// Rows as columns: n vectors of n lanes, n a power of two.
  void transpose(SmallVector<Value> &rows);
  /// bf16 (scalar or vector) -> f32; f32 stays.
  Value widen(Value v);
  /// f32 -> the element type `to` (f32 or bf16).
  Value narrow(Value v, Type to);

  // Memory. `element` is the tensor's element type.
  Value at(Value pointer, Value index, Type element);
  Value at(Value pointer, int64_t index, Type element);
  Value load(Value pointer, Type element, int64_t lanes = 1, Value mask = {});
  void store(Value value, Value pointer, Type element, Value mask = {});
  /// Stores whole lines of 64 bytes past the caches (of CPUs). Whoever does
  /// must end with `streamed`, or others may not see them.
  void stream(Value value, Value pointer);
  void streamed();
  /// Reads lane l from pointer + indices[l] (i32 vector, in elements).
  Value gather(Value pointer, Value indices, Type element, Value mask = {});
  void scatter(Value value, Value pointer, Value indices, Type element,
               Value mask = {});
  /// On CUDA: what was loaded before is on its way before what follows. LLVM
  /// would move loads into the branch that alone uses them.
  void loaded();
  /// `locality`: 3 to the first-level cache, 2 to the second.
  void prefetch(Value pointer, bool write = false, int32_t locality = 3);
  /// Memory of the function, aligned to 64 bytes. Emit in the entry block.
  Value scratch(int64_t bytes);

  // Control.
  /// for (i = from; i < to; i += step) carried = body(i, carried)
  SmallVector<Value>
  loop(Value from, Value to, Value step, ValueRange carried,
       mlir::function_ref<SmallVector<Value>(Value, ValueRange)> body);
  void loop(Value from, Value to, Value step,
            mlir::function_ref<void(Value)> body);
  void loop(int64_t from, Value to, int64_t step,
            mlir::function_ref<void(Value)> body);
  void when(Value condition, mlir::function_ref<void()> then);
  SmallVector<Value> choose(Value condition, mlir::TypeRange types,
                            mlir::function_ref<SmallVector<Value>()> then,
                            mlir::function_ref<SmallVector<Value>()> otherwise);
};

} // namespace r1c::kernels

#endif // R1C_KERNELS_COMMON_EMIT_H
