//===- KernWriter.h - kern ops with their regions in one call ---*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_FUSE_KERNWRITER_H
#define R1C_COMPILER_PHASES_FUSE_KERNWRITER_H

#include "dialects/kern/Kern.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"

namespace r1c::fuse {

/// Scalar arithmetic inside a region: one method an operation, constants in the
/// type of their companion.
class Scalars {
public:
  Scalars(mlir::OpBuilder &b, mlir::Location loc) : b(b), loc(loc) {}

  using V = mlir::Value;
  V number(double value);   // f32
  V integer(int64_t value); // i32
  V add(V x, V y);
  V sub(V x, V y);
  V mul(V x, V y);
  V div(V x, V y);
  V neg(V x);
  /// isBounded: x is from -110 to 32, or no number.
  V exp(V x, bool isBounded = false);
  /// isZeroOrNormal: x is 0, a positive normal number, or infinity.
  V log(V x, bool isZeroOrNormal = false);
  V sqrt(V x);
  /// 1 / (1 + exp(−x)).
  V sigmoid(V x);
  V equal(V x, V y);   // ordered, floats or integers
  V less(V x, V y);    // floats
  V atLeast(V x, V y); // floats
  V isNan(V x);
  V select(V condition, V x, V y);
  V sum(V x) { return reduce(kern::ReduceKind::add, x); }
  V reduce(kern::ReduceKind kind, V x);
  V column();
  /// Philox's four words.
  llvm::SmallVector<V, 4> random(V k0, V k1, llvm::ArrayRef<V> counter);
  /// A random word of the column (kern.noise).
  V noise(V k0, V k1, V c1, V c2);
  /// An i32, read without sign, as f32.
  V toFloat(V x);

private:
  mlir::OpBuilder &b;
  mlir::Location loc;
};

/// An operand of a kern op and the element that the region sees of it.
struct Operand {
  mlir::Value tensor;
  kern::AccessKind kind = kern::AccessKind::element;
  int64_t index = -1, lane = -1;
};
inline Operand element(mlir::Value v) { return {v}; }
inline Operand row(mlir::Value v, int64_t lane = -1) {
  return {v, kern::AccessKind::row, -1, lane};
}
inline Operand column(mlir::Value v) { return {v, kern::AccessKind::column}; }
inline Operand one(mlir::Value v, int64_t lane = -1) {
  return {v, kern::AccessKind::one, -1, lane};
}
inline Operand gather(mlir::Value v) {
  return {v, kern::AccessKind::gather, 0};
}

/// Writes the region: gets the block arguments, gives what is yielded.
using Body = llvm::function_ref<llvm::SmallVector<mlir::Value>(
    Scalars &, llvm::ArrayRef<mlir::Value>)>;

/// Rows of `types` columns (rank 2; or chunks of columns) or one value a row
/// (rank 1).
kern::RowOp writeRow(mlir::OpBuilder &b, mlir::Location loc,
                     mlir::TypeRange types, llvm::ArrayRef<Operand> operands,
                     Body body,
                     kern::AccessKind rankTwo = kern::AccessKind::element);

/// An elementwise map; `indices` are what gather operands refer to. What is
/// yielded goes to results of its own, or (`rankTwo`) beside each other in
/// those that are wider than the first operand.
kern::MapOp writeMap(mlir::OpBuilder &b, mlir::Location loc,
                     mlir::TypeRange types, llvm::ArrayRef<Operand> operands,
                     mlir::ValueRange indices, Body body,
                     kern::AccessKind rankTwo = kern::AccessKind::element);

/// Rows of `x` at `indices` of a copy of `init`.
mlir::Value writeScatter(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x,
                         mlir::Value indices, mlir::Value init);

mlir::Value writeColumnSum(mlir::OpBuilder &b, mlir::Location loc,
                           mlir::Value init, llvm::ArrayRef<Operand> operands,
                           Body body);

/// a · packed, with the epilogue `body` (none: the product itself is stored).
/// `types`: of columns, or with `rankTwo` chunk of chunks of columns; those of
/// all columns then are columns.
kern::MatmulOp
writeMatmul(mlir::OpBuilder &b, mlir::Location loc, mlir::TypeRange types,
            mlir::Value a, mlir::Value packed, bool paired,
            llvm::ArrayRef<Operand> operands, Body body,
            kern::AccessKind rankTwo = kern::AccessKind::element);

/// In the place of a rope and of the product that it alone reads: one product
/// whose sums are turned by `angles`.
kern::MatmulOp writeTurned(mlir::OpBuilder &b, kern::RopeOp rope,
                           mlir::Value angles);

/// init + aᵀ · b, both rows × columns.
mlir::Value writeWeightGradient(mlir::OpBuilder &b, mlir::Location loc,
                                mlir::Value a, mlir::Value rhs,
                                mlir::Value init);

} // namespace r1c::fuse

#endif // R1C_COMPILER_PHASES_FUSE_KERNWRITER_H
