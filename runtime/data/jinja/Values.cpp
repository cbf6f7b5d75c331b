//===- Values.cpp - what templates compute with ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/jinja/Values.h"
#include <algorithm>
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

namespace r1c::runtime::jinja {

namespace {

[[noreturn]] void cannot(const std::string &what, const Json &value) {
  throw Error(what, " of ", kindOf(value), " is not known");
}

/// A text's code points, which are what Python counts.
std::vector<std::string> charactersOf(const std::string &text) {
  std::vector<std::string> result;
  auto length = static_cast<int32_t>(text.size());
  for (int32_t at = 0; at < length;) {
    int32_t start = at;
    U8_FWD_1(text.data(), at, length);
    result.push_back(text.substr(start, at - start));
  }
  return result;
}

/// What str.strip removes.
bool isSpace(UChar32 point) {
  return u_isUWhiteSpace(point) || (point >= 0x1C && point <= 0x1F);
}

std::string strip(const std::string &text, const std::vector<Json> &arguments,
                  bool left, bool right) {
  if (arguments.size() > 1 ||
      (arguments.size() == 1 && !arguments[0].is_string()))
    throw Error("strip takes one text");
  std::vector<std::string> characters = charactersOf(text), stripped;
  if (!arguments.empty())
    stripped = charactersOf(arguments[0].get<std::string>());
  auto goes = [&](const std::string &character) {
    if (!arguments.empty())
      return std::find(stripped.begin(), stripped.end(), character) !=
             stripped.end();
    UChar32 point;
    int32_t start = 0;
    U8_NEXT(character.data(), start, static_cast<int32_t>(character.size()),
            point);
    return isSpace(point);
  };
  size_t from = 0, to = characters.size();
  while (left && from < to && goes(characters[from]))
    ++from;
  while (right && from < to && goes(characters[to - 1]))
    --to;
  std::string result;
  for (size_t i = from; i < to; ++i)
    result += characters[i];
  return result;
}

std::string replaced(std::string text, const std::vector<Json> &arguments) {
  if (arguments.size() != 2 || !arguments[0].is_string() ||
      !arguments[1].is_string() || arguments[0].get<std::string>().empty())
    throw Error("replace takes two texts");
  auto from = arguments[0].get<std::string>(),
       to = arguments[1].get<std::string>();
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos;
       at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

std::string cased(const std::string &text, bool upper) {
  icu::UnicodeString wide = icu::UnicodeString::fromUTF8(text);
  // The root locale: what a text means must not depend on the machine.
  upper ? wide.toUpper(icu::Locale::getRoot())
        : wide.toLower(icu::Locale::getRoot());
  std::string result;
  return wide.toUTF8String(result);
}

Json split(const std::string &text, const std::vector<Json> &arguments) {
  if (arguments.size() != 1 || !arguments[0].is_string() ||
      arguments[0].get<std::string>().empty())
    throw Error("split is known with one text to split at");
  auto mark = arguments[0].get<std::string>();
  Json result = Json::array();
  size_t at = 0;
  for (size_t end; (end = text.find(mark, at)) != std::string::npos;
       at = end + mark.size())
    result.push_back(text.substr(at, end - at));
  result.push_back(text.substr(at));
  return result;
}

int64_t sizeOf(const Json &value) {
  if (value.is_string())
    return static_cast<int64_t>(charactersOf(value.get<std::string>()).size());
  if (value.is_array() || value.is_object())
    return static_cast<int64_t>(value.size());
  cannot("the length", value);
}

} // namespace

std::string kindOf(const Json &value) {
  switch (value.type()) {
  case Json::value_t::discarded:
    return "what is not defined";
  case Json::value_t::null:
    return "none";
  case Json::value_t::string:
    return "a text";
  case Json::value_t::array:
    return "a list";
  case Json::value_t::object:
    return "a dictionary";
  case Json::value_t::boolean:
    return "a flag";
  default:
    return "a number";
  }
}

bool isTrue(const Json &value) {
  if (!isDefined(value) || value.is_null())
    return false;
  if (value.is_boolean())
    return value.get<bool>();
  if (value.is_number())
    return value.get<double>() != 0;
  return value.is_string() ? !value.get_ref<const std::string &>().empty()
                           : !value.empty();
}

bool equal(const Json &a, const Json &b) {
  if (!isDefined(a) || !isDefined(b))
    return !isDefined(a) && !isDefined(b);
  // In Python a flag is a number.
  auto number = [](const Json &value) {
    return value.is_boolean() ? Json(value.get<bool>() ? 1 : 0) : value;
  };
  return number(a) == number(b);
}

bool contains(const Json &whole, const Json &part) {
  if (whole.is_string() && part.is_string())
    return whole.get<std::string>().find(part.get<std::string>()) !=
           std::string::npos;
  if (whole.is_object() && part.is_string())
    return whole.contains(part.get<std::string>());
  if (!whole.is_array())
    throw Error("'in' ", kindOf(whole), " is not known");
  return std::any_of(whole.begin(), whole.end(),
                     [&](const Json &each) { return equal(each, part); });
}

std::string textOf(const Json &value) {
  if (!isDefined(value))
    return "";
  if (value.is_string())
    return value.get<std::string>();
  if (value.is_number_integer())
    return dumpJson(value);
  if (value.is_boolean())
    return value.get<bool>() ? "True" : "False";
  if (value.is_null())
    return "None";
  cannot("the text", value);
}

Json elementAt(const Json &base, const Json &index) {
  if (base.is_object() && index.is_string()) {
    auto at = base.find(index.get<std::string>());
    return at == base.end() ? undefined() : *at;
  }
  if ((base.is_array() || base.is_string()) && index.is_number_integer()) {
    Json list = base.is_array() ? base : Json(elementsOf(base));
    auto size = static_cast<int64_t>(list.size()), at = index.get<int64_t>();
    at += at < 0 ? size : 0;
    return at < 0 || at >= size ? undefined() : list[at];
  }
  if (!isDefined(base) || base.is_null())
    cannot("an element", base);
  return undefined();
}

Json sliceOf(const Json &base, const Json &from, const Json &to,
             const Json &step) {
  if (!base.is_array() && !base.is_string())
    cannot("a slice", base);
  std::vector<Json> list = elementsOf(base);
  auto size = static_cast<int64_t>(list.size());
  auto number = [](const Json &value, int64_t otherwise) {
    if (!isDefined(value) || value.is_null())
      return otherwise;
    if (!value.is_number_integer())
      throw Error("a slice's bound is ", kindOf(value));
    return value.get<int64_t>();
  };
  int64_t stride = number(step, 1);
  if (stride == 0)
    throw Error("a slice's step is 0");
  bool back = stride < 0;
  auto bound = [&](const Json &value, int64_t otherwise) {
    int64_t at = number(value, INT64_MAX);
    if (at == INT64_MAX)
      return otherwise;
    at += at < 0 ? size : 0;
    return std::clamp<int64_t>(at, back ? -1 : 0, back ? size - 1 : size);
  };
  int64_t first = bound(from, back ? size - 1 : 0),
          last = bound(to, back ? -1 : size);
  Json result = Json::array();
  for (int64_t at = first; back ? at > last : at < last; at += stride)
    result.push_back(list[at]);
  return base.is_array() ? result : applyFilter("join", result, {});
}

std::vector<Json> elementsOf(const Json &value) {
  if (!isDefined(value)) // Jinja's undefined is empty
    return {};
  if (value.is_array())
    return {value.begin(), value.end()};
  if (value.is_string()) {
    std::vector<std::string> list = charactersOf(value.get<std::string>());
    return {list.begin(), list.end()};
  }
  cannot("a loop over the elements", value);
}

Json arithmetic(const std::string &operation, const Json &a, const Json &b) {
  if (operation == "~")
    return textOf(a) + textOf(b);
  if (operation == "+" && a.is_string() && b.is_string())
    return a.get<std::string>() + b.get<std::string>();
  if (operation == "+" && a.is_array() && b.is_array()) {
    Json result = a;
    result.insert(result.end(), b.begin(), b.end());
    return result;
  }
  if (!a.is_number_integer() || !b.is_number_integer())
    throw Error("'", operation, "' of ", kindOf(a), " and ", kindOf(b),
                " is not known");
  auto left = a.get<int64_t>(), right = b.get<int64_t>();
  int64_t result = 0;
  bool fits = false;
  if (operation == "+")
    fits = !__builtin_add_overflow(left, right, &result);
  else if (operation == "-")
    fits = !__builtin_sub_overflow(left, right, &result);
  else if (operation == "*")
    fits = !__builtin_mul_overflow(left, right, &result);
  else if ((operation == "//" || operation == "%") && left >= 0 && right > 0) {
    fits = true;
    result = operation == "%" ? left % right : left / right;
  }
  if (!fits)
    throw Error("'", operation, "' of ", left, " and ", right, " is not known");
  return result;
}

bool ordered(const std::string &operation, const Json &a, const Json &b) {
  bool comparable =
      (a.is_number() && b.is_number()) || (a.is_string() && b.is_string());
  if (!comparable)
    throw Error("'", operation, "' of ", kindOf(a), " and ", kindOf(b),
                " is not known");
  if (operation == "<")
    return a < b;
  if (operation == ">")
    return b < a;
  return operation == "<=" ? !(b < a) : !(a < b);
}

Json applyFilter(const std::string &name, const Json &value,
                 const std::vector<Json> &arguments) {
  if (name == "default" || name == "d") {
    bool replaces =
        !isDefined(value) ||
        (arguments.size() > 1 && isTrue(arguments[1]) && !isTrue(value));
    return !replaces ? value : arguments.empty() ? Json("") : arguments[0];
  }
  if (name == "length" || name == "count")
    return isDefined(value) ? sizeOf(value) : 0;
  if (name == "first" || name == "last") {
    std::vector<Json> list = elementsOf(value);
    return list.empty()      ? undefined()
           : name == "first" ? list.front()
                             : list.back();
  }
  if (name == "list")
    return elementsOf(value);
  if (name == "join" && arguments.size() <= 1) {
    std::string between = arguments.empty() ? "" : textOf(arguments[0]), result;
    bool isFirst = true;
    for (const Json &each : elementsOf(value)) {
      result += (isFirst ? "" : between) + textOf(each);
      isFirst = false;
    }
    return result;
  }
  if (name == "string" || name == "safe")
    return textOf(value);
  if (name == "trim")
    return strip(textOf(value), arguments, true, true);
  if (name == "upper" || name == "lower")
    return cased(textOf(value), name == "upper");
  if (name == "replace")
    return replaced(textOf(value), arguments);
  throw Error("the filter '", name, "' is not known");
}

bool applyTest(const std::string &name, const Json &value,
               const std::vector<Json> &arguments) {
  if (arguments.size() == 1) {
    if (name == "equalto" || name == "eq")
      return equal(value, arguments[0]);
    if (name == "ne")
      return !equal(value, arguments[0]);
    if (name == "in")
      return contains(arguments[0], value);
  }
  if (!arguments.empty())
    throw Error("the test '", name, "' with arguments is not known");
  if (name == "defined")
    return isDefined(value);
  if (name == "undefined")
    return !isDefined(value);
  if (name == "none")
    return value.is_null();
  if (name == "string")
    return value.is_string();
  if (name == "number")
    return value.is_number() || value.is_boolean();
  if (name == "integer")
    return value.is_number_integer();
  if (name == "boolean")
    return value.is_boolean();
  if (name == "true" || name == "false")
    return value.is_boolean() && value.get<bool>() == (name == "true");
  if (name == "mapping")
    return value.is_object();
  if (name == "iterable" || name == "sequence")
    return value.is_array() || value.is_string() || value.is_object() ||
           !isDefined(value);
  throw Error("the test '", name, "' is not known");
}

Json callMethod(const Json &value, const std::string &name,
                const std::vector<Json> &arguments) {
  if (value.is_string()) {
    std::string text = value.get<std::string>();
    if ((name == "startswith" || name == "endswith") && arguments.size() == 1 &&
        arguments[0].is_string()) {
      auto part = arguments[0].get<std::string>();
      return name == "startswith" ? text.starts_with(part)
                                  : text.ends_with(part);
    }
    if (name == "strip" || name == "lstrip" || name == "rstrip")
      return strip(text, arguments, name != "rstrip", name != "lstrip");
    if (name == "split")
      return split(text, arguments);
    if (name == "replace")
      return replaced(text, arguments);
    if ((name == "upper" || name == "lower") && arguments.empty())
      return cased(text, name == "upper");
  }
  if (value.is_object() && name == "get" && !arguments.empty() &&
      arguments.size() <= 2) {
    Json found = elementAt(value, arguments[0]);
    return isDefined(found)        ? found
           : arguments.size() == 2 ? arguments[1]
                                   : Json(nullptr);
  }
  throw Error("the method '", name, "' of ", kindOf(value), " is not known");
}

} // namespace r1c::runtime::jinja
