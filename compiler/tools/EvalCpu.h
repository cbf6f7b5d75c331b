//===- EvalCpu.h - run an update's formulas as compiled ---------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TOOLS_EVALCPU_H
#define R1C_COMPILER_TOOLS_EVALCPU_H

#include "compiler/reference/Loss.h"

namespace r1c {

/// Runs the body of `loss.update` through the phase `ragged` and the CPU's code
/// generator, calls the kernels, and binds what they give for the loss and its
/// gradient in `formulas`. What the body reads from outside it, and what has
/// been bound before, comes from `formulas`. Log-probabilities and entropies
/// are rounded to float32, as they are stored. `module` is left as it is.
/// Errors have been reported when it fails.
llvm::LogicalResult evaluateOnCpu(mlir::ModuleOp module, reference::Loss &loss,
                                  reference::Formulas &formulas,
                                  llvm::StringRef cpu);

} // namespace r1c

#endif // R1C_COMPILER_TOOLS_EVALCPU_H
