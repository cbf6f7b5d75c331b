//===- Compile.cpp - run phases over a module -----------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/Compile.h"
#include "compiler/phases/Phases.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace r1c;

/// Writes DIR/<number>-<phase>.mlir, with locations, so that it parses back
/// into the same module.
static LogicalResult dump(ModuleOp module, StringRef directory, unsigned number,
                          StringRef phase) {
  if (std::error_code error = llvm::sys::fs::create_directories(directory))
    return emitError(module.getLoc()) << "cannot make the directory '"
                                      << directory << "': " << error.message();
  SmallString<128> path(directory);
  llvm::sys::path::append(path, llvm::formatv("{0}-{1}.mlir", number, phase));
  std::error_code error;
  llvm::raw_fd_ostream out(path, error);
  if (error)
    return emitError(module.getLoc())
           << "cannot write '" << path << "': " << error.message();
  module.print(out, OpPrintingFlags().enableDebugInfo(true, /*pretty=*/false));
  out.close();
  if ((error = out.error())) {
    out.clear_error();
    return emitError(module.getLoc())
           << "cannot write '" << path << "': " << error.message();
  }
  return success();
}

LogicalResult r1c::runPhases(ModuleOp module, const CompileOptions &options) {
  bool running = options.from.empty();
  unsigned number = 0;
  for (const Phase &phase : phases()) {
    ++number;
    if (!running) {
      running = phase.name == options.from;
      continue;
    }
    if (phase.pipeline.empty()) {
      module->setAttr(phaseAttribute,
                      StringAttr::get(module.getContext(), phase.name));
    } else {
      PassManager pm(module.getContext());
      if (failed(applyPassManagerCLOptions(pm)))
        return failure();
      applyDefaultTimingPassManagerCLOptions(pm);
      if (failed(addPhase(phase, pm)) || failed(pm.run(module)))
        return failure();
    }
    if (!options.dumpTo.empty() &&
        failed(dump(module, options.dumpTo, number, phase.name)))
      return failure();
    if (phase.name == options.to)
      break;
  }
  return success();
}
