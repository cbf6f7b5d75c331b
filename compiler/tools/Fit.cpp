//===- Fit.cpp - ways to need less memory ---------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/Fit.h"
#include "compiler/phases/differentiate/SavePolicy.h"
#include "compiler/phases/schedule/Capacities.h"
#include "dialects/rt/RT.h"
#include "runtime/artifact/MemoryPlan.h"

using namespace mlir;
using namespace r1c;

void Fit::applyTo(ModuleOp module) const {
  Builder b(module.getContext());
  if (recompute != recomputeNames[0])
    module->setAttr(recomputeAttribute, b.getStringAttr(recompute));
  if (chunkRows)
    module->setAttr(chunkRowsAttribute, b.getI64IntegerAttr(chunkRows));
  if (headBytes)
    module->setAttr(headBytesAttribute, b.getI64IntegerAttr(headBytes));
  if (slots)
    module->setAttr(slotsAttribute, b.getI64IntegerAttr(slots));
}

bool Fit::isAgain(ModuleOp module) const {
  if (!headBytes)
    return false;
  schedule::Capacities capacities(module);
  capacities.headBytes = headBytes;
  auto becomesSmaller = [&](rt::SlicesOp slices) {
    auto chunks = slices->getParentOfType<rt::ChunksOp>();
    auto policy = module.lookupSymbol<rt::PolicyOp>(chunks.getPolicy());
    auto model = policy.getInfo().getAs<DictionaryAttr>("model");
    auto bf16 = model.getAs<BoolAttr>("bf16");
    int64_t rows = schedule::headRows(
        capacities, model.getAs<IntegerAttr>("vocabulary").getInt(),
        bf16 && bf16.getValue());
    return rows < static_cast<int64_t>(slices.getRows());
  };
  return !module
              .walk([&](rt::SlicesOp slices) {
                return becomesSmaller(slices) ? WalkResult::interrupt()
                                              : WalkResult::advance();
              })
              .wasInterrupted();
}

void Fit::explain(const DriverOptions &options) const {
  auto remark = [](const llvm::Twine &text) {
    llvm::errs() << "remark: to fit into the memory, " << text << "\n";
  };
  if (chunkRows && !options.chunkRows)
    remark("passes take " + llvm::Twine(chunkRows) + " rows at once");
  if (headBytes)
    remark("the head holds at most " + runtime::bytesText(headBytes) +
           " of logits at once");
  if (slots)
    remark("at most " + llvm::Twine(slots) + " sequences are sampled at once");
  if (recompute != recomputeNames[0])
    remark(llvm::Twine("the backward pass computes again ") +
           (recompute == "all" ? "whole layers" : "norms"));
}

/// Ways of the passes, from the fastest to the smallest.
static SmallVector<Fit> passesToFit(const DriverOptions &options) {
  SmallVector<Fit> ways;
  // Down to what --chunk-rows takes; rows below a context change nothing.
  auto addLeast = [&] {
    for (int64_t rows : {1024, 512, 256, 128, 64})
      ways.push_back({rows, recomputeNames[std::size(recomputeNames) - 1]});
  };
  if (options.target == "cpu" || options.chunkRows) {
    for (llvm::StringRef recompute : recomputeNames)
      ways.push_back({options.chunkRows, recompute});
    // Chunks of whole groups may have up to twice as many rows.
    if (!options.chunkRows)
      addLeast();
    return ways;
  }
  // On a GPU rows weigh more than what a layer keeps of them.
  ways.push_back({0, recomputeNames[0]});
  for (llvm::StringRef recompute : recomputeNames)
    ways.push_back({4096, recompute});
  addLeast();
  return ways;
}

/// Smaller slices of the head before anything that costs every layer: a half
/// of the logits adds some percent to the head alone. Down to an eighth: at
/// 512 MiB and a vocabulary of 150000, reading the weights and adding to their
/// gradients takes a GPU as long as the products.
static SmallVector<Fit> withSlices(ArrayRef<Fit> passes, int64_t headBytes) {
  SmallVector<Fit> ways;
  for (Fit way : passes)
    for (int64_t share : {1, 2, 4, 8}) {
      way.headBytes = share > 1 ? headBytes / share : 0;
      ways.push_back(way);
    }
  return ways;
}

/// Fewer caches of keys and values only where no pass can take less; which
/// sequences are sampled together shows in no bit.
std::vector<Fit> r1c::waysToFit(const DriverOptions &options, ModuleOp module) {
  SmallVector<Fit> passes =
      withSlices(passesToFit(options), schedule::Capacities(module).headBytes);
  std::vector<Fit> ways(passes.begin(), passes.end());
  // From half of the target's own on (Capacities.h).
  for (int64_t slots = options.target == "cpu" ? 32 : 128; slots >= 8;
       slots /= 2)
    for (Fit way : passes) {
      way.slots = slots;
      ways.push_back(way);
    }
  return ways;
}
