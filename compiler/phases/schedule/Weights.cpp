//===- Weights.cpp - where a policy's weights lie, and as what ------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// One flat float32 buffer holds all weights; gradients and moments have its
// layout. Products read them packed. On a GPU a bfloat16 matrix is packed as it
// lies, so all of those are one copy of the flat buffer, which the optimizer
// writes beside it; only what a backward product reads is transposed.
// Everywhere else each packed operand is made from the plain weights.
//===----------------------------------------------------------------------===//

#include "compiler/phases/expand/FunctionWriter.h"
#include "compiler/phases/fuse/Precision.h"
#include "compiler/phases/schedule/Models.h"
#include "compiler/phases/schedule/RoleSlots.h"
#include "compiler/phases/schedule/Scratch.h"
#include "compiler/phases/schedule/Support.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::schedule;

static ArrayAttr parametersOf(DictionaryAttr role) {
  return cast<ArrayAttr>(role.get(role::parameter));
}

static ArrayAttr packKey(DictionaryAttr role) {
  return ArrayAttr::get(role.getContext(),
                        {role.get(role::layout), parametersOf(role)});
}

static bool isBackward(DictionaryAttr role) {
  return role.getAs<StringAttr>(role::layout) == "backward";
}

static SmallVector<StringRef> namesOf(ArrayAttr names) {
  return llvm::map_to_vector(names.getAsValueRange<StringAttr>(),
                             [](StringRef name) { return name; });
}

/// The packed operands that the policy's functions read, once each, by their
/// parameters. `all`: also where nobody asks for a gradient.
Models::PackedOperands Models::packedOperands(Policy &policy, bool all) {
  PackedOperands operands;
  DenseSet<Attribute> seen;
  for (auto function : module.getOps<func::FuncOp>()) {
    std::string prefix = (policy.model.getSymName() + ".").str();
    if (!function.getSymName().starts_with(prefix))
      continue;
    StringRef name = function.getSymName().drop_front(prefix.size());
    if (!all && !policy.isTrained && name.contains("backward"))
      continue; // nothing reads these
    for (BlockArgument argument : function.getArguments()) {
      DictionaryAttr role = function.getArgAttrDict(argument.getArgNumber());
      if (role && roleOf(role) == "packed" && seen.insert(packKey(role)).second)
        operands[parametersOf(role)].push_back(
            {role, cast<kern::PackedType>(argument.getType())});
    }
  }
  return operands;
}

//===----------------------------------------------------------------------===//
// The flat layout
//===----------------------------------------------------------------------===//

/// Parameters (or their gradients) that the model's functions read as one
/// tensor.
SmallVector<SmallVector<StringRef>> Models::sideBySide(lm::ModelOp model) {
  SmallVector<SmallVector<StringRef>> groups;
  for (auto function : module.getOps<func::FuncOp>()) {
    auto of = function->getAttrOfType<FlatSymbolRefAttr>(role::model);
    if (!of || of.getValue() != model.getSymName())
      continue;
    for (auto concat : function.getBody().getOps<tensor::ConcatOp>()) {
      SmallVector<StringRef> names;
      for (Value part : concat.getInputs())
        if (auto argument = dyn_cast<BlockArgument>(part))
          if (auto name = function.getArgAttrOfType<StringAttr>(
                  argument.getArgNumber(), role::parameter))
            names.push_back(name.getValue());
      if (!llvm::is_contained(groups, names))
        groups.push_back(names);
    }
  }
  return groups;
}

/// Parameters with weight decay first, then the others, each part padded to
/// whole rows of the gradient norm. Layer after layer: what a layer's backward
/// gives is summed over the ranks together. In a layer, those that are read as
/// one tensor lie side by side; of what is rounded, without a gap, and first.
LogicalResult Models::layOut(Policy &policy) {
  auto groups = sideBySide(policy.model);
  auto target = module->getAttrOfType<StringAttr>(targetAttribute);
  llvm::StringSet<> rounded;
  SmallVector<SmallVector<StringRef>> roundedGroups;
  if (target && target.getValue() == "cuda")
    // Copies of a policy have its layout, trained or not.
    for (auto &[parameters, all] : packedOperands(policy, /*all=*/true)) {
      if (!all.front().second.getElementType().isBF16())
        continue;
      roundedGroups.push_back(namesOf(parameters));
      for (StringRef name : roundedGroups.back())
        rounded.insert(name);
    }
  llvm::append_range(groups, roundedGroups);

  // Of the rounded copy, 128 bytes: see Buffers::allocate.
  int64_t line = rounded.empty() ? 64 : 256;
  int64_t top = 0; // bytes
  for (bool decay : {true, false}) {
    auto add = [&](bool stacked) {
      llvm::MapVector<StringRef, lm::ParameterOp> left;
      for (auto op : policy.model.getBody().getOps<lm::ParameterOp>())
        if (op.getDecay() == decay && op.getLayers().has_value() == stacked)
          left[op.getParameter()] = op;
      SmallVector<StringRef> all;
      for (bool isRounded : {true, false})
        for (auto [name, op] : left)
          if (rounded.contains(name) == isRounded)
            all.push_back(name);
      for (StringRef first : all) {
        SmallVector<StringRef> names{first};
        for (const auto &group : groups)
          if (group.front() == first && group.size() > names.size())
            names = group; // the longest: it holds the others
        for (StringRef name : names) {
          // Placed beside another one, or of another kind, which the tensor's
          // view will find.
          lm::ParameterOp op = left.lookup(name);
          if (!op)
            continue;
          auto type = cast<RankedTensorType>(op.getType());
          policy.parameters[name] = {op, top, 0};
          top += type.getNumElements() * 4;
          if (!rounded.contains(name))
            top = llvm::alignTo(top, 64);
          left[name] = {};
        }
        top = llvm::alignTo(top, rounded.contains(names.back()) ? line : 64);
      }
    };
    int64_t first = top;
    add(/*stacked=*/true);
    top = llvm::alignTo(top, line);
    int64_t ofLayer = top - first;
    for (auto op : policy.model.getBody().getOps<lm::ParameterOp>())
      if (op.getDecay() == decay && op.getLayers())
        policy.parameters[op.getParameter()].stride = ofLayer;
    if (ofLayer)
      policy.layerParts.push_back({first, ofLayer, ofLayer / 4});
    top = first + ofLayer * policy.layers;
    add(/*stacked=*/false);
    top = llvm::alignTo(top, normRow * 4);
    if (decay)
      policy.decayed = top / 4;
  }
  policy.total = top / 4;
  return roundedLayout(policy, roundedGroups);
}

/// How much of the flat buffer has a copy in bfloat16.
LogicalResult
Models::roundedLayout(Policy &policy,
                      ArrayRef<SmallVector<StringRef>> roundedGroups) {
  for (const auto &names : roundedGroups) {
    int64_t next = policy.parameters[names.front()].offset;
    for (StringRef name : names) {
      Parameter &parameter = policy.parameters[name];
      if (parameter.offset != next)
        return policy.op.emitError("reads '")
               << name << "' as one matrix with '" << names.front()
               << "', and they do not lie side by side";
      next +=
          cast<RankedTensorType>(parameter.op.getType()).getNumElements() * 4;
    }
    Parameter &last = policy.parameters[names.back()];
    int64_t layers = last.op.getLayers().value_or(1);
    policy.roundedCount =
        std::max(policy.roundedCount, (next + (layers - 1) * last.stride) / 4);
  }
  policy.roundedCount =
      std::min<int64_t>(llvm::alignTo(policy.roundedCount, 16), policy.total);
  return success();
}

//===----------------------------------------------------------------------===//
// Packed weights
//===----------------------------------------------------------------------===//

/// The program `pack`: everything that is made from the plain weights. What is
/// stacked goes one layer after the other, and what is made from the same
/// weights together, while a cache still has them.
void Models::pack(Policy &policy) {
  OpBuilder builder = program(policy, "pack");
  Location loc = policy.op.getLoc();
  if (policy.roundedCount) {
    Scratch scratch(builder, kernels);
    auto type =
        RankedTensorType::get({policy.roundedCount}, builder.getF32Type());
    Value weights = scratch.argument(type, {policy.weights, {}});
    Value rounded =
        scratch.convert(NameLoc::get(builder.getStringAttr("rounded"), loc),
                        weights, builder.getBF16Type());
    scratch.dispatch(rounded, "", {Slot{policy.roundedWeights, {}}});
  }
  if (!policy.roundedCount || !policy.isTrained)
    return packByKernels(policy, builder);
  // The optimizer rounds, and leaves the rest to a program of its own.
  policy.packBackward = (policy.op.getSymName() + ".pack.backward").str();
  rt::CallOp::create(builder, loc, policy.packBackward);
  OpBuilder b = OpBuilder::atBlockEnd(declarations);
  auto packing = rt::ProgramOp::create(b, loc, policy.packBackward);
  OpBuilder inside = OpBuilder::atBlockEnd(&packing.getBody().emplaceBlock());
  packByKernels(policy, inside);
}

/// What a kernel packs: all, or of rounded weights what is read transposed.
void Models::packByKernels(Policy &policy, OpBuilder &builder) {
  Location loc = policy.op.getLoc();
  llvm::MapVector<int64_t, OpBuilder> loops; // by the number of layers
  for (auto &[names, all] : packedOperands(policy, /*all=*/false))
    for (auto [role, type] : all) {
      if (policy.roundedCount && !isBackward(role))
        continue;
      rt::RefAttr target = weight(policy, role, type).ref;
      StringRef layout = role.getAs<StringAttr>(role::layout).getValue();
      Scratch scratch(builder, kernels);
      SmallVector<Value> sources;
      Parameter &first = policy.parameters[namesOf(names).front()];
      int64_t layers = first.op.getLayers().value_or(0);
      if (policy.roundedCount) // all of them are one matrix
        sources.push_back(
            scratch.argument(RankedTensorType::get({type.getK(), type.getN()},
                                                   type.getElementType()),
                             {roundedAt(policy, first), {}}));
      else
        for (StringRef name : namesOf(names)) {
          Parameter &parameter = policy.parameters[name];
          sources.push_back(scratch.argument(
              parameter.op.getType(),
              {at(policy.weights, parameter.offset, parameter.stride), {}}));
        }
      auto [inside, isNew] = loops.insert({layers, builder});
      if (layers && isNew) {
        auto loop = rt::LoopOp::create(builder, loc, 0, layers, 1);
        inside->second.setInsertionPointToEnd(&loop.getBody().emplaceBlock());
      }
      Value packed = kern::PackOp::create(
          scratch.builder(), loc, type, sources,
          /*transpose=*/!isBackward(role), /*paired=*/layout == "paired",
          /*along_k=*/isBackward(role) && sources.size() > 1);
      scratch.retarget(inside->second);
      scratch.dispatch(packed, "", {Slot{target, {}}});
    }
}

rt::RefAttr Models::roundedAt(Policy &policy, const Parameter &parameter) {
  return at(policy.roundedWeights, parameter.offset / 2, parameter.stride / 2);
}

Slot Models::weight(Policy &policy, DictionaryAttr role, Type type) {
  StringRef kind = roleOf(role);
  if (kind == "parameter" || kind == "parameter_gradient") {
    StringRef name = role.getAs<StringAttr>(role::parameter).getValue();
    Parameter &parameter = policy.parameters[name];
    rt::RefAttr base = kind == "parameter" ? policy.weights : policy.gradients;
    return {at(base, parameter.offset, parameter.stride), {}};
  }
  if (kind != "packed")
    return {};
  Parameter &first = policy.parameters[namesOf(parametersOf(role)).front()];
  if (policy.roundedCount && !isBackward(role))
    return {roundedAt(policy, first), {}};
  rt::RefAttr &ref = policy.packed[packKey(role)];
  if (!ref) {
    int64_t layers = first.op.getLayers().value_or(0);
    auto packed = cast<kern::PackedType>(type);
    int64_t bytes = llvm::alignTo(packed.getBytes(), 64);
    std::string name = policy.op.getSymName().str();
    ref = at(buffers.allocate(policy.op.getLoc(), name + ".packed",
                              name + ".memory",
                              bytes * std::max<int64_t>(layers, 1),
                              dtypeOf(packed.getElementType())),
             0, layers ? bytes : 0);
  }
  return {ref, {}};
}
