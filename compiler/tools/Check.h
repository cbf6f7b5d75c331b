//===- Check.h - the parts of r1c check -------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TOOLS_CHECK_H
#define R1C_COMPILER_TOOLS_CHECK_H

#include "compiler/phases/expand/ModelConfig.h"
#include "compiler/tools/CheckReport.h"
#include "dialects/rl/RL.h"
#include "mlir/IR/BuiltinOps.h"

#include <random>

namespace r1c {

struct CheckOptions {
  std::string cpu = "native";
  uint64_t seed = 0;
  bool skipNetwork = false;
  /// What to get wrong on purpose, so that the check is seen to fail:
  /// "derivative", "formula", "network" or "cache". Empty: nothing.
  std::string mistake;
};

/// Adds a section about one loss, by its place in `listLosses`. Errors, as
/// opposed to what does not agree, are diagnostics.
mlir::LogicalResult checkLoss(mlir::ModuleOp module, size_t index,
                              const CheckOptions &options, CheckReport &report);

/// Fills a section about a network of this shape with random weights.
mlir::LogicalResult checkNetwork(mlir::MLIRContext &context,
                                 const ModelConfig &config,
                                 const CheckOptions &options,
                                 CheckSection &section);

/// The same shape in small, and in words what was made smaller; empty if
/// nothing.
std::pair<ModelConfig, std::string> shrink(const ModelConfig &config);

} // namespace r1c

#endif // R1C_COMPILER_TOOLS_CHECK_H
