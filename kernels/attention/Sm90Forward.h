//===- Sm90Forward.h - kern.attention on Hopper's tensor cores --*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// One warpgroup brings tiles of q, k and v to shared memory, two multiply (one
// in the kernel for few rows), 64 rows of the tile each. Keys are taken in
// segments, each from nothing, and what they give is merged in order: by who
// takes them one after the other, or, where a row is alone in its tile, by the
// last of the blocks of the grid that took one each.
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_ATTENTION_SM90FORWARD_H
#define R1C_KERNELS_ATTENTION_SM90FORWARD_H

#include "kernels/attention/Sm90Tiles.h"

namespace r1c::kernels {

class ForwardBuilder {
public:
  /// `fewBlocks`: of a kernel for few rows of a cached attention, as at
  /// decoding, where most tiles are of one row, how many blocks have room on a
  /// multiprocessor; 0: of the one for many rows, which alone has two
  /// warpgroups that multiply.
  explicit ForwardBuilder(Kernel &k, int64_t fewBlocks = 0)
      : few(fewBlocks > 0), blocksPerSm(few ? fewBlocks : 1), k(k), w(k) {}
  void build();

private:
  bool few;
  int64_t blocksPerSm;
  int64_t warpgroups = few ? 1 : 2;   ///< that multiply
  int64_t tileRows = 64 * warpgroups; ///< rows of a tile, of all of them
  // Both part of a row's meaning.
  static constexpr int64_t keysABlock = 128, blocksASegment = 8;
  static constexpr int64_t panelBytes = 128 * panelRow;
  static constexpr int64_t producers = 128; ///< threads
  int64_t consumerWarps = 4 * warpgroups;

  /// Barriers in shared memory; each kind has one a stage, with those of
  /// queries room for as many as keys have.
  enum Barrier { qFull, qEmpty, kFull, kEmpty, vFull, vEmpty, unheard, kinds };

  // Places in shared memory, in bytes.
  int64_t queryPanelBytes() const { return tileRows * panelRow; }
  int64_t queryBytes() const {
    return width / panelColumns * queryPanelBytes();
  }
  int64_t tileBytes() const { return width / panelColumns * panelBytes; }
  int64_t kAt() const { return queryStages * queryBytes(); }
  int64_t vAt() const { return kAt() + stages * tileBytes(); }
  int64_t barriersAt() const { return vAt() + stages * tileBytes(); }
  int64_t infoAt() const { return barriersAt() + kinds * stages * 8; }
  int64_t tableAt() const { return infoAt() + stages * infoBytes; }
  int64_t end() const { return tableAt() + AttentionTiles::tableBytes; }
  Value queryPlace(Value stage) {
    return w.sharedAt(memory, w.mul(stage, queryBytes()));
  }
  Value place(Value stage, int64_t at) {
    return w.sharedAt(memory, w.add(w.mul(stage, tileBytes()), at));
  }
  Value barrier(Barrier kind, Value stage) {
    return w.sharedAt(memory,
                      w.add(w.mul(stage, 8), barriersAt() + kind * stages * 8));
  }
  Value info(Value stage, int64_t word) {
    return w.sharedAt(memory,
                      w.add(w.mul(stage, infoBytes), infoAt() + 4 * word));
  }
  /// What consumers are told of an item: 1, or 0 behind the last; first query
  /// row, rows, head of keys, blocks of keys, how many of these all rows see.
  static constexpr int64_t infoWords = 6, infoBytes = 64;
  /// Then its first block of keys and, for one of several segments, the place
  /// of the first one's record and their number (else 1). Last, by a consumer:
  /// how many were through before.
  enum Info { fromWord = infoWords, placeWord, segmentsWord, throughWord };
  /// A counter of uses to its stage, and the parity of the use.
  int64_t stagesOf(Barrier kind) const {
    return kind == qFull || kind == qEmpty ? queryStages : stages;
  }
  Value stage(Value use, Barrier kind = kFull) {
    return w.rem(use, stagesOf(kind));
  }
  Value parity(Value use, Barrier kind = kFull) {
    return w.rem(w.div(use, stagesOf(kind)), 2);
  }

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
  struct Item {
    AttentionTiles::Tile tile;
    Value keyHead, from, count; ///< from: its first block of keys
    Value use, keyUse; ///< of the places for queries and, first, for keys
  };
  void prefetchWeights(Value idle, Value number);
  void produceItem(const Item &item, AttentionTiles &tiles,
                   mlir::ArrayRef<Value> words, Pending &pending);
  void produceFirst(const Item &item, AttentionTiles &tiles,
                    mlir::ArrayRef<Value> words, Value blocks);
  void bring(const Item &item, bool values, Value j, Value use);
  Value cachedBlocks(const Item &item, AttentionTiles &tiles, Value blocks);

  // The consumers.
  void consume();
  /// What a thread keeps of its two rows: of a column of 64 x n sums.
  struct Rows {
    Value greatest[2], sum[2];
  };
  void tile(Value use, Value block0, mlir::ArrayRef<Value> words,
            int64_t halves);
  void passBy(Value use, Value block0, Value count);
  struct Segment {
    Value number;    ///< in the item
    Value block0;    ///< use of its first block of keys
    Value left;      ///< blocks, with those of the segments behind it
    Value unmasked;  ///< blocks of which the tile's rows see all keys
    Value limits[2]; ///< keys that the thread's rows see from its first
  };
  void segment(const Segment &segment, Value qStage, int64_t halves);
  Value scores(Value use, Value qStage);
  SmallVector<Value> soften(Value scores, Rows &rows, Value shrink[2],
                            mlir::ArrayRef<Value> limits, int64_t halves);
  SmallVector<Value> packed(mlir::ArrayRef<Value> p);
  Value weighted(Value out, mlir::ArrayRef<Value> p, Value use);
  void release(Barrier empty, Value use);
  void store(mlir::ArrayRef<Value> out, Rows &rows, Value qStage);

  // Segments.
  /// What a thread has of one of its rows: its maximum and sum, and every
  /// fourth pair of the sums of values.
  struct Part {
    Value greatest, sum;
    SmallVector<Value> out;
  };
  Part part(const Rows &rows, mlir::ArrayRef<Value> out, int64_t r);
  void put(const Part &part, Rows &rows, SmallVector<Value> &out, int64_t r);
  Part merge(const Part &earlier, const Part &later);
  void foldSums(Rows &rows, int64_t halves);

  /// A record of a row in global memory: for each of the four lanes that share
  /// the row its maximum and sum, 8 bytes each, then the sums of values, 16
  /// bytes of each lane in turn. First lie those of the tile of each block of
  /// the grid, then those of places, `each` rows a place, then a counter for
  /// each place.
  int64_t recordBytes() const { return (width + 8) * 4; }
  int64_t recordsOfTiles() const { return mostBlocks * blocksPerSm * tileRows; }
  int64_t countersAt() const {
    return (recordsOfTiles() + places * each) * recordBytes();
  }
  Value recordOfTile(int64_t r);
  Value recordOfPlace(Value place, Value row);
  void keep(const Part &part, Value record);
  Part load(Value record);
  void close(const Segment &segment, Rows rows, SmallVector<Value> out,
             Value qStage, int64_t halves);
  Part mergeWithTile(const Segment &segment, const Part &here, int64_t r);
  Value mergePlaces(Rows &rows, SmallVector<Value> &out, Value qStage,
                    int64_t halves);

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
  /// Of k and of v, each, and of q: as many as there is room for. Few rows have
  /// one item, or next to none behind the first.
  bool veryFew = few && width == 64 && blocksPerSm == 1;
  int64_t stages = veryFew ? 6 : few ? 3 : width == 64 ? 4 : 2;
  int64_t queryStages = few ? 1 : stages;
  /// Of the weights behind it, so much is brought to the second-level cache, of
  /// which this is two thirds.
  static constexpr int64_t mostPrefetched = int64_t(32) << 20;
  double scale = op.getScale().convertToDouble();
  /// As many multiprocessors as a GPU of this architecture can have.
  static constexpr int64_t mostBlocks = 144;
  int64_t places = placesOf();
  int64_t placesOf();
  Type bf16 = k.builder.getBF16Type(), f32 = w.f32, i32 = w.i32;
  Value memory, thread, lane; ///< thread of its role
  Value records;              ///< in global memory
  Value group;                ///< which of the warpgroups that multiply
};

} // namespace r1c::kernels

#endif // R1C_KERNELS_ATTENTION_SM90FORWARD_H
