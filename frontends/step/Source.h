//===- Source.h - source files and diagnostics ------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_FRONTENDS_STEP_SOURCE_H
#define R1C_FRONTENDS_STEP_SOURCE_H

#include "mlir/IR/Location.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/SourceMgr.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace r1c::step {

/// Where a template (fn or loss) is used: errors inside it point here.
struct Use {
  llvm::SMLoc loc;
  std::string name;
};

/// The step file, what it imports, and the errors found in them, printed as
/// clang prints: file:line:col, the line, a caret.
class Source {
public:
  explicit Source(llvm::raw_ostream &out) : out(out) {}

  /// Takes a buffer in; `name` is what diagnostics and locations call it.
  llvm::StringRef add(std::string text, llvm::StringRef name);

  /// Counts and prints an error; false if this one was printed before (a
  /// template is checked at each use).
  bool error(llvm::SMLoc loc, const llvm::Twine &message);
  void warning(llvm::SMLoc loc, const llvm::Twine &message);
  void remark(llvm::SMLoc loc, const llvm::Twine &message);
  void note(llvm::SMLoc loc, const llvm::Twine &message);

  unsigned errorCount() const { return errors; }

  /// File, line and column of a position, as an MLIR location.
  mlir::Location location(mlir::MLIRContext *context, llvm::SMLoc loc) const;

  /// 1-based line of a position, for messages.
  unsigned lineOf(llvm::SMLoc loc) const;

private:
  void print(llvm::SMLoc loc, llvm::SourceMgr::DiagKind kind,
             const llvm::Twine &message);

  llvm::SourceMgr manager;
  llvm::raw_ostream &out;
  unsigned errors = 0;
  std::vector<std::pair<const char *, std::string>> printed;
};

/// The candidate nearest to `name` by edit distance, empty if none is near
/// enough to be meant.
llvm::StringRef nearest(llvm::StringRef name,
                        llvm::ArrayRef<llvm::StringRef> candidates);

/// "; did you mean 'x'?" for the nearest candidate, or nothing.
std::string didYouMean(llvm::StringRef name,
                       llvm::ArrayRef<llvm::StringRef> candidates);

} // namespace r1c::step

#endif // R1C_FRONTENDS_STEP_SOURCE_H
