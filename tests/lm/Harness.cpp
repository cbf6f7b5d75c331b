//===- Harness.cpp - run model functions in the interpreter by role -------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/lm/Harness.h"
#include "mlir/Parser/Parser.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace r1c;
using namespace r1c::test;

std::unique_ptr<MLIRContext> test::makeContext() {
  DialectRegistry registry;
  registry
      .insert<lm::LMDialect, kern::KernDialect, func::FuncDialect,
              arith::ArithDialect, math::MathDialect, tensor::TensorDialect>();
  auto context = std::make_unique<MLIRContext>(registry);
  context->loadAllAvailableDialects();
  context->disableMultithreading();
  return context;
}

OwningOpRef<ModuleOp> test::parse(MLIRContext &context, StringRef text) {
  return parseSourceString<ModuleOp>(text, &context);
}

OwningOpRef<ModuleOp> test::expand(MLIRContext &context,
                                   const ModelConfig &config) {
  Location loc = UnknownLoc::get(&context);
  OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
  expandModel(*module, "m", config, loc);
  return module;
}

bool test::differentiate(ModuleOp module, StringRef recompute) {
  PassManager pm(module.getContext());
  LMDifferentiatePassOptions options;
  options.recompute = recompute.str();
  pm.addPass(createLMDifferentiatePass(options));
  return succeeded(pm.run(module));
}

bool test::fuse(ModuleOp module) {
  PassManager pm(module.getContext());
  pm.addPass(createLMToKernPass());
  return succeeded(pm.run(module));
}

ModelConfig test::smallConfig(bool qwen2, bool qwen3, bool bf16) {
  ModelConfig config;
  config.layers = 2;
  config.hidden = 12;
  config.heads = 4;
  config.kvHeads = 2;
  config.headDim = 4;
  config.intermediate = 16;
  config.vocabulary = bf16 ? 12 : 11; // bfloat16 needs an even one
  config.context = 32;
  config.ropeTheta = 100;
  config.qkvBias = qwen2;
  config.qkNorm = qwen3;
  config.tied = !qwen3;
  config.bf16 = bf16;
  return config;
}

std::mt19937_64 test::freshRandom() {
  uint64_t seed = std::random_device{}();
  if (const char *text = std::getenv("R1C_TEST_SEED"))
    seed = std::strtoull(text, nullptr, 10);
  testing::Test::RecordProperty("seed", std::to_string(seed));
  std::printf("R1C_TEST_SEED=%llu\n", (unsigned long long)seed);
  return std::mt19937_64(seed);
}

Tensor test::randomTensor(std::vector<int64_t> shape, std::mt19937_64 &random,
                          double scale) {
  Tensor result(std::move(shape));
  std::normal_distribution<double> normal(0, scale);
  for (double &value : result.values)
    value = normal(random);
  return result;
}

const Tensor &test::tensorOf(const Environment &environment,
                             const std::string &key) {
  static const Tensor none;
  auto found = environment.find(key);
  if (found == environment.end()) {
    ADD_FAILURE() << "no value for '" << key << "'";
    return none;
  }
  return std::get<Tensor>(found->second);
}

Environment test::run(ModuleOp module, StringRef function,
                      const Environment &environment) {
  auto func = module.lookupSymbol<func::FuncOp>(("m." + function).str());
  if (!func) {
    ADD_FAILURE() << "no function '" << function.str() << "'";
    return {};
  }
  auto results = reference::run(func, environment);
  if (failed(results)) {
    ADD_FAILURE() << "evaluating '" << function.str() << "'";
    return {};
  }
  return std::move(*results);
}

double test::difference(const Tensor &a, const Tensor &b) {
  EXPECT_EQ(a.shape, b.shape);
  if (a.shape != b.shape)
    return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (int64_t i = 0; i < a.count(); ++i) {
    double d = std::abs(a(i) - b(i)) / (1 + std::abs(b(i)));
    largest = std::isnan(d) ? std::numeric_limits<double>::infinity()
                            : std::max(largest, d);
  }
  return largest;
}
