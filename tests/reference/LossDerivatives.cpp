//===- LossDerivatives.cpp - every loss against finite differences --------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The gradient that rl-differentiate builds, evaluated by the interpreter,
// beside central differences of the interpreter's loss. What has no gradient by
// the language (stop, quantile, comparisons) is held at its value meanwhile.
//===----------------------------------------------------------------------===//

#include "compiler/reference/Differences.h"
#include "frontends/step/Step.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <random>

using namespace mlir;
using namespace r1c;
using namespace r1c::reference;

namespace {

std::mt19937_64 &rng() {
  static std::mt19937_64 generator = [] {
    uint64_t seed = std::random_device{}();
    if (const char *text = std::getenv("R1C_TEST_SEED"))
      seed = std::strtoull(text, nullptr, 10);
    std::printf("R1C_TEST_SEED=%llu\n", (unsigned long long)seed);
    return std::mt19937_64(seed);
  }();
  return generator;
}

void expectDifferences(const std::string &name, Loss &loss,
                       const GeneratedRound &round) {
  Formulas formulas = round.formulas();
  const Column *value = formulas.evaluate(loss.value);
  ASSERT_TRUE(value && formulas.missing().empty()) << name;
  ASSERT_TRUE(std::isfinite(value->numbers[0])) << name;
  auto expect = [&](const char *input, Value seeds,
                    std::vector<double> Point::*values) {
    DifferencesResult result =
        compareWithDifferences(loss, round, seeds, values);
    EXPECT_LE(result.absolute, differencesBound * result.scale)
        << name << ", " << input;
    EXPECT_EQ(result.leftOut, 0) << name << ", " << input;
    EXPECT_EQ(result.points, int64_t((round.point.*values).size()));
  };
  expect("logp", loss.backward.getSeeds(), &Point::logp);
  expect("entropy", loss.backward.getEntropySeeds(), &Point::entropy);
  expect("value", loss.backward.getValueSeeds(), &Point::value);
}

using Compile = std::function<OwningOpRef<ModuleOp>(MLIRContext &)>;

/// Every loss of a step file on several shapes.
int checkLosses(const std::string &name, Compile compile) {
  MLIRContext context;
  auto module = compile(context);
  if (!module) {
    ADD_FAILURE() << name << " does not compile";
    return 0;
  }
  auto losses = listLosses(*module);
  for (auto &[stage, loss] : losses) {
    auto again = compile(context);
    auto prepared = prepareLoss(*again, stage, loss);
    if (failed(prepared)) {
      ADD_FAILURE() << name << " " << stage << "." << loss;
      continue;
    }
    for (auto [groups, sequences, tokens] :
         {std::tuple(1, 1, 1), std::tuple(1, 1, 7), std::tuple(3, 4, 5),
          std::tuple(5, 2, 3)})
      expectDifferences(
          name + " " + stage + "." + loss, *prepared,
          GeneratedRound(*prepared, {groups, sequences, tokens}, rng()));
  }
  return losses.size();
}

Compile text(const std::string &loss) {
  std::string file =
      "policy actor = load(\"m\")\n"
      "data d = jsonl(\"d.jsonl\", prompt = \"{q}\", w = number)\n"
      "stage s(steps = 1) {\n"
      "  o = sample(actor, d, groups = 4, group_size = 4, "
      "temperature = 1, max_new_tokens = 8)\n"
      "  loss l {\n    lp = logp(actor, o)\n    " +
      loss + "\n  }\n  update(actor, l, adamw(lr = 1))\n}\n";
  return [=](MLIRContext &context) {
    return step::compileStepText(file, "t.r1", context);
  };
}

/// The gradient to ℓ of a loss over two tokens in one sequence, by the
/// interpreter.
std::vector<double> gradientOf(const std::string &loss,
                               std::vector<double> recorded,
                               std::vector<double> logp) {
  MLIRContext context;
  auto module = text(loss)(context);
  auto prepared = prepareLoss(*module, "", "");
  if (failed(prepared))
    return {};
  Formulas formulas({{"o", Axes{{int64_t(logp.size())}, {0}}}},
                    [&](Operation *op) -> std::optional<Column> {
                      return Column{isa<rl::FieldOp>(op) ? recorded : logp, {}};
                    });
  return formulas.evaluate(prepared->backward.getSeeds())->numbers;
}

} // namespace

TEST(LossDerivatives, EveryStepFile) {
  int losses = 0;
  for (auto &entry : std::filesystem::directory_iterator(R1C_STEPS)) {
    if (entry.path().extension() != ".r1")
      continue;
    losses += checkLosses(entry.path().stem().string(), [&](MLIRContext &c) {
      return step::compileStepFile(entry.path().string(), c);
    });
  }
  EXPECT_GE(losses, 22);
}

TEST(LossDerivatives, EveryFormulaOp) {
  for (const char *loss : {
           "minimize batch.mean(sqrt(exp(lp)) + sin(lp) * cos(2 * lp) + "
           "tanh(lp) / (1 + exp(lp)) + log(1 - lp))",
           "minimize batch.mean(abs(lp - o.logp) + sigmoid(lp) + (lp - o.logp) "
           "% 0.37)",
           "minimize batch.mean(max(lp, o.logp) * min(lp, o.logp))",
           "minimize batch.std(lp) + batch.var(exp(lp)) + "
           "batch.mean(sequence.std(lp)) + batch.sum(group.var(lp))",
           "minimize batch.max(lp) + batch.min(lp * lp) + "
           "batch.mean(sequence.max(lp)) + "
           "batch.mean(group.min(sequence.sum(lp)))",
           "minimize batch.mean(sequence.first(lp) * sequence.last(lp) where "
           "o.w > 1) + max(batch.max(lp * lp where o.logp > -1), -9)",
           "minimize batch.mean(sequence.suffix_sum(lp) * "
           "sequence.prefix_sum(exp(lp)))",
           "minimize batch.std(lp where lp > o.logp) + batch.mean(lp * lp "
           "where lp > o.logp)",
           "minimize batch.mean(lp * token(group.mean(lp)) * "
           "token(sequence(group.sum(sequence.mean(lp)))))",
           "minimize batch.mean((lp if lp > o.logp else exp(lp)) * "
           "batch.mean(lp) / batch.tokens)",
           "minimize batch.mean(entropy(actor, o) * lp - stop(lp) * "
           "entropy(actor, o))",
           "minimize batch.mean(lp where lp > batch.quantile(lp, 0.3))",
       })
    EXPECT_EQ(checkLosses(loss, text(loss)), 1) << loss;
}

// Of equal sides the first one gets all of it.
TEST(LossDerivatives, TiesTakeTheFirst) {
  using V = std::vector<double>;
  V same{-1, -2};
  EXPECT_EQ(gradientOf("minimize batch.sum(min(lp, o.logp))", same, same),
            (V{1, 1}));
  EXPECT_EQ(gradientOf("minimize batch.sum(min(o.logp, lp))", same, same),
            (V{0, 0}));
  EXPECT_EQ(gradientOf("minimize batch.sum(max(lp, o.logp))", same, same),
            (V{1, 1}));
  EXPECT_EQ(gradientOf("minimize batch.sum(max(o.logp, lp))", same, same),
            (V{0, 0}));
  // At the border of a clip, which is min(max(x, low), high).
  EXPECT_EQ(gradientOf("minimize batch.sum(clip(lp, -2, -1) + 0 * o.logp)",
                       same, same),
            (V{1, 1}));
  EXPECT_EQ(gradientOf("minimize batch.sum(abs(lp - o.logp))", same, same),
            (V{0, 0}));
  V equal{-1, -1, -3, -3};
  EXPECT_EQ(gradientOf("minimize batch.max(lp) + 0 * batch.mean(o.logp)", equal,
                       equal),
            (V{1, 0, 0, 0}));
  EXPECT_EQ(gradientOf("minimize batch.min(lp) + 0 * batch.mean(o.logp)", equal,
                       equal),
            (V{0, 0, 1, 0}));
  EXPECT_EQ(gradientOf("minimize batch.max(lp where o.logp < -1)",
                       {-1, -2, -2, -2}, equal),
            (V{0, 1, 0, 0}));
}

// 0 times infinity is 0 where a side is not selected, and 0/0 is no gradient.
TEST(LossDerivatives, WhatIsNotSelectedNeverLeaks) {
  using V = std::vector<double>;
  EXPECT_EQ(
      gradientOf("minimize batch.sum(exp(lp * 1000) if o.logp > -1.5 else lp)",
                 {-1, -2}, {-1, 5}),
      (V{1000 * std::exp(-1000.0), 1}));
  EXPECT_EQ(gradientOf("minimize batch.sum(lp where o.logp > 0) / 2 + "
                       "batch.mean(lp where o.logp > 0) + batch.std(lp where "
                       "o.logp > 0)",
                       {-1, -2}, {-1, -2}),
            (V{0, 0}));
}
