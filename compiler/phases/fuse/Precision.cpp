//===- Precision.cpp - which values are stored in few digits --------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/fuse/Precision.h"
#include "compiler/phases/expand/FunctionWriter.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::fuse;

/// The name under which a function returns or takes something saved; empty for
/// anything else.
static StringRef savedName(DictionaryAttr attributes) {
  if (!attributes || roleOf(attributes) != "saved")
    return {};
  auto name = attributes.getAs<StringAttr>(role::name);
  return name ? name.getValue() : StringRef();
}

Precision::Precision(ModuleOp module, StringRef model) {
  Builder b(module.getContext());
  products = gradients = b.getF32Type();
  auto declared = module.lookupSymbol<lm::ModelOp>(model);
  auto bf16 =
      declared ? declared.getConfig().getAs<BoolAttr>("bf16") : BoolAttr();
  auto kind = remark::RemarkOpts::name("Precision").category("fuse");
  if (!bf16 || !bf16.getValue()) {
    if (declared)
      remark::missed(declared.getLoc(), kind)
          << remark::add("matrix products and attention read float32")
          << remark::reason("the weights' type, by config.json or --weights");
    return;
  }
  products = b.getBF16Type();
  auto target = module->getAttrOfType<StringAttr>(targetAttribute);
  if (target && target.getValue() == "cuda")
    gradients = products;
  remark::passed(declared.getLoc(), kind)
      << remark::add("matrix products and attention read bfloat16");

  // Saved values are narrow if all their readers agree, in the functions that
  // give them and in those that take them.
  auto agree = [&](StringRef name, Value value) {
    if (name.empty())
      return;
    bool narrow = llvm::all_of(value.getUses(), [&](OpOperand &use) {
      return use.getOwner()->hasTrait<OpTrait::IsTerminator>() || isNarrow(use);
    });
    auto [at, isNew] = saved.try_emplace(name, narrow);
    at->second = at->second && narrow;
  };
  for (auto function : module.getOps<func::FuncOp>()) {
    auto of = function->getAttrOfType<FlatSymbolRefAttr>(role::model);
    if (!of || of.getValue() != model)
      continue;
    for (BlockArgument argument : function.getArguments())
      agree(savedName(function.getArgAttrDict(argument.getArgNumber())),
            argument);
    Operation *terminator = function.getBody().front().getTerminator();
    for (OpOperand &operand : terminator->getOpOperands())
      agree(savedName(function.getResultAttrDict(operand.getOperandNumber())),
            operand.get());
  }
}

bool Precision::isNarrow(OpOperand &use) const {
  auto is = [&](OpOperand &operand) {
    return operand.getOperandNumber() == use.getOperandNumber();
  };
  return TypeSwitch<Operation *, bool>(use.getOwner())
      .Case<lm::LinearOp, lm::HeadOp, lm::HeadGradOp>(
          [&](auto op) { return is(op.getInputMutable()); })
      .Case(
          [&](lm::LinearInputGradOp op) { return is(op.getGradientMutable()); })
      .Case([](lm::LinearWeightGradOp) { return true; })
      // Attention's gradients are rounded already; what is turned back of them
      // for the products is summed as those read it, and not written a second
      // time in float32, twice as long, for this sum alone.
      .Case([&](lm::LinearBiasGradOp) { return gradients == products; })
      // Written with the product that gives its operands, it reads none; with
      // its derivative, what that reads.
      .Case([](lm::SiluMulOp op) {
        auto gate = op.getGate().getDefiningOp<lm::LinearOp>();
        return (gate && pairOf(gate) == op) || derivativeOf(op);
      })
      .Case([&](lm::SiluMulGradOp op) {
        return is(op.getGateMutable()) || is(op.getUpMutable());
      })
      .Case([&](lm::RopeOp op) {
        return !op.getInverse() || gradients == products;
      })
      .Case([](lm::AttentionOp) { return true; })
      .Case([&](lm::AttentionGradOp op) { return !is(op.getLseMutable()); })
      .Case([&](func::ReturnOp op) {
        auto function = op->getParentOfType<func::FuncOp>();
        StringRef name =
            savedName(function.getResultAttrDict(use.getOperandNumber()));
        return saved.lookup(name);
      })
      .Default(false);
}

bool Precision::isNarrow(Value value) const {
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    auto function = cast<func::FuncOp>(argument.getOwner()->getParentOp());
    return saved.lookup(
        savedName(function.getArgAttrDict(argument.getArgNumber())));
  }
  return !value.use_empty() &&
         llvm::all_of(value.getUses(),
                      [&](OpOperand &use) { return isNarrow(use); });
}

bool Precision::isRounded(Value value) const {
  return products.isBF16() && !isNarrow(value) &&
         llvm::any_of(value.getUses(),
                      [&](OpOperand &use) { return isNarrow(use); });
}

StringRef fuse::whyUnpaired(lm::SiluMulOp gated) {
  auto gate = gated.getGate().getDefiningOp<lm::LinearOp>(),
       up = gated.getUp().getDefiningOp<lm::LinearOp>();
  if (!gate || !up || gate == up || gate.getInput() != up.getInput())
    return "they are not two products of one input";
  if (gate.getBias() || up.getBias())
    return "they have biases";
  // The panels of a paired matrix take turns by 16 columns.
  if (cast<RankedTensorType>(gate.getWeight().getType()).getDimSize(0) % 16)
    return "their width is no multiple of 16";
  auto later = [&](Operation *other) {
    return other == gated || gated->isBeforeInBlock(other);
  };
  if (llvm::all_of(gate->getUsers(), later) &&
      llvm::all_of(up->getUsers(), later))
    return "";
  return "others read them before";
}

lm::SiluMulGradOp fuse::derivativeOf(lm::SiluMulOp gated) {
  auto gate = gated.getGate().getDefiningOp<lm::LinearOp>();
  if (gate && pairOf(gate) == gated)
    return {};
  for (Operation *user : gated.getGate().getUsers())
    if (auto grad = dyn_cast<lm::SiluMulGradOp>(user);
        grad && grad.getGate() == gated.getGate() &&
        grad.getUp() == gated.getUp() &&
        llvm::all_of(gated->getUsers(), [&](Operation *reader) {
          return grad->isBeforeInBlock(reader);
        }))
      return grad;
  return {};
}

lm::SiluMulOp fuse::gatedWith(lm::SiluMulGradOp grad) {
  for (Operation *user : grad.getGate().getUsers())
    if (auto gated = dyn_cast<lm::SiluMulOp>(user);
        gated && derivativeOf(gated) == grad)
      return gated;
  return {};
}

lm::SiluMulOp fuse::pairOf(lm::LinearOp op) {
  for (Operation *user : op.getResult().getUsers())
    if (auto gated = dyn_cast<lm::SiluMulOp>(user))
      if (whyUnpaired(gated).empty())
        return gated;
  return {};
}
