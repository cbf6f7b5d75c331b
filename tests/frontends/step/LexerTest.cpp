//===- LexerTest.cpp - tokens of a step file ------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/Lexer.h"
#include "gtest/gtest.h"

using namespace r1c::step;

namespace {

/// Tokens as text: newlines as "\n", texts in quotes.
std::string lexed(llvm::StringRef text, std::string *errors = nullptr) {
  std::string messages;
  llvm::raw_string_ostream out(messages);
  Source source(out);
  std::string result;
  for (const Token &token : lex(source, source.add(text.str(), "t.r1"))) {
    if (token.kind == Token::end)
      break;
    result += result.empty() ? "" : " ";
    result += token.kind == Token::newline  ? "\\n"
              : token.kind == Token::string ? '"' + token.text + '"'
                                            : token.text;
  }
  if (errors)
    *errors = messages;
  else
    EXPECT_EQ(messages, "");
  return result;
}

double number(llvm::StringRef text) {
  Source source(llvm::errs());
  return lex(source, source.add(text.str(), "t.r1")).front().value;
}

TEST(Lexer, NewlineEndsAStatement) {
  EXPECT_EQ(lexed("a = b\nc = d"), "a = b \\n c = d \\n");
}

TEST(Lexer, ByteOrderMarkAtTheBeginningIsNoToken) {
  EXPECT_EQ(lexed("\xEF\xBB\xBF"
                  "a = b"),
            "a = b \\n");
  std::string errors;
  lexed("a = \xEF\xBB\xBF"
        "b",
        &errors);
  EXPECT_NE(errors.find("a step file is ASCII"), std::string::npos) << errors;
}

TEST(Lexer, NewlineInsideBracketsIsDropped) {
  EXPECT_EQ(lexed("f(a,\n  b\n)\nc"), "f ( a , b ) \\n c \\n");
  EXPECT_EQ(lexed("[a\n, b]"), "[ a , b ] \\n");
}

TEST(Lexer, NewlineInsideBracesIsKept) {
  EXPECT_EQ(lexed("{\n a\n b\n}"), "{ a \\n b \\n } \\n");
}

TEST(Lexer, NewlineAfterAnOperatorIsDropped) {
  EXPECT_EQ(lexed("a = b +\n c"), "a = b + c \\n");
  EXPECT_EQ(lexed("a = b and\n not c"), "a = b and not c \\n");
}

TEST(Lexer, NewlineBeforeAnOperatorIsDropped) {
  for (const char *word : {"+", "-", "*", "where", "if", "else", "and", "=="})
    EXPECT_EQ(lexed(std::string("a = b\n  ") + word + " c"),
              std::string("a = b ") + word + " c \\n");
}

TEST(Lexer, SemicolonIsANewline) {
  EXPECT_EQ(lexed("{ a = b; return c }"), "{ a = b \\n return c } \\n");
}

TEST(Lexer, Comments) {
  EXPECT_EQ(lexed("a // b\n// c\nd"), "a \\n d \\n");
  EXPECT_EQ(lexed("a = // one\n  b"), "a = b \\n");
}

TEST(Lexer, Numbers) {
  EXPECT_EQ(number("10"), 10);
  EXPECT_EQ(number("0.25"), 0.25);
  EXPECT_EQ(number("3e-4"), 3e-4);
  EXPECT_EQ(number("1.5e6"), 1.5e6);
  EXPECT_EQ(lexed("o.length"), "o . length \\n");
}

TEST(Lexer, Texts) {
  EXPECT_EQ(lexed(R"("a\n\"b\"\\")"), "\"a\n\"b\"\\\" \\n");
  EXPECT_EQ(lexed("`<a>.*\\s\nb`"), "\"<a>.*\\s\nb\" \\n");
}

TEST(Lexer, Errors) {
  const std::pair<const char *, const char *> cases[] = {
      {"a = 3x", "t.r1:1:5: error: '3x' is neither a number nor a name"},
      {"a = \"b", "t.r1:1:5: error: a text in quotes ends on its line"},
      {"a = `b", "t.r1:1:5: error: this raw text has no closing back-quote"},
      {"a = \"\\q\"", "t.r1:1:6: error: unknown escape in a text"},
      {"a = b & c", "t.r1:1:7: error: unexpected character '&': write 'and'"},
      {"a = !b", "t.r1:1:5: error: unexpected character '!': write 'not'"},
      {"a = \xc3\xa9\xc3\xa9", "t.r1:1:5: error: outside texts and comments a "
                               "step file is ASCII\n"},
      {"# a", "t.r1:1:1: error: unexpected character '#': comments begin"}};
  for (auto [text, message] : cases) {
    std::string errors;
    lexed(text, &errors);
    EXPECT_EQ(errors.substr(0, std::string(message).size()), message);
  }
}

TEST(Source, ErrorsLookLikeClangs) {
  std::string errors;
  lexed("stage s(steps = 3) {\n  a = 3x\n}", &errors);
  EXPECT_EQ(errors, "t.r1:2:7: error: '3x' is neither a number nor a name\n"
                    "  a = 3x\n"
                    "      ^\n");
}

TEST(Source, Nearest) {
  EXPECT_EQ(nearest("anwser", {"text", "answer"}), "answer");
  EXPECT_EQ(nearest("epsilon", {"beta", "eps_low", "eps_high"}), "eps_low");
  EXPECT_EQ(nearest("xyz", {"text", "answer"}), "");
  EXPECT_EQ(nearest("a", {"b"}), "");
}

} // namespace
