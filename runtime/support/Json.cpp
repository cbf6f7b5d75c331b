//===- Json.cpp - checked access to JSON ----------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/Json.h"

namespace r1c::runtime {

Json parseJson(std::string_view text, const std::string &what) {
  try {
    // What is printed and compared later goes down by recursion.
    constexpr int deepest = 1000;
    return Json::parse(text, [&](int depth, Json::parse_event_t, Json &) {
      if (depth > deepest)
        throw Error(what, ": is nested more than ", deepest, " deep");
      return true;
    });
  } catch (const Json::parse_error &error) {
    throw Error(what, ": not valid JSON at byte ", error.byte);
  } catch (const Json::exception &) {
    throw Error(what, ": not valid JSON");
  }
}

std::string dumpJson(const Json &value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Fields::Fields(const Json &object, std::string where)
    : value(object), place(std::move(where)) {
  if (!object.is_object())
    throw Error("must be an object, is ", object.type_name()).within(place);
}

std::string Fields::below(const char *name) const {
  return place.empty() ? name : place + "." + name;
}

void Fields::wrong(const char *name, const char *wanted) const {
  throw Error("'", name, "' must be ", wanted, ", is ", get(name).type_name())
      .within(place);
}

bool Fields::has(const char *name) const {
  auto at = value.find(name);
  return at != value.end() && !at->is_null();
}

const Json &Fields::get(const char *name) const {
  auto at = value.find(name);
  if (at == value.end())
    throw Error("'", name, "' is missing").within(place);
  return *at;
}

std::string Fields::text(const char *name) const {
  const Json &field = get(name);
  if (!field.is_string())
    wrong(name, "a text");
  return field.get<std::string>();
}

std::string Fields::text(const char *name, const std::string &otherwise) const {
  return has(name) ? text(name) : otherwise;
}

int64_t Fields::integer(const char *name) const {
  const Json &field = get(name);
  // What is too large for an int64 is kept as an uint64.
  if (field.is_number_integer() &&
      !(field.is_number_unsigned() && field.get<uint64_t>() > INT64_MAX))
    return field.get<int64_t>();
  wrong(name, "an integer");
}

int64_t Fields::integer(const char *name, int64_t otherwise) const {
  return has(name) ? integer(name) : otherwise;
}

double Fields::number(const char *name) const {
  const Json &field = get(name);
  if (!field.is_number())
    wrong(name, "a number");
  return field.get<double>();
}

double Fields::number(const char *name, double otherwise) const {
  return has(name) ? number(name) : otherwise;
}

bool Fields::flag(const char *name, bool otherwise) const {
  if (!has(name))
    return otherwise;
  const Json &field = get(name);
  if (!field.is_boolean())
    wrong(name, "true or false");
  return field.get<bool>();
}

Fields Fields::object(const char *name) const {
  return Fields(get(name), below(name));
}

const Json &Fields::array(const char *name) const {
  static const Json empty = Json::array();
  if (!has(name))
    return empty;
  const Json &field = get(name);
  if (!field.is_array())
    wrong(name, "a list");
  return field;
}

std::vector<std::string> Fields::texts(const char *name) const {
  std::vector<std::string> result;
  for (const Json &element : array(name)) {
    if (!element.is_string())
      wrong(name, "a list of texts");
    result.push_back(element.get<std::string>());
  }
  return result;
}

std::vector<int64_t> Fields::integers(const char *name) const {
  std::vector<int64_t> result;
  for (const Json &element : array(name)) {
    if (!element.is_number_integer())
      wrong(name, "a list of integers");
    result.push_back(element.get<int64_t>());
  }
  return result;
}

void Fields::forEach(const char *name,
                     const std::function<void(const Fields &)> &each) const {
  const Json &list = array(name);
  for (size_t i = 0; i < list.size(); ++i)
    each(Fields(list[i], concat(below(name), "[", i, "]")));
}

} // namespace r1c::runtime
