//===- RL.td - the rl dialect ------------------------------*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_RL_TD
#define R1C_DIALECTS_RL_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def RL_Dialect : Dialect {
  let name = "rl";
  let cppNamespace = "::r1c::rl";
  let summary = "see README.md";
}

class RL_Op<string mnemonic, list<Trait> traits = []> : Op<RL_Dialect, mnemonic, traits>;

#endif
