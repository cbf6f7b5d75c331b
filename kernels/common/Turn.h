//===- Turn.h - heads of a row turned and cut -------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_KERNELS_COMMON_TURN_H
#define R1C_KERNELS_COMMON_TURN_H

#include "kernels/common/Kernel.h"

namespace r1c::kernels {

/// Of one angle, or of lanes of them.
struct Angle {
  Value cos, sin;
};

/// Position of a row (i64), as f32.
Value emitPosition(Kernel &k, Value positions, Value row);
/// The angle of a position at a frequency; both have the same lanes. `inverse`:
/// the one that turns back.
Angle emitAngle(Emit &e, Value position, Value frequency, bool inverse = false);
/// Where a row of a tensor begins.
Value startOf(Kernel &k, Value tensor, Value row);
/// Frequencies c ... c + lanes - 1, and zeros behind the last.
Value someFrequencies(Emit &e, mlir::ArrayRef<float> all, int64_t c,
                      int64_t lanes);

/// Emits what a `kern::Turn` means, for some lanes of columns at a time.
struct TurnEmitter {
  TurnEmitter(Kernel &k, const kern::Turn &turn, int64_t lanes);

  Kernel &k;
  Emit &e;
  kern::Turn turn;
  int64_t lanes;
  /// Element types of what is read, by input.
  SmallVector<Type> types;

  /// (a, b) turned.
  std::pair<Value, Value> turned(Value a, Value b, const Angle &angle);
  /// The row of a result that takes this row.
  Value targetRow(unsigned result, Value row);
  /// Where it begins.
  Value target(unsigned result, Value row);
  /// A part's columns `from` and from half a head on, as f32.
  std::pair<Value, Value> load(const kern::Turn::Part &part, Value source,
                               Value from, Value mask = {});
  /// Turns what was loaded, or leaves it, and stores it likewise.
  void store(const kern::Turn::Part &part, std::pair<Value, Value> loaded,
             Value target, Value to, const Angle &angle, Value mask = {});
  /// Turns a part's columns `from` and from half a head on, or leaves them as
  /// they are, and stores them at `to` and from half a head on.
  void pair(const kern::Turn::Part &part, Value source, Value from,
            Value target, Value to, const Angle &angle, Value mask = {});
  /// Turns a row that begins at `sources`, by input; of its heads only first
  /// ... last - 1 (i64), if they are given. `angle` gives those of some columns
  /// of a head; lanes that `mask` leaves out may hold anything.
  void row(Value row, mlir::ArrayRef<Value> sources,
           llvm::function_ref<Angle(int64_t c, Value mask)> angle,
           Value first = {}, Value last = {});
  /// The same, by a row of `kern.angles`.
  void row(Value row, Value source, Value angles, Value first = {},
           Value last = {});
};

} // namespace r1c::kernels

#endif // R1C_KERNELS_COMMON_TURN_H
