//===- CompiledUpdate.h - a round's formulas as machine code ----*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TOOLS_COMPILEDUPDATE_H
#define R1C_COMPILER_TOOLS_COMPILEDUPDATE_H

#include "compiler/reference/Loss.h"
#include "mlir/IR/OwningOpRef.h"

namespace r1c {

/// The formulas of `loss.update`, taken through the phase `ragged` and the
/// CPU's code generator.
class CompiledUpdate {
public:
  struct Options {
    std::string cpu = "native";
    /// Compile what the stage computes outside the update too; otherwise the
    /// interpreter gives it.
    bool withStage = false;
    /// Values that the interpreter gives although they are formulas.
    std::function<bool(mlir::Value)> isGiven;
    /// Called on the lowered formulas before code is made of them.
    std::function<void(mlir::ModuleOp)> change;
  };

  /// `module` is left as it is; `loss` must outlive what this gives. Errors are
  /// diagnostics.
  static mlir::FailureOr<std::unique_ptr<CompiledUpdate>>
  compile(mlir::ModuleOp module, reference::Loss &loss, Options options);
  ~CompiledUpdate();

  /// The loss, its gradient and the metrics, for what `formulas` gives to the
  /// ops that are no formulas. Log-probabilities and entropies are rounded to
  /// float32, as they are stored.
  using Results = llvm::DenseMap<mlir::Value, reference::Column>;
  mlir::FailureOr<Results> run(reference::Formulas &formulas,
                               int64_t workers = 1);

  struct Implementation;

private:
  CompiledUpdate();
  std::unique_ptr<Implementation> implementation;
};

} // namespace r1c

#endif // R1C_COMPILER_TOOLS_COMPILEDUPDATE_H
