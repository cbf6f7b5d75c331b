//===- Formula.cpp - formulas of a step file, before they become rl.map ---===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/Formula.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace mlir;
using namespace r1c;
using namespace r1c::step;

//===----------------------------------------------------------------------===//
// Making
//===----------------------------------------------------------------------===//

NodePtr r1c::step::makeConstant(double value, bool flag, Location loc) {
  auto node = std::make_shared<Node>();
  node->value = value;
  node->flag = flag;
  node->loc = loc;
  return node;
}

NodePtr r1c::step::makeLeaf(mlir::Value ssa, Location loc) {
  auto node = std::make_shared<Node>();
  node->op = Node::leaf;
  node->ssa = ssa;
  node->flag = isa<rl::FlagType>(ssa.getType());
  node->axis = *rl::getAxis(ssa.getType());
  node->set = rl::getSet(ssa.getType()).str();
  node->loc = loc;
  return node;
}

static bool givesFlag(Node::Op op) {
  return op >= Node::lt && op <= Node::logicalNot;
}

/// One operation on numbers; flags are 1 and 0. Matches what `emit` builds.
static double apply(Node::Op op, ArrayRef<double> x) {
  switch (op) {
  case Node::neg:
    return -x[0];
  case Node::abs:
    return std::fabs(x[0]);
  case Node::exp:
    return std::exp(x[0]);
  case Node::log:
    return std::log(x[0]);
  case Node::sqrt:
    return std::sqrt(x[0]);
  case Node::sin:
    return std::sin(x[0]);
  case Node::cos:
    return std::cos(x[0]);
  case Node::tanh:
    return std::tanh(x[0]);
  case Node::floor:
    return std::floor(x[0]);
  case Node::ceil:
    return std::ceil(x[0]);
  case Node::round:
    return std::nearbyint(x[0]);
  case Node::add:
    return x[0] + x[1];
  case Node::sub:
    return x[0] - x[1];
  case Node::mul:
    return x[0] * x[1];
  case Node::div:
    return x[0] / x[1];
  case Node::rem:
    return std::fmod(x[0], x[1]);
  // A NaN on either side stays, as in arith.minimumf.
  case Node::min:
    return std::isnan(x[1]) || x[1] < x[0] ? x[1] : x[0];
  case Node::max:
    return std::isnan(x[1]) || x[1] > x[0] ? x[1] : x[0];
  case Node::lt:
    return x[0] < x[1];
  case Node::le:
    return x[0] <= x[1];
  case Node::gt:
    return x[0] > x[1];
  case Node::ge:
    return x[0] >= x[1];
  case Node::eq:
    return x[0] == x[1];
  case Node::ne:
    return x[0] != x[1];
  case Node::logicalAnd:
    return x[0] != 0 && x[1] != 0;
  case Node::logicalOr:
    return x[0] != 0 || x[1] != 0;
  case Node::logicalNot:
    return x[0] == 0;
  case Node::select:
    return x[0] != 0 ? x[1] : x[2];
  case Node::toNumber:
    return x[0];
  default:
    llvm_unreachable("not an operation");
  }
}

/// x + 0, x - 0, 1 * x and the like: what a switched-off term leaves behind.
static NodePtr simplify(Node::Op op, ArrayRef<NodePtr> kids) {
  auto is = [&](unsigned i, double value) {
    return kids[i]->isConstant() && kids[i]->value == value;
  };
  switch (op) {
  case Node::add:
    return is(1, 0) ? kids[0] : is(0, 0) ? kids[1] : nullptr;
  case Node::sub:
    return is(1, 0) ? kids[0] : nullptr;
  case Node::mul:
    return is(1, 1) ? kids[0] : is(0, 1) ? kids[1] : nullptr;
  case Node::div:
    return is(1, 1) ? kids[0] : nullptr;
  default:
    return nullptr;
  }
}

NodePtr r1c::step::makeNode(Node::Op op, std::vector<NodePtr> kids,
                            Location loc) {
  auto node = std::make_shared<Node>();
  node->op = op;
  node->flag = givesFlag(op) || (op == Node::select && kids[1]->flag);
  node->loc = loc;
  if (llvm::all_of(kids, [](const NodePtr &k) { return k->isConstant(); })) {
    SmallVector<double> values;
    for (const NodePtr &kid : kids)
      values.push_back(kid->value);
    return makeConstant(apply(op, values), node->flag, loc);
  }
  if (NodePtr simple = simplify(op, kids))
    return simple;
  for (auto [index, kid] : llvm::enumerate(kids)) {
    node->height = std::max(node->height, kid->height + 1);
    if (kid->axis != rl::Axis::one) {
      node->axis = kid->axis;
      node->set = kid->set;
    }
    node->changes |= kid->changes;
    // Neither a comparison nor the condition of a choice passes a gradient.
    if (!givesFlag(op) && op != Node::toNumber && op != Node::floor &&
        op != Node::ceil && op != Node::round &&
        !(op == Node::select && index == 0))
      node->gradient |= kid->gradient;
    if (!node->flag && kid->provenance)
      node->provenance = kid->provenance;
  }
  node->kids = std::move(kids);
  return node;
}

NodePtr r1c::step::asNumber(NodePtr node) {
  return node->flag ? makeNode(Node::toNumber, {node}, *node->loc) : node;
}

//===----------------------------------------------------------------------===//
// Evaluating
//===----------------------------------------------------------------------===//

// A node may be read in many places: each walk visits it once.
static std::optional<double>
evaluate(const Node &node, const Assignment &assignment,
         llvm::DenseMap<const Node *, std::optional<double>> &known) {
  switch (node.op) {
  case Node::constant:
    return node.value;
  case Node::leaf:
    return node.symbolic ? evaluate(*node.symbolic, assignment, known)
                         : std::nullopt;
  case Node::param:
    return assignment.param(node.name);
  case Node::step:
    return assignment.step;
  case Node::steps:
    return assignment.steps;
  default:
    break;
  }
  if (auto found = known.find(&node); found != known.end())
    return found->second;
  SmallVector<double> values;
  std::optional<double> result;
  for (const NodePtr &kid : node.kids) {
    std::optional<double> value = evaluate(*kid, assignment, known);
    if (!value)
      break;
    values.push_back(*value);
  }
  if (values.size() == node.kids.size())
    result = apply(node.op, values);
  known[&node] = result;
  return result;
}

std::optional<double> r1c::step::evaluate(const Node &node,
                                          const Assignment &assignment) {
  llvm::DenseMap<const Node *, std::optional<double>> known;
  return ::evaluate(node, assignment, known);
}

static void visit(const Node &node, llvm::DenseSet<const Node *> &seen,
                  llvm::function_ref<void(const Node &)> found) {
  if (!seen.insert(&node).second)
    return;
  found(node);
  if (node.symbolic)
    visit(*node.symbolic, seen, found);
  for (const NodePtr &kid : node.kids)
    visit(*kid, seen, found);
}

bool r1c::step::reads(const Node &node, Node::Op op) {
  llvm::DenseSet<const Node *> seen;
  bool result = false;
  visit(node, seen, [&](const Node &part) { result |= part.op == op; });
  return result;
}

void r1c::step::forEachParam(
    const Node &node, const std::function<void(const std::string &)> &found) {
  llvm::DenseSet<const Node *> seen;
  visit(node, seen, [&](const Node &part) {
    if (part.op == Node::param)
      found(part.name);
  });
}

//===----------------------------------------------------------------------===//
// Emitting
//===----------------------------------------------------------------------===//

Type r1c::step::typeOf(MLIRContext *context, const Node &node) {
  if (node.flag)
    return rl::FlagType::get(context, node.axis, node.set);
  return rl::NumType::get(context, node.axis, node.set);
}

namespace {

/// Builds the region of one rl.map.
class MapBuilder {
public:
  MapBuilder(OpBuilder &builder, const NodePtr &root)
      : builder(builder), root(root) {}
  mlir::Value build();

private:
  /// What the region reads from outside: leaves, single numbers, and formulas
  /// of single numbers inside one of many (computed once, not per element).
  bool isInput(const NodePtr &node) const {
    switch (node->op) {
    case Node::constant:
      return false;
    case Node::leaf:
    case Node::param:
    case Node::step:
    case Node::steps:
      return true;
    default:
      return node->axis == rl::Axis::one && root->axis != rl::Axis::one;
    }
  }
  void collect(const NodePtr &node);
  mlir::Value scalar(const NodePtr &node);
  mlir::Value operation(const Node &node, ArrayRef<mlir::Value> x);

  OpBuilder &builder;
  NodePtr root;
  std::vector<mlir::Value> inputs;
  llvm::DenseMap<const Node *, unsigned> inputOf;
  llvm::DenseSet<const Node *> seen;
  llvm::DenseMap<const Node *, mlir::Value> scalars;
  Block *block = nullptr;
};

} // namespace

void MapBuilder::collect(const NodePtr &node) {
  if (node->isConstant() || !seen.insert(node.get()).second)
    return;
  if (!isInput(node)) {
    for (const NodePtr &kid : node->kids)
      collect(kid);
    return;
  }
  mlir::Value value = emit(builder, node);
  auto found = llvm::find(inputs, value);
  inputOf[node.get()] = found - inputs.begin();
  if (found == inputs.end())
    inputs.push_back(value);
}

mlir::Value MapBuilder::scalar(const NodePtr &node) {
  auto known = scalars.find(node.get());
  if (known != scalars.end())
    return known->second;
  mlir::Value result;
  auto input = inputOf.find(node.get());
  if (input != inputOf.end()) {
    result = block->getArgument(input->second);
  } else if (node->isConstant()) {
    TypedAttr value = node->flag
                          ? TypedAttr(builder.getBoolAttr(node->value != 0))
                          : TypedAttr(builder.getF64FloatAttr(node->value));
    result = arith::ConstantOp::create(builder, *node->loc, value);
  } else {
    SmallVector<mlir::Value> kids;
    for (const NodePtr &kid : node->kids)
      kids.push_back(scalar(kid));
    result = operation(*node, kids);
  }
  scalars[node.get()] = result;
  return result;
}

mlir::Value MapBuilder::operation(const Node &node, ArrayRef<mlir::Value> x) {
  OpBuilder &b = builder;
  Location loc = *node.loc;
  auto compare = [&](arith::CmpFPredicate numbers,
                     arith::CmpIPredicate flags) -> mlir::Value {
    if (x[0].getType().isInteger(1))
      return arith::CmpIOp::create(b, loc, flags, x[0], x[1]);
    return arith::CmpFOp::create(b, loc, numbers, x[0], x[1]);
  };
  using F = arith::CmpFPredicate;
  using I = arith::CmpIPredicate;
  switch (node.op) {
  case Node::neg:
    return arith::NegFOp::create(b, loc, x[0]);
  case Node::abs:
    return math::AbsFOp::create(b, loc, x[0]);
  case Node::exp:
    return math::ExpOp::create(b, loc, x[0]);
  case Node::log:
    return math::LogOp::create(b, loc, x[0]);
  case Node::sqrt:
    return math::SqrtOp::create(b, loc, x[0]);
  case Node::sin:
    return math::SinOp::create(b, loc, x[0]);
  case Node::cos:
    return math::CosOp::create(b, loc, x[0]);
  case Node::tanh:
    return math::TanhOp::create(b, loc, x[0]);
  case Node::floor:
    return math::FloorOp::create(b, loc, x[0]);
  case Node::ceil:
    return math::CeilOp::create(b, loc, x[0]);
  case Node::round:
    return math::RoundEvenOp::create(b, loc, x[0]);
  case Node::add:
    return arith::AddFOp::create(b, loc, x[0], x[1]);
  case Node::sub:
    return arith::SubFOp::create(b, loc, x[0], x[1]);
  case Node::mul:
    return arith::MulFOp::create(b, loc, x[0], x[1]);
  case Node::div:
    return arith::DivFOp::create(b, loc, x[0], x[1]);
  case Node::rem:
    return arith::RemFOp::create(b, loc, x[0], x[1]);
  case Node::min:
    return arith::MinimumFOp::create(b, loc, x[0], x[1]);
  case Node::max:
    return arith::MaximumFOp::create(b, loc, x[0], x[1]);
  case Node::lt:
    return compare(F::OLT, I::ult);
  case Node::le:
    return compare(F::OLE, I::ule);
  case Node::gt:
    return compare(F::OGT, I::ugt);
  case Node::ge:
    return compare(F::OGE, I::uge);
  case Node::eq:
    return compare(F::OEQ, I::eq);
  case Node::ne:
    return compare(F::UNE, I::ne);
  case Node::logicalAnd:
    return arith::AndIOp::create(b, loc, x[0], x[1]);
  case Node::logicalOr:
    return arith::OrIOp::create(b, loc, x[0], x[1]);
  case Node::logicalNot: {
    mlir::Value one =
        arith::ConstantOp::create(b, loc, TypedAttr(b.getBoolAttr(true)));
    return arith::XOrIOp::create(b, loc, x[0], one);
  }
  case Node::select:
    return arith::SelectOp::create(b, loc, x[0], x[1], x[2]);
  case Node::toNumber:
    return arith::UIToFPOp::create(b, loc, b.getF64Type(), x[0]);
  default:
    llvm_unreachable("not an operation");
  }
}

mlir::Value MapBuilder::build() {
  collect(root);
  MLIRContext *context = builder.getContext();
  auto map =
      rl::MapOp::create(builder, *root->loc, typeOf(context, *root), inputs);
  block = &map.getBody().emplaceBlock();
  for (mlir::Value input : inputs)
    block->addArgument(isa<rl::FlagType>(input.getType())
                           ? Type(builder.getI1Type())
                           : Type(builder.getF64Type()),
                       input.getLoc());
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(block);
  rl::YieldOp::create(builder, *root->loc, scalar(root));
  return map.getResult();
}

mlir::Value r1c::step::emit(OpBuilder &builder, const NodePtr &node) {
  Location loc = *node->loc;
  switch (node->op) {
  case Node::leaf:
    return node->ssa;
  case Node::constant:
    if (!node->flag)
      return rl::ConstantOp::create(builder, loc,
                                    builder.getF64FloatAttr(node->value));
    break;
  case Node::param:
    return rl::GetParamOp::create(builder, loc, node->name);
  case Node::step:
    return rl::StepOp::create(builder, loc);
  case Node::steps:
    return rl::StepsOp::create(builder, loc);
  default:
    break;
  }
  return MapBuilder(builder, node).build();
}
