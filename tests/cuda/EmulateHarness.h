//===- EmulateHarness.h - kernels in the interpreter, in tests --*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_CUDA_EMULATEHARNESS_H
#define R1C_TESTS_CUDA_EMULATEHARNESS_H

#include "compiler/target/cuda/emulate/Emulate.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"

#include <gtest/gtest.h>
#include <random>
#include <string>
#include <vector>

namespace r1c::test {

using cuda::emulate::Buffer;
using cuda::emulate::Launch;
using cuda::emulate::Statistics;
using cuda::emulate::TensorMap;

/// The kernels of one text, decoded.
class Emulated {
public:
  explicit Emulated(const std::string &text);
  /// Runs the kernel @k; gives the error's text, empty if there was none.
  std::string run(const Launch &launch, std::vector<Buffer> buffers,
                  Statistics *statistics = nullptr) const;

private:
  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::unique_ptr<cuda::emulate::Program> program;
};

/// A kernel @k around `body`, in which %p0, %p1, … are the addresses of
/// `buffers` buffers and `%tid` is the thread; `declarations` stand before it.
/// The constants %c0 … %c8, %c16, %c31, %c32, %c128 are i32, %full is -1.
std::string kernel(int buffers, const std::string &body,
                   const std::string &declarations = "",
                   const std::string &attributes = "", int maps = 0);

Launch launchOf(int64_t threads, int64_t shared = 0, int64_t blocks = 1);

template <typename T>
Buffer bufferOf(std::vector<T> &values) {
  return {values.data(), values.size() * sizeof(T)};
}

std::mt19937_64 &rng();

/// Matches a part of the error; prints the whole of it otherwise.
#define EXPECT_ERROR(error, part)                                              \
  do {                                                                         \
    std::string said = (error);                                                \
    EXPECT_NE(said.find(part), std::string::npos) << "the error is: " << said; \
  } while (false)

} // namespace r1c::test

#endif // R1C_TESTS_CUDA_EMULATEHARNESS_H
