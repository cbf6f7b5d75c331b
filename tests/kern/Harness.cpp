//===- Harness.cpp - compile, load and run kernels in tests ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/kern/Harness.h"
#include "compiler/target/cpu/Cpu.h"
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
  context = std::make_unique<mlir::MLIRContext>(registry);
  module = mlir::parseSourceString<mlir::ModuleOp>(text, context.get());
  if (!module) {
    ADD_FAILURE() << "does not parse";
    return;
  }
  if (onCuda() && !reference && cpu == "native") {
    auto result = r1c::cuda::emulate::EmulatedKernels::load(*module, {});
    if (failed(result))
      ADD_FAILURE() << "does not compile";
    else
      emulated = std::move(*result);
    return;
  }
  r1c::cpu::TargetOptions options;
  options.reference = reference;
  options.cpu = cpu;
  // A GPU's threads have the chains of CPUs without matrix tiles.
  if (onCuda() && cpu == "native")
    options.cpu = "native,-amx-bf16";
  if (const char *dump = std::getenv("R1C_TEST_DUMP"))
    options.dump = dump;
  auto result = r1c::cpu::LoadedKernels::load(*module, options);
  if (failed(result))
    ADD_FAILURE() << "does not compile";
  else
    loaded = std::move(*result);
}

bool r1c::test::hasMatrixTiles() {
  if (onCuda())
    return false;
  mlir::MLIRContext context;
  auto target = r1c::cpu::resolveTarget(mlir::UnknownLoc::get(&context), {});
  return succeeded(target) && target->amxBf16;
}

bool r1c::test::onCuda() {
  const char *target = std::getenv("R1C_TEST_TARGET");
  return target && std::string(target) == "cuda";
}

/// Whether a packed operand's columns are those of a gate and of up in turn.
static bool isPaired(mlir::func::FuncOp function, size_t operand) {
  bool paired = false;
  function.walk([&](r1c::kern::MatmulOp op) {
    auto argument = llvm::dyn_cast<mlir::BlockArgument>(op.getB());
    paired |= op.getPaired() && argument && argument.getArgNumber() == operand;
  });
  function.walk([&](r1c::kern::PackOp op) { paired |= op.getPaired(); });
  return paired;
}

void Kernels::emulate(const std::string &name,
                      const std::vector<const Buffer *> &buffers, int64_t size,
                      int64_t workers) const {
  mlir::ModuleOp root = module.get();
  auto function = root.lookupSymbol<mlir::func::FuncOp>(name);
  ASSERT_TRUE(function) << name;
  // Results are the last buffers; packed bf16 weights lie otherwise on CUDA.
  llvm::SmallVector<mlir::Type> types(function.getArgumentTypes());
  size_t results = function.getNumResults();
  types.resize(buffers.size() - results);
  llvm::append_range(types, function.getResultTypes());
  std::vector<std::vector<uint16_t>> packed(buffers.size());
  std::vector<r1c::cuda::emulate::Buffer> all;
  for (size_t i = 0; i < buffers.size(); ++i) {
    auto type = llvm::dyn_cast<r1c::kern::PackedType>(types[i]);
    size_t bytes = buffers[i]->size();
    all.push_back({buffers[i]->data(), bytes, (bytes + 63) / 64 * 64});
    if (auto rows = fresh.find(buffers[i]); rows != fresh.end())
      for (const RowRange &range : rows->second)
        all.back().fresh.emplace_back(range.from * range.bytes,
                                      range.to * range.bytes);
    if (!type || !type.getElementType().isBF16())
      continue;
    packed[i] = r1c::cuda::emulate::packedForCuda(
        buffers[i]->values<uint16_t>(), type.getK(), type.getN(),
        isPaired(function, i));
    all.back() = {packed[i].data(), packed[i].size() * 2};
  }
  // Every other run in an order of threads and copies that is drawn.
  static unsigned runs = 0;
  unsigned schedule = runs++ % 2 ? rng()() : 0;
  // Where few rows have a kernel of their own, both must leave the same bits.
  std::vector<std::vector<char>> before, first;
  auto contents = [&] {
    std::vector<std::vector<char>> all;
    for (const Buffer *buffer : buffers) {
      auto bytes = static_cast<const char *>(buffer->data());
      all.emplace_back(bytes, bytes + buffer->size());
    }
    return all;
  };
  llvm::StringRef other = emulated->forRows(name, size);
  if (other != name) {
    before = contents();
    if (auto error = emulated->run(other, all, size, workers, schedule))
      ADD_FAILURE() << llvm::toString(std::move(error));
    first = contents();
    for (size_t i = 0; i < buffers.size(); ++i)
      std::memcpy(buffers[i]->data(), before[i].data(), before[i].size());
  }
  if (auto error = emulated->run(name, all, size, workers, schedule))
    ADD_FAILURE() << llvm::toString(std::move(error));
  if (other != name)
    EXPECT_TRUE(first == contents())
        << name << " and " << other.str() << " differ, " << size << " rows";
  for (size_t i = buffers.size() - results; i < buffers.size(); ++i)
    if (!packed[i].empty()) {
      auto type = llvm::cast<r1c::kern::PackedType>(types[i]);
      auto cpu = r1c::cuda::emulate::packedForCpu(
          packed[i], type.getK(), type.getN(), isPaired(function, i));
      std::memcpy(buffers[i]->data(), cpu.data(), buffers[i]->size());
    }
  for (const Buffer *buffer : buffers)
    EXPECT_TRUE(buffer->intact());
}

void Kernels::run(const std::string &name, std::vector<const Buffer *> buffers,
                  int64_t size, int64_t workers) const {
  if (emulated)
    return emulate(name, buffers, size, workers);
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

double r1c::test::worst(const std::vector<float> &a, const std::vector<Sum> &b,
                        double relative, double ofTerms) {
  double w = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    double d = std::fabs(a[i] - b[i].value) /
               (relative * (3 + std::fabs(b[i].value)) + ofTerms * b[i].size);
    w = d <= w ? w : (d > w ? d : INFINITY);
  }
  return w;
}
