//===- RunFixture.h - a step in miniature, and running it -------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_RUNTIME_RUNFIXTURE_H
#define R1C_TESTS_RUNTIME_RUNFIXTURE_H

#include "runtime/checkpoint/Safetensors.h"
#include "runtime/execute/Session.h"
#include "tests/runtime/TestArtifact.h"
#include <algorithm>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>

namespace r1c::runtime::test {

/// A step in miniature: sample from the hash model, reward texts by a pattern,
/// learn by kernels.c's fake gradient, twice a round.
inline TestManifest stepManifest() {
  TestManifest m;
  addHashPolicy(m, 5, 40, 16);
  const int64_t groups = 8, sequences = 24, tokens = 24 * 10, rows = 40;
  m.buffer("step", "f64", 1);
  m.buffer("steps", "f64", 1);
  m.buffer("lr", "f64", 1);
  m.buffer("reward", "f64", sequences);
  m.buffer("flags", "f64", groups);
  m.buffer("view_reward", "f64", sequences);
  m.buffer("mean", "f64", 1);
  m.buffer("gradient", "f64", 16);
  m.buffer("group_offsets", "i32", groups + 1);
  m.buffer("token_sequence", "i32", tokens);
  m.buffer("groups", "i64", 1);
  m.buffer("sequences", "i64", 1);
  for (const char *name : {"tokens", "positions", "bases"})
    m.buffer(std::string("c.") + name, "i32", rows);
  m.buffer("c.offsets", "i32", rows + 1);
  for (const char *name : {"targets_rows", "targets", "token_index"})
    m.buffer(std::string("c.") + name, "i32", rows);
  m.buffer("c.target_count", "i64", 1);
  m.buffer("c.row_count", "i64", 1);
  m.kernel("mean", 3);
  m.kernel("accumulate", 6);
  m.kernel("step", 5);
  m.kernel("informative", 4);
  m.json["params"] = {
      {{"name", "lr"}, {"value", 0.125}, {"open", true}, {"buffer", "lr"}},
      {{"name", "size"}, {"value", 8}}};
  m.json["data"] = {{{"name", "sums"},
                     {"files", {"sums.jsonl"}},
                     {"prompt", {{"kind", "plain"}, {"text", "{q}"}}},
                     {"columns", {{"answer", "text"}}}}};
  Json axes = {{"op", "axes"},
               {"set", 0},
               {"view", false},
               {"to",
                {{"group_offsets", "group_offsets"},
                 {"groups", "groups"},
                 {"sequences", "sequences"}}}};
  Json text = {
      {"op", "text"},
      {"function", "matches"},
      {"args", {{{"field", "text"}, {"set", 0}}, {{"constant", ".*[5-9].*"}}}},
      {"set", 0},
      {"axis", "sequence"},
      {"to", ref("reward")}};
  Json chunks = {
      {"op", "chunks"},
      {"set", 0},
      {"view", true},
      {"policy", "actor"},
      {"rows", rows},
      {"to",
       {{"tokens", "c.tokens"},
        {"positions", "c.positions"},
        {"bases", "c.bases"},
        {"offsets", "c.offsets"},
        {"targets_rows", "c.targets_rows"},
        {"targets", "c.targets"},
        {"token_index", "c.token_index"},
        {"target_count", "c.target_count"},
        {"row_count", "c.row_count"}}},
      {"body",
       {dispatch("accumulate", {ref("c.targets"), ref("c.token_index"),
                                ref("token_sequence"), ref("view_reward"),
                                ref("gradient"), ref("c.target_count")})}}};
  Json update = {
      {"op", "update"},
      {"set", 0},
      {"policy", "actor"},
      {"minibatches", 2},
      {"epochs", 1},
      {"split", "group"},
      {"body",
       {{{"op", "axes"},
         {"set", 0},
         {"view", true},
         {"to", {{"token_sequence", "token_sequence"}}}},
        {{"op", "column"},
         {"set", 0},
         {"view", true},
         {"field", "length"},
         {"to", ref("view_reward")}},
        {{"op", "zero"}, {"arg", ref("gradient")}, {"bytes", 128}},
        chunks,
        dispatch("step", {ref("gradient"), ref("lr"), ref("actor.updates"),
                          ref("actor.weights"), ref("actor.moments")}),
        {{"op", "call"}, {"program", "actor.pack"}},
        {{"op", "metric"},
         {"name", "loss"},
         {"from", ref("gradient", 8)},
         {"reduce", "update"}}}}};
  m.json["stages"] = {
      {{"name", "train"},
       {"limit", "steps"},
       {"count", 6},
       {"loc", "step.r1:9:1"},
       {"body",
        {{{"op", "every"},
          {"steps", 3},
          {"body",
           {{{"op", "save"},
             {"policy", "actor"},
             {"name", "best"},
             {"keep", 1}}}}},
         {{"op", "sample"},
          {"set", 0},
          {"policy", "actor"},
          {"data", {"sums"}},
          {"groups", 8},
          {"group_size", 3},
          {"temperature", 1},
          {"max_new_tokens", 10},
          {"max_groups", 8},
          {"max_group_size", 3},
          {"max_tokens", 10},
          {"loc", "step.r1:10:7"}},
         axes,
         text,
         dispatch("mean", {ref("reward"), ref("mean"), ref("sequences")}),
         {{"op", "metric"},
          {"name", "reward/mean"},
          {"from", ref("mean")},
          {"reduce", "round"},
          {"set", 0},
          {"values", ref("reward")}},
         update}}}};
  return m;
}

class Run : public testing::Test {
protected:
  Run() {
    std::string lines;
    for (int i = 0; i < 11; ++i)
      lines +=
          "{\"q\": \"" + std::to_string(i * 7) + "+1\", \"answer\": \"x\"}\n";
    writeFile(directory / "sums.jsonl", lines);
  }
  RunOptions options(const TestManifest &manifest, const std::string &out) {
    RunOptions options;
    options.artifact = write(manifest, directory / "step.r1x");
    options.out = directory / out;
    options.quiet = true;
    options.threads = 1;
    return options;
  }
  static void run(RunOptions options) { Session(std::move(options)).run(); }
  static std::string errorOf(RunOptions options) {
    testing::internal::CaptureStderr();
    std::string text;
    try {
      run(std::move(options));
    } catch (const Error &error) {
      text = error.what();
    }
    testing::internal::GetCapturedStderr();
    return text;
  }
  std::vector<Json> lines(const fs::path &path) {
    std::vector<Json> result;
    std::istringstream text(readFile(path));
    for (std::string line; std::getline(text, line);)
      result.push_back(Json::parse(line));
    return result;
  }
  /// Metrics without what differs from run to run.
  std::vector<Json> metrics(const std::string &out) {
    std::vector<Json> all = lines(directory / out / "metrics.jsonl");
    for (Json &line : all)
      for (const char *name : {"seconds", "seconds/sample", "seconds/score",
                               "seconds/train", "seconds/update"})
        EXPECT_EQ(line.erase(name), 1u) << name;
    return all;
  }
  std::string state(const std::string &out) {
    std::vector<fs::path> found;
    for (const auto &entry :
         fs::directory_iterator(directory / out / "checkpoints"))
      found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return readFile(found.back() / "state.safetensors");
  }
  TemporaryDirectory directory;
};

} // namespace r1c::runtime::test

#endif // R1C_TESTS_RUNTIME_RUNFIXTURE_H
