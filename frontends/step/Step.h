//===- Step.h - the step language -------------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_FRONTENDS_STEP_STEP_H
#define R1C_FRONTENDS_STEP_STEP_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/Support/raw_ostream.h"

#include <string>
#include <utility>
#include <vector>

namespace r1c::step {

struct Options {
  /// `--set name=value`: the text of an expression for a number or a flag; for
  /// a param that is a text, the text itself.
  std::vector<std::pair<std::string, std::string>> overrides;
  /// Say also what is not wrong but worth knowing.
  bool remarks = false;
  /// Where errors and warnings go; null: standard error.
  llvm::raw_ostream *diagnostics = nullptr;
};

/// Reads a step file and what it imports, checks it, and emits `rl`. Null
/// after an error; all that could be found in one run have been printed, each
/// with file, line, column and a caret. Data files and model directories are
/// not opened. Loads the dialects that it emits into `context`.
mlir::OwningOpRef<mlir::ModuleOp> compileStepFile(llvm::StringRef path,
                                                  mlir::MLIRContext &context,
                                                  const Options &options = {});

/// The same for text in memory; `path` names it in messages, and its
/// directory is where imports are looked for first.
mlir::OwningOpRef<mlir::ModuleOp> compileStepText(llvm::StringRef text,
                                                  llvm::StringRef path,
                                                  mlir::MLIRContext &context,
                                                  const Options &options = {});

/// The step files that r1c ships (`rewards`, `losses`, `advantages`), by name;
/// empty if there is none.
llvm::StringRef shippedLibrary(llvm::StringRef name);

} // namespace r1c::step

#endif // R1C_FRONTENDS_STEP_STEP_H
