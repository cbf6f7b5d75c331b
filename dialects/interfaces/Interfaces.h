//===- Interfaces.h - interfaces that r1c's ops implement -------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_INTERFACES_INTERFACES_H
#define R1C_DIALECTS_INTERFACES_INTERFACES_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/OpDefinition.h"

namespace r1c {

/// The sizes that only a run knows, for which a cost is asked.
struct CostShape {
  /// What a dynamic dimension stands for.
  int64_t rows = 1;
  /// Keys that a query row attends to, on average.
  double keys = 1;
};

/// Sum over operands and results that are tensors, a dynamic dimension being
/// `shape.rows`.
double bytesOfOperandsAndResults(mlir::Operation *op, const CostShape &shape);

/// Number of elements of a tensor type, a dynamic dimension being
/// `shape.rows`; 0 for a type that is no ranked tensor.
double elementCount(mlir::Type type, const CostShape &shape);

} // namespace r1c

#include "dialects/interfaces/Cost.h.inc"
#include "dialects/interfaces/Differentiable.h.inc"

#endif // R1C_DIALECTS_INTERFACES_INTERFACES_H
