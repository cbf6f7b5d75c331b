//===- Parser.h - step file to syntax tree ----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_FRONTENDS_STEP_PARSER_H
#define R1C_FRONTENDS_STEP_PARSER_H

#include "frontends/step/AST.h"
#include "frontends/step/Source.h"

namespace r1c::step {

/// Parses `text`, a buffer of `source`. Errors are reported there; what could
/// be read is returned, so that several errors show in one run.
std::unique_ptr<File> parse(Source &source, llvm::StringRef text);

/// Parses one expression, as `--set name=...` gives it; null after an error.
ExprPtr parseExpression(Source &source, llvm::StringRef text);

} // namespace r1c::step

#endif // R1C_FRONTENDS_STEP_PARSER_H
