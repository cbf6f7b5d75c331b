//===- Reductions.h - kern.reduce over the columns of a row -----*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A region with reductions runs in stages: stage s sweeps over the columns once
// for all reductions that wait for s others, and values are computed anew in
// each. A row of kern.row, or a chunk of it or of a matrix product, is such a
// sweep's range.
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_COMMON_REDUCTIONS_H
#define R1C_KERNELS_COMMON_REDUCTIONS_H

#include "kernels/common/Kernel.h"

namespace r1c::kernels {

/// Lanes of a reduction, part of its meaning: see kern.row.
inline constexpr int64_t reductionLanes = 64;

/// The columns that are reduced.
struct ColumnRange {
  int64_t count = -1; ///< -1: `length` says it
  Value length;       ///< i64
  Value first;        ///< i64, what kern.index gives at the first; null: 0
};

/// Puts a region's binding at a group of columns, counted from the start of
/// the range; mask null: all lanes.
using Enter = llvm::function_ref<void(Value column, Value mask)>;

/// The tuned lowering, `lanes` columns at a time.
class Reductions {
public:
  Reductions(Emit &e, RegionEmitter &region, mlir::Block &body, int64_t lanes);
  /// Emits all sweeps and gives the results to the region.
  void run(const ColumnRange &range, Enter enter);

private:
  using Values = SmallVector<Value>;
  void sweep(mlir::MutableArrayRef<kern::ReduceOp> reductions,
             const ColumnRange &range, Enter enter);
  void step(mlir::MutableArrayRef<kern::ReduceOp> reductions,
            mlir::MutableArrayRef<Values> state, int64_t part, Value mask);
  void finish(kern::ReduceOp reduction, mlir::ArrayRef<Values> parts);

  Emit &e;
  RegionEmitter &region;
  mlir::Block &body;
  int64_t lanes, parts;
};

/// One group of columns after the other over a range: `lanes` of them, masked
/// at the end.
void forGroups(Emit &e, const ColumnRange &range, int64_t lanes,
               llvm::function_ref<void(Value column, Value mask)> group);

/// The naive lowering: column by column with scalars, and the 64 lanes in
/// memory. Make it in the entry block.
class ReferenceReductions {
public:
  ReferenceReductions(Emit &e, RegionEmitter &region, mlir::Block &body);
  void run(const ColumnRange &range, Enter enter);

private:
  /// One array of lanes a reduction, and for argmax a second one of columns.
  struct Lanes {
    kern::ReduceOp op;
    SmallVector<Value> memory;
    SmallVector<Type> types;
  };
  SmallVector<Value> load(Lanes &l, Value lane);
  void store(Lanes &l, Value lane, ValueRange values);
  void reduce(Lanes &l, const ColumnRange &range, Enter enter);

  Emit &e;
  RegionEmitter &region;
  SmallVector<Lanes> reductions;
  int64_t deepest = 0;
};

} // namespace r1c::kernels

#endif // R1C_KERNELS_COMMON_REDUCTIONS_H
