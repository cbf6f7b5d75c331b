//===- Error.h - the runtime's one error type -------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_SUPPORT_ERROR_H
#define R1C_RUNTIME_SUPPORT_ERROR_H

#include <exception>
#include <sstream>
#include <string>

namespace r1c {

/// Joins anything that streams into one string.
template <typename... Args>
std::string concat(const Args &...args) {
  std::ostringstream stream;
  (stream << ... << args);
  return stream.str();
}

/// What the runtime throws: one line that says where, what, and what to do
/// instead. Callers that know more about the place prepend it with `within`,
/// outermost last, so that the text reads from the outside in:
/// "step.r1:9:3: policy 'actor': 24 rows do not fit in 16".
class Error : public std::exception {
public:
  template <typename... Args>
  explicit Error(const Args &...args) : text(concat(args...)) {}

  const char *what() const noexcept override { return text.c_str(); }

  Error &within(const std::string &place) {
    if (!place.empty())
      text = place + ": " + text;
    return *this;
  }

private:
  std::string text;
};

/// Runs `body`; an error that leaves it is told the place.
template <typename Place, typename Body>
decltype(auto) within(Place &&place, Body &&body) {
  try {
    return body();
  } catch (Error &error) {
    error.within(place());
    throw;
  }
}

} // namespace r1c

#endif // R1C_RUNTIME_SUPPORT_ERROR_H
