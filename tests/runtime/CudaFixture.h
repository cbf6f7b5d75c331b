//===- CudaFixture.h - tests of a GPU or of what plays it -------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Cuda: on the fake driver or, with R1C_TEST_GPU, on a real GPU. FakeGpu: what
// only the fake can show.
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_RUNTIME_CUDAFIXTURE_H
#define R1C_TESTS_RUNTIME_CUDAFIXTURE_H

#include "runtime/device/cuda/Cuda.h"
#include "tests/runtime/RunFixture.h"
#include <functional>

namespace r1c::runtime::test {

inline std::string thrownBy(const std::function<void()> &body) {
  try {
    body();
  } catch (const Error &error) {
    return error.what();
  }
  return "";
}

inline KernelInfo kernelOf(const char *symbol) {
  KernelInfo kernel;
  kernel.name = symbol;
  kernel.symbol = symbol;
  kernel.loc = "step.r1:3:5";
  kernel.launch.emplace().threads = 32;
  return kernel;
}

class Cuda : public Run {
protected:
  void SetUp() override {
    if (std::string why = whyNoGpu(); !why.empty())
      GTEST_SKIP() << why;
    fake = &fakeCuda();
  }
  template <typename T>
  static Operand operand(Device &device, const std::vector<T> &values) {
    auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
    char *address = device.allocate(bytes);
    device.upload(address, values.data(), bytes);
    return {address, bytes};
  }
  FakeCuda *fake = nullptr;
};

class FakeGpu : public Cuda {
protected:
  void SetUp() override {
    if (onRealGpu())
      GTEST_SKIP() << "needs the fake driver";
    Cuda::SetUp();
  }
};

} // namespace r1c::runtime::test

#endif // R1C_TESTS_RUNTIME_CUDAFIXTURE_H
