//===- Sm90Units.h - tiles of rows of packed units --------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A tile is `rowsATile` rows of one unit, counted from the unit's first row.
// How many tiles there are is known on the device alone: each block counts them
// in pieces of the units, once, and later finds the n-th by these counts.
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_ATTENTION_SM90UNITS_H
#define R1C_KERNELS_ATTENTION_SM90UNITS_H

#include "kernels/attention/Sm90.h"

namespace r1c::kernels {

class UnitTiles {
public:
  /// `offsets`: of the units, whose number is the kernel's size. `table`:
  /// tableBytes of shared memory.
  UnitTiles(AttentionWords &w, Value offsets, int64_t rowsATile, Value table);
  static constexpr int64_t pieces = 512;
  static constexpr int64_t tableBytes = pieces * 4 + 16;

  /// By all threads of the block (i32): counts.
  void build(Value thread, int64_t threads);
  /// Number of tiles, valid for a warp that has seen the block's barrier
  /// behind build.
  Value total();

  struct Tile {
    Value unit, end; ///< first row of the unit, and the row behind its last
    Value start;     ///< first row of the tile, counted inside the unit
  };
  /// The n-th tile (i32), found by a whole warp.
  Tile find(Value n, Value lane);

private:
  /// First row of unit u, row behind its last, and its tiles.
  struct Unit {
    Value first, end, tiles;
  };
  Unit unit(Value u);
  Value entry(Value piece) { return w.sharedAt(table, w.mul(piece, 4)); }
  Value load(Value piece) { return w.e.load(entry(piece), w.i32); }

  AttentionWords &w;
  Emit &e;
  Value offsets;
  int64_t rowsATile;
  Value table;
  Value units, groups; ///< units; of a piece, in groups of 32
  Value count;         ///< pieces in use
};

} // namespace r1c::kernels

#endif // R1C_KERNELS_ATTENTION_SM90UNITS_H
