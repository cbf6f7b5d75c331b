//===- Phases.cpp - the phases of a compilation, in order -----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/Phases.h"
#include "compiler/phases/NetworkPasses.h"
#include "compiler/phases/Passes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;
using namespace r1c;
using llvm::StringRef;

static const StringRef afterDifferentiate[] = {"rl.gradient"};
static const StringRef afterRagged[] = {
    "rl.map", "rl.repeat", "rl.reduce", "rl.reduce_grad", "rl.scan", "rl.stop"};
static const StringRef afterFuse[] = {"lm"};
// The shape of a policy and its parameters: declarations, no computation.
static const StringRef declarations[] = {"lm.model", "lm.parameter"};
static const StringRef afterSchedule[] = {"rl", "lm", "tensor"};

static const Phase allPhases[] = {
    {"check", "step file to rl: names, axes, versions, capacities", "", {}},
    {"expand",
     "each policy becomes lm functions over its layers",
     "rl-add-metrics,r1c-expand",
     {}},
    {"differentiate",
     "the loss formula gives seeds per token, layer functions their backward",
     "rl-differentiate,lm-differentiate,canonicalize,cse", afterDifferentiate},
    {"ragged", "axis-typed values become tensors with offsets, formulas kern",
     "rl-to-kern,canonicalize,cse", afterRagged},
    {"fuse", "each layer function becomes kern ops, once", "lm-to-kern",
     afterFuse, declarations},
    {"schedule", "buffers, dispatches, programs: rt, with kernels outlined",
     "r1c-schedule", afterSchedule},
};

llvm::ArrayRef<Phase> r1c::phases() { return allPhases; }

const Phase *r1c::findPhase(StringRef name) {
  for (const Phase &phase : allPhases)
    if (phase.name == name)
      return &phase;
  return nullptr;
}

namespace {

class VerifyPhasePass
    : public PassWrapper<VerifyPhasePass, OperationPass<ModuleOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(VerifyPhasePass)
  explicit VerifyPhasePass(const Phase &phase) : phase(&phase) {}

  StringRef getArgument() const final { return "r1c-verify-phase"; }
  StringRef getDescription() const final {
    return "list the ops that must not survive a phase";
  }

  void runOnOperation() override {
    getOperation().walk([&](Operation *op) {
      for (StringRef illegal : phase->illegal) {
        if (op->getName().getStringRef() != illegal &&
            op->getName().getDialectNamespace() != illegal)
          continue;
        if (llvm::is_contained(phase->legal, op->getName().getStringRef()))
          continue;
        op->emitError() << "'" << op->getName() << "' must not survive phase '"
                        << phase->name << "'";
        signalPassFailure();
      }
    });
  }

private:
  const Phase *phase;
};

} // namespace

std::unique_ptr<Pass> r1c::createVerifyPhasePass(const Phase &phase) {
  return std::make_unique<VerifyPhasePass>(phase);
}

LogicalResult r1c::addPhase(const Phase &phase, OpPassManager &pm) {
  if (failed(parsePassPipeline(phase.pipeline, pm)))
    return failure();
  if (!phase.illegal.empty())
    pm.addPass(createVerifyPhasePass(phase));
  return success();
}

void r1c::registerPhases() {
  registerPhasesPasses();
  registerNetworkPasses();
  for (const Phase &phase : allPhases) {
    if (phase.pipeline.empty())
      continue;
    // The registry keeps the strings by reference: they must outlive it.
    static std::vector<std::unique_ptr<std::string>> arguments;
    arguments.push_back(
        std::make_unique<std::string>(("r1c-phase-" + phase.name).str()));
    registerPassPipeline(
        *arguments.back(), phase.summary,
        [&phase](OpPassManager &pm, StringRef,
                 function_ref<LogicalResult(const Twine &)>) {
          return addPhase(phase, pm);
        },
        [](function_ref<void(const mlir::detail::PassOptions &)>) {});
  }
}
