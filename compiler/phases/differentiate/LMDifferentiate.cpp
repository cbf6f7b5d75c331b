//===- LMDifferentiate.cpp - backward functions of models -----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Reverse mode over a straight line of ops. Two sweeps over a forward function:
// the first finds what the derivative rules read, the second lets them build.
//===----------------------------------------------------------------------===//

#include "compiler/phases/NetworkPasses.h"
#include "compiler/phases/differentiate/SavePolicy.h"
#include "compiler/phases/expand/FunctionWriter.h"
#include "dialects/interfaces/Interfaces.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"

namespace r1c {
#define GEN_PASS_DEF_LMDIFFERENTIATEPASS
#include "compiler/phases/NetworkPasses.h.inc"
} // namespace r1c

using namespace mlir;
using namespace r1c;

namespace {

class Differentiator {
public:
  /// `seeds`: roles of the results that a gradient arrives at. The backward is
  /// called `<forward>.backward<suffix>`.
  Differentiator(ModuleOp module, func::FuncOp forward, Recompute recompute,
                 ArrayRef<StringRef> seeds, StringRef suffix = "")
      : module(module), forward(forward), recompute(recompute), seeds(seeds),
        suffix(suffix), context(forward.getContext()),
        returned(forward.getBody().front().getTerminator()) {}

  LogicalResult run();

private:
  LogicalResult findReads();
  void need(Value value);
  void writeTrain();
  LogicalResult writeBackward();
  void explain();
  Value inBackward(Value value, OpBuilder &b);

  StringRef model() {
    return forward->getAttrOfType<FlatSymbolRefAttr>(role::model).getValue();
  }
  StringRef function() {
    return forward->getAttrOfType<StringAttr>(role::function).getValue();
  }
  bool isSeeded(unsigned result) {
    return llvm::is_contained(seeds, roleOf(forward.getResultAttrDict(result)));
  }
  /// The role "saved" with a name made from the value's own.
  DictionaryAttr savedRole(Value value);

  ModuleOp module;
  func::FuncOp forward;
  Recompute recompute;
  ArrayRef<StringRef> seeds;
  StringRef suffix;
  MLIRContext *context;
  Operation *returned;

  /// Values with a gradient, by the first sweep.
  DenseSet<Value> live;
  /// What the backward takes from the forward: arguments, and saved values.
  llvm::SetVector<Value> fromArguments, saved;
  /// What the backward reads and computes again from those.
  llvm::SetVector<Value> again;
  /// Stand-ins in the backward function.
  IRMapping mapping;
};

} // namespace

void Differentiator::need(Value value) {
  if (isa<BlockArgument>(value)) {
    fromArguments.insert(value);
    return;
  }
  // A result of the function exists anyhow.
  if (llvm::is_contained(returned->getOperands(), value) ||
      isSaved(value, recompute)) {
    saved.insert(value);
    return;
  }
  again.insert(value);
  for (Value operand : value.getDefiningOp()->getOperands())
    need(operand);
}

LogicalResult Differentiator::findReads() {
  for (auto [i, value] : llvm::enumerate(returned->getOperands()))
    if (isSeeded(i))
      live.insert(value);
  for (Operation &op :
       llvm::reverse(forward.getBody().front().without_terminator())) {
    if (llvm::none_of(op.getResults(),
                      [&](Value result) { return live.contains(result); }))
      continue;
    auto rule = dyn_cast<DifferentiableOpInterface>(op);
    if (!rule)
      return op.emitOpError("has no derivative rule, but the gradient of '@")
             << forward.getSymName() << "' passes through it";
    auto seeded = llvm::map_to_vector(
        op.getResults(), [&](Value result) { return live.contains(result); });
    for (Value value : rule.getBackwardReads(seeded))
      need(value);
    live.insert(op.operand_begin(), op.operand_end());
  }
  return success();
}

DictionaryAttr Differentiator::savedRole(Value value) {
  auto result = cast<OpResult>(value);
  std::string name = result.getOwner()->getName().stripDialect().str();
  if (auto loc = dyn_cast<NameLoc>(result.getOwner()->getLoc()))
    name = loc.getName().str();
  // A result of the forward function goes by its role there.
  for (auto [i, returnedValue] : llvm::enumerate(returned->getOperands()))
    if (returnedValue == value)
      return makeRole(context, "saved",
                      {{role::name, roleOf(forward.getResultAttrDict(i))}});
  if (result.getResultNumber())
    name += ":" + std::to_string(result.getResultNumber());
  return makeRole(context, "saved", {{role::name, name}});
}

/// The forward function again, with the saved values as further results.
void Differentiator::writeTrain() {
  auto isOutput = [&](Value value) {
    return llvm::is_contained(returned->getOperands(), value);
  };
  if (llvm::all_of(saved, isOutput))
    return;
  FunctionWriter f(module, forward.getLoc(), model(),
                   (function() + ".train").str());
  IRMapping map;
  for (BlockArgument argument : forward.getArguments())
    map.map(argument,
            f.argument(argument.getType(),
                       forward.getArgAttrDict(argument.getArgNumber()),
                       argument.getLoc()));
  for (Operation &op : forward.getBody().front().without_terminator())
    f.builder().clone(op, map);
  for (auto [i, value] : llvm::enumerate(returned->getOperands()))
    f.result(map.lookup(value), forward.getResultAttrDict(i));
  for (Value value : saved)
    if (!isOutput(value))
      f.result(map.lookup(value), savedRole(value));
  f.finish();
}

/// The value of the backward function that stands for `value`: an argument, or
/// what is computed again.
Value Differentiator::inBackward(Value value, OpBuilder &b) {
  if (Value known = mapping.lookupOrNull(value))
    return known;
  Operation *op = value.getDefiningOp();
  for (Value operand : op->getOperands())
    inBackward(operand, b);
  b.clone(*op, mapping);
  return mapping.lookup(value);
}

/// A gate that is computed again waits for its derivative, and what reads it
/// for both: one pass over their operands can then give them.
static void bringTogether(Block &backward) {
  for (auto grad :
       llvm::make_early_inc_range(backward.getOps<lm::SiluMulGradOp>())) {
    lm::SiluMulOp gated;
    for (Operation *user : grad.getGate().getUsers())
      if (auto op = dyn_cast<lm::SiluMulOp>(user);
          op && op.getUp() == grad.getUp() && op->isBeforeInBlock(grad))
        gated = op;
    if (!gated || !llvm::all_of(gated->getUsers(), [](Operation *reader) {
          return isa<lm::LinearWeightGradOp>(reader) && reader->use_empty();
        }))
      continue;
    gated->moveBefore(grad);
    for (Operation *reader : gated->getUsers())
      reader->moveAfter(grad);
  }
}

LogicalResult Differentiator::writeBackward() {
  FunctionWriter f(module, forward.getLoc(), model(),
                   (function() + ".backward" + suffix).str());
  OpBuilder &b = f.builder();
  for (BlockArgument argument : forward.getArguments())
    if (fromArguments.contains(argument))
      mapping.map(argument,
                  f.argument(argument.getType(),
                             forward.getArgAttrDict(argument.getArgNumber()),
                             argument.getLoc()));
  for (Value value : saved)
    mapping.map(value,
                f.argument(value.getType(), savedRole(value), value.getLoc()));

  DenseMap<Value, Value> gradients;
  auto add = [&](Value of, Value gradient) {
    Value &sum = gradients[of];
    sum =
        sum ? lm::AddOp::create(b, gradient.getLoc(), sum, gradient) : gradient;
  };
  for (auto [i, value] : llvm::enumerate(returned->getOperands()))
    if (isSeeded(i))
      add(value, f.argument(value.getType(),
                            makeRole(context, "gradient",
                                     {{role::of,
                                       roleOf(forward.getResultAttrDict(i))}}),
                            value.getLoc()));

  for (Operation &op :
       llvm::reverse(forward.getBody().front().without_terminator())) {
    SmallVector<Value> ofResults;
    for (Value result : op.getResults())
      ofResults.push_back(gradients.lookup(result));
    if (llvm::none_of(ofResults, [](Value gradient) { return gradient; }))
      continue;
    auto rule = cast<DifferentiableOpInterface>(op);
    SmallVector<Value> ofOperands = rule.buildBackward(
        b, ofResults, [&](Value value) { return inBackward(value, b); });
    for (auto [operand, gradient] : llvm::zip(op.getOperands(), ofOperands))
      if (gradient)
        add(operand, gradient);
  }

  bringTogether(*b.getInsertionBlock());

  for (BlockArgument argument : forward.getArguments()) {
    Value gradient = gradients.lookup(argument);
    if (!gradient)
      continue;
    DictionaryAttr attributes = forward.getArgAttrDict(argument.getArgNumber());
    if (roleOf(attributes) == "parameter")
      f.result(
          gradient,
          makeRole(
              context, "parameter_gradient",
              {{role::parameter,
                attributes.getAs<StringAttr>(role::parameter).getValue()}}));
    else
      f.result(gradient,
               makeRole(context, "gradient", {{role::of, roleOf(attributes)}}));
  }
  f.finish();
  return success();
}

/// A remark on what the forward function leaves for the backward, and what it
/// does not.
void Differentiator::explain() {
  auto kind = remark::RemarkOpts::name("Saved")
                  .category("differentiate")
                  .function(StringAttr::get(context,
                                            function() + ".backward" + suffix));
  auto namesOf = [&](const llvm::SetVector<Value> &values) {
    return llvm::join(
        llvm::map_range(
            values,
            [&](Value value) {
              return savedRole(value).getAs<StringAttr>(role::name).str();
            }),
        ", ");
  };
  int64_t numbers = 0;
  for (Value value : saved)
    if (auto type = dyn_cast<RankedTensorType>(value.getType());
        type && type.isDynamicDim(0))
      numbers += type.getRank() == 2 ? type.getDimSize(1) : 1;
  if (!saved.empty())
    remark::passed(forward.getLoc(), kind)
        << remark::add("reads {0} number{1} a row that the forward pass saves: "
                       "{2}",
                       numbers, numbers == 1 ? "" : "s", namesOf(saved))
        << remark::metric("NumbersPerRow", numbers);
  if (!again.empty())
    remark::missed(forward.getLoc(), kind)
        << remark::add("computes again: {0}", namesOf(again));
}

LogicalResult Differentiator::run() {
  if (failed(findReads()))
    return failure();
  // In forward order, so that names and order do not depend on the sweep.
  SmallVector<Value> ordered(saved.takeVector());
  llvm::sort(ordered, [](Value a, Value b) {
    if (a.getDefiningOp() == b.getDefiningOp())
      return cast<OpResult>(a).getResultNumber() <
             cast<OpResult>(b).getResultNumber();
    return a.getDefiningOp()->isBeforeInBlock(b.getDefiningOp());
  });
  saved.insert(ordered.begin(), ordered.end());
  explain();
  writeTrain();
  return writeBackward();
}

namespace {

struct LMDifferentiatePass
    : public r1c::impl::LMDifferentiatePassBase<LMDifferentiatePass> {
  using LMDifferentiatePassBase::LMDifferentiatePassBase;

  void runOnOperation() override {
    std::string way = recompute;
    if (auto given =
            getOperation()->getAttrOfType<StringAttr>(recomputeAttribute);
        given && way.empty())
      way = given.str();
    auto policy = parseRecompute(way.empty() ? "none" : way);
    if (!policy) {
      getOperation().emitError(
          "lm-differentiate: no way to recompute is called '")
          << way << "'; there are none, cheap, all";
      return signalPassFailure();
    }
    SmallVector<func::FuncOp> forwards(getOperation().getOps<func::FuncOp>());
    for (func::FuncOp forward : forwards) {
      auto function = forward->getAttrOfType<StringAttr>(role::function);
      if (!function ||
          !llvm::is_contained({"embed", "layer", "head", "head.filtered"},
                              function.getValue()))
        continue;
      bool isHead = function.getValue().starts_with("head");
      // A chunk's head saves nothing but its results: its logits are computed
      // again in any case, and the norm before them costs next to nothing.
      Recompute own = isHead ? Recompute::all : *policy;
      SmallVector<StringRef> seeds{"activation", "logp", "entropy"};
      if (failed(Differentiator(getOperation(), forward, own, seeds).run()))
        return signalPassFailure();
      // Most losses do not read the entropy.
      if (isHead &&
          failed(Differentiator(getOperation(), forward, own, {"logp"}, ".logp")
                     .run()))
        return signalPassFailure();
    }
  }
};

} // namespace
