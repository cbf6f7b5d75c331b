//===- EvalCpu.cpp - run an update's formulas as compiled -----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/EvalCpu.h"

using namespace mlir;
using namespace r1c;

LogicalResult r1c::evaluateOnCpu(ModuleOp module, reference::Loss &loss,
                                 reference::Formulas &formulas,
                                 llvm::StringRef cpu) {
  return module.emitError(
      "eval --target cpu is not supported yet: write --target reference");
}
