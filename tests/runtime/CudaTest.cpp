//===- CudaTest.cpp - what only a GPU has, and runs on one ----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/runtime/CudaFixture.h"
#include <cstring>
#include <regex>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

/// The error of opening a GPU.
std::string openingError() {
  return thrownBy([] { makeCudaDevice("sm_90a"); });
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
  expect("of memory, and this GPU offers 4.0 KiB, ",
         [&] { fake->memory = 4096; });
  expect(" too little: make the sizes named below smaller",
         [&] { fake->memory = 4096; });
  // What the table names, and what the compiler can do about it.
  auto large = [](Json &j) {
    j["arenas"].push_back(
        {{"name", "actor.rollout.memory"}, {"bytes", int64_t(5) << 30}});
  };
  expect(
      "too little: compile with --memory=3G, or make the sizes",
      [&] { fake->memory = size_t(3) << 30; }, large);
  expect(
      "context, layers, kv_heads; 5 sequences at once",
      [&] { fake->memory = size_t(3) << 30; }, large);
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
  fake->failing = "cuStreamSynchronize";
  fake->failure = 2;
  EXPECT_NE(thrownBy([&] {
              device->synchronize();
            }).find("or compile with a --memory that leaves it more"),
            std::string::npos);
  fake->failing.clear();
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

// Steps of few rows take the launches that are for these, others do not, and
// each has a recording of its own.
TEST_F(FakeGpu, StepsOfFewRowsHaveLaunchesOfTheirOwn) {
  TestManifest few = forCuda(stepManifest());
  size_t draws = 0;
  for (Json &kernel : few.json["kernels"])
    if (kernel["name"] == "draw") {
      Json launch = kernel["launch"];
      launch["threads"] = 96;
      kernel["launch"]["threads"] = 160;
      kernel["launch"]["few_rows"] = {
          {{"rows", 5}, {"symbol", kernel["symbol"]}, {"launch", launch}}};
      ++draws;
    }
  ASSERT_EQ(draws, 1u);
  run(options(stepManifest(), "cpu"));
  run(options(few, "few"));
  EXPECT_EQ(metrics("cpu"), metrics("few"));
  EXPECT_EQ(state("cpu"), state("few"));
  EXPECT_GT(fake->replays, 0);
  auto launched = [&](uint32_t threads) {
    return std::count_if(
        fake->launches.begin(), fake->launches.end(),
        [&](const FakeLaunch &launch) { return launch.threads == threads; });
  };
  EXPECT_GT(launched(96), 0);
  EXPECT_GT(launched(160), 0);
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
