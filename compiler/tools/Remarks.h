//===- Remarks.h - what the compiler says of its decisions ------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TOOLS_REMARKS_H
#define R1C_COMPILER_TOOLS_REMARKS_H

#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Remarks.h"
#include "llvm/Support/raw_ostream.h"

#include <string>
#include <vector>

namespace r1c {

/// "differentiate, fuse, schedule, target"
std::string remarkCategories();

/// Remarks of MLIR's engine, kept until the compilation has ended: it may run
/// the phases several times, and only what came of the last one is true. Must
/// outlive the context.
class Remarks {
public:
  /// Lets the context's engine report here.
  void enable(mlir::MLIRContext &context);
  void forget() { kept.clear(); }

  /// One line for each remark of a category that `categories`, a regular
  /// expression, matches as a whole: by category, in the order of the phases,
  /// and what holds for several functions once.
  void print(llvm::StringRef categories, llvm::raw_ostream &out) const;

  /// All of them, as LLVM's tools read them. False if the file cannot be
  /// written.
  bool writeYaml(llvm::StringRef path) const;

private:
  std::vector<mlir::remark::detail::Remark> kept;
};

/// What is wrong with a regular expression of categories; empty if nothing is.
std::string refusedCategories(llvm::StringRef categories);

} // namespace r1c

#endif // R1C_COMPILER_TOOLS_REMARKS_H
