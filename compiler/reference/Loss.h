//===- Loss.h - one loss of a step file, and its derivative -----*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_REFERENCE_LOSS_H
#define R1C_COMPILER_REFERENCE_LOSS_H

#include "compiler/reference/Formulas.h"
#include "mlir/IR/BuiltinOps.h"

namespace r1c::reference {

/// A stage with one update, after `rl-differentiate`.
struct Loss {
  rl::StageOp stage;
  rl::UpdateOp update;
  mlir::Value value;       // the number that is minimized
  rl::BackwardOp backward; // its operands are the gradient
  /// What the step file names, in the stage and in the loss; not what is inside
  /// `every` or the where of a sample. A template that is used twice names
  /// several values alike.
  llvm::MapVector<llvm::StringRef, std::vector<mlir::Value>> names;

  std::string policy() { return update.getPolicy().str(); }
  std::string set() {
    return mlir::cast<rl::OutputsType>(update.getOutputs().getType())
        .getSet()
        .str();
  }
};

/// Picks a loss of `module`, which the check phase emitted: empty names mean
/// the only one there is. All other stages and updates are erased, the
/// derivative is built. No gradient passes through the definitions of the names
/// in `replaced`, except log-probabilities, entropies and values of the updated
/// policy themselves. Errors have been reported when it fails.
mlir::FailureOr<Loss> prepareLoss(mlir::ModuleOp module, llvm::StringRef stage,
                                  llvm::StringRef loss,
                                  llvm::ArrayRef<std::string> replaced = {});

/// The same for a place in `listLosses`, where names may be equal.
mlir::FailureOr<Loss> prepareLoss(mlir::ModuleOp module, size_t index);

/// `stage.loss` for every update of `module`, in order.
std::vector<std::pair<std::string, std::string>>
listLosses(mlir::ModuleOp module);

/// FILE:LINE:COLUMN where the step file says it: of a template the use.
std::string placeOf(mlir::Location loc);

} // namespace r1c::reference

#endif // R1C_COMPILER_REFERENCE_LOSS_H
