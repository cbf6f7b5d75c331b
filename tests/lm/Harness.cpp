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

std::string test::keyOf(DictionaryAttr attributes) {
  std::string key = roleOf(attributes).str();
  for (StringRef name :
       {StringRef(role::parameter), StringRef(role::of), StringRef(role::name)})
    if (auto text = attributes.getAs<StringAttr>(name))
      key += " " + text.getValue().str();
  return key;
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

/// The K × N matrix that a packed operand stands for.
static Tensor packed(DictionaryAttr attributes,
                     const Environment &environment) {
  auto names = attributes.getAs<ArrayAttr>(role::parameter);
  StringRef layout = attributes.getAs<StringAttr>(role::layout).getValue();
  auto weight = [&](unsigned i) -> const Tensor & {
    return tensorOf(environment,
                    "parameter " + cast<StringAttr>(names[i]).getValue().str());
  };
  const Tensor &first = weight(0);
  if (layout == "backward")
    return first;
  int64_t count = names.size();
  Tensor result({first.columns(), first.rows() * count});
  for (int64_t part = 0; part < count; ++part)
    for (int64_t n = 0; n < first.rows(); ++n)
      for (int64_t k = 0; k < first.columns(); ++k) {
        int64_t to = n;
        if (layout == "paired")
          to = n / 16 * 32 + part * 16 + n % 16;
        result(k, to) = weight(part)(n, k);
      }
  return result;
}

Datum test::bind(DictionaryAttr attributes, const Environment &environment) {
  std::string key = keyOf(attributes);
  if (key == "packed")
    return packed(attributes, environment);
  // In the interpreter of kern the parts of the context are tensors.
  auto context = environment.find("context");
  if (context != environment.end() && !environment.count(key)) {
    const Context &c = std::get<Context>(context->second);
    if (key == "positions")
      return Tensor::list({c.positions.begin(), c.positions.end()});
    if (key == "bases")
      return Tensor::list({c.bases.begin(), c.bases.end()});
    if (key == "offsets") {
      std::vector<double> offsets;
      for (size_t i = 0; i < c.positions.size(); ++i)
        if (c.positions[i] == 0)
          offsets.push_back(i);
      offsets.push_back(c.positions.size());
      return Tensor::list(offsets);
    }
  }
  auto found = environment.find(key);
  if (found == environment.end()) {
    ADD_FAILURE() << "no value for '" << key << "'";
    return Tensor();
  }
  return found->second;
}

Environment test::run(ModuleOp module, StringRef function,
                      const Environment &environment) {
  auto func = module.lookupSymbol<func::FuncOp>(("m." + function).str());
  if (!func) {
    ADD_FAILURE() << "no function '" << function.str() << "'";
    return {};
  }
  std::vector<Datum> arguments;
  for (unsigned i = 0; i < func.getNumArguments(); ++i)
    arguments.push_back(bind(func.getArgAttrDict(i), environment));
  if (testing::Test::HasFailure())
    return {};
  auto results = reference::evaluate(func, arguments);
  if (failed(results)) {
    ADD_FAILURE() << "evaluating '" << function.str() << "'";
    return {};
  }
  Environment byKey;
  for (auto [i, result] : llvm::enumerate(*results)) {
    bool fresh = byKey.emplace(keyOf(func.getResultAttrDict(i)), result).second;
    EXPECT_TRUE(fresh) << "two results of one role";
  }
  return byKey;
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
