//===- Compile.h - run phases over a module ---------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_COMPILE_H
#define R1C_COMPILER_PHASES_COMPILE_H

#include "mlir/IR/BuiltinOps.h"

#include <string>

namespace r1c {

struct CompileOptions {
  /// Phases to run: those after `from`, up to and including `to`; empty: from
  /// `check` (the module holds rl) to the last one.
  std::string from, to;
  /// Directory for one .mlir a phase, numbered in order; empty: none.
  std::string dumpTo;
  /// Print a line a phase with its time to standard error.
  bool verbose = false;
};

/// Lowers `module` in place. Errors have been reported when it fails.
llvm::LogicalResult runPhases(mlir::ModuleOp module,
                              const CompileOptions &options);

} // namespace r1c

#endif // R1C_COMPILER_PHASES_COMPILE_H
