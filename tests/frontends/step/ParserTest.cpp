//===- ParserTest.cpp - step file to syntax tree --------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/Parser.h"
#include "gtest/gtest.h"

using namespace r1c::step;

namespace {

std::string show(const Expr &e) {
  auto args = [&] {
    std::string text;
    for (const Arg &arg : e.args) {
      text += (text.empty() ? "" : ", ") +
              (arg.name.empty() ? "" : arg.name + "=") + show(*arg.value);
      if (arg.where)
        text += " where " + show(*arg.where);
    }
    return text;
  };
  switch (e.kind) {
  case Expr::number: {
    std::string text;
    llvm::raw_string_ostream(text) << static_cast<int64_t>(e.value);
    return text;
  }
  case Expr::text:
    return '"' + e.name + '"';
  case Expr::identifier:
    return e.name;
  case Expr::list:
    return "[" + args() + "]";
  case Expr::unary:
    return "(" + e.name + " " + show(*e.operands[0]) + ")";
  case Expr::binary:
    return "(" + show(*e.operands[0]) + " " + e.name + " " +
           show(*e.operands[1]) + ")";
  case Expr::choice:
    return "(" + show(*e.operands[0]) + " if " + show(*e.operands[1]) +
           " else " + show(*e.operands[2]) + ")";
  case Expr::attribute:
    return show(*e.operands[0]) + "." + e.name;
  case Expr::call:
    return show(*e.operands[0]) + "(" + args() + ")";
  }
  return "";
}

std::string parsed(llvm::StringRef text) {
  Source source(llvm::errs());
  ExprPtr expr = parseExpression(source, source.add(text.str(), "t.r1"));
  return expr ? show(*expr) : "";
}

std::string errors(llvm::StringRef text) {
  std::string messages;
  llvm::raw_string_ostream out(messages);
  Source source(out);
  parse(source, source.add(text.str(), "t.r1"));
  return messages;
}

TEST(Parser, Strengths) {
  EXPECT_EQ(parsed("a + b * c - d"), "((a + (b * c)) - d)");
  EXPECT_EQ(parsed("-a * b"), "((- a) * b)");
  EXPECT_EQ(parsed("- -a"), "(- (- a))");
  EXPECT_EQ(parsed("a or b and not c == d"), "(a or (b and (not (c == d))))");
  EXPECT_EQ(parsed("a - b < c % 2"), "((a - b) < (c % 2))");
  EXPECT_EQ(parsed("(a + b) * c"), "((a + b) * c)");
  EXPECT_EQ(parsed("(a < b) == c"), "((a < b) == c)");
}

TEST(Parser, Choice) {
  EXPECT_EQ(parsed("a if b else c if d else e"),
            "(a if b else (c if d else e))");
  EXPECT_EQ(parsed("a + 1 if b > 2 else 3"), "((a + 1) if (b > 2) else 3)");
}

TEST(Parser, CallsAndAttributes) {
  EXPECT_EQ(parsed("losses.grpo(a, b, eps = 1).x"),
            "losses.grpo(a, b, eps=1).x");
  EXPECT_EQ(parsed("batch.mean(x where not m)"), "batch.mean(x where (not m))");
  EXPECT_EQ(parsed("f(step = 1, policy = 2,)"), "f(step=1, policy=2)");
  EXPECT_EQ(parsed("[1, \"a\"]"), "[1, \"a\"]");
}

TEST(Parser, Declarations) {
  Source source(llvm::errs());
  auto file = parse(source, source.add(R"(
import losses
param lr = 1
fn f(a, b = 2) = a
fn g(a) { b = a; return b }
loss l(a) { metric m = a
  minimize a }
extern judge(code: text, n: number): flag = program("x", failure = 0)
stage s(steps = 3) {
  every 2 steps { p := q }
  o = sample(p)
      where c
  metric text = x
}
)",
                                       "t.r1"));
  ASSERT_EQ(source.errorCount(), 0u);
  ASSERT_EQ(file->decls.size(), 7u);
  EXPECT_EQ(file->decls[0].kind, Decl::import);
  const Template &g = *file->decls[3].definition;
  EXPECT_FALSE(g.isLoss);
  EXPECT_EQ(g.body.size(), 1u);
  EXPECT_EQ(show(*g.result), "b");
  const Template &l = *file->decls[4].definition;
  EXPECT_TRUE(l.isLoss && l.hasParams);
  EXPECT_EQ(l.body[0]->kind, Stmt::metric);
  EXPECT_EQ(file->decls[5].params[0].kind, "text");
  EXPECT_EQ(file->decls[5].result, "flag");
  const Decl &stage = file->decls[6];
  ASSERT_EQ(stage.body.size(), 3u);
  EXPECT_EQ(stage.body[0]->kind, Stmt::every);
  EXPECT_EQ(stage.body[0]->body[0]->kind, Stmt::assign);
  EXPECT_EQ(show(*stage.body[1]->where), "c");
  EXPECT_EQ(stage.body[2]->name, "text");
}

TEST(Parser, Errors) {
  const std::pair<const char *, const char *> cases[] = {
      {"x = 3", "1:1: error: 'x' is given a value outside a stage"},
      {"polcy a = b", "1:1: error: expected a declaration (import, param, "
                      "policy, data, stage, fn, loss or extern); did you mean "
                      "'policy'?"},
      {"param where = 1",
       "1:7: error: 'where' is a keyword and cannot be a name"},
      {"param a = (1 + 2", "1:17: error: expected ')', found the end"},
      {"param a = 1 2", "1:13: error: expected the end of the line, found '2'"},
      {"param a = 1 < 2 < 3", "1:17: error: comparisons do not chain: write a "
                              "< b and b < c"},
      {"param a = 1 if 2", "1:17: error: expected 'else': a choice gives"},
      {"param a = f(b = 1, 2)",
       "1:20: error: a value by position after one by name"},
      {"param a = f(b = 1, b = 2)", "1:20: error: 'b' is given twice"},
      {"param a = *", "1:11: error: expected a value, found '*'"},
      {"param a = b.1", "1:13: error: expected the name of an attribute"},
      {"fn f(a) { b = a }", "1:4: error: 'f' has no 'return'"},
      {"fn f(a) { minimize a }", "1:11: error: a fn says 'return', not "},
      {"fn f(a) { return a; return a }", "1:21: error: a second 'return'"},
      {"fn f(a) { metric m = a; return a }", "1:18: error: a fn holds named "
                                             "values and a 'return' only"},
      {"loss l { b = 1 }", "1:6: error: 'l' has no 'minimize'"},
      {"loss l { p := q; minimize 1 }",
       "1:10: error: a loss holds named "
       "values, metrics and a 'minimize' only"},
      {"stage s(steps = 1) { return 1 }",
       "1:22: error: 'return' belongs in a fn"},
      {"stage s(steps = 1) { 1 + 2 }",
       "1:22: error: this value is not used: give it a name"},
      {"stage s(steps = 1) { every 4 { } }", "1:30: error: expected 'steps'"},
      {"stage s(steps = 1) {",
       "error: expected '}', found the end of the file"},
      {"extern e(a) : text = b", "1:11: error: expected ':', found ')'"}};
  for (auto [text, message] : cases)
    EXPECT_NE(errors(text).find(message), std::string::npos) << text << "\n"
                                                             << errors(text);
}

TEST(Parser, GoesOnAfterAnError) {
  std::string found =
      errors("param a = ]\nparam b = 1 2\nstage s(steps = 1) {\n"
             "  c = }\n  d = 1 2\n}\n");
  for (const char *place : {"t.r1:1:", "t.r1:2:", "t.r1:4:", "t.r1:5:"})
    EXPECT_NE(found.find(place), std::string::npos) << found;
}

} // namespace
