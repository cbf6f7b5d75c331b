//===- Library.cpp - the step files that r1c ships ------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/Step.h"

llvm::StringRef r1c::step::shippedLibrary(llvm::StringRef name) {
  // Written by CMake from library/*.r1.
  static const std::pair<const char *, const char *> files[] = {
#include "Library.inc"
  };
  for (const auto &[file, text] : files)
    if (name == file)
      return text;
  return {};
}
