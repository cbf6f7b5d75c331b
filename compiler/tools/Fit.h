//===- Fit.h - ways to need less memory -------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TOOLS_FIT_H
#define R1C_COMPILER_TOOLS_FIT_H

#include "compiler/tools/Driver.h"

namespace r1c {

/// A way to need less memory, of which attributes of the module tell the
/// phases. What is 0 is the target's own.
struct Fit {
  int64_t chunkRows;
  llvm::StringRef recompute;
  int64_t headBytes = 0;
  int64_t slots = 0;

  void applyTo(mlir::ModuleOp module) const;

  /// Whether this is what the phases made of the way before it, `module`: that
  /// has slices of the head which fewer bytes do not make smaller.
  bool isAgain(mlir::ModuleOp module) const;

  /// Says what has become smaller, as remarks on standard error.
  void explain(const DriverOptions &options) const;
};

/// From the fastest to the smallest; the first one takes nothing away. `module`
/// is for the target.
std::vector<Fit> waysToFit(const DriverOptions &options, mlir::ModuleOp module);

} // namespace r1c

#endif // R1C_COMPILER_TOOLS_FIT_H
