//===- CheckTest.cpp - what r1c check compares, and how -------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/Check.h"
#include "compiler/reference/Differences.h"
#include "frontends/step/Step.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

using namespace mlir;
using namespace r1c;
using namespace r1c::reference;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

//===----------------------------------------------------------------------===//
// Errors and rows
//===----------------------------------------------------------------------===//

Errors compare(std::vector<double> actual, std::vector<double> expected,
               double floor = 1) {
  Errors errors(floor);
  errors.add(actual, expected);
  return errors;
}

TEST(Errors, AreRelativeToTheLargestValue) {
  Errors errors = compare({100, 1.5}, {100, 1});
  EXPECT_EQ(errors.absolute, 0.5);
  EXPECT_EQ(errors.relative, 0.005);
  EXPECT_EQ(errors.differing, 1);
  EXPECT_EQ(errors.compared, 2);
}

TEST(Errors, SmallValuesCountAsTheFloor) {
  EXPECT_EQ(compare({1e-18}, {0}).relative, 1e-18);
  EXPECT_EQ(compare({0.75}, {0.25}, 0.5).relative, 1);
}

TEST(Errors, WhatIsNotFinite) {
  double nan = std::nan("");
  EXPECT_TRUE(compare({nan, infinity}, {nan, infinity}).isExact());
  EXPECT_EQ(compare({nan}, {1}).relative, infinity);
  EXPECT_EQ(compare({1}, {nan}).relative, infinity);
  EXPECT_EQ(compare({infinity}, {-infinity}).relative, infinity);
  EXPECT_EQ(compare({1, 2}, {1}).relative, infinity);
  Errors known(1);
  known.addKnown(nan, 1);
  EXPECT_EQ(known.relative, infinity);
}

TEST(Errors, ExactMeansBits) {
  EXPECT_FALSE(compare({0.0}, {-0.0}).isExact());
  EXPECT_EQ(compare({0.0}, {-0.0}).absolute, 0);
  EXPECT_FALSE(compare({std::nextafter(1, 2)}, {1}).isExact());
}

TEST(CheckRow, Verdict) {
  Errors errors = compare({1 + 1e-6}, {1});
  EXPECT_TRUE(CheckRow("a", errors, 1e-5).isGood);
  EXPECT_FALSE(CheckRow("a", errors, 1e-7).isGood);
  CheckRow exact("a", errors, std::nullopt);
  EXPECT_FALSE(exact.isGood);
  EXPECT_EQ(exact.remark, "1 of 1 differ");
  EXPECT_TRUE(CheckRow("a", compare({1}, {1}), std::nullopt).isGood);
  EXPECT_FALSE(CheckRow("a", compare({std::nan("")}, {1}), 1e9).isGood);
}

TEST(CheckReport, Table) {
  CheckReport report;
  CheckSection &section = report.section("loss l");
  section.notes.push_back("a note");
  section.rows.emplace_back("ℓ", compare({1}, {1}), std::nullopt);
  section.rows.emplace_back("longer", compare({1.5}, {1}), 1e-3);
  std::string text;
  llvm::raw_string_ostream out(text);
  report.print(out);
  EXPECT_EQ(text, "loss l\n"
                  "  note: a note\n"
                  "           absolute   relative     bound\n"
                  "  ℓ               0          0        ==  ok\n"
                  "  longer    5.0e-01    5.0e-01   1.0e-03  FAILED\n"
                  "\n");
  EXPECT_EQ(report.failures(), 1);
  EXPECT_EQ(report.checks(), 2);
  EXPECT_FALSE(report.isGood());
}

//===----------------------------------------------------------------------===//
// Generated rounds
//===----------------------------------------------------------------------===//

class RoundTest : public testing::Test {
protected:
  Loss prepare(const std::string &text) {
    module = step::compileStepText(
        "policy actor = load(\"m\")\n"
        "data d = jsonl(\"d.jsonl\", prompt = \"{q}\", w = number)\n"
        "stage s(steps = 10) {\n"
        "  o = sample(actor, d, groups = 4, group_size = 4, "
        "temperature = 1, max_new_tokens = 8)\n"
        "  loss l {\n    lp = logp(actor, o)\n    minimize " +
            text + "\n  }\n  update(actor, l, adamw(lr = 1))\n}\n",
        "t.r1", context);
    return *prepareLoss(*module, "", "");
  }
  double valueOf(Loss &loss, const GeneratedRound &round) {
    return round.formulas().evaluate(loss.value)->numbers[0];
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  std::mt19937_64 random{5};
};

TEST_F(RoundTest, HasTheEdgeCases) {
  Loss loss = prepare("batch.mean((lp - o.logp) * token(o.w))");
  GeneratedRound round(loss, {4, 4, 6, true}, random);
  const Axes &axes = round.axes();
  EXPECT_TRUE(llvm::is_contained(axes.tokens, 1));
  Formulas formulas = round.formulas();
  std::vector<double> recorded, rewards;
  loss.stage.walk([&](rl::FieldOp field) {
    (field.getName() == "logp" ? recorded : rewards) =
        formulas.evaluate(field.getResult())->numbers;
  });
  ASSERT_EQ(recorded.size(), round.point.logp.size());
  int64_t equal = 0, below = 0, above = 0;
  for (auto [lp, old] : llvm::zip(round.point.logp, recorded)) {
    EXPECT_LT(lp, 0);
    EXPECT_EQ(lp, float(lp));
    equal += lp == old;
    below += std::exp(lp - old) < 0.8;
    above += std::exp(lp - old) > 1.28;
  }
  EXPECT_GT(equal, 0);
  EXPECT_GT(below, 0);
  EXPECT_GT(above, 0);
  for (auto [s, group] : llvm::enumerate(axes.groups))
    if (group < 2)
      EXPECT_EQ(rewards[s], group == 0);
}

TEST_F(RoundTest, AnotherOrderIsTheSameRound) {
  Loss loss = prepare("batch.mean(sequence.mean(lp) * o.w / "
                      "sequence(group.sum(exp(o.w))))");
  EXPECT_FALSE(dependsOnOrder(loss));
  GeneratedRound round(loss, {5, 5, 6}, random);
  GeneratedRound::Order order;
  GeneratedRound other = round.reordered(random, order);
  EXPECT_NEAR(valueOf(loss, other), valueOf(loss, round), 1e-14);
  EXPECT_NE(other.point.logp, round.point.logp);
  std::vector<double> sorted = round.point.logp, otherSorted = other.point.logp;
  llvm::sort(sorted);
  llvm::sort(otherSorted);
  EXPECT_EQ(sorted, otherSorted);
}

// That the sequences move is seen by a loss that looks at the first of a group.
TEST_F(RoundTest, ALossMayDependOnTheOrder) {
  Loss loss = prepare("batch.mean(group.first(sequence.sum(lp)))");
  EXPECT_TRUE(dependsOnOrder(loss));
  GeneratedRound round(loss, {5, 5, 6}, random);
  GeneratedRound::Order order;
  EXPECT_NE(valueOf(loss, round.reordered(random, order)),
            valueOf(loss, round));
}

//===----------------------------------------------------------------------===//
// Differences
//===----------------------------------------------------------------------===//

class DifferencesTest : public RoundTest {
protected:
  DifferencesResult run(const std::string &text, bool hasEdgeCases,
                        double factor = 1) {
    Loss loss = prepare(text);
    Value seeds = loss.backward.getSeeds();
    if (factor != 1) {
      OpBuilder b(loss.backward);
      Location loc = b.getUnknownLoc();
      auto map = rl::MapOp::create(b, loc, seeds.getType(), seeds);
      Block *body = b.createBlock(&map.getBody(), {}, b.getF64Type(), loc);
      Value by = arith::ConstantOp::create(b, loc, b.getF64FloatAttr(factor));
      Value product = arith::MulFOp::create(b, loc, body->getArgument(0), by);
      rl::YieldOp::create(b, loc, product);
      seeds = map.getResult();
    }
    GeneratedRound round(loss, {4, 4, 6, hasEdgeCases}, random);
    return compareWithDifferences(loss, round, seeds, &Point::logp);
  }
  static bool isGood(const DifferencesResult &result) {
    return result.absolute <= differencesBound * result.scale;
  }
};

TEST_F(DifferencesTest, AgreeWithARightGradient) {
  auto result = run("batch.mean(exp(lp) * lp)", true);
  EXPECT_TRUE(isGood(result));
  EXPECT_EQ(result.leftOut, 0);
}

TEST_F(DifferencesTest, SeeAWrongGradient) {
  EXPECT_FALSE(isGood(run("batch.mean(exp(lp) * lp)", true, 1.0001)));
  EXPECT_FALSE(isGood(run("batch.mean(exp(lp) * lp)", true, 0)));
  EXPECT_FALSE(isGood(run("batch.mean(abs(lp - o.logp))", true, -1)));
}

// At lp = o.logp the slopes of both sides differ, and any between them will do.
TEST_F(DifferencesTest, LeaveKinksOut) {
  auto result = run("batch.mean(max(lp, o.logp))", true);
  EXPECT_TRUE(isGood(result));
  EXPECT_GT(result.leftOut, 0);
  EXPECT_LT(result.leftOut, result.points);
  // Twice the slope of the first side is not between them.
  EXPECT_FALSE(isGood(run("batch.mean(max(lp, o.logp))", true, 2)));
}

// The fourth derivative is too large for the step near 0.
TEST_F(DifferencesTest, LeaveOutWhatBendsTooMuch) {
  std::string loss = "batch.sum(1 / ((lp - o.logp) * (lp - o.logp) + 1e-9))";
  auto result = run(loss, true);
  EXPECT_LT(result.leftOut, result.points);
  EXPECT_TRUE(isGood(result));
}

//===----------------------------------------------------------------------===//
// Networks in small
//===----------------------------------------------------------------------===//

TEST(Shrink, KeepsWhatIsSmall) {
  ModelConfig config;
  config.layers = 2;
  config.hidden = 32;
  config.heads = 4;
  config.kvHeads = 2;
  config.headDim = 8;
  config.intermediate = 64;
  config.vocabulary = 16;
  auto [small, what] = shrink(config);
  EXPECT_EQ(what, "");
  EXPECT_EQ(small.heads, 4);
}

TEST(Shrink, SmolLM2) {
  ModelConfig config;
  config.layers = 30;
  config.hidden = 576;
  config.heads = 9;
  config.kvHeads = 3;
  config.headDim = 64;
  config.intermediate = 1536;
  config.vocabulary = 49152;
  auto [small, what] = shrink(config);
  EXPECT_EQ(what, "layers 2 of 30, hidden 64 of 576, head_dim 16 of 64, "
                  "intermediate 96 of 1536, vocabulary 300 of 49152, kv_heads "
                  "2 of 3, heads 6 of 9");
  EXPECT_EQ(small.heads % small.kvHeads, 0);
}

} // namespace
