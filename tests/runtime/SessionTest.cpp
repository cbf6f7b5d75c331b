//===- SessionTest.cpp - whole runs of hand-written artifacts -------------===//
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
  first.params = {{"lr", "0.5"}};
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
  bad.params = {{"rate", "1"}};
  EXPECT_NE(errorOf(bad).find("there are lr, size"), std::string::npos);
  bad.params = {{"size", "1"}};
  EXPECT_NE(errorOf(bad).find("frozen"), std::string::npos);
  bad.params = {{"lr", "fast"}};
  EXPECT_NE(errorOf(bad).find("--set lr: 'fast' is not a number"),
            std::string::npos);
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

TEST_F(Run, ManyDroppedRecordsAreCounted) {
  std::string text = readFile(directory / "sums.jsonl");
  for (int i = 0; i < 9; ++i)
    text += "{\"q\": \"" + std::string(35, '1') + "\", \"answer\": \"x\"}\n";
  writeFile(directory / "sums.jsonl", text);
  RunOptions o = options(stepManifest(), "out");
  testing::internal::CaptureStderr();
  run(o);
  std::istringstream said(testing::internal::GetCapturedStderr());
  std::vector<std::string> all;
  for (std::string line; std::getline(said, line);)
    all.push_back(line);
  ASSERT_EQ(all.size(), 7u);
  for (int i = 0; i < 5; ++i)
    EXPECT_NE(all[i].find(": dropped, its prompt of 35 tokens"),
              std::string::npos)
        << all[i];
  EXPECT_EQ(all[5],
            "warning: more records are dropped; they are counted at the end");
  EXPECT_EQ(all[6], "warning: 9 records of the data were dropped in all");
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

// What the run is for is saved first.
TEST_F(Run, ATraceThatCannotBeWrittenIsAnError) {
  RunOptions o = options(stepManifest(), "out");
  o.trace = "/dev/full";
  EXPECT_EQ(
      errorOf(o),
      "/dev/full: the trace could not be written: No space left on device");
  EXPECT_EQ(metrics("out").size(), 6u);
  EXPECT_TRUE(fs::exists(directory / "out/actor/model.safetensors"));
  o.trace = directory / "nowhere/trace.json";
  o.out = directory / "other";
  EXPECT_EQ(errorOf(o), o.trace.string() + ": No such file or directory");
}

TEST_F(Run, ATraceMayLieInOut) {
  RunOptions o = options(stepManifest(), "out");
  o.trace = directory / "out/trace.json";
  run(o);
  std::string trace = readFile(o.trace);
  EXPECT_FALSE(Json::parse(trace).empty());
  // A run that is refused leaves what the one before it wrote.
  EXPECT_NE(errorOf(o).find("already holds a run"), std::string::npos);
  EXPECT_EQ(readFile(o.trace), trace);
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
  expect("policy 'actor' has no rollout program with a filter",
         [&](Json &j) { body(j)[1]["top_p"] = 0.9; });
  expect(
      "'c.tokens' holds 40 flags, not a vocabulary of 12 for each of 40 rows",
      [&](Json &j) {
        for (Json &command : body(j)[6]["body"])
          if (command["op"] == "chunks") {
            command["to"]["kept"] = "c.tokens";
            command["vocabulary"] = 12;
          }
      });
  expect("a cost by rows, and no operand", [&](Json &j) {
    j["kernels"][0]["operands"] = 0;
    j["kernels"][0]["flops_per_row"] = 4;
  });
  expect("does no update", [&](Json &j) { body(j).erase(6); });
  // Sizes whose products and sums no int64 holds.
  constexpr int64_t huge = int64_t(1) << 62;
  for (const char *name : {"layers", "layer_stride", "row_bytes"})
    expect("bytes do not fit in buffer 'r.cache' of 800", [&](Json &j) {
      Json &cache = j["policies"][0]["rollout"]["cache"][0];
      cache["layers"] = 3;
      cache["layer_stride"] = 8;
      cache["row_bytes"] = 1;
      cache[name] = huge;
    });
  expect("bytes do not fit in buffer 'r.cache' of 800",
         [&](Json &j) { j["policies"][0]["rollout"]["capacity"] = huge; });
  for (const Json &shape : {Json{huge}, Json{int64_t(1) << 32, huge}})
    expect("of buffer 'actor.weights', which has 64", [&](Json &j) {
      j["policies"][0]["parameters"][0]["shape"] = shape;
    });
  expect("lie outside buffer 'gradient'", [&](Json &j) {
    body(j)[6]["body"][2]["arg"] = ref("gradient", INT64_MAX);
  });
  for (int64_t count : {huge, int64_t(-1)})
    expect("lie outside buffer 'gradient'", [&](Json &j) {
      body(j)[6]["body"][2] = {{"op", "reduce_start"},
                               {"args", {ref("gradient")}},
                               {"counts", {count}}};
    });
  for (int64_t rows : {-huge, int64_t(0)})
    expect("is not above 0", [&](Json &j) {
      body(j)[6]["body"][3]["body"].push_back({{"op", "slices"},
                                               {"set", 0},
                                               {"view", true},
                                               {"rows", rows},
                                               {"to", Json::object()},
                                               {"body", Json::array()}});
    });
  expect("policy 'actor' has no 'model' to be saved with", [&](Json &j) {
    j["policies"][0].erase("model");
    j["policies"][0]["trained"] = false;
  });
  auto model = [](Json &j) -> Json & { return j["policies"][0]["model"]; };
  expect("policy 'actor': model: must be an object, is null",
         [&](Json &j) { j["policies"][0].erase("model"); });
  expect("policy 'actor': model: 'hidden' is missing",
         [&](Json &j) { model(j) = Json::object(); });
  expect("policy 'actor': model: 'layers' must be an integer, is array",
         [&](Json &j) { model(j)["layers"] = Json::array(); });
  expect("policy 'actor': model: 'kv_heads' must be an integer, is number",
         [&](Json &j) { model(j)["kv_heads"] = 1e308; });
  expect("policy 'actor': model: 'heads' = 0 is not above 0",
         [&](Json &j) { model(j)["heads"] = 0; });
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

// Of commands in commands the innermost has the useful place.
TEST_F(Run, ErrorsAtLoadSayWhereOnce) {
  TestManifest m = stepManifest();
  Json &update = m.json["stages"][0]["body"][6], &chunks = update["body"][3];
  update["loc"] = chunks["loc"] = "step.r1:12:3";
  chunks["body"][0]["loc"] = "step.r1:12:5";
  chunks["body"][0]["kernel"] = "nothing";
  EXPECT_EQ(errorOf(options(m, "out")),
            (directory / "step.r1x").string() +
                ": step.r1:12:5: stage 'train'[6].body[3].body[0]: no kernel "
                "'nothing'");
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
