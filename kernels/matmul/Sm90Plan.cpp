//===- Sm90Plan.cpp - which tiles a matrix product on Hopper has ----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/matmul/Sm90.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

/// For the stages, of the 227 KiB that a block may have; the barriers take the
/// rest.
static constexpr int64_t ringBytes = 226 * 1024;
static constexpr int64_t chunkRingBytes =
    ringBytes - Sm90Epilogue::scratchBytes;

/// How long a tile of 128 rows takes, in columns: what a narrow one wastes
/// because it reads A anew for fewer columns, and what comes between tiles.
static int64_t costOf(int64_t columns) {
  return columns + (columns < 192 ? 10 : 0) + (columns < 128 ? 16 : 0) + 24;
}

static Sm90Tile tileOf(int64_t columns, Sm90Tile::Share share, int64_t depth,
                       int64_t bytes = ringBytes) {
  Sm90Tile tile;
  tile.columns = columns;
  tile.share = share;
  tile.depth = depth;
  return tile.fill(bytes);
}

/// Up to 64 rows: B comes from memory once, and what counts is that all
/// multiprocessors fetch it and none has a tile more than the others.
static Sm90Tile fewRowsTile(kern::MatmulOp op, int64_t width,
                            int64_t processors) {
  if (op.isChunked())
    return tileOf(kern::chunkColumns, Sm90Tile::Turns, 64, chunkRingBytes);
  int64_t best = 0, bestCost = 0;
  int64_t unit = op.getPaired() ? 32 : 8;
  for (int64_t columns = unit; columns <= 128; columns += unit) {
    int64_t tiles = llvm::divideCeil(width, 2 * columns);
    int64_t cost = llvm::divideCeil(tiles, processors) * (2 * columns + 32);
    if (!best || cost < bestCost) {
      best = columns;
      bestCost = cost;
    }
  }
  // Narrow tiles have little to do a step.
  int64_t depth = best == 8 && op.getDepth() >= 1024 ? 256 : 128;
  return tileOf(best, Sm90Tile::Rows, depth);
}

static Sm90Plan planTransposed(kern::MatmulOp op, int64_t processors) {
  // The result's size is known.
  Sm90Plan plan;
  int64_t best = 0, bestCost = 0;
  for (int64_t columns : {256, 192, 128, 64}) {
    int64_t tiles = llvm::divideCeil(op.getRows(), 128) *
                    llvm::divideCeil(op.getColumns(), columns);
    int64_t cost = llvm::divideCeil(tiles, processors) * costOf(columns);
    if (!best || cost < bestCost) {
      best = columns;
      bestCost = cost;
    }
  }
  plan.choices.push_back({tileOf(best, Sm90Tile::Columns, 64), 0, 1});
  return plan;
}

Sm90Plan r1c::kernels::planMatmulSm90(kern::MatmulOp op, int64_t processors) {
  if (op.getTransposeA())
    return planTransposed(op, processors);
  Sm90Plan plan;
  int64_t width = cast<kern::PackedType>(op.getB().getType()).getN();
  plan.choices.push_back({fewRowsTile(op, width, processors), 64, 0});
  if (op.isChunked()) {
    plan.choices.push_back(
        {tileOf(kern::chunkColumns, Sm90Tile::Columns, 64, chunkRingBytes)});
    return plan;
  }
  auto add = [&](int64_t columns) {
    plan.choices.push_back(
        {tileOf(columns, Sm90Tile::Columns, 64), 0, costOf(columns)});
  };
  // Many rows: wide tiles that leave little of the last one empty.
  int64_t wide = 0, least = 0;
  for (int64_t columns = 256; columns >= 160; columns -= 32) {
    int64_t cost = llvm::divideCeil(width, columns) * costOf(columns);
    if (!wide || cost < least) {
      wide = columns;
      least = cost;
    }
  }
  add(wide);
  // Between: enough tiles for all multiprocessors from a few hundred rows on.
  add(width > 2048 ? 128 : 64);
  return plan;
}
