//===- Sets.h - sets of outputs as the schedule sees them -------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_SCHEDULE_SETS_H
#define R1C_COMPILER_PHASES_SCHEDULE_SETS_H

#include "compiler/phases/schedule/Buffers.h"
#include "llvm/ADT/MapVector.h"

namespace r1c::schedule {

/// The sizes and index buffers of a set, or of the minibatch of it that an
/// update sees. Index buffers are made when first asked for; the `rt.axes` that
/// fills them learns of them then.
class Axes {
public:
  /// Places the `rt.axes` at `builder`. Capacities are in tokens, sequences and
  /// groups.
  Axes(Buffers &buffers, mlir::OpBuilder &builder, mlir::Location loc,
       int64_t set, bool view, int64_t tokens, int64_t sequences,
       int64_t groups);

  /// The index buffer of this name (rl.index lists them), or a null reference.
  Slot index(llvm::StringRef name);

  const Extent &tokens() const { return tokenExtent; }
  const Extent &sequences() const { return sequenceExtent; }
  const Extent &groups() const { return groupExtent; }
  bool isView() const { return view; }
  int64_t set() const { return number; }

private:
  Buffers &buffers;
  rt::AxesOp op;
  int64_t number;
  bool view;
  Extent tokenExtent, sequenceExtent, groupExtent;
  llvm::StringMap<Slot> indices;
};

/// A set of outputs: where it comes from and how large it can get.
struct OutputSet {
  int64_t number = 0;
  int64_t maxTokens = 0, maxSequences = 0, maxGroups = 0;
  /// Who sampled it (null if read), and its version then.
  mlir::FlatSymbolRefAttr sampler;
  /// Float32 number: the temperature its log-probabilities are at.
  rt::RefAttr temperature;
  /// Tokens were filtered out, and someone asks for log-probabilities.
  bool isFiltered = false;
  std::unique_ptr<Axes> axes;
};

} // namespace r1c::schedule

#endif // R1C_COMPILER_PHASES_SCHEDULE_SETS_H
