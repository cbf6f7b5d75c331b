//===- ModelConfig.h - the sizes of a policy --------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_EXPAND_MODELCONFIG_H
#define R1C_COMPILER_PHASES_EXPAND_MODELCONFIG_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Diagnostics.h"

namespace r1c {

/// A decoder of the Llama family: RMSNorm before each block, rotary positions,
/// grouped-query attention, a gated SiLU feed-forward. `qkvBias` makes it a
/// Qwen2, `qkNorm` a Qwen3.
struct ModelConfig {
  int64_t layers = 0, hidden = 0, heads = 0, kvHeads = 0, headDim = 0;
  int64_t intermediate = 0, vocabulary = 0;
  /// Positions of the longest sequence.
  int64_t context = 0;
  double ropeTheta = 10000, normEpsilon = 1e-5;
  /// Standard deviation of the weights of a policy that starts from nothing.
  double initStd = 0.02;
  /// The head's weight is the embedding table.
  bool tied = true;
  /// q_proj, k_proj and v_proj have a bias.
  bool qkvBias = false;
  /// Queries and keys are normalised head by head.
  bool qkNorm = false;

  /// Reads the keys layers, hidden, heads, kv_heads (= heads), head_dim
  /// (= hidden / heads), intermediate, vocabulary, context, rope_theta,
  /// norm_epsilon, init, tied, qkv_bias, qk_norm; defaults as above, the sizes
  /// are required. Ignores `kind` and `tokenizer`; any other key is an error.
  static llvm::FailureOr<ModelConfig>
  parse(mlir::DictionaryAttr dictionary,
        llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

  /// Every key, in the form that `parse` reads.
  mlir::DictionaryAttr toDictionary(mlir::MLIRContext *context) const;

  /// Reports what no model can be built from (sizes that do not divide, say).
  llvm::LogicalResult
  verify(llvm::function_ref<mlir::InFlightDiagnostic()> emitError) const;
};

} // namespace r1c

#endif // R1C_COMPILER_PHASES_EXPAND_MODELCONFIG_H
