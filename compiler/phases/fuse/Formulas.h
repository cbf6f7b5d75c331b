//===- Formulas.h - the scalar formulas inside the model's kernels *- C++
//-*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// What the regions of the fused kernels compute. Each agrees with the op of the
// same name in dialects/lm, in float32.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_FUSE_FORMULAS_H
#define R1C_COMPILER_PHASES_FUSE_FORMULAS_H

#include "compiler/phases/fuse/KernWriter.h"

namespace r1c::fuse {

/// x / sqrt(mean(x²) + ε) · w over the columns of `x`, stored as `element`.
mlir::Value rmsNorm(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x,
                    mlir::Value weight, double epsilon, mlir::Type element);

struct RMSNormGradient {
  mlir::Value input; ///< ∂L/∂x (+ `residual` if there is one)
  mlir::Value scale; ///< 1 / sqrt(mean(x²) + ε), one a row
};
RMSNormGradient rmsNormGradient(mlir::OpBuilder &b, mlir::Location loc,
                                mlir::Value gradient, mlir::Value x,
                                mlir::Value weight, mlir::Value residual,
                                double epsilon);

/// The body of silu(gate) · up, for an epilogue or a map.
mlir::Value siluMul(Scalars &s, mlir::Value gate, mlir::Value up);

struct LogProb {
  mlir::Value logp, entropy, lse; ///< one a row
};
/// Log-probability of the target, entropy and log Σ exp of logits / T. The one
/// place that computes a log-probability: sampling and training both call it.
/// `kept`, here and below: the tokens that may be drawn, or null: all.
LogProb logProb(mlir::OpBuilder &b, mlir::Location loc, mlir::Value logits,
                mlir::Value targets, mlir::Value temperature, mlir::Value kept);

/// ∂L/∂logits from the seeds, stored as `element`; `logpGradient` or
/// `entropyGradient` may be null.
mlir::Value logitsGradient(mlir::OpBuilder &b, mlir::Location loc,
                           mlir::Value logits, mlir::Value targets,
                           mlir::Value temperature, mlir::Value entropy,
                           mlir::Value lse, mlir::Value logpGradient,
                           mlir::Value entropyGradient, mlir::Value kept,
                           mlir::Type element);

/// The tokens that top_k, top_p and min_p keep, a flag a logit.
mlir::Value keep(mlir::OpBuilder &b, mlir::Location loc, mlir::Value logits,
                 mlir::Value temperature, mlir::Value topK, mlir::Value topP,
                 mlir::Value minP);

/// A token a row by Gumbel-max.
mlir::Value sample(mlir::OpBuilder &b, mlir::Location loc, mlir::Value logits,
                   mlir::Value temperature, mlir::Value counter,
                   mlir::Value key, mlir::Value kept);

} // namespace r1c::fuse

#endif // R1C_COMPILER_PHASES_FUSE_FORMULAS_H
