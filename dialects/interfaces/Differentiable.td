//===- Differentiable.td - ops with a derivative rule ------*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_INTERFACES_DIFFERENTIABLE_TD
#define R1C_DIALECTS_INTERFACES_DIFFERENTIABLE_TD

include "mlir/IR/OpBase.td"

def DifferentiableOpInterface : OpInterface<"DifferentiableOpInterface"> {
  let cppNamespace = "::r1c";
  let description = [{
    A derivative rule of reverse mode. The rule says first which forward values
    it reads, so that somebody else can decide whether they are saved or
    computed again, and then builds the backward ops.
  }];
  let methods = [
    InterfaceMethod<
      [{Operands and results of this op that `buildBackward` asks for, when a
        gradient arrives at the results marked in `seeded` (one flag a result).}],
      "::llvm::SmallVector<::mlir::Value>", "getBackwardReads",
      (ins "::llvm::ArrayRef<bool>":$seeded)>,
    InterfaceMethod<
      [{Builds the gradients of the operands at the builder's position.

        `resultGradients` has one entry a result, null where no gradient
        arrives; at least one is not null. `forward` gives, inside the backward
        function, the value that stands for a value of `getBackwardReads`.
        Returns one value an operand, null where the operand has no gradient
        (token ids, contexts, temperatures).}],
      "::llvm::SmallVector<::mlir::Value>", "buildBackward",
      (ins "::mlir::OpBuilder &":$builder,
           "::llvm::ArrayRef<::mlir::Value>":$resultGradients,
           "::llvm::function_ref<::mlir::Value(::mlir::Value)>":$forward)>,
  ];
}

#endif
