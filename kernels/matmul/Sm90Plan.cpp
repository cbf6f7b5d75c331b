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

bool r1c::kernels::servesMatmulSm90(kern::PackedType b) {
  return b.getElementType().isBF16() && b.getK() % 8 == 0;
}

bool r1c::kernels::servesMatmulSm90(kern::MatmulOp op) {
  if (auto packed = dyn_cast<kern::PackedType>(op.getB().getType()))
    return servesMatmulSm90(packed);
  return kern::elementTypeOf(op.getA()).isBF16() && op.getRows() % 8 == 0 &&
         op.getColumns() % 8 == 0;
}

std::string Sm90Plan::describe() const {
  std::string tiles;
  for (const Choice &choice : choices) {
    tiles += llvm::formatv("{0}{1} x {2}", tiles.empty() ? "" : ", ",
                           choice.tile.rows(), choice.tile.columns);
    if (choice.fewRows)
      tiles += llvm::formatv(" (up to {0} rows)", choice.fewRows);
  }
  return tiles + (blocksPerSm > 1 ? ", two blocks a multiprocessor" : "");
}

/// For the stages, of the 227 KiB that a block may have, or the 113 KiB that
/// two have each; the barriers take the rest.
static constexpr int64_t ringBytes = 226 * 1024, halfRingBytes = 112 * 1024;
static constexpr int64_t chunkRingBytes =
    ringBytes - Sm90Epilogue::scratchBytes;

/// What is behind a product, in thousandths of a cycle an element of the tile,
/// where both warpgroups are at it. From the times of kernels (H200), less what
/// the products take by the model below: over k = 896 a tile of 128 x 256 of
/// the head took 33 000 cycles, 15 000 of them the product's, for 4096 rows,
/// and 70 000 for 128 rows when sampling; one of 128 x 192 behind the gradient
/// of a gated unit, where two operands are read and three numbers stored a
/// column, 38 000, and 13 000 of them.
enum Behind : int64_t {
  Light = 125,
  Head = 550,
  GateGradient = 1000,
  Draw = 1700
};

static Behind behind(kern::MatmulOp op) {
  if (op.isChunked()) {
    auto draws = op.getBody().front().getOps<kern::NoiseOp>();
    return draws.empty() ? Head : Draw;
  }
  return !op.getTurn() && op.getInputs().size() + op.getPlaces().size() > 4
             ? GateGradient
             : Light;
}

/// How long a block takes for a tile, in units of 64 cycles. With all
/// multiprocessors at work the second-level cache brings each about 45 bytes a
/// cycle; the tensor cores take 2048 products, and a wgmma of 64 x n x 16 no
/// less than 16 + n / 4, in which it reads its operands. What comes between
/// tiles was fitted to measurements.
/// In turn a warpgroup alone is taken to need three quarters as long for what
/// is behind its products as two at once for both of theirs (not measured:
/// between half, were it bound by instructions, and as long, were it by
/// waiting), and meanwhile the other one multiplies: whichever is longer
/// counts, the products of a tile or half of what a warpgroup does for it. The
/// last tile's has nothing beside it: `once`.
static Sm90Plan::Cost costOf(const Sm90Tile &tile, int64_t depth,
                             Behind behind = Light) {
  int64_t area = tile.rows() * tile.columns;
  int64_t reads =
      area / (64 * tile.columns) * (tile.depth / 16) * (16 + tile.columns / 4);
  int64_t step =
      std::max({area * tile.depth / 2048, reads, tile.stageBytes() / 45});
  int64_t cycles = llvm::divideCeil(depth, tile.depth) * step;
  if (tile.share == Sm90Tile::Columns || behind == Light)
    return {(cycles + 2000 + area * behind / 1000) / 64};
  int64_t alone = 2 * area * behind / 1000 * 3 / 4;
  int64_t tiles = std::max(cycles, (cycles + alone) / 2) + 1000;
  return {tiles / 64, std::max<int64_t>(cycles + alone - tiles, 0) / 64};
}

static Sm90Tile tileOf(int64_t columns, Sm90Tile::Share share, int64_t depth,
                       int64_t bytes = ringBytes) {
  Sm90Tile tile;
  tile.columns = columns;
  tile.share = share;
  tile.depth = depth;
  return tile.fill(bytes);
}

/// A tile of the given width, 64 high. One warpgroup multiplies it: two that
/// share its columns would each read A from shared memory, which takes longer
/// than the products of a narrow tile.
static Sm90Tile lowTile(int64_t width, int64_t depth, int64_t bytes) {
  // A narrow one has little to do a step.
  int64_t step = width <= 16 && depth >= 1024 ? 256 : 128;
  while (step > 64 && bytes / ((64 + width) * step * 2) < 4)
    step /= 2;
  return tileOf(width, Sm90Tile::Turns, step, bytes);
}

/// Up to 64 rows: B comes from memory once, and what counts is that all
/// multiprocessors fetch it and none has a tile more than the others.
static int64_t fewRowsWidth(int64_t width, int64_t unit, int64_t blocks,
                            function_ref<bool(int64_t)> fits) {
  int64_t best = 0, bestCost = 0;
  for (int64_t columns = unit; columns <= 256; columns += unit) {
    if (!fits(columns))
      continue;
    int64_t tiles = llvm::divideCeil(width, columns);
    int64_t cost = llvm::divideCeil(tiles, blocks) * (columns + 32);
    if (!best || cost < bestCost) {
      best = columns;
      bestCost = cost;
    }
  }
  return best;
}

/// The narrowest tile with which one round is enough for `high` tiles one below
/// the other; a very wide one if there is none.
static int64_t oneRoundWidth(int64_t width, int64_t high, int64_t unit,
                             int64_t blocks, function_ref<bool(int64_t)> fits) {
  if (high > blocks)
    return width;
  int64_t columns = llvm::alignTo(llvm::divideCeil(width, blocks / high), unit);
  while (columns < width && !fits(columns))
    columns += unit;
  return columns;
}

static Sm90Plan planTransposed(kern::MatmulOp op, int64_t processors) {
  // The result's size is known; its sums are long.
  constexpr int64_t depth = 8192;
  Sm90Plan plan;
  int64_t bestCost = 0;
  for (int64_t columns : {256, 192, 128, 64}) {
    Sm90Tile tile = tileOf(columns, Sm90Tile::Columns, 64);
    int64_t tiles = llvm::divideCeil(op.getRows(), tile.rows()) *
                    llvm::divideCeil(op.getColumns(), columns);
    int64_t cost =
        llvm::divideCeil(tiles, processors) * costOf(tile, depth).tile;
    if (plan.choices.empty() || cost < bestCost) {
      plan.choices = {{tile}};
      bestCost = cost;
    }
  }
  return plan;
}

/// Chunks are 256 wide. Taking turns hides the reductions, at the price of
/// reading B twice as often: for few rows, or where sums are short beside them.
static Sm90Plan planChunked(kern::MatmulOp op) {
  Sm90Plan plan;
  auto add = [&](Sm90Tile::Share share, int64_t fewRows) {
    Sm90Tile tile = tileOf(kern::chunkColumns, share, 64, chunkRingBytes);
    plan.choices.push_back(
        {tile, fewRows, costOf(tile, op.getDepth(), behind(op))});
  };
  add(Sm90Tile::Turns, 64);
  if (op.getDepth() >= 512)
    add(Sm90Tile::Columns, 0);
  return plan;
}

/// The columns of a tile for up to 64 rows.
static int64_t fewRowsWidth(kern::MatmulOp op, int64_t blocks) {
  auto turn = op.getTurn();
  int64_t unit = op.getPaired() ? 32 : turn ? 16 : 8;
  return fewRowsWidth(cast<kern::PackedType>(op.getB().getType()).getN(), unit,
                      blocks, [&](int64_t columns) {
                        return !turn || holdsPairs(columns, turn->width());
                      });
}

/// For so many columns a wgmma with A in registers was seen to take less time,
/// and to give the same bits.
static constexpr int64_t mostBesideRegisters = 16;

bool r1c::kernels::hasFewRowsMatmulSm90(kern::MatmulOp op) {
  bool splits = op->getParentOfType<func::FuncOp>()->hasAttr(splitAttribute);
  auto a = cast<RankedTensorType>(op.getA().getType());
  return !op.getTransposeA() && !op.isChunked() && servesMatmulSm90(op) &&
         !splits && a.isDynamicDim(0) && op.getDepth() >= 256 &&
         fewRowsWidth(op, multiprocessors) <= mostBesideRegisters;
}

Sm90Plan r1c::kernels::planFewRowsSm90(kern::MatmulOp op, int64_t processors) {
  Sm90Plan plan;
  Sm90Tile tile;
  tile.columns = fewRowsWidth(op, processors);
  tile.share = Sm90Tile::Turns;
  tile.registers = true;
  // A step of k takes little; so many registers A has there are twice.
  tile.depth = op.getDepth() >= 1024 ? 256 : 128;
  plan.choices.push_back({tile.fill(ringBytes)});
  return plan;
}

Sm90Plan r1c::kernels::planMatmulSm90(kern::MatmulOp op, int64_t processors) {
  if (op.getTransposeA())
    return planTransposed(op, processors);
  if (op.isChunked())
    return planChunked(op);
  Sm90Plan plan;
  int64_t width = cast<kern::PackedType>(op.getB().getType()).getN();
  int64_t depth = op.getDepth();
  int64_t bytes = ringBytes, widest = 256;
  // Gated products at decoding, which have one result: with two blocks a
  // multiprocessor a call took 14.4 us instead of 15.6 for one row, 17.0
  // instead of 18.6 for 128 (some 6.5 of them its start).
  // Training's, with what the backward needs besides, is bound by the
  // second-level cache, and 0.74 of the time faster with wide tiles.
  if (op.getPaired() && op.getInputs().empty() && op.getNumResults() == 1 &&
      depth < 2048) {
    plan.blocksPerSm = 2;
    plan.producerWarps = 2;
    plan.producerRegisters = plan.consumerRegisters = 0;
    bytes = halfRingBytes;
    widest = 128; // of 96 registers
  }
  // Beside 128 sums there are not enough registers for all that.
  Behind behind = ::behind(op);
  if (behind == GateGradient)
    widest = 192;
  int64_t blocks = processors * plan.blocksPerSm;
  int64_t unit = op.getPaired() ? 32 : 16;
  int64_t lowUnit = op.getPaired() ? 32 : op.getTurn() ? 16 : 8;
  auto add = [&](const Sm90Tile &tile, int64_t fewRows = 0) {
    plan.choices.push_back({tile, fewRows, costOf(tile, depth, behind)});
  };
  auto high = [&](int64_t columns, Sm90Tile::Share share = Sm90Tile::Columns) {
    return tileOf(columns, share, 64, bytes);
  };

  // The columns of a high tile, and of a low one, hold whole pairs of a turn.
  auto turn = op.getTurn();
  int64_t head = turn ? turn->width() : 0;
  auto fits = [&](int64_t columns) {
    return !head || holdsPairs(columns, head);
  };

  int64_t few = fewRowsWidth(op, blocks);
  add(lowTile(few, depth, bytes), 64);
  // Many rows: wide tiles that leave little of the last one empty; in turn
  // where that hides enough.
  int64_t wide = 0, least = 0;
  Sm90Tile many;
  for (auto share : {Sm90Tile::Columns, Sm90Tile::Turns})
    for (int64_t columns = widest; columns > widest / 2;
         columns -= head ? 16 : 32) {
      if (!fits(columns) || (share == Sm90Tile::Turns && behind == Light))
        continue;
      Sm90Tile tile = high(columns, share);
      int64_t cost = llvm::divideCeil(width, columns) *
                     costOf(tile, depth, behind).tile * 128 / tile.rows();
      if (!wide || cost < least) {
        wide = columns;
        least = cost;
        many = tile;
      }
    }
  add(many);
  // Between: enough tiles for all multiprocessors from a hundred rows on.
  // (What is in turn has narrower tiles below.)
  for (int64_t rows : {1024, 512, 256}) {
    int64_t columns = oneRoundWidth(width, rows / 128, unit, blocks, fits);
    if (columns < wide && many.share == Sm90Tile::Columns) {
      add(high(columns));
      break;
    }
  }
  for (int64_t rows : {128, 256}) {
    int64_t columns = oneRoundWidth(width, rows / 64, lowUnit, blocks, fits);
    if (columns > few && columns <= widest) {
      add(lowTile(columns, depth, bytes));
      break;
    }
  }
  return plan;
}

Sm90Plan r1c::kernels::planSplitSm90(kern::MatmulOp op, int64_t splits,
                                     int64_t processors) {
  Sm90Plan plan;
  plan.splits = splits;
  int64_t width = cast<kern::PackedType>(op.getB().getType()).getN();
  int64_t columns =
      fewRowsWidth(width, 8, processors / splits, [](int64_t) { return true; });
  // A part of few steps is cut finer, so that none has much more than another.
  int64_t part = op.getDepth() / splits;
  Sm90Tile tile = part < 512 ? tileOf(columns, Sm90Tile::Turns, 64, ringBytes)
                             : lowTile(columns, part, ringBytes);
  plan.choices.push_back({tile, 0, costOf(tile, part)});
  return plan;
}
