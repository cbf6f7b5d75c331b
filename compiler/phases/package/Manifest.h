//===- Manifest.h - rt as the artifact's JSON -------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_PACKAGE_MANIFEST_H
#define R1C_COMPILER_PHASES_PACKAGE_MANIFEST_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/JSON.h"

#include <string>
#include <vector>

namespace r1c {

/// What the artifact says about the machine its kernels were made for.
struct TargetDescription {
  std::string kind = "cpu";
  std::string cpu;
  std::string features;
};

/// Numbers, texts, symbols (their names), arrays, dictionaries and buffer
/// references as JSON, a unit as true; null for any other attribute.
llvm::json::Value toJson(mlir::Attribute attr);

/// Turns a module of `rt` into the manifest that dialects/rt/README.md
/// describes: declarations become lists, each command an object with its
/// attributes by name, `body` for its region and `loc` as file:line:col.
llvm::json::Value manifestFrom(mlir::ModuleOp module,
                               const TargetDescription &target);

/// The contents of the arena `constants`, laid out by the buffers' offsets.
std::vector<char> constantsFrom(mlir::ModuleOp module);

} // namespace r1c

#endif // R1C_COMPILER_PHASES_PACKAGE_MANIFEST_H
