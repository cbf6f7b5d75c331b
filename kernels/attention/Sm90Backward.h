//===- Sm90Backward.h - attention_backward on tensor cores ------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Two kinds of items, alike in what they do: a tile of 128 rows X, Y stays, and
// blocks of 64 rows x, y go by: S = X x^T, T = Y y^T, P = exp2(S c - lse),
// Z = P (T - D), and Z is a factor of the sums.
//   keys:    X = k, Y = v; x = q, y = d_out; dk += Z x, dv += P y
//   queries: X = q, Y = d_out; x = k, y = v; dq += Z x
// So nothing is added up by more than one thread, and the order is fixed, for
// two products more than if scores were computed once. One warpgroup brings
// tiles and blocks, with D and lse of the query rows; two multiply, 64 rows of
// the tile each. P and Z stay in registers.
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_ATTENTION_SM90BACKWARD_H
#define R1C_KERNELS_ATTENTION_SM90BACKWARD_H

#include "kernels/attention/Sm90Units.h"

namespace r1c::kernels {

class BackwardBuilder {
public:
  explicit BackwardBuilder(Kernel &k) : k(k), w(k) {}
  void build();

private:
  static constexpr int64_t tileRows = 128; ///< of both warpgroups
  static constexpr int64_t blockRows = 64;
  static constexpr int64_t tilePanel = tileRows * panelRow,
                           blockPanel = blockRows * panelRow; ///< bytes
  static constexpr int64_t tileStages = 2;
  static constexpr int64_t producers = 128; ///< threads
  static constexpr int64_t consumerWarps = 8;
  static constexpr double log2e = 1.4426950408889634;

  enum Barrier { tileFull, tileEmpty, full, empty, kinds };
  /// What is told of an item. Each warp of the producers keeps it too, to read
  /// again: they have few registers.
  enum Info {
    kind,
    start, ///< of the tile, inside the unit
    unit,  ///< its first row
    size,  ///< its rows
    head,
    count, ///< blocks, of each head
    skipFrom,
    skip,
    infoWords
  };
  enum Kind { end, keys, queries };
  /// What lies beside 64 or 128 query rows, in f32 or i32.
  enum Beside { minusLse, mean, sharedEnd, ownFrom, beside };

  // Places in shared memory, in bytes.
  int64_t panels() const { return width / panelColumns; }
  int64_t stages() const { return width == 64 ? 4 : 2; }
  int64_t blocksAt() const { return tileStages * 2 * panels() * tilePanel; }
  int64_t outAt() const {
    return blocksAt() + stages() * 2 * panels() * blockPanel;
  }
  int64_t besideTileAt() const { return outAt() + panels() * blockPanel; }
  int64_t besideBlockAt() const {
    return besideTileAt() + tileStages * beside * tileRows * 4;
  }
  int64_t barriersAt() const {
    return besideBlockAt() + stages() * beside * blockRows * 4;
  }
  int64_t infoAt() const { return barriersAt() + kinds * 4 * 8; }
  int64_t blockWordAt() const {
    return infoAt() + tileStages * 4 * infoWords * 4;
  }
  int64_t bitsAt() const { return blockWordAt() + stages() * 16; }
  int64_t tableAt() const { return bitsAt() + consumerWarps * 32 * 4; }
  int64_t sharedBytes() const { return tableAt() + UnitTiles::tableBytes; }

  Value inTile(Value use, int64_t which) {
    return w.sharedAt(
        memory, w.add(w.mul(w.rem(use, tileStages), 2 * panels() * tilePanel),
                      which * panels() * tilePanel));
  }
  Value inBlock(Value use, int64_t which) {
    return w.sharedAt(
        memory, w.add(w.mul(w.rem(use, stages()), 2 * panels() * blockPanel),
                      blocksAt() + which * panels() * blockPanel));
  }
  Value besideTile(Value use, Beside what) {
    return w.sharedAt(
        memory, w.add(w.mul(w.rem(use, tileStages), beside * tileRows * 4),
                      besideTileAt() + what * tileRows * 4));
  }
  Value besideBlock(Value use, Beside what) {
    return w.sharedAt(memory,
                      w.add(w.mul(w.rem(use, stages()), beside * blockRows * 4),
                            besideBlockAt() + what * blockRows * 4));
  }
  int64_t stagesOf(Barrier kind) const {
    return kind == full || kind == empty ? stages() : tileStages;
  }
  Value barrier(Barrier kind, Value stage) {
    return w.sharedAt(memory, w.add(w.mul(stage, 8), barriersAt() + kind * 32));
  }
  Value barrierOf(Barrier kind, Value use) {
    return barrier(kind, w.rem(use, stagesOf(kind)));
  }
  void waitFor(Barrier kind, Value use) {
    // For what is empty at first: the phase before.
    bool before = kind == tileEmpty || kind == empty;
    Value round = w.add(w.div(use, stagesOf(kind)), before);
    w.wait(barrierOf(kind, use), w.rem(round, 2));
  }
  Value info(Value use, int64_t word) {
    return w.sharedAt(memory,
                      w.add(w.mul(w.rem(use, tileStages), 4 * infoWords * 4),
                            infoAt() + 4 * word));
  }
  /// For tiles of keys: the number of the block, counted from the tile on.
  Value blockWord(Value use) {
    return w.sharedAt(memory,
                      w.add(w.mul(w.rem(use, stages()), 16), blockWordAt()));
  }
  Value word(Value use, Info which) { return e.load(info(use, which), i32); }
  /// A producer's own.
  Value mine(Value use, Info which) {
    Value at = w.mul(w.div(thread, 32), infoWords * 4);
    return e.load(w.sharedAt(info(use, which), at), i32);
  }

  /// Thread and lane as if they were others, in a scope: so that what follows
  /// from them is not computed far ahead, and kept in registers for long.
  struct Fresh {
    Fresh(const Fresh &) = delete;
    explicit Fresh(BackwardBuilder &b)
        : b(b), old{b.whole, b.thread, b.lane, b.group} {
      b.whole = b.w.opaque(b.whole);
      b.split();
    }
    ~Fresh() {
      b.whole = old[0];
      b.thread = old[1];
      b.lane = old[2];
      b.group = old[3];
    }
    BackwardBuilder &b;
    Value old[4];
  };
  /// Thread, lane and group from the thread of the block.
  void split() {
    thread = w.rem(whole, 128);
    lane = w.rem(whole, 32);
    group = w.add(w.div(whole, 128), -1);
  }

  // The producers.
  void produce(UnitTiles &tiles);
  /// The counter of blocks behind the item.
  Value produceKeys(const UnitTiles::Tile &tile, Value head, Value tileUse,
                    Value use);
  Value produceQueries(const UnitTiles::Tile &tile, Value head, Value tileUse,
                       Value use);
  Value lastSeeing(const UnitTiles::Tile &tile);
  void tell(Value use, mlir::ArrayRef<Value> words);
  void finishLoad(Barrier kind, Value use);
  /// Starts to copy `count` rows of one head of the unit of `tileUse`, from row
  /// `offset` on; zeros behind the unit. `linear`: for this thread to read
  /// again.
  void load(Value tensor, int64_t headCount, Value tileUse, Value offset,
            Value head, int64_t count, Value to, int64_t panel,
            bool linear = false);
  /// 64 query rows with what lies beside them (places of the first of them).
  void loadQueries(Value tileUse, Value offset, Value head, Value q, Value seed,
                   int64_t panel, mlir::ArrayRef<Value> besides);
  /// Where this thread's first 16 bytes of a tile go.
  Value placeOf(int64_t panel);

  // The consumers.
  void consume();
  Value keysItem(Value tileUse, Value use);
  Value queriesItem(Value tileUse, Value use);
  Value product(Value tileUse, Value use, int64_t which);
  Value accumulate(Value sums, mlir::ArrayRef<Value> words, Value use,
                   int64_t which);
  SmallVector<Value> packed(mlir::ArrayRef<Value> values);
  void release(Barrier kind, Value use) {
    w.syncWarp(); // what lies beside a block was read by all lanes
    e.when(w.is(lane, 0), [&] { w.arrive(barrierOf(kind, use)); });
  }
  /// Columns 8 n + 2 (lane % 4) and the next, of what lies beside a block.
  SmallVector<Value> columns(Value use, Beside what, Type type);
  /// Of a thread's score i: its column, counted from the thread's first.
  static int64_t columnOf(int64_t i) { return i / 4 * 8 + i % 2; }
  Value firstColumn(Value block) {
    return e.add(w.mul(block, blockRows), w.mul(w.rem(lane, 4), 2));
  }
  /// Where a consumer keeps its seenBits.
  Value keptBits() {
    return w.sharedAt(memory, w.add(w.mul(whole, 4), bitsAt() - producers * 4));
  }
  Value seenBits(Value tileUse, Value use);
  SmallVector<Value> keysSeen(Value tileUse, Value use,
                              mlir::ArrayRef<Value> scores);
  SmallVector<Value> keysStep(Value tileUse, Value use, ValueRange carried);
  void store(mlir::ArrayRef<Value> sums, double factor, Value tensor,
             int64_t headCount, Value tileUse, int64_t which);
  Value rowOfGroup() { ///< this thread's first row of the tile
    return e.add(w.mul(group, 64),
                 e.add(w.mul(w.div(thread, 32), 16), w.div(lane, 4)));
  }

  Kernel &k;
  AttentionWords w;
  Emit &e = k.e;
  kern::AttentionBackwardOp op = mlir::cast<kern::AttentionBackwardOp>(k.op);
  int64_t heads = op.getHeads(), kvHeads = op.getKvHeads(),
          each = heads / kvHeads;
  int64_t width =
      mlir::cast<mlir::RankedTensorType>(op.getQ().getType()).getDimSize(1) /
      heads;
  double scale = op.getScale().convertToDouble();
  bool shares = bool(op.getShared());
  Type bf16 = k.builder.getBF16Type(), f32 = w.f32, i32 = w.i32;
  Value memory, whole, thread, lane; ///< threads: of the block, of its role
  Value group;                       ///< which of the two consumers
};

} // namespace r1c::kernels

#endif // R1C_KERNELS_ATTENTION_SM90BACKWARD_H
