//===- NetworkPasses.td - passes on the functions of models -*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_NETWORKPASSES_TD
#define R1C_COMPILER_PHASES_NETWORKPASSES_TD

include "mlir/Pass/PassBase.td"

def LMExpandPass : Pass<"lm-expand", "mlir::ModuleOp"> {
  let summary = "write the functions of every lm.model that lists no parameters";
  let description = [{
    `lm.model @m config {layers = 2, ...} {}` becomes the model with its
    parameters and the functions `@m.embed`, `@m.layer`, `@m.head`, `@m.logits`,
    `@m.sample`. Policies go through `expandModel` instead.
  }];
  let dependentDialects = ["r1c::lm::LMDialect", "mlir::func::FuncDialect"];
}

def LMDifferentiatePass : Pass<"lm-differentiate", "mlir::ModuleOp"> {
  let summary = "give the functions of every model their backward";
  let description = [{
    `@m.embed`, `@m.layer` and `@m.head` get `@m.<f>.backward`; the layer also
    gets `@m.layer.train`, which gives what the backward reads besides. What is
    saved and what computed again is decided in `differentiate/SavePolicy.h`.
  }];
  let options = [
    Option<"recompute", "recompute", "std::string", "\"\"",
           "what a layer's backward computes again besides gates: none, cheap "
           "(norms), all (everything, from the layer's input); without it "
           "what the module's attribute r1c.recompute says, else none">];
  let dependentDialects = ["r1c::lm::LMDialect", "mlir::func::FuncDialect"];
}

def LMToKernPass : Pass<"lm-to-kern", "mlir::ModuleOp"> {
  let summary = "the functions of every model become kern ops, once";
  let description = [{
    Weights become packed operands, additions and biases epilogues of matrix
    products, gradients of parameters accumulate into operands. `@m.layer` also
    gives `@m.layer.cached`, whose keys and values live in a cache. Operands and
    results keep their roles (docs/levels.md).
  }];
  let dependentDialects = ["r1c::kern::KernDialect", "mlir::arith::ArithDialect",
                           "mlir::math::MathDialect", "mlir::tensor::TensorDialect",
                           "mlir::func::FuncDialect"];
}

#endif // R1C_COMPILER_PHASES_NETWORKPASSES_TD
