//===- NcclTest.cpp - runs of several ranks on GPUs -----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Processes of r1c-run, started by mpirun, behind a driver and an NCCL that
// need no GPU (FakeCuda.cpp, FakeNccl.cpp).
//===----------------------------------------------------------------------===//

#include "runtime/collective/nccl/Nccl.h"
#include "runtime/collective/single/Single.h"
#include "runtime/device/cuda/Cuda.h"
#include "runtime/support/Files.h"
#include "tests/runtime/RunFixture.h"
#include <sys/wait.h>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

/// The step in miniature with a gradient in float32 that is summed over the
/// ranks: half of it from the chunks on, the rest behind them. It consists of
/// whole numbers, so that no order shows.
TestManifest reducedManifest() {
  TestManifest m = stepManifest();
  m.buffer("g", "f32", 16);
  m.kernel("count_targets", 4);
  m.kernel("widen", 2);
  Json &body = m.json["stages"][0]["body"].back()["body"];
  Json changed = Json::array();
  for (Json command : body) {
    if (command["op"] == "chunks") {
      changed.push_back({{"op", "zero"}, {"arg", ref("g")}, {"bytes", 16 * 4}});
      Json start = {{"op", "loop"},
                    {"from", 1},
                    {"to", -1},
                    {"step", -1},
                    {"body",
                     {{{"op", "reduce_start"},
                       {"args", {ref("g", 0, 16)}},
                       {"counts", {4}}}}}};
      command["body"] = Json::array(
          {dispatch("count_targets", {ref("c.targets"), ref("c.token_index"),
                                      ref("g"), ref("c.target_count")}),
           start});
      changed.push_back(command);
      changed.push_back({{"op", "all_reduce"},
                         {"arg", ref("g")},
                         {"count", 16},
                         {"dtype", "f32"},
                         {"loc", "step.r1:12:3"}});
      changed.push_back(dispatch("widen", {ref("g"), ref("gradient")}));
      continue;
    }
    changed.push_back(command);
  }
  body = changed;
  return m;
}

class Nccl : public Run {
protected:
  void SetUp() override {
    if (std::string(R1C_MPIRUN).empty())
      GTEST_SKIP() << "no MPI was found when the tests were built";
    if (onRealGpu())
      GTEST_SKIP() << "needs a machine with two GPUs";
  }

  struct Ended {
    int status;
    std::string errors;
  };
  Ended runRanks(int ranks, const TestManifest &manifest,
                 const std::string &out, const std::string &variables = "") {
    fs::path file = directory / (out + ".r1x"), errors = directory / "errors";
    write(manifest, file);
    std::string command = concat(
        variables, " R1C_LIBCUDA=", builtFile(R1C_FAKE_CUDA),
        " R1C_LIBNCCL=", builtFile(R1C_FAKE_NCCL),
        " OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 " R1C_MPIRUN
        " --oversubscribe --bind-to none -n ",
        ranks, " " R1C_RUN " ", file.string(), " --out ",
        (directory / out).string(), " --base ", directory.path.string(),
        " --quiet --threads 1 --collective-timeout 3 2> ", errors.string());
    int status = std::system(command.c_str());
    return {status, readFile(errors)};
  }
  std::vector<Json> numbers(const std::string &out) {
    std::vector<Json> all;
    for (const Json &line : lines(directory / out / "metrics.jsonl")) {
      Json &kept = all.emplace_back(Json::object());
      for (const auto &[name, value] : line.items())
        if (name.find("seconds") == std::string::npos)
          kept[name] = value;
    }
    return all;
  }
};

TEST_F(Nccl, RanksOnGpusDoWhatRanksOnCpusDo) {
  run(options(reducedManifest(), "one"));
  Ended cpu = runRanks(2, reducedManifest(), "cpu");
  ASSERT_EQ(cpu.status, 0) << cpu.errors;
  EXPECT_EQ(numbers("cpu"), numbers("one"));
  for (const char *wait : {"", "R1C_CUDA_SYNC=1"}) {
    std::string out = concat("gpu", wait);
    Ended gpu = runRanks(3, forCuda(reducedManifest()), out,
                         concat("R1C_FAKE_DEVICES=3 ", wait));
    ASSERT_EQ(gpu.status, 0) << gpu.errors;
    EXPECT_EQ(numbers(out), numbers("one"));
    EXPECT_EQ(state(out), state("one"));
  }
}

TEST_F(Nccl, SumsThatDoNotEndAreNamed) {
  Ended stalled = runRanks(2, forCuda(reducedManifest()), "stalled",
                           "R1C_FAKE_DEVICES=2 R1C_FAKE_NCCL=stall");
  EXPECT_NE(stalled.status, 0);
  EXPECT_NE(stalled.errors.find(
                "error: rank 0 of 2: step.r1:12:3: all_reduce, bucket 1 of 3: "
                "all ranks have arrived, and NCCL did not end within 3 s "
                "(--collective-timeout)"),
            std::string::npos)
      << stalled.errors;
  Ended lost = runRanks(2, forCuda(reducedManifest()), "lost",
                        "R1C_FAKE_DEVICES=2 R1C_FAKE_NCCL=lost");
  EXPECT_NE(lost.status, 0);
  EXPECT_NE(lost.errors.find("step.r1:12:3: all_reduce, bucket 1 of 3: NCCL "
                             "lost another rank: remote process exited"),
            std::string::npos)
      << lost.errors;
}

TEST_F(Nccl, AStartThatDoesNotEndIsGivenUp) {
  for (const char *stands : {"start", "connect"}) {
    Ended ended = runRanks(2, forCuda(reducedManifest()), stands,
                           concat("R1C_FAKE_DEVICES=2 R1C_FAKE_NCCL=", stands));
    EXPECT_NE(ended.status, 0);
    EXPECT_NE(ended.errors.find("error: rank 0 of 2: the start of NCCL: not "
                                "over within 3 s (--collective-timeout)"),
              std::string::npos)
        << ended.errors;
  }
}

// All is written by then: the run can be resumed, and has nothing left to do.
TEST_F(Nccl, AnEndThatDoesNotEndIsGivenUp) {
  Ended ended = runRanks(2, forCuda(reducedManifest()), "end",
                         "R1C_FAKE_DEVICES=2 R1C_FAKE_NCCL=end");
  EXPECT_NE(ended.status, 0);
  EXPECT_NE(ended.errors.find("the end of NCCL: not over within 3 s"),
            std::string::npos)
      << ended.errors;
  run(options(reducedManifest(), "one"));
  EXPECT_EQ(numbers("end"), numbers("one"));
}

TEST_F(Nccl, TwoRanksOnOneGpuAreRefused) {
  Ended shared = runRanks(2, forCuda(reducedManifest()), "shared");
  EXPECT_NE(shared.status, 0);
  EXPECT_NE(shared.errors.find("ranks 0 and 1 have one GPU"), std::string::npos)
      << shared.errors;
  EXPECT_NE(shared.errors.find("NCCL takes one process a GPU"),
            std::string::npos);
}

// With R1C_TEST_GPU the real NCCL, which R1C_LIBNCCL may name, on a real GPU:
// one rank is all that one GPU has.
TEST(CudaNccl, SumsOfOneRankChangeNothing) {
  if (std::string why = whyNoGpu(); !why.empty())
    GTEST_SKIP() << why;
  if (!onRealGpu()) {
    fakeCuda();
    ::setenv("R1C_LIBNCCL", builtFile(R1C_FAKE_NCCL).c_str(), 1);
  }
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  auto ranks = makeNcclRanks(std::make_shared<SingleCollective>(), *device, 30);
  EXPECT_EQ(ranks->size(), 1);
  constexpr int64_t count = 100000;
  std::vector<float> numbers(count);
  for (int64_t i = 0; i < count; ++i)
    numbers[i] = 0.1f * static_cast<float>(i % 1000);
  char *x = device->allocate(4 * count), *y = device->allocate(4 * count),
       *size = device->allocate(8);
  device->upload(x, numbers.data(), 4 * count);
  device->upload(size, &count, 8);
  KernelInfo kernel;
  kernel.name = kernel.symbol = "affine";
  kernel.launch.emplace().threads = 128;
  Operand operands[] = {{x, 4 * count}, {y, 4 * count}, {size, 8}};
  auto launch = executable->bind(kernel, operands);
  // Of one rank a sum is what was there: that it is called as it should be, in
  // a stream of its own, behind marks, and does not end in an error.
  auto first = device->makeMark(), second = device->makeMark();
  device->dispatch(*launch);
  device->mark(*first);
  ranks->startSum({{y, 10000}, {y + 4 * 60000, 17}}, {"first", "step.r1:3:5"},
                  first.get());
  device->mark(*second);
  ranks->startSum({{y + 4 * 10000, 50000}}, {"second", "step.r1:3:5"},
                  second.get());
  std::vector<Summed> summed = ranks->finishSums();
  ASSERT_EQ(summed.size(), 2u);
  EXPECT_EQ(summed[0].bytes, 4 * (10000 + 17));
  EXPECT_EQ(summed[1].bytes, 4 * 50000);
  std::vector<float> got(count);
  device->download(got.data(), y, 4 * count);
  for (int64_t i = 0; i < count; ++i)
    ASSERT_EQ(got[i], 2 * numbers[i] + 1) << i;
}

TEST_F(Nccl, AnotherAlgorithmIsSaid) {
  Ended other = runRanks(2, forCuda(reducedManifest()), "other",
                         "R1C_FAKE_DEVICES=2 NCCL_ALGO=Tree");
  EXPECT_EQ(other.status, 0);
  EXPECT_NE(other.errors.find("warning: NCCL_ALGO=Tree in the environment"),
            std::string::npos)
      << other.errors;
}

} // namespace
