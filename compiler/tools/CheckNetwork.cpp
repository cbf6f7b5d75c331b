//===- CheckNetwork.cpp - a policy's network, held against itself ---------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// docs/check.md gives the reason of each bound.
//===----------------------------------------------------------------------===//

#include "compiler/phases/NetworkPasses.h"
#include "compiler/phases/expand/Model.h"
#include "compiler/tools/CachedSampler.h"
#include "compiler/tools/Check.h"
#include "compiler/tools/CompiledModel.h"
#include "compiler/tools/ModelRunner.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Pass/PassManager.h"

#include <cmath>

using namespace mlir;
using namespace r1c;
using reference::Environment;
using reference::Tensor;

/// Float32 through two layers, forward; and back again, with sums over rows.
static constexpr double forwardBound = 1e-5, gradientBound = 2e-5;
/// Central differences of a sum of some dozen log-probabilities, in float64.
static constexpr double directionBound = 1e-7;
/// Log-probabilities and gradients are of size one here.
static constexpr double floorOfOne = 1, gradientFloor = 1e-2;

std::pair<ModelConfig, std::string> r1c::shrink(const ModelConfig &config) {
  ModelConfig small = config;
  std::string what;
  auto limit = [&](const char *name, int64_t ModelConfig::*size, int64_t most) {
    if (small.*size <= most)
      return;
    what += llvm::formatv("{0}{1} {2} of {3}", what.empty() ? "" : ", ", name,
                          most, small.*size);
    small.*size = most;
  };
  int64_t share = config.heads / config.kvHeads;
  limit("layers", &ModelConfig::layers, 2);
  limit("hidden", &ModelConfig::hidden, 64);
  limit("head_dim", &ModelConfig::headDim, 16);
  limit("intermediate", &ModelConfig::intermediate, 96);
  limit("vocabulary", &ModelConfig::vocabulary, 300);
  // As many query heads share a key head as before, up to four.
  int64_t queries = std::min<int64_t>(share, 4);
  limit("kv_heads", &ModelConfig::kvHeads, std::max<int64_t>(2, 4 / queries));
  limit("heads", &ModelConfig::heads, small.kvHeads * queries);
  small.heads = small.kvHeads * queries;
  return {small, what};
}

namespace {

class NetworkCheck {
public:
  NetworkCheck(MLIRContext &context, const ModelConfig &config,
               const CheckOptions &options, CheckSection &section)
      : context(context), config(config), options(options), section(section),
        random(options.seed) {}
  LogicalResult run();

private:
  LogicalResult build();
  void spoil(StringRef function, double factor);
  LogicalResult sampleAndScore();
  LogicalResult againstInterpreter();
  LogicalResult differences(ModelRunner::Gradients &gradients);
  LogicalResult cuts();

  ModelRunner machine(int64_t workers = 1) {
    return {[this, workers](StringRef name, const Environment &environment) {
              return compiled->run(functionOf(*fused, name), environment,
                                   workers);
            },
            weights, temperature, /*accumulates=*/true};
  }
  ModelRunner interpreter(const ModelWeights &weights) {
    return {[this](StringRef name, const Environment &environment) {
              return reference::run(functionOf(*module, name), environment);
            },
            weights, temperature, /*accumulates=*/false};
  }
  static func::FuncOp functionOf(ModuleOp module, StringRef name) {
    return module.lookupSymbol<func::FuncOp>(("m." + name).str());
  }
  /// The rows of these sequences as a chunk.
  TokenRows chunk(ArrayRef<size_t> sequences);
  /// The seeds of the same.
  static std::vector<double>
  ofSequences(const std::vector<std::vector<double>> &values,
              ArrayRef<size_t> sequences);
  void add(StringRef what, const Errors &errors, std::optional<double> bound) {
    section.rows.emplace_back(what.str(), errors, bound);
  }

  MLIRContext &context;
  const ModelConfig &config;
  const CheckOptions &options;
  CheckSection &section;
  std::mt19937_64 random;
  OwningOpRef<ModuleOp> module, fused;
  std::unique_ptr<CompiledModel> compiled;
  ModelWeights weights;
  double temperature = 0.8;
  std::vector<std::vector<double>> prompts;
  std::vector<std::vector<double>> chosen, recorded; // by the sampler
  std::vector<std::vector<double>> logpSeeds, entropySeeds;
  std::vector<size_t> all;
};

} // namespace

LogicalResult NetworkCheck::build() {
  Location loc = UnknownLoc::get(&context);
  module = ModuleOp::create(loc);
  expandModel(*module, "m", config, loc);
  PassManager pm(&context);
  pm.addPass(createLMDifferentiatePass());
  if (failed(pm.run(*module)))
    return failure();
  fused = OwningOpRef<ModuleOp>(module->clone());
  PassManager fuse(&context);
  fuse.addPass(createLMToKernPass());
  if (failed(fuse.run(*fused)))
    return failure();
  // Code generation is most of what the check costs.
  for (StringRef unused :
       {"logits", "sample.filtered", "head.filtered", "head.filtered.backward",
        "head.filtered.backward.logp"})
    functionOf(*fused, unused).erase();
  if (options.mistake == "network")
    spoil("layer.train", 1.001);
  if (options.mistake == "cache")
    spoil("layer.cached", 1 + std::ldexp(1, -20));
  auto result = CompiledModel::compile(*fused, options.cpu);
  if (failed(result))
    return failure();
  compiled = std::move(*result);
  weights = ModelWeights::random(*module, config, random);
  return success();
}

/// Multiplies the first product in a function by `factor`.
void NetworkCheck::spoil(StringRef function, double factor) {
  functionOf(*fused, function).walk([&](arith::MulFOp op) {
    OpBuilder builder(op);
    builder.setInsertionPointAfter(op);
    Value by = arith::ConstantOp::create(
        builder, op.getLoc(), builder.getFloatAttr(op.getType(), factor));
    auto wrong = arith::MulFOp::create(builder, op.getLoc(), op, by);
    op.getResult().replaceAllUsesExcept(wrong, wrong);
    return WalkResult::interrupt();
  });
}

TokenRows NetworkCheck::chunk(ArrayRef<size_t> sequences) {
  TokenRows result;
  for (size_t s : sequences) {
    size_t start = result.tokens.size();
    for (const std::vector<double> *part : {&prompts[s], &chosen[s]})
      result.tokens.insert(result.tokens.end(), part->begin(), part->end());
    result.lengths.push_back(prompts[s].size() + chosen[s].size());
    for (size_t t = 0; t < chosen[s].size(); ++t) {
      result.rows.push_back(start + prompts[s].size() - 1 + t);
      result.targets.push_back(chosen[s][t]);
    }
  }
  return result;
}

std::vector<double>
NetworkCheck::ofSequences(const std::vector<std::vector<double>> &values,
                          ArrayRef<size_t> sequences) {
  std::vector<double> result;
  for (size_t s : sequences)
    result.insert(result.end(), values[s].begin(), values[s].end());
  return result;
}

/// Bits of the sampler, in several numbers of slots, and of the scorer and the
/// trainer on what it wrote.
LogicalResult NetworkCheck::sampleAndScore() {
  std::vector<int64_t> counts;
  for (int64_t s = 0; s < 6; ++s) {
    std::vector<double> prompt;
    // Of one token up to more than a tile of rows.
    for (int64_t i = s == 0 ? 1 : 2 + random() % 9; i > 0; --i)
      prompt.push_back(random() % config.vocabulary);
    prompts.push_back(prompt);
    counts.push_back(s == 1 ? 1 : 2 + random() % 8);
    all.push_back(s);
  }
  CachedSampler sampler(*compiled, *fused, config, weights, temperature,
                        options.seed);
  auto together = sampler.sample(prompts, counts, 6, 1);
  if (failed(together))
    return failure();
  chosen = together->tokens;
  recorded = together->logp;
  Errors slots(floorOfOne), workers(floorOfOne);
  auto compare = [&](Errors &errors, int64_t atOnce, int64_t with) {
    auto other = sampler.sample(prompts, counts, atOnce, with);
    if (failed(other))
      return failure();
    errors.add(ofSequences(other->tokens, all), ofSequences(chosen, all));
    errors.add(ofSequences(other->logp, all), ofSequences(recorded, all));
    return success();
  };
  if (failed(compare(slots, 1, 1)) || failed(compare(slots, 4, 1)) ||
      failed(compare(workers, 6, 3)))
    return failure();
  TokenRows rows = chunk(all);
  auto train = machine().forward(rows);
  auto score = machine().forward(rows, /*training=*/false);
  if (failed(train) || failed(score))
    return failure();
  Errors sampled(floorOfOne), scored(floorOfOne);
  sampled.add(train->logp(), ofSequences(recorded, all));
  scored.add(score->logp(), train->logp());
  scored.add(score->entropy(), train->entropy());
  add("sampled logp = trained logp", sampled, std::nullopt);
  add("scored = trained", scored, std::nullopt);
  add("sampling 1 and 4 sequences at once = 6", slots, std::nullopt);
  add("sampling, 3 workers = 1", workers, std::nullopt);
  return success();
}

LogicalResult NetworkCheck::againstInterpreter() {
  TokenRows rows = chunk(all);
  auto actual = machine().forward(rows);
  auto expected = interpreter(weights).forward(rows);
  if (failed(actual) || failed(expected))
    return failure();
  Errors logp(floorOfOne), entropy(floorOfOne), gradient(gradientFloor);
  logp.add(actual->logp(), expected->logp());
  entropy.add(actual->entropy(), expected->entropy());
  std::normal_distribution<double> normal;
  for (const auto &tokens : chosen) {
    logpSeeds.emplace_back();
    entropySeeds.emplace_back();
    for (size_t t = 0; t < tokens.size(); ++t) {
      logpSeeds.back().push_back(float(normal(random)));
      entropySeeds.back().push_back(float(normal(random)));
    }
  }
  // A loss that reads no entropy has a backward of its own.
  ModelRunner::Gradients sums;
  for (const std::vector<double> &ofEntropy :
       {std::vector<double>(), ofSequences(entropySeeds, all)}) {
    ModelRunner::Gradients compiledSums;
    sums.clear();
    auto ofLogp = ofSequences(logpSeeds, all);
    if (failed(machine().backward(rows, *actual, ofLogp, ofEntropy,
                                  compiledSums)) ||
        failed(interpreter(weights).backward(rows, *expected, ofLogp, ofEntropy,
                                             sums)))
      return failure();
    for (auto &[name, tensor] : sums)
      gradient.add(compiledSums[name].values, tensor.values);
  }
  add("logp, compiled = interpreter", logp, forwardBound);
  add("entropy, compiled = interpreter", entropy, forwardBound);
  add("parameter gradients, compiled = interpreter", gradient, gradientBound);
  return differences(sums);
}

/// The interpreter's gradient along random directions.
LogicalResult NetworkCheck::differences(ModelRunner::Gradients &gradients) {
  TokenRows rows = chunk(all);
  auto ofLogp = ofSequences(logpSeeds, all),
       ofEntropy = ofSequences(entropySeeds, all);
  auto sumAt = [&](const ModelWeights &at) -> FailureOr<double> {
    auto forward = interpreter(at).forward(rows, /*training=*/false);
    if (failed(forward))
      return failure();
    double sum = 0;
    for (size_t i = 0; i < ofLogp.size(); ++i)
      sum +=
          ofLogp[i] * forward->logp()[i] + ofEntropy[i] * forward->entropy()[i];
    return sum;
  };
  Errors errors(floorOfOne);
  const double step = 1e-6;
  std::normal_distribution<double> normal;
  for (int direction = 0; direction < 3; ++direction) {
    ModelWeights above = weights, below = weights;
    double slope = 0, length = 0;
    auto move = [&](const Environment &from, Environment &up, Environment &down,
                    const std::string &suffix) {
      for (auto &[key, value] : from) {
        const Tensor &gradient =
            gradients.at(key.substr(sizeof("parameter")) + suffix);
        for (int64_t i = 0; i < gradient.count(); ++i) {
          double by = normal(random);
          slope += by * gradient(i);
          length += gradient(i) * gradient(i);
          std::get<Tensor>(up[key])(i) += step * by;
          std::get<Tensor>(down[key])(i) -= step * by;
        }
      }
    };
    move(weights.shared, above.shared, below.shared, "");
    for (size_t layer = 0; layer < weights.layers.size(); ++layer)
      move(weights.layers[layer], above.layers[layer], below.layers[layer],
           "#" + std::to_string(layer));
    auto high = sumAt(above), low = sumAt(below);
    if (failed(high) || failed(low))
      return failure();
    errors.addKnown(std::fabs(slope - (*high - *low) / (2 * step)),
                    std::sqrt(length));
  }
  add("interpreter's gradient = differences, 3 directions", errors,
      directionBound);
  return success();
}

/// The same sequences in other chunks and by other numbers of workers.
LogicalResult NetworkCheck::cuts() {
  struct Run {
    std::vector<std::vector<double>> logp, entropy; // by sequence
    ModelRunner::Gradients gradients;
  };
  auto run = [&](const std::vector<std::vector<size_t>> &chunks,
                 int64_t workers) -> FailureOr<Run> {
    Run result;
    result.logp.resize(all.size());
    result.entropy.resize(all.size());
    for (const auto &sequences : chunks) {
      TokenRows rows = chunk(sequences);
      auto forward = machine(workers).forward(rows);
      if (failed(forward) ||
          failed(machine(workers).backward(
              rows, *forward, ofSequences(logpSeeds, sequences),
              ofSequences(entropySeeds, sequences), result.gradients)))
        return failure();
      size_t next = 0;
      for (size_t s : sequences)
        for (size_t t = 0; t < chosen[s].size(); ++t, ++next) {
          result.logp[s].push_back(forward->logp()[next]);
          result.entropy[s].push_back(forward->entropy()[next]);
        }
    }
    return result;
  };
  auto whole = run({all}, 1), parallel = run({all}, 3);
  if (failed(whole) || failed(parallel))
    return failure();
  Errors forward(floorOfOne), gradients(gradientFloor), workers(gradientFloor);
  auto compareForward = [&](Errors &errors, const Run &run) {
    errors.add(ofSequences(run.logp, all), ofSequences(whole->logp, all));
    errors.add(ofSequences(run.entropy, all), ofSequences(whole->entropy, all));
  };
  for (const std::vector<std::vector<size_t>> &chunks :
       {std::vector<std::vector<size_t>>{{0, 1}, {2, 3, 4}, {5}},
        {{5}, {4}, {3}, {2}, {1}, {0}},
        {{3, 0, 5}, {2, 4, 1}}}) {
    auto cut = run(chunks, 1);
    if (failed(cut))
      return failure();
    compareForward(forward, *cut);
    for (auto &[name, tensor] : whole->gradients)
      gradients.add(cut->gradients[name].values, tensor.values);
  }
  compareForward(workers, *parallel);
  for (auto &[name, tensor] : whole->gradients)
    workers.add(parallel->gradients[name].values, tensor.values);
  add("logp and entropy, other chunks, alone, in another order", forward,
      std::nullopt);
  add("parameter gradients, other chunks", gradients, gradientBound);
  add("forward and gradients, 3 workers = 1", workers, std::nullopt);
  return success();
}

LogicalResult NetworkCheck::run() {
  return failure(failed(build()) || failed(sampleAndScore()) ||
                 failed(againstInterpreter()) || failed(cuts()));
}

LogicalResult r1c::checkNetwork(MLIRContext &context, const ModelConfig &config,
                                const CheckOptions &options,
                                CheckSection &section) {
  return NetworkCheck(context, config, options, section).run();
}
