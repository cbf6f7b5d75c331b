//===- Sm90Tiles.h - which query rows go together ---------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A row leads a tile if its number is a multiple of `rowsATile`, or if it reads
// its keys from elsewhere than the row before it. How many tiles there are is
// known on the device alone: each block counts the leaders in pieces of the
// rows, once, and later finds the n-th leader by these counts.
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_ATTENTION_SM90TILES_H
#define R1C_KERNELS_ATTENTION_SM90TILES_H

#include "kernels/attention/Sm90.h"

namespace r1c::kernels {

class AttentionTiles {
public:
  /// `table`: tableBytes of shared memory.
  AttentionTiles(AttentionWords &w, kern::AttentionOp op, int64_t rowsATile,
                 Value table);
  static constexpr int64_t pieces = 1024;
  static constexpr int64_t tableBytes = pieces * 4 + 16;

  /// By all threads of the block (i32): counts.
  void build(Value thread, int64_t threads);
  /// Number of tiles, valid for a warp that has seen the block's barrier
  /// behind build.
  Value total();

  struct Tile {
    Value first, rows;              ///< query rows
    Value base, shared, sharedBase; ///< of the keys; the last two may be null
    Value least, greatest;          ///< position of its rows
  };
  /// The n-th tile (i32), found by a whole warp.
  Tile find(Value n, Value lane);

private:
  Value leads(Value row);
  Value entry(Value piece) { return w.sharedAt(table, w.mul(piece, 4)); }
  Value load(Value piece) { return w.e.load(entry(piece), w.i32); }

  AttentionWords &w;
  Emit &e;
  kern::AttentionOp op;
  int64_t rowsATile;
  Value table;
  SmallVector<Value> origins; ///< tensors that say where keys lie
  Value rows, groups;         ///< rows; of a piece, in units of 32
  Value count;                ///< pieces in use
};

} // namespace r1c::kernels

#endif // R1C_KERNELS_ATTENTION_SM90TILES_H
