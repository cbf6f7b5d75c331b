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

#include "compiler/reference/Loss.h"
#include "frontends/step/Step.h"
#include "llvm/ADT/TypeSwitch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <random>

using namespace mlir;
using namespace r1c;
using namespace r1c::reference;
using rl::Axis;

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

double uniform(double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(rng());
}

/// Some groups of different sizes, of sequences of different lengths.
Axes randomAxes(int groups, int mostSequences, int mostTokens) {
  Axes axes;
  for (int g = 0; g < groups; ++g)
    for (int s = 1 + rng()() % mostSequences; s > 0; --s) {
      axes.tokens.push_back(1 + rng()() % mostTokens);
      axes.groups.push_back(g);
    }
  return axes;
}

/// What the updated policy gives: the point at which derivatives are taken.
struct Point {
  std::vector<double> logp, entropy, value;
};

/// A loss with random values for everything that it reads.
class Case {
public:
  Case(Loss loss, Axes axes) : loss(loss), axes(std::move(axes)) {
    size_t tokens = this->axes.size(Axis::token);
    for (size_t i = 0; i < tokens; ++i) {
      recorded.push_back(uniform(-2, -0.1));
      // Ratios from 0.4 to 2.5: on all sides of the clips.
      point.logp.push_back(recorded.back() + uniform(-0.9, 0.9));
      point.entropy.push_back(uniform(0.1, 3));
    }
    for (int64_t s = 0; s < this->axes.size(Axis::sequence); ++s)
      point.value.push_back(uniform(-1, 1));
    // Texts are not the point here: what functions of them say is random.
    loss.stage.walk([&](Operation *op) {
      if (isa<rl::TextOp, rl::CallOp>(op) &&
          !isa<rl::TextType>(op->getResult(0).getType()))
        fixed[op->getResult(0)] = random(op->getResult(0).getType());
    });
  }

  void check(const std::string &name) {
    Formulas base = formulasAt(point);
    const Column *value = base.evaluate(loss.value);
    ASSERT_TRUE(value && base.missing().empty()) << name;
    double lossValue = value->numbers[0];
    ASSERT_TRUE(std::isfinite(lossValue)) << name;
    loss.update.walk([&](Operation *op) {
      auto reduce = dyn_cast<rl::ReduceOp>(op);
      bool isFlag = op->getNumResults() == 1 &&
                    isa<rl::FlagType>(op->getResult(0).getType());
      if (isa<rl::StopOp>(op) || isFlag ||
          (reduce && reduce.getKind() == rl::ReduceKind::quantile))
        held[op->getResult(0)] = *base.evaluate(op->getResult(0));
    });
    compare(name + ", logp", base, loss.backward.getSeeds(), &Point::logp,
            lossValue);
    compare(name + ", entropy", base, loss.backward.getEntropySeeds(),
            &Point::entropy, lossValue);
    compare(name + ", value", base, loss.backward.getValueSeeds(),
            &Point::value, lossValue);
  }

private:
  Column random(Type type) {
    Column column;
    for (int64_t i = 0; i < axes.size(*rl::getAxis(type)); ++i)
      column.numbers.push_back(isa<rl::FlagType>(type) ? double(rng()() % 2)
                                                       : uniform(0, 2));
    return column;
  }

  std::optional<Column> source(const Point &at, Operation *op) {
    bool inside = loss.update->isProperAncestor(op);
    auto number = [](double x) { return Column{{x}, {}}; };
    // Whatever else is read is drawn once, under a name.
    auto drawn = [&](const std::string &key, auto draw) {
      auto found = others.find(key);
      return found != others.end() ? found->second : others[key] = draw();
    };
    auto nearRecorded = [&](StringRef policy) {
      return drawn("logp " + policy.str(), [&] {
        Column column;
        for (double x : recorded)
          column.numbers.push_back(x + uniform(-0.3, 0.3));
        return column;
      });
    };
    using Result = std::optional<Column>;
    return TypeSwitch<Operation *, Result>(op)
        .Case([&](rl::LogprobOp read) -> Result {
          return inside ? Column{at.logp, {}} : nearRecorded(read.getPolicy());
        })
        .Case([&](rl::EntropyOp) -> Result { return Column{at.entropy, {}}; })
        .Case([&](rl::ValueOp read) -> Result {
          if (inside)
            return Column{at.value, {}};
          return drawn("value", [&] { return random(read.getType()); });
        })
        .Case([&](rl::FieldOp field) -> Result {
          if (field.getName() == "logp")
            return Column{recorded, {}};
          if (isa<rl::TextType>(field.getResult().getType()))
            return std::nullopt;
          return drawn("field " + field.getName().str(),
                       [&] { return random(field.getResult().getType()); });
        })
        .Case([&](rl::GetParamOp get) -> Result {
          auto param =
              loss.stage->getParentOfType<ModuleOp>().lookupSymbol<rl::ParamOp>(
                  get.getParam());
          return number(param.getValue().convertToDouble());
        })
        .Case([&](rl::StepOp) -> Result { return number(3); })
        .Case([&](rl::StepsOp) -> Result { return number(10); })
        .Default([](Operation *) -> Result { return std::nullopt; });
  }

  Formulas formulasAt(const Point &at) {
    Formulas formulas({{loss.set(), axes}},
                      [this, at](Operation *op) { return source(at, op); });
    for (auto &[value, column] : fixed)
      formulas.bind(value, column);
    for (auto &[value, column] : held)
      formulas.bind(value, column);
    return formulas;
  }

  double lossAt(const Point &at) {
    return formulasAt(at).evaluate(loss.value)->numbers[0];
  }

  void compare(const std::string &name, Formulas &base, Value seeds,
               std::vector<double> Point::*input, double lossValue) {
    std::vector<double> gradient((point.*input).size(), 0);
    if (seeds) {
      const Column *column = base.evaluate(seeds);
      ASSERT_TRUE(column) << name;
      gradient = column->numbers;
      ASSERT_EQ(gradient.size(), (point.*input).size()) << name;
    }
    double scale = std::max(1.0, std::fabs(lossValue));
    for (double g : gradient)
      scale = std::max(scale, std::fabs(g));
    // Central differences err by h^2 times the third derivative, about 1e-10
    // here, and by the rounding of the loss over h, about 1e-11.
    double h = 1e-5, tolerance = 1e-8 * scale;
    for (size_t i = 0; i < gradient.size(); ++i) {
      Point up = point, down = point;
      (up.*input)[i] += h;
      (down.*input)[i] -= h;
      double difference = (lossAt(up) - lossAt(down)) / (2 * h);
      EXPECT_NEAR(gradient[i], difference, tolerance) << name << " " << i;
    }
  }

  Loss loss;
  Axes axes;
  std::vector<double> recorded;
  Point point;
  llvm::MapVector<Value, Column> fixed, held;
  std::map<std::string, Column> others;
};

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
      Case(*prepared, randomAxes(groups, sequences, tokens))
          .check(name + " " + stage + "." + loss);
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
