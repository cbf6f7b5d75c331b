//===- LM.h - the lm dialect ------------------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_LM_H
#define R1C_DIALECTS_LM_H

#include "dialects/interfaces/Interfaces.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/lm/LMDialect.h.inc"
#include "dialects/lm/LMEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/lm/LMAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/lm/LMTypes.h.inc"
#define GET_OP_CLASSES
#include "dialects/lm/LMOps.h.inc"

#endif // R1C_DIALECTS_LM_H
