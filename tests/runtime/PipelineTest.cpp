//===- PipelineTest.cpp - runs over several stages, policies, engines -----===//
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
  EXPECT_EQ(all[0]["externs/judge/failures"], 0);
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

} // namespace
