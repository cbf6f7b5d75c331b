//===- DataTest.cpp - data sets, their order, tokenizers ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/DataSet.h"
#include "tests/runtime/TestArtifact.h"
#include <gtest/gtest.h>
#include <map>
#include <set>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

class Data : public testing::Test {
protected:
  DataSet make(const std::string &lines, Json extra = Json::object()) {
    writeFile(directory / "f.jsonl", lines);
    Json json = {{"name", "d"},
                 {"files", {"f.jsonl"}},
                 {"prompt", {{"kind", "plain"}, {"text", "{q}="}}},
                 {"columns", {{"answer", "text"}, {"level", "number"}}}};
    json.update(extra);
    return DataSet(Fields(json, "data"), {directory.path}, nullptr, false);
  }
  std::string errorOf(const std::string &lines, Json extra = Json::object()) {
    try {
      make(lines, extra);
    } catch (const Error &error) {
      return error.what();
    }
    return "";
  }
  TemporaryDirectory directory;
};

TEST_F(Data, ReadsLines) {
  DataSet set = make("{\"q\": \"1+1\", \"answer\": \"2\", \"level\": 1}\n\n"
                     "{\"q\": 7, \"answer\": \"7\", \"level\": 2.5}");
  ASSERT_EQ(set.size(), 2);
  EXPECT_EQ(set.row(0).prompt, "1+1=");
  EXPECT_EQ(set.row(1).prompt, "7=");
  EXPECT_EQ(set.row(1).origin, "f.jsonl:3");
}

TEST_F(Data, ErrorsNameFileAndLine) {
  EXPECT_EQ(errorOf("{\"q\": \"\", \"answer\": \"\", \"level\": 1}\n{\"q\": "),
            "data 'd': f.jsonl:2: line: not valid JSON at byte 7");
  EXPECT_EQ(
      errorOf("{\"q\": \"1\", \"level\": 1}"),
      "data 'd': f.jsonl:1: no column 'answer', which is declared as text");
  EXPECT_EQ(
      errorOf("{\"q\": \"1\", \"answer\": 2, \"level\": 1}"),
      "data 'd': f.jsonl:1: column 'answer' is declared as text, but is 2");
  EXPECT_EQ(errorOf("{\"answer\": \"2\", \"level\": 1}"),
            "data 'd': f.jsonl:1: no column 'q', which the template reads");
  EXPECT_EQ(errorOf("[1]"),
            "data 'd': f.jsonl:1: must be a JSON object, is array");
  EXPECT_EQ(errorOf("{\"q\": " + std::string(3000000, '[') +
                    std::string(3000000, ']') + "}"),
            "data 'd': f.jsonl:1: line: is nested more than 1000 deep");
  writeFile(directory / "g.jsonl", "");
  std::string place = directory.path.string();
  EXPECT_EQ(errorOf("\n", {{"files", {"f.jsonl", "g.jsonl"}}}),
            "data 'd': its files hold no line: " + place + "/f.jsonl, " +
                place + "/g.jsonl");
}

TEST_F(Data, Templates) {
  Json line = {{"a", "x"}, {"b_2", true}};
  auto fill = [&](const char *text) {
    return Template{false, text, ""}.fill(line, nullptr);
  };
  EXPECT_EQ(fill("{a}{b_2}"), "xtrue");
  EXPECT_EQ(fill("\\boxed{} {1} {a b} {a"), "\\boxed{} {1} {a b} {a");
  EXPECT_THROW(fill("{c}"), Error);
  EXPECT_THROW((Template{true, "{a}", ""}.fill(line, nullptr)), Error);
}

TEST_F(Data, CompletedLinesReadBack) {
  std::string line =
      "{\"q\": \"1\", \"answer\": \"2\", \"level\": 1, \"r\": \"?\"}";
  DataSet set =
      make(line, {{"completion", {{{"kind", "plain"}, {"text", "<{r}>"}}}}});
  Json completed = set.completed(set.row(0).line, "so 2");
  EXPECT_EQ(completed["r"], "so 2");
  EXPECT_EQ(completed["answer"], "2");
  set.append(dumpJson(completed), "written:1");
  EXPECT_EQ(set.row(1).completions[0], "<so 2>");
  EXPECT_THROW(make(line).completed({{"q", "1"}}, "text"), Error);
}

TEST_F(Data, EpochsAreShuffledPermutations) {
  std::string lines;
  for (int i = 0; i < 10; ++i)
    lines += "{\"q\": \"" + std::to_string(i) +
             "\", \"answer\": \"\", \"level\": 0}\n";
  DataSet set = make(lines);
  DataCursor cursor({&set}, {}, 5, 1);
  std::vector<std::string> first, second;
  for (int i = 0; i < 10; ++i)
    first.push_back(cursor.next().prompt);
  Json saved = cursor.save();
  for (int i = 0; i < 10; ++i)
    second.push_back(cursor.next().prompt);
  EXPECT_EQ(std::set(first.begin(), first.end()).size(), 10u);
  EXPECT_EQ(std::set(second.begin(), second.end()).size(), 10u);
  EXPECT_NE(first, second);
  EXPECT_EQ(cursor.epochs(), 2);
  DataCursor resumed({&set}, {}, 5, 1);
  resumed.restore(saved);
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(resumed.next().prompt, second[i]);
  DataCursor ordered({&set}, {}, 5, 1, false);
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(ordered.next().prompt, std::to_string(i % 10) + "=");
}

TEST_F(Data, MixturesFollowWeights) {
  DataSet a = make("{\"q\": \"a\", \"answer\": \"\", \"level\": 0}\n");
  DataSet b = make("{\"q\": \"b\", \"answer\": \"\", \"level\": 0}\n"
                   "{\"q\": \"c\", \"answer\": \"\", \"level\": 0}\n");
  DataCursor cursor({&a, &b}, {0.7, 0.3}, 11, 1);
  std::map<std::string, int> counts;
  for (int i = 0; i < 10000; ++i)
    ++counts[cursor.next().prompt];
  EXPECT_NEAR(counts["a="], 7000, 200);
  EXPECT_LE(std::abs(counts["b="] - counts["c="]), 1); // epochs inside the set
  DataCursor all({&a, &b}, {}, 11, 1);
  counts.clear();
  for (int i = 0; i < 3; ++i)
    ++counts[all.next().prompt];
  EXPECT_EQ(counts.size(), 3u);
}

TEST(Characters, RoundTrip) {
  auto tokenizer = makeCharacters("0123+é中");
  EXPECT_EQ(tokenizer->size(), 8);
  auto ids = tokenizer->encode("1+é中0");
  EXPECT_EQ(ids, (std::vector<int32_t>{2, 5, 6, 7, 1}));
  EXPECT_EQ(tokenizer->decode(ids), "1+é中0");
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{0, 1, 0}), "0");
  EXPECT_TRUE(tokenizer->isEnd(0));
  EXPECT_THROW(tokenizer->encode("9"), Error);
  EXPECT_THROW(tokenizer->encode("\xff"), Error);
  EXPECT_THROW(makeCharacters("aba"), Error);
}

} // namespace

namespace {

// Trained and encoded by Hugging Face's own library: GPT-2's pattern with
// single digits (as SmolLM), and Qwen's pattern with NFC.
class HuggingFaceTokenizer : public testing::TestWithParam<const char *> {
protected:
  fs::path directory =
      fs::path(R1C_TEST_INPUTS) / (std::string("tokenizer-") + GetParam());
};

TEST_P(HuggingFaceTokenizer, EncodesAsTheOriginal) {
  auto tokenizer = makeHuggingFace(directory);
  Json cases = parseJson(readFile(directory / "cases.json"), "cases");
  ASSERT_GT(cases.size(), 50u);
  for (const Json &entry : cases) {
    auto text = entry["text"].get<std::string>();
    auto ids = entry["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer->encode(text), ids) << dumpJson(entry["text"]);
    // Bytes that are no UTF-8 after all are replaced by the original only.
    if (entry["decoded"].get<std::string>().find("\xEF\xBF\xBD") ==
        std::string::npos)
      EXPECT_EQ(tokenizer->decode(ids), entry["decoded"].get<std::string>());
  }
}

TEST_P(HuggingFaceTokenizer, EndsAndChat) {
  auto tokenizer = makeHuggingFace(directory);
  EXPECT_EQ(tokenizer->end(), 2);
  EXPECT_TRUE(tokenizer->isEnd(0));
  EXPECT_FALSE(tokenizer->isEnd(1));
  EXPECT_EQ(tokenizer->ends(), (std::vector<int32_t>{2, 0}));
  EXPECT_EQ(tokenizer->chat("1+1?", ""),
            "<|im_start|>system\nYou are a test.<|im_end|>\n<|im_start|>user\n"
            "1+1?<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(tokenizer->chat("1+1?", "Be brief."),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
            "1+1?<|im_end|>\n<|im_start|>assistant\n");
  TemporaryDirectory copy;
  tokenizer->write(copy.path);
  writeFile(copy / "generation_config.json", "{\"eos_token_id\": 2}");
  EXPECT_EQ(makeHuggingFace(copy.path)->encode("so 42"),
            tokenizer->encode("so 42"));
}

INSTANTIATE_TEST_SUITE_P(Kinds, HuggingFaceTokenizer,
                         testing::Values("gpt2", "qwen"),
                         [](const auto &info) { return info.param; });

} // namespace
