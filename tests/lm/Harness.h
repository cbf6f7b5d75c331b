//===- Harness.h - run model functions in the interpreter by role *- C++
//-*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_LM_HARNESS_H
#define R1C_TESTS_LM_HARNESS_H

#include "compiler/phases/NetworkPasses.h"
#include "compiler/phases/expand/FunctionWriter.h"
#include "compiler/phases/expand/Model.h"
#include "compiler/reference/Roles.h"
#include "mlir/Pass/PassManager.h"

#include <random>

namespace r1c::test {

using reference::Context;
using reference::Datum;
using reference::Environment;
using reference::keyOf;
using reference::Tensor;

/// An MLIR context with the dialects of models.
std::unique_ptr<mlir::MLIRContext> makeContext();

mlir::OwningOpRef<mlir::ModuleOp> parse(mlir::MLIRContext &context,
                                        llvm::StringRef text);

/// A module with `lm.model @m` and its functions.
mlir::OwningOpRef<mlir::ModuleOp> expand(mlir::MLIRContext &context,
                                         const ModelConfig &config);

/// lm-differentiate, and lm-to-kern if asked for; false if they fail.
bool differentiate(mlir::ModuleOp module, llvm::StringRef recompute = "none");
bool fuse(mlir::ModuleOp module);

/// A small model that has everything: grouped heads, biases, head norms, an
/// odd number of tokens.
ModelConfig smallConfig(bool qwen2 = false, bool qwen3 = false,
                        bool bf16 = false);

/// A generator with a fresh seed, which is printed and can be given again in
/// R1C_TEST_SEED.
std::mt19937_64 freshRandom();

Tensor randomTensor(std::vector<int64_t> shape, std::mt19937_64 &random,
                    double scale = 1);

/// Runs `@m.<function>` on values of `environment`, bound by role; a missing
/// value fails the test.
Environment run(mlir::ModuleOp module, llvm::StringRef function,
                const Environment &environment);

const Tensor &tensorOf(const Environment &environment, const std::string &key);

/// Largest |a − b| / (1 + |b|).
double difference(const Tensor &a, const Tensor &b);

} // namespace r1c::test

#endif // R1C_TESTS_LM_HARNESS_H
