//===- ResumeTest.cpp - what is left of a run, damaged --------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/runtime/RunFixture.h"

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

class Resume : public Run {
protected:
  Resume() {
    RunOptions first = options(stepManifest(), "out");
    first.steps = 2;
    run(first);
    for (const auto &entry :
         fs::directory_iterator(directory / "out/checkpoints"))
      checkpoint = entry.path();
    saved = Json::parse(readFile(checkpoint / "state.json"));
    before = readFile(directory / "out/metrics.jsonl");
  }
  /// The error of resuming, which must leave the metrics as they were.
  std::string resume() {
    RunOptions again = options(stepManifest(), "out");
    again.resume = true;
    again.steps = 4;
    std::string error = errorOf(again);
    if (!error.empty()) {
      EXPECT_EQ(readFile(directory / "out/metrics.jsonl"), before);
    }
    return error;
  }
  std::string resume(const Json &changed) {
    writeFile(checkpoint / "state.json", dumpJson(changed));
    return resume();
  }
  fs::path checkpoint;
  Json saved;
  std::string before;
};

TEST_F(Resume, DamagedState) {
  auto expect = [&](const char *pointer, const Json &value, const char *words) {
    Json changed = saved;
    changed[Json::json_pointer(pointer)] = value;
    std::string error = resume(changed);
    EXPECT_NE(error.find(checkpoint.string() + ": "), std::string::npos)
        << pointer << ": " << error;
    EXPECT_NE(error.find(words), std::string::npos) << pointer << ": " << error;
  };
  expect("/stage", 9, "there is no stage 9");
  expect("/stage", -1, "'stage' = -1 is negative");
  expect("/stage", "a", "'stage' must be an integer");
  expect("/step", -5, "'step' = -5 is negative");
  expect("/round", nullptr, "'round' must be an integer");
  expect("/seed", "a", "'seed' is no number");
  expect("/files", 3, "state.json.files: must be an object");
  expect("/files/metrics", -3, "'metrics' = -3 is negative");
  expect("/last_passed", 3, "'last_passed' is not what a run writes");
  expect("/kept", 3, "'kept' is not what a run writes");
  expect("/cursors", Json::object(), "does not say where");
  expect("/params/lr", "a", "param 'lr' is no number");
  std::string cursor = saved["cursors"].begin().key();
  for (size_t at = 0; (at = cursor.find('/', at)) != std::string::npos; at += 2)
    cursor.replace(at, 1, "~1");
  expect(("/cursors/" + cursor + "/taken").c_str(), -7,
         "a place before the beginning");
  // And what was there is still good.
  EXPECT_EQ(resume(saved), "");
}

TEST_F(Resume, BeforeTheFirstCheckpoint) {
  fs::remove_all(directory / "out/checkpoints");
  std::string words = "holds a run that ended before its first checkpoint; "
                      "give another --out, or remove it";
  EXPECT_NE(resume().find(words), std::string::npos);
  EXPECT_NE(errorOf(options(stepManifest(), "out")).find(words),
            std::string::npos);
  // One that failed before its first update is no run.
  writeFile(directory / "out/metrics.jsonl", "");
  EXPECT_EQ(errorOf(options(stepManifest(), "out")), "");
}

TEST_F(Resume, OneProcessAtATime) {
  {
    DirectoryLock other(directory / "out");
    ASSERT_NO_THROW(other.requireFree());
    std::string words = "out: another process is running in it";
    EXPECT_NE(resume().find(words), std::string::npos);
    // One that has no checkpoint yet is not taken for one that failed.
    fs::rename(directory / "out/checkpoints", directory / "kept");
    EXPECT_NE(resume().find(words), std::string::npos);
    EXPECT_NE(errorOf(options(stepManifest(), "out")).find(words),
              std::string::npos);
    fs::rename(directory / "kept", directory / "out/checkpoints");
  }
  EXPECT_EQ(resume(), "");
}

TEST_F(Resume, DamagedFiles) {
  fs::path file = checkpoint / "state.json";
  for (std::string text : {"", "{", "null"}) {
    writeFile(file, text);
    std::string error = resume();
    EXPECT_NE(error.find(checkpoint.string()), std::string::npos) << error;
    EXPECT_NE(error.find("; there is no checkpoint before it: start again in "
                         "another --out"),
              std::string::npos)
        << error;
  }
  writeFile(file, dumpJson(saved));
  std::string tensors = readFile(checkpoint / "state.safetensors");
  for (size_t length : {size_t(0), size_t(100), tensors.size() - 1}) {
    writeFile(checkpoint / "state.safetensors", tensors.substr(0, length));
    EXPECT_NE(resume().find("state.safetensors: "), std::string::npos)
        << length;
  }
  writeFile(checkpoint / "state.safetensors", tensors);
  writeFile(directory / "out/metrics.jsonl", before.substr(0, 10));
  before = before.substr(0, 10);
  EXPECT_NE(resume().find("is shorter than at the checkpoint"),
            std::string::npos);
}

TEST_F(Resume, TheCheckpointBeforeADamagedOne) {
  fs::path older = checkpoint;
  RunOptions again = options(stepManifest(), "out");
  again.resume = true;
  again.steps = 4;
  ASSERT_EQ(errorOf(again), "");
  std::string end = state("out");
  std::vector<Json> curve = metrics("out");
  before = readFile(directory / "out/metrics.jsonl");
  checkpoint = older.parent_path() / "round-00000002";
  writeFile(checkpoint / "state.json", "{");
  EXPECT_EQ(resume(), checkpoint.string() +
                          "/state.json: not valid JSON at byte 2; remove " +
                          checkpoint.string() +
                          ", and --resume goes on from round-00000001");
  fs::remove_all(checkpoint);
  EXPECT_EQ(resume(), "");
  EXPECT_EQ(state("out"), end);
  EXPECT_EQ(metrics("out"), curve);
}

} // namespace
