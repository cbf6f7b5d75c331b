//===- LMExpand.cpp - lm-expand: models written down by their sizes ------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/NetworkPasses.h"
#include "compiler/phases/expand/Model.h"

namespace r1c {
#define GEN_PASS_DEF_LMEXPANDPASS
#include "compiler/phases/NetworkPasses.h.inc"
} // namespace r1c

using namespace mlir;
using namespace r1c;

namespace {

struct LMExpandPass : public r1c::impl::LMExpandPassBase<LMExpandPass> {
  void runOnOperation() override {
    for (auto model :
         llvm::make_early_inc_range(getOperation().getOps<lm::ModelOp>())) {
      if (!model.getBody().front().empty())
        continue;
      auto config = ModelConfig::parse(model.getConfig(),
                                       [&] { return model.emitError(); });
      if (failed(config))
        return signalPassFailure();
      std::string name = model.getSymName().str();
      Location loc = model.getLoc();
      model.erase();
      expandModel(getOperation(), name, *config, loc);
    }
  }
};

} // namespace
