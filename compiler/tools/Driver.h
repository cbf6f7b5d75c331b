//===- Driver.h - the commands of r1c ---------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TOOLS_DRIVER_H
#define R1C_COMPILER_TOOLS_DRIVER_H

#include "compiler/phases/Compile.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "runtime/execute/Session.h"

#include <string>
#include <vector>

namespace r1c {

struct DriverOptions {
  std::string file, output, target, cpu, weights;
  CompileOptions phases;
  std::vector<std::string> sets;     // NAME=VALUE
  uint64_t memory = 0;               // bytes that the buffers may take; 0: any
  std::string memoryOf = "--memory"; // who offers them
  int64_t chunkRows = 0;     // rows of a training pass; 0: the target's own
  std::string remarks;       // a regular expression of categories; empty: none
  std::string remarksTo;     // the YAML file for all of them
  std::string compileOption; // of run: one of those above that was given
  bool json = false;
  std::string stage, loss, in, evaluateOn; // of eval
  uint64_t seed = 0;                       // of check
  bool skipNetwork = false;                // of check
  std::string mistake;                     // of check: CheckOptions
};

/// The step file as rl, with what --set says; null after errors.
mlir::OwningOpRef<mlir::ModuleOp> compileStepFile(const DriverOptions &options,
                                                  mlir::MLIRContext &context);

/// Each gives the exit status: 0, or 1 after an error has been printed.
int compileMain(const DriverOptions &options);
int runMain(const DriverOptions &options, runtime::RunOptions run);
int inspectMain(const DriverOptions &options);
int evalMain(const DriverOptions &options);
int checkMain(const DriverOptions &options);

} // namespace r1c

#endif // R1C_COMPILER_TOOLS_DRIVER_H
