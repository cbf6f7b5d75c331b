//===- Matmul.h - parts of the matmul builders ------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_MATMUL_MATMUL_H
#define R1C_KERNELS_MATMUL_MATMUL_H

#include "kernels/common/Kernel.h"
#include <array>

namespace r1c::kernels {

/// The most rows of a register tile: 14 x 32 accumulators fill 28 of 32 vector
/// registers; without AVX-512 3 x 32 fill 12 of 16.
inline int64_t tileRows(const CpuFeatures &f) { return f.avx512 ? 14 : 3; }
/// Rows of a tile that takes two panels at once, 6 x 64: 10 loads for 24
/// multiply-adds instead of 16 for 28. It reads B twice as often.
constexpr int64_t wideRows = 6;

/// A function for each height:
///   (a, b, out, outStride, panels, depth[, next])
/// out[r][32 p + c] (f32, rows outStride apart) = or += sum over depth steps.
struct Tiles {
  const char *name;     ///< of the functions, followed by the row count
  Type element;         ///< of A and B: f32, or bf16 with steps of two k
  int64_t aRowStride;   ///< in steps (f32: elements, bf16: pairs)
  int64_t aDepthStride; ///< in steps
  int64_t panelBytes;   ///< from one panel of B to the next
  bool load;            ///< start from what out holds
  /// Fetch the next panel's place in out while a panel is computed: out is the
  /// result itself, not a block in the first-level cache.
  bool fetchOut = false;
  /// Rows of the functions; empty: all up to tileRows.
  SmallVector<int64_t> heights = {};
  /// Fetch a part of the block of B that comes next into the second-level
  /// cache, 1 / fetchTiles of each panel from `next` on.
  bool fetchNext = false;
  static constexpr int64_t fetchTiles = 8;
  SmallVector<mlir::func::FuncOp> functions = {};

  void make(Kernel &k);
  /// Calls the function for `rows` (i64).
  void call(Kernel &k, Value rows, ValueRange arguments);
};

/// Panels of which blocks and workers' shares have whole multiples: those of a
/// chunk, or of whole heads; else 1.
int64_t panelUnit(kern::MatmulOp op);
/// Panels of a block, about `wanted` of the most 16.
int64_t panelsOfBlock(kern::MatmulOp op, int64_t wanted);

/// (args, x, rows, firstRow, firstPanel, panels, ahead, step): applies the op's
/// region to a block of accumulators x, rows `blockPanels` * 32 floats apart.
/// Where it reduces chunks, row r meanwhile fetches what lies from
/// ahead + r * step on into the second-level cache: few rows are bound by
/// memory, which would rest.
mlir::func::FuncOp makeEpilogue(Kernel &k, int64_t blockPanels);
/// The last two, behind `done` rows over a block of B: the first 32 rows fetch
/// the next block, `blockBytes` further, others read what is there.
std::array<Value, 2> fetchAhead(Kernel &k, Value done, Value block,
                                int64_t blockBytes);

/// Splits rows and panels, `panelUnit` of them together, among the workers;
/// bits do not depend on it.
struct Share {
  Value firstRow, lastRow, firstPanel, lastPanel;
};
Share shareProduct(Kernel &k, Value rows, int64_t panels, int64_t rowUnit,
                   int64_t panelUnit = 1);

/// Tiles that cover rows [first, last): one of `highest` rows where there are
/// as many, for which B comes from memory, and then such of nearly equal
/// height, at most `height`.
struct Tiling {
  Tiling(Kernel &k, Value first, Value last, int64_t height,
         int64_t highest = 0);
  Value count;
  /// First row and number of rows of tile t.
  std::pair<Value, Value> tile(Value t) const;

private:
  Emit &e;
  bool hasHighest;
  Value first, high, base, more;
};

/// Heights for products that are a small part of a kernel: a third of the code
/// of all of them, and no number of rows takes more than three tiles beyond
/// the full ones.
SmallVector<int64_t> fewHeights(const CpuFeatures &f);
/// Calls body(first row, rows) for tiles of these heights that cover [first,
/// last), the highest first.
void forTiles(Kernel &k, Value first, Value last,
              llvm::ArrayRef<int64_t> heights,
              llvm::function_ref<void(Value, Value)> body);

/// Complains where `whyNotTurned` has a reason.
mlir::LogicalResult checkTurned(kern::MatmulOp op, bool cuda);

/// Sets rows [from, to) of panels [first, last) of the f32 result to 0.
void clearResult(Kernel &k, Value from, Value to, Value first, Value last);
/// Copies panels of the f32 result, as wide as it is, to a block of rows
/// `stride` floats apart, or back.
void copyPanels(Kernel &k, Value row, Value rows, Value panel, Value panels,
                Value block, int64_t stride, bool back = false);

mlir::LogicalResult buildTransposeACpu(Kernel &k);

/// Whether a product is made of AMX tiles: bf16, and the sum of whole tiles.
/// Its chains are then others (README.md).
bool usesAmx(kern::MatmulOp op, const CpuFeatures &f);

/// One step of a bf16 product with f32 operations: the odd element of a pair,
/// then the even one. a and b: pairs as i32 (scalar or vector).
Value bf16Step(Emit &e, Value acc, Value a, Value b);

} // namespace r1c::kernels

#endif // R1C_KERNELS_MATMUL_MATMUL_H
