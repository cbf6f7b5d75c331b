//===- Interpreter.h - run functions of lm or kern in float64 ---*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_REFERENCE_INTERPRETER_H
#define R1C_COMPILER_REFERENCE_INTERPRETER_H

#include "compiler/reference/Tensor.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <map>

namespace r1c::reference {

/// Runs a function of `lm` ops, or of `kern` ops as the fuse phase leaves them,
/// on `arguments` (one an argument; an operand of type !kern.packed is its
/// logical K × N matrix). Returns the results. An op without a meaning here is
/// reported and fails.
llvm::FailureOr<std::vector<Datum>>
evaluate(mlir::func::FuncOp func, const std::vector<Datum> &arguments);

/// The values of a function while it runs.
class Frame {
public:
  const Tensor &tensor(mlir::Value value) const;
  const Context &context(mlir::Value value) const;
  /// Null for an absent optional operand.
  const Tensor *optional(mlir::Value value) const;
  double number(mlir::Value value) const { return tensor(value)(0); }
  void set(mlir::Value value, Datum datum) {
    data[value.getAsOpaquePointer()] = std::move(datum);
  }
  const Datum &get(mlir::Value value) const;

private:
  /// A node-based map: references stay good while results are bound.
  std::map<const void *, Datum> data;
};

/// Runs one op; false if its dialect has no such meaning.
bool evaluateLM(mlir::Operation *op, Frame &frame);
bool evaluateKern(mlir::Operation *op, Frame &frame);

/// Runs the scalar ops of a kern region once for every column of a row, side by
/// side, so that kern.reduce sees them all. `columns[k]` are the values of the
/// region's k-th argument; gives those of the yield's operands. `row` is what
/// kern.index row gives, `first` what kern.index column gives at the first.
/// Returns false at an op that it does not know.
bool evaluateRegion(mlir::Block &body,
                    const std::vector<std::vector<double>> &columns,
                    int64_t row, int64_t first, int64_t count,
                    std::vector<std::vector<double>> &yielded);

} // namespace r1c::reference

#endif // R1C_COMPILER_REFERENCE_INTERPRETER_H
