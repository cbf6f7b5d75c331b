//===- Phases.h - the phases of a compilation, in order ---------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The one list of phases. The driver's --compile-to, --compile-from and
// --dump-phases-to, its help text, the registered pipelines
// `r1c-phase-<phase>`, the docs and the tests all read this list.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_PHASES_H
#define R1C_COMPILER_PHASES_PHASES_H

#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace r1c {

struct Phase {
  llvm::StringRef name;
  /// What enters, what leaves, in a line.
  llvm::StringRef summary;
  /// Textual pass pipeline on builtin.module; empty for `check`, which is the
  /// frontend's.
  llvm::StringRef pipeline;
  /// Ops that must not survive the phase: dialect names or full op names.
  llvm::ArrayRef<llvm::StringRef> illegal;
  /// Full op names that may survive although their dialect may not.
  llvm::ArrayRef<llvm::StringRef> legal = {};
};

/// All phases, in order.
llvm::ArrayRef<Phase> phases();

/// The phase of this name, or null.
const Phase *findPhase(llvm::StringRef name);

/// The module's attribute that names the phase it stands after.
inline constexpr llvm::StringLiteral phaseAttribute = "r1c.phase";

/// "check, expand, ...": for messages.
std::string phaseNames();

/// Adds a phase's passes and its verifier to `pm`.
llvm::LogicalResult addPhase(const Phase &phase, mlir::OpPassManager &pm);

/// Registers the pipelines `r1c-phase-<phase>` and r1c's passes.
void registerPhases();

} // namespace r1c

#endif // R1C_COMPILER_PHASES_PHASES_H
