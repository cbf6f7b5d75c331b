//===- StepsTest.cpp - every program of steps/ compiles or is refused -----===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/Lexer.h"
#include "tests/frontends/step/StepTesting.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "gtest/gtest.h"

using namespace r1c::step;

namespace {

std::vector<std::string> programs(llvm::StringRef directory) {
  std::vector<std::string> found;
  std::error_code error;
  for (llvm::sys::fs::directory_iterator at(directory, error), end;
       at != end && !error; at.increment(error))
    if (llvm::StringRef(at->path()).ends_with(".r1"))
      found.push_back(at->path());
  llvm::sort(found);
  return found;
}

class Good : public testing::TestWithParam<std::string> {};
class Bad : public testing::TestWithParam<std::string> {};

std::string nameOf(const testing::TestParamInfo<std::string> &info) {
  std::string name = llvm::sys::path::stem(info.param).str();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

TEST_P(Good, Compiles) {
  Compiled compiled = compileFile(GetParam());
  EXPECT_TRUE(compiled.ok);
  EXPECT_EQ(compiled.diagnostics, "");
  EXPECT_TRUE(compiled.roundTrips);
}

/// The first line says where and why: `//! 10: words of the message`.
TEST_P(Bad, IsRefused) {
  auto buffer = llvm::MemoryBuffer::getFile(GetParam());
  ASSERT_TRUE(static_cast<bool>(buffer));
  llvm::StringRef first = (*buffer)->getBuffer().split('\n').first;
  ASSERT_TRUE(first.consume_front("//! "));
  auto [line, words] = first.split(": ");
  Compiled compiled = compileFile(GetParam());
  EXPECT_FALSE(compiled.ok);
  // The one error, on that line, with these words in its message.
  llvm::SmallVector<llvm::StringRef> lines, errors;
  llvm::StringRef(compiled.diagnostics).split(lines, '\n');
  for (llvm::StringRef text : lines)
    if (text.contains(": error: "))
      errors.push_back(text);
  ASSERT_FALSE(errors.empty()) << compiled.diagnostics;
  for (llvm::StringRef error : errors) {
    EXPECT_TRUE(error.starts_with(GetParam() + ":" + line.str() + ":"))
        << error.str();
    EXPECT_TRUE(error.contains(words)) << error.str();
  }
}

INSTANTIATE_TEST_SUITE_P(Steps, Good, testing::ValuesIn(programs(R1C_STEPS)),
                         nameOf);
INSTANTIATE_TEST_SUITE_P(Steps, Bad,
                         testing::ValuesIn(programs(R1C_STEPS "/bad")), nameOf);

/// Programs with one token left out either compile or are told why not.
TEST(Steps, WithATokenMissing) {
  for (const char *name : {"/first-hour.r1", "/code-execution.r1"}) {
    auto buffer = llvm::MemoryBuffer::getFile(R1C_STEPS + std::string(name));
    ASSERT_TRUE(static_cast<bool>(buffer));
    Source source(llvm::nulls());
    llvm::StringRef text = source.add((*buffer)->getBuffer().str(), "t.r1");
    std::vector<Token> tokens = lex(source, text);
    for (const Token &token : tokens) {
      if (token.kind == Token::end || token.kind == Token::newline)
        continue;
      size_t at = token.loc.getPointer() - text.data();
      size_t quotes = token.kind == Token::string ? 2 : 0;
      std::string without =
          text.take_front(at).str() +
          text.drop_front(
                  std::min(text.size(), at + token.text.size() + quotes))
              .str();
      Compiled compiled = compile(without);
      bool told = llvm::StringRef(compiled.diagnostics).contains(": error: ");
      EXPECT_NE(compiled.ok, told) << "without '" << token.text << "' on line "
                                   << source.lineOf(token.loc) << "\n"
                                   << compiled.diagnostics;
    }
  }
}

TEST(Steps, AreAllThere) {
  EXPECT_EQ(programs(R1C_STEPS).size(), 21u);
  EXPECT_EQ(programs(R1C_STEPS "/bad").size(), 12u);
}

} // namespace
