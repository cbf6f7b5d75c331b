//===- Amx.h - attention from matrix tiles of Intel CPUs --------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_ATTENTION_AMX_H
#define R1C_KERNELS_ATTENTION_AMX_H

#include "kernels/attention/Attention.h"
#include "kernels/matmul/Amx.h"

namespace r1c::kernels {

/// Whether attention over heads `width` wide is made of matrix tiles: bf16, and
/// sums over a head of whole tiles. Its sums are then others (README.md).
inline bool isAttentionAmx(Type element, int64_t width, const CpuFeatures &f) {
  return f.amxBf16 && element.isBF16() && width % amxDepth == 0;
}

/// The same for a kernel, with a remark.
bool choosesAttentionAmx(Kernel &k, mlir::RankedTensorType queries,
                         int64_t heads);

/// Rows of bf16, `width` wide and given by their addresses, as operands B of
/// tiles.
struct AmxPanels {
  Emit &e;
  int64_t width;
  Type i32 = e.b.getI32Type(), bf16 = e.b.getBF16Type();

  /// The rows are the columns of B: panels [rows / 32][width / 2][32][2].
  /// Columns from `count` on, up to a multiple of 16, repeat the last row:
  /// memory behind it is not ours to read.
  void columns(llvm::function_ref<Value(Value)> row, Value count, Value to);
  /// The rows are the depth of B: panels [width / 32][depth / 2][32][2], zeros
  /// from `count` on up to a multiple of 32.
  void depth(llvm::function_ref<Value(Value)> row, Value count, int64_t depth,
             Value to);
};

/// 16 floats as bf16 for a tile: numbers too small for a normal one, which a
/// tile takes as zero, may become zero. One instruction where there is one.
Value roundForTile(Kernel &k, Value v);

/// Rows of queries of a tile of the backward, each with the heads of a key
/// head: at most 64, and 128 vectors. Part of the meaning.
inline int64_t amxQueryRows(int64_t headsOfKey) {
  int64_t rows = 64;
  while (rows > 1 && rows * headsOfKey > 128)
    rows /= 2;
  return rows;
}
/// Keys of a tile of the backward.
inline constexpr int64_t amxKeys = 64;

mlir::LogicalResult buildAttentionAmx(Kernel &k);
mlir::LogicalResult buildAttentionBackwardAmx(Kernel &k);

} // namespace r1c::kernels

#endif // R1C_KERNELS_ATTENTION_AMX_H
