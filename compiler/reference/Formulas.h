//===- Formulas.h - what the formulas of rl mean ----------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The interpreter of rl: one plain function an op, in float64, on sets of
// outputs given as vectors. Slow and readable on purpose: compiled formulas and
// their derivatives are tested against it.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_REFERENCE_FORMULAS_H
#define R1C_COMPILER_REFERENCE_FORMULAS_H

#include "dialects/rl/RL.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace r1c::reference {

/// How the tokens, sequences and groups of a set of outputs lie: sequence after
/// sequence, the sequences of a group together.
struct Axes {
  /// Chosen tokens of each sequence, and the group that it is in: 0, 0, 1, …
  std::vector<int64_t> tokens, groups;

  int64_t size(rl::Axis axis) const;
  /// For each element of `fine` the element of `coarse` that it belongs to.
  std::vector<int64_t> owners(rl::Axis fine, rl::Axis coarse) const;
};

/// One value an element of an axis: numbers (flags are 0 or 1) or texts.
struct Column {
  std::vector<double> numbers;
  std::vector<std::string> texts;
};

/// Evaluates values of a round and of one of its updates. The outputs that are
/// given are the whole round and at once the minibatch of the update.
class Formulas {
public:
  /// What an op gives that is no formula (rl.field, rl.logprob, rl.call, …);
  /// none if it is not known.
  using Source = std::function<std::optional<Column>(mlir::Operation *)>;

  Formulas(std::map<std::string, Axes> sets, Source source)
      : sets(std::move(sets)), source(std::move(source)) {}

  /// Replaces the definition of `value`.
  void bind(mlir::Value value, Column column);

  /// Whether `value` has been bound.
  bool isBound(mlir::Value value) const { return bound.contains(value); }

  /// The elements of `value`, computed with all that it reads; null if
  /// something is missing or has no meaning here. The pointer stays good.
  const Column *evaluate(mlir::Value value);

  /// Ops that were asked for and that the source does not know, in the order
  /// in which they were met.
  llvm::ArrayRef<mlir::Operation *> missing() const { return notKnown; }
  void forgetMissing() { notKnown.clear(); }

  int64_t sizeOf(mlir::Type type) const;
  const Axes &axesOf(llvm::StringRef set) const;

private:
  std::optional<Column> evaluateOp(mlir::Operation *op);
  std::optional<Column> evaluate(rl::MapOp op);
  std::optional<Column> evaluate(rl::RepeatOp op);
  std::optional<Column> evaluate(rl::ReduceOp op);
  std::optional<Column> evaluate(rl::ReduceGradOp op);
  std::optional<Column> evaluate(rl::ScanOp op);
  std::optional<Column> evaluate(rl::CountOp op);
  std::optional<Column> evaluate(rl::TextOp op);

  /// Positions of the elements of `value` that each element of the coarser
  /// axis `to` combines: those that `where` keeps, in order.
  std::vector<std::vector<int64_t>> members(mlir::Type from, rl::Axis to,
                                            const Column *where) const;

  std::map<std::string, Axes> sets;
  Source source;
  /// Node-based: pointers to columns are handed out.
  std::map<const void *, Column> columns;
  llvm::DenseSet<mlir::Value> failed, bound;
  std::vector<mlir::Operation *> notKnown;
};

/// The reduction `kind` of `values`, in order: what rl.reduce means. A mean
/// over nothing is 0, var and std are unbiased and 0 of fewer than two values,
/// the minimum of nothing is +inf, the maximum -inf, first and last of nothing
/// 0. The quantile `q` lies by linear interpolation between the order
/// statistics around (n-1) q; of nothing, or of values with a NaN, it is NaN.
double reduceValues(rl::ReduceKind kind, const std::vector<double> &values,
                    double q = 0);

/// The result of a region of arith and math for these values of its arguments;
/// an error is reported at an op without a meaning here.
std::optional<double> evaluateScalars(mlir::Block &block,
                                      const std::vector<double> &arguments);

} // namespace r1c::reference

#endif // R1C_COMPILER_REFERENCE_FORMULAS_H
