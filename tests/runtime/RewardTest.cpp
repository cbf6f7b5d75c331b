//===- RewardTest.cpp - text functions ------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/reward/TextFunctions.h"
#include "runtime/reward/Value.h"
#include "runtime/reward/Words.h"
#include "runtime/support/Error.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace r1c;
using namespace r1c::runtime;

namespace {

TextResult call(const char *name, std::vector<std::string> texts) {
  const TextFunction *function = findTextFunction(name);
  EXPECT_NE(function, nullptr) << name;
  std::vector<TextArgument> arguments;
  for (const std::string &text : texts)
    arguments.push_back({true, text, 0});
  TextResult result;
  function->evaluate(arguments, result);
  return result;
}

TEST(Value, Numbers) {
  auto is = [](const char *text, double value) {
    auto read = readValue(text);
    ASSERT_TRUE(read) << text;
    EXPECT_EQ(read->number(), value) << text;
  };
  is("42", 42);
  is(" -7. ", -7);
  is("+3", 3);
  is("\xE2\x88\x92"
     "5",
     -5);
  is("0.5", 0.5);
  is(".5", 0.5);
  is("1,234,567.25", 1234567.25);
  is("1{,}000", 1000);
  is("3/4", 0.75);
  is("-3 / 4", -0.75);
  is("1 1/2", 1.5);
  is("\\frac{1}{2}", 0.5);
  is("\\dfrac12", 0.5);
  is("2\\frac{1}{4}", 2.25);
  is("-\\frac{3}{4}", -0.75);
  is("50%", 0.5);
  is("12.5\\%", 0.125);
  is("$42$", 42);
  is("$1,000", 1000);
  is("\\boxed{7}", 7);
  is("\\(\\boxed{\\frac{7}{2}}\\)", 3.5);
  is("\\text{12}", 12);
  is("1e3", 1000);
  is("2.5E-1", 0.25);
  is("123456789012345678901234567890", 123456789012345678901234567890.0);
}

TEST(Value, NotNumbers) {
  for (const char *text :
       {"",     " ",   "x",         "1,23",         "12,34,567", ",123",
        "1..2", "1/0", "1/",        "/2",           "--1",       "4 5",
        "0x10", "1e",  "\\frac{1}", "\\frac{1}{0}", "nan",       "inf",
        "%",    "$",   "1 apple",   "1/2/3",        "\\boxed{}", "1e9999"})
    EXPECT_FALSE(readValue(text)) << text;
}

TEST(Value, EqualByValue) {
  auto same = [](std::string_view a, std::string_view b) {
    EXPECT_EQ(equalByValue(a, b), equalByValue(b, a));
    return equalByValue(a, b);
  };
  EXPECT_TRUE(same("1/2", "0.5"));
  EXPECT_TRUE(same("0.1", "1/10"));
  EXPECT_TRUE(same("50%", "0.50"));
  EXPECT_TRUE(same("007", "7.000"));
  EXPECT_TRUE(same("\\boxed{1,000}", "1000"));
  EXPECT_TRUE(same("0", "-0"));
  EXPECT_FALSE(same("1/3", "0.3333333"));
  EXPECT_FALSE(same("50%", "50"));
  EXPECT_FALSE(same("", ""));
  EXPECT_FALSE(same("$$", ""));
  EXPECT_FALSE(same("5", "five"));
  EXPECT_TRUE(same("Paris", " paris. "));
  EXPECT_TRUE(same("\\text{New  York}", "new york"));
  EXPECT_TRUE(same("x+1", "$x+1$"));
  EXPECT_FALSE(same("x+1", "1+x"));
  EXPECT_TRUE(same("STRASSE", "straße"));
  EXPECT_TRUE(equalByValue("2/4", 0.5));
  EXPECT_FALSE(equalByValue("half", 0.5));
}

TEST(TextFunctions, Cutting) {
  EXPECT_EQ(call("between", {"<a>1</a><a>2</a>", "<a>", "</a>"}).text, "1");
  EXPECT_EQ(call("between", {"<a>1", "<a>", "</a>"}).text, "");
  EXPECT_EQ(call("between", {"</a>1<a>2</a>", "<a>", "</a>"}).text, "2");
  EXPECT_EQ(call("after", {"x</think>y</think>z", "</think>"}).text, "z");
  EXPECT_EQ(call("after", {"xy", "</think>"}).text, "xy");
  EXPECT_EQ(call("before", {"x=y=z", "="}).text, "x");
  EXPECT_EQ(call("before", {"xyz", "="}).text, "xyz");
  EXPECT_EQ(call("boxed", {"\\boxed{1} so \\boxed{\\frac{1}{2}}."}).text,
            "\\frac{1}{2}");
  EXPECT_EQ(call("boxed", {"\\boxed{1"}).text, "");
  EXPECT_EQ(call("count", {"aaaa", "aa"}).number, 2);
  EXPECT_EQ(call("count", {"aaaa", ""}).number, 0);
}

TEST(TextFunctions, Matches) {
  const char *format = "<think>.*</think>\\s*<answer>.*</answer>";
  EXPECT_EQ(call("matches", {"<think>a\nb</think>\n<answer>1</answer>", format})
                .number,
            1);
  EXPECT_EQ(
      call("matches", {"so <think>a</think><answer>1</answer>", format}).number,
      0);
  EXPECT_EQ(
      call("matches", {"<think>a</think><answer>1</answer>\n", format}).number,
      0);
  EXPECT_EQ(call("matches", {"\xff\xfe", ".*"}).number, 0); // no UTF-8
  // A pattern that explodes is no match, and comes back soon.
  EXPECT_EQ(call("matches", {std::string(5000, 'a'), "(a|aa)+(a|aa)+b"}).number,
            0);
  EXPECT_EQ(call("matches", {std::string(5000, 'a') + "bc", "(a|aa)+(a|aa)+b"})
                .number,
            0);
  // Long thoughts match as short ones do, also where each of their characters
  // is a place to go back to.
  for (size_t length : {100, 1000, 10000, 100000})
    for (const char *written : {"<think>.*</think>", "<think>(.|\n)*</think>",
                                "<think>(?:(?!</think>).)*</think>"}) {
      std::string thought = "<think>" + std::string(length, 'a') + "</think>";
      EXPECT_EQ(call("matches", {thought, written}).number, 1)
          << written << ", " << length;
      EXPECT_EQ(call("matches", {thought + "!", written}).number, 0)
          << written << ", " << length;
    }
  EXPECT_THROW(call("matches", {"x", "(("}), Error);
}

TEST(TextFunctions, Numbers) {
  EXPECT_EQ(call("number", {"1/4"}).number, 0.25);
  EXPECT_TRUE(std::isnan(call("number", {"no"}).number));
  EXPECT_EQ(call("equal", {"1/4", "0.25"}).number, 1);
  EXPECT_EQ(call("same", {"1/4", "0.25"}).number, 0);
  EXPECT_EQ(call("same", {"", ""}).number, 1);
}

TEST(Words, ByLanguage) {
  EXPECT_EQ(countWords("It isn't 42, is it?"), 4);
  EXPECT_EQ(countWords("It isn't 42, is it?", "en"), 4);
  EXPECT_EQ(countWords("It isn't 42, is it?", "zh"), 0);
  EXPECT_GT(countWords("我们先计算结果", "zh"), 2);
  EXPECT_EQ(countWords("我们先计算结果", "en"), 0);
  EXPECT_EQ(countWords("Сначала посчитаем x", "ru"), 2);
  EXPECT_EQ(countWords("Сначала посчитаем x"), 3);
  EXPECT_GT(countWords("まず計算します", "ja"), 1);
  EXPECT_EQ(countWords(""), 0);
  EXPECT_THROW(countWords("x", "nonsense"), Error);
}

} // namespace
