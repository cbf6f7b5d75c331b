//===- Passes.h - the passes of the phases ----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_PASSES_H
#define R1C_COMPILER_PHASES_PASSES_H

#include "dialects/kern/Kern.h"
#include "dialects/lm/LM.h"
#include "dialects/rl/RL.h"
#include "dialects/rt/RT.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace r1c {

#define GEN_PASS_DECL
#include "compiler/phases/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "compiler/phases/Passes.h.inc"

} // namespace r1c

#endif // R1C_COMPILER_PHASES_PASSES_H
