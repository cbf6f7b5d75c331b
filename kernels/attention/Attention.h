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

/// Vectors of one head in registers: parts of 16 lanes, f32, the last one
/// filled up with zeros.
struct Head {
  Head(Kernel &k, Type element, int64_t width);

  Emit &e;
  Type element;
  int64_t width, parts;
  Type f32;

  SmallVector<Value> load(Value pointer);
  void store(mlir::ArrayRef<Value> v, Value pointer);
  SmallVector<Value> zero();
  /// sum + scale * v, fused
  SmallVector<Value> addScaled(mlir::ArrayRef<Value> sum, Value scale,
                               mlir::ArrayRef<Value> v);
  SmallVector<Value> times(mlir::ArrayRef<Value> v, Value scale);
  /// Lane l: the chain over c = l, l + 16, ... of a[c] * b[c].
  Value lanewise(mlir::ArrayRef<Value> a, mlir::ArrayRef<Value> b);
  /// 16 vectors -> one: each folded by halves (l takes in l + 8, 4, 2, 1).
  /// `vector(i)` is asked for as late as possible: 16 at once would not fit
  /// into the registers.
  Value reduce16(llvm::function_ref<Value(int64_t)> vector);

private:
  Value fold(llvm::function_ref<Value(int64_t)> vector, int64_t first,
             int64_t count);
  Value mask(int64_t part);
};

/// For 16 rows from `first` of which those before `end` exist: calls `body`
/// with a function that gives row i. Missing rows repeat the last one, since
/// memory behind it is not ours to read; a full group needs no such care.
SmallVector<Value> group16(
    Emit &e, Value first, Value end, mlir::TypeRange types,
    llvm::function_ref<SmallVector<Value>(llvm::function_ref<Value(int64_t)>)>
        body);

/// Folds a vector's lanes by halves, with addition or maximum.
Value foldLanes(Emit &e, Value v, bool max);

} // namespace r1c::kernels

#endif // R1C_KERNELS_ATTENTION_ATTENTION_H
