//===- EvalInput.h - the values that r1c eval is given ----------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TOOLS_EVALINPUT_H
#define R1C_COMPILER_TOOLS_EVALINPUT_H

#include "compiler/reference/Loss.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"

namespace r1c {

/// The JSON of `r1c eval --in`: see docs/eval.md.
class EvalInput {
public:
  static llvm::Expected<EvalInput> parse(llvm::StringRef text);

  /// Sizes of every set of outputs that is given. Sequences of `updated` whose
  /// number of tokens nothing else says have as many as `policy` gives values.
  llvm::Expected<std::map<std::string, reference::Axes>>
  axes(llvm::StringRef updated, llvm::StringRef policy) const;

  /// A field of a set; none if a sequence lacks it.
  llvm::Expected<std::optional<reference::Column>>
  field(llvm::StringRef set, llvm::StringRef name, mlir::Type type,
        const reference::Axes &axes) const;

  /// What `kind` ("logp", "entropy", "value") gives for a policy.
  llvm::Expected<std::optional<reference::Column>>
  policyValues(llvm::StringRef kind, llvm::StringRef policy, mlir::Type type,
               const reference::Axes &axes) const;

  /// A number at the top level (`step`, `steps`).
  std::optional<double> number(llvm::StringRef name) const;

  /// Names under `let`.
  std::vector<std::string> letNames() const;
  llvm::Expected<reference::Column> let(llvm::StringRef name, mlir::Type type,
                                        const reference::Axes &axes) const;

private:
  llvm::json::Object json;
};

/// `column` in the shape that `axes` gives it: a number, a list, or for tokens
/// a list a sequence. Flags become booleans; what JSON has no number for
/// becomes "inf", "-inf" or "nan".
llvm::json::Value toJSON(const reference::Column &column, mlir::Type type,
                         const reference::Axes &axes);

} // namespace r1c

#endif // R1C_COMPILER_TOOLS_EVALINPUT_H
