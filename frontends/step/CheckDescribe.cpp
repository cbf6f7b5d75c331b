//===- CheckDescribe.cpp - what a declaration describes: policies, data ---===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/Checker.h"
#include "llvm/Support/Regex.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::step;
using llvm::SMLoc;
using llvm::Twine;

/// What is built from names and constants: policies, data sets, templates,
/// programs, tokenizers.
Meaning Checker::callDescription(StringRef name, const Expr &expr, Env &env) {
  if (name == "mix")
    return describeMix(expr, env);
  if (name == "jsonl")
    return describeJsonl(expr, env);
  Meaning value;
  value.kind = Meaning::description;
  value.name = name.str();
  value.loc = expr.start;
  std::vector<StringRef> params, required;
  size_t positional = 1;
  if (name == "chat")
    params = {"text", "system"}, required = {"text"};
  else if (name == "file")
    params = {"path"}, required = {"path"};
  else if (name == "characters")
    params = {"alphabet"}, required = {"alphabet"};
  else if (name == "load")
    params = {"path", "head", "context"}, required = {"path"};
  else if (name == "lora")
    params = {"base", "rank", "alpha", "layers"},
    required = {"base", "rank", "alpha"};
  else if (name == "program" || name == "library")
    params = {name, "workers", "timeout", "failure"},
    required = {name, "failure"};
  else // llama
    params = {"layers",       "hidden",     "heads",        "kv_heads",
              "intermediate", "context",    "tokenizer",    "vocabulary",
              "head_dim",     "rope_theta", "norm_epsilon", "tied",
              "init"},
    required = {"layers",  "hidden",       "heads",
                "context", "intermediate", "tokenizer"},
    positional = 0;
  BoundArgs args = bind(expr, name, params, required, positional);
  if (!args.ok)
    return Meaning();

  auto text = [&](StringRef field, StringRef stored) {
    const Arg *arg = args.get(field);
    std::optional<std::string> known =
        arg ? constantText(*arg, field, env) : std::nullopt;
    if (known)
      value.fields[stored.str()] = builder.getStringAttr(*known);
    return known.has_value() || !arg;
  };
  auto integer = [&](StringRef field) {
    const Arg *arg = args.get(field);
    std::optional<int64_t> known = arg ? whole(*arg, field, env) : std::nullopt;
    if (known)
      value.fields[field.str()] = builder.getI64IntegerAttr(*known);
    return known.has_value() || !arg;
  };
  auto real = [&](StringRef field, const Limits &limits) {
    if (!args.get(field))
      return true;
    std::optional<double> known = constantWithin(args, field, 0, limits, env);
    if (known)
      value.fields[field.str()] = builder.getF64FloatAttr(*known);
    return known.has_value();
  };

  bool ok = true;
  if (name == "chat") {
    ok = text("text", "text") && text("system", "system");
    value.fields["kind"] = builder.getStringAttr("chat");
  } else if (name == "file") {
    ok = text("path", "text");
    value.fields["kind"] = builder.getStringAttr("file");
  } else if (name == "characters") {
    ok = text("alphabet", "alphabet");
    value.fields["kind"] = builder.getStringAttr("characters");
  } else if (name == "load") {
    ok = text("path", "path") && integer("context");
    Meaning head = argument(args, "head", env);
    if (args.get("head") &&
        (head.kind != Meaning::word || head.name != "scalar"))
      return head.isError()
                 ? Meaning()
                 : fail(head.loc, "the head of a policy is 'scalar', "
                                  "or left out");
    value.fields["head"] =
        builder.getStringAttr(args.get("head") ? "scalar" : "vocabulary");
  } else if (name == "lora") {
    Meaning base = argument(args, "base", env);
    if (base.kind != Meaning::policy)
      return base.isError() ? Meaning()
                            : fail(base.loc, "lora(...) adapts a policy, not " +
                                                 describe(base));
    value.fields["of"] = FlatSymbolRefAttr::get(&context, base.name);
    ok = integer("rank") && real("alpha", positive);
    SmallVector<Attribute> layers;
    Meaning list = argument(args, "layers", env);
    if (args.get("layers") && list.kind != Meaning::list)
      return list.isError()
                 ? Meaning()
                 : fail(list.loc,
                        "'layers' is a list of texts, not " + describe(list));
    for (const Meaning &item : list.items) {
      if (!item.isText() || !item.constant)
        return fail(item.loc, "'layers' is a list of texts");
      layers.push_back(builder.getStringAttr(*item.constant));
    }
    value.fields["layers"] = builder.getArrayAttr(layers);
  } else if (name == "program" || name == "library") {
    ok = text(name, name) && integer("workers") && real("timeout", positive);
    Meaning failure = argument(args, "failure", env);
    if (failure.isError())
      return Meaning();
    if (failure.isText() && failure.constant) {
      value.fields["failure"] = builder.getStringAttr(*failure.constant);
    } else {
      ok &= real("failure", finite);
    }
  } else {
    return describeLlama(args, expr, env);
  }
  return ok ? value : Meaning();
}

/// Rows, positions and token ids are 32-bit numbers, and the cache has rows of
/// several sequences.
static constexpr int64_t largestSize = 1 << 24;

/// Beyond it, products of sizes would leave 64-bit numbers on their way through
/// the compiler. 1 PiB.
static constexpr double largestPolicy = 0x1p50;

/// The weights, and what each layer keeps for each token of one context: a
/// policy takes several times as much.
static double leastBytes(std::map<std::string, int64_t> &size) {
  auto of = [&](const char *field) { return static_cast<double>(size[field]); };
  double heads = 2 * (of("heads") + of("kv_heads")) * of("head_dim");
  double layer = of("hidden") * (heads + 3 * of("intermediate"));
  double kept = of("context") * (of("hidden") + heads + of("intermediate"));
  return 4 * (of("layers") * (layer + kept) + of("hidden") * of("vocabulary"));
}

Meaning Checker::describeLlama(const BoundArgs &args, const Expr &expr,
                               Env &env) {
  Meaning value;
  value.kind = Meaning::description;
  value.name = "llama";
  value.loc = expr.start;
  std::map<std::string, int64_t> size;
  for (StringRef field : {"layers", "hidden", "heads", "kv_heads",
                          "intermediate", "context", "vocabulary", "head_dim"})
    if (const Arg *arg = args.get(field)) {
      std::optional<int64_t> known = whole(*arg, field, env);
      if (!known)
        return Meaning();
      if (*known > largestSize)
        return fail(arg->value->start, "'" + field + "' is at most " +
                                           Twine(largestSize) + ", not " +
                                           Twine(*known));
      size[field.str()] = *known;
    }
  auto otherwise = [&](const char *field, int64_t fallback) {
    size.emplace(field, fallback);
  };
  otherwise("kv_heads", size["heads"]);
  if (size["heads"] % size["kv_heads"])
    return fail(args.get("kv_heads")->loc,
                "'heads' is a multiple of 'kv_heads'");
  if (!size.count("head_dim")) {
    if (size["hidden"] % size["heads"])
      return fail(args.get("heads")->loc,
                  "'hidden' is a multiple of 'heads', or 'head_dim' is given");
    size["head_dim"] = size["hidden"] / size["heads"];
  }
  if (size["head_dim"] % 2)
    return fail(expr.loc, "'head_dim' is even, not " + Twine(size["head_dim"]) +
                              ": rotary embedding turns pairs");
  // The kernels of attention are built for the width of a head.
  if (constexpr int64_t widest = 512; size["head_dim"] > widest)
    return fail(expr.loc, "'head_dim' is at most " + Twine(widest) + ", not " +
                              Twine(size["head_dim"]) +
                              ": write more heads, or head_dim = ...");
  Meaning tokenizer = argument(args, "tokenizer", env);
  if (tokenizer.isError())
    return Meaning();
  if (tokenizer.kind == Meaning::description &&
      tokenizer.name == "characters") {
    std::string alphabet = cast<StringAttr>(tokenizer.fields["alphabet"]).str();
    if (alphabet.empty())
      return fail(tokenizer.loc,
                  "characters(...) takes at least one character");
    std::set<char> letters;
    for (char c : alphabet) {
      if (static_cast<unsigned char>(c) >= 128)
        return fail(tokenizer.loc, "characters(...) takes ASCII characters");
      if (!letters.insert(c).second)
        return fail(tokenizer.loc, Twine("characters(...) has '") +
                                       StringRef(&c, 1) +
                                       "' twice: one token a character");
    }
    // One token a character, after the end token, whose id is 0.
    int64_t vocabulary = alphabet.size() + 1;
    otherwise("vocabulary", vocabulary);
    if (size["vocabulary"] != vocabulary)
      return fail(args.get("vocabulary")->loc,
                  "this tokenizer has " + Twine(vocabulary) +
                      " tokens: leave 'vocabulary' out");
  } else if (tokenizer.isText() && tokenizer.constant) {
    if (!size.count("vocabulary"))
      return fail(tokenizer.loc,
                  "a policy with the tokenizer of a directory needs "
                  "'vocabulary', its number of tokens ('vocab_size' in " +
                      Twine(*tokenizer.constant) + "/config.json)");
    tokenizer.fields["kind"] = builder.getStringAttr("huggingface");
    tokenizer.fields["path"] = builder.getStringAttr(*tokenizer.constant);
  } else {
    return fail(tokenizer.loc, "a tokenizer is characters(\"...\") or the "
                               "directory of one, not " +
                                   describe(tokenizer));
  }
  if (double bytes = leastBytes(size); bytes > largestPolicy)
    return fail(expr.loc,
                "a policy of this shape takes " + printed(bytes) +
                    " bytes and more, which no machine has: look at layers, "
                    "hidden, intermediate and context");
  for (const auto &[field, known] : size)
    value.fields[field] = builder.getI64IntegerAttr(known);
  SmallVector<NamedAttribute> fields;
  for (const auto &[field, attribute] : tokenizer.fields)
    fields.push_back(builder.getNamedAttr(field, attribute));
  value.fields["tokenizer"] = builder.getDictionaryAttr(fields);
  struct Field {
    const char *name;
    double fallback;
    const Limits &limits;
  };
  for (const Field &field : {Field{"rope_theta", 10000.0, positive},
                             {"norm_epsilon", 1e-5, notNegative},
                             {"init", 0.02, notNegative}}) {
    std::optional<double> known =
        constantWithin(args, field.name, field.fallback, field.limits, env);
    if (!known)
      return Meaning();
    value.fields[field.name] = builder.getF64FloatAttr(*known);
  }
  bool tied = true;
  if (const Arg *arg = args.get("tied")) {
    std::optional<double> given = constant(*arg, "tied", env);
    if (!given)
      return Meaning();
    tied = *given != 0;
  }
  value.fields["tied"] = builder.getBoolAttr(tied);
  return value;
}

/// How many columns a template names; of a file's, which is read when the run
/// begins, one is taken for granted.
unsigned Checker::columnsNamed(DictionaryAttr promptTemplate) {
  if (promptTemplate.getAs<StringAttr>("kind").getValue() == "file")
    return 1;
  static const llvm::Regex column("\\{[A-Za-z_][A-Za-z_0-9]*\\}");
  StringRef text = promptTemplate.getAs<StringAttr>("text").getValue();
  unsigned count = 0;
  SmallVector<StringRef> found;
  for (; column.match(text, &found); ++count)
    text = text.substr(found[0].end() - text.begin());
  return count;
}

/// Whether each { of a template has its }: "{question" would be put before the
/// model as it stands.
static bool isBalanced(StringRef text) {
  int64_t open = 0;
  for (char c : text) {
    open += (c == '{') - (c == '}');
    if (open < 0)
      return false;
  }
  return open == 0;
}

/// `"{question}"`, `chat("{question}")`, `file("t.txt")` as a dictionary.
Attribute Checker::promptTemplate(const Meaning &value) {
  SmallVector<NamedAttribute> fields;
  if (value.isText() && value.constant) {
    fields.push_back(
        builder.getNamedAttr("kind", builder.getStringAttr("plain")));
    fields.push_back(
        builder.getNamedAttr("text", builder.getStringAttr(*value.constant)));
  } else if (value.kind == Meaning::description &&
             (value.name == "chat" || value.name == "file")) {
    for (const auto &[field, attribute] : value.fields)
      fields.push_back(builder.getNamedAttr(field, attribute));
  } else {
    fail(value.loc,
         "a template is a text, chat(\"...\") or file(\"...\"), not " +
             describe(value));
    return {};
  }
  DictionaryAttr result = builder.getDictionaryAttr(fields);
  if (result.getAs<StringAttr>("kind") != builder.getStringAttr("file"))
    for (StringRef field : {"text", "system"})
      if (auto text = result.getAs<StringAttr>(field);
          text && !isBalanced(text.getValue())) {
        fail(value.loc, "the braces of this template do not pair: a column is "
                        "named as in \"{question}\"");
        return {};
      }
  return result;
}

Meaning Checker::describeJsonl(const Expr &expr, Env &env) {
  Meaning value;
  value.kind = Meaning::description;
  value.name = "jsonl";
  value.loc = expr.start;
  SmallVector<NamedAttribute> columns;
  for (const auto &[index, arg] : llvm::enumerate(expr.args)) {
    StringRef name = arg.name;
    if (index == 0 && name.empty()) {
      std::optional<std::string> file = constantText(arg, "file", env);
      if (!file)
        return Meaning();
      value.fields["file"] = builder.getStringAttr(*file);
      continue;
    }
    if (name.empty())
      return fail(arg.loc, "'jsonl' takes the file by position; write the "
                           "rest by name: answer = text");
    if (name == "prompt" || name == "completion") {
      Meaning given = check(*arg.value, env);
      if (given.isError())
        return Meaning();
      SmallVector<Attribute> templates;
      bool several = name == "completion" && given.kind == Meaning::list;
      for (const Meaning &item : several ? given.items : std::vector{given}) {
        templates.push_back(promptTemplate(item));
        if (!templates.back())
          return Meaning();
      }
      if (templates.empty())
        return fail(arg.loc, "'completion' is a template or several");
      value.fields[name.str()] = name == "prompt"
                                     ? templates.front()
                                     : builder.getArrayAttr(templates);
      continue;
    }
    if (name == "prompt_ids" || name == "ids" || name == "logp") {
      std::optional<std::string> column = constantText(arg, name, env);
      if (!column)
        return Meaning();
      value.fields[name.str()] = builder.getStringAttr(*column);
      continue;
    }
    if (name == "temperature") {
      std::optional<double> known = constant(arg, name, env);
      if (!known)
        return Meaning();
      if (!positive.hold(*known))
        return fail(arg.value->start,
                    "'temperature' is that of the log-probabilities in the "
                    "file: above 0");
      value.fields[name.str()] = builder.getF64FloatAttr(*known);
      continue;
    }
    static const StringRef fields[] = {"last", "position", "text", "length",
                                       "truncated"};
    if (llvm::is_contained(fields, name))
      return fail(arg.loc, "'" + name +
                               "' is a field of every output and "
                               "cannot be a column");
    Meaning kind = check(*arg.value, env);
    if (kind.isError())
      return Meaning();
    if (kind.kind != Meaning::word ||
        (kind.name != "text" && kind.name != "number" && kind.name != "flag"))
      return fail(arg.value->start, "a column is text, number or flag: write " +
                                        name + " = text");
    columns.push_back(
        builder.getNamedAttr(name, builder.getStringAttr(kind.name)));
  }
  if (!value.fields.count("file"))
    return fail(expr.loc, "'jsonl' needs the file");
  bool hasIds = value.fields.count("ids");
  if (hasIds && !value.fields.count("prompt_ids"))
    return fail(expr.loc, "'ids' needs 'prompt_ids': token ids of another "
                          "engine come with those of their prompt");
  if (hasIds && value.fields.count("completion"))
    return fail(expr.loc, "'ids' and 'completion' both say what was chosen");
  if (!value.fields.count("prompt") && !value.fields.count("prompt_ids"))
    return fail(expr.loc, "'jsonl' needs 'prompt'");
  value.fields["columns"] = builder.getDictionaryAttr(columns);
  return value;
}

Meaning Checker::describeMix(const Expr &expr, Env &env) {
  Meaning value;
  value.kind = Meaning::data;
  value.loc = expr.start;
  value.sets = std::make_shared<DataSets>();
  for (const Arg &arg : expr.args) {
    Meaning item = check(*arg.value, env);
    if (item.isError())
      return Meaning();
    if (arg.name.empty()) {
      if (item.kind != Meaning::data || item.sets->names.size() != 1)
        return fail(item.loc, "'mix' takes data sets, not " + describe(item));
      value.sets->names.push_back(item.sets->names[0]);
      continue;
    }
    if (arg.name != "weights")
      return fail(arg.loc, "'mix' has no parameter '" + Twine(arg.name) + "'" +
                               didYouMean(arg.name, {"weights"}));
    if (item.kind != Meaning::list)
      return fail(item.loc,
                  "'weights' is a list of numbers, not " + describe(item));
    for (const Meaning &weight : item.items) {
      std::optional<double> known =
          weight.isFormula() ? constantOf(weight.node) : std::nullopt;
      if (!known || *known <= 0)
        return fail(weight.loc, "a weight is a constant above 0");
      value.sets->weights.push_back(*known);
    }
  }
  if (value.sets->names.empty())
    return fail(expr.loc, "'mix' needs data sets");
  if (!value.sets->weights.empty() &&
      value.sets->weights.size() != value.sets->names.size())
    return fail(expr.loc, Twine(value.sets->names.size()) + " data sets and " +
                              Twine(value.sets->weights.size()) + " weights");
  return value;
}

/// The learning rate is a formula, evaluated at each update; the rest are
/// constants of the program.
Meaning Checker::callAdamW(const Expr &expr, Env &env) {
  BoundArgs args =
      bind(expr, "adamw",
           {"lr", "beta1", "beta2", "epsilon", "weight_decay", "clip_norm"},
           {"lr"}, 0);
  if (!args.ok)
    return Meaning();
  Meaning value;
  value.kind = Meaning::optimizer;
  value.loc = expr.start;
  value.rate = one(*args.get("lr"), "lr", env);
  if (!value.rate || !within(value.rate, *args.get("lr"), "lr", notNegative))
    return Meaning();
  struct Field {
    const char *name;
    double fallback;
    const Limits &limits;
  };
  for (const Field &field : {Field{"beta1", 0.9, belowOne},
                             {"beta2", 0.999, belowOne},
                             {"epsilon", 1e-8, positive},
                             {"weight_decay", 0.0, notNegative}}) {
    std::optional<double> known =
        constantWithin(args, field.name, field.fallback, field.limits, env);
    if (!known)
      return Meaning();
    value.fields[field.name] = builder.getF64FloatAttr(*known);
  }
  const Arg *arg = args.get("clip_norm");
  if (arg && check(*arg->value, env).kind != Meaning::none) {
    std::optional<double> given =
        constantWithin(args, "clip_norm", 0, positive, env);
    if (!given)
      return Meaning();
    value.fields["clip_norm"] = builder.getF64FloatAttr(*given);
  }
  return value;
}
