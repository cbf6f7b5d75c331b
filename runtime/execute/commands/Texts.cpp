//===- Texts.cpp - text functions and externs as commands -----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/execute/Session.h"
#include "runtime/reward/Extern.h"
#include "runtime/reward/TextFunctions.h"

namespace r1c::runtime {

namespace {

/// One argument, resolved to where its values come from.
struct Source {
  enum Kind { text, field, constant, numbers, literal } kind;
  int64_t number = 0; ///< text id, or set
  std::string name;   ///< field, or the constant itself
  Range range;
  double value = 0;

  bool isText() const {
    return kind == text || kind == field || kind == constant;
  }
};

/// The values of an argument on every row of a call.
struct Values {
  std::vector<std::string> texts;
  std::vector<double> numbers;
  bool isText, one;

  TextArgument at(int64_t row) const {
    size_t index = one ? 0 : static_cast<size_t>(row);
    TextArgument argument;
    argument.isText = isText;
    if (isText)
      argument.text = texts[index];
    else
      argument.number = numbers[index];
    return argument;
  }
};

class TextCommand : public Command {
public:
  TextCommand(Loader &loader, const Fields &fields)
      : set(loader.set(fields)), axis(fields.text("axis", "sequence")),
        where(loader.memory.optional(fields, "where")),
        to(loader.memory.optional(fields, "to")), id(fields.integer("id", -1)) {
    if (axis != "sequence" && axis != "group" && axis != "one")
      throw Error(fields.where(), ": texts have no axis '", axis, "'");
    if (!to && id < 0)
      throw Error(fields.where(), ": neither 'to' nor 'id' takes the result");
    const Json &args = fields.array("args");
    for (size_t i = 0; i < args.size(); ++i)
      sources.push_back(
          load(loader, args[i], concat(fields.where(), ".args[", i, "]")));
  }

protected:
  Source load(Loader &loader, const Json &json, const std::string &place) {
    if (json.is_number())
      return {Source::literal, 0, "", {}, json.get<double>()};
    Fields fields(json, place);
    if (fields.has("text"))
      return {Source::text, fields.integer("text"), "", {}, 0};
    if (fields.has("field"))
      return {Source::field,
              fields.integer("set", set),
              fields.text("field"),
              {},
              0};
    if (fields.has("constant"))
      return {Source::constant, 0, fields.text("constant"), {}, 0};
    return {Source::numbers, 0, "",
            within([&] { return place; },
                   [&] { return loader.memory.range(json); }),
            0};
  }

  int64_t rows(Session &session) const {
    if (axis == "one")
      return 1; // of no set
    const Axes &axes = session.set(set).whole;
    return axis == "sequence" ? axes.sequences() : axes.groups();
  }

  Values values(Session &session, const Source &source, int64_t rows) const {
    Values result;
    result.isText = source.isText();
    result.one = false;
    switch (source.kind) {
    case Source::text:
      result.texts = session.texts(source.number).values;
      break;
    case Source::field:
      result.texts = column(session.set(source.number).outputs, source.name);
      break;
    case Source::constant:
      result.texts = {source.name};
      break;
    case Source::literal:
      result.numbers = {source.value};
      break;
    case Source::numbers:
      // A buffer of one element is one number for all rows.
      result.numbers =
          source.range.read<double>(source.range.size() == 1 ? 1 : rows);
      break;
    }
    size_t have = result.isText ? result.texts.size() : result.numbers.size();
    result.one = have == 1 && rows != 1;
    if (have != 1 && have != static_cast<size_t>(rows))
      throw Error("a text function on ", rows, " rows has an argument of ",
                  have);
    return result;
  }

  /// A text field: by sequence, or by group where the call is.
  std::vector<std::string> column(const OutputSet &outputs,
                                  const std::string &name) const {
    std::vector<std::string> texts;
    int32_t lastGroup = -1;
    for (const Sequence &sequence : outputs.sequences) {
      if (axis == "group" && sequence.group == lastGroup)
        continue;
      lastGroup = sequence.group;
      const Row &row = *outputs.groupOf(sequence).row;
      if (name == "text") {
        texts.push_back(sequence.text);
      } else if (name == "prompt") {
        texts.push_back(row.prompt);
      } else {
        const Json &line = outputs.lineOf(sequence);
        auto at = line.find(name);
        if (at == line.end() || !at->is_string())
          throw Error(outputs.originOf(sequence), ": no text column '", name,
                      "'");
        texts.push_back(at->get<std::string>());
      }
    }
    return texts;
  }

  /// Which rows are needed; empty: all.
  std::vector<double> mask(int64_t rows) const {
    return where ? where.read<double>(rows) : std::vector<double>();
  }

  void publish(Session &session, std::vector<double> numbers,
               std::vector<std::string> texts, bool givesText) const {
    if (givesText && id < 0)
      throw Error("a text result needs 'id'");
    if (givesText)
      session.textColumns[id].values = std::move(texts);
    else
      to.write(numbers);
  }

  int64_t set;
  std::string axis;
  Range where, to;
  int64_t id;
  std::vector<Source> sources;
};

class Text : public TextCommand {
public:
  Text(Loader &loader, const Fields &fields) : TextCommand(loader, fields) {
    std::string name = fields.text("function");
    function = findTextFunction(name);
    if (!function)
      throw Error("this runtime has no text function '", name, "'");
    std::string letters = function->arguments;
    if (sources.size() < function->required || sources.size() > letters.size())
      throw Error("text function '", name, "' takes ", function->required,
                  letters.size() > function->required ? " or more" : "",
                  " arguments, ", sources.size(), " are given");
    for (size_t i = 0; i < sources.size(); ++i)
      if (letters[i] == 't' && !sources[i].isText())
        throw Error("argument ", i + 1, " of '", name, "' must be a text");
      else if (letters[i] == 'n' && sources[i].isText())
        throw Error("argument ", i + 1, " of '", name, "' must be a number");
    if (!function->givesText && !to)
      throw Error("text function '", name, "' gives a number: 'to' is missing");
  }

  void run(Session &session) override {
    int64_t count = rows(session);
    std::vector<Values> arguments;
    for (const Source &source : sources)
      arguments.push_back(values(session, source, count));
    std::vector<double> needed = mask(count);
    std::vector<double> numbers(count);
    std::vector<std::string> texts(function->givesText ? count : 0);
    std::vector<TextArgument> row(arguments.size());
    for (int64_t r = 0; r < count; ++r) {
      if (!needed.empty() && needed[r] == 0)
        continue;
      for (size_t a = 0; a < arguments.size(); ++a)
        row[a] = arguments[a].at(r);
      TextResult result;
      function->evaluate(row, result);
      numbers[r] = result.number;
      if (function->givesText)
        texts[r] = std::move(result.text);
    }
    publish(session, std::move(numbers), std::move(texts), function->givesText);
  }

private:
  const TextFunction *function;
};

class ExternCall : public TextCommand {
public:
  ExternCall(Loader &loader, const Fields &fields)
      : TextCommand(loader, fields),
        metric("externs/" + fields.text("callee") + "/failures"),
        pool(loader.session.externPool(fields.text("callee"))) {}

  void run(Session &session) override {
    int64_t count = rows(session);
    std::vector<Values> arguments;
    for (const Source &source : sources)
      arguments.push_back(values(session, source, count));
    std::vector<double> needed = mask(count);
    std::vector<Json> questions;
    std::vector<int64_t> askedRows;
    for (int64_t r = 0; r < count; ++r) {
      if (!needed.empty() && needed[r] == 0)
        continue;
      Json question = Json::array();
      for (const Values &value : arguments) {
        TextArgument argument = value.at(r);
        if (argument.isText)
          question.push_back(std::string(argument.text));
        else
          question.push_back(argument.number);
      }
      questions.push_back(std::move(question));
      askedRows.push_back(r);
    }
    if (session.collective().size() > 1)
      askTogether(session, questions);
    std::vector<Json> answers =
        pool.ask(questions, session.round, [&](const std::string &text) {
          session.recorder().warn(text);
        });
    session.recorder().metric(metric, static_cast<double>(pool.failures()),
                              false);
    std::vector<double> numbers(count);
    std::vector<std::string> texts(count);
    for (size_t i = 0; i < answers.size(); ++i) {
      if (pool.givesText())
        texts[askedRows[i]] = answers[i].get<std::string>();
      else
        numbers[askedRows[i]] = answers[i].is_boolean()
                                    ? answers[i].get<bool>()
                                    : answers[i].get<double>();
    }
    publish(session, std::move(numbers), std::move(texts), pool.givesText());
  }

private:
  /// Each rank asks some of the questions, and all get every answer: a judge
  /// may answer the same question differently.
  void askTogether(Session &session, const std::vector<Json> &questions) {
    std::vector<Json> open = pool.unanswered(questions, session.round);
    Collective &ranks = session.collective();
    auto [from, to] = ranks.share(static_cast<int64_t>(open.size()));
    int64_t failedBefore = pool.failures();
    Json warnings = Json::array();
    Json answers =
        pool.ask({open.begin() + from, open.begin() + to}, session.round,
                 [&](const std::string &text) { warnings.push_back(text); });
    int64_t failed = pool.failures() - failedBefore;
    std::vector<std::string> all = ranks.gather(
        dumpJson(
            {{"answers", answers}, {"failed", failed}, {"warnings", warnings}}),
        {"gather of externs", loc});
    size_t next = 0;
    for (const std::string &text : all) {
      Json json = parseJson(text, "what another rank was answered");
      Fields fields(json, "what another rank was answered");
      for (const Json &answer : fields.array("answers"))
        pool.adopt(open.at(next++), answer);
      pool.addFailures(fields.integer("failed"));
      for (const Json &warning : fields.array("warnings"))
        session.recorder().warn(warning.get<std::string>());
    }
    pool.addFailures(-failed); // its own have been counted twice
  }

  std::string metric;
  ExternPool &pool;
};

template <typename T>
std::unique_ptr<Command> make(Loader &loader, const Fields &fields) {
  return std::make_unique<T>(loader, fields);
}

} // namespace

void registerTexts(std::map<std::string, LoadCommand> &table) {
  table["text"] = make<Text>;
  table["extern_call"] = make<ExternCall>;
}

} // namespace r1c::runtime
