//===- Network.h - what the ops of lm mean ----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// One function an op of dialects/lm, in float64 and in the order in which one
// would write it on paper. Slow on purpose.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_REFERENCE_NETWORK_H
#define R1C_COMPILER_REFERENCE_NETWORK_H

#include "compiler/reference/Tensor.h"
#include "llvm/ADT/ArrayRef.h"

#include <array>

namespace r1c::reference {

Tensor gather(const Tensor &table, const Tensor &rows);
/// result[rows[i], :] += x[i, :], on zeros of `count` rows.
Tensor scatterAdd(const Tensor &x, const Tensor &rows, int64_t count);

Tensor rmsNorm(const Tensor &x, const Tensor &weight, double epsilon,
               int64_t heads);
struct RMSNormGradient {
  Tensor input, weight;
};
RMSNormGradient rmsNormGradient(const Tensor &gradient, const Tensor &x,
                                const Tensor &weight, double epsilon,
                                int64_t heads);

/// a · b, with either read transposed.
Tensor multiply(const Tensor &a, const Tensor &b, bool transposeA,
                bool transposeB);
/// x · wᵀ + bias; `bias` may be null.
Tensor linear(const Tensor &x, const Tensor &weight, const Tensor *bias);
Tensor columnSum(const Tensor &x);

/// Of kern.angles: a row a position, the cosines and then the sines.
Tensor anglesOf(const Tensor &positions, llvm::ArrayRef<float> frequencies);

Tensor rope(const Tensor &x, const Context &context, int64_t heads,
            llvm::ArrayRef<double> frequencies, bool inverse);

struct Attention {
  Tensor result, lse;
};
Attention attention(const Tensor &query, const Tensor &key, const Tensor &value,
                    const Context &context, int64_t heads, int64_t keyHeads,
                    double scale);
struct AttentionGradient {
  Tensor query, key, value;
};
AttentionGradient attentionGradient(const Tensor &gradient, const Tensor &query,
                                    const Tensor &key, const Tensor &value,
                                    const Tensor &result, const Tensor &lse,
                                    const Context &context, int64_t heads,
                                    int64_t keyHeads, double scale);

Tensor siluMul(const Tensor &gate, const Tensor &up);
struct SiluMulGradient {
  Tensor gate, up;
};
SiluMulGradient siluMulGradient(const Tensor &gradient, const Tensor &gate,
                                const Tensor &up);
Tensor add(const Tensor &a, const Tensor &b);

struct LogProb {
  Tensor logp, entropy, lse;
};
/// `kept`, here and below: a flag a logit, 0 for tokens outside of the kept
/// set; null: there are none.
LogProb logProb(const Tensor &logits, const Tensor &targets, double temperature,
                const Tensor *kept = nullptr);
/// ∂L/∂logits; the seeds may be null (0).
Tensor logitsGradient(const Tensor &logits, const Tensor &targets,
                      double temperature, const Tensor *entropy,
                      const Tensor &lse, const Tensor *logpGradient,
                      const Tensor *entropyGradient,
                      const Tensor *kept = nullptr);
/// The kept set of each row.
Tensor keep(const Tensor &logits, double temperature, double topK, double topP,
            double minP);
Tensor sample(const Tensor &logits, double temperature, const Tensor &counter,
              const Tensor &key, const Tensor *kept = nullptr);

/// Philox4x32-10 (Salmon et al., SC11).
std::array<uint32_t, 4> philox(std::array<uint32_t, 2> key,
                               std::array<uint32_t, 4> counter);
/// The random word of a column, as in kern.noise.
uint32_t noise(std::array<uint32_t, 2> key, uint32_t c1, uint32_t c2,
               int64_t column);

} // namespace r1c::reference

#endif // R1C_COMPILER_REFERENCE_NETWORK_H
