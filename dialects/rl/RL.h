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
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/StringRef.h"

#include "dialects/rl/RLDialect.h.inc"
#include "dialects/rl/RLEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/rl/RLAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/rl/RLTypes.h.inc"
#define GET_OP_CLASSES
#include "dialects/rl/RLOps.h.inc"

namespace r1c::rl {

/// Axis of a num, flag or text type; none for any other type.
std::optional<Axis> getAxis(mlir::Type type);

/// Name of the set of outputs that a num, flag, text or outputs type belongs
/// to; empty for one number, flag or text, and for any other type.
llvm::StringRef getSet(mlir::Type type);

/// The type of the same kind (num, flag or text) on another axis of its set,
/// or of axis one.
mlir::Type withAxis(mlir::Type type, Axis axis);

/// The update in whose region `op` stands, or null.
UpdateOp getEnclosingUpdate(mlir::Operation *op);

} // namespace r1c::rl

#endif // R1C_DIALECTS_RL_H
