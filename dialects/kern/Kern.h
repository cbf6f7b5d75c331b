//===- Kern.h - the kern dialect ------------------------------------*- C++
//-*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_KERN_KERN_H
#define R1C_DIALECTS_KERN_KERN_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/kern/KernDialect.h.inc"
#include "dialects/kern/KernEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/kern/KernAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/kern/KernTypes.h.inc"

namespace r1c::kern {

/// How rows of heads are turned and cut: the meaning of `kern.rope`, which a
/// `kern.matmul` may have behind its sums.
struct Turn {
  llvm::SmallVector<mlir::RankedTensorType> inputs; ///< side by side
  mlir::ValueRange results;
  mlir::Value to;         ///< rows of the scattered results, or null
  mlir::ValueRange inits; ///< of the last results
  int64_t heads;          ///< that are turned: the first
  int64_t half;           ///< columns of a head that have a partner beyond them
  int64_t rows;           ///< kDynamic or static

  /// Columns of a head.
  int64_t width() const { return 2 * half; }
  /// Whether a result's rows are scattered.
  bool isScattered(unsigned result) const {
    return result + inits.size() >= results.size();
  }
  /// Heads that lie beside each other in an input and in a result, all turned
  /// or none.
  struct Part {
    unsigned input, result;        ///< their numbers
    int64_t head;                  ///< first of them, in the row
    int64_t inputHead, resultHead; ///< and in the two tensors
    int64_t count;
    bool turned;
  };
  /// The whole row, in order.
  llvm::SmallVector<Part> getParts() const;
  /// Complains about `op`, which it belongs to.
  llvm::LogicalResult verify(mlir::Operation *op) const;
};

} // namespace r1c::kern

#define GET_OP_CLASSES
#include "dialects/kern/KernOps.h.inc"

namespace r1c::kern {

/// Name of the unit attribute of a function that holds one kernel: exactly one
/// op of this dialect and the return of its results.
inline constexpr llvm::StringLiteral kernelAttrName = "kern.kernel";
/// On a kernel that was built for CUDA: how it is launched
/// (dialects/rt/README.md).
inline constexpr llvm::StringLiteral launchAttrName = "kern.launch";
/// Beside it, where the kernel keeps something in global memory: how many
/// bytes.
inline constexpr llvm::StringLiteral ownMemoryAttrName = "kern.own_memory";
/// On a function made of a kernel for CUDA: 1 / (1 + exp(x)) in f32 is 0 where
/// the divisor is above 2^126, which spares a branch a column.
inline constexpr llvm::StringLiteral flushedLogisticAttrName =
    "kern.flushed_logistic";
/// On a math.log: its operand is 0, a positive normal number, or infinity, so
/// that nothing else need be seen to.
inline constexpr llvm::StringLiteral zeroOrNormalAttrName =
    "kern.zero_or_normal";
/// On a math.exp of f32: its operand is from -110 to 32, or no number.
inline constexpr llvm::StringLiteral boundedAttrName = "kern.bounded";

/// The shape that the region of a row, map, column_sum or matmul runs over.
struct IterationSpace {
  int64_t rows = mlir::ShapedType::kDynamic; ///< kDynamic or static
  int64_t columns = -1;                      ///< -1: ragged, or rank one
  bool ragged = false;
};

/// Columns of a chunk, see `kern.row`. Part of the meaning: another number
/// gives other bits. Eight panels of a packed matrix: for the depths of small
/// models they stay in half a second-level cache.
inline constexpr int64_t chunkColumns = 256;
inline int64_t chunksOf(int64_t columns) {
  return (columns + chunkColumns - 1) / chunkColumns;
}

/// The element type that a region sees for an operand or result tensor.
mlir::Type elementTypeOf(mlir::Value tensor);

} // namespace r1c::kern

#endif // R1C_DIALECTS_KERN_KERN_H
