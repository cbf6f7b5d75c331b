//===- ErrorsTest.cpp - what a step file is told when it is wrong ---------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/frontends/step/StepTesting.h"
#include "gtest/gtest.h"

using namespace r1c::step;

namespace {

TEST(Errors, Names) {
  expectErrors(
      {{"a = rewards.acuracy(o)\n metric m = rollout.mean(a)",
        "10:13: error: 'rewards' has no 'acuracy'; did you mean 'accuracy'?"},
       {"a = rward(o)", "10:5: error: unknown name 'rward'"},
       {"metric m = rollout.mean(lenght)", "unknown name 'lenght'"},
       {"metric m = a\n a = 1", "10:12: error: unknown name 'a' here: it gets "
                                "its value further down, on line 11"},
       {"a = 1\n metric m = rollout.tokens", "10:1: error: 'a' is never used"},
       {"step = 1", "10:1: error: 'step' is built in and cannot be a name"},
       {"token = 1", "10:1: error: 'token' is an axis and cannot be a name"},
       {"actor = 1\n metric m = actor", "10:1: error: 'actor' is already the "
                                        "name of a policy, given on line 4"},
       {"a = 1\n a = 2\n metric m = a",
        "11:2: error: 'a' is already the name of a value, given on line 10"},
       {"a = logp\n metric m = a", "'logp' is a function: write logp(...)"},
       {"metric m = 1\n metric m = 2",
        "11:9: error: a second metric 'm' in stage 's'"},
       {"every 2 steps { a = 1 }", "10:17: error: 'a' is never used"},
       {"loss l(x, y) { minimize batch.mean(logp(actor, o) * x) }\n"
        "update(actor, l(1, 2), adamw(lr = 1))",
        "10:11: error: 'y' is never used"}},
      true);
  expectErrors(
      {{"fn min(a) = a", "8:4: error: 'min' is built in"},
       {"fn f(a, b) = a", "8:9: error: 'b' is never used"},
       {"fn f(a) { b = 1; return a }", "8:11: error: 'b' is never used"},
       {"fn f(rm) = rm", "8:6: error: 'rm' is already the name of a policy"},
       {"fn f(a) = a + nothing", "8:15: error: unknown name 'nothing'"},
       {"import reward", "8:8: error: no file 'reward.r1', and r1c ships no "
                         "library 'reward'; did you mean 'rewards'?"},
       {"stage a(steps = 1) { }\nstage a(steps = 1) { }",
        "9:7: error: a second stage 'a'"},
       {"param rm = 1", "8:7: error: 'rm' is already the name of a policy"}},
      false);
}

TEST(Errors, MissingImport) {
  EXPECT_NE(compile("fn f(a) = advantages.center(a)\n")
                .diagnostics.find("1:11: error: unknown name 'advantages'; "
                                  "write 'import advantages' at the top"),
            std::string::npos);
}

/// A statement that cannot be read reads nothing: no names are looked for.
TEST(Errors, SyntaxComesFirst) {
  std::string text = compile("param a = 1\nparam b = = a\n").diagnostics;
  EXPECT_NE(text.find("2:11: error: expected a value"), std::string::npos);
  EXPECT_EQ(text.find("never used"), std::string::npos) << text;
}

TEST(Errors, APolicyWithAnErrorIsNotMissedElsewhere) {
  std::string text =
      compile("policy p = llama(layers = 2, hidden = 8, heads = 3, kv_heads = "
              "2, intermediate = 8, context = 8, tokenizer = "
              "characters(\"ab\"))\ndata d = jsonl(\"d.jsonl\", prompt = "
              "\"{q}\", completion = \"{a}\")\nstage s(steps = 1) {\n o = "
              "read(d, groups = 2)\n metric m = rollout.mean(o.length)\n}\n")
          .diagnostics;
  EXPECT_NE(text.find("'kv_heads'"), std::string::npos) << text;
  EXPECT_EQ(text.find("needs a policy"), std::string::npos) << text;
}

TEST(Errors, UnusedDeclarationsAreWarnings) {
  Compiled compiled = compile(
      inStage("update(actor, losses.likelihood(actor, o), adamw(lr = 1e-6))"));
  EXPECT_TRUE(compiled.ok) << compiled.diagnostics;
  EXPECT_NE(
      compiled.diagnostics.find("t.r1:5:8: warning: 'reference' is never used"),
      std::string::npos);
}

TEST(Errors, Declarations) {
  expectErrors(
      {{"policy p = 3", "8:12: error: a policy is load(...), llama(...), "
                        "lora(...) or another policy, not one number"},
       {"policy p = load(3)", "'path' is a text that is known when the file is "
                              "compiled, not one number"},
       {"policy p = load(\"a\", head = 3)", "the head of a policy is 'scalar'"},
       {"policy p = load(\"a\", hed = scalar)",
        "'load' has no parameter 'hed'; did you mean 'head'?"},
       {"policy p = llama(layers = 2)", "'llama' needs 'hidden'"},
       {"policy p = llama(layers = 2, hidden = 30, heads = 4, context = 8, "
        "intermediate = 8, tokenizer = characters(\"ab\"))",
        "'hidden' is a multiple of 'heads', or 'head_dim' is given"},
       {"policy p = llama(layers = 2, hidden = 32, heads = 4, kv_heads = 3, "
        "context = 8, intermediate = 8, tokenizer = characters(\"ab\"))",
        "'heads' is a multiple of 'kv_heads'"},
       {"policy p = llama(layers = 2, hidden = 12, heads = 4, context = 8, "
        "intermediate = 8, tokenizer = characters(\"ab\"))",
        "'head_dim' is even, not 3: rotary embedding turns pairs"},
       {"policy p = llama(layers = 2, hidden = 32, heads = 4, context = 8, "
        "intermediate = 8, tokenizer = characters(\"aba\"))",
        "characters(...) has 'a' twice"},
       {"policy p = llama(layers = 2, hidden = 32, heads = 4, context = 8, "
        "intermediate = 8, tokenizer = \"models/qwen\")",
        "a policy with the tokenizer of a directory needs 'vocabulary'"},
       {"policy p = llama(layers = 2, hidden = 32, heads = 4, context = 8, "
        "intermediate = 8, vocabulary = 9, tokenizer = characters(\"ab\"))",
        "this tokenizer has 3 tokens: leave 'vocabulary' out"},
       {"policy p = llama(layers = 1.5, hidden = 32, heads = 4, context = 8, "
        "intermediate = 8, tokenizer = characters(\"ab\"))",
        "'layers' is a whole number of at least 1, not 1.5"},
       {"policy p = lora(math, rank = 4, alpha = 8)",
        "lora(...) adapts a policy, not a data set"},
       {"data d = actor", "a data set is jsonl(...) or mix(...), not a policy"},
       {"data d = jsonl(\"f\")", "'jsonl' needs 'prompt'"},
       {"data d = jsonl(prompt = \"{q}\")", "'jsonl' needs the file"},
       {"data d = jsonl(\"f\", prompt = 3)", "a template is a text, chat"},
       {"data d = jsonl(\"f\", prompt = \"{q}\", answer = texts)",
        "unknown name 'texts'; did you mean 'text'?"},
       {"data d = jsonl(\"f\", prompt = \"{q}\", answer = 3)",
        "a column is text, number or flag: write answer = text"},
       {"data d = jsonl(\"f\", prompt = \"{q}\", length = number)",
        "'length' is a field of every output and cannot be a column"},
       {"data d = jsonl(\"f\", ids = \"i\", prompt = \"{q}\")",
        "'ids' needs 'prompt_ids'"},
       {"data d = mix(actor)", "'mix' takes data sets, not a policy"},
       {"data d = mix(math, math, weights = [1])", "2 data sets and 1 weights"},
       {"data d = mix(math, weights = [0])", "a weight is a constant above 0"},
       {"param p = actor", "a param is a number or a text, not a policy"},
       {"param p = true", "a param is a number or a text, not one flag"},
       {"extern e(a: txt): number = program(\"x\", failure = 0)",
        "a parameter of an extern is text, number or flag, not 'txt'"},
       {"extern e(a: text): number = program(\"x\")",
        "'program' needs 'failure'"},
       {"extern e(a: text): text = program(\"x\", failure = 0)",
        "'failure' is what a call that hangs or crashes gives: a text"},
       {"stage s(step = 3) { }",
        "a stage has no parameter 'step'; did you mean 'steps'?"},
       {"stage s() { }", "a stage says how long it is"},
       {"stage s(steps = 0) { }",
        "'steps' is a whole number of at least 1, not 0"}},
      false);
  Compiled none = compile(prelude);
  EXPECT_NE(none.diagnostics.find("error: t.r1: has no stage"),
            std::string::npos)
      << none.diagnostics;
}

TEST(Errors, KindsAndAxes) {
  expectErrors(
      {{"metric m = o.length", "10:12: error: a metric is one number; this one "
                               "is a number per sequence: write rollout.mean"},
       {"metric m = rollout.mean(o.text)",
        "'rollout.mean' takes numbers, not a text"},
       {"metric m = rollout.mean(o.length + o.logp)",
        "10:34: error: sequence does not combine with token: write token(...)"},
       {"metric m = rollout.mean(group.mean(o.length) * o.logp)",
        "group does not combine with token: write token(...)"},
       {"metric m = rollout.mean(sequence(o.logp))",
        "'sequence(...)' repeats on a finer axis, but this is per token: "
        "reduce it, with sequence.mean(...)"},
       {"metric m = rollout.mean(token(o.text))",
        "'token(...)' repeats numbers and flags, not a text"},
       {"metric m = rollout.mean(batch(o.length))",
        "'batch' is one number, which combines with every axis"},
       {"metric m = rollout.mean(sequence.mean(o.length))",
        "'sequence.mean' reduces a finer axis; this value is per sequence"},
       {"metric m = rollout.mean(1)", "this value is one number already"},
       {"metric m = rollout.men(o.length)",
        "'rollout' has no 'men'; did you mean 'mean'?"},
       {"metric m = rollout.mean(o.length, 2)",
        "'rollout.mean' takes one value"},
       {"metric m = rollout.quantile(o.length)",
        "'rollout.quantile' is written rollout.quantile(x, q)"},
       {"metric m = rollout.quantile(o.length, 2)",
        "a quantile is from 0 to 1"},
       {"metric m = rollout.mean(o.logp where o.truncated)",
        "sequence does not combine with token"},
       {"metric m = rollout.mean(o.logp where o.length)",
        "'where' is a flag per token, not a number per sequence"},
       {"metric m = batch.mean(o.length)",
        "'batch.mean' exists only in a loss: outside, write rollout.mean"},
       {"metric m = batch.tokens", "'batch.tokens' exists only in a loss"},
       {"metric m = rollout.any(o.length)", "'rollout.any' takes flags"},
       {"metric m = group.suffix_sum(o.logp)",
        "'suffix_sum' runs along a sequence"},
       {"metric m = rollout.mean(sequence.suffix_sum(o.length))",
        "'sequence.suffix_sum' runs over tokens; this is a number per "
        "sequence"},
       {"metric m = sequence.sequences", "a sequence has no sequences"},
       {"metric m = rollout.mean",
        "'rollout.mean' is a reduction: write rollout.mean(...)"},
       {"metric m = rollout.mean(not o.length)",
        "'not' takes a flag, not a number per sequence: write x == 0"},
       {"metric m = rollout.mean(o.length and o.truncated)",
        "'and' takes flags, not a number per sequence: write x != 0"},
       {"metric m = rollout.mean(o.text + 1)", "'+' does not take a text"},
       {"metric m = rollout.mean(o.text == 1)",
        "'==' does not take a text: write number(...)"},
       {"metric m = rollout.mean(1 if o.length else 0)",
        "the condition of a choice is a flag, not a number per sequence"},
       {"metric m = rollout.mean(o.text if o.truncated else 0)",
        "a choice is between numbers, flags or texts, not between a text and "
        "one number"},
       {"metric m = o", "a metric is one number; this one is a set of outputs"},
       {"metric m = actor.length", "a policy has no attributes"},
       {"metric m = o.lenght",
        "o has no field 'lenght'; did you mean 'length'?"},
       {"metric m = -actor", "a number is needed here, not a policy"},
       {"a = 3\n metric m = a(1)", "one number cannot be called"}},
      true);
}

TEST(Errors, Calls) {
  expectErrors(
      {{"metric m = rollout.mean(clip(o.length, 1))",
        "'clip' takes a value, its least and its largest"},
       {"metric m = rollout.mean(exp(o.length, 1))", "'exp' takes one value"},
       {"metric m = rollout.mean(min(o.length))",
        "'min' takes two values or more"},
       {"metric m = rollout.mean(exp(x = o.length))",
        "'exp' takes its values by position"},
       {"metric m = rollout.mean(equal(o.text))", "'equal' needs 'b'"},
       {"metric m = rollout.mean(matches(o.text, o.answer))",
        "a pattern is known when the file is compiled"},
       {"metric m = rollout.mean(count(o.length, \"a\"))",
        "'count' takes a text for 'text', not a number per sequence"},
       {"metric m = rollout.mean(logp(o, o))", "'logp' takes a policy first"},
       {"metric m = rollout.mean(logp(actor, actor))",
        "'logp' takes a set of outputs, not a policy"},
       {"metric m = rollout.mean(logp(rm, o))",
        "'rm' has a scalar head: it gives value(...), not logp(...)"},
       {"metric m = rollout.mean(value(actor, o))",
        "'actor' has no scalar head: write load(..., head = scalar)"},
       {"metric m = rollout.mean(value(rm, o, completion = \"a\"))",
        "'completion' is a text per sequence"},
       {"metric m = update(actor)", "'update' is a statement"},
       {"metric m = sample(actor, math)", "a set of outputs gets a name"},
       {"exp(1)", "10:1: error: this value is not used: give it a name"},
       {"metric m = advantages.zscore(rewards.accuracy(o), 1, 2)",
        "'zscore' takes 2 values by position"},
       {"metric m = rewards.overlong(o, 1)", "'overlong' needs 'buffer'"},
       {"loss l { minimize batch.mean(logp(actor, o)) }\n"
        "update(actor, l(1), adamw(lr = 1))",
        "'l' has no parameters: write it without ( )"}},
      true);
  expectErrors(
      {{"fn f(a) = f(a)\nstage s(steps = 1) { metric m = f(1) }",
        "9:33: error: 'f' calls itself"},
       {"fn f(a) = a + step\npolicy p = llama(layers = f(1), hidden = 4, heads "
        "= 1, context = 8, intermediate = 8, tokenizer = characters(\"a\"))",
        "9:27: error: 'step' exists only in a stage"}},
      false);
}

/// An error in a template points at the use and names the inner line.
TEST(Errors, InTemplates) {
  Compiled compiled = compile(
      inStage("update(actor, losses.grpo(actor, o, o.text), adamw(lr = 1))"));
  EXPECT_NE(compiled.diagnostics.find("t.r1:10:15: error: 'token(...)' repeats "
                                      "numbers and flags, not a text\n"
                                      "update(actor, losses.grpo("),
            std::string::npos)
      << compiled.diagnostics;
  EXPECT_NE(compiled.diagnostics.find(
                "note: in 'grpo', here\n  gain  = surrogate(ratio, token("),
            std::string::npos)
      << compiled.diagnostics;
}

TEST(Errors, Sets) {
  expectErrors(
      {{"p = sample(actor, math, group = 4, max_new_tokens = 3)",
        "'sample' has no parameter 'group'; did you mean 'groups'?"},
       {"p = sample(actor, math, groups = 4)",
        "'sample' needs 'max_new_tokens'"},
       {"p = sample(math, actor, groups = 4, max_new_tokens = 3)",
        "'sample' takes a policy first, not a data set"},
       {"p = sample(actor, o, groups = 4, max_new_tokens = 3)",
        "data is needed here, not a set of outputs"},
       {"p = sample(rm, math, groups = 4, max_new_tokens = 3)",
        "'rm' has a scalar head and writes no tokens"},
       {"p = sample(actor, math, groups = 0, max_new_tokens = 3)",
        "'groups' is a whole number of at least 1, not 0"},
       {"p = sample(actor, math, groups = rollout.max(o.length), "
        "max_new_tokens = 3)",
        "'groups' is a size: it depends on constants, params and the step "
        "only"},
       {"p = sample(actor, math, groups = o.length, max_new_tokens = 3)",
        "'groups' is one number, not a number per sequence"},
       {"p = sample(actor, math, groups = 4, max_new_tokens = 3, top_p = 2)",
        "'top_p' is above 0 and at most 1, not 2"},
       {"p = sample(actor, math, groups = 4, max_new_tokens = 3, temperature = "
        "0 - 1)",
        "'temperature' is at least 0, not -1"},
       {"p = sample(actor, math, groups = 4, max_new_tokens = 3, tries = 2)",
        "'tries' needs a 'where'"},
       {"p = sample(actor, math, groups = 4, max_new_tokens = 3, stop = 2)",
        "'stop' is a list of texts"},
       {"p = sample(actor, math, groups = 4, max_new_tokens = 3) where p.last",
        "'where' keeps groups or sequences"},
       {"p = sample(actor, math, groups = 4, max_new_tokens = 3) where "
        "o.truncated",
        "'where' judges 'p', not values of 'o'"},
       {"p = sample(actor, math, groups = 4, max_new_tokens = 3) where "
        "sequence.mean(logp(actor, p)) > 0",
        "a condition speaks of the outputs, not of what policies say"},
       {"p = o.length where o.truncated\n metric m = rollout.mean(p)",
        "'where' belongs to sample, read, write and reductions"},
       {"p = read(math, groups = 4, order = \"random\")",
        "'order' is \"shuffled\" or \"file\""}},
      true);
  expectErrors(
      {{"data d = jsonl(\"f\", prompt = \"{q}\")\nstage s(steps = 3) {\n"
        " o = read(d, groups = 2)\n metric m = rollout.mean(o.length)\n}",
        "'d' holds no completions to read"},
       {"stage s(steps = 320) {\n o = sample(actor, math, groups = 2, "
        "max_new_tokens = 300 - step)\n metric m = rollout.mean(o.length)\n}",
        "'max_new_tokens' is a whole number of at least 1, not 0 (at step "
        "300)"},
       {"stage s(steps = 3) { metric m = step }",
        "8:9: error: this stage never ends: a step is an update, and it has "
        "none"},
       {"stage s(epochs = 3) {\n o = sample(actor, math, groups = 2, "
        "max_new_tokens = 3 + step)\n metric m = rollout.mean(o.length)\n}",
        "9:55: error: 'max_new_tokens' depends on the step, whose last is not "
        "known here"},
       {"policy a = llama(layers = 1, hidden = 8, heads = 1, context = 8, "
        "intermediate = 8, tokenizer = characters(\"ab\"))\n"
        "policy b = llama(layers = 1, hidden = 8, heads = 1, context = 8, "
        "intermediate = 8, tokenizer = characters(\"abc\"))\n"
        "stage s(steps = 3) {\n o = sample(a, math, groups = 2, "
        "max_new_tokens = 3)\n metric m = rollout.mean(logp(b, o))\n}",
        "12:26: error: 'b' has another tokenizer than 'a', which sampled 'o'"}},
      false);
}

TEST(Errors, Statements) {
  expectErrors(
      {{"o := actor", "':=' copies weights into a policy, not into a set of "
                      "outputs: values are given once"},
       {"actor := o", "':=' copies the weights of a policy"},
       {"actor := rm", "'actor' and 'rm' have different heads"},
       {"every 0 steps { actor := reference }",
        "'every' takes a whole number of at least 1"},
       {"every step steps { actor := reference }",
        "'every' takes a whole number of at least 1"},
       {"save(o, \"x\")", "'save' takes a policy, not a set of outputs"},
       {"save(actor, \"x\", best = o.length)",
        "'best' is one number, not a number per sequence"},
       {"write(actor, o)", "'write' takes a declared data set"},
       {"write(math, actor)", "'write' takes a set of outputs"},
       {"write(math, o where o.last)",
        "'where' is a flag per sequence of 'o', not a flag per token"}},
      true);
}

TEST(Errors, Updates) {
  const std::string good = "adamw(lr = 1e-6))";
  std::vector<std::pair<std::string, const char *>> cases = {
      {"update(o, losses.likelihood(actor, o), " + good,
       "'update' takes a policy first"},
      {"update(actor, o, " + good, "'update' takes a loss, not a set"},
      {"update(actor, losses.likelihood, " + good,
       "'update' takes a loss, not a loss without its arguments"},
      {"update(actor, losses.likelihood(actor, o), 3)",
       "'update' takes an optimizer, adamw(...), not one number"},
      {"update(actor, losses.likelihood(actor, o), adamw(lr = o.length))",
       "'lr' is one number"},
      {"update(actor, losses.likelihood(actor, o), adamw(beta1 = 0.9))",
       "'adamw' needs 'lr'"},
      {"update(actor, losses.likelihood(actor, o), adamw(lr = 1, clip_norm = "
       "0))",
       "'clip_norm' is above 0"},
      {"update(actor, losses.likelihood(actor, o), adamw(lr = 1, beta1 = "
       "step))",
       "'beta1' is known when the file is compiled"},
      {"update(actor, losses.likelihood(actor, o), adamw(lr = 1), split = "
       "token)",
       "'split' is group or sequence"},
      {"update(actor, losses.likelihood(actor, o), adamw(lr = 1), minibatches "
       "= 5)",
       "5 minibatches of 4 groups: write at most 4, more groups, or split = "
       "sequence"},
      {"update(actor, losses.likelihood(actor, o), adamw(lr = 1), minibatches "
       "= 17, split = sequence)",
       "17 minibatches of 16 sequences: write at most 16, or more of them"},
      {"update(actor, losses.likelihood(actor, o), adamw(lr = 1), minibatches "
       "= 17)",
       "17 minibatches of 4 groups: write at most 4, or more of them"},
      {"loss l { minimize o.text }\nupdate(actor, l, " + good,
       "a loss is a number, not a text"},
      {"loss l { minimize 1 }\nupdate(actor, l, " + good,
       "this loss reads no outputs"},
      {"p = sample(actor, math, groups = 4, max_new_tokens = 3)\nloss l { "
       "minimize batch.mean(logp(actor, o)) + batch.mean(logp(actor, p)) "
       "}\nupdate(actor, l, " +
           good,
       "a loss reads one set of outputs; this one reads 'o' and 'p'"},
      {"loss l { minimize batch.mean(stop(logp(actor, o))) }\nupdate(actor, "
       "l, " +
           good,
       "11:1: error: the loss does not depend on actor"},
      {"loss l { minimize batch.mean(logp(actor, o) > 0) }\nupdate(actor, l, " +
           good,
       "11:1: error: the loss does not depend on actor"},
      {"loss l { minimize batch.quantile(logp(actor, o), 0.5) }\nupdate(actor, "
       "l, " +
           good,
       "11:1: error: the loss does not depend on actor"},
      {"loss l { minimize batch.mean(logp(reference, o)) }\nupdate(actor, l, " +
           good,
       "11:1: error: the loss does not depend on actor"},
      {"loss l { minimize batch.mean(logp(actor, o) * step) - "
       "rollout.mean(o.length * step) }\nupdate(actor, l, " +
           good,
       "'rollout.mean' of a value that changes with every update"},
      {"g = group.mean(o.length)\nloss l { minimize batch.mean(logp(actor, o) "
       "* "
       "token(g)) }\nupdate(actor, l, adamw(lr = 1), split = sequence)",
       "11:47: error: groups are torn by split = sequence"},
      {"loss l { minimize batch.mean(logp(actor, o)) / "
       "batch.mean(group.sequences) "
       "}\nupdate(actor, l, adamw(lr = 1), split = sequence)",
       "groups are torn by split = sequence"},
      {"update(actor, losses.grpo(actor, o, 1, beta = 0.1), " + good,
       "'logp' takes a policy first, not 'none'"}};
  for (const auto &[text, error] : cases) {
    expectErrors(Case{text, error}, true);
  }
}

TEST(Errors, SeveralInOneRun) {
  Compiled compiled =
      compile(inStage("metric a = o.lenght\nmetric b = o.txt\nmetric c = "
                      "rollout.men(o.length)"));
  for (const char *place : {"t.r1:10:", "t.r1:11:", "t.r1:12:"})
    EXPECT_NE(compiled.diagnostics.find(place), std::string::npos)
        << compiled.diagnostics;
}

/// What has failed is not reported again where it is read.
TEST(Errors, DoNotCascade) {
  Compiled compiled = compile(inStage("a = o.lenght\nb = a + 1\nmetric m = "
                                      "rollout.mean(b)"));
  size_t first = compiled.diagnostics.find(": error: ");
  EXPECT_EQ(compiled.diagnostics.find(": error: ", first + 1),
            std::string::npos)
      << compiled.diagnostics;
}

TEST(Errors, Overrides) {
  std::string text =
      "param lr = 1\n" + prelude + "stage s(rounds = 3) { metric m = lr }\n";
  EXPECT_NE(compile(text, {{"lrr", "1"}})
                .diagnostics.find("--set lrr: there is no such param; did you "
                                  "mean 'lr'?"),
            std::string::npos);
  EXPECT_NE(compile(text, {{"temperature", "1"}})
                .diagnostics.find("there is no such param; there are lr"),
            std::string::npos);
  EXPECT_NE(compile(text, {{"lr", "\"a\""}})
                .diagnostics.find("param 'lr' is a number, not a text"),
            std::string::npos);
  EXPECT_NE(
      compile(text, {{"lr", "1 2"}})
          .diagnostics.find("--set lr:1:3: error: expected the end of the "
                            "value, found '2'"),
      std::string::npos);
  EXPECT_TRUE(compile(text, {{"lr", "1e-3 / 2"}}).ok);
}

} // namespace
