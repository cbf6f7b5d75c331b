//===- Value.h - answers by value -------------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_REWARD_VALUE_H
#define R1C_RUNTIME_REWARD_VALUE_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace r1c::runtime {

/// A number read from text, exactly where it has at most 18 digits:
/// numerator / denominator.
struct Value {
  bool exact = true;
  int64_t numerator = 0, denominator = 1;
  double approximate = 0;

  double number() const {
    return exact ? static_cast<double>(numerator) /
                       static_cast<double>(denominator)
                 : approximate;
  }
  bool operator==(const Value &other) const;
};

/// Reads integers, decimals, scientific notation, thousands separators
/// (1,234,567), fractions (3/4, \frac{3}{4}), mixed numbers (1 3/4), percent
/// (50% is 1/2), with an optional sign and dollar sign, bare or inside $...$,
/// \(...\), \boxed{...}, \text{...}. A full stop behind it is ignored. Anything
/// else is no number.
std::optional<Value> readValue(std::string_view text);

/// Equal by value if both are numbers, else by text: wrappers as above taken
/// off, white space collapsed, case folded. An empty text equals nothing.
bool equalByValue(std::string_view a, std::string_view b);
bool equalByValue(std::string_view a, double b);

/// The contents of the last \boxed{...}, braces balanced; empty without one.
std::string_view lastBoxed(std::string_view text);

/// `text` without white space and wrappers around it.
std::string_view unwrap(std::string_view text);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_REWARD_VALUE_H
