//===- Names.h - each name once, each name known, each name used -*- C++
//-*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_FRONTENDS_STEP_NAMES_H
#define R1C_FRONTENDS_STEP_NAMES_H

#include "frontends/step/AST.h"
#include "frontends/step/Source.h"
#include "llvm/ADT/StringMap.h"

#include <functional>

namespace r1c::step {

/// `token`, `sequence`, `group`, `batch`, `rollout`.
bool isAxisName(llvm::StringRef name);

/// Names that stand for values: step, steps, pi, none, any, ...
llvm::ArrayRef<llvm::StringRef> builtinValues();

/// Functions of the language. A value may have the name of one, since a value
/// is never called; a fn, loss or extern may not.
llvm::ArrayRef<llvm::StringRef> builtinFunctions();

/// The names of an imported file; null if it could not be read.
using ImportLookup = std::function<const File *(llvm::StringRef)>;

/// Checks the names of one file: given once, shadowing nothing, known where
/// they are read, and read somewhere. In the main file an unused declaration
/// is a warning; a library is read for what one needs of it.
void checkNames(Source &source, const File &file, bool isMain,
                const ImportLookup &import);

} // namespace r1c::step

#endif // R1C_FRONTENDS_STEP_NAMES_H
