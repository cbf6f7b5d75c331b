//===- ModelRunner.h - a whole model out of its functions -------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Calls a model's functions one after the other, as a schedule does: embed, the
// layers, the head, and back. What runs a function, the interpreter or machine
// code, is the caller's.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TOOLS_MODELRUNNER_H
#define R1C_COMPILER_TOOLS_MODELRUNNER_H

#include "compiler/phases/expand/ModelConfig.h"
#include "compiler/reference/Roles.h"

#include <functional>
#include <random>

namespace r1c {

/// A model's weights: those of no layer, and of each layer.
struct ModelWeights {
  reference::Environment shared;
  std::vector<reference::Environment> layers;

  /// Float32 numbers of a size at which logits differ by a few.
  static ModelWeights random(mlir::ModuleOp module, const ModelConfig &config,
                             std::mt19937_64 &random);
};

/// Whole sequences, packed one behind the other.
struct TokenRows {
  std::vector<int64_t> lengths;
  std::vector<double> tokens;
  /// Rows whose next token is predicted, and that token.
  std::vector<double> rows, targets;
};

class ModelRunner {
public:
  /// Runs `@m.<name>`.
  using Call = std::function<mlir::FailureOr<reference::Environment>(
      llvm::StringRef name, const reference::Environment &)>;

  /// `accumulates`: gradients of parameters are added to those that are given,
  /// as lm-to-kern leaves it.
  ModelRunner(Call call, const ModelWeights &weights, double temperature,
              bool accumulates)
      : call(std::move(call)), weights(weights), temperature(temperature),
        accumulates(accumulates) {}

  struct Forward {
    std::vector<reference::Environment> layers; // arguments and saved values
    reference::Environment head;                // arguments and results
    const std::vector<double> &logp() const { return values("logp"); }
    const std::vector<double> &entropy() const { return values("entropy"); }
    const std::vector<double> &values(const std::string &key) const {
      return std::get<reference::Tensor>(head.at(key)).values;
    }
  };
  /// Of training, or of scoring, which saves nothing.
  mlir::FailureOr<Forward> forward(const TokenRows &rows, bool training = true);

  /// Gradients of parameters by name, those of layers as "name#layer".
  using Gradients = std::map<std::string, reference::Tensor>;
  /// Adds those of Σ logpSeeds · logp + Σ entropySeeds · entropy; without
  /// entropy seeds by the backward that leaves the entropy out.
  llvm::LogicalResult backward(const TokenRows &rows, const Forward &forward,
                               const std::vector<double> &logpSeeds,
                               const std::vector<double> &entropySeeds,
                               Gradients &gradients);

private:
  mlir::FailureOr<reference::Environment>
  callBackward(llvm::StringRef name, reference::Environment environment,
               int64_t layer, Gradients &gradients);

  Call call;
  const ModelWeights &weights;
  double temperature;
  bool accumulates;
};

} // namespace r1c

#endif // R1C_COMPILER_TOOLS_MODELRUNNER_H
