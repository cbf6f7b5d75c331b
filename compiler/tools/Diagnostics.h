//===- Diagnostics.h - errors for people ------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TOOLS_DIAGNOSTICS_H
#define R1C_COMPILER_TOOLS_DIAGNOSTICS_H

#include "mlir/IR/Diagnostics.h"

namespace r1c {

/// MLIR's handler, but for what is about a whole file (its location has line
/// 0): that is printed with the file's name and no line.
class Diagnostics : public mlir::SourceMgrDiagnosticHandler {
public:
  Diagnostics(llvm::SourceMgr &sources, mlir::MLIRContext *context);
};

} // namespace r1c

#endif // R1C_COMPILER_TOOLS_DIAGNOSTICS_H
