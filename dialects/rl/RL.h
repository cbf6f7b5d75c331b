//===- RL.h - the rl dialect ------------------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_RL_H
#define R1C_DIALECTS_RL_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/rl/RLDialect.h.inc"
#include "dialects/rl/RLEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/rl/RLAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/rl/RLTypes.h.inc"
#define GET_OP_CLASSES
#include "dialects/rl/RLOps.h.inc"

#endif // R1C_DIALECTS_RL_H
