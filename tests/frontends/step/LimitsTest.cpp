//===- LimitsTest.cpp - what no machine could run, or no reader follow ----===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/frontends/step/StepTesting.h"

using namespace r1c::step;

namespace {

std::string repeated(llvm::StringRef text, size_t times) {
  std::string result;
  for (size_t i = 0; i < times; ++i)
    result += text;
  return result;
}

/// A parser that recurses has an end, which is not that of the stack.
TEST(Limits, Depth) {
  const char *nested = "error: nested more than 200 deep: give inner parts";
  const char *chained = "error: more than 1000 operators in one expression";
  const size_t many = 100000;
  std::vector<Case> cases;
  for (const char *open :
       {"(", "[", "-", "not ", "max(", "1 if step > 1 else "})
    cases.push_back({"metric m = " + repeated(open, many) + "1", nested});
  cases.push_back({repeated("every 2 steps { ", many), nested});
  for (const char *link : {" + 1", ".a", "()"})
    cases.push_back({"metric m = o" + repeated(link, many), chained});
  expectErrors(cases, true);
  // Nothing else is said of what is not read.
  Compiled open = compile("stage s(steps = 1) { m = " + repeated("(", many));
  EXPECT_EQ(open.diagnostics.find("error: "),
            open.diagnostics.rfind("error: "));
  EXPECT_TRUE(compile(inStage("metric m = rollout.mean(" + repeated("(", 150) +
                              "o.length" + repeated(" + o.length", 900) +
                              repeated(")", 150) + ")"))
                  .ok);
}

TEST(Limits, Errors) {
  std::string text = compile(repeated("x = 1\n", 1000)).diagnostics;
  EXPECT_NE(text.find("error: more than 50 errors: those above come first"),
            std::string::npos);
  EXPECT_EQ(llvm::StringRef(text).count("error: "), 51u);
  // What has no place in the file is not given a wrong one.
  EXPECT_EQ(compile("").diagnostics,
            "error: t.r1: has no stage: write 'stage train(steps = 100) { ... "
            "}'\n");
}

TEST(Limits, Expansion) {
  std::string doubling = "fn f0(x) = x + x\n", deep, twice = doubling;
  for (int i = 1; i < 30; ++i) {
    std::string name = "f" + std::to_string(i - 1);
    doubling += "fn f" + std::to_string(i) + "(x) = " + name + "(x) + " + name +
                "(x)\n";
    twice += "fn f" + std::to_string(i) + "(x) = " + name + "(x)" +
             repeated(" + x", 900) + "\n";
  }
  std::string use = "stage s(rounds = 1) { metric m = f29(1 + step) }";
  expectErrors(
      {{doubling + use, "error: functions are used more than 20000 times"},
       {twice + use, "error: this is too deep, with the functions around it"},
       {"fn f(x) = f(x) + f(x)\nstage s(rounds = 1) { metric m = f(step) }",
        "error: 'f' calls itself"}},
      false);
  // One value read twice, ninety times over, is evaluated once.
  std::string sizes = "stage s(steps = 2) {\na0 = 1 + step\n", far = sizes;
  for (int i = 1; i < 5000; ++i) {
    std::string line = "a" + std::to_string(i) + " = a" +
                       std::to_string(i - 1) + " - a" + std::to_string(i - 1) +
                       " / 2\n";
    if (i <= 90)
      sizes += line;
    far += line;
  }
  std::string body =
      "o = sample(actor, math, groups = ceil(A), "
      "max_new_tokens = 2)\nmetric m = rollout.mean(o.length)\n}";
  auto with = [&](const char *name) {
    std::string text = body;
    return text.replace(text.find('A'), 1, name);
  };
  std::string updated = "update(actor, losses.likelihood(actor, o), adamw(lr = "
                        "1))\nmetric m";
  auto trained = [&](std::string text) {
    return text.replace(text.find("metric m"), 8, updated);
  };
  Compiled found = compile(prelude + sizes + trained(with("a90")));
  EXPECT_TRUE(found.ok) << found.diagnostics;
  expectErrors(Case{far + trained(with("a4999")),
                    "'groups' is a size: it depends on constants"},
               false);
}

const char *shape(const char *what) {
  static std::string text;
  text = std::string("policy p = llama(") + what +
         "tokenizer = characters(\"ab\"))";
  return text.c_str();
}

TEST(Limits, Sizes) {
  expectErrors(
      {{shape("layers = 2, hidden = 1e12, heads = 1, intermediate = 8, context "
              "= 8, "),
        "8:39: error: 'hidden' is at most 16777216, not 1000000000000"},
       {shape("layers = 1e9, hidden = 8, heads = 1, intermediate = 8, context "
              "= 8, "),
        "'layers' is at most 16777216, not 1000000000"},
       {shape("layers = 2, hidden = 8, heads = 1, intermediate = 8, context = "
              "1e15, "),
        "'context' is at most 16777216, not 1000000000000000"},
       {shape("layers = 2, hidden = 1026, heads = 1, intermediate = 8, context "
              "= 8, "),
        "'head_dim' is at most 512, not 1026: write more heads"},
       {shape("layers = 1000000, hidden = 65536, heads = 128, intermediate = "
              "65536, context = 8, "),
        "8:12: error: a policy of this shape takes 1.20272e+17 bytes and more, "
        "which no machine has: look at layers, hidden, intermediate and "
        "context"},
       {"stage s(steps = 2000000) {\n o = sample(actor, math, groups = 1 + 0 * "
        "step, max_new_tokens = 2)\n metric m = rollout.mean(o.length)\n}",
        "9:35: error: 'groups' depends on the step, and is looked at for each "
        "when the file is compiled: a stage with such a size has at most "
        "1000000 steps"},
       {std::string(shape("layers = 2, hidden = 8, heads = 1, intermediate = "
                          "8, context = 8, ")) +
            "\npolicy q = p\nstage s(rounds = 1) {\n o = sample(q, math, "
            "groups = 2, max_new_tokens = 9)\n metric m = "
            "rollout.mean(o.length)\n}",
        "11:51: error: 'max_new_tokens' is 9, but 'q' has a context of 8, the "
        "prompt included"}},
      false);
  expectErrors(
      {{"p = sample(actor, math, groups = 1e6, group_size = 1e3, "
        "max_new_tokens "
        "= 1e6)",
        "groups * group_size * max_new_tokens is 1e+15 tokens: a round has at "
        "most 2147483647"},
       {"p = read(math, groups = 3e9)",
        "a round has at most 2147483647 groups"}},
      true);
}

/// Each would compile, and then train nothing or the wrong way.
TEST(Limits, Values) {
  std::vector<Case> cases;
  auto optimizer = [&](const char *given, const char *error) {
    cases.push_back({std::string("update(actor, losses.likelihood(actor, o), "
                                 "adamw(") +
                         given + "))",
                     error});
  };
  optimizer("lr = 0 - 1", "10:55: error: 'lr' is at least 0, not -1");
  optimizer("lr = 1, beta1 = 2", "'beta1' is at least 0 and below 1, not 2");
  optimizer("lr = 1, beta2 = 1", "'beta2' is at least 0 and below 1, not 1");
  optimizer("lr = 1, epsilon = -1", "'epsilon' is above 0, not -1");
  optimizer("lr = 1, weight_decay = -1", "'weight_decay' is at least 0, not");
  optimizer("lr = 1, clip_norm = 0", "'clip_norm' is above 0, not 0");
  auto sample = [&](const char *given, const char *error) {
    cases.push_back({std::string("p = sample(actor, math, groups = 4, "
                                 "max_new_tokens = 3, ") +
                         given + ")",
                     error});
  };
  sample("temperature = -0.5", "'temperature' is at least 0, not -0.5");
  sample("temperature = 1 / 0", "'temperature' is at least 0, not inf");
  sample("top_p = 0", "'top_p' is above 0 and at most 1, not 0");
  sample("top_k = -1",
         "'top_k' is a whole number, or 0 for all tokens, not -1");
  sample("top_k = 2.5", "'top_k' is a whole number, or 0 for all tokens, not");
  sample("min_p = 1.5", "'min_p' is from 0 to 1, not 1.5");
  sample("group_size = 0", "'group_size' is a whole number of at least 1");
  sample("stop = [\"\"]",
         "10:65: error: an empty text would stop every output");
  expectErrors(cases, true);
  expectErrors(
      {{shape("layers = 1, hidden = 8, heads = 1, intermediate = 8, context = "
              "8, init = -1, "),
        "'init' is at least 0, not -1"},
       {"policy p = llama(layers = 1, hidden = 8, heads = 1, intermediate = 8, "
        "context = 8, tokenizer = characters(\"\"))",
        "characters(...) takes at least one character"},
       {"data d = jsonl(\"f\", prompt = \"{q\")",
        "8:30: error: the braces of this template do not pair: a column is "
        "named as in \"{question}\""},
       {"data d = jsonl(\"f\", prompt = \"{q}\", completion = [\"a\", "
        "\"}{\"])",
        "the braces of this template do not pair"},
       {"data d = jsonl(\"f\", prompt = chat(\"{q}\", system = \"{\"))",
        "the braces of this template do not pair"},
       {"data d = jsonl(\"f\", prompt = \"{q}\", temperature = 0)",
        "'temperature' is that of the log-probabilities in the file: above 0"},
       {"extern e(a: text): number = program(\"x\", timeout = 0, failure = 0)",
        "'timeout' is above 0, not 0"},
       {"extern e(a: text): number = program(\"x\", failure = 0 / 0)",
        "'failure' is a number, not"}},
      false);
}

/// A param is looked at as it is, and stays open.
TEST(Limits, ParamsStayOpen) {
  std::string text =
      "param rate = 1\n" + inStage("update(actor, losses.likelihood(actor, o), "
                                   "adamw(lr = rate))");
  Compiled good = compile(text);
  EXPECT_TRUE(good.ok) << good.diagnostics;
  EXPECT_NE(good.text.find("rl.param @rate = 1.000000e+00 open"),
            std::string::npos)
      << good.text;
  EXPECT_NE(compile(text, {{"rate", "-1"}})
                .diagnostics.find("'lr' is at least 0, not -1"),
            std::string::npos);
}

TEST(Limits, WhatIsWrittenCanBeRead) {
  std::vector<Case> cases;
  for (const char *completion :
       {"", ", completion = [\"{a}\", \"{b}\"]", ", completion = \"x\"",
        ", completion = \"{a}{b}\""})
    cases.push_back(
        {std::string("data d = jsonl(\"d\", prompt = \"{q}\"") + completion +
             ")\nstage s(rounds = 1) {\n o = sample(actor, math, groups = 2, "
             "max_new_tokens = 2)\n write(d, o)\n}",
         "11:8: error: 'write' fills the column that the completion of 'd' "
         "names: declare completion = \"{response}\""});
  expectErrors(cases, false);
}

TEST(Limits, MetricNames) {
  std::vector<Case> cases;
  for (std::string name :
       {"step", "round", "tokens", "seconds", "grad_norm", "learning_rate"})
    cases.push_back({"metric " + name + " = 1",
                     "10:8: error: '" + name +
                         "' is in every line of the metrics: give this metric "
                         "another name"});
  cases.push_back({"every 2 steps { metric m = 1 }\nmetric m = 2",
                   "11:8: error: a second metric 'm' in stage 's'"});
  cases.push_back(
      {"loss a { metric m = 1; minimize batch.mean(logp(actor, o)) }\n"
       "loss b { metric m = 1; minimize batch.mean(logp(actor, o)) }\n"
       "update(actor, a, adamw(lr = 1))\nupdate(actor, b, adamw(lr = 1))",
       "11:17: error: a second metric 'm' in stage 's': give one of them "
       "another name"});
  expectErrors(cases, true);
  Compiled both = compile(inStage("metric m = 1\nmetric m = 2"));
  EXPECT_NE(both.diagnostics.find("t.r1:10:8: note: the first is here"),
            std::string::npos)
      << both.diagnostics;
  // The same loss in two updates, and the same name in two stages.
  Compiled good =
      compile(inStage("update(actor, losses.grpo(actor, o, 1), adamw(lr = 1))\n"
                      "update(actor, losses.grpo(actor, o, 1), adamw(lr = 1))\n"
                      "metric m = 1") +
              "stage t(rounds = 1) { metric m = 1 }\n");
  EXPECT_TRUE(good.ok) << good.diagnostics;
}

} // namespace
