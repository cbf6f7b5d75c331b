//===- Roles.h - run a model's functions by role ----------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_REFERENCE_ROLES_H
#define R1C_COMPILER_REFERENCE_ROLES_H

#include "compiler/reference/Interpreter.h"
#include "mlir/IR/BuiltinOps.h"

#include <string>

namespace r1c::reference {

/// Values by what a role says of them, e.g. "parameter model.norm.weight",
/// "gradient logp", "saved query", "activation".
using Environment = std::map<std::string, Datum>;

/// The key of an argument or result in an Environment.
std::string keyOf(mlir::DictionaryAttr attributes);

/// The value of an argument with these attributes: of its key, or made from
/// others. Packed operands are made from parameters, "positions", "bases",
/// "shared", "shared_bases" and "offsets" from "context", "angles" from
/// "positions". None if a value is
/// missing.
std::optional<Datum> bind(mlir::DictionaryAttr attributes,
                          const Environment &environment);

/// Values for all arguments of `func`; what is missing is reported.
mlir::FailureOr<std::vector<Datum>>
bindArguments(mlir::func::FuncOp func, const Environment &environment);

/// Runs `func` of `lm` or `kern` in the interpreter, its arguments bound by
/// role; gives its results by key. Errors are diagnostics.
mlir::FailureOr<Environment> run(mlir::func::FuncOp func,
                                 const Environment &environment);

} // namespace r1c::reference

#endif // R1C_COMPILER_REFERENCE_ROLES_H
