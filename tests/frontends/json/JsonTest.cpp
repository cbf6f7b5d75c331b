//===- JsonTest.cpp - JSON from outside -----------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/json/Json.h"
#include <gtest/gtest.h>

using namespace r1c;

namespace {

std::string nested(size_t depth, const std::string &open = "[",
                   const std::string &close = "]") {
  std::string text;
  for (size_t i = 0; i < depth; ++i)
    text += open;
  for (size_t i = 0; i < depth; ++i)
    text += close;
  return text;
}

std::string problem(const std::string &text) {
  auto parsed = parseJson(text);
  return parsed ? "" : llvm::toString(parsed.takeError());
}

TEST(Json, DepthIsLimited) {
  EXPECT_EQ(problem(nested(1000)), "");
  EXPECT_EQ(problem(nested(1001)),
            "[1:1001, byte=1001]: Nested more than 1000 deep");
  EXPECT_EQ(problem("{\"a\":\n" + nested(500000)),
            "[2:1000, byte=1006]: Nested more than 1000 deep");
  EXPECT_EQ(problem(nested(500000, "{\"a\": ", "}")),
            "[1:6001, byte=6001]: Nested more than 1000 deep");
  // Without ends, too.
  EXPECT_EQ(problem(nested(500000, "[", "")),
            "[1:1001, byte=1001]: Nested more than 1000 deep");
}

TEST(Json, WhatIsNotNestedIsNotCounted) {
  std::string wide = "[0";
  for (int i = 0; i < 5000; ++i)
    wide += ", [], {}";
  EXPECT_EQ(problem(wide + "]"), "");
  std::string brackets(5000, '[');
  EXPECT_EQ(problem("[\"" + brackets + "\"]"), "");
  EXPECT_EQ(problem(R"({"\"\\\"[)" + brackets + R"(\\": "\\"})"), "");
  EXPECT_EQ(problem(R"(["\\", )" + nested(1000) + "]"),
            "[1:1007, byte=1007]: Nested more than 1000 deep");
}

TEST(Json, TheParserSaysWhatIsNoJson) {
  for (std::string text : {"", "[", "]]]", "\"", "\"\\", "[1,}", "{\"a\": [}"})
    EXPECT_NE(problem(text).find("byte="), std::string::npos) << text;
}

} // namespace
