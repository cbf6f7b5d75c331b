//===- ExternTest.cpp - programs that judge -------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/reward/Extern.h"
#include "tests/runtime/TestArtifact.h"
#include <gtest/gtest.h>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

/// Answers with the length of its argument; some arguments make it misbehave.
const char *judge = R"(import sys, json, time, os
for line in sys.stdin:
    question = json.loads(line)
    text = question["args"][0]
    with open("asked", "a") as f: f.write(text + "\n")
    if text == "crash": os._exit(3)
    if text == "hang": time.sleep(1000)
    if text == "nonsense": print("hello", flush=True); continue
    print(json.dumps({"id": question["id"], "value": len(text)}), flush=True)
)";

class Extern : public testing::Test {
protected:
  Extern() { writeFile(directory / "judge.py", judge); }
  std::vector<Json> ask(ExternPool &pool, std::vector<std::string> texts,
                        int64_t round = 0) {
    std::vector<Json> questions;
    for (const std::string &text : texts)
      questions.push_back(Json::array({text}));
    return pool.ask(questions, round,
                    [&](const std::string &text) { warnings.push_back(text); });
  }
  Json description(double timeout = 20, int workers = 2) {
    return {{"name", "judge"},
            {"program", "python3 judge.py"},
            {"workers", workers},
            {"timeout", timeout},
            {"failure", -1}};
  }
  TemporaryDirectory directory;
  std::vector<std::string> warnings;
};

TEST_F(Extern, AnswersInOrderAndOnceAQuestion) {
  Json json = description();
  ExternPool pool(Fields(json, "extern"), directory.path);
  auto answers = ask(pool, {"a", "bbb", "a", "cc", "bbb"});
  EXPECT_EQ(answers, (std::vector<Json>{1, 3, 1, 2, 3}));
  ask(pool, {"a", "cc"});
  std::string asked = readFile(directory / "asked");
  EXPECT_EQ(std::count(asked.begin(), asked.end(), '\n'), 3);
  ask(pool, {"a"}, 1); // a new round asks again
  asked = readFile(directory / "asked");
  EXPECT_EQ(std::count(asked.begin(), asked.end(), '\n'), 4);
  EXPECT_TRUE(warnings.empty());
}

TEST_F(Extern, CrashHangAndNonsenseCostTheFailureValue) {
  Json json = description(1.5);
  ExternPool pool(Fields(json, "extern"), directory.path);
  auto answers = ask(pool, {"ok", "crash", "fine", "hang", "nonsense", "good"});
  EXPECT_EQ(answers, (std::vector<Json>{2, -1, 4, -1, -1, 4}));
  ASSERT_EQ(warnings.size(), 3u);
  for (const std::string &warning : warnings)
    EXPECT_NE(warning.find("judge.py"), std::string::npos);
}

TEST_F(Extern, ProgramThatDoesNotExist) {
  Json json = description();
  json["program"] = "no-such-program-here 2>/dev/null";
  ExternPool pool(Fields(json, "extern"), directory.path);
  EXPECT_EQ(ask(pool, {"a", "b"}), (std::vector<Json>{-1, -1}));
}

TEST_F(Extern, LargeQuestions) {
  Json json = description();
  ExternPool pool(Fields(json, "extern"), directory.path);
  EXPECT_EQ(ask(pool, {std::string(3000000, 'x')})[0], 3000000);
}

} // namespace
