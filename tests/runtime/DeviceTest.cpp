//===- DeviceTest.cpp - one suite for every device ------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cpu/Cpu.h"
#include "runtime/device/cpu/ThreadPool.h"
#include "tests/runtime/TestArtifact.h"
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <random>
#include <vector>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

struct DeviceCase {
  const char *name;
  std::unique_ptr<Device> (*make)();
};

/// Written against the interface alone; a new device adds a line below.
class Conformance : public testing::TestWithParam<DeviceCase> {
protected:
  Conformance() : device(GetParam().make()) {}
  std::unique_ptr<Device> device;
};

TEST_P(Conformance, MemoryStartsZeroAndAligned) {
  for (int64_t bytes : {1, 64, 4096, 100000}) {
    char *memory = device->allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0u);
    std::vector<char> host(bytes, 'x');
    device->download(host.data(), memory, bytes);
    EXPECT_EQ(host, std::vector<char>(bytes, 0));
  }
}

TEST_P(Conformance, CopiesAndZeroes) {
  char *a = device->allocate(256), *b = device->allocate(256);
  std::vector<char> host(256), back(256);
  for (int i = 0; i < 256; ++i)
    host[i] = static_cast<char>(i);
  device->upload(a, host.data(), 256);
  device->copy(b + 64, a, 128);
  device->zero(b + 100, 10);
  device->download(back.data(), b, 256);
  for (int i = 0; i < 256; ++i) {
    char expected = i < 64 || i >= 192 || (i >= 100 && i < 110)
                        ? 0
                        : static_cast<char>(i - 64);
    EXPECT_EQ(back[i], expected) << i;
  }
}

TEST_P(Conformance, DispatchComputesEveryRowOnce) {
  auto executable = device->load(testKernels());
  Kernel affine = executable->find("affine");
  std::mt19937 random(3);
  for (int64_t n : {0, 1, 2, 7, 64, 1001}) {
    std::vector<float> x(n), y(n + 1, std::nanf(""));
    for (float &value : x)
      value = std::uniform_real_distribution<float>(-1, 1)(random);
    char *dx = device->allocate(4 * n + 4), *dy = device->allocate(4 * n + 4),
         *dn = device->allocate(8);
    device->upload(dx, x.data(), 4 * n);
    device->upload(dy, y.data(), 4 * n + 4);
    device->upload(dn, &n, 8);
    void *args[] = {dx, dy, dn};
    device->dispatch(affine, args);
    device->synchronize();
    device->download(y.data(), dy, 4 * n + 4);
    for (int64_t i = 0; i < n; ++i)
      EXPECT_EQ(y[i], 2 * x[i] + 1);
    EXPECT_TRUE(std::isnan(y[n])) << "wrote behind the result";
  }
}

TEST_P(Conformance, EveryWorkerIsCalled) {
  auto executable = device->load(testKernels());
  Kernel kernel = executable->find("count_workers");
  char *seen = device->allocate(64 * 8);
  void *args[] = {seen};
  for (int repeat = 0; repeat < 200; ++repeat) {
    device->zero(seen, 64 * 8);
    device->dispatch(kernel, args);
    device->synchronize();
    std::vector<int64_t> host(64);
    device->download(host.data(), seen, 64 * 8);
    for (int64_t i = 0; i < 64; ++i)
      ASSERT_EQ(host[i], i < device->workers() ? device->workers() : 0);
  }
}

TEST_P(Conformance, BadExecutablesAreErrors) {
  EXPECT_THROW(device->load("not an object"), Error);
  EXPECT_THROW(device->load(""), Error);
  EXPECT_THROW(device->load(testKernels().substr(0, 1000)), Error);
  EXPECT_THROW(device->load(testKernels())->find("nothing"), Error);
}

INSTANTIATE_TEST_SUITE_P(
    Devices, Conformance,
    testing::Values(DeviceCase{"cpu1", [] { return makeCpuDevice(1); }},
                    DeviceCase{"cpu2", [] { return makeCpuDevice(2); }},
                    DeviceCase{"cpu7", [] { return makeCpuDevice(7); }}),
    [](const auto &info) { return info.param.name; });

TEST(ThreadPool, SleepsAndWakes) {
  ThreadPool pool(3);
  static std::atomic<int> calls;
  calls = 0;
  auto count = [](void *const *, int64_t, int64_t) { ++calls; };
  for (int i = 0; i < 3; ++i) {
    pool.run(count, nullptr);
    // Longer than the spinning: the next run must wake sleepers.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(calls, 9);
}

TEST(ThreadPool, SizeFromEnvironment) {
  ::setenv("R1C_THREADS", "5", 1);
  EXPECT_EQ(ThreadPool::defaultSize(), 5);
  ::setenv("R1C_THREADS", "many", 1);
  EXPECT_THROW(ThreadPool::defaultSize(), Error);
  ::unsetenv("R1C_THREADS");
  EXPECT_GE(ThreadPool::defaultSize(), 1);
}

TEST(Cpu, MissingFeatures) {
  EXPECT_EQ(missingCpuFeatures(""), "");
  EXPECT_EQ(missingCpuFeatures("-avx512nonsense,+sse4.2"), "");
  EXPECT_EQ(missingCpuFeatures("+avx512nonsense"), "avx512nonsense");
}

} // namespace
