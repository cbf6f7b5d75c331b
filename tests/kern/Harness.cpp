//===- Harness.cpp - compile, load and run kernels in tests ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/kern/Harness.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Parser/Parser.h"

using namespace r1c::test;

Kernels::Kernels(const std::string &text, bool reference,
                 const std::string &cpu) {
  mlir::DialectRegistry registry;
  registry.insert<r1c::kern::KernDialect, mlir::arith::ArithDialect,
                  mlir::func::FuncDialect, mlir::math::MathDialect,
                  mlir::tensor::TensorDialect>();
  mlir::MLIRContext context(registry);
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  if (!module) {
    ADD_FAILURE() << "does not parse";
    return;
  }
  r1c::cpu::TargetOptions options;
  options.reference = reference;
  options.cpu = cpu;
  if (const char *dump = std::getenv("R1C_TEST_DUMP"))
    options.dump = dump;
  auto result = r1c::cpu::LoadedKernels::load(*module, options);
  if (failed(result))
    ADD_FAILURE() << "does not compile";
  else
    loaded = std::move(*result);
}

void Kernels::run(const std::string &name, std::vector<const Buffer *> buffers,
                  int64_t size, int64_t workers) const {
  ASSERT_TRUE(loaded);
  if (llvm::Error error = loaded->run(name, buffers, size, workers))
    ADD_FAILURE() << llvm::toString(std::move(error));
}

std::mt19937_64 &r1c::test::rng() {
  static std::mt19937_64 generator = [] {
    uint64_t seed = std::random_device{}();
    if (const char *text = std::getenv("R1C_TEST_SEED"))
      seed = std::strtoull(text, nullptr, 10);
    std::printf("R1C_TEST_SEED=%llu\n", (unsigned long long)seed);
    return std::mt19937_64(seed);
  }();
  return generator;
}

std::vector<float> r1c::test::randomFloats(size_t n, float low, float high) {
  std::uniform_real_distribution<float> d(low, high);
  std::vector<float> v(n);
  for (float &x : v)
    x = d(rng());
  return v;
}

std::vector<double> r1c::test::randomDoubles(size_t n, double low,
                                             double high) {
  std::uniform_real_distribution<double> d(low, high);
  std::vector<double> v(n);
  for (double &x : v)
    x = d(rng());
  return v;
}

double r1c::test::worst(const std::vector<float> &a,
                        const std::vector<double> &b, double absolute) {
  double w = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    double d = std::fabs(a[i] - b[i]) / (absolute + std::fabs(b[i]));
    w = d <= w ? w : (d > w ? d : INFINITY); // NaN counts as infinitely wrong
  }
  return w;
}
