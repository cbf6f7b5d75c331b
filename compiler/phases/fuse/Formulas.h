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
  mlir::Value input;   ///< ∂L/∂x (+ `residual` if there is one)
  mlir::Value scale;   ///< 1 / sqrt(mean(x²) + ε), one a row
  mlir::Value rounded; ///< `input` in another type, if one is given
};
RMSNormGradient rmsNormGradient(mlir::OpBuilder &b, mlir::Location loc,
                                mlir::Value gradient, mlir::Value x,
                                mlir::Value weight, mlir::Value residual,
                                double epsilon, mlir::Type rounded = {});

/// The body of silu(gate) · up, for an epilogue or a map.
mlir::Value siluMul(Scalars &s, mlir::Value gate, mlir::Value up);
/// That of its derivatives with respect to gate and up.
llvm::SmallVector<mlir::Value> siluMulGradient(Scalars &s, mlir::Value gradient,
                                               mlir::Value gate,
                                               mlir::Value up);

/// 1 / T; T = 0, which means "take the maximum", leaves the logits as they
/// are. A factor: divisions a column would cost as much as exp.
mlir::Value inverseTemperature(Scalars &s, mlir::Value temperature);

/// The logits of a head: stored, or a product whose sums are read where they
/// arise and never stored.
struct Logits {
  Logits(mlir::Value stored, mlir::Value kept) : stored(stored), kept(kept) {}
  Logits(mlir::Value x, mlir::Value packed, mlir::Value kept)
      : x(x), packed(packed), kept(kept) {}
  mlir::Value stored, x, packed;
  /// Of stored ones, for their gradient: which rows are meant (i32).
  mlir::Value rows;
  /// The tokens that may be drawn (i1); null: all.
  mlir::Value kept;
};

struct LogProb {
  mlir::Value logp, entropy, lse; ///< one a row
};
/// Log-probability of the target, entropy and log Σ exp of logits / T. `store`,
/// if given, gets the logits themselves, float32, of a product too.
LogProb logProb(mlir::OpBuilder &b, mlir::Location loc, Logits logits,
                mlir::Value targets, mlir::Value temperature,
                mlir::Value *store = nullptr);

/// ∂L/∂logits from the seeds, behind the product that gives the logits or from
/// `rows` of stored ones, with the same bits; stored as `element`.
/// `logpGradient` or `entropyGradient` may be null.
mlir::Value logitsGradient(mlir::OpBuilder &b, mlir::Location loc,
                           Logits logits, mlir::Value targets,
                           mlir::Value temperature, mlir::Value entropy,
                           mlir::Value lse, mlir::Value logpGradient,
                           mlir::Value entropyGradient, mlir::Type element);

/// The tokens that top_k, top_p and min_p keep, a flag a logit.
mlir::Value keep(mlir::OpBuilder &b, mlir::Location loc, mlir::Value logits,
                 mlir::Value temperature, mlir::Value topK, mlir::Value topP,
                 mlir::Value minP);

struct Drawn {
  mlir::Value token, logp; ///< one a row
};
/// A token a row by Gumbel-max, and its log-probability with the bits that
/// logProb gives for it as the target.
Drawn sample(mlir::OpBuilder &b, mlir::Location loc, Logits logits,
             mlir::Value temperature, mlir::Value counter, mlir::Value key);

} // namespace r1c::fuse

#endif // R1C_COMPILER_PHASES_FUSE_FORMULAS_H
