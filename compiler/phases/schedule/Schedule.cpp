//===- Schedule.cpp - rl, lm and kern become rt ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/Passes.h"
#include "compiler/phases/schedule/Models.h"
#include "compiler/phases/schedule/Stages.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace r1c {
#define GEN_PASS_DEF_SCHEDULEPASS
#include "compiler/phases/Passes.h.inc"
} // namespace r1c

using namespace mlir;
using namespace r1c;
using namespace r1c::schedule;

namespace {

class SchedulePass : public r1c::impl::SchedulePassBase<SchedulePass> {
  /// Each open param has a float64 in memory.
  llvm::StringMap<rt::RefAttr> declareParams(Buffers &buffers, OpBuilder &b) {
    llvm::StringMap<rt::RefAttr> refs;
    for (auto param : getOperation().getOps<rl::ParamOp>()) {
      NamedAttrList info;
      info.set("value", param.getValueAttr());
      info.set("open", b.getBoolAttr(param.getOpen()));
      if (param.getOpen()) {
        rt::RefAttr ref = buffers.allocate(
            param.getLoc(), ("param." + param.getSymName()).str(), "sizes", 8,
            "f64");
        refs[param.getSymName()] = ref;
        info.set("buffer", ref.getBuffer());
      }
      rt::ParamOp::create(b, param.getLoc(), param.getSymName(),
                          info.getDictionary(&getContext()));
    }
    return refs;
  }

  void declareData(OpBuilder &b) {
    for (auto data : getOperation().getOps<rl::DataOp>()) {
      NamedAttrList info(data.getInfo());
      info.set("files", b.getArrayAttr(info.erase("file")));
      rt::DataOp::create(b, data.getLoc(), data.getSymName(),
                         info.getDictionary(&getContext()));
    }
    for (auto external : getOperation().getOps<rl::ExternOp>()) {
      NamedAttrList info(external.getInfo());
      info.set("params", external.getParamsAttr());
      info.set("result", external.getResultAttr());
      rt::ExternOp::create(b, external.getLoc(), external.getSymName(),
                           info.getDictionary(&getContext()));
    }
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    // What is there now goes when the schedule is written.
    SmallVector<Operation *> old;
    for (Operation &op : *module.getBody())
      old.push_back(&op);

    // rt refers to policies by the names that rl gives them: one symbol table
    // cannot hold both, so the new ops are gathered in a module of their own.
    OwningOpRef<ModuleOp> result = ModuleOp::create(module.getLoc());
    Block *declarations = result->getBody();
    OpBuilder b = OpBuilder::atBlockEnd(declarations);
    Buffers buffers(module, declarations);
    for (StringRef arena :
         {"activations", "constants", "sizes", "tables", "kernels"})
      buffers.reserve(arena);
    for (Operation *op : old)
      if (auto symbol =
              op->getAttrOfType<StringAttr>(SymbolTable::getSymbolAttrName()))
        buffers.reserve(symbol.getValue());
    Location loc = module.getLoc();
    rt::RefAttr step = buffers.allocate(loc, "step", "sizes", 8, "f64");
    rt::RefAttr steps = buffers.allocate(loc, "steps", "sizes", 8, "f64");
    auto params = declareParams(buffers, b);
    declareData(b);

    Kernels kernels(*result, declarations, buffers);
    Models models(module, buffers, kernels);
    if (failed(models.addPolicies(declarations)))
      return signalPassFailure();
    StageWriter writer(buffers, kernels, models, step, steps,
                       std::move(params));
    for (auto stage : module.getOps<rl::StageOp>()) {
      OpBuilder at = OpBuilder::atBlockEnd(declarations);
      if (failed(writer.write(stage, at)))
        return signalPassFailure();
    }
    buffers.finish();

    for (Operation *op : llvm::reverse(old))
      op->erase();
    module.getBody()->getOperations().splice(module.getBody()->end(),
                                             declarations->getOperations());
  }
};

} // namespace
