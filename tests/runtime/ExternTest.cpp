//===- ExternTest.cpp - programs that judge -------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/reward/Extern.h"
#include "tests/runtime/TestArtifact.h"
#include <gtest/gtest.h>
#include <set>

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
    if text.startswith("crash"): os._exit(3)
    if text == "hang": time.sleep(1000)
    if text.startswith("nonsense"): print("hello", text, flush=True); continue
    if text == "flood":
        while True: sys.stdout.write("x" * 100000)
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
  std::string errorOf(ExternPool &pool, std::vector<std::string> texts) {
    try {
      ask(pool, std::move(texts));
    } catch (const Error &error) {
      return error.what();
    }
    return "";
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
  EXPECT_EQ(errorOf(pool, {"a"}),
            "extern 'judge' (no-such-program-here 2>/dev/null): cannot be "
            "started, and the program has never answered; what it wrote to "
            "standard error is above");
}

/// Neither a missing module nor a judge that sleeps is worth a whole run.
TEST_F(Extern, ProgramThatNeverAnswers) {
  for (auto [program, timeout, words] :
       {std::tuple("python3 -c 'import nowhere' 2>/dev/null", 60.0,
                   "a worker ended before it answered, and the program has "
                   "never answered"),
        std::tuple("sleep 100", 0.2,
                   "a worker did not answer within 0.2 s, and"),
        std::tuple("echo y; sleep 100", 60.0,
                   "a worker answered 'y', not {\"id\": ")}) {
    Json json = description(timeout, 1);
    json["program"] = program;
    ExternPool pool(Fields(json, "extern"), directory.path);
    EXPECT_EQ(errorOf(pool, {"a"}), ""); // once may be bad luck
    EXPECT_NE(errorOf(pool, {"b", "c"}).find(words), std::string::npos)
        << errorOf(pool, {"b", "c"});
  }
}

/// One crash at the start is a crash, and is counted in its round.
TEST_F(Extern, FailuresAreCounted) {
  Json json = description(20, 1);
  ExternPool pool(Fields(json, "extern"), directory.path);
  EXPECT_EQ(ask(pool, {"crash", "nonsense", "ab", "crash"}),
            (std::vector<Json>{-1, -1, 2, -1}));
  EXPECT_EQ(pool.failures(), 2); // the same question is asked once
  EXPECT_EQ(ask(pool, {"a"}, 1), (std::vector<Json>{1}));
  EXPECT_EQ(pool.failures(), 0);
  // One that has answered may fail as often as it likes.
  EXPECT_EQ(ask(pool, {"crash", "nonsense", "crash 2", "crash 3"}, 2).size(),
            4u);
  EXPECT_EQ(pool.failures(), 4);
}

TEST_F(Extern, WrongAnswersAreShownFiveTimesAndCounted) {
  Json json = description();
  ExternPool pool(Fields(json, "extern"), directory.path);
  std::vector<std::string> texts = {"a"};
  ask(pool, texts);
  for (int i = 0; i < 12; ++i)
    texts.push_back("nonsense " + std::to_string(i));
  ask(pool, texts);
  EXPECT_EQ(pool.failures(), 12);
  // Equal texts are printed once by who prints them.
  std::set<std::string> shown(warnings.begin(), warnings.end());
  EXPECT_EQ(shown.size(), 6u);
  EXPECT_EQ(std::count_if(shown.begin(), shown.end(),
                          [](const std::string &text) {
                            return text.find("hello nonsense") !=
                                   std::string::npos;
                          }),
            5);
}

TEST_F(Extern, AnEndlessLineIsNotWaitedFor) {
  Json json = description(600);
  ExternPool pool(Fields(json, "extern"), directory.path);
  EXPECT_EQ(ask(pool, {"a", "flood", "bb"}), (std::vector<Json>{1, -1, 2}));
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("wrote 16 MiB that are no line"),
            std::string::npos)
      << warnings[0];
}

TEST_F(Extern, LargeQuestions) {
  Json json = description();
  ExternPool pool(Fields(json, "extern"), directory.path);
  EXPECT_EQ(ask(pool, {std::string(3000000, 'x')})[0], 3000000);
}

} // namespace
