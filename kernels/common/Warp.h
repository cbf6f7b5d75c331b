//===- Warp.h - what 32 threads of a GPU do together ------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_COMMON_WARP_H
#define R1C_KERNELS_COMMON_WARP_H

#include "kernels/common/Reductions.h"

namespace r1c::kernels {

inline constexpr int64_t warpLanes = 32;

/// The lane of this thread, its warp among all of the grid, and their number
/// (i64). Emitted where it is made.
struct Warp {
  explicit Warp(Kernel &k);
  Value lane, index, count;
};

/// `v` of lane + offset; a scalar of 1, 32 or 64 bits. All 32 lanes take part.
Value shuffleDown(Emit &e, Value v, int64_t offset);
/// `v` of the lane number `lane` (i64), the same for all or not.
Value shuffleFrom(Emit &e, Value v, Value lane);
/// A bit a lane: whether `condition` (i1) holds there, as an i32.
Value ballot(Emit &e, Value condition);
/// The sum of 16 lanes and the largest of them, folded by halves: lane l takes
/// in l + 8, 4, 2, 1. Valid in lane 0.
Value foldSixteen(Emit &e, Value v, bool max);

/// kern.reduce with a row (or chunk) a warp: each lane holds two of the 64
/// lanes of its meaning. Has the bits of Reductions.
class WarpReductions {
public:
  WarpReductions(Emit &e, RegionEmitter &region, mlir::Block &body, Value lane)
      : e(e), region(region), body(body), lane(lane) {}
  /// Emits all sweeps and gives the results to the region, in every lane.
  /// `all`: the lane's columns, 32 apart, to walk them without a loop; the last
  /// may lie behind the range's end.
  void run(const ColumnRange &range, Enter enter,
           mlir::ArrayRef<Value> all = {});

private:
  using Values = SmallVector<Value>;
  void sweep(mlir::ArrayRef<kern::ReduceOp> reductions,
             const ColumnRange &range, Enter enter, mlir::ArrayRef<Value> all);

  Emit &e;
  RegionEmitter &region;
  mlir::Block &body;
  Value lane;
};

/// This lane's columns of a range; of a static one several at once, for which
/// `body` should load everything before it stores anything.
void forLanes(Emit &e, const ColumnRange &range, Value lane,
              llvm::function_ref<void(ValueRange columns)> body);

} // namespace r1c::kernels

#endif // R1C_KERNELS_COMMON_WARP_H
