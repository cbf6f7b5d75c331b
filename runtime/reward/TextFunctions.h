//===- TextFunctions.h - functions of texts ---------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_REWARD_TEXTFUNCTIONS_H
#define R1C_RUNTIME_REWARD_TEXTFUNCTIONS_H

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace r1c::runtime {

/// One argument of a text function on one row.
struct TextArgument {
  bool isText = true;
  std::string_view text;
  double number = 0;
};

/// What a text function gave on one row; which field counts is the function's.
struct TextResult {
  std::string text;
  double number = 0;
};

/// A function of the step language on texts. `arguments` holds a letter each: t
/// text, n number or flag, v any; `required` of them must be there.
struct TextFunction {
  const char *name;
  const char *arguments;
  size_t required;
  bool givesText;
  void (*evaluate)(std::span<const TextArgument>, TextResult &);
  const char *summary;
};

/// All of them; null from `find` for an unknown name.
std::span<const TextFunction> textFunctions();
const TextFunction *findTextFunction(std::string_view name);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_REWARD_TEXTFUNCTIONS_H
