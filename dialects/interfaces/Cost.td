//===- Cost.td - what an op costs --------------------------*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_INTERFACES_COST_TD
#define R1C_DIALECTS_INTERFACES_COST_TD

include "mlir/IR/OpBase.td"

def CostOpInterface : OpInterface<"CostOpInterface"> {
  let cppNamespace = "::r1c";
  let description = [{
    What an op costs, for a number of rows that is known only when it runs.
    Operations are counted as the kernels' users count them: a multiply-add is
    two, an exponential one.
  }];
  let methods = [
    InterfaceMethod<
      "Floating-point operations for so many rows and keys a row.",
      "double", "getFlops", (ins "const ::r1c::CostShape &":$shape)>,
    InterfaceMethod<
      [{Bytes that move if every operand is read and every result written
        exactly once: the least that memory traffic can be.}],
      "double", "getBytes", (ins "const ::r1c::CostShape &":$shape), "",
      [{ return ::r1c::bytesOfOperandsAndResults($_op, shape); }]>,
  ];
}

#endif
