//===- Register.cpp - the dialects and passes that the tools know ---------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/Register.h"
#include "compiler/phases/Phases.h"
#include "compiler/target/cpu/Cpu.h"
#include "compiler/target/cuda/Cuda.h"
#include "dialects/kern/Kern.h"
#include "dialects/lm/LM.h"
#include "dialects/rl/RL.h"
#include "dialects/rt/RT.h"
#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"

void r1c::registerDialects(mlir::DialectRegistry &registry) {
  mlir::registerAllDialects(registry);
  mlir::registerAllExtensions(registry);
  registry
      .insert<rl::RLDialect, lm::LMDialect, kern::KernDialect, rt::RTDialect>();
}

void r1c::registerPasses() {
  mlir::registerAllPasses();
  registerPhases();
  cpu::registerCpuPasses();
  cuda::registerCudaPasses();
}
