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
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace r1c::test;

static constexpr size_t guardBytes = 256;
static constexpr unsigned char guardByte = 0xa5;

Buffer::Buffer(size_t bytes) : bytes(bytes) {
  size_t padded = (bytes + 63) / 64 * 64 + guardBytes;
  start.reset(std::aligned_alloc(64, (padded + 63) / 64 * 64));
  std::memset(start.get(), guardByte, padded);
}

bool Buffer::intact() const {
  size_t padded = (bytes + 63) / 64 * 64 + guardBytes;
  auto *p = static_cast<unsigned char *>(start.get());
  for (size_t i = bytes; i < padded; ++i)
    if (p[i] != guardByte)
      return false;
  return true;
}

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
  auto bytes = r1c::cpu::buildKernels(*module, options);
  if (failed(bytes)) {
    ADD_FAILURE() << "does not compile";
    return;
  }
  // Open for life: dlopen takes a second library of the same path, and so of
  // the same descriptor, for the first one.
  file = memfd_create("kernels", 0);
  if (file < 0 ||
      write(file, bytes->data(), bytes->size()) != (ssize_t)bytes->size()) {
    ADD_FAILURE() << "cannot write the object";
    return;
  }
  std::string path = "/proc/self/fd/" + std::to_string(file);
  handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    ADD_FAILURE() << dlerror();
}

Kernels::~Kernels() {
  if (handle)
    dlclose(handle);
  if (file >= 0)
    close(file);
}

void Kernels::run(const std::string &name, std::vector<const Buffer *> buffers,
                  int64_t size, int64_t workers) const {
  ASSERT_TRUE(handle);
  auto *kernel = reinterpret_cast<void (*)(void *const *, int64_t, int64_t)>(
      dlsym(handle, name.c_str()));
  ASSERT_TRUE(kernel) << name;
  std::vector<void *> args;
  for (const Buffer *b : buffers)
    args.push_back(b->data());
  if (size >= 0)
    args.push_back(&size);
  for (int64_t w = workers - 1; w >= 0; --w)
    kernel(args.data(), w, workers);
  for (size_t i = 0; i < buffers.size(); ++i)
    EXPECT_TRUE(buffers[i]->intact()) << name << ": behind buffer " << i;
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

uint16_t r1c::test::toBf16(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  if (std::isnan(v))
    return (bits | 0x00400000u) >> 16;
  // The exact midpoint goes to the even neighbour.
  uint32_t rest = bits & 0xffff, kept = bits >> 16;
  if (rest > 0x8000 || (rest == 0x8000 && (kept & 1)))
    ++kept;
  return kept;
}

float r1c::test::fromBf16(uint16_t v) {
  uint32_t bits = uint32_t(v) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

std::vector<uint16_t> r1c::test::toBf16(const std::vector<float> &v) {
  std::vector<uint16_t> r;
  for (float x : v)
    r.push_back(toBf16(x));
  return r;
}

std::vector<float> r1c::test::fromBf16(const std::vector<uint16_t> &v) {
  std::vector<float> r;
  for (uint16_t x : v)
    r.push_back(fromBf16(x));
  return r;
}

std::vector<float> r1c::test::pack(const std::vector<float> &b, int64_t k,
                                   int64_t n) {
  int64_t panels = (n + 31) / 32;
  std::vector<float> r(panels * k * 32, 0.0f);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < n; ++j)
      r[(j / 32 * k + i) * 32 + j % 32] = b[i * n + j];
  return r;
}

std::vector<uint16_t> r1c::test::packBf16(const std::vector<uint16_t> &b,
                                          int64_t k, int64_t n) {
  int64_t panels = (n + 31) / 32, pairs = (k + 1) / 2;
  std::vector<uint16_t> r(panels * pairs * 64, 0);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < n; ++j)
      r[((j / 32 * pairs + i / 2) * 32 + j % 32) * 2 + i % 2] = b[i * n + j];
  return r;
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
