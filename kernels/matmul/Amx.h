//===- Amx.h - matrix tiles of Intel CPUs -----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Eight tile registers of 16 rows x 64 bytes, and one instruction that
// multiplies bf16 tiles (README.md has what it sums, and in which order).
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_MATMUL_AMX_H
#define R1C_KERNELS_MATMUL_AMX_H

#include "kernels/matmul/Matmul.h"

namespace r1c::kernels {

/// k that one instruction takes: 16 pairs.
inline constexpr int64_t amxDepth = 32;
/// Rows of A that the tile functions take at once: two tiles.
inline constexpr int64_t amxRows = 32;
/// Steps of k for which such rows of A, 2 KiB a step, stay in the first-level
/// cache while B passes by.
inline constexpr int64_t amxSteps = 18;

/// Functions for one row tile, and for two:
///   (a, aStride, b, out, outStride, panels, steps, rows)
/// out[r][32 p + c] (f32, rows outStride floats apart) = or += the sum over
/// `steps` steps (at least one) of 32 k, for rows 0 ... rows - 1, at most 16 a
/// tile. A tile of A is 16 rows of 64 bytes, aStride bytes apart, the next
/// step's `aStep` bytes further and the second row tile's `aTile` (0: 16 rows
/// further); a panel of B has a line of 128 bytes, 32 columns, for each pair of
/// k.
struct AmxTiles {
  llvm::StringRef name; ///< of the functions, followed by the row tiles
  bool load;            ///< start from what out holds
  int64_t panelBytes;   ///< from one panel of B to the next
  int64_t aStep = 64, aTile = 0;
  /// There are two more that ask for the next step's tiles of B at each step:
  /// for where B lies in memory.
  bool mayFetch = false;
  mlir::func::FuncOp functions[2][2] = {};

  void make(Kernel &k);
  /// `fetch` (i1): call those; only with mayFetch.
  void call(Kernel &k, Value a, Value aStride, Value b, Value out,
            Value outStride, Value panels, Value steps, Value rows,
            Value fetch = {}) const;
};

mlir::LogicalResult buildMatmulAmx(Kernel &k);
mlir::LogicalResult buildTransposeAAmx(Kernel &k);

} // namespace r1c::kernels

#endif // R1C_KERNELS_MATMUL_AMX_H
