//===- Register.h - the dialects and passes that the tools know -*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TOOLS_REGISTER_H
#define R1C_COMPILER_TOOLS_REGISTER_H

#include "mlir/IR/DialectRegistry.h"

namespace r1c {

/// Adds r1c's dialects and the upstream ones that its phases use.
void registerDialects(mlir::DialectRegistry &registry);

/// Makes every pass and phase pipeline known to the textual pipeline parser.
void registerPasses();

} // namespace r1c

#endif // R1C_COMPILER_TOOLS_REGISTER_H
