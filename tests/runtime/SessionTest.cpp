//===- SessionTest.cpp - whole runs of hand-written artifacts -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/execute/Session.h"
#include "runtime/checkpoint/Safetensors.h"
#include "tests/runtime/TestArtifact.h"
#include <algorithm>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

/// A step in miniature: sample from the hash model, reward texts by a pattern,
/// learn by kernels.c's fake gradient, twice a round.
TestManifest stepManifest() {
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

TEST_F(Run, LeavesWhatItPromises) {
  run(options(stepManifest(), "out"));
  std::vector<Json> all = metrics("out");
  ASSERT_EQ(all.size(), 6u);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(all[i]["step"], i + 1);
    EXPECT_EQ(all[i]["round"], i / 2);
    EXPECT_EQ(all[i]["stage"], "train");
    for (const char *name : {"reward/mean", "loss", "response_length/mean",
                             "response_length/truncated", "tokens"})
      EXPECT_TRUE(all[i][name].is_number()) << name;
  }
  EXPECT_EQ(all[0]["reward/mean"], all[1]["reward/mean"]);
  EXPECT_NE(all[0]["loss"], all[1]["loss"]);
  auto samples = lines(directory / "out/samples.jsonl");
  ASSERT_EQ(samples.size(), 12u);
  for (const Json &sample : samples) {
    std::string text = sample["text"];
    bool high = text.find_first_of("56789") != std::string::npos;
    EXPECT_EQ(sample["reward/mean"], high ? 1.0 : 0.0) << text;
    EXPECT_EQ(sample["data"].get<std::string>().find("sums.jsonl:"), 0u);
  }
  // The final policy, as its two layers, and the kept save.
  Safetensors model(directory / "out/actor");
  EXPECT_EQ(model.get("model.layers.1.weight").shape,
            (std::vector<int64_t>{8}));
  Json config = Json::parse(readFile(directory / "out/actor/config.json"));
  EXPECT_EQ(config["num_hidden_layers"], 2);
  EXPECT_EQ(config["eos_token_id"], 0);
  // Passed at steps 0 and 4 (3 lies before 4); keep = 1 leaves the later.
  EXPECT_FALSE(fs::exists(directory / "out/saves/best/step-000000"));
  EXPECT_TRUE(fs::exists(directory / "out/saves/best/step-000004/config.json"));
  EXPECT_EQ(readFile(directory / "out/step.r1"), "// test\n");
}

TEST_F(Run, DoesNotDependOnThreadsOrSlots) {
  run(options(stepManifest(), "a"));
  RunOptions many = options(stepManifest(), "b");
  many.threads = 3;
  run(many);
  EXPECT_EQ(metrics("a"), metrics("b"));
  EXPECT_EQ(state("a"), state("b"));
  RunOptions other = options(stepManifest(), "c");
  other.seed = 1;
  run(other);
  EXPECT_NE(state("a"), state("c"));
}

TEST_F(Run, ResumesBitForBit) {
  run(options(stepManifest(), "whole"));
  RunOptions part = options(stepManifest(), "parts");
  part.seed = 0;
  part.steps = 4;
  part.checkpointEvery = 1;
  run(part);
  // As if it had been killed in the round after the checkpoint of round 1: what
  // was recorded since must not stay.
  fs::remove_all(directory / "parts/checkpoints/round-00000002");
  part.steps.reset();
  part.seed.reset();
  part.resume = true;
  testing::internal::CaptureStderr();
  run(part);
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(metrics("whole"), metrics("parts"));
  EXPECT_EQ(state("whole"), state("parts"));
  EXPECT_EQ(readFile(directory / "whole/samples.jsonl"),
            readFile(directory / "parts/samples.jsonl"));
}

TEST_F(Run, ResumeKeepsParamsAndRefusesStrangers) {
  RunOptions first = options(stepManifest(), "out");
  first.steps = 2;
  first.params = {{"lr", 0.5}};
  run(first);
  RunOptions again = options(stepManifest(), "out");
  EXPECT_NE(errorOf(again).find("already holds a run"), std::string::npos);
  again.resume = true;
  again.seed = 3;
  EXPECT_NE(errorOf(again).find("leave --seed out"), std::string::npos);
  again.seed.reset();
  again.steps = 4;
  EXPECT_EQ(errorOf(again), "");
  Json described = Json::parse(readFile(directory / "out/run.json"));
  EXPECT_EQ(described["params"]["lr"], 0.5);
  TestManifest changed = stepManifest();
  changed.json["producer"] = "other";
  RunOptions stranger = options(changed, "out");
  stranger.resume = true;
  EXPECT_NE(errorOf(stranger).find("another artifact"), std::string::npos);
  RunOptions nothing = options(stepManifest(), "new");
  nothing.resume = true;
  EXPECT_NE(errorOf(nothing).find("holds no checkpoint"), std::string::npos);
}

TEST_F(Run, ParamsFromTheCommandLine) {
  RunOptions bad = options(stepManifest(), "out");
  bad.params = {{"rate", 1}};
  EXPECT_NE(errorOf(bad).find("there are lr, size"), std::string::npos);
  bad.params = {{"size", 1}};
  EXPECT_NE(errorOf(bad).find("frozen"), std::string::npos);
}

TEST_F(Run, WhereWithTriesKeepsInformativeGroups) {
  TestManifest m = stepManifest();
  Json &body = m.json["stages"][0]["body"];
  Json &sample = body[1];
  sample["where"] = {{"axis", "group"}, {"flag", ref("flags")}};
  sample["tries"] = 3;
  sample["max_new_tokens"] = 2; // short texts often agree
  sample["body"] = {
      body[2], body[3],
      dispatch("informative", {ref("reward"), ref("group_offsets"),
                               ref("flags"), ref("groups")})};
  // Kept groups are all informative: their mean flag, by the same kernel.
  body.insert(body.begin() + 5,
              dispatch("informative", {ref("reward"), ref("group_offsets"),
                                       ref("flags"), ref("groups")}));
  body.insert(body.begin() + 6,
              dispatch("mean", {ref("flags"), ref("mean"), ref("groups")}));
  body[7]["name"] = "informative";
  body[7].erase("values");
  run(options(m, "out"));
  bool triedMore = false;
  for (const Json &line : metrics("out")) {
    EXPECT_EQ(line["informative"], 1.0);
    EXPECT_LE(line["groups/kept"].get<double>(), 8);
    triedMore |= line["groups/tried"].get<double>() > 8;
  }
  EXPECT_TRUE(triedMore);
}

TEST_F(Run, PromptsThatDoNotFitAreNamedAndDropped) {
  std::string text = readFile(directory / "sums.jsonl");
  writeFile(directory / "sums.jsonl", text + "{\"q\": \"" +
                                          std::string(35, '1') +
                                          "\", \"answer\": \"x\"}\n");
  RunOptions o = options(stepManifest(), "out");
  testing::internal::CaptureStderr();
  run(o);
  std::string error = testing::internal::GetCapturedStderr();
  EXPECT_NE(error.find("sums.jsonl:12: dropped, its prompt of 35 tokens and 10 "
                       "new ones do not fit in 40"),
            std::string::npos)
      << error;
}

TEST_F(Run, EpochsEndWithTheData) {
  TestManifest m = stepManifest();
  m.json["stages"][0]["limit"] = "epochs";
  m.json["stages"][0]["count"] = 2; // 22 rows in rounds of 8: 8, 8, 6
  run(options(m, "out"));
  std::vector<Json> all = metrics("out");
  ASSERT_EQ(all.size(), 6u);
  EXPECT_LT(all[4]["tokens"], all[0]["tokens"]);
}

TEST_F(Run, BadCommandsAreNamedBeforeAnythingRuns) {
  auto expect = [&](const char *message,
                    const std::function<void(Json &)> &change) {
    TestManifest m = stepManifest();
    change(m.json);
    std::string error = errorOf(options(m, "out"));
    EXPECT_NE(error.find(message), std::string::npos) << error;
    EXPECT_FALSE(fs::exists(directory / "out"));
  };
  auto body = [](Json &json) -> Json & { return json["stages"][0]["body"]; };
  expect("no command 'smaple'", [&](Json &j) { body(j)[1]["op"] = "smaple"; });
  expect("no policy 'critic'",
         [&](Json &j) { body(j)[1]["policy"] = "critic"; });
  expect("no data 'other'", [&](Json &j) { body(j)[1]["data"] = {"other"}; });
  expect("no kernel 'nothing'",
         [&](Json &j) { body(j)[4]["kernel"] = "nothing"; });
  expect("takes 3 operands, 2 are given",
         [&](Json &j) { body(j)[4]["args"].erase(0); });
  expect("no buffer 'nowhere'",
         [&](Json &j) { body(j)[4]["args"][0] = ref("nowhere"); });
  expect("has a stride outside a loop",
         [&](Json &j) { body(j)[4]["args"][0] = ref("reward", 0, 8); });
  expect("lie outside buffer 'gradient'",
         [&](Json &j) { body(j)[6]["body"][2]["bytes"] = 4096; });
  expect("no text function 'rhymes'",
         [&](Json &j) { body(j)[3]["function"] = "rhymes"; });
  expect("has no symbol 'missing'",
         [&](Json &j) { j["kernels"][0]["symbol"] = "missing"; });
  expect("calls itself", [&](Json &j) {
    j["programs"]["actor.pack"].push_back(
        {{"op", "call"}, {"program", "actor.pack"}});
  });
  expect("never reaches", [&](Json &j) {
    body(j).push_back({{"op", "loop"},
                       {"from", 0},
                       {"to", 5},
                       {"step", 2},
                       {"body", Json::array()}});
  });
  expect("axes has no 'group_offset'",
         [&](Json &j) { body(j)[2]["to"]["group_offset"] = "group_offsets"; });
  expect("does no update", [&](Json &j) { body(j).erase(6); });
  expect("which this one lacks",
         [&](Json &j) { j["target"]["features"] = "+avx2,+avx512nonsense"; });
}

TEST_F(Run, ErrorsAtRunTimeSayWhere) {
  TestManifest m = stepManifest();
  m.json["stages"][0]["body"][1]["groups"] = 9;
  std::string error = errorOf(options(m, "out"));
  EXPECT_EQ(
      error.find("step.r1:10:7: groups is 9, but the artifact was compiled "
                 "for at most 8"),
      0u)
      << error;
}

/// collect: keep what an extern likes, write it; again: learn from what was
/// written.
TestManifest pipelineManifest() {
  TestManifest m = stepManifest();
  m.json["data"].push_back(
      {{"name", "accepted"},
       {"files", {"accepted.jsonl"}},
       {"prompt", {{"kind", "plain"}, {"text", "{q}"}}},
       {"completion", {{{"kind", "plain"}, {"text", "{response}"}}}},
       {"columns", {{"response", "text"}}}});
  m.json["externs"] = {{{"name", "judge"},
                        {"program", "python3 judge.py"},
                        {"result", "number"},
                        {"workers", 1},
                        {"timeout", 30},
                        {"failure", 0}}};
  Json train = m.json["stages"][0];
  Json collect = {{"name", "collect"}, {"limit", "rounds"}, {"count", 3}};
  collect["body"] = {
      train["body"][1],
      train["body"][2],
      {{"op", "text"},
       {"function", "before"},
       {"args", {{{"field", "text"}, {"set", 0}}, {{"constant", "+"}}}},
       {"set", 0},
       {"axis", "sequence"},
       {"id", 4}},
      {{"op", "extern_call"},
       {"callee", "judge"},
       {"args", {{{"text", 4}}, 2.5}},
       {"set", 0},
       {"axis", "sequence"},
       {"to", ref("reward")}},
      {{"op", "write"},
       {"data", "accepted"},
       {"set", 0},
       {"where", ref("reward")}}};
  Json again = train;
  again["name"] = "again";
  again["limit"] = "epochs";
  again["count"] = 1;
  again["body"][0]["steps"] = 2;
  again["body"][1] = {
      {"op", "read"},         {"set", 0},        {"policy", "actor"},
      {"data", {"accepted"}}, {"groups", 8},     {"max_tokens", 11},
      {"order", "shuffled"},  {"max_groups", 8}, {"max_group_size", 1}};
  m.json["stages"] = {collect, again};
  return m;
}

TEST_F(Run, StagesHandOverWhatTheyWrite) {
  writeFile(directory / "judge.py",
            "import sys, json\n"
            "for line in sys.stdin:\n"
            "  q = json.loads(line)\n"
            "  text, least = q['args']\n"
            "  print(json.dumps({'id': q['id'], 'value': "
            "len(text) > least}), flush=True)\n");
  run(options(pipelineManifest(), "out"));
  auto accepted = lines(directory / "out/data/accepted.jsonl");
  ASSERT_GT(accepted.size(), 8u);
  for (const Json &line : accepted) {
    std::string text = line["response"];
    EXPECT_GT(text.substr(0, text.find('+')).size(), 2u);
    EXPECT_TRUE(line.contains("answer"));
  }
  auto all = metrics("out");
  // Two minibatches a round of 8 groups; one of a last round with one group.
  size_t rest = accepted.size() % 8;
  size_t updates = accepted.size() / 8 * 2 + std::min<size_t>(rest, 2);
  ASSERT_EQ(all.size(), 3 + updates);
  EXPECT_EQ(all[0]["stage"], "collect");
  EXPECT_EQ(all[0]["step"], 0);
  EXPECT_EQ(all[3]["stage"], "again");
  EXPECT_EQ(all.back()["step"], updates);
  // Half a run, then the rest: also where the cut lies inside the second stage,
  // and after more was written than the checkpoint knows.
  RunOptions part = options(pipelineManifest(), "parts");
  part.checkpointEvery = 1;
  run(part);
  std::vector<fs::path> found;
  for (const auto &entry :
       fs::directory_iterator(directory / "parts/checkpoints"))
    found.push_back(entry.path());
  ASSERT_EQ(found.size(), 2u);
  fs::remove_all(*std::max_element(found.begin(), found.end()));
  std::ofstream(directory / "parts/data/accepted.jsonl", std::ios::app)
      << "{}\n";
  part.resume = true;
  EXPECT_EQ(errorOf(part), "");
  EXPECT_EQ(metrics("out"), metrics("parts"));
  EXPECT_EQ(state("out"), state("parts"));
  EXPECT_EQ(readFile(directory / "out/data/accepted.jsonl"),
            readFile(directory / "parts/data/accepted.jsonl"));
}

TEST_F(Run, CopiesAndAssignments) {
  TestManifest m = stepManifest();
  m.buffer("old.weights", "f32", 16);
  Json old = m.json["policies"][0];
  old["name"] = "old";
  old["source"] = {{"kind", "copy"}, {"of", "actor"}};
  old["parameters"][0]["buffer"] = "old.weights";
  old["trained"] = false;
  old["state"] = {"old.weights"};
  for (const char *name : {"updates", "programs", "rollout"})
    old.erase(name);
  m.json["policies"].push_back(old);
  Json &body = m.json["stages"][0]["body"];
  body[0] = {{"op", "every"},
             {"steps", 4},
             {"body", {{{"op", "assign"}, {"to", "old"}, {"from", "actor"}}}}};
  auto weights = [&](const char *out, const char *name) {
    std::vector<fs::path> found;
    for (const auto &entry :
         fs::directory_iterator(directory / out / "checkpoints"))
      found.push_back(entry.path());
    Safetensors file(*std::max_element(found.begin(), found.end()) /
                     "state.safetensors");
    return std::string(file.get(name).data, 64);
  };
  RunOptions four = options(m, "four"), six = options(m, "six");
  four.steps = 4;
  run(four);
  run(six);
  // `old` holds what `actor` was when step 4 was passed: at the third round.
  EXPECT_EQ(weights("six", "old.weights"), weights("four", "actor.weights"));
  EXPECT_NE(weights("six", "old.weights"), weights("six", "actor.weights"));
  EXPECT_NE(weights("four", "old.weights"), weights("four", "actor.weights"));
  // And a saved directory loads as the same weights.
  TestManifest loaded = stepManifest();
  loaded.json["policies"][0]["source"] = {{"kind", "load"},
                                          {"path", "four/actor"}};
  RunOptions none = options(loaded, "loaded");
  none.steps = 0;
  run(none);
  EXPECT_EQ(weights("loaded", "actor.weights"),
            weights("four", "actor.weights"));
}

TEST_F(Run, OutputsOfAnotherEngine) {
  TestManifest m = stepManifest();
  m.buffer("tokens.logp", "f32", 240);
  m.json["data"].push_back({{"name", "log"},
                            {"files", {"log.jsonl"}},
                            {"prompt", {{"kind", "plain"}, {"text", ""}}},
                            {"columns", {{"score", "number"}}},
                            {"ids", "ids"},
                            {"prompt_ids", "prompt"},
                            {"logp", "lp"}});
  writeFile(
      directory / "log.jsonl",
      "{\"prompt\": [1, 2], \"ids\": [3, 0], \"lp\": [-1, -2], \"score\": 1}\n"
      "{\"prompt\": [4], \"ids\": [5], \"lp\": [-3], \"score\": 2}\n"
      "{\"prompt\": [1, 2], \"ids\": [6], \"lp\": [-4], \"score\": 3}\n");
  Json &stage = m.json["stages"][0];
  stage["limit"] = "epochs";
  stage["count"] = 1;
  Json &body = stage["body"];
  body[1] = {{"op", "read"},    {"set", 0},           {"policy", "actor"},
             {"data", {"log"}}, {"groups", 8},        {"order", "file"},
             {"max_groups", 8}, {"max_group_size", 2}};
  body[3] = {
      {"op", "column"}, {"set", 0}, {"field", "score"}, {"to", ref("reward")}};
  Json recorded = {{"op", "column"},
                   {"set", 0},
                   {"field", "logp"},
                   {"to", ref("tokens.logp")}};
  body.insert(body.begin() + 4, recorded);
  m.json["policies"][0]["state"].push_back("tokens.logp");
  run(options(m, "out"));
  // Two groups: the lines of one prompt, in the order of the file.
  Safetensors file(directory /
                   "out/checkpoints/round-00000001/state.safetensors");
  float logp[4];
  std::memcpy(logp, file.get("tokens.logp").data, 16);
  EXPECT_EQ(std::vector<float>(logp, logp + 4),
            (std::vector<float>{-1, -2, -4, -3}));
  auto samples = lines(directory / "out/samples.jsonl");
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(samples[1]["data"], "log.jsonl:3");
  EXPECT_EQ(samples[1]["text"], "5");
  EXPECT_EQ(samples[1]["truncated"], true);
  EXPECT_EQ(samples[0]["truncated"], false);
  EXPECT_EQ(samples[1]["reward/mean"], 3.0);
  writeFile(directory / "log.jsonl",
            "{\"prompt\": [1], \"ids\": [99], \"lp\": [0], \"score\": 1}\n");
  EXPECT_NE(errorOf(options(m, "bad")).find("token id 99 lies outside"),
            std::string::npos);
  writeFile(directory / "log.jsonl",
            "{\"prompt\": [1], \"ids\": [1], \"lp\": [0, 1], \"score\": 1}\n");
  EXPECT_NE(errorOf(options(m, "bad")).find("2 numbers for 1 tokens"),
            std::string::npos);
}

TEST_F(Run, LoopsAndStrides) {
  TestManifest m = stepManifest();
  m.buffer("x", "f32", 4 * 16);
  m.buffer("y", "f32", 5 * 16);
  m.buffer("n", "i64", 1);
  m.buffer("seen", "f64", 1);
  m.kernel("affine", 3);
  // y[i + 1] = 2 * y[i] + 1 over blocks of 16, forwards: y[4] = 15 from zeros.
  Json &body = m.json["stages"][0]["body"];
  Json axes = body[2];
  axes["to"] = {{"groups", "n"}};
  body.push_back(axes);
  body.push_back(
      {{"op", "loop"},
       {"from", 0},
       {"to", 4},
       {"step", 1},
       {"body",
        {dispatch("affine", {ref("y", 0, 64), ref("y", 64, 64), ref("n")})}}});
  body.push_back({{"op", "loop"},
                  {"from", 3},
                  {"to", -1},
                  {"step", -1},
                  {"body",
                   {{{"op", "copy"},
                     {"source", ref("y", 64, 64)},
                     {"target", ref("x", 0, 64)},
                     {"bytes", 4}}}}});
  m.json["policies"][0]["state"].push_back("x");
  run(options(m, "out"));
  std::vector<fs::path> found;
  for (const auto &entry :
       fs::directory_iterator(directory / "out/checkpoints"))
    found.push_back(entry.path());
  Safetensors file(*std::max_element(found.begin(), found.end()) /
                   "state.safetensors");
  std::vector<float> x(64);
  std::memcpy(x.data(), file.get("x").data, 256);
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(x[16 * i], static_cast<float>((2 << i) - 1));
}

} // namespace
