//===- Sm90.cpp - the main loop of matrix products on Hopper --------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/matmul/Sm90.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

constexpr int64_t consumers = 256; ///< threads that multiply: the first
constexpr int64_t turnBytes = 16;  ///< of the two turn barriers

class Sm90Matmul {
public:
  Sm90Matmul(Kernel &k, const Sm90Plan &plan)
      : k(k), e(k.e), w(k.e), op(cast<kern::MatmulOp>(k.op)), plan(plan),
        transposed(op.getTransposeA()) {}

  void build();

private:
  using Tile = Sm90Tile;

  /// Address of the tensor map of an operand with boxes of 64 columns and so
  /// many rows.
  Value map(Value tensor, int64_t boxRows);

  // The walk over tiles, the same in producer and consumers.
  struct Place {
    Value tile;        ///< its number
    Value row, column; ///< of the first element of this block's tile
    Value first, end;  ///< steps of k
  };
  Place placeOf(const Tile &tile, Value number);
  Value tilesOf(const Tile &tile);
  void walk(const Tile &tile, Value group, ValueRange carried,
            function_ref<SmallVector<Value>(Place, ValueRange)> body);
  Value stepsOf(const Tile &tile);
  Value stepsOf(const Tile &tile, Value number); ///< of that tile's part of k
  std::pair<Value, Value> partOf(const Tile &tile, Value number); ///< of k
  Value chosen();
  void choose(function_ref<void(const Tile &)> body, size_t first = 0);

  // The ring.
  Value fullBarrier(Value stage) {
    return w.sharedAt(shared, w.add(w.mul(stage, 8), barriers));
  }
  Value emptyBarrier(Value stage) {
    return w.sharedAt(shared, w.add(w.mul(stage, 8), barriers + 8 * ring));
  }
  /// Completed when the other warpgroup is through with its tile's steps.
  Value turnBarrier(Value group) {
    return w.sharedAt(shared, w.add(w.mul(group, 8), barriers + 16 * ring));
  }
  std::pair<Value, Value> next(const Tile &tile, Value stage, Value phase);
  std::pair<Value, Value> skip(const Tile &tile, Value stage, Value phase,
                               Value steps);

  void prologue();
  /// One of two threads, each of a warp of its own: where stages are small,
  /// one alone would not give copies as fast as they are used.
  void produce(const Tile &tile, bool isB);
  void copyLines(const Tile &tile, Value tensor, int64_t columns, Value to,
                 Value first, Value k0, Value barrier);
  void copyA(const Tile &tile, Value to, Value row, Value k0, Value barrier);
  void copyB(const Tile &tile, Value to, Value column, Value k0, Value barrier);
  void wait(const Tile &tile);
  SmallVector<Value> loadA(const Tile &tile, Value stage);
  void consume(const Tile &tile);
  void clearTail(const Tile &tile, Value base, Value step);

  Kernel &k;
  Emit &e;
  Sm90Words w;
  kern::MatmulOp op;
  const Sm90Plan &plan;
  bool transposed;

  DenseMap<std::pair<Value, int64_t>, Value> maps; ///< by tensor and box
  int64_t barriers = 0, ring = 0; ///< offset of the barriers, most stages
  Value shared, rows, depth;      ///< i32: rows of C, length of the sums
  int64_t width = 0;              ///< columns of B
  int64_t head = 0;               ///< of a turn: columns of a head, or 0
  Value thread, form;             ///< i32: number of the tile taken
};

} // namespace

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

Value Sm90Matmul::map(Value tensor, int64_t boxRows) {
  Value &known = maps[{tensor, boxRows}];
  if (known)
    return known;
  int64_t columns, high;
  if (auto packed = dyn_cast<kern::PackedType>(tensor.getType())) {
    columns = packed.getK(), high = packed.getN();
  } else {
    auto type = cast<RankedTensorType>(tensor.getType());
    columns = type.getDimSize(1);
    high = type.isDynamicDim(0) ? -1 : type.getDimSize(0);
  }
  TensorMap m{k.operand(tensor),
              e.b.getBF16Type(),
              {columns, high},
              {columns * 2},
              {64, boxRows}};
  if (op.getPaired() && tensor == op.getB()) {
    // All rows of the gate, then all of up: taken in turn by sixteens.
    m.sizes = {columns, 16, 2, high / 32};
    m.strides = {columns * 2, high * columns, 32 * columns};
    m.box = {64, 16, 2, boxRows / 32};
  }
  OpBuilder::InsertionGuard guard(e.b);
  e.b.setInsertionPointAfterValue(shared);
  known = k.tensorMap(m);
  // While the number of rows is on its way.
  e.when(w.is(w.thread(), consumers), [&] { w.prefetchMap(known); });
  return known;
}

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

/// The number of the tile that this launch takes: where there are several, that
/// of the fewest rounds of all blocks, weighed by how long one takes.
Value Sm90Matmul::chosen() {
  Value best, bestCost;
  for (auto [i, choice] : llvm::enumerate(plan.choices)) {
    Value tiles = w.mul(w.ceilDiv(rows, choice.tile.rows()),
                        llvm::divideCeil(width, choice.tile.columns));
    Value rounds =
        e.div(w.add(e.add(tiles, w.blocks()), -1), w.blocks()); // rounded up
    Value cost = w.add(w.mul(rounds, choice.cost.tile), choice.cost.once);
    Value number = w.c(i);
    if (best) {
      Value better = e.less(cost, bestCost);
      number = e.select(better, number, best);
      cost = e.select(better, cost, bestCost);
    }
    best = number;
    bestCost = cost;
  }
  for (auto [i, choice] : llvm::enumerate(plan.choices))
    if (choice.fewRows)
      best = e.select(w.below(rows, choice.fewRows + 1), w.c(i), best);
  return best;
}

/// Emits `body` once for each tile of the plan, under the condition that it
/// is the chosen one.
void Sm90Matmul::choose(function_ref<void(const Tile &)> body, size_t first) {
  const Tile &tile = plan.choices[first].tile;
  if (first + 1 == plan.choices.size())
    return body(tile);
  w.branch(
      w.is(form, first), [&] { body(tile); }, [&] { choose(body, first + 1); });
}

void Sm90Matmul::walk(
    const Tile &tile, Value group, ValueRange carried,
    function_ref<SmallVector<Value>(Place, ValueRange)> body) {
  Value first = w.block(), step = w.blocks();
  if (tile.share == Tile::Turns && group) {
    first = e.add(first, e.mul(group, step));
    step = w.mul(step, 2);
  }
  e.loop(first, tilesOf(tile), step, carried,
         [&](Value t, ValueRange inner) -> SmallVector<Value> {
           return body(placeOf(tile, t), inner);
         });
}

Value Sm90Matmul::tilesOf(const Tile &tile) {
  return w.mul(w.ceilDiv(rows, tile.rows()),
               llvm::divideCeil(width, tile.columns) * plan.splits);
}

Sm90Matmul::Place Sm90Matmul::placeOf(const Tile &tile, Value number) {
  Value high = w.ceilDiv(rows, tile.rows());
  int64_t wide = llvm::divideCeil(width, tile.columns);
  Value t = w.div(number, plan.splits);
  auto [from, end] = partOf(tile, number);
  int64_t most = Sm90Plan::bandRows / tile.rows();
  Value band = w.div(t, most * wide), top = w.mul(band, most);
  Value height = e.min(w.c(most), e.sub(high, top));
  Value inside = e.sub(t, w.mul(band, most * wide));
  Value across = e.div(inside, height);
  Value down = e.add(top, e.sub(inside, e.mul(across, height)));
  return {number, w.mul(down, tile.rows()), w.mul(across, tile.columns), from,
          end};
}

Value Sm90Matmul::stepsOf(const Tile &tile) {
  if (transposed)
    return w.ceilDiv(depth, tile.depth);
  return w.c(llvm::divideCeil(op.getDepth(), tile.depth));
}

Value Sm90Matmul::stepsOf(const Tile &tile, Value number) {
  auto [first, end] = partOf(tile, number);
  return e.sub(end, first);
}

std::pair<Value, Value> Sm90Matmul::partOf(const Tile &tile, Value number) {
  Value steps = stepsOf(tile);
  if (plan.splits == 1)
    return {w.c(0), steps};
  Value part = w.rem(number, plan.splits);
  return {w.div(e.mul(part, steps), plan.splits),
          w.div(e.mul(w.add(part, 1), steps), plan.splits)};
}

std::pair<Value, Value> Sm90Matmul::skip(const Tile &tile, Value stage,
                                         Value phase, Value steps) {
  Value after = e.add(stage, steps);
  Value rounds = w.div(after, tile.stages);
  Value flip = arith::AndIOp::create(e.b, e.loc, rounds, w.c(1));
  return {e.sub(after, w.mul(rounds, tile.stages)),
          arith::XOrIOp::create(e.b, e.loc, phase, flip)};
}

std::pair<Value, Value> Sm90Matmul::next(const Tile &tile, Value stage,
                                         Value phase) {
  Value after = w.add(stage, 1);
  Value wraps = w.is(after, tile.stages);
  Value flip = arith::ExtUIOp::create(e.b, e.loc, e.b.getI32Type(), wraps);
  return {e.select(wraps, w.c(0), after),
          arith::XOrIOp::create(e.b, e.loc, phase, flip)};
}

//===----------------------------------------------------------------------===//
// The producer
//===----------------------------------------------------------------------===//

/// Columns of a transposed operand from `first` on.
void Sm90Matmul::copyLines(const Tile &tile, Value tensor, int64_t columns,
                           Value to, Value first, Value k0, Value barrier) {
  for (int64_t i = 0; i < columns / 64; ++i)
    w.copyBox(w.sharedAt(to, w.c(i * tile.depth * 128)),
              map(tensor, tile.depth), {w.add(first, 64 * i), k0}, barrier);
}

void Sm90Matmul::copyA(const Tile &tile, Value to, Value row, Value k0,
                       Value barrier) {
  if (transposed)
    return copyLines(tile, op.getA(), tile.rows(), to, row, k0, barrier);
  // What lies below is of no consequence: those rows are not stored.
  Value source = map(op.getA(), tile.rowsOfA());
  for (int64_t few : tile.lowBoxes())
    source = e.select(w.below(rows, few + 1), map(op.getA(), few), source);
  for (int64_t i = 0; i < tile.depth / 64; ++i)
    w.copyBox(w.sharedAt(to, w.c(i * tile.rowsOfA() * 128)), source,
              {w.add(k0, 64 * i), row}, barrier);
}

void Sm90Matmul::copyB(const Tile &tile, Value to, Value column, Value k0,
                       Value barrier) {
  if (transposed)
    return copyLines(tile, op.getB(), tile.columns, to, column, k0, barrier);
  bool splits = tile.splits(head);
  int64_t box = splits ? tile.columns / 2 : tile.columns;
  if (splits) // first what is turned with what follows
    column = e.sub(column, w.div(w.rem(column, head), 2));
  for (int64_t i = 0; i < tile.depth / 64; ++i)
    for (int64_t part = 0; part < tile.columns / box; ++part) {
      SmallVector<Value> at = {w.add(k0, 64 * i),
                               w.add(column, part * (head / 2))};
      if (op.getPaired())
        at = {at[0], w.c(0), w.c(0), w.div(column, 32)};
      w.copyBox(w.sharedAt(to, w.c((i * tile.columns + part * box) * 128)),
                map(op.getB(), box), at, barrier);
    }
}

void Sm90Matmul::produce(const Tile &tile, bool isB) {
  Value bytes = w.c(tile.stageBytes());
  if (!transposed)
    for (int64_t few : tile.lowBoxes())
      bytes = e.select(w.below(rows, few + 1),
                       w.c(few * tile.depth * 2 + tile.bytesB()), bytes);
  // Weights are there: what A is made of may be on its way.
  if (!isB)
    wait(tile);
  // The first wait for each stage must pass: parity 1 is that of the phase
  // before the first.
  walk(tile, {}, {w.c(0), w.c(1)}, [&](Place place, ValueRange carried) {
    return e.loop(place.first, place.end, w.c(1), carried,
                  [&](Value step, ValueRange inner) -> SmallVector<Value> {
                    Value stage = inner[0], phase = inner[1];
                    Value full = fullBarrier(stage),
                          k0 = w.mul(step, tile.depth);
                    Value base =
                        w.sharedAt(shared, w.mul(stage, tile.stageBytes()));
                    w.wait(emptyBarrier(stage), phase);
                    if (isB) {
                      w.expectBytes(full, bytes); // of both
                      copyB(tile, w.sharedAt(base, w.c(tile.bytesA())),
                            place.column, k0, full);
                    } else {
                      copyA(tile, base, place.row, k0, full);
                    }
                    auto [stage1, phase1] = next(tile, stage, phase);
                    return {stage1, phase1};
                  });
  });
}

//===----------------------------------------------------------------------===//
// The consumers
//===----------------------------------------------------------------------===//

void Sm90Matmul::clearTail(const Tile &tile, Value base, Value step) {
  // A copy brings what lies behind the last row, of whatever was there
  // before. Not only A's rows are cleared: 0 times a NaN would be a NaN.
  Value left = e.sub(depth, w.mul(step, tile.depth));
  e.when(w.below(left, tile.depth), [&] {
    int64_t block = tile.depth * 128;
    auto type = VectorType::get(4, e.b.getI32Type());
    Value zero = e.splatInt(type, 0);
    Value mine = e.add(w.mul(left, 128), w.mul(thread, 16));
    for (int64_t i = 0; i < tile.stageBytes() / block; ++i)
      e.loop(mine, w.c(block), w.c(consumers * 16), [&](Value at) {
        LLVM::StoreOp::create(e.b, e.loc, zero,
                              w.sharedAt(base, w.add(at, i * block)), 16);
      });
    w.fenceAsync();
    w.syncNamed(w.c(1), consumers);
  });
}

/// A block without work that is not the first ends at once: it makes room.
void Sm90Matmul::wait(const Tile &tile) {
  if (transposed) // has waited
    return;
  Value block = w.block();
  e.when(e.less(block, e.max(tilesOf(tile), w.c(1))), [&] { k.wait(); });
}

/// A of a stage, four registers for 16 k. Only a warpgroup's first warp has
/// rows that are stored.
SmallVector<Value> Sm90Matmul::loadA(const Tile &tile, Value stage) {
  int64_t steps = tile.depth / 16;
  // A box of eight rows stands for the other eight, too: nobody stores those.
  Value lane = w.lane(), row = e.select(w.below(rows, 9), w.rem(lane, 8),
                                        w.rem(lane, rowsInRegisters));
  Value base = w.sharedAt(
      shared, e.add(w.mul(stage, tile.stageBytes()), w.mul(row, 128)));
  // Of the eight pieces of a line, exchanged by its row: this and the next.
  Value piece = arith::XOrIOp::create(e.b, e.loc, w.div(lane, rowsInRegisters),
                                      w.rem(row, 8));
  auto load = [&] {
    SmallVector<Value> all;
    for (int64_t k16 = 0; k16 < steps; ++k16) {
      Value at = arith::XOrIOp::create(e.b, e.loc, w.mul(piece, 16),
                                       w.c(k16 % 4 * 32));
      at = w.add(at, k16 / 4 * tile.rowsOfA() * 128);
      llvm::append_range(all, w.loadMatrices(w.sharedAt(base, at)));
    }
    w.syncWarp(); // one lane frees the stage for all
    return all;
  };
  auto none = [&] { return SmallVector<Value>(4 * steps, w.c(0)); };
  SmallVector<Type> types(4 * steps, e.b.getI32Type());
  return e.choose(w.is(w.rem(w.div(thread, 32), 4), 0), types, load, none);
}

void Sm90Matmul::consume(const Tile &tile) {
  wait(tile);
  Value group = w.div(thread, 128), lane = w.lane();
  // Every warp frees a stage by itself.
  Value frees = w.is(lane, 0);
  auto free = [&](Value condition, Value stage) {
    e.when(condition, [&] { w.arrive(emptyBarrier(stage)); });
  };

  // Addresses in units of 16 bytes. From one step of 16 k to the next: 32
  // bytes inside a row, or (MN-major) 16 rows.
  int64_t block = transposed ? tile.depth * 128 : 64 * 128;
  int64_t restA = transposed ? w.descriptorMN(block) : w.descriptorK();
  Value origin = w.div(w.sharedAddress(shared), 16);
  Value originA = origin, originB = w.add(origin, tile.bytesA() / 16);
  if (tile.share == Tile::Columns)
    originA = e.add(originA, w.mul(group, tile.blocks * block / 16));
  auto offset = [&](int64_t k16, int64_t rowsOfTile) {
    return transposed ? k16 * 16 * 8 : k16 / 4 * rowsOfTile * 8 + k16 % 4 * 2;
  };

  Sm90Epilogue epilogue(
      k, w, rows, w.sharedAt(shared, w.c(barriers + 16 * ring + turnBytes)));
  bool turns = tile.share == Tile::Turns;
  SmallVector<Value> first = {w.c(0), w.c(0)};
  if (turns) {
    auto [stage, phase] =
        skip(tile, first[0], first[1], e.mul(group, stepsOf(tile, w.block())));
    // The first warpgroup's first wait must pass.
    first = {stage, phase, e.sub(w.c(1), group)};
  }
  walk(tile, group, first, [&](Place place, ValueRange carried) {
    // Sums of few rows are soon there: what is added to them comes meanwhile.
    SmallVector<Value> loaded;
    if (tile.rows() == 64 && plan.splits == 1)
      loaded = epilogue.loadAhead(place.row, place.column, tile.columns);
    SmallVector<Value> start(tile.blocks, w.zeros(tile.columns));
    llvm::append_range(start, carried.take_front(2));
    // A full barrier's parity tells its phases apart only for one who has seen
    // the phase before: the steps in between, which the other group waits for.
    if (turns)
      w.wait(turnBarrier(group), carried[2]);
    auto multiplyStage = [&](Value step,
                             ValueRange inner) -> SmallVector<Value> {
      SmallVector<Value> sums(inner.take_front(tile.blocks));
      Value stage = inner[tile.blocks], phase = inner[tile.blocks + 1];
      w.wait(fullBarrier(stage), phase);
      SmallVector<Value> registers;
      if (tile.registers)
        registers = loadA(tile, stage);
      if (transposed)
        clearTail(tile, w.sharedAt(shared, w.mul(stage, tile.stageBytes())),
                  step);
      Value inRing = w.mul(stage, tile.stageBytes() / 16);
      Value a = e.add(originA, inRing), b = e.add(originB, inRing);
      w.fence();
      for (int64_t k16 = 0; k16 < tile.depth / 16; ++k16) {
        Value right = w.descriptor(w.add(b, offset(k16, tile.columns)), restA);
        for (int64_t i = 0; i < tile.blocks; ++i) {
          if (tile.registers) {
            auto here = ArrayRef(registers).slice(4 * k16, 4);
            sums[i] = w.multiplyRegisters(sums[i], here, right, tile.columns,
                                          /*mnB=*/false);
            continue;
          }
          Value left = w.descriptor(
              w.add(a, offset(k16, tile.rows()) + i * block / 16), restA);
          sums[i] = w.multiply(sums[i], left, right, tile.columns, transposed,
                               transposed);
        }
      }
      w.commit();
      // The group before is complete now, and its stage free.
      w.waitGroups(1);
      Value before =
          e.select(w.is(stage, 0), w.c(tile.stages - 1), w.add(stage, -1));
      Value notFirst = e.less(place.first, step);
      free(w.both(frees, notFirst), before);
      auto [stage1, phase1] = next(tile, stage, phase);
      sums.push_back(stage1);
      sums.push_back(phase1);
      return sums;
    };
    SmallVector<Value> end = start;
    Value from = place.first;
    if (tile.registers) {
      // Two stages a round: while one's group is under way, which reads its
      // registers, the next one's are written, and those must be others.
      Value pairs = e.sub(place.end, w.rem(e.sub(place.end, from), 2));
      end = e.loop(from, pairs, w.c(2), end, [&](Value step, ValueRange inner) {
        return multiplyStage(w.add(step, 1), multiplyStage(step, inner));
      });
      from = pairs;
    }
    end = e.loop(from, place.end, w.c(1), end, multiplyStage);
    if (turns)
      e.when(frees, [&] { w.arrive(turnBarrier(e.sub(w.c(1), group))); });
    w.waitGroups(0);
    Value stage = end[tile.blocks], phase = end[tile.blocks + 1];
    Value last =
        e.select(w.is(stage, 0), w.c(tile.stages - 1), w.add(stage, -1));
    free(w.both(frees, e.less(place.first, place.end)), last);

    Value row = place.row, column = place.column;
    if (tile.share == Tile::Columns)
      row = e.add(row, w.mul(group, 64 * tile.blocks));
    for (int64_t i = 0; i < tile.blocks; ++i) {
      SmallVector<Value> sums = w.unpack(end[i]);
      if (plan.splits > 1)
        epilogue.add(sums, w.add(row, 64 * i), column, tile.columns);
      else
        epilogue.store(sums, w.add(row, 64 * i), column, tile.columns, loaded);
    }
    if (!turns)
      return SmallVector<Value>{stage, phase};
    // The other group's tile lies between.
    std::tie(stage, phase) =
        skip(tile, stage, phase, stepsOf(tile, e.add(place.tile, w.blocks())));
    return SmallVector<Value>{stage, phase, e.sub(w.c(1), carried[2])};
  });
}

//===----------------------------------------------------------------------===//
// The kernel
//===----------------------------------------------------------------------===//

void Sm90Matmul::prologue() {
  thread = w.thread();
  shared = k.dynamicShared();
  Value size = w.toI32(k.size);
  if (transposed) {
    rows = w.c(op.getRows());
    depth = size;
    width = op.getColumns();
  } else {
    rows = size;
    depth = w.c(op.getDepth());
    width = cast<kern::PackedType>(op.getB().getType()).getN();
  }
  if (auto turn = op.getTurn())
    head = turn->width();
  for (const Sm90Plan::Choice &choice : plan.choices) {
    ring = std::max(ring, choice.tile.stages);
    barriers =
        std::max(barriers, choice.tile.stages * choice.tile.stageBytes());
  }
  k.launch->threads = consumers + 32 * plan.producerWarps;
  k.launch->blocksPerSm = plan.blocksPerSm;
  k.launch->shared = barriers + 16 * ring + turnBytes +
                     (op.isChunked() ? Sm90Epilogue::scratchBytes : 0);
  form = chosen();

  // Warps that free a stage.
  Value arrivals = w.c(consumers / 32);
  for (auto [i, choice] : llvm::enumerate(plan.choices))
    if (choice.tile.share == Tile::Turns)
      arrivals = e.select(w.is(form, i), w.c(consumers / 64), arrivals);
  e.when(w.is(thread, 0), [&] {
    for (int64_t stage = 0; stage < ring; ++stage) {
      w.initBarrier(fullBarrier(w.c(stage)), w.c(1));
      w.initBarrier(emptyBarrier(w.c(stage)), arrivals);
    }
    for (int64_t group : {0, 1})
      w.initBarrier(turnBarrier(w.c(group)), w.c(consumers / 64));
    w.fenceBarrierInit();
  });
  w.syncBlock();
}

void Sm90Matmul::build() {
  k.function->setAttr(kern::flushedLogisticAttrName, k.builder.getUnitAttr());
  // Of a product by weights, those.
  if (!transposed)
    k.waitLater(op.getB());
  prologue();
  w.branch(
      w.below(thread, consumers),
      [&] {
        if (plan.consumerRegisters)
          w.setRegisters(plan.consumerRegisters, /*more=*/true);
        choose([&](const Tile &tile) { consume(tile); });
      },
      [&] {
        if (plan.producerRegisters)
          w.setRegisters(plan.producerRegisters, /*more=*/false);
        for (bool isB : {false, true})
          e.when(w.is(thread, consumers + 32 * isB), [&] {
            choose([&](const Tile &tile) { produce(tile, isB); });
          });
      });
}

//===----------------------------------------------------------------------===//
// Interface
//===----------------------------------------------------------------------===//

void r1c::kernels::buildMatmulSm90(Kernel &k, const Sm90Plan &plan) {
  Sm90Matmul(k, plan).build();
}

LogicalResult r1c::kernels::buildFewRowsMatmulSm90(Kernel &k) {
  buildMatmulSm90(k, planFewRowsSm90(cast<kern::MatmulOp>(k.op)));
  return success();
}

LogicalResult r1c::kernels::buildMatmulSm90(Kernel &k) {
  auto op = cast<kern::MatmulOp>(k.op);
  Sm90Plan plan = planMatmulSm90(op);
  if (auto splits = k.source->getAttrOfType<IntegerAttr>(splitAttribute)) {
    if (!op.getInit() || op.getTransposeA() || splits.getInt() < 2 ||
        splits.getInt() > 64)
      return op.emitOpError() << "'" << splitAttribute
                              << "' is from 2 to 64, of a product by a packed "
                                 "matrix that has an init";
    plan = planSplitSm90(op, splits.getInt());
  }
  k.explain("tensor cores, tiles of " + plan.describe());
  buildMatmulSm90(k, plan);
  return success();
}
