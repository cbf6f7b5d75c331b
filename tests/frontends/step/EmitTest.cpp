//===- EmitTest.cpp - the rl that a step file becomes ---------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/frontends/step/StepTesting.h"
#include "gtest/gtest.h"

using namespace r1c::step;

namespace {

/// The text of a module that compiles, verifies and parses back.
std::string emitted(const std::string &text,
                    std::vector<std::pair<std::string, std::string>> set = {}) {
  Compiled compiled = compile(text, std::move(set));
  EXPECT_TRUE(compiled.ok) << compiled.diagnostics;
  EXPECT_TRUE(compiled.roundTrips);
  return compiled.text;
}

unsigned count(const std::string &text, llvm::StringRef part) {
  return llvm::StringRef(text).count(part);
}

TEST(Emit, CapacityIsTheLargestOverAllSteps) {
  std::string stage =
      "stage s(steps = 10400) {\n o = sample(actor, math, groups = 8, "
      "group_size = 2, max_new_tokens = 32768 if step < 8200 else 65536)\n"
      " update(actor, losses.likelihood(actor, o), adamw(lr = 1))\n}\n";
  std::string text = emitted(prelude + stage);
  EXPECT_EQ(count(text, "max_groups = 8 max_group_size = 2 max_token_count = "
                        "65536"),
            1u);
  EXPECT_EQ(count(text, "rl.step"), 1u);
  // The second length is never reached.
  stage.replace(stage.find("10400"), 5, "8200");
  EXPECT_EQ(count(emitted(prelude + stage), "max_token_count = 32768"), 1u);
}

TEST(Emit, ScheduleOfANamedSize) {
  std::string text = emitted(
      prelude + "stage s(steps = 100) {\n size = 4 + step % 3\n o = "
                "sample(actor, math, groups = size, max_new_tokens = 8)\n "
                "update(actor, losses.likelihood(actor, o), adamw(lr = 1))\n"
                "}\n");
  EXPECT_EQ(count(text, "max_groups = 6 "), 1u);
}

TEST(Emit, StepsIsAConstantWhereItIsKnown) {
  auto body = [](const char *limit) {
    return prelude + "stage s(" + limit +
           ") {\n o = sample(actor, math, groups = 4, max_new_tokens = 8)\n"
           " update(actor, losses.likelihood(actor, o), adamw(lr = 1 / steps), "
           "minibatches = 2, epochs = 3)\n}\n";
  };
  EXPECT_EQ(count(emitted(body("steps = 8")), "rl.constant 1.250000e-01"), 1u);
  // 2 rounds of 6 updates.
  EXPECT_EQ(count(emitted(body("rounds = 2")), "rl.constant 0.083333"), 1u);
  EXPECT_EQ(count(emitted(body("epochs = 2")), "rl.steps"), 1u);
}

TEST(Emit, ParamsAreOpenUnlessASizeDependsOnThem) {
  std::string text = "param lr = 1\nparam n = 4\nparam decay = 0.5\n" +
                     prelude +
                     "stage s(steps = 3) {\n o = sample(actor, math, groups = "
                     "n, max_new_tokens = 8)\n update(actor, "
                     "losses.likelihood(actor, o), adamw(lr = lr * n, "
                     "weight_decay = decay))\n}\n";
  std::string out = emitted(text);
  EXPECT_EQ(count(out, "rl.param @lr = 1.000000e+00 open"), 1u);
  EXPECT_EQ(count(out, "rl.param @n = 4.000000e+00\n"), 1u);
  EXPECT_EQ(count(out, "rl.param @decay = 5.000000e-01\n"), 1u);
  EXPECT_EQ(count(out, "rl.get_param @lr"), 1u);
  EXPECT_EQ(count(out, "rl.get_param @n"), 0u);
  EXPECT_EQ(count(emitted(text, {{"n", "2 * 8"}}), "max_groups = 16 "), 1u);
  EXPECT_EQ(count(emitted(text, {{"lr", "7"}}), "@lr = 7.000000e+00 open"), 1u);
}

TEST(Emit, TextParams) {
  std::string text = "param dir = \"a\"\npolicy actor = load(dir)\n"
                     "stage s(rounds = 3) { save(actor, dir) }\n";
  EXPECT_EQ(count(emitted(text), "path = \"a\""), 1u);
  EXPECT_EQ(count(emitted(text, {{"dir", "b c"}}), "\"b c\""), 2u);
}

TEST(Emit, RecordedLogprobIsNotRunAgain) {
  std::string text = emitted(
      inStage("old = logp(actor, o)\n metric a = rollout.mean(old - o.logp)"));
  EXPECT_EQ(count(text, "rl.logprob"), 0u);
  // Another temperature is another number.
  text = emitted(inStage("metric a = rollout.mean(logp(actor, o, temperature = "
                         "0.5))"));
  EXPECT_EQ(count(text, "rl.logprob @actor"), 1u);
  EXPECT_EQ(count(text, " temperature(%4) : "), 1u) << text;
  EXPECT_EQ(count(emitted(inStage("metric a = rollout.mean(logp(actor, o, "
                                  "temperature = 1))")),
                  "rl.logprob"),
            0u);
}

TEST(Emit, AfterAnUpdateAPolicyIsAnother) {
  std::string update =
      "update(actor, losses.likelihood(actor, o), adamw(lr = 1))\n";
  std::string text = emitted(
      inStage("a = logp(actor, o)\n metric x = rollout.mean(a)\n" + update +
              "b = logp(actor, o)\n metric y = rollout.mean(b)\n" + update +
              "c = logp(actor, o)\n metric z = rollout.mean(c - b)\n"));
  // One in each update, and b and c; a is what was recorded.
  EXPECT_EQ(count(text, "rl.logprob @actor"), 4u) << text;
}

TEST(Emit, AConditionalCopyIsAnother) {
  std::string text =
      emitted(inStage("every 4 steps { actor := reference }\n"
                      "metric x = rollout.mean(logp(actor, o))"));
  EXPECT_EQ(count(text, "rl.logprob @actor"), 1u);
  // reference never changes, so after := both are the same.
  text = emitted(prelude +
                 "stage s(rounds = 3) {\n actor := reference\n o = "
                 "sample(actor, math, groups = 4, max_new_tokens = 8)\n metric "
                 "x = rollout.mean(logp(reference, o))\n}\n");
  EXPECT_EQ(count(text, "rl.logprob"), 0u);
}

TEST(Emit, OtherPoliciesStandBeforeTheUpdate) {
  std::string text = emitted(
      inStage("update(actor, losses.grpo(actor, o, 1, reference = reference, "
              "beta = 0.1), adamw(lr = 1), minibatches = 2)"));
  EXPECT_LT(text.find("rl.logprob @reference"), text.find("rl.update"));
  EXPECT_GT(text.find("rl.logprob @actor"), text.find("rl.update"));
}

TEST(Emit, WithoutBetaTheReferenceIsNotRun) {
  std::string text = emitted(
      inStage("update(actor, losses.grpo(actor, o, 1, reference = reference), "
              "adamw(lr = 1))"));
  EXPECT_EQ(count(text, "@reference, "), 0u);
}

TEST(Emit, RolloutInALossStandsBeforeTheUpdate) {
  std::string text = emitted(inStage(
      "loss l { x = token(o.length) * 2\n minimize batch.sum(logp(actor, o) * "
      "x) "
      "/ rollout.mean(x) / rollout.tokens }\nupdate(actor, l, adamw(lr = 1))"));
  size_t update = text.find("rl.update");
  EXPECT_LT(text.find("over rollout"), update);
  EXPECT_LT(text.find("rl.count token of %"), update);
  EXPECT_LT(text.find("rl.repeat"), update);
  EXPECT_GT(text.find("over batch"), update);
}

TEST(Emit, CostlyCallsRunWhereTheyAreNeeded) {
  std::string text = emitted(inStage("a = value(rm, o) if o.truncated else 0\n"
                                     "metric x = rollout.mean(a)"));
  EXPECT_EQ(count(text, "where("), 1u) << text;
  // The other side's mask is the negation.
  text = emitted(inStage("a = 0 if o.truncated else value(rm, o)\n"
                         "metric x = rollout.mean(a)"));
  EXPECT_EQ(count(text, "arith.xori"), 1u) << text;
  // A mask per token says nothing of sequences: all are run.
  text = emitted(inStage("a = token(value(rm, o)) if o.last else 0\n"
                         "metric x = rollout.mean(a)"));
  EXPECT_EQ(count(text, "where("), 0u) << text;
}

/// Also through names, where it comes to the same.
TEST(Emit, ANameIsComputedWhereItIsRead) {
  auto masks = [](llvm::StringRef body) {
    return count(emitted(inStage(body)), "where(");
  };
  const char *end = "metric x = rollout.mean(a)";
  EXPECT_EQ(
      masks(std::string("h = value(rm, o)\na = h if o.truncated else 0\n") +
            end),
      1u);
  EXPECT_EQ(masks(std::string("h = value(rm, o)\ng = h + 1\n"
                              "a = 0 if o.truncated else g\n") +
                  end),
            1u);
  // The step decides, and the outputs: both must hold.
  std::string text =
      emitted(inStage("h = value(rm, o) if step >= 10 else 0\n"
                      "a = rollout.mean(o.length) if o.truncated else h\n" +
                      std::string(end)));
  EXPECT_EQ(count(text, "where("), 1u) << text;
  EXPECT_EQ(count(text, "arith.andi"), 1u) << text;
  // Read twice, read beside the choice, or judged by other weights there.
  EXPECT_EQ(masks(std::string("h = value(rm, o)\na = h if o.truncated else h + "
                              "1\n") +
                  end),
            0u);
  EXPECT_EQ(masks(std::string("h = value(rm, o)\na = (h if o.truncated else 0) "
                              "+ h\n") +
                  end),
            0u);
  EXPECT_EQ(masks(std::string("h = value(rm, o)\nrm := rm\na = h if "
                              "o.truncated else 0\n") +
                  end),
            0u);
  EXPECT_EQ(masks(std::string("h = value(rm, o)\nloss l { minimize "
                              "batch.mean(logp(actor, o) * token(h if "
                              "o.truncated else 0)) }\nupdate(actor, l, "
                              "adamw(lr = 1))\nmetric x = 1")),
            0u);
}

TEST(Emit, MasksStandBeforeTheUpdateWithWhatTheyMask) {
  std::string text = emitted(
      inStage(
          "loss l { m = token(o.truncated)\n minimize batch.mean(logp(actor, "
          "o) * (logp(reference, o) if m else 0)) }\n"
          "reference := rm2\n"
          "update(actor, l, adamw(lr = 1))")
          .insert(0, "policy rm2 = load(\"x\")\n"));
  size_t update = text.find("rl.update");
  EXPECT_LT(text.find("rl.logprob @reference"), update) << text;
  EXPECT_LT(text.find("where("), update);
  // What is needed here changes with the update; the other policy does not.
  text = emitted(
      inStage("reference := rm2\nloss l { lp = logp(actor, o)\n minimize "
              "batch.mean(lp * (logp(reference, o) if lp > 0 else 0)) }\n"
              "update(actor, l, adamw(lr = 1))")
          .insert(0, "policy rm2 = load(\"x\")\n"));
  EXPECT_EQ(count(text, "where("), 0u) << text;
}

TEST(Emit, AConstantChoiceIsMade) {
  std::string text =
      emitted(inStage("metric x = rollout.mean(o.length) if 2 > 1 else "
                      "rollout.mean(value(rm, o))"));
  EXPECT_EQ(count(text, "rl.value"), 0u);
  EXPECT_EQ(count(text, "arith.select"), 0u);
}

TEST(Emit, WhatIsWrittenTwiceRunsOnce) {
  std::string text =
      emitted(inStage("metric x = rollout.mean(rewards.accuracy(o))\n"
                      "metric y = rollout.max(rewards.accuracy(o))"));
  EXPECT_EQ(count(text, "rl.text \"equal\""), 1u);
}

TEST(Emit, FormulaOfOneNumberIsNotRepeated) {
  // 1 - lr once, not once a token.
  std::string text =
      emitted("param lr = 0.5\n" +
              inStage("metric x = rollout.mean(o.logp * (1 - lr))"));
  EXPECT_EQ(count(text, "-> !rl.num<one> {"), 1u) << text;
}

TEST(Emit, CountsBelongToTheSetInSight) {
  std::string text =
      emitted(inStage("metric x = "
                      "rollout.mean(advantages.leave_one_out(o.length))"));
  EXPECT_EQ(count(text, "rl.count sequence of"), 1u);
}

TEST(Emit, ConditionJudgesTheCandidates) {
  std::string text = emitted(
      prelude + "stage s(rounds = 3) {\n o = sample(actor, math, groups = 4, "
                "group_size = 2, max_new_tokens = 8, tries = 3)\n   where "
                "group.std(rewards.accuracy(o)) > 0\n metric x = "
                "rollout.mean(o.length)\n}\n");
  EXPECT_EQ(count(text, "tries = 3 : !rl.outputs<\"o\"> where {"), 1u);
  EXPECT_EQ(count(text, "rl.yield %"), count(text, "rl.map") + 1) << text;
}

TEST(Emit, ReadTakesTheTokenizerOfItsReader) {
  std::string text = emitted(
      prelude +
      "stage s(epochs = 1) {\n o = read(mix(math, math, weights = [3, 1]), "
      "groups = 4, max_tokens = 32)\n update(reference, "
      "losses.likelihood(reference, o), adamw(lr = 1))\n}\n");
  EXPECT_EQ(count(text, "rl.read @reference from [@math, @math] weights "
                        "[3.000000e+00, 1.000000e+00]"),
            1u)
      << text;
  EXPECT_EQ(count(text,
                  "max_groups = 4 max_group_size = 1 max_token_count = 32 "
                  "order \"shuffled\""),
            1u);
}

TEST(Emit, ReadSetsSayTheirTemperature) {
  auto text = [](const char *temperature) {
    return emitted(std::string("policy actor = load(\"m\")\ndata d = "
                               "jsonl(\"f\", prompt_ids = \"p\", ids = \"i\", "
                               "logp = \"l\", temperature = ") +
                   temperature +
                   ")\nstage s(epochs = 1) {\n o = read(d, groups = 4)\n "
                   "metric m = rollout.mean(logp(actor, o) - o.logp)\n}\n");
  };
  EXPECT_EQ(count(text("0.75"), " temperature(%"), 1u);
  EXPECT_EQ(count(text("0.75"), "rl.constant 7.500000e-01"), 1u);
  EXPECT_EQ(count(text("1.0"), " temperature(%"), 0u);
}

TEST(Emit, Llama) {
  std::string text = emitted(
      "policy a = llama(layers = 2, hidden = 64, heads = 4, kv_heads = 2, "
      "intermediate = 128, context = 64, tokenizer = "
      "characters(\"0123456789+= \"))\nstage s(rounds = 1) { save(a, \"x\") "
      "}\n");
  for (const char *part :
       {"vocabulary = 14 : i64", "head_dim = 16 : i64", "tied = true",
        "rope_theta = 1.000000e+04", "init = 2.000000e-02",
        "tokenizer = {alphabet = \"0123456789+= \", kind = \"characters\"}"})
    EXPECT_EQ(count(text, part), 1u) << part << text;
}

TEST(Emit, OpsKnowTheirLine) {
  mlir::MLIRContext context;
  auto module = compileStepText(inStage("score = o.length * 2\n metric x = "
                                        "rollout.mean(score)"),
                                "t.r1", context);
  ASSERT_TRUE(module);
  unsigned named = 0;
  module->walk([&](mlir::Operation *op) {
    auto name = llvm::dyn_cast<mlir::NameLoc>(op->getLoc());
    if (!name || name.getName() != "score")
      return;
    ++named;
    auto place = llvm::dyn_cast<mlir::FileLineColLoc>(name.getChildLoc());
    ASSERT_TRUE(place);
    EXPECT_EQ(place.getFilename(), "t.r1");
    EXPECT_EQ(place.getLine(), 10u);
    EXPECT_EQ(place.getColumn(), 1u);
  });
  EXPECT_EQ(named, 1u);
}

TEST(Emit, RemarksSayWhereMultiplesFall) {
  std::string text = prelude + "stage s(steps = 1700) {\n every 100 steps { "
                               "reference := actor }\n o = sample(actor, math, "
                               "groups = 16, max_new_tokens = 8)\n "
                               "update(actor, losses.likelihood(actor, o), "
                               "adamw(lr = 1), minibatches = 16)\n}\n";
  EXPECT_NE(compile(text, {}, /*remarks=*/true)
                .diagnostics.find("9:2: remark: a round makes 16 updates, so "
                                  "this runs at steps 0, 112, 208, 304, ..."),
            std::string::npos);
  EXPECT_EQ(compile(text).diagnostics.find("remark"), std::string::npos);
}

} // namespace
