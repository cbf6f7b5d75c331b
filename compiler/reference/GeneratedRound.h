//===- GeneratedRound.h - random values for all that a loss reads *- C++
//-*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_REFERENCE_GENERATEDROUND_H
#define R1C_COMPILER_REFERENCE_GENERATEDROUND_H

#include "compiler/reference/Loss.h"

#include <random>
#include <set>

namespace r1c::reference {

/// What the updated policy says inside the update: the point at which
/// derivatives are taken. A number a token, a token, a sequence.
struct Point {
  std::vector<double> logp, entropy, value;
};

/// Random outputs of every set that a stage makes, and random values for
/// everything about them that is no formula. Log-probabilities and entropies
/// are float32 numbers, so that compiled code starts from the same.
class GeneratedRound {
public:
  struct Shape {
    int groups, mostSequences, mostTokens; // of a group, of a sequence
    /// A sequence of one token; ratios of exactly 1, of a sequence and of
    /// single tokens; ratios far out; groups whose rewards are all equal.
    /// Without, nothing is equal by construction.
    bool hasEdgeCases = false;
    /// How far the stage is, from 0 to 1.
    double progress = 0.3;
  };
  GeneratedRound(Loss &loss, Shape shape, std::mt19937_64 &random);

  /// The round with its groups, and the sequences in each, in another order;
  /// and for each element of the new round its place in this one.
  struct Order {
    std::map<std::string, std::array<std::vector<int64_t>, 4>> from; // by axis
    const std::vector<int64_t> &of(mlir::Type type) const;
  };
  GeneratedRound reordered(std::mt19937_64 &random, Order &order) const;

  Formulas formulas() const { return formulasAt(point); }
  Formulas formulasAt(const Point &at) const;

  Point point;
  const Axes &axes() const { return sets.at(loss->set()); }
  /// Text functions, externs and values whose results are random numbers here.
  const std::set<std::string> &replaced() const { return replacedNames; }

private:
  Column draw(mlir::Type type);
  Column drawLogp(llvm::StringRef set);
  void drawPoint();
  void give(mlir::Operation *op);
  std::optional<Column> source(const Point &at, mlir::Operation *op) const;
  double uniform(double low, double high);

  Loss *loss;
  Shape shape;
  std::mt19937_64 *random; // while it is made
  std::map<std::string, Axes> sets;
  struct Given {
    mlir::Type type;
    Column column;
  };
  std::map<std::string, Given> given; // by keyOf
  std::set<std::string> replacedNames;
};

/// Whether the loss depends by its meaning on the order of sequences: it reads
/// the first or last of a group or of the batch.
bool dependsOnOrder(Loss &loss);

} // namespace r1c::reference

#endif // R1C_COMPILER_REFERENCE_GENERATEDROUND_H
