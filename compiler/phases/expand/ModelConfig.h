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
  /// Positions of the longest sequence that memory is laid out for, and of the
  /// longest that the model knows (0: the same).
  int64_t context = 0, positions = 0;
  double ropeTheta = 10000, normEpsilon = 1e-5;
  /// What rotary frequencies are divided by in a model for longer texts than it
  /// was first trained on. With `ropeOriginal`, the context of that first
  /// training, only frequencies that turn less than `ropeLow` times in it are
  /// divided, those of more than `ropeHigh` turns stay ("llama3").
  double ropeFactor = 1, ropeLow = 1, ropeHigh = 4, ropeOriginal = 0;
  /// Standard deviation of the weights of a policy that starts from nothing.
  double initStd = 0.02;
  /// The head's weight is the embedding table.
  bool tied = true;
  /// q_proj, k_proj and v_proj have a bias.
  bool qkvBias = false;
  /// Queries and keys are normalised head by head.
  bool qkNorm = false;
  /// Matrix products read weights and activations rounded to bfloat16, and sum
  /// in float32.
  bool bf16 = false;

  /// Reads the keys layers, hidden, heads, kv_heads (= heads), head_dim
  /// (= hidden / heads), intermediate, vocabulary, context, positions,
  /// rope_theta, norm_epsilon, rope_factor, rope_low, rope_high, rope_original,
  /// init, tied, qkv_bias, qk_norm, bf16; defaults as above, the sizes are
  /// required. Ignores `kind`, `tokenizer`, `path` and `head`; any other key is
  /// an error.
  static llvm::FailureOr<ModelConfig>
  parse(mlir::DictionaryAttr dictionary,
        llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

  /// Every key, in the form that `parse` reads.
  mlir::DictionaryAttr toDictionary(mlir::MLIRContext *context) const;

  /// The angle by which each pair of a head's columns turns a position.
  llvm::SmallVector<double> ropeFrequencies() const;

  /// Reports what no model can be built from (sizes that do not divide, say).
  llvm::LogicalResult
  verify(llvm::function_ref<mlir::InFlightDiagnostic()> emitError) const;
};

} // namespace r1c

#endif // R1C_COMPILER_PHASES_EXPAND_MODELCONFIG_H
