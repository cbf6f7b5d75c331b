//===- Sm90Tiles.h - which query rows go together ---------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A row leads a tile if its number is a multiple of `rowsATile`, or if it reads
// its keys from elsewhere than the row before it. A tile is one item of work; a
// row that is alone in its tile, as at decoding, is as many as it has segments
// of keys, if there are places for what all items of the kernel leave.
// How many items there are is known on the device alone: each block counts them
// in pieces of the rows, once, and later finds the n-th by these counts.
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_ATTENTION_SM90TILES_H
#define R1C_KERNELS_ATTENTION_SM90TILES_H

#include "kernels/attention/Sm90.h"

namespace r1c::kernels {

class AttentionTiles {
public:
  /// `table`: tableBytes of shared memory. `segmentKeys`: keys of a segment.
  /// `places`: for how many items, each of one head of keys, there is room to
  /// leave something; 0: a tile is never more than one item.
  AttentionTiles(AttentionWords &w, kern::AttentionOp op, int64_t rowsATile,
                 int64_t segmentKeys, int64_t places, Value table);
  static constexpr int64_t pieces = 1024;
  static constexpr int64_t tableBytes = pieces * 4 + 32;

  /// By all threads of the block (i32): counts.
  void build(Value thread, int64_t threads);
  /// Number of items, valid for a warp that has seen the block's barrier
  /// behind build.
  Value total();

  struct Tile {
    Value first, rows;              ///< query rows
    Value base, shared, sharedBase; ///< of the keys; the last two may be null
    Value least, greatest;          ///< position of its rows
    Value segment, segments; ///< which of so many, or 0 of 1: all its keys
  };
  /// The tile of the n-th item (i32), found by a whole warp.
  Tile find(Value n, Value lane);
  /// Whether no row before those of the tile reads its keys.
  Value begins(const Tile &tile) {
    return w.either(w.is(tile.first, 0), differs(tile.first));
  }

private:
  Value leads(Value row);
  /// Whether the row reads its keys from elsewhere than the one before it.
  Value differs(Value row);
  /// Items of a row alone in its tile that sees keys up to this position.
  Value itemsOf(Value position);
  void countItems(Value thread, int64_t threads);
  Value entry(Value piece) { return w.sharedAt(table, w.mul(piece, 4)); }
  Value load(Value piece) { return w.e.load(entry(piece), w.i32); }

  AttentionWords &w;
  Emit &e;
  kern::AttentionOp op;
  int64_t rowsATile, segmentKeys, places;
  Value table;
  SmallVector<Value> origins; ///< tensors that say where keys lie
  Value rows, groups;         ///< rows; of a piece, in units of 32
  Value count;                ///< pieces in use
  Value most;                 ///< items that a tile may be
};

} // namespace r1c::kernels

#endif // R1C_KERNELS_ATTENTION_SM90TILES_H
