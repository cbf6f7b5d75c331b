//===- Expand.cpp - each policy becomes lm functions over its layers ------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/Passes.h"
#include "compiler/phases/expand/Model.h"
#include "dialects/rl/RL.h"

namespace r1c {
#define GEN_PASS_DEF_EXPANDPASS
#include "compiler/phases/Passes.h.inc"
} // namespace r1c

using namespace mlir;
using namespace r1c;

namespace {

/// What is not built yet is refused here, by name, at its place in the step
/// file.
LogicalResult refuse(ModuleOp module) {
  WalkResult result = module.walk([](Operation *op) {
    if (auto value = dyn_cast<rl::ValueOp>(op)) {
      value.emitError("value(...) needs a policy with head = scalar, which is "
                      "not supported yet");
      return WalkResult::interrupt();
    }
    if (auto text = dyn_cast<rl::TextOp>(op);
        text && text.getFunction() == "run") {
      text.emitError("run(...) is not supported yet: score with text functions "
                     "or with an extern program");
      return WalkResult::interrupt();
    }
    if (auto external = dyn_cast<rl::ExternOp>(op);
        external && external.getInfo().get("library")) {
      external.emitError("extern library(...) is not supported yet: write "
                         "program(...)");
      return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

class ExpandPass : public r1c::impl::ExpandPassBase<ExpandPass> {
  /// The policy whose model `policy` has: itself, or what it is a copy of.
  rl::PolicyOp origin(rl::PolicyOp policy, SymbolTable &symbols) {
    while (policy.getInit().getAs<StringAttr>("kind") == "copy")
      policy = symbols.lookup<rl::PolicyOp>(
          policy.getInit().getAs<FlatSymbolRefAttr>("of").getValue());
    return policy;
  }

  LogicalResult expand(rl::PolicyOp policy) {
    StringRef kind = policy.getInit().getAs<StringAttr>("kind").getValue();
    if (kind == "load" &&
        policy.getInit().getAs<StringAttr>("head") == "scalar")
      return policy.emitError("head = scalar is not supported yet");
    if (kind == "load" && !policy.getInit().contains("layers"))
      return policy.emitError("the sizes of the model have not been read: "
                              "compile the step file, or a dump of it");
    if (kind != "llama" && kind != "load")
      return policy.emitError() << kind << "(...) is not supported yet";
    auto emitError = [&] { return policy.emitError(); };
    FailureOr<ModelConfig> config =
        ModelConfig::parse(policy.getInit(), emitError);
    if (failed(config) || failed(config->verify(emitError)))
      return failure();
    expandModel(getOperation(), ("model." + policy.getSymName()).str(), *config,
                policy.getLoc());
    return success();
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (failed(refuse(module)))
      return signalPassFailure();
    SymbolTable symbols(module);
    SmallVector<rl::PolicyOp> policies(module.getOps<rl::PolicyOp>());
    for (rl::PolicyOp policy : policies) {
      rl::PolicyOp from = origin(policy, symbols);
      if (from == policy && failed(expand(policy)))
        return signalPassFailure();
      policy->setAttr("model",
                      FlatSymbolRefAttr::get(
                          &getContext(), ("model." + from.getSymName()).str()));
    }
  }
};

} // namespace
