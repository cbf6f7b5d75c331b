//===- SeedProgram.cpp - what an update computes per token ----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/schedule/SeedProgram.h"
#include "compiler/phases/schedule/Support.h"
#include "dialects/kern/Kern.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::schedule;

namespace {

using Ops = llvm::SmallPtrSet<Operation *, 32>;

bool isIn(Value value, const Ops &ops) {
  return value && value.getDefiningOp() && ops.contains(value.getDefiningOp());
}

/// Whether element i of each result needs no element but i of those operands
/// that `dependent` ops define.
bool isElementwise(Operation *op, const Ops &dependent) {
  if (isa<rl::ToTensorOp, rl::FromTensorOp>(op))
    return true;
  auto map = dyn_cast<kern::MapOp>(op);
  if (!map)
    return false;
  auto isElement = [](Attribute access) {
    return cast<kern::AccessAttr>(access).getKind() ==
           kern::AccessKind::element;
  };
  for (auto [input, access] : llvm::zip(map.getInputs(), map.getAccess()))
    if (isIn(input, dependent) && !isElement(access))
      return false;
  return llvm::none_of(map.getIndices(),
                       [&](Value index) { return isIn(index, dependent); }) &&
         llvm::all_of(map.getResultAccess(), isElement);
}

} // namespace

std::optional<SeedProgram> schedule::tokenLocalSeeds(rl::UpdateOp update,
                                                     Operation *&culprit) {
  culprit = nullptr;
  Block &body = update.getBody().front();
  auto backwards = llvm::to_vector(body.getOps<rl::BackwardOp>());
  if (backwards.size() != 1)
    return std::nullopt;
  SeedProgram program;
  program.backward = backwards.front();

  // What the forward pass gives, and all that depends on it.
  Ops reads, dependent;
  for (Operation &op : body) {
    bool isRead = false;
    if (auto logprob = dyn_cast<rl::LogprobOp>(op))
      isRead = !logprob.getTemperature();
    else if (auto entropy = dyn_cast<rl::EntropyOp>(op))
      isRead = !entropy.getTemperature();
    // At a temperature of its own it is a pass of its own.
    if (isa<rl::LogprobOp, rl::EntropyOp>(op) && !isRead) {
      culprit = &op;
      return std::nullopt;
    }
    if (isRead)
      reads.insert(&op);
    // The backward pass follows the forward pass even where its seeds are known
    // before, as a likelihood's are.
    if (isRead || &op == program.backward ||
        llvm::any_of(op.getOperands(),
                     [&](Value operand) { return isIn(operand, dependent); }))
      dependent.insert(&op);
  }

  llvm::SetVector<Operation *> needed;
  auto need = [&](Value value) {
    if (isIn(value, dependent))
      needed.insert(value.getDefiningOp());
  };
  need(program.backward.getSeeds());
  need(program.backward.getEntropySeeds());
  for (unsigned i = 0; i < needed.size(); ++i) {
    Operation *op = needed[i];
    if (reads.contains(op))
      continue;
    if (!isElementwise(op, dependent)) {
      culprit = op;
      return std::nullopt;
    }
    for (Value operand : op->getOperands())
      need(operand);
  }
  for (Operation &op : body) {
    if (reads.contains(&op) || &op == program.backward)
      continue;
    (needed.contains(&op)      ? program.seeds
     : dependent.contains(&op) ? program.after
                               : program.before)
        .push_back(&op);
  }
  return program;
}

void schedule::explainSweeps(rl::UpdateOp op, Operation *culprit) {
  remark::missed(op.getLoc(), scheduleRemark("Sweeps"))
      << remark::add("two sweeps over the chunks, log-probabilities first");
  if (culprit)
    remark::analysis(culprit->getLoc(), scheduleRemark("Sweeps"))
        << remark::add(isa<rl::LogprobOp, rl::EntropyOp>(culprit)
                           ? "two sweeps, since this is read at a temperature "
                             "of its own"
                           : "two sweeps, since a token's seed needs this, and "
                             "this other tokens");
}
