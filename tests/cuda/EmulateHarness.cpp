//===- EmulateHarness.cpp - kernels in the interpreter, in tests ----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/cuda/EmulateHarness.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Parser/Parser.h"

using namespace r1c::test;

Emulated::Emulated(const std::string &text) {
  mlir::DialectRegistry registry;
  registry.insert<mlir::LLVM::LLVMDialect, mlir::NVVM::NVVMDialect>();
  context.appendDialectRegistry(registry);
  module = mlir::parseSourceString<mlir::ModuleOp>(text, &context, "test.mlir");
  if (!module) {
    ADD_FAILURE() << "does not parse:\n" << text;
    return;
  }
  auto decoded = r1c::cuda::emulate::Program::decode(*module);
  if (!decoded)
    ADD_FAILURE() << llvm::toString(decoded.takeError());
  else
    program = std::move(*decoded);
}

std::string Emulated::run(const Launch &launch, std::vector<Buffer> buffers,
                          Statistics *statistics) const {
  if (!program)
    return "no program";
  llvm::Error error = program->run("k", launch, buffers, statistics);
  return error ? llvm::toString(std::move(error)) : std::string();
}

std::string r1c::test::kernel(int buffers, const std::string &body,
                              const std::string &declarations,
                              const std::string &attributes, int maps) {
  std::string text = declarations + "\nllvm.func @k(";
  int bytes = (8 * buffers + 63) / 64 * 64 + 128 * maps;
  if (bytes)
    text += "%parameters: !llvm.ptr {llvm.byval = !llvm.array<" +
            std::to_string(bytes) +
            " x i8>, llvm.align = 64 : i64, nvvm.grid_constant}";
  text += ") attributes {nvvm.kernel" +
          (attributes.empty() ? "" : ", " + attributes) + "} {\n";
  for (int i = 0; i < buffers; ++i) {
    std::string n = std::to_string(i);
    text += "  %a" + n + " = llvm.getelementptr %parameters[" +
            std::to_string(8 * i) + "] : (!llvm.ptr) -> !llvm.ptr, i8\n  %p" +
            n + " = llvm.load %a" + n + " : !llvm.ptr -> !llvm.ptr<1>\n";
  }
  for (int i = 0; i < maps; ++i)
    text += "  %map" + std::to_string(i) +
            " = llvm.getelementptr %parameters[" +
            std::to_string((8 * buffers + 63) / 64 * 64 + 128 * i) +
            "] : (!llvm.ptr) -> !llvm.ptr, i8\n";
  for (int c : {0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 31, 32, 64, 128})
    text += "  %c" + std::to_string(c) + " = llvm.mlir.constant(" +
            std::to_string(c) + " : i32) : i32\n";
  text += "  %full = llvm.mlir.constant(-1 : i32) : i32\n"
          "  %tid = nvvm.read.ptx.sreg.tid.x : i32\n" +
          body + "\n  llvm.return\n}\n";
  return text;
}

Launch r1c::test::launchOf(int64_t threads, int64_t shared, int64_t blocks) {
  Launch launch;
  launch.threads = threads;
  launch.shared = shared;
  launch.blocks = blocks;
  return launch;
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
