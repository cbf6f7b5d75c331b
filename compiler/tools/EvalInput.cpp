//===- EvalInput.cpp - the values that r1c eval is given ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/EvalInput.h"
#include "frontends/json/Json.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace r1c;
using reference::Axes;
using reference::Column;
using rl::Axis;

namespace json = llvm::json;

static llvm::Error error(const llvm::Twine &message) {
  return llvm::createStringError(message.str());
}

/// Adds one element; false if the JSON value is of another kind.
static bool append(const json::Value &value, Type type, Column &column) {
  if (isa<rl::TextType>(type)) {
    if (auto text = value.getAsString()) {
      column.texts.push_back(text->str());
      return true;
    }
    return false;
  }
  if (auto flag = value.getAsBoolean()) {
    column.numbers.push_back(*flag);
    return true;
  }
  if (auto number = value.getAsNumber()) {
    column.numbers.push_back(*number);
    return true;
  }
  double infinity = std::numeric_limits<double>::infinity();
  double special = llvm::StringSwitch<double>(value.getAsString().value_or(""))
                       .Case("inf", infinity)
                       .Case("-inf", -infinity)
                       .Case("nan", std::nan(""))
                       .Default(0);
  if (special == 0)
    return false;
  column.numbers.push_back(special);
  return true;
}

static llvm::StringRef kindOf(Type type) {
  return isa<rl::TextType>(type)   ? "text"
         : isa<rl::FlagType>(type) ? "flag"
                                   : "number";
}

/// Reads `value`, called `what` in messages, as a column of `type`.
static llvm::Expected<Column> read(const json::Value &value, Type type,
                                   const Axes &axes, const llvm::Twine &what) {
  Axis axis = *rl::getAxis(type);
  Column column;
  auto wrong = [&](const llvm::Twine &expected) {
    return error(what + ": " + expected);
  };
  if (axis == Axis::one) {
    if (!append(value, type, column))
      return wrong("one " + kindOf(type) + " is needed");
    return column;
  }
  const json::Array *list = value.getAsArray();
  int64_t outer = axes.size(axis == Axis::token ? Axis::sequence : axis);
  llvm::StringRef each = axis == Axis::group ? "group" : "sequence";
  if (!list || static_cast<int64_t>(list->size()) != outer)
    return wrong(
        "a list of " + llvm::Twine(outer) + " is needed, one for each " + each +
        (list ? ", not of " + llvm::Twine(list->size()) : llvm::Twine()));
  for (auto [i, element] : llvm::enumerate(*list)) {
    if (axis != Axis::token) {
      if (!append(element, type, column))
        return wrong(each + " " + llvm::Twine(i) + " is no " + kindOf(type));
      continue;
    }
    const json::Array *tokens = element.getAsArray();
    if (!tokens || static_cast<int64_t>(tokens->size()) != axes.tokens[i])
      return wrong("sequence " + llvm::Twine(i) + " needs a list of " +
                   llvm::Twine(axes.tokens[i]) + ", one for each token");
    for (const json::Value &token : *tokens)
      if (!append(token, type, column))
        return wrong("a token of sequence " + llvm::Twine(i) + " is no " +
                     kindOf(type));
  }
  return column;
}

llvm::Expected<EvalInput> EvalInput::parse(llvm::StringRef text) {
  auto parsed = parseJson(text);
  if (!parsed)
    return parsed.takeError();
  json::Object *object = parsed->getAsObject();
  if (!object)
    return error("an object is needed");
  EvalInput input;
  input.json = std::move(*object);
  for (const auto &[key, value] : input.json) {
    llvm::StringRef name = key;
    bool isNumber = name == "step" || name == "steps";
    if (!isNumber && !llvm::is_contained(
                         {"outputs", "logp", "entropy", "value", "let"}, name))
      return error("nothing reads '" + name +
                   "': there are outputs, logp, entropy, value, let, step and "
                   "steps");
    if (isNumber ? !value.getAsNumber() : !value.getAsObject())
      return error("'" + name + "' is " +
                   (isNumber ? "a number" : "an object"));
  }
  return input;
}

/// The sequences of a set.
static llvm::Expected<std::vector<const json::Object *>>
sequencesOf(llvm::StringRef set, const json::Value &value) {
  std::vector<const json::Object *> result;
  const json::Object *object = value.getAsObject();
  const json::Array *list = object ? object->getArray("sequences") : nullptr;
  if (!list)
    return error("outputs." + set + " needs a list 'sequences'");
  for (const json::Value &element : *list) {
    if (!element.getAsObject())
      return error("outputs." + set + ".sequences is a list of objects");
    result.push_back(element.getAsObject());
  }
  return result;
}

llvm::Expected<std::map<std::string, Axes>>
EvalInput::axes(llvm::StringRef updated, llvm::StringRef policy) const {
  std::map<std::string, Axes> result;
  const json::Object *outputs = json.getObject("outputs");
  if (!outputs)
    return error(
        "'outputs' is missing: \"outputs\": {\"" + updated +
        "\": {\"sequences\": [{\"group\": 0, \"logp\": [...]}, ...]}}");
  for (const auto &[key, value] : *outputs) {
    std::string set = key.str();
    auto sequences = sequencesOf(set, value);
    if (!sequences)
      return sequences.takeError();
    Axes &axes = result[set];
    std::vector<int64_t> seen;
    for (auto [i, sequence] : llvm::enumerate(*sequences)) {
      std::string where = "outputs." + set + ", sequence " + std::to_string(i);
      auto group = sequence->getInteger("group");
      if (!group)
        return error(where + " has no whole number 'group'");
      if (seen.empty() || seen.back() != *group) {
        if (llvm::is_contained(seen, *group))
          return error(where + ": the sequences of group " +
                       llvm::Twine(*group) + " must stand together");
        seen.push_back(*group);
      }
      axes.groups.push_back(seen.size() - 1);
      const json::Array *tokens = sequence->getArray("logp");
      for (llvm::StringRef kind : {"logp", "entropy"})
        if (const json::Object *given = json.getObject(kind);
            given && !tokens && set == updated)
          if (const json::Array *all = given->getArray(policy);
              all && i < all->size())
            tokens = (*all)[i].getAsArray();
      auto length = sequence->getInteger("length");
      if (!tokens && !length)
        return error(where + " has neither 'logp' nor 'length': how many "
                             "tokens has it?");
      if (tokens && length && *length != static_cast<int64_t>(tokens->size()))
        return error(where + " has " + llvm::Twine(tokens->size()) +
                     " tokens, but 'length' says " + llvm::Twine(*length));
      axes.tokens.push_back(tokens ? tokens->size() : *length);
    }
  }
  if (!result.count(updated.str()))
    return error("outputs." + updated + " is missing");
  return result;
}

llvm::Expected<std::optional<Column>> EvalInput::field(llvm::StringRef set,
                                                       llvm::StringRef name,
                                                       Type type,
                                                       const Axes &axes) const {
  auto none = std::optional<Column>();
  const json::Object *outputs = json.getObject("outputs");
  const json::Value *value = outputs ? outputs->get(set) : nullptr;
  if (!value)
    return none;
  auto sequences = sequencesOf(set, *value);
  if (!sequences)
    return sequences.takeError();
  json::Array all;
  for (auto [i, sequence] : llvm::enumerate(*sequences)) {
    if (name == "position" || name == "last") {
      json::Array tokens;
      for (int64_t t = 0; t < axes.tokens[i]; ++t)
        tokens.push_back(name == "position"
                             ? json::Value(t)
                             : json::Value(t + 1 == axes.tokens[i]));
      all.push_back(std::move(tokens));
    } else if (name == "length") {
      all.push_back(axes.tokens[i]);
    } else if (const json::Value *given = sequence->get(name)) {
      all.push_back(*given);
    } else {
      return none;
    }
  }
  auto column = read(std::move(all), type, axes, "outputs." + set + "." + name);
  if (!column)
    return column.takeError();
  return std::optional<Column>(std::move(*column));
}

llvm::Expected<std::optional<Column>>
EvalInput::policyValues(llvm::StringRef kind, llvm::StringRef policy, Type type,
                        const Axes &axes) const {
  const json::Object *all = json.getObject(kind);
  const json::Value *given = all ? all->get(policy) : nullptr;
  if (!given)
    return std::optional<Column>();
  auto column = read(*given, type, axes, kind + "." + policy);
  if (!column)
    return column.takeError();
  return std::optional<Column>(std::move(*column));
}

std::optional<double> EvalInput::number(llvm::StringRef name) const {
  if (auto value = json.getNumber(name))
    return *value;
  return std::nullopt;
}

std::vector<std::string> EvalInput::letNames() const {
  std::vector<std::string> names;
  if (const json::Object *let = json.getObject("let"))
    for (const auto &[key, value] : *let)
      names.push_back(key.str());
  return names;
}

llvm::Expected<Column> EvalInput::let(llvm::StringRef name, Type type,
                                      const Axes &axes) const {
  return read(*json.getObject("let")->get(name), type, axes, "let." + name);
}

static json::Value elementToJSON(const Column &column, Type type, size_t i) {
  if (isa<rl::TextType>(type))
    return column.texts[i];
  double number = column.numbers[i];
  if (isa<rl::FlagType>(type))
    return number != 0;
  if (std::isnan(number))
    return "nan";
  if (std::isinf(number))
    return number > 0 ? "inf" : "-inf";
  return number;
}

json::Value r1c::toJSON(const Column &column, Type type, const Axes &axes) {
  Axis axis = *rl::getAxis(type);
  if (axis == Axis::one)
    return elementToJSON(column, type, 0);
  json::Array result;
  if (axis != Axis::token) {
    for (int64_t i = 0; i < axes.size(axis); ++i)
      result.push_back(elementToJSON(column, type, i));
    return result;
  }
  size_t next = 0;
  for (int64_t count : axes.tokens) {
    json::Array tokens;
    for (int64_t t = 0; t < count; ++t)
      tokens.push_back(elementToJSON(column, type, next++));
    result.push_back(std::move(tokens));
  }
  return result;
}
