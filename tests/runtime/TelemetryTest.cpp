//===- TelemetryTest.cpp - metrics files and curves -----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/telemetry/Recorder.h"
#include "tests/runtime/TestArtifact.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

TEST(Sparkline, Bars) {
  EXPECT_EQ(sparkline({}, 10), "");
  EXPECT_EQ(sparkline({1, 1}, 10), "▁▁");
  EXPECT_EQ(sparkline({0, 7, 3.5}, 10), "▁█▅");
  EXPECT_EQ(sparkline({0, 0, 8, 8}, 2), "▁█");
  EXPECT_EQ(sparkline({0, NAN, 1}, 10), "▁ █");
}

TEST(Recorder, LinesOfARound) {
  TemporaryDirectory directory;
  {
    Recorder recorder(directory.path, std::nullopt, true);
    recorder.beginStage("s", 4);
    recorder.beginRound(7);
    recorder.metric("loss", 1, true);
    recorder.endUpdate(1, {1, 2, 3, 4});
    recorder.metric("loss", NAN, true);
    recorder.endUpdate(2, {0, 0, 1, 1});
    recorder.metric("reward/mean", 0.5, false); // after the updates
    recorder.trace({{"text", "\xff"}});
    recorder.endRound(2, {0, 1, 0, 0}, 100);
  }
  std::istringstream text(readFile(directory / "metrics.jsonl"));
  std::string line;
  std::getline(text, line);
  EXPECT_EQ(line, "{\"step\":1,\"stage\":\"s\",\"round\":7,\"reward/mean\":0.5,"
                  "\"loss\":1.0,\"tokens\":100,\"seconds\":10.0,"
                  "\"seconds/sample\":1.0,\"seconds/score\":2.0,"
                  "\"seconds/train\":3.0,\"seconds/update\":4.0}");
  std::getline(text, line);
  Json second = Json::parse(line);
  EXPECT_EQ(second["loss"], "nan");
  EXPECT_EQ(second["tokens"], 0);
  EXPECT_EQ(second["seconds"], 3.0);
  EXPECT_FALSE(std::getline(text, line));
}

TEST(Recorder, ResumeCutsWhatCameLater) {
  TemporaryDirectory directory;
  Json kept;
  auto round = [](Recorder &recorder, int64_t step) {
    recorder.beginStage("s", 4);
    recorder.beginRound(step);
    recorder.endRound(step, {}, 0);
  };
  {
    Recorder recorder(directory.path, std::nullopt, true);
    round(recorder, 1);
    kept = recorder.position();
    round(recorder, 2);
  }
  std::string all = readFile(directory / "metrics.jsonl");
  {
    Recorder recorder(directory.path, kept, true);
    round(recorder, 2);
  }
  EXPECT_EQ(readFile(directory / "metrics.jsonl"), all);
  writeFile(directory / "metrics.jsonl", "short");
  EXPECT_THROW(Recorder(directory.path, kept, true), Error);
}

TEST(Clock, InnermostPartCounts) {
  Clock clock;
  clock.take();
  {
    Clock::Scope outer(clock, Part::update);
    Clock::Scope inner(clock, Part::train);
    auto until =
        std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
    while (std::chrono::steady_clock::now() < until) {
    }
  }
  auto seconds = clock.take();
  EXPECT_GE(seconds[static_cast<size_t>(Part::train)], 0.02);
  EXPECT_LT(seconds[static_cast<size_t>(Part::update)], 0.01);
}

} // namespace
