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
#include "llvm/ADT/StringExtras.h"

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

std::string r1c::phaseNames() {
  return llvm::join(
      llvm::map_range(allPhases, [](const Phase &phase) { return phase.name; }),
      ", ");
}

namespace {

/// A pass at a border of a phase. The phase is an option by name, so that the
/// pipeline that a reproducer prints can be parsed again.
template <typename Derived>
class PhasePass : public PassWrapper<Derived, OperationPass<ModuleOp>> {
public:
  PhasePass() = default;
  PhasePass(const PhasePass &other)
      : PassWrapper<Derived, OperationPass<ModuleOp>>(other) {}
  explicit PhasePass(StringRef phase) { name = phase.str(); }

protected:
  /// The phase, or null after an error.
  const Phase *phase() {
    const Phase *found = findPhase(name);
    if (found && !found->pipeline.empty())
      return found;
    this->getOperation()->emitError()
        << "no phase with passes is called '" << name << "'";
    this->signalPassFailure();
    return nullptr;
  }

private:
  Pass::Option<std::string> name{*this, "phase",
                                 llvm::cl::desc("the phase's name")};
};

/// Refuses what another phase than the one before has left. A module that does
/// not say what it is is taken at its word: tests of passes write such.
class BeginPhasePass : public PhasePass<BeginPhasePass> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(BeginPhasePass)
  using PhasePass::PhasePass;

  StringRef getArgument() const final { return "r1c-begin-phase"; }
  StringRef getDescription() const final {
    return "refuse the module of another phase";
  }

  void runOnOperation() override {
    const Phase *phase = this->phase();
    if (!phase)
      return;
    auto after = getOperation()->getAttrOfType<StringAttr>(phaseAttribute);
    StringRef wanted = std::prev(phase)->name;
    if (!after || after.getValue() == wanted)
      return;
    getOperation()->emitError()
        << "this is the IR after phase '" << after.getValue() << "'; phase '"
        << phase->name << "' takes that after '" << wanted << "'";
    signalPassFailure();
  }
};

/// Verifies what a phase leaves, and signs it.
class EndPhasePass : public PhasePass<EndPhasePass> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(EndPhasePass)
  using PhasePass::PhasePass;

  StringRef getArgument() const final { return "r1c-end-phase"; }
  StringRef getDescription() const final {
    return "list the ops that must not survive a phase";
  }

  void runOnOperation() override {
    const Phase *phase = this->phase();
    if (!phase)
      return;
    getOperation()->setAttr(phaseAttribute,
                            StringAttr::get(&getContext(), phase->name));
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
};

} // namespace

LogicalResult r1c::addPhase(const Phase &phase, OpPassManager &pm) {
  pm.addPass(std::make_unique<BeginPhasePass>(phase.name));
  if (failed(parsePassPipeline(phase.pipeline, pm)))
    return failure();
  pm.addPass(std::make_unique<EndPhasePass>(phase.name));
  return success();
}

void r1c::registerPhases() {
  registerPhasesPasses();
  registerNetworkPasses();
  PassRegistration<BeginPhasePass>();
  PassRegistration<EndPhasePass>();
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
