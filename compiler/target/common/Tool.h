//===- Tool.h - programs that a target runs ---------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TARGET_COMMON_TOOL_H
#define R1C_COMPILER_TARGET_COMMON_TOOL_H

#include "mlir/IR/Location.h"
#include "mlir/Support/LLVM.h"
#include "llvm/ADT/SmallVector.h"
#include <string>

namespace r1c {

/// Writes a file, with a diagnostic where that fails.
llvm::LogicalResult writeFile(mlir::Location loc, llvm::StringRef path,
                              llvm::StringRef text);

/// Files that a program is given and leaves, in the system's folder for those.
/// They are removed in the end, also where a signal ends the process.
class TemporaryFiles {
public:
  explicit TemporaryFiles(mlir::Location loc) : loc(loc) {}
  ~TemporaryFiles();
  TemporaryFiles(const TemporaryFiles &) = delete;
  TemporaryFiles &operator=(const TemporaryFiles &) = delete;

  /// The path of a new, empty file; a diagnostic where there can be none.
  mlir::FailureOr<std::string> make(llvm::StringRef suffix);
  /// A new file that holds this text.
  mlir::FailureOr<std::string> make(llvm::StringRef suffix,
                                    llvm::StringRef text);

private:
  mlir::Location loc;
  llvm::SmallVector<std::string> paths;
};

/// Runs a program and gives what it said. If it cannot be run, or ends by a
/// signal or with another exit code than 0, there is a diagnostic with its path
/// and what it said, and behind that what `advice` has to say of it. A signal
/// that ends this process ends the program, too.
mlir::FailureOr<std::string>
runTool(mlir::Location loc, llvm::StringRef program,
        llvm::ArrayRef<llvm::StringRef> arguments, TemporaryFiles &files,
        llvm::function_ref<llvm::StringRef(llvm::StringRef said)> advice = {});

} // namespace r1c

#endif // R1C_COMPILER_TARGET_COMMON_TOOL_H
