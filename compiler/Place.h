//===- Place.h - locations in words -----------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PLACE_H
#define R1C_COMPILER_PLACE_H

#include "mlir/IR/Location.h"
#include "llvm/Support/FormatVariadic.h"

namespace r1c {

/// "step.r1:8:8"; the file alone for line 0, which stands for all of it.
inline std::string placeText(llvm::StringRef file, mlir::FileLineColLoc loc) {
  if (!loc.getLine())
    return file.str();
  return llvm::formatv("{0}:{1}:{2}", file, loc.getLine(), loc.getColumn());
}

inline std::string placeText(mlir::FileLineColLoc loc) {
  return placeText(loc.getFilename(), loc);
}

} // namespace r1c

#endif // R1C_COMPILER_PLACE_H
