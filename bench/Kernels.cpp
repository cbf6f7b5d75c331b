//===- Kernels.cpp - kernels for benchmarks -------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "bench/Kernels.h"
#include "compiler/target/cpu/Cpu.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Parser/Parser.h"
#include "runtime/device/cpu/Amx.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/TargetParser/Host.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <random>
#include <sys/mman.h>
#include <unistd.h>

using namespace r1c;

bench::Kernel bench::compile(const std::string &text,
                             const std::string &symbol) {
  // Repetitions come back for the same kernel.
  static std::map<std::string, Kernel> known;
  if (Kernel kernel = known[text + symbol])
    return kernel;
  mlir::DialectRegistry registry;
  registry.insert<kern::KernDialect, mlir::arith::ArithDialect,
                  mlir::func::FuncDialect, mlir::math::MathDialect,
                  mlir::tensor::TensorDialect>();
  mlir::MLIRContext context(registry);
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  if (module) {
    cpu::TargetOptions options;
    if (const char *dump = std::getenv("R1C_BENCH_DUMP"))
      options.dump = dump;
    auto bytes = cpu::buildKernels(*module, options);
    runtime::allowAmx();
    // Open for ever: dlopen tells libraries apart by their paths.
    int file = memfd_create("kernels", 0);
    if (succeeded(bytes) &&
        write(file, bytes->data(), bytes->size()) == (ssize_t)bytes->size()) {
      std::string path = "/proc/self/fd/" + std::to_string(file);
      if (void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL))
        if (void *kernel = dlsym(handle, symbol.c_str()))
          return known[text + symbol] = reinterpret_cast<Kernel>(kernel);
    }
  }
  std::fprintf(stderr, "bench: cannot compile %s\n%s", symbol.c_str(),
               text.c_str());
  std::exit(1);
}

bench::Buffer bench::allocate(size_t bytes) {
  return Buffer(std::aligned_alloc(64, (bytes + 127) / 64 * 64), std::free);
}

bench::Buffer bench::normals(size_t count, bool bf16, float width,
                             unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> numbers(0, width);
  Buffer buffer = allocate(count * (bf16 ? 2 : 4));
  for (size_t i = 0; i < count; ++i) {
    float v = numbers(random);
    if (bf16)
      std::memcpy((char *)buffer.get() + 2 * i, (char *)&v + 2, 2);
    else
      ((float *)buffer.get())[i] = v;
  }
  return buffer;
}

std::string bench::llvmVersion() { return LLVM_VERSION_STRING; }
std::string bench::cpuName() { return llvm::sys::getHostCPUName().str(); }
