//===- StepTesting.h - compile step texts in tests --------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_FRONTENDS_STEP_STEPTESTING_H
#define R1C_TESTS_FRONTENDS_STEP_STEPTESTING_H

#include "frontends/step/Step.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include "gtest/gtest.h"
#include <string>

namespace r1c::step {

struct Compiled {
  bool ok = false;
  std::string diagnostics;
  /// The module as text, and whether that text parses back to itself.
  std::string text;
  bool roundTrips = false;
};

inline Compiled finish(mlir::OwningOpRef<mlir::ModuleOp> module,
                       mlir::MLIRContext &context, std::string diagnostics) {
  Compiled result;
  result.diagnostics = std::move(diagnostics);
  result.ok = static_cast<bool>(module);
  if (!module)
    return result;
  llvm::raw_string_ostream(result.text) << *module;
  auto again = mlir::parseSourceString<mlir::ModuleOp>(result.text, &context);
  std::string text;
  if (again)
    llvm::raw_string_ostream(text) << *again;
  result.roundTrips = text == result.text;
  return result;
}

inline Compiled
compile(llvm::StringRef text,
        std::vector<std::pair<std::string, std::string>> overrides = {},
        bool remarks = false) {
  mlir::MLIRContext context;
  std::string diagnostics;
  llvm::raw_string_ostream out(diagnostics);
  Options options;
  options.overrides = std::move(overrides);
  options.diagnostics = &out;
  options.remarks = remarks;
  auto module = compileStepText(text, "t.r1", context, options);
  return finish(std::move(module), context, diagnostics);
}

inline Compiled compileFile(llvm::StringRef path) {
  mlir::MLIRContext context;
  std::string diagnostics;
  llvm::raw_string_ostream out(diagnostics);
  Options options;
  options.diagnostics = &out;
  auto module = compileStepFile(path, context, options);
  return finish(std::move(module), context, diagnostics);
}

/// Declarations that most tests need; 7 lines.
inline const std::string prelude = R"(import rewards
import losses
import advantages
policy actor = load("m")
policy reference = actor
policy rm = load("rm", head = scalar)
data math = jsonl("m.jsonl", prompt = "{q}", completion = "{a}", answer = text, points = number, good = flag)
)";

/// A stage with a set `o`, then `body`, which starts at line 10.
inline std::string inStage(llvm::StringRef body) {
  return prelude +
         "stage s(rounds = 320) {\n  o = sample(actor, math, groups = "
         "4, group_size = 4, max_new_tokens = 64)\n" +
         body.str() + "\n}\n";
}

struct Case {
  std::string text;
  /// The first error: "line:column: error: words" or a part of it.
  std::string error;
};

/// Each text, in the stage of `inStage` or after the prelude, is refused with
/// its error.
inline void expectErrors(llvm::ArrayRef<Case> cases, bool body) {
  for (const Case &one : cases) {
    Compiled compiled =
        compile(body ? inStage(one.text) : prelude + one.text + "\n");
    EXPECT_FALSE(compiled.ok) << one.text;
    std::string first;
    llvm::SmallVector<llvm::StringRef> lines;
    llvm::StringRef(compiled.diagnostics).split(lines, '\n');
    for (llvm::StringRef line : lines)
      // That a small case reads nothing of its sets is beside the point.
      if (first.empty() && line.contains("error: ") &&
          (!line.contains("is never used") ||
           llvm::StringRef(one.error).contains("is never used")))
        first = line.str();
    EXPECT_NE(first.find(one.error), std::string::npos)
        << one.text.substr(0, 500) << "\n"
        << llvm::StringRef(compiled.diagnostics).take_front(2000).str();
  }
}

} // namespace r1c::step

#endif // R1C_TESTS_FRONTENDS_STEP_STEPTESTING_H
