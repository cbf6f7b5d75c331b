//===- Models.cpp - policies as programs ----------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/schedule/Models.h"
#include "compiler/phases/expand/FunctionWriter.h"
#include "compiler/phases/ragged/KernBuilder.h"
#include "compiler/phases/schedule/RoleSlots.h"
#include "compiler/phases/schedule/Scratch.h"
#include "compiler/phases/schedule/Support.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::schedule;

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

static int64_t integer(DictionaryAttr dictionary, StringRef key) {
  return dictionary.getAs<IntegerAttr>(key).getInt();
}

OpBuilder Models::program(Policy &policy, StringRef what) {
  OpBuilder b = OpBuilder::atBlockEnd(declarations);
  std::string name = (policy.op.getSymName() + "." + what).str();
  policy.programs.set(what, FlatSymbolRefAttr::get(b.getContext(), name));
  auto op = rt::ProgramOp::create(b, policy.op.getLoc(), name);
  return OpBuilder::atBlockEnd(&op.getBody().emplaceBlock());
}

LogicalResult Models::addPolicies(Block *block) {
  declarations = block;
  SymbolTable symbols(module);
  OpBuilder b = OpBuilder::atBlockEnd(declarations);
  for (auto op : module.getOps<rl::PolicyOp>()) {
    auto policy = std::make_unique<Policy>();
    policy->op = op;
    policy->model = symbols.lookup<lm::ModelOp>(
        op->getAttrOfType<FlatSymbolRefAttr>("model").getValue());
    DictionaryAttr config = policy->model.getConfig();
    policy->layers = integer(config, "layers");
    policy->hidden = integer(config, "hidden");
    policy->vocabulary = integer(config, "vocabulary");
    policy->context = integer(config, "context");
    policies[op.getSymName()] = std::move(policy);
  }
  llvm::StringSet<> read;
  module.walk([&](Operation *op) {
    if (auto logprob = dyn_cast<rl::LogprobOp>(op))
      read.insert(logprob.getPolicy());
    if (auto entropy = dyn_cast<rl::EntropyOp>(op))
      read.insert(entropy.getPolicy());
    if (auto update = dyn_cast<rl::UpdateOp>(op))
      policy(update.getPolicy()).isTrained = true;
    if (auto sample = dyn_cast<rl::SampleOp>(op)) {
      policy(sample.getPolicy()).isSampled = true;
      (isFiltered(sample) ? policy(sample.getPolicy()).isFiltered
                          : policy(sample.getPolicy()).isPlain) = true;
      int64_t &sequences = policy(sample.getPolicy()).sequences;
      sequences = std::max<int64_t>(sequences, sample.getMaxGroups() *
                                                   sample.getMaxGroupSize());
    }
  });

  for (auto &[name, owned] : policies) {
    Policy &policy = *owned;
    Location loc = policy.op.getLoc();
    if (!policy.isTrained && !policy.isSampled && !read.contains(name))
      remark::passed(loc, scheduleRemark("Pass"))
          << remark::add("@{0}: no pass, since nothing reads it", name.str());
    if (failed(layOut(policy)))
      return failure();
    auto allocate = [&](StringRef what, int64_t bytes,
                        StringRef dtype = "f32") {
      std::string full = (name + "." + what).str();
      return buffers.allocate(loc, full, (name + ".memory").str(), bytes,
                              dtype);
    };
    policy.weights = allocate("weights", policy.total * 4);
    policy.updates = allocate("updates", 8, "f64");
    if (policy.roundedCount)
      policy.roundedWeights =
          allocate("rounded", policy.roundedCount * 2, "bf16");
    SmallVector<Attribute> all{policy.weights.getBuffer()};
    if (policy.isTrained) {
      policy.gradients = allocate("gradients", policy.total * 4);
      policy.moment1 = allocate("moment1", policy.total * 4);
      policy.moment2 = allocate("moment2", policy.total * 4);
      all.append({policy.moment1.getBuffer(), policy.moment2.getBuffer()});
    }

    NamedAttrList &info = policy.info;
    DictionaryAttr init = policy.op.getInit();
    NamedAttrList source;
    source.set("kind", init.get("kind"));
    for (StringRef key : {"path", "of"})
      if (Attribute value = init.get(key))
        source.set(key, value);
    info.set("source", source.getDictionary(b.getContext()));
    info.set("model", policy.model.getConfig());
    rl::PolicyOp root = policy.op;
    while (auto of = root.getInit().getAs<FlatSymbolRefAttr>("of"))
      root = this->policy(of.getValue()).op;
    if (Attribute tokenizer = root.getInit().get("tokenizer"))
      info.set("tokenizer", tokenizer);
    info.set("trained", b.getBoolAttr(policy.isTrained));
    SmallVector<Attribute> parameters;
    for (auto op : policy.model.getBody().getOps<lm::ParameterOp>()) {
      const Parameter &parameter = policy.parameters[op.getParameter()];
      NamedAttrList entry;
      entry.set("name", op.getParameterAttr());
      entry.set("shape", b.getI64ArrayAttr(
                             cast<RankedTensorType>(op.getType()).getShape()));
      if (op.getLayers()) {
        entry.set("layers", op.getLayersAttr());
        entry.set("stride", b.getI64IntegerAttr(parameter.stride));
      }
      entry.set("buffer", policy.weights.getBuffer());
      entry.set("offset", b.getI64IntegerAttr(parameter.offset));
      bool isNormal = op.getInit() == lm::InitKind::normal;
      entry.set(
          "init",
          b.getDictionaryAttr(
              {b.getNamedAttr(
                   "kind", b.getStringAttr(isNormal ? "normal" : "constant")),
               b.getNamedAttr(isNormal ? "std" : "value",
                              op.getInitValueAttr())}));
      parameters.push_back(entry.getDictionary(b.getContext()));
    }
    info.set("parameters", b.getArrayAttr(parameters));
    info.set("buffers", b.getArrayAttr(all));
    info.set("state", b.getArrayAttr(all));
    info.set("updates", policy.updates.getBuffer());

    if (policy.isSampled && failed(rollout(policy)))
      return failure();
    pack(policy);
    info.set("programs", policy.programs.getDictionary(b.getContext()));
    b.setInsertionPointToEnd(declarations);
    rt::PolicyOp::create(b, loc, name, info.getDictionary(b.getContext()));
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Calls of a model's functions
//===----------------------------------------------------------------------===//

func::FuncOp Models::function(Policy &policy, StringRef name) {
  return module.lookupSymbol<func::FuncOp>(
      (policy.model.getSymName() + "." + name).str());
}

Extent Models::scaled(OpBuilder &builder, Location loc, Extent rows,
                      int64_t factor) {
  Extent &result = scaledExtents[{rows.size, factor}];
  if (!result)
    result =
        buffers.extent(loc, (rows.size.getBuffer().getValue() + ".heads").str(),
                       rows.capacity * factor);
  Scratch scratch(builder, kernels);
  OpBuilder &b = scratch.builder();
  auto type = RankedTensorType::get({1}, b.getI64Type());
  Value product = ragged::map(
      b, loc, type, ragged::element(scratch.argument(type, {rows.size, {}})),
      Value(), [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
        Value times =
            arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(factor));
        return arith::MulIOp::create(b, loc, x[0], times);
      });
  scratch.dispatch(product, "", {Slot{result.size, {}}});
  return result;
}

/// Tensors that lie side by side as one, or one of them again.
LogicalResult Models::viewSideBySide(Operation *op, Kernels::Binding &binding) {
  auto bytes = [](Value value) {
    auto type = cast<RankedTensorType>(value.getType());
    return type.getNumElements() * bytesOf(type.getElementType());
  };
  auto further = [](rt::RefAttr ref, int64_t bytes) {
    return at(ref, ref.getOffset() + bytes, ref.getStride());
  };
  Value result = op->getResult(0);
  if (auto concat = dyn_cast<tensor::ConcatOp>(op)) {
    rt::RefAttr first = binding.lookup(concat.getInputs()[0]).ref;
    int64_t offset = 0;
    for (Value part : concat.getInputs()) {
      if (!first || binding.lookup(part).ref != further(first, offset))
        return op->emitError("joins tensors that do not lie side by side");
      offset += bytes(part);
    }
    binding[result] = {first, {}};
    return success();
  }
  // Of whole lines, so a number of first rows is a number of bytes.
  auto slice = cast<tensor::ExtractSliceOp>(op);
  auto type = slice.getSourceType();
  int64_t row = bytes(slice.getSource()) / type.getDimSize(0);
  rt::RefAttr ref = further(binding.lookup(slice.getSource()).ref,
                            slice.getStaticOffset(0) * row);
  if (Slot given = binding.lookup(result); given.ref && given.ref != ref)
    return op->emitError("a part of a tensor is wanted at another place than "
                         "where it is");
  binding[result] = {ref, {}};
  return success();
}

LogicalResult Models::view(OpBuilder &builder, Operation *op,
                           Kernels::Binding &binding) {
  if (isa<arith::ConstantOp, tensor::DimOp>(op))
    return success(); // say whose rows a view has
  if (isa<tensor::ConcatOp, tensor::ExtractSliceOp>(op))
    return viewSideBySide(op, binding);
  if (binding.count(op->getResult(0)))
    return op->emitError(
        "a view cannot be the result of a function of a model");
  Slot source = binding.lookup(op->getOperand(0));
  if (!source.ref)
    return op->emitError("a view of what has no buffer in the schedule");
  if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op)) {
    // Rows × heads × n: the rows of the tensor that the size is asked of.
    auto dim = expand.getOutputShape().front().getDefiningOp<tensor::DimOp>();
    if (!dim)
      return op->emitError("a view whose rows are not those of a tensor");
    source.rows = binding.lookup(dim.getSource()).rows;
  } else {
    auto collapse = cast<tensor::CollapseShapeOp>(op);
    auto shape = collapse.getSrcType().getShape();
    if (collapse.getReassociationIndices().front().size() == 2)
      source.rows = scaled(builder, op->getLoc(), source.rows, shape[1]);
  }
  binding[op->getResult(0)] = source;
  return success();
}

LogicalResult Models::call(OpBuilder &builder, Policy &policy, StringRef name,
                           Roles arguments, Roles results, Extent sequences,
                           llvm::StringMap<Slot> *given) {
  func::FuncOp function = this->function(policy, name);
  if (!function)
    return policy.op.emitError("the model has no function '") << name << "'";
  Kernels::Binding binding;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    DictionaryAttr role = function.getArgAttrDict(i);
    Value argument = function.getArgument(i);
    Slot slot = weight(policy, role, argument.getType());
    if (!slot.ref)
      slot = arguments(role, argument.getType());
    if (!slot.ref)
      return function.emitError("argument ")
             << i << " (" << roleOf(role) << ") of '" << name
             << "' has no buffer in the schedule";
    binding[argument] = slot;
  }
  Operation *ret = function.getBody().front().getTerminator();
  for (auto [i, value] : llvm::enumerate(ret->getOperands())) {
    DictionaryAttr role = function.getResultAttrDict(i);
    Slot slot = weight(policy, role, value.getType());
    if (!slot.ref)
      slot = results(role, value.getType());
    if (slot.ref && !binding.count(value))
      binding[value] = slot;
  }
  for (Operation &op : function.getBody().front().without_terminator()) {
    bool isView =
        isa<arith::ConstantOp, tensor::DimOp, tensor::ExpandShapeOp,
            tensor::CollapseShapeOp, tensor::ConcatOp, tensor::ExtractSliceOp>(
            op);
    if (failed(isView ? view(builder, &op, binding)
                      : kernels.dispatch(builder, &op, binding, "activations",
                                         sequences)))
      return failure();
  }
  if (given)
    for (auto [i, value] : llvm::enumerate(ret->getOperands())) {
      DictionaryAttr role = function.getResultAttrDict(i);
      auto named = role.getAs<StringAttr>(role::name);
      (*given)[named ? named.getValue() : roleOf(role)] = binding.lookup(value);
    }
  return success();
}

FailureOr<Slot> Models::angles(OpBuilder &builder, Policy &policy,
                               StringRef name, Slot positions) {
  func::FuncOp function = this->function(policy, name);
  bool takes = false;
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    takes |= roleOf(function.getArgAttrDict(i)) == "angles";
  llvm::StringMap<Slot> given;
  if (takes && failed(call(
                   builder, policy, "angles",
                   [&](DictionaryAttr role, Type) {
                     return pick({{"positions", positions}}, role);
                   },
                   none, {}, &given)))
    return failure();
  return given.lookup("angles");
}
