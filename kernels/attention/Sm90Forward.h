//===- Sm90Forward.h - kern.attention on Hopper's tensor cores --*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// One warpgroup brings tiles of q, k and v to shared memory, two multiply, 64
// rows of the tile each.
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_ATTENTION_SM90FORWARD_H
#define R1C_KERNELS_ATTENTION_SM90FORWARD_H

#include "kernels/attention/Sm90Tiles.h"

namespace r1c::kernels {

class ForwardBuilder {
public:
  explicit ForwardBuilder(Kernel &k) : k(k), w(k) {}
  void build();

private:
  static constexpr int64_t tileRows =
      128; ///< rows of a tile, of both warpgroups
  static constexpr int64_t keysABlock = 128; ///< part of a row's meaning
  static constexpr int64_t panelBytes = 128 * panelRow;
  static constexpr int64_t producers = 128; ///< threads
  static constexpr int64_t consumerWarps = 8;

  /// Barriers in shared memory; each kind has one a stage.
  enum Barrier { qFull, qEmpty, kFull, kEmpty, vFull, vEmpty, unheard, kinds };

  // Places in shared memory, in bytes.
  int64_t tileBytes() const { return width / panelColumns * panelBytes; }
  int64_t kAt() const { return stages * tileBytes(); }
  int64_t vAt() const { return 2 * stages * tileBytes(); }
  int64_t barriersAt() const { return 3 * stages * tileBytes(); }
  int64_t infoAt() const { return barriersAt() + kinds * stages * 8; }
  int64_t tableAt() const { return infoAt() + stages * 32; }
  int64_t end() const { return tableAt() + AttentionTiles::tableBytes; }
  Value place(Value stage, int64_t at) {
    return w.sharedAt(memory, w.add(w.mul(stage, tileBytes()), at));
  }
  Value barrier(Barrier kind, Value stage) {
    return w.sharedAt(memory,
                      w.add(w.mul(stage, 8), barriersAt() + kind * stages * 8));
  }
  Value info(Value stage, int64_t word) {
    return w.sharedAt(memory, w.add(w.mul(stage, 32), infoAt() + 4 * word));
  }
  static constexpr int64_t infoWords = 6;
  /// A counter of uses to its stage, and the parity of the use.
  Value stage(Value use) { return w.rem(use, stages); }
  Value parity(Value use) { return w.rem(w.div(use, stages), 2); }

  // The producers.
  void produce(AttentionTiles &tiles);
  /// Loads under way: barriers that wait for them, the oldest first.
  using Pending = SmallVector<Value>;
  void startLoad(Barrier empty, Value use, Pending &pending);
  void announce(Pending &pending); ///< once all have arrived
  void endLoad(Barrier full, Value use, Pending &pending);
  void loadQueries(const AttentionTiles::Tile &tile, Value keyHead, Value use);
  void loadKeys(Value tensor, int64_t at, const AttentionTiles::Tile &tile,
                Value keyHead, Value block, Value use);
  void tell(Value stage, mlir::ArrayRef<Value> words);

  // The consumers.
  void consume();
  /// What a thread keeps of its two rows: of a column of 64 x n sums.
  struct Rows {
    Value greatest[2], sum[2];
  };
  void tile(Value use, Value block0, mlir::ArrayRef<Value> words,
            int64_t halves);
  void passBy(Value use, Value block0, Value count);
  Value scores(Value use, Value qStage);
  SmallVector<Value> soften(Value scores, Rows &rows, Value shrink[2],
                            mlir::ArrayRef<Value> limits, int64_t halves);
  SmallVector<Value> packed(mlir::ArrayRef<Value> p);
  Value weighted(Value out, mlir::ArrayRef<Value> p, Value use);
  void release(Barrier empty, Value use);
  void store(Value out, Rows &rows, Value qStage);

  Kernel &k;
  AttentionWords w;
  Emit &e = k.e;
  kern::AttentionOp op = mlir::cast<kern::AttentionOp>(k.op);
  int64_t heads = op.getHeads(), kvHeads = op.getKvHeads(),
          each = heads / kvHeads;
  int64_t width =
      mlir::cast<mlir::RankedTensorType>(op.getQ().getType()).getDimSize(1) /
      heads;
  int64_t rowsATile = tileRows / each;
  /// Of q, of k and of v, each: as many as there is room for.
  int64_t stages = width == 64 ? 4 : 2;
  double scale = op.getScale().convertToDouble();
  Type bf16 = k.builder.getBF16Type(), f32 = w.f32, i32 = w.i32;
  Value memory, thread, lane; ///< thread of its role
  Value group;                ///< which of the two consumers
};

} // namespace r1c::kernels

#endif // R1C_KERNELS_ATTENTION_SM90FORWARD_H
