//===- Passes.td - the passes of the phases ----------------*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_PASSES_TD
#define R1C_COMPILER_PHASES_PASSES_TD

include "mlir/Pass/PassBase.td"

def AddMetricsPass : Pass<"rl-add-metrics", "mlir::ModuleOp"> {
  let summary = "record loss, ratio/max_deviation, entropy, reward/mean and reward/std";
  let description = [{
    Metrics that every run has without the step file naming them. They are
    ordinary formulas from here on.
  }];
  let dependentDialects = ["mlir::arith::ArithDialect", "mlir::math::MathDialect"];
}

def ExpandPass : Pass<"r1c-expand", "mlir::ModuleOp"> {
  let summary = "each policy becomes lm functions over its layers";
  let description = [{
    Policies that are copies share the model of what they copy. `rl.policy` gets the
    attribute `model`. Refuses, by name and place, what is not supported yet.
  }];
  let dependentDialects = ["r1c::lm::LMDialect", "mlir::func::FuncDialect"];
}

def RLDifferentiatePass : Pass<"rl-differentiate", "mlir::ModuleOp"> {
  let summary = "replace rl.gradient by the reverse-mode program of its loss";
  let description = [{
    In each `rl.update`, walks back from the loss and builds the derivative of
    every formula, down to the log-probabilities and entropies of the updated
    policy: g = dL/dl and h = dL/dH per token, which `rl.backward` takes.
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
