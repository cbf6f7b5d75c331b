//===- Passes.td - the passes of the phases ----------------*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_PASSES_TD
#define R1C_COMPILER_PHASES_PASSES_TD

include "mlir/Pass/PassBase.td"

def RLDifferentiatePass : Pass<"rl-differentiate", "mlir::ModuleOp"> {
  let summary = "replace rl.gradient by the reverse-mode program of its loss";
  let description = [{
    In each `rl.update`, walks back from the loss and builds the derivative of
    every formula, down to the log-probabilities and entropies of the updated
    policy: g = dL/dl and h = dL/dH per token, which `rl.backward` takes. Also
    adds the metrics that every update has: loss and ratio/max_deviation.
  }];
  let dependentDialects = ["mlir::arith::ArithDialect", "mlir::math::MathDialect"];
}

def RLToKernPass : Pass<"rl-to-kern", "mlir::ModuleOp"> {
  let summary = "axis-typed values become tensors with offsets, formulas kern ops";
  let dependentDialects = ["r1c::kern::KernDialect", "mlir::arith::ArithDialect",
                           "mlir::tensor::TensorDialect"];
}

def SchedulePass : Pass<"r1c-schedule", "mlir::ModuleOp"> {
  let summary = "lay out buffers, outline kernels, and write the programs in rt";
  let dependentDialects = ["r1c::rt::RTDialect"];
}

#endif // R1C_COMPILER_PHASES_PASSES_TD
