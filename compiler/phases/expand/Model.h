//===- Model.h - a policy as functions of lm --------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_EXPAND_MODEL_H
#define R1C_COMPILER_PHASES_EXPAND_MODEL_H

#include "compiler/phases/expand/ModelConfig.h"
#include "dialects/lm/LM.h"
#include "mlir/IR/BuiltinOps.h"

namespace r1c {

/// Appends `lm.model @name` with its parameters (Hugging Face's names for
/// LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM) and the functions
///
///   @name.embed  (tokens, table) -> activation
///   @name.layer  (activation, context, parameters of one layer) -> activation
///   @name.head   (activation, rows, targets, temperature, norm, weight)
///                -> logp, entropy, lse       for the rows that predict a token
///   @name.head.filtered     the same with kept, a flag a token of the
///                           vocabulary for each row: over the kept sets
///   @name.logits (activation, rows, norm, weight) -> logits
///   @name.sample (activation, rows, temperature, counter, key, norm, weight)
///                -> token, logp
///   @name.sample.filtered   the same with top_k, top_p, min_p: token and logp
///                           are those of the kept set, which is a result
///
/// There is one layer function whatever the number of layers: its parameters
/// are arguments. The config must have passed `verify`.
lm::ModelOp expandModel(mlir::ModuleOp module, llvm::StringRef name,
                        const ModelConfig &config, mlir::Location loc);

} // namespace r1c

#endif // R1C_COMPILER_PHASES_EXPAND_MODEL_H
