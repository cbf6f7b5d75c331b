//===- CachedSampler.h - sample through a cache of keys ---------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TOOLS_CACHEDSAMPLER_H
#define R1C_COMPILER_TOOLS_CACHEDSAMPLER_H

#include "compiler/tools/CompiledModel.h"
#include "compiler/tools/ModelRunner.h"

namespace r1c {

/// Writes sequences with a compiled model, prompts first and then a token at a
/// time, its keys and values in a cache of slots.
class CachedSampler {
public:
  CachedSampler(CompiledModel &compiled, mlir::ModuleOp fused,
                const ModelConfig &config, const ModelWeights &weights,
                double temperature, uint64_t seed)
      : compiled(compiled), fused(fused), config(config), weights(weights),
        temperature(temperature), seed(seed) {}

  struct Sampled {
    std::vector<std::vector<double>> tokens, logp; // of each sequence
  };
  /// `counts[s]` tokens behind `prompts[s]`, so many sequences at once. What is
  /// drawn depends on the sequence and the position alone.
  mlir::FailureOr<Sampled>
  sample(const std::vector<std::vector<double>> &prompts,
         const std::vector<int64_t> &counts, int64_t atOnce, int64_t workers);

private:
  struct Row {
    int64_t sequence, position, slot;
    double token;
  };
  struct Cache {
    std::vector<reference::Tensor> keys, values; // of each layer
    int64_t capacity;
  };
  mlir::FailureOr<reference::Environment> run(const std::vector<Row> &rows,
                                              const std::vector<int64_t> &last,
                                              Cache &cache, int64_t workers);

  CompiledModel &compiled;
  mlir::ModuleOp fused;
  const ModelConfig &config;
  const ModelWeights &weights;
  double temperature;
  uint64_t seed;
};

} // namespace r1c

#endif // R1C_COMPILER_TOOLS_CACHEDSAMPLER_H
