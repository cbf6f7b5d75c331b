//===- Json.h - checked access to JSON --------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_SUPPORT_JSON_H
#define R1C_RUNTIME_SUPPORT_JSON_H

#include "runtime/support/Error.h"
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace r1c::runtime {

using Json = nlohmann::json;

/// Parses text; an error carries `what` and the byte where it went wrong.
Json parseJson(std::string_view text, const std::string &what);

/// JSON text on one line (`indent` < 0) or indented. NaN and infinities become
/// null, bytes that are not UTF-8 the replacement character.
std::string dumpJson(const Json &value, int indent = -1);

/// A JSON object with a name for messages (empty: only the fields' own); each
/// getter checks presence and kind and throws one clear r1c::Error otherwise.
class Fields {
public:
  Fields(const Json &object, std::string where);

  const Json &json() const { return value; }
  const std::string &where() const { return place; }
  bool has(const char *name) const;
  const Json &get(const char *name) const;

  std::string text(const char *name) const;
  std::string text(const char *name, const std::string &otherwise) const;
  int64_t integer(const char *name) const;
  int64_t integer(const char *name, int64_t otherwise) const;
  double number(const char *name) const;
  double number(const char *name, double otherwise) const;
  bool flag(const char *name, bool otherwise) const;
  Fields object(const char *name) const;
  /// The elements of an array; an absent one is empty.
  const Json &array(const char *name) const;
  std::vector<std::string> texts(const char *name) const;
  std::vector<int64_t> integers(const char *name) const;
  /// Calls `each` with every element, which must be an object.
  void forEach(const char *name,
               const std::function<void(const Fields &)> &each) const;

private:
  std::string below(const char *name) const;
  [[noreturn]] void wrong(const char *name, const char *wanted) const;

  const Json &value;
  std::string place;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_SUPPORT_JSON_H
