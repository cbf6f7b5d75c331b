//===- ModelRunner.cpp - a whole model out of its functions ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/ModelRunner.h"
#include "dialects/lm/LM.h"

#include <cmath>

using namespace mlir;
using namespace r1c;
using reference::Datum;
using reference::Environment;
using reference::Tensor;

ModelWeights ModelWeights::random(ModuleOp module, const ModelConfig &config,
                                  std::mt19937_64 &random) {
  std::normal_distribution<double> normal;
  ModelWeights weights;
  weights.layers.resize(config.layers);
  auto model = *module.getOps<lm::ModelOp>().begin();
  for (auto parameter : model.getBody().getOps<lm::ParameterOp>()) {
    auto shape = cast<RankedTensorType>(parameter.getType()).getShape();
    std::string key = "parameter " + parameter.getParameter().str();
    // Norms about 1, biases about 0; products keep the size of their input.
    double mean = parameter.getParameter().contains("norm");
    double deviation =
        shape.size() == 2 ? 1 / std::sqrt(double(shape[1])) : 0.3;
    auto drawn = [&] {
      Tensor tensor(shape.vec());
      for (double &value : tensor.values)
        value = float(mean + deviation * normal(random));
      return tensor;
    };
    if (!parameter.getLayers())
      weights.shared[key] = drawn();
    else
      for (Environment &layer : weights.layers)
        layer[key] = drawn();
  }
  return weights;
}

FailureOr<ModelRunner::Forward> ModelRunner::forward(const TokenRows &rows,
                                                     bool training) {
  Environment environment = weights.shared;
  environment["context"] = reference::packedContext(rows.lengths);
  environment["tokens"] = Tensor::list(rows.tokens);
  auto embedded = call("embed", environment);
  if (failed(embedded))
    return failure();
  Forward result;
  Datum activation = embedded->at("activation");
  for (const Environment &layer : weights.layers) {
    Environment arguments = layer;
    arguments["context"] = environment["context"];
    arguments["activation"] = activation;
    auto results = call(training ? "layer.train" : "layer", arguments);
    if (failed(results))
      return failure();
    for (auto &[key, value] : *results)
      if (key != "activation")
        arguments["saved " + key] = arguments[key] = value;
    activation = results->at("activation");
    result.layers.push_back(std::move(arguments));
  }
  environment["activation"] = activation;
  environment["rows"] = Tensor::list(rows.rows);
  environment["targets"] = Tensor::list(rows.targets);
  environment["temperature"] = Tensor::number(temperature);
  auto head = call("head", environment);
  if (failed(head))
    return failure();
  result.head = environment;
  for (auto &[key, value] : *head)
    result.head["saved " + key] = result.head[key] = value;
  return result;
}

/// Calls a backward function; its gradients of parameters go into `gradients`.
FailureOr<Environment> ModelRunner::callBackward(StringRef name,
                                                 Environment environment,
                                                 int64_t layer,
                                                 Gradients &gradients) {
  const Environment &own = layer < 0 ? weights.shared : weights.layers[layer];
  auto nameOf = [&](StringRef parameter) {
    return parameter.str() + (layer < 0 ? "" : "#" + std::to_string(layer));
  };
  for (auto &[key, value] : own) {
    StringRef parameter = StringRef(key).drop_front(sizeof("parameter"));
    const Tensor &weight = std::get<Tensor>(value);
    auto [at, fresh] =
        gradients.try_emplace(nameOf(parameter), Tensor(weight.shape));
    environment["parameter_gradient " + parameter.str()] = at->second;
  }
  auto results = call(name, environment);
  if (failed(results))
    return failure();
  for (auto &[key, value] : *results) {
    StringRef parameter = key;
    if (!parameter.consume_front("parameter_gradient "))
      continue;
    Tensor &sum = gradients.at(nameOf(parameter));
    const Tensor &given = std::get<Tensor>(value);
    if (accumulates)
      sum = given;
    else
      for (int64_t i = 0; i < sum.count(); ++i)
        sum(i) += given(i);
  }
  return results;
}

LogicalResult ModelRunner::backward(const TokenRows &rows,
                                    const Forward &forward,
                                    const std::vector<double> &logpSeeds,
                                    const std::vector<double> &entropySeeds,
                                    Gradients &gradients) {
  Environment head = forward.head;
  head["gradient logp"] = Tensor::list(logpSeeds);
  if (!entropySeeds.empty())
    head["gradient entropy"] = Tensor::list(entropySeeds);
  head["gradient_init activation"] =
      Tensor(std::get<Tensor>(head.at("activation")).shape);
  auto results = callBackward(entropySeeds.empty() ? "head.backward.logp"
                                                   : "head.backward",
                              head, -1, gradients);
  if (failed(results))
    return failure();
  Datum gradient = results->at("gradient activation");
  for (int64_t layer = int64_t(weights.layers.size()) - 1; layer >= 0;
       --layer) {
    Environment arguments = forward.layers[layer];
    arguments["gradient activation"] = gradient;
    auto results = callBackward("layer.backward", arguments, layer, gradients);
    if (failed(results))
      return failure();
    gradient = results->at("gradient activation");
  }
  Environment embed = weights.shared;
  embed["tokens"] = Tensor::list(rows.tokens);
  embed["gradient activation"] = gradient;
  return success(
      succeeded(callBackward("embed.backward", embed, -1, gradients)));
}
