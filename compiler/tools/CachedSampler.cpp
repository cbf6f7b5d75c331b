//===- CachedSampler.cpp - sample through a cache of keys -----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/CachedSampler.h"

#include <cmath>

using namespace mlir;
using namespace r1c;
using reference::Environment;
using reference::Tensor;

/// Tokens and log-probabilities that follow the rows `last`.
FailureOr<Environment> CachedSampler::run(const std::vector<Row> &rows,
                                          const std::vector<int64_t> &last,
                                          Cache &cache, int64_t workers) {
  auto call = [&](StringRef name, const Environment &environment) {
    return compiled.run(fused.lookupSymbol<func::FuncOp>(("m." + name).str()),
                        environment, workers);
  };
  std::vector<double> tokens, positions, bases;
  for (const Row &row : rows) {
    tokens.push_back(row.token);
    positions.push_back(row.position);
    bases.push_back(row.slot * cache.capacity);
  }
  Environment environment = weights.shared;
  environment["tokens"] = Tensor::list(tokens);
  environment["positions"] = Tensor::list(positions);
  environment["bases"] = Tensor::list(bases);
  auto embedded = call("embed", environment);
  auto cacheRows = call("cache_rows", environment);
  if (failed(embedded) || failed(cacheRows))
    return failure();
  environment["cache_rows"] = cacheRows->at("cache_rows");
  environment["activation"] = embedded->at("activation");
  for (size_t layer = 0; layer < weights.layers.size(); ++layer) {
    Environment arguments = environment;
    arguments.insert(weights.layers[layer].begin(),
                     weights.layers[layer].end());
    arguments["cache_keys"] = cache.keys[layer];
    arguments["cache_values"] = cache.values[layer];
    auto results = call("layer.cached", arguments);
    if (failed(results))
      return failure();
    cache.keys[layer] = std::get<Tensor>(results->at("cache_keys"));
    cache.values[layer] = std::get<Tensor>(results->at("cache_values"));
    environment["activation"] = results->at("activation");
  }
  Tensor counter({int64_t(last.size()), 4});
  for (size_t i = 0; i < last.size(); ++i) {
    counter(i, 0) = rows[last[i]].sequence;
    counter(i, 1) = rows[last[i]].position;
  }
  environment["rows"] = Tensor::list({last.begin(), last.end()});
  environment["counter"] = counter;
  environment["key"] =
      Tensor::list({double(int32_t(seed)), double(int32_t(seed >> 32))});
  environment["temperature"] = Tensor::number(temperature);
  return call("sample", environment);
}

FailureOr<CachedSampler::Sampled>
CachedSampler::sample(const std::vector<std::vector<double>> &prompts,
                      const std::vector<int64_t> &counts, int64_t atOnce,
                      int64_t workers) {
  Sampled result;
  int64_t sequences = prompts.size();
  result.tokens.resize(sequences);
  result.logp.resize(sequences);
  Cache cache;
  cache.capacity = 1;
  for (int64_t s = 0; s < sequences; ++s)
    cache.capacity =
        std::max<int64_t>(cache.capacity, prompts[s].size() + counts[s]);
  // A cache holds anything before it is written.
  Tensor empty({atOnce * cache.capacity, config.kvHeads * config.headDim},
               std::nan(""));
  cache.keys.assign(config.layers, empty);
  cache.values = cache.keys;
  // A sequence that is done leaves its slot to the next one, whose prompt runs
  // beside the tokens of the others.
  std::vector<int64_t> slots(atOnce, -1);
  int64_t next = 0;
  while (true) {
    std::vector<Row> rows;
    std::vector<int64_t> last;
    for (int64_t slot = atOnce - 1; slot >= 0; --slot) {
      int64_t &s = slots[slot];
      if (s >= 0 && int64_t(result.tokens[s].size()) == counts[s])
        s = -1;
      if (s < 0) {
        if (next == sequences)
          continue;
        s = next++;
        for (size_t i = 0; i < prompts[s].size(); ++i)
          rows.push_back({s, int64_t(i), slot, prompts[s][i]});
      } else {
        int64_t position = prompts[s].size() + result.tokens[s].size() - 1;
        rows.push_back({s, position, slot, result.tokens[s].back()});
      }
      last.push_back(rows.size() - 1);
    }
    if (rows.empty())
      return result;
    auto drawn = run(rows, last, cache, workers);
    if (failed(drawn))
      return failure();
    for (size_t i = 0; i < last.size(); ++i) {
      int64_t s = rows[last[i]].sequence;
      result.tokens[s].push_back(std::get<Tensor>(drawn->at("token"))(i));
      result.logp[s].push_back(std::get<Tensor>(drawn->at("logp"))(i));
    }
  }
}
