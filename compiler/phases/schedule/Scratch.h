//===- Scratch.h - kern ops that the schedule itself needs ------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Gathers of seeds into a chunk, narrowing of a number, the optimizer: kern ops
// that no earlier phase has written. They live in a block of their own until
// they are dispatched.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_SCHEDULE_SCRATCH_H
#define R1C_COMPILER_PHASES_SCHEDULE_SCRATCH_H

#include "compiler/phases/schedule/Kernels.h"

namespace r1c::schedule {

class Scratch {
public:
  /// Dispatches go to the insertion point of `target`.
  Scratch(mlir::OpBuilder &target, Kernels &kernels)
      : target(target), kernels(kernels), inner(target.getContext()) {
    inner.setInsertionPointToEnd(&block);
  }

  /// Dispatches go to the insertion point of `to` from now on.
  void retarget(const mlir::OpBuilder &to) { target = to; }

  /// Where to write kern ops.
  mlir::OpBuilder &builder() { return inner; }

  /// A value that stands for a buffer.
  mlir::Value argument(mlir::Type type, Slot slot) {
    mlir::Value value =
        block.addArgument(type, mlir::UnknownLoc::get(inner.getContext()));
    binding[value] = slot;
    return value;
  }

  /// The elements of a flat tensor as another float type.
  mlir::Value convert(mlir::Location loc, mlir::Value tensor,
                      mlir::Type element);

  /// Dispatches the op that defines `value` and gives its buffer. `results`:
  /// where each result goes, for those that must not get a buffer of their own.
  Slot dispatch(mlir::Value value, llvm::StringRef arena,
                llvm::ArrayRef<Slot> results = {});

private:
  mlir::OpBuilder target;
  Kernels &kernels;
  mlir::Block block;
  mlir::OpBuilder inner;
  Kernels::Binding binding;
};

} // namespace r1c::schedule

#endif // R1C_COMPILER_PHASES_SCHEDULE_SCRATCH_H
