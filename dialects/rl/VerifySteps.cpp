//===- VerifySteps.cpp - verifiers of rl: declarations, steps -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/rl/RL.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace r1c::rl;

//===----------------------------------------------------------------------===//
// Symbols
//===----------------------------------------------------------------------===//

template <typename Declaration>
static LogicalResult verifySymbol(Operation *op, FlatSymbolRefAttr symbol,
                                  SymbolTableCollection &table,
                                  StringRef what) {
  if (!table.lookupNearestSymbolFrom<Declaration>(op, symbol))
    return op->emitOpError() << symbol << " is not " << what;
  return success();
}

static LogicalResult verifyPolicy(Operation *op, FlatSymbolRefAttr policy,
                                  SymbolTableCollection &table) {
  return verifySymbol<PolicyOp>(op, policy, table, "a policy");
}

static LogicalResult verifyData(Operation *op, ArrayAttr data,
                                SymbolTableCollection &table) {
  for (Attribute one : data)
    if (failed(verifySymbol<DataOp>(op, cast<FlatSymbolRefAttr>(one), table,
                                    "a data set")))
      return failure();
  return success();
}

LogicalResult LogprobOp::verifySymbolUses(SymbolTableCollection &table) {
  return verifyPolicy(*this, getPolicyAttr(), table);
}
LogicalResult EntropyOp::verifySymbolUses(SymbolTableCollection &table) {
  return verifyPolicy(*this, getPolicyAttr(), table);
}
LogicalResult ValueOp::verifySymbolUses(SymbolTableCollection &table) {
  return verifyPolicy(*this, getPolicyAttr(), table);
}
LogicalResult UpdateOp::verifySymbolUses(SymbolTableCollection &table) {
  return verifyPolicy(*this, getPolicyAttr(), table);
}
LogicalResult SaveOp::verifySymbolUses(SymbolTableCollection &table) {
  return verifyPolicy(*this, getPolicyAttr(), table);
}
LogicalResult AssignOp::verifySymbolUses(SymbolTableCollection &table) {
  if (failed(verifyPolicy(*this, getToAttr(), table)))
    return failure();
  return verifyPolicy(*this, getFromAttr(), table);
}
LogicalResult SampleOp::verifySymbolUses(SymbolTableCollection &table) {
  if (failed(verifyPolicy(*this, getPolicyAttr(), table)))
    return failure();
  return verifyData(*this, getData(), table);
}
LogicalResult ReadOp::verifySymbolUses(SymbolTableCollection &table) {
  if (failed(verifyPolicy(*this, getPolicyAttr(), table)))
    return failure();
  return verifyData(*this, getData(), table);
}
LogicalResult WriteOp::verifySymbolUses(SymbolTableCollection &table) {
  return verifySymbol<DataOp>(*this, getDataAttr(), table, "a data set");
}

LogicalResult CallOp::verifySymbolUses(SymbolTableCollection &table) {
  auto callee = table.lookupNearestSymbolFrom<ExternOp>(*this, getCalleeAttr());
  if (!callee)
    return emitOpError() << getCalleeAttr() << " is not an extern";
  auto isKind = [](Type type, StringRef kind) {
    return (kind == "text" && isa<TextType>(type)) ||
           (kind == "number" && isa<NumType>(type)) ||
           (kind == "flag" && isa<FlagType>(type));
  };
  if (callee.getParams().size() != getInputs().size())
    return emitOpError() << getCalleeAttr() << " takes "
                         << callee.getParams().size() << " operands";
  for (auto [param, input] : llvm::zip(callee.getParams(), getInputs())) {
    auto pair = dyn_cast<ArrayAttr>(param);
    if (!pair || pair.size() != 2 || !isa<StringAttr>(pair[0]) ||
        !isa<StringAttr>(pair[1]))
      return callee.emitOpError("a parameter is a pair of name and kind");
    StringRef kind = cast<StringAttr>(pair[1]).getValue();
    if (!isKind(input.getType(), kind))
      return emitOpError() << "parameter " << pair[0] << " of "
                           << getCalleeAttr() << " is a " << kind << ", not "
                           << input.getType();
  }
  if (!isKind(getResult().getType(), callee.getResult()))
    return emitOpError() << getCalleeAttr() << " gives a " << callee.getResult()
                         << ", not " << getResult().getType();
  return success();
}

//===----------------------------------------------------------------------===//
// Declarations
//===----------------------------------------------------------------------===//

LogicalResult PolicyOp::verify() {
  auto kind = getInit().getAs<StringAttr>("kind");
  if (!kind)
    return emitOpError("init has no string 'kind'");
  auto need = [&](ArrayRef<StringRef> fields) -> LogicalResult {
    for (StringRef field : fields)
      if (!getInit().contains(field))
        return emitOpError()
               << "init of kind " << kind << " needs '" << field << "'";
    return success();
  };
  if (kind == "llama")
    return need({"layers", "hidden", "heads", "kv_heads", "intermediate",
                 "context", "head_dim", "tokenizer", "rope_theta",
                 "norm_epsilon", "init", "tied"});
  if (kind == "load")
    return need({"path", "head"});
  if (kind == "copy")
    return need({"of"});
  if (kind == "lora")
    return need({"of", "rank", "alpha", "layers"});
  return emitOpError() << "init has the unknown kind " << kind;
}

//===----------------------------------------------------------------------===//
// Sets of outputs
//===----------------------------------------------------------------------===//

template <typename Op>
static LogicalResult verifySet(Op op) {
  if (op.getData().empty())
    return op.emitOpError("needs a data set");
  if (op.getWeights() && op.getWeights()->size() != op.getData().size())
    return op.emitOpError("has one weight a data set");
  if (op.getCondition().empty())
    return success();
  if (!op.getCondition().hasOneBlock())
    return op.emitOpError("'where' is one block");
  Block &block = op.getCondition().front();
  std::string tried = (getSet(op.getOutputs().getType()) + ".tried").str();
  if (block.getNumArguments() != 1 ||
      getSet(block.getArgument(0).getType()) != tried ||
      !isa<OutputsType>(block.getArgument(0).getType()))
    return op.emitOpError()
           << "'where' has one argument, !rl.outputs<\"" << tried << "\">";
  auto yield = block.mightHaveTerminator()
                   ? dyn_cast<YieldOp>(block.getTerminator())
                   : YieldOp();
  auto flag =
      yield ? dyn_cast<FlagType>(yield.getValue().getType()) : FlagType();
  if (!flag || flag.getSet() != tried ||
      (flag.getAxis() != Axis::group && flag.getAxis() != Axis::sequence))
    return op.emitOpError("'where' yields a flag per group or per sequence of "
                          "the set it judges");
  return success();
}

LogicalResult SampleOp::verify() { return verifySet(*this); }

LogicalResult ReadOp::verify() {
  if (getOrder() != "shuffled" && getOrder() != "file")
    return emitOpError("order is \"shuffled\" or \"file\"");
  return verifySet(*this);
}

LogicalResult WriteOp::verify() {
  if (getWhere() &&
      (getAxis(getWhere().getType()) != Axis::sequence ||
       getSet(getWhere().getType()) != getSet(getOutputs().getType())))
    return emitOpError("'where' is a flag per sequence of what is written");
  return success();
}

//===----------------------------------------------------------------------===//
// Update
//===----------------------------------------------------------------------===//

LogicalResult UpdateOp::verify() {
  if (getEnclosingUpdate(*this))
    return emitOpError("does not nest");
  for (Operation &op : getBody().front())
    if (isa<SampleOp, ReadOp, AssignOp, EveryOp, SaveOp, WriteOp>(op))
      return op.emitOpError("is not allowed inside rl.update");
  return success();
}

template <typename Op>
static LogicalResult verifyUpdated(Op op) {
  auto update = op->template getParentOfType<UpdateOp>();
  if (update && update.getPolicyAttr() != op.getPolicyAttr())
    return op.emitOpError()
           << "of " << op.getPolicyAttr() << " stands in an update of "
           << update.getPolicyAttr();
  return success();
}

LogicalResult GradientOp::verify() { return verifyUpdated(*this); }
LogicalResult AdamWOp::verify() { return verifyUpdated(*this); }

LogicalResult BackwardOp::verify() {
  if (failed(verifyUpdated(*this)))
    return failure();
  if (!getSeeds() && !getEntropySeeds() && !getValueSeeds())
    return emitOpError("has no seeds");
  StringRef set = getSet(getOutputs().getType());
  auto check = [&](Value seeds, Axis axis) -> LogicalResult {
    if (!seeds ||
        (getAxis(seeds.getType()) == axis && getSet(seeds.getType()) == set))
      return success();
    return emitOpError() << "seeds are per " << stringifyAxis(axis) << " of \""
                         << set << "\", not " << seeds.getType();
  };
  if (failed(check(getSeeds(), Axis::token)) ||
      failed(check(getEntropySeeds(), Axis::token)))
    return failure();
  return check(getValueSeeds(), Axis::sequence);
}
