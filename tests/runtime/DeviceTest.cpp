//===- DeviceTest.cpp - one suite for every device ------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/Bundle.h"
#include "runtime/device/cpu/Cpu.h"
#include "runtime/device/cpu/ThreadPool.h"
#include "runtime/device/cuda/Cuda.h"
#include "tests/runtime/DelayedDevice.h"
#include "tests/runtime/TestArtifact.h"
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <random>
#include <sys/resource.h>
#include <vector>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

struct DeviceCase {
  const char *name;
  std::unique_ptr<Device> (*make)();
  std::string (*kernels)();
};

/// Written against the interface alone; a new device adds a line below.
class Conformance : public testing::TestWithParam<DeviceCase> {
protected:
  void SetUp() override {
    if (std::string(GetParam().name) == "cuda") {
      if (std::string why = whyNoGpu(); !why.empty())
        GTEST_SKIP() << why;
      fakeCuda();
    }
    device = GetParam().make();
  }

  static KernelInfo kernel(const char *symbol) {
    KernelInfo info;
    info.symbol = symbol;
    info.launch.emplace().threads = 32;
    return info;
  }
  /// Memory with these contents.
  template <typename T>
  Operand operand(const std::vector<T> &values) {
    auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
    char *address = device->allocate(bytes);
    device->upload(address, values.data(), bytes);
    return {address, bytes};
  }
  template <typename T>
  std::vector<T> contents(const Operand &operand) {
    std::vector<T> values(operand.bytes / sizeof(T));
    device->download(values.data(), operand.address, operand.bytes);
    return values;
  }

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

// What is large may be shared by workers, in whole lines.
TEST_P(Conformance, ZeroesWhatIsLargeAndNothingElse) {
  const int64_t large = 20 << 20;
  char *memory = device->allocate(large);
  std::vector<char> host(large, 'x'), back(large);
  for (auto [first, bytes] :
       {std::pair<int64_t, int64_t>{64, 17 << 20},
        {192, (18 << 20) + 44}, // a last line that is not full
        {7, 18 << 20}}) {       // begins inside a line
    device->upload(memory, host.data(), large);
    device->zero(memory + first, bytes);
    device->download(back.data(), memory, large);
    std::vector<char> expected = host;
    std::fill_n(expected.begin() + first, bytes, 0);
    EXPECT_TRUE(back == expected) << first << " + " << bytes;
  }
}

TEST_P(Conformance, DispatchComputesEveryRowOnce) {
  auto executable = device->load(GetParam().kernels());
  std::mt19937 random(3);
  for (int64_t n : {0, 1, 2, 7, 64, 1001}) {
    std::vector<float> x(n);
    for (float &value : x)
      value = std::uniform_real_distribution<float>(-1, 1)(random);
    Operand dx = operand(x), dn = operand(std::vector<int64_t>{n}),
            dy = operand(std::vector<float>(n + 1, std::nanf("")));
    Operand operands[] = {dx, dy, dn};
    device->dispatch(*executable->bind(kernel("affine"), operands));
    device->synchronize();
    std::vector<float> y = contents<float>(dy);
    for (int64_t i = 0; i < n; ++i)
      EXPECT_EQ(y[i], 2 * x[i] + 1);
    EXPECT_TRUE(std::isnan(y[n])) << "wrote behind the result";
  }
}

TEST_P(Conformance, EveryWorkerIsCalled) {
  auto executable = device->load(GetParam().kernels());
  const int64_t workers = device->workers();
  Operand seen = operand(std::vector<int64_t>(workers + 8));
  auto launch = executable->bind(kernel("count_workers"), {&seen, 1});
  for (int repeat = 0; repeat < 200; ++repeat) {
    device->zero(seen.address, seen.bytes);
    device->dispatch(*launch);
    std::vector<int64_t> host = contents<int64_t>(seen);
    for (int64_t i = 0; i < workers + 8; ++i)
      ASSERT_EQ(host[i], i < workers ? workers : 0);
  }
}

// The size is in the device's memory: the same launch sees the new one.
TEST_P(Conformance, SizesAreReadWhenAKernelRuns) {
  auto executable = device->load(GetParam().kernels());
  Operand x = operand(std::vector<float>(9, 3.0f)),
          y = operand(std::vector<float>(9)),
          n = operand(std::vector<int64_t>{0});
  Operand operands[] = {x, y, n};
  auto launch = executable->bind(kernel("affine"), operands);
  for (int64_t rows : {4, 9, 2}) {
    device->zero(y.address, y.bytes);
    device->upload(n.address, &rows, 8);
    device->dispatch(*launch);
    std::vector<float> host = contents<float>(y);
    for (int64_t i = 0; i < 9; ++i)
      EXPECT_EQ(host[i], i < rows ? 7.0f : 0.0f);
  }
}

// The host may reuse what it uploads from at once, however much is under way.
TEST_P(Conformance, UploadsAreTakenWhenTheyAreMade) {
  const int64_t count = 3'000'001; // 12 MB
  std::vector<int32_t> host(count), back;
  Operand a = operand(host), b = operand(host);
  for (int32_t round = 0; round < 3; ++round) {
    for (int64_t i = 0; i < count; ++i)
      host[i] = static_cast<int32_t>(i) * 7 + round;
    device->upload(a.address, host.data(), a.bytes);
    std::fill(host.begin(), host.end(), -1);
  }
  device->copy(b.address, a.address, a.bytes);
  device->zero(a.address, a.bytes);
  back = contents<int32_t>(b);
  for (int64_t i = 0; i < count; ++i)
    ASSERT_EQ(back[i], static_cast<int32_t>(i) * 7 + 2);
  int32_t small[16];
  for (int32_t i = 0; i < 300'000; ++i) {
    std::fill(std::begin(small), std::end(small), i);
    device->upload(a.address + i % 1000 * 64, small, 64);
  }
  back = contents<int32_t>(a);
  for (int32_t i = 0; i < 16000; ++i)
    ASSERT_EQ(back[i], 299'000 + i / 16);
}

// What is fetched is as it was behind the commands before, however late the
// host looks, and whatever it has asked for since.
TEST_P(Conformance, FetchesArriveBehindTheirMarks) {
  auto executable = device->load(GetParam().kernels());
  Operand x = operand(std::vector<float>{1, 2, 3}),
          y = operand(std::vector<float>(3)),
          n = operand(std::vector<int64_t>{3});
  Operand operands[] = {x, y, n};
  auto launch = executable->bind(kernel("affine"), operands);
  const int steps = 5;
  std::vector<std::shared_ptr<char>> arrived;
  std::vector<std::unique_ptr<Mark>> marks;
  auto valuesOf = [&](int step) {
    std::vector<float> values(3);
    std::memcpy(values.data(), arrived[step].get(), 12);
    return values;
  };
  for (int step = 0; step < steps; ++step) {
    arrived.push_back(device->hostMemory(12));
    EXPECT_EQ(valuesOf(step), std::vector<float>(3));
    marks.push_back(device->makeMark());
    device->dispatch(*launch);
    device->copy(x.address, y.address, 12);
    device->fetch(arrived[step].get(), y.address, 12);
    if (marks[step])
      device->mark(*marks[step]);
  }
  std::vector<float> expected{1, 2, 3};
  for (int step = 0; step < steps; ++step) {
    if (marks[step])
      device->wait(*marks[step]);
    for (float &value : expected)
      value = 2 * value + 1;
    EXPECT_EQ(valuesOf(step), expected);
  }
  // Again, and for one that has been passed.
  if (marks[0])
    device->wait(*marks[0]);
  EXPECT_EQ(contents<float>(x), expected);
}

TEST_P(Conformance, RecordingsRunWhenTheyAreReplayed) {
  auto executable = device->load(GetParam().kernels());
  std::vector<float> start = {1, 2, 3};
  Operand x = operand(start), y = operand(start),
          n = operand(std::vector<int64_t>{3});
  Operand operands[] = {x, y, n};
  auto launch = executable->bind(kernel("affine"), operands);
  auto commands = [&] {
    device->dispatch(*launch);
    device->copy(x.address, y.address, 8);
    device->zero(y.address, 4);
  };
  auto recording = device->record(commands);
  if (!recording)
    return; // this device gains nothing by it
  EXPECT_EQ(contents<float>(x), start) << "ran while it was recorded";
  device->replay(*recording);
  EXPECT_EQ(contents<float>(x), (std::vector<float>{3, 5, 3}));
  EXPECT_EQ(contents<float>(y), (std::vector<float>{0, 5, 7}));
  int64_t two = 2;
  device->upload(n.address, &two, 8);
  device->replay(*recording);
  device->replay(*recording);
  EXPECT_EQ(contents<float>(x), (std::vector<float>{15, 23, 3}));
  EXPECT_EQ(contents<float>(y), (std::vector<float>{0, 23, 7}));
  EXPECT_THROW(device->record([&] { contents<float>(x); }), Error);
  // A failed recording leaves nothing behind.
  commands();
  EXPECT_EQ(contents<float>(x), (std::vector<float>{31, 47, 3}));
}

TEST_P(Conformance, TimesAKernel) {
  auto executable = device->load(GetParam().kernels());
  Operand x = operand(std::vector<float>{1}),
          y = operand(std::vector<float>{0}),
          n = operand(std::vector<int64_t>{1});
  Operand operands[] = {x, y, n};
  double seconds = device->time(*executable->bind(kernel("affine"), operands));
  EXPECT_GT(seconds, 0);
  EXPECT_LT(seconds, 1);
  EXPECT_EQ(contents<float>(y), std::vector<float>{3});
}

// Five buffers in two arenas: one lies apart from its neighbours, two arenas
// are two copies, and nothing beside them is touched.
TEST_P(Conformance, BundlesTravelInFewCopies) {
  TestManifest m;
  m.json["arenas"] = {{{"name", "a"}, {"bytes", 1024}},
                      {{"name", "b"}, {"bytes", 64}}};
  auto add = [&](const char *name, const char *arena, int64_t offset,
                 int64_t bytes, const char *dtype) {
    m.json["buffers"].push_back({{"name", name},
                                 {"arena", arena},
                                 {"offset", offset},
                                 {"bytes", bytes},
                                 {"dtype", dtype}});
  };
  add("x", "a", 64, 20, "i32");
  add("y", "a", 128, 64, "f32");
  add("other", "a", 192, 64, "i32");
  add("z", "a", 256, 24, "f64");
  add("n", "b", 0, 8, "i64");
  Manifest manifest = Manifest::parse(dumpJson(m.json), 0);
  Memory memory(*device, manifest, "");
  memory.buffer("other").write(std::vector<int32_t>(16, 7));
  std::vector<Range> ranges;
  for (const char *name : {"n", "z", "y", "x"})
    ranges.push_back(memory.buffer(name));
  Bundle bundle(ranges);
  EXPECT_EQ(bundle.copies(), 3u);
  bundle.set(0, std::vector<int64_t>{int64_t(1) << 40});
  bundle.set(1, std::vector<double>{0.5, -1});
  bundle.set(2, std::vector<int32_t>{3, 4});
  bundle.set(3, std::vector<int32_t>{1, 2, 3, 4, 5});
  bundle.upload();
  EXPECT_EQ(memory.buffer("n").read<int64_t>(1)[0], int64_t(1) << 40);
  EXPECT_EQ(memory.buffer("z").read<double>(3),
            (std::vector<double>{0.5, -1, 0}));
  EXPECT_EQ(memory.buffer("y").read<float>(3), (std::vector<float>{3, 4, 0}));
  EXPECT_EQ(memory.buffer("x").read<int32_t>(5),
            (std::vector<int32_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(memory.buffer("other").read<int32_t>(16),
            std::vector<int32_t>(16, 7));
  memory.buffer("z").write(std::vector<double>{9, 8, 7});
  memory.buffer("x").write(std::vector<int32_t>{6});
  Bundle back(ranges);
  back.download();
  EXPECT_EQ(back.get<double>(1, 3), (std::vector<double>{9, 8, 7}));
  EXPECT_EQ(back.get<int32_t>(3, 2), (std::vector<int32_t>{6, 2}));
  EXPECT_EQ(back.get<float>(2, 2), (std::vector<float>{3, 4}));
  EXPECT_THROW(bundle.set(3, std::vector<int32_t>(6)), Error);
  EXPECT_THROW(back.get<double>(1, 4), Error);
}

TEST_P(Conformance, BadExecutablesAreErrors) {
  std::string good = GetParam().kernels();
  EXPECT_THROW(device->load("not an object"), Error);
  EXPECT_THROW(device->load(""), Error);
  for (size_t length : {size_t(1000), good.size() / 2, good.size() - 1})
    EXPECT_THROW(device->load(good.substr(0, length)), Error) << length;
  EXPECT_THROW(device->load(good)->bind(kernel("nothing"), {}), Error);
}

INSTANTIATE_TEST_SUITE_P(
    Devices, Conformance,
    testing::Values(
        DeviceCase{"cpu1", [] { return makeCpuDevice(1); }, testKernels},
        DeviceCase{"cpu2", [] { return makeCpuDevice(2); }, testKernels},
        DeviceCase{"cpu7", [] { return makeCpuDevice(7); }, testKernels},
        DeviceCase{"delayed",
                   []() -> std::unique_ptr<Device> {
                     return std::make_unique<DelayedDevice>(2, 3);
                   },
                   testKernels},
        DeviceCase{"cuda", [] { return makeCudaDevice("sm_90a"); }, testCubin}),
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

TEST(ThreadPool, FewerThanAskedForIsAnError) {
  // Room for some of the stacks, and not for all.
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_AS, &before), 0);
  rlimit little = before;
  little.rlim_cur = rlim_t(2) << 30;
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &little), 0);
  std::string said;
  try {
    ThreadPool pool(4096);
  } catch (const Error &error) {
    said = error.what();
  }
  ::setrlimit(RLIMIT_AS, &before);
  EXPECT_NE(said.find(" of 4096 worker threads can be started: "),
            std::string::npos)
      << said;
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
