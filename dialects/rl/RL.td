//===- RL.td - the rl dialect ------------------------------*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_RL_TD
#define R1C_DIALECTS_RL_TD

include "dialects/rl/RLTypes.td"
include "dialects/rl/RLDeclarations.td"
include "dialects/rl/RLFormulas.td"
include "dialects/rl/RLRagged.td"
include "dialects/rl/RLSteps.td"

#endif // R1C_DIALECTS_RL_TD
