//===- FunctionWriter.h - functions whose arguments have roles --*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The functions of a model say of each argument and result what it is, so that
// the schedule can bind buffers to them from the text alone. docs/levels.md
// lists the roles.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_EXPAND_FUNCTIONWRITER_H
#define R1C_COMPILER_PHASES_EXPAND_FUNCTIONWRITER_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

namespace r1c {

namespace role {
/// What an argument or a result is.
inline constexpr llvm::StringLiteral attribute = "r1c.role";
/// The parameter (or, for packed weights, an array of them) that it belongs to.
inline constexpr llvm::StringLiteral parameter = "r1c.parameter";
/// What a gradient is the gradient of: "activation", "logp", "entropy".
inline constexpr llvm::StringLiteral of = "r1c.of";
/// The name of a saved value; equal in `.train` and `.backward`.
inline constexpr llvm::StringLiteral name = "r1c.name";
/// How a packed weight is packed: "forward", "backward" or "paired".
inline constexpr llvm::StringLiteral layout = "r1c.layout";
/// The frequencies by which angles grow with positions.
inline constexpr llvm::StringLiteral frequencies = "r1c.frequencies";
/// On a function: its model and which of the model's functions it is.
inline constexpr llvm::StringLiteral model = "r1c.model";
inline constexpr llvm::StringLiteral function = "r1c.function";
} // namespace role

/// `{r1c.role = role}` and further string attributes.
mlir::DictionaryAttr
makeRole(mlir::MLIRContext *context, llvm::StringRef role,
         llvm::ArrayRef<std::pair<llvm::StringRef, llvm::StringRef>> more = {});

/// The role in the attributes of an argument or result; empty if none.
llvm::StringRef roleOf(mlir::DictionaryAttr attributes);

/// Writes a `func.func` whose arguments are found while its body is written.
class FunctionWriter {
public:
  /// Function `@<model>.<function>` at the end of `module`.
  FunctionWriter(mlir::ModuleOp module, mlir::Location loc,
                 llvm::StringRef model, llvm::StringRef function);

  /// At the end of the body.
  mlir::OpBuilder &builder() { return body; }

  mlir::Value argument(mlir::Type type, mlir::DictionaryAttr attributes,
                       mlir::Location loc);

  void result(mlir::Value value, mlir::DictionaryAttr attributes);

  /// Ends the body with the results so far.
  mlir::func::FuncOp finish();

private:
  mlir::func::FuncOp func;
  mlir::OpBuilder body;
  llvm::SmallVector<mlir::Attribute> argumentAttributes, resultAttributes;
  llvm::SmallVector<mlir::Value> results;
};

} // namespace r1c

#endif // R1C_COMPILER_PHASES_EXPAND_FUNCTIONWRITER_H
