//===- Loss.cpp - one loss of a step file, and its derivative -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Loss.h"
#include "compiler/Place.h"
#include "compiler/phases/Passes.h"
#include "mlir/Pass/PassManager.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::reference;

/// The name that a step file gave to what `op` computes; empty without one.
static StringRef nameOf(Operation *op) {
  auto named = dyn_cast<NameLoc>(op->getLoc());
  return named ? named.getName().getValue() : StringRef();
}

std::string reference::placeOf(Location loc) {
  if (auto named = dyn_cast<NameLoc>(loc))
    return placeOf(named.getChildLoc());
  if (auto call = dyn_cast<CallSiteLoc>(loc))
    return placeOf(call.getCaller());
  if (auto place = dyn_cast<FileLineColLoc>(loc))
    return placeText(place);
  return "?";
}

static rl::GradientOp gradientOf(rl::UpdateOp update) {
  auto gradients = update.getBody().getOps<rl::GradientOp>();
  return gradients.empty() ? rl::GradientOp() : *gradients.begin();
}

namespace {
struct Candidate {
  rl::StageOp stage;
  rl::UpdateOp update;
  std::string stageName, lossName;
};
} // namespace

static std::vector<Candidate> candidatesOf(ModuleOp module) {
  std::vector<Candidate> result;
  for (auto stage : module.getOps<rl::StageOp>())
    stage.walk([&](rl::UpdateOp update) {
      if (rl::GradientOp gradient = gradientOf(update))
        result.push_back(
            {stage, update, stage.getSymName().str(), nameOf(gradient).str()});
    });
  return result;
}

std::vector<std::pair<std::string, std::string>>
reference::listLosses(ModuleOp module) {
  std::vector<std::pair<std::string, std::string>> result;
  for (const Candidate &candidate : candidatesOf(module))
    result.push_back({candidate.stageName, candidate.lossName});
  return result;
}

static FailureOr<Candidate> choose(ModuleOp module, StringRef stage,
                                   StringRef loss) {
  std::vector<Candidate> all = candidatesOf(module), found;
  std::string names;
  for (const Candidate &candidate : all) {
    names += (names.empty() ? "" : ", ") + candidate.stageName + "." +
             candidate.lossName;
    if ((stage.empty() || candidate.stageName == stage) &&
        (loss.empty() || candidate.lossName == loss))
      found.push_back(candidate);
  }
  if (found.size() == 1)
    return found.front();
  std::string wanted =
      (stage.empty() ? "" : " of stage '" + stage.str() + "'") +
      (loss.empty() ? "" : " named '" + loss.str() + "'");
  if (all.empty())
    return emitError(module.getLoc()) << "no stage has an update with a loss";
  if (found.empty())
    return emitError(module.getLoc())
           << "no loss" << wanted << ": there are " << names;
  return emitError(module.getLoc())
         << found.size() << " losses" << wanted
         << ": choose one with --stage and --loss; there are " << names;
}

/// The named values of a block and of the update in it.
static void collectNames(Block &block, Loss &loss) {
  for (Operation &op : block) {
    if (&op == loss.update) {
      collectNames(loss.update.getBody().front(), loss);
      continue;
    }
    StringRef name = nameOf(&op);
    if (!name.empty() && op.getNumResults() == 1 &&
        rl::getAxis(op.getResult(0).getType()))
      loss.names[name].push_back(op.getResult(0));
  }
}

/// Gradients stop at a definition that has been replaced.
static void stopGradient(Value value, rl::UpdateOp update) {
  Operation *op = value.getDefiningOp();
  if (!update->isProperAncestor(op) || !isa<rl::NumType>(value.getType()) ||
      isa<rl::LogprobOp, rl::EntropyOp, rl::ValueOp>(op))
    return;
  OpBuilder builder(op->getContext());
  builder.setInsertionPointAfter(op);
  auto stop = rl::StopOp::create(builder, op->getLoc(), value.getType(), value);
  value.replaceAllUsesExcept(stop.getResult(), stop);
}

static FailureOr<Loss> prepare(ModuleOp module, const Candidate &chosen,
                               ArrayRef<std::string> replaced) {
  Loss loss;
  loss.stage = chosen.stage;
  loss.update = chosen.update;
  for (Candidate &candidate : candidatesOf(module))
    if (candidate.update != loss.update)
      candidate.update.erase();
  for (auto other : llvm::make_early_inc_range(module.getOps<rl::StageOp>()))
    if (other != loss.stage)
      other.erase();
  collectNames(loss.stage.getBody().front(), loss);
  if (loss.update->getParentOp() != loss.stage) // inside rl.every
    collectNames(*loss.update->getBlock(), loss);
  for (const std::string &name : replaced)
    for (Value value : loss.names.lookup(name))
      stopGradient(value, loss.update);
  // Read after the replacement, which may have been of the loss itself.
  loss.value = gradientOf(loss.update).getLoss();

  PassManager pm(module.getContext());
  pm.addPass(createRLDifferentiatePass());
  if (failed(pm.run(module)))
    return failure();
  loss.backward = *loss.update.getBody().getOps<rl::BackwardOp>().begin();
  return loss;
}

FailureOr<Loss> reference::prepareLoss(ModuleOp module, StringRef stage,
                                       StringRef lossName,
                                       ArrayRef<std::string> replaced) {
  auto chosen = choose(module, stage, lossName);
  if (failed(chosen))
    return failure();
  return prepare(module, *chosen, replaced);
}

FailureOr<Loss> reference::prepareLoss(ModuleOp module, size_t index) {
  return prepare(module, candidatesOf(module).at(index), {});
}
