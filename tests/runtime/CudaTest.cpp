//===- CudaTest.cpp - what only a GPU has, and runs on one ----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Cuda: on the fake driver or, with R1C_TEST_GPU, on a real GPU. FakeGpu: what
// only the fake can show.
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Cuda.h"
#include "runtime/device/Elf.h"
#include "runtime/device/cuda/Launch.h"
#include "tests/runtime/RunFixture.h"
#include <algorithm>
#include <cstring>
#include <random>
#include <regex>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

std::string thrownBy(const std::function<void()> &body) {
  try {
    body();
  } catch (const Error &error) {
    return error.what();
  }
  return "";
}

KernelInfo kernelOf(const char *symbol) {
  KernelInfo kernel;
  kernel.name = symbol;
  kernel.symbol = symbol;
  kernel.loc = "step.r1:3:5";
  kernel.launch.emplace().threads = 32;
  return kernel;
}

TensorMapInfo rowsOf(int64_t operand) {
  TensorMapInfo map;
  map.operand = operand;
  map.dtype = "bf16";
  map.sizes = {32, -1};
  map.strides = {64};
  map.box = {16, 4};
  return map;
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

/// The error of opening a GPU.
std::string openingError() {
  return thrownBy([] { makeCudaDevice("sm_90a"); });
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

TEST_F(Cuda, TensorMapsShowAnOperandToItsBuffersEnd) {
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  std::vector<uint16_t> x(32 * 10 + 5); // the last row is not whole
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<uint16_t>(i + 1);
  Operand dx = operand(*device, x),
          dy = operand(*device, std::vector<uint16_t>(64)),
          row = operand(*device, std::vector<int64_t>{0});
  KernelInfo kernel = kernelOf("tensor_copy");
  kernel.launch->tensorMaps = {rowsOf(0)};
  // Also from the second row on: rows are then counted from there.
  for (int64_t skipped : {0, 1}) {
    Operand operands[] = {
        {dx.address + 64 * skipped, dx.bytes - 64 * skipped}, dy, row};
    auto launch = executable->bind(kernel, operands);
    for (int64_t first : {0, 5, 8, 9, 20}) {
      device->upload(row.address, &first, 8);
      device->dispatch(*launch);
      std::vector<uint16_t> y(64);
      device->download(y.data(), dy.address, 128);
      for (int64_t i = 0; i < 4; ++i)
        for (int64_t j = 0; j < 16; ++j) {
          int64_t at = skipped + first + i;
          EXPECT_EQ(y[16 * i + j], at < 10 ? at * 32 + 8 + j + 1 : 0)
              << at << ", " << j;
        }
    }
  }
}

TEST_F(Cuda, WrongParameterBlocksAreRefused) {
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  std::vector<Operand> operands(3, operand(*device, std::vector<uint16_t>(64)));
  KernelInfo kernel = kernelOf("tensor_copy");
  std::string error = thrownBy([&] { executable->bind(kernel, operands); });
  EXPECT_EQ(error, "kernel 'tensor_copy' (step.r1:3:5): takes 192 bytes of "
                   "parameters, and its operands and tensor maps make 24");
  kernel.launch->tensorMaps = {rowsOf(0), rowsOf(1)};
  error = thrownBy([&] { executable->bind(kernel, operands); });
  EXPECT_NE(error.find("takes 192 bytes of parameters, and its operands and "
                       "tensor maps make 320"),
            std::string::npos)
      << error;
  kernel.launch->tensorMaps = {rowsOf(0)};
  operands[0].bytes = 60;
  error = thrownBy([&] { executable->bind(kernel, operands); });
  EXPECT_EQ(error, "kernel 'tensor_copy' (step.r1:3:5): operand 0: its 60 "
                   "bytes hold no row of 64");
  operands[0].address += 8;
  error = thrownBy([&] { executable->bind(kernel, operands); });
  EXPECT_NE(error.find("is not a multiple of 16"), std::string::npos) << error;
  operands[0] = {operands[0].address + 8, 112};
  kernel.launch->tensorMaps[0].sizes = {32, 2};
  error = thrownBy([&] { executable->bind(kernel, operands); });
  EXPECT_NE(error.find("covers 128 bytes, its buffer has only 112"),
            std::string::npos)
      << error;
  kernel.launch.reset();
  EXPECT_NE(thrownBy([&] {
              executable->bind(kernel, operands);
            }).find("has no 'launch'"),
            std::string::npos);
}

TEST_F(FakeGpu, LaunchesAreWhatTheManifestSays) {
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  Operand seen = operand(*device, std::vector<int64_t>(64));
  auto launched = [&](auto change) {
    KernelInfo kernel = kernelOf("count_workers");
    change(*kernel.launch);
    device->dispatch(*executable->bind(kernel, {&seen, 1}));
    device->synchronize();
    return fake->launches.back();
  };
  fake->multiprocessors = 7; // asked once, when it was opened
  FakeLaunch launch = launched([](LaunchInfo &info) {});
  EXPECT_EQ(launch.grid, 4u);
  EXPECT_EQ(launch.threads, 32u);
  EXPECT_EQ(launch.shared, 0u);
  EXPECT_EQ(launch.cluster, 1u);
  EXPECT_EQ(launch.block[0], reinterpret_cast<uint64_t>(seen.address));
  launch = launched([](LaunchInfo &info) {
    info.threads = 384;
    info.blocksPerMultiprocessor = 3;
  });
  EXPECT_EQ(launch.grid, 12u);
  EXPECT_EQ(launch.threads, 384u);
  launch = launched([](LaunchInfo &info) {
    info.blocks = 6;
    info.cluster = 2;
  });
  EXPECT_EQ(launch.grid, 6u);
  EXPECT_EQ(launch.cluster, 2u);
  // A persistent grid is a whole number of clusters.
  EXPECT_EQ(launched([](LaunchInfo &info) { info.cluster = 3; }).grid, 3u);
  EXPECT_EQ(launched([](LaunchInfo &info) { info.cluster = 8; }).grid, 8u);

  auto other = device->load(testCubin());
  KernelInfo kernel = kernelOf("count_workers");
  kernel.launch->shared = 200000;
  device->dispatch(*other->bind(kernel, {&seen, 1}));
  device->synchronize();
  EXPECT_EQ(fake->launches.back().shared, 200000u);
}

// A kernel reads its early operands before it waits for its predecessors: it
// must not start before those that write them have ended.
TEST_F(FakeGpu, LaunchesStartEarlyWhereNothingTheyReadIsBeingWritten) {
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  std::vector<float> numbers(16, 1);
  Operand weights = operand(*device, numbers), in = operand(*device, numbers),
          out = operand(*device, numbers), other = operand(*device, numbers),
          size = operand(*device, std::vector<int64_t>{16});
  auto make = [&](Operand x, Operand y, std::vector<int64_t> early,
                  bool overlap = true) {
    KernelInfo kernel = kernelOf("affine");
    kernel.launch->overlap = overlap;
    kernel.launch->early = std::move(early);
    kernel.launch->written = {1};
    Operand operands[] = {x, y, size};
    return executable->bind(kernel, operands);
  };
  auto first = make(in, out, {2}), reads = make(weights, other, {0, 2}),
       plain = make(in, out, {}, false), writes = make(in, weights, {2});
  auto overlaps = [&](std::vector<const Launch *> launches) {
    fake->launches.clear();
    for (const Launch *launch : launches)
      device->dispatch(*launch);
    device->synchronize();
    std::string text;
    for (const FakeLaunch &launch : fake->launches)
      text += launch.overlaps ? 'o' : '-';
    return text;
  };
  EXPECT_EQ(overlaps({&*first}), "-") << "behind an upload";
  EXPECT_EQ(overlaps({&*first, &*reads, &*first}), "ooo");
  EXPECT_EQ(overlaps({&*writes, &*reads}), "o-");
  EXPECT_EQ(overlaps({&*writes, &*first, &*first, &*reads}), "ooo-");
  EXPECT_EQ(overlaps({&*writes, &*plain, &*first, &*reads}), "o-oo")
      << "all that is written has been when a kernel starts alone";
  device->copy(other.address, in.address, 64);
  EXPECT_EQ(overlaps({&*reads, &*reads}), "-o");

  // What a recording begins with follows all that was before it.
  overlaps({&*writes});
  auto recording = device->record([&] {
    device->dispatch(*reads);
    device->dispatch(*writes);
    device->dispatch(*reads);
  });
  fake->launches.clear();
  device->replay(*recording);
  device->dispatch(*first);
  device->synchronize();
  std::string text;
  for (const FakeLaunch &launch : fake->launches)
    text += launch.overlaps ? 'o' : '-';
  EXPECT_EQ(text, "-o--");

  // A kernel that does not say what it writes may write anything.
  KernelInfo kernel = kernelOf("affine");
  kernel.launch->overlap = true;
  Operand operands[] = {weights, out, size};
  auto unsaid = executable->bind(kernel, operands);
  EXPECT_EQ(overlaps({&*first, &*unsaid, &*reads}), "oo-");
  kernel.launch->early = {3};
  EXPECT_NE(
      thrownBy([&] { executable->bind(kernel, operands); }).find("operand 3"),
      std::string::npos);
}

TEST(Written, TouchesWhatWasAdded) {
  using namespace r1c::runtime::cuda;
  char memory[100];
  auto span = [&](int64_t from, int64_t to) {
    return Span{memory + from, memory + to};
  };
  Written written;
  EXPECT_FALSE(written.touches(span(0, 100)));
  std::vector<bool> is(100, false);
  std::mt19937 draw(7);
  for (int i = 0; i < 40; ++i) {
    int64_t from = draw() % 100, to = std::min<int64_t>(100, from + draw() % 9);
    written.add(span(from, to));
    std::fill(is.begin() + from, is.begin() + to, true);
    for (int64_t a = 0; a < 100; ++a)
      for (int64_t b : {a + 1, a + 3, a + 17})
        if (b <= 100) {
          bool any =
              std::find(is.begin() + a, is.begin() + b, true) != is.begin() + b;
          ASSERT_EQ(written.touches(span(a, b)), any) << a << ' ' << b;
        }
  }
  written.clear();
  EXPECT_FALSE(written.touches(span(0, 100)));
}

TEST_F(FakeGpu, TensorMapsAreEncodedAsAsked) {
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  Operand x = operand(*device, std::vector<float>(6 * 64 * 40)),
          y = operand(*device, std::vector<uint16_t>(64)),
          row = operand(*device, std::vector<int64_t>{0});
  KernelInfo kernel = kernelOf("tensor_copy");
  TensorMapInfo &map = kernel.launch->tensorMaps.emplace_back();
  map.operand = 0;
  map.dtype = "f32";
  map.sizes = {60, 40, -1};
  map.strides = {256, 256 * 40};
  map.box = {32, 8, 2};
  map.swizzle = 128;
  Operand operands[] = {x, y, row};
  auto launch = executable->bind(kernel, operands);
  device->dispatch(*launch);
  device->synchronize();
  const std::vector<uint64_t> &block = fake->launches.back().block;
  EXPECT_EQ(block[1], reinterpret_cast<uint64_t>(y.address));
  EXPECT_EQ(block[2], reinterpret_cast<uint64_t>(row.address));
  EXPECT_EQ(block[3], 0u);
  FakeTensorMap encoded;
  std::memcpy(&encoded, &block[8], sizeof encoded);
  EXPECT_EQ(encoded.address, reinterpret_cast<uint64_t>(x.address));
  EXPECT_EQ(encoded.dtype, cuda::mapFloat32);
  EXPECT_EQ(encoded.rank, 3);
  EXPECT_EQ(encoded.swizzle, 3);
  EXPECT_EQ(std::vector<uint64_t>(encoded.sizes, encoded.sizes + 3),
            (std::vector<uint64_t>{60, 40, 6}));
  EXPECT_EQ(std::vector<uint64_t>(encoded.strides, encoded.strides + 2),
            (std::vector<uint64_t>{256, 256 * 40}));
  EXPECT_EQ(std::vector<uint16_t>(encoded.box, encoded.box + 3),
            (std::vector<uint16_t>{32, 8, 2}));
}

// Of the tests without a GPU, the one that sees what ptxas really makes.
TEST(Cubin, IsCheckedToItsEnd) {
  if (std::string(R1C_TEST_CUBIN).empty())
    GTEST_SKIP() << "no nvcc was found when the tests were built";
  std::string image = readFile(builtFile(R1C_TEST_CUBIN));
  auto check = [](const std::string &image) {
    return thrownBy([&] { checkElf(image, "kernels.cubin", ElfKind::cubin); });
  };
  EXPECT_EQ(check(image), "");
  EXPECT_EQ(check(image.substr(0, image.size() - 1)),
            "kernels.cubin is truncated");
  EXPECT_EQ(check(image.substr(0, 70)), "kernels.cubin is truncated");
  EXPECT_EQ(check(testKernels()), "kernels.cubin is not made for a GPU");
}

//===----------------------------------------------------------------------===//
// What can be missing
//===----------------------------------------------------------------------===//

TEST_F(FakeGpu, MissingThingsAreNamed) {
  ::setenv("R1C_LIBCUDA", "/nowhere/libcuda.so", 1);
  std::string error = openingError();
  EXPECT_EQ(error.find("compiled for a GPU, and the NVIDIA driver is not "
                       "there: /nowhere/libcuda.so"),
            0u)
      << error;
  ::setenv("R1C_LIBCUDA", builtFile(R1C_TEST_KERNELS).c_str(), 1);
  EXPECT_NE(openingError().find("has no function cuDriverGetVersion"),
            std::string::npos);
  fake = &fakeCuda();
  fake->version = 12040;
  EXPECT_EQ(openingError(),
            "the NVIDIA driver here supports CUDA 12.4, and kernels of this "
            "compiler need CUDA 13.0; install driver 580 or a newer one");
  fake = &fakeCuda();
  fake->failing = "cuDriverGetVersion";
  fake->failure = 34;
  EXPECT_NE(openingError().find("does not say its version (error 34)"),
            std::string::npos);
  fake = &fakeCuda();
  fake->devices = 0;
  EXPECT_EQ(openingError().find("compiled for a GPU, and this machine has "
                                "none"),
            0u);
  fake = &fakeCuda();
  fake->major = 8;
  EXPECT_EQ(openingError(),
            "compiled for sm_90a, a GPU of compute capability 9.0, and the one "
            "here, Fake GPU, has 8.0");
  fake = &fakeCuda();
  fake->failing = "cuInit";
  fake->failure = 719;
  EXPECT_EQ(openingError(), "the GPU driver does not start: "
                            "CUDA_ERROR_LAUNCH_FAILED, as the test wants it");
  fake = &fakeCuda();
  EXPECT_EQ(openingError(), "");
  EXPECT_EQ(fake->contexts, 0);
  EXPECT_EQ(fake->allocations, 0);
}

TEST_F(FakeGpu, RunsSaySoBeforeTheyTakeMemory) {
  auto expect = [&](const char *message, const std::function<void()> &set,
                    const std::function<void(Json &)> &change = {}) {
    fake = &fakeCuda();
    TestManifest m = forCuda(stepManifest());
    if (change)
      change(m.json);
    set();
    std::string error = errorOf(options(m, "out"));
    EXPECT_NE(error.find(message), std::string::npos) << error;
    EXPECT_FALSE(fs::exists(directory / "out"));
    EXPECT_EQ(fake->allocations, 0);
    EXPECT_EQ(fake->contexts, 0);
    EXPECT_EQ(fake->modules, 0);
  };
  expect("supports CUDA 12.8", [&] { fake->version = 12080; });
  expect("has 10.0", [&] { fake->major = 10; });
  expect("of memory, and this GPU offers 4.0 KiB: make the sizes named below "
         "smaller",
         [&] { fake->memory = 4096; });
  expect("of memory, and this GPU, with what else runs on it, offers 2.0 KiB",
         [&] { fake->usedByOthers = fake->memory - 2048; });
  expect(
      "has no 'launch', which a GPU needs", [] {},
      [](Json &j) { j["kernels"][2].erase("launch"); });
  expect(
      "compiled for tpu, and this runtime has no such device", [] {},
      [](Json &j) { j["target"]["kind"] = "tpu"; });
}

TEST_F(FakeGpu, AllocationsThatFailSayWhatIsFree) {
  auto device = makeCudaDevice("sm_90a");
  fake->usedByOthers = fake->memory - 5000;
  device->allocate(2000);
  EXPECT_EQ(thrownBy([&] {
              device->allocate(4000);
            }).find("cannot allocate 4000 bytes on the GPU, 2"),
            0u);
}

TEST_F(FakeGpu, FaultsNameTheKernel) {
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  Operand seen = operand(*device, std::vector<int64_t>(64));
  auto launch = executable->bind(kernelOf("count_workers"), {&seen, 1});
  // The launch itself.
  fake->failing = "cuLaunchKernelEx";
  fake->failure = 701;
  std::string error = thrownBy([&] { device->dispatch(*launch); });
  EXPECT_EQ(error, "kernel 'count_workers' (step.r1:3:5): cannot be launched: "
                   "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, as the test wants it");
  fake->failing = "";
  // One kernel since the host last waited: it is that one.
  device->synchronize();
  fake->faulting = "count_workers";
  device->dispatch(*launch);
  error = thrownBy([&] { device->synchronize(); });
  EXPECT_EQ(error, "kernel 'count_workers' (step.r1:3:5): failed on the GPU: "
                   "CUDA_ERROR_ILLEGAL_ADDRESS, an illegal memory access was "
                   "encountered");
  // It stays, whatever is called.
  EXPECT_NE(thrownBy([&] { device->zero(seen.address, 8); }), "");
}

TEST_F(FakeGpu, FaultsAmongManySayHowToFindThem) {
  for (bool sync : {false, true}) {
    fake = &fakeCuda();
    if (sync)
      ::setenv("R1C_CUDA_SYNC", "1", 1);
    auto device = makeCudaDevice("sm_90a");
    auto executable = device->load(testCubin());
    Operand seen = operand(*device, std::vector<int64_t>(64)),
            weights = operand(*device, std::vector<float>(16));
    Operand operands[] = {weights, weights};
    auto first = executable->bind(kernelOf("pack"), operands);
    auto second = executable->bind(kernelOf("count_workers"), {&seen, 1});
    fake->faulting = "count_workers";
    std::string error = thrownBy([&] {
      device->dispatch(*first);
      device->dispatch(*second);
      device->dispatch(*first);
      device->synchronize();
    });
    EXPECT_EQ(error.find(sync ? "kernel 'count_workers' (step.r1:3:5): failed"
                              : "one of 3 kernels, the first of them kernel "
                                "'pack' (step.r1:3:5), failed"),
              0u)
        << error;
  }
  ::unsetenv("R1C_CUDA_SYNC");
}

//===----------------------------------------------------------------------===//
// Runs
//===----------------------------------------------------------------------===//

TEST_F(Cuda, RunsGiveTheBitsOfTheCpu) {
  run(options(stepManifest(), "cpu"));
  run(options(forCuda(stepManifest()), "cuda"));
  EXPECT_EQ(metrics("cpu"), metrics("cuda"));
  EXPECT_EQ(state("cpu"), state("cuda"));
  EXPECT_EQ(readFile(directory / "cpu/samples.jsonl"),
            readFile(directory / "cuda/samples.jsonl"));
  if (onRealGpu())
    return;
  EXPECT_GT(fake->replays, 0);
  EXPECT_EQ(fake->pageable, 0);
  // Nothing outlives the session.
  EXPECT_EQ(fake->allocations, 0);
  EXPECT_EQ(fake->graphs, 0);
  EXPECT_EQ(fake->modules, 0);
  EXPECT_EQ(fake->contexts, 0);
}

TEST_F(Cuda, ResumesBitForBit) {
  run(options(forCuda(stepManifest()), "whole"));
  RunOptions part = options(forCuda(stepManifest()), "parts");
  part.steps = 2;
  run(part);
  part.steps.reset();
  part.resume = true;
  testing::internal::CaptureStderr();
  run(part);
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(metrics("whole"), metrics("parts"));
  EXPECT_EQ(state("whole"), state("parts"));
}

TEST_F(Cuda, ProfilesAndTracesWithoutRecording) {
  run(options(forCuda(stepManifest()), "plain"));
  RunOptions timed = options(forCuda(stepManifest()), "timed");
  timed.profile = true;
  timed.trace = directory / "trace.json";
  fake->replays = 0;
  testing::internal::CaptureStderr();
  run(timed);
  std::string report = testing::internal::GetCapturedStderr();
  EXPECT_EQ(state("plain"), state("timed"));
  EXPECT_NE(report.find("store_rows"), std::string::npos) << report;
  EXPECT_EQ(fake->replays, 0);
  std::vector<Json> events =
      Json::parse(readFile(directory / "trace.json")).get<std::vector<Json>>();
  EXPECT_TRUE(std::any_of(events.begin(), events.end(), [](const Json &event) {
    return event["name"] == "draw" && event["dur"].get<double>() > 0;
  }));
  // The steps of the trace, which covers all rounds, are those of the report.
  int64_t rows = 0;
  for (const Json &event : events)
    if (event["name"] == "rollout step")
      rows += event["args"]["rows"].get<int64_t>();
  std::smatch found;
  ASSERT_TRUE(std::regex_search(
      report, found,
      std::regex("sampling: (\\d+) rows run; (\\d+) rows of prompts copied "
                 "within their group instead\n"
                 "sampling: (\\d+) of these rows came behind the end of their "
                 "sequence, before the host had seen it\n")))
      << report;
  EXPECT_EQ(std::stoll(found[1]), rows);
  EXPECT_GT(std::stoll(found[2]), 0);
  // Two steps ahead, 24 sequences, three rounds.
  EXPECT_GT(std::stoll(found[3]), 0);
  EXPECT_LE(std::stoll(found[3]), 2 * 24 * 3);
}

// The kernel, where it was written, and where the step file uses it.
TEST_F(FakeGpu, FaultsOfARunSayWhere) {
  TestManifest m = forCuda(stepManifest());
  for (Json &kernel : m.json["kernels"])
    kernel["loc"] = "step.r1:2:1";
  for (Json &command : m.json["stages"][0]["body"])
    if (command["op"] == "dispatch")
      command["loc"] = "step.r1:12:3";
  fake->faulting = "mean";
  EXPECT_EQ(errorOf(options(m, "out")),
            "kernel 'mean' (step.r1:2:1): failed on the GPU: "
            "CUDA_ERROR_ILLEGAL_ADDRESS, an illegal memory access was "
            "encountered");
  // Where each command is waited for, the one that failed is known too.
  fake = &fakeCuda();
  ::setenv("R1C_CUDA_SYNC", "1", 1);
  fake->faulting = "mean";
  EXPECT_EQ(errorOf(options(m, "out")).find("step.r1:12:3: kernel 'mean'"), 0u);
  EXPECT_EQ(fake->replays, 0);
  ::unsetenv("R1C_CUDA_SYNC");
}

TEST_F(Cuda, AnAllReduceStandsBetweenRecordings) {
  TestManifest m = stepManifest();
  Json &program = m.json["programs"]["actor.rollout"];
  // Stored twice in front of it, so that there is something to record.
  Json choose = program[0], store = program[1], draw = program[2];
  Json reduce = {{"op", "all_reduce"},
                 {"arg", ref("actor.packed")},
                 {"count", 16},
                 {"dtype", "f32"}};
  program = std::vector<Json>{choose, store, store, reduce, draw};
  run(options(m, "cpu"));
  run(options(forCuda(m), "cuda"));
  EXPECT_EQ(state("cpu"), state("cuda"));
  EXPECT_EQ(metrics("cpu"), metrics("cuda"));
  int64_t recorded = 0;
  for (const FakeLaunch &launch : fake->launches) {
    recorded += launch.recorded && launch.kernel == "store_rows";
    EXPECT_FALSE(launch.recorded && launch.kernel == "draw");
  }
  EXPECT_TRUE(onRealGpu() || recorded > 10) << recorded;
}

// Two steps are under way while the host waits for the one before them, and it
// waits for nothing else in between.
TEST_F(FakeGpu, SamplesAheadOfWhatTheHostHasSeen) {
  run(options(forCuda(stepManifest()), "out"));
  // A step: eight tables, the program, two results.
  std::string order =
      std::regex_replace(fake->order, std::regex("u{8}(r|lll)d{2}"), "S");
  std::regex rollout("S[Se]+");
  auto first = std::sregex_iterator(order.begin(), order.end(), rollout);
  int64_t rollouts = 0;
  for (auto at = first; at != std::sregex_iterator(); ++at, ++rollouts) {
    std::string steps = at->str();
    EXPECT_EQ(steps.find("SSSeSeSeSeSeSeSe"), 0u) << steps;
    EXPECT_EQ(steps.find("SSSS"), std::string::npos) << steps;
    auto count = [&](char c) {
      return std::count(steps.begin(), steps.end(), c);
    };
    // The last wait may be for several.
    EXPECT_GE(count('S'), count('e'));
    EXPECT_LE(count('S'), count('e') + 1);
  }
  EXPECT_EQ(rollouts, 3);
}

TEST_F(FakeGpu, NoStepIsAheadWhereEachCommandIsWaitedFor) {
  run(options(forCuda(stepManifest()), "ahead"));
  EXPECT_EQ(makeCudaDevice("sm_90a")->stepsAhead(), 2);
  ::setenv("R1C_CUDA_SYNC", "1", 1);
  EXPECT_EQ(makeCudaDevice("sm_90a")->stepsAhead(), 0);
  run(options(forCuda(stepManifest()), "sync"));
  ::unsetenv("R1C_CUDA_SYNC");
  EXPECT_EQ(state("ahead"), state("sync"));
  EXPECT_EQ(metrics("ahead"), metrics("sync"));
}

// What has been waited for is not among the kernels that may have failed.
TEST_F(FakeGpu, FaultsAreBehindTheLastMarkThatWasReached) {
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  Operand seen = operand(*device, std::vector<int64_t>(64)),
          weights = operand(*device, std::vector<float>(16));
  Operand operands[] = {weights, weights};
  auto pack = executable->bind(kernelOf("pack"), operands);
  auto count = executable->bind(kernelOf("count_workers"), {&seen, 1});
  std::unique_ptr<Mark> marks[3];
  for (auto &mark : marks)
    mark = device->makeMark();
  for (auto &mark : marks) {
    device->dispatch(*pack);
    device->dispatch(*pack);
    device->mark(*mark);
  }
  device->wait(*marks[1]);
  device->dispatch(*count);
  fake->faulting = "count_workers";
  std::string error = thrownBy([&] { device->synchronize(); });
  EXPECT_EQ(error.find("one of 3 kernels, the first of them kernel 'pack'"), 0u)
      << error;
  fake = &fakeCuda();
  auto other = makeCudaDevice("sm_90a");
  auto again = other->load(testCubin());
  Operand there = operand(*other, std::vector<int64_t>(64));
  auto launch = again->bind(kernelOf("count_workers"), {&there, 1});
  auto mark = other->makeMark();
  other->dispatch(*launch);
  other->mark(*mark);
  other->dispatch(*launch);
  other->wait(*mark);
  fake->faulting = "count_workers";
  error = thrownBy([&] { other->synchronize(); });
  EXPECT_EQ(error.find("kernel 'count_workers' (step.r1:3:5): failed"), 0u)
      << error;
}

// A step has a few dozen tiny transfers, and waits only where it reads.
TEST_F(FakeGpu, WaitsOnlyWhereTheHostReads) {
  fake = &fakeCuda();
  auto device = makeCudaDevice("sm_90a");
  Operand x = operand(*device, std::vector<float>(64));
  std::vector<float> host(64, 1);
  int64_t before = fake->waits;
  for (int i = 0; i < 1000; ++i) {
    device->upload(x.address, host.data(), 256);
    device->zero(x.address, 4);
  }
  EXPECT_EQ(fake->waits, before);
  device->download(host.data(), x.address, 256);
  EXPECT_EQ(fake->waits, before + 1);
  EXPECT_EQ(host[0], 0);
  EXPECT_EQ(host[1], 1);
}

} // namespace
