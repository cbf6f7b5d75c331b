//===- Formula.h - formulas of a step file, before they become rl.map -*- C++
//-*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_FRONTENDS_STEP_FORMULA_H
#define R1C_FRONTENDS_STEP_FORMULA_H

#include "dialects/rl/RL.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Location.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace r1c::step {

struct Node;
using NodePtr = std::shared_ptr<const Node>;

/// At which temperature a log-probability was taken: those that differ may not
/// be combined.
struct Provenance {
  std::string temperature;
  /// For messages: "logp(actor, o)".
  std::string who;
};

/// A scalar formula: one element of a number or flag value. Elementwise
/// operations stay a tree until the value is named or something else than
/// arithmetic reads it: then the tree becomes one rl.map.
struct Node {
  enum Op {
    constant, // value
    leaf,     // ssa
    param,    // an open param: name
    step,
    steps,
    neg,
    abs,
    exp,
    log,
    sqrt,
    sin,
    cos,
    tanh,
    floor,
    ceil,
    round,
    add,
    sub,
    mul,
    div,
    rem,
    min,
    max,
    lt,
    le,
    gt,
    ge,
    eq,
    ne,
    logicalAnd,
    logicalOr,
    logicalNot,
    select,   // kids: condition, then, else
    toNumber, // 1 or 0 of a flag
  };
  Op op = constant;
  bool flag = false; // a flag, else a number
  rl::Axis axis = rl::Axis::one;
  std::string set; // empty for axis one
  double value = 0;
  mlir::Value ssa;
  /// Of a leaf: the tree it came from, for capacities, which are evaluated.
  NodePtr symbolic;
  std::string name;
  std::vector<NodePtr> kids;
  unsigned height = 0; // of the graph below, through `symbolic` too
  std::optional<mlir::Location> loc;

  /// Differs from update to update of one round.
  bool changes = false;
  /// A gradient to the updated policy passes through it.
  bool gradient = false;
  std::optional<Provenance> provenance;

  bool isConstant() const { return op == constant; }
};

/// What params, step and steps are when a formula is evaluated.
struct Assignment {
  double step = 0;
  std::optional<double> steps;
  std::function<double(const std::string &)> param;
};

NodePtr makeConstant(double value, bool flag, mlir::Location loc);
NodePtr makeLeaf(mlir::Value ssa, mlir::Location loc);

/// An operation on `kids`, folded if all are constant. Axis, set, `changes`,
/// `gradient` and provenance follow from the kids, which must agree.
NodePtr makeNode(Node::Op op, std::vector<NodePtr> kids, mlir::Location loc);

/// The same value as a number.
NodePtr asNumber(NodePtr node);

/// How high a formula may grow: walks over it recurse.
constexpr unsigned maxFormulaHeight = 2000;

/// The value of a formula of constants, params, step and steps; none if it
/// reads anything else.
std::optional<double> evaluate(const Node &node, const Assignment &assignment);

/// Whether the formula reads `op` (param, step, steps) anywhere, also in what
/// its leaves came from.
bool reads(const Node &node, Node::Op op);

/// Calls `found` with the name of each param that the formula reads.
void forEachParam(const Node &node,
                  const std::function<void(const std::string &)> &found);

/// The value of the formula at the builder's position: its leaf, or new ops.
mlir::Value emit(mlir::OpBuilder &builder, const NodePtr &node);

/// The !rl.num or !rl.flag type of the formula.
mlir::Type typeOf(mlir::MLIRContext *context, const Node &node);

} // namespace r1c::step

#endif // R1C_FRONTENDS_STEP_FORMULA_H
