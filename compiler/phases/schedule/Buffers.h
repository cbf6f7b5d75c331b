//===- Buffers.h - buffers and arenas of a schedule -------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_SCHEDULE_BUFFERS_H
#define R1C_COMPILER_PHASES_SCHEDULE_BUFFERS_H

#include "dialects/rt/RT.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

namespace r1c::schedule {

/// A number of rows that is known at run time only: where its i64 stands, and
/// the largest value it can take.
struct Extent {
  rt::RefAttr size;
  int64_t capacity = 0;
  explicit operator bool() const { return bool(size); }
};

/// A tensor of the schedule: its address, and its leading dynamic dimension.
/// For the offsets of ragged rows `rows` counts the rows, not the offsets.
struct Slot {
  rt::RefAttr ref;
  Extent rows;
};

/// Lays out buffers in arenas and declares them: one after the other, but those
/// of the arena "activations", which share memory where their lifetimes allow.
class Buffers {
public:
  Buffers(mlir::ModuleOp module, mlir::Block *declarations)
      : module(module), declarations(declarations) {}

  /// No buffer gets this name: another symbol has it.
  void reserve(llvm::StringRef name) { names[name] = 1; }

  /// A new buffer of `bytes` bytes (any positive size; starts and ends on
  /// multiples of 64). Names are made unique by a number.
  rt::RefAttr allocate(mlir::Location loc, llvm::StringRef name,
                       llvm::StringRef arena, int64_t bytes,
                       llvm::StringRef dtype,
                       mlir::DenseElementsAttr data = {});

  /// A new i64 for a size with the largest value `capacity`.
  Extent extent(mlir::Location loc, llvm::StringRef name, int64_t capacity);

  /// A float64 constant in memory.
  rt::RefAttr number(mlir::Location loc, double value);

  /// A buffer for a value of this tensor type: `rows` stands for the leading
  /// dimension if that is dynamic.
  rt::RefAttr allocateFor(mlir::Location loc, llvm::StringRef name,
                          llvm::StringRef arena, mlir::Type type, Extent rows);

  /// Declares the arenas; call once, at the end.
  void finish();

private:
  mlir::ModuleOp module;
  mlir::Block *declarations;
  llvm::StringMap<int64_t> sizes; ///< of arenas, in bytes
  llvm::StringMap<unsigned> names;
  llvm::DenseMap<uint64_t, rt::RefAttr> numbers;
};

/// Bytes of one element; i1 takes a byte.
int64_t bytesOf(mlir::Type elementType);

/// "f32", "bf16", "i32", ...
std::string dtypeOf(mlir::Type elementType);

} // namespace r1c::schedule

#endif // R1C_COMPILER_PHASES_SCHEDULE_BUFFERS_H
