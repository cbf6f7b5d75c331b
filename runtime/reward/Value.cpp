//===- Value.cpp - answers by value ---------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/reward/Value.h"
#include <cstdlib>
#include <numeric>
#include <unicode/unistr.h>

namespace r1c::runtime {

namespace {

bool isDigit(char c) { return c >= '0' && c <= '9'; }
bool isSpace(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' ||
         c == '\v';
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && isSpace(text.front()))
    text.remove_prefix(1);
  while (!text.empty() && isSpace(text.back()))
    text.remove_suffix(1);
  return text;
}

/// Where the brace that opens at `open` closes, or npos.
size_t closing(std::string_view text, size_t open) {
  int depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    if (text[i] == '{')
      ++depth;
    else if (text[i] == '}' && --depth == 0)
      return i;
  }
  return std::string_view::npos;
}

/// Takes `open` ... `close` off if they enclose the whole text.
bool strip(std::string_view &text, std::string_view open,
           std::string_view close) {
  if (text.size() < open.size() + close.size() || !text.starts_with(open) ||
      !text.ends_with(close))
    return false;
  if (open.ends_with('{') && closing(text, open.size() - 1) != text.size() - 1)
    return false;
  text.remove_prefix(open.size());
  text.remove_suffix(close.size());
  return true;
}

Value reduced(__int128 numerator, __int128 denominator) {
  Value value;
  value.approximate =
      static_cast<double>(numerator) / static_cast<double>(denominator);
  __int128 a = numerator < 0 ? -numerator : numerator, b = denominator;
  while (b != 0) {
    __int128 rest = a % b;
    a = b;
    b = rest;
  }
  if (a != 0) {
    numerator /= a;
    denominator /= a;
  }
  constexpr __int128 most = INT64_MAX;
  value.exact = numerator <= most && numerator >= -most && denominator <= most;
  if (value.exact) {
    value.numerator = static_cast<int64_t>(numerator);
    value.denominator = static_cast<int64_t>(denominator);
  }
  return value;
}

std::optional<Value> divide(const Value &a, const Value &b) {
  if (b.number() == 0)
    return {};
  if (!a.exact || !b.exact) {
    Value value;
    value.exact = false;
    value.approximate = a.number() / b.number();
    return value;
  }
  __int128 numerator = static_cast<__int128>(a.numerator) * b.denominator;
  __int128 denominator = static_cast<__int128>(a.denominator) * b.numerator;
  if (denominator < 0) {
    numerator = -numerator;
    denominator = -denominator;
  }
  return reduced(numerator, denominator);
}

Value add(const Value &a, const Value &b) {
  if (!a.exact || !b.exact) {
    Value value;
    value.exact = false;
    value.approximate = a.number() + b.number();
    return value;
  }
  return reduced(static_cast<__int128>(a.numerator) * b.denominator +
                     static_cast<__int128>(b.numerator) * a.denominator,
                 static_cast<__int128>(a.denominator) * b.denominator);
}

/// Digits without their thousands separators; nothing if these do not part
/// groups of three.
std::optional<std::string> digitsOf(std::string_view text) {
  std::string digits;
  size_t group = 0;
  bool separated = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (isDigit(text[i])) {
      digits += text[i];
      ++group;
      continue;
    }
    size_t length = text.substr(i, 3) == "{,}"   ? 3
                    : text.substr(i, 2) == "\\," ? 2
                    : text[i] == ','             ? 1
                                                 : 0;
    if (!length || group == 0 || group > 3 || (separated && group != 3))
      return {};
    separated = true;
    group = 0;
    i += length - 1;
  }
  if (digits.empty() || (separated && group != 3))
    return {};
  return digits;
}

/// A decimal without a sign: 1,234.5e-6
std::optional<Value> readDecimal(std::string_view text) {
  size_t e = text.find_first_of("eE");
  int exponent = 0;
  if (e != std::string_view::npos) {
    std::string_view power = text.substr(e + 1);
    bool negative = power.starts_with('-');
    if (negative || power.starts_with('+'))
      power.remove_prefix(1);
    if (power.empty() || power.size() > 3)
      return {};
    for (char c : power) {
      if (!isDigit(c))
        return {};
      exponent = exponent * 10 + (c - '0');
    }
    exponent = negative ? -exponent : exponent;
    text = text.substr(0, e);
  }
  size_t point = text.find('.');
  std::string_view whole = text.substr(0, point);
  std::string_view fraction =
      point == std::string_view::npos ? "" : text.substr(point + 1);
  for (char c : fraction)
    if (!isDigit(c))
      return {};
  if (whole.empty() && fraction.empty())
    return {};
  std::optional<std::string> digits =
      whole.empty() ? std::string() : digitsOf(whole);
  if (!digits)
    return {};
  std::string all = *digits + std::string(fraction);
  int scale = static_cast<int>(fraction.size()) - exponent;
  // Zeros at either end say nothing about the value.
  while (scale > 0 && all.size() > 1 && all.back() == '0') {
    all.pop_back();
    --scale;
  }
  all.erase(0, std::min(all.find_first_not_of('0'), all.size() - 1));
  if (all.size() > 18 || scale > 18 || scale < -18) {
    Value value;
    value.exact = false;
    value.approximate =
        std::strtod((all + "e" + std::to_string(-scale)).c_str(), nullptr);
    return value;
  }
  __int128 numerator = std::strtoll(all.c_str(), nullptr, 10), denominator = 1;
  for (; scale > 0; --scale)
    denominator *= 10;
  for (; scale < 0; ++scale)
    numerator *= 10;
  return reduced(numerator, denominator);
}

std::optional<Value> readUnsigned(std::string_view text);

/// \frac{a}{b}, \frac12
std::optional<Value> readFrac(std::string_view text) {
  auto part = [&](std::string_view &rest) -> std::optional<Value> {
    rest = trim(rest);
    if (rest.starts_with('{')) {
      size_t end = closing(rest, 0);
      if (end == std::string_view::npos)
        return {};
      std::string_view inside = rest.substr(1, end - 1);
      rest.remove_prefix(end + 1);
      return readValue(inside);
    }
    if (rest.empty() || !isDigit(rest.front()))
      return {};
    Value value;
    value.numerator = rest.front() - '0';
    rest.remove_prefix(1);
    return value;
  };
  std::optional<Value> a = part(text);
  if (!a)
    return {};
  std::optional<Value> b = part(text);
  if (!b || !trim(text).empty())
    return {};
  return divide(*a, *b);
}

std::optional<Value> readUnsigned(std::string_view text) {
  text = trim(text);
  for (std::string_view name : {"\\frac", "\\dfrac", "\\tfrac"})
    if (size_t at = text.find(name); at != std::string_view::npos) {
      std::optional<Value> fraction = readFrac(text.substr(at + name.size()));
      std::string_view before = trim(text.substr(0, at));
      if (!fraction || before.empty())
        return fraction;
      std::optional<std::string> digits = digitsOf(before); // mixed number
      if (!digits)
        return {};
      std::optional<Value> whole = readDecimal(*digits);
      return add(*whole, *fraction);
    }
  if (size_t slash = text.find('/'); slash != std::string_view::npos) {
    std::string_view left = trim(text.substr(0, slash));
    std::optional<Value> bottom = readDecimal(trim(text.substr(slash + 1)));
    std::optional<Value> whole;
    if (size_t gap = left.find(' '); gap != std::string_view::npos) {
      whole = readDecimal(left.substr(0, gap));
      if (!whole)
        return {};
      left = trim(left.substr(gap));
    }
    std::optional<Value> top = readDecimal(left);
    if (!top || !bottom)
      return {};
    std::optional<Value> fraction = divide(*top, *bottom);
    return fraction && whole ? add(*whole, *fraction) : fraction;
  }
  return readDecimal(text);
}

std::string normalised(std::string_view text) {
  text = unwrap(text);
  icu::UnicodeString folded = icu::UnicodeString::fromUTF8(
      icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  folded.foldCase();
  std::string bytes, result;
  folded.toUTF8String(bytes);
  for (char c : bytes) {
    if (!isSpace(c))
      result += c;
    else if (!result.empty() && result.back() != ' ')
      result += ' ';
  }
  return result;
}

} // namespace

std::string_view unwrap(std::string_view text) {
  for (;;) {
    text = trim(text);
    if (text.size() > 1 && text.ends_with('.')) {
      text.remove_suffix(1);
      continue;
    }
    if (text.size() > 1 && (strip(text, "$$", "$$") || strip(text, "$", "$")))
      continue;
    if (strip(text, "\\(", "\\)") || strip(text, "\\[", "\\]") ||
        strip(text, "\\boxed{", "}") || strip(text, "\\text{", "}") ||
        strip(text, "\\mathrm{", "}") || strip(text, "{", "}"))
      continue;
    return text;
  }
}

std::optional<Value> readValue(std::string_view text) {
  text = unwrap(text);
  bool negative = false;
  if (text.starts_with('-') || text.starts_with('+')) {
    negative = text.front() == '-';
    text = trim(text.substr(1));
  } else if (text.starts_with("\xE2\x88\x92")) { // U+2212, the minus sign
    negative = true;
    text = trim(text.substr(3));
  }
  if (text.starts_with("\\$"))
    text = trim(text.substr(2));
  else if (text.starts_with('$'))
    text = trim(text.substr(1));
  bool percent = text.ends_with('%');
  if (percent) {
    text.remove_suffix(1);
    if (text.ends_with('\\'))
      text.remove_suffix(1);
    text = trim(text);
  }
  std::optional<Value> value = readUnsigned(text);
  if (value && percent) {
    Value hundred;
    hundred.numerator = 100;
    value = divide(*value, hundred);
  }
  if (value && negative) {
    value->numerator = -value->numerator;
    value->approximate = -value->approximate;
  }
  return value;
}

bool Value::operator==(const Value &other) const {
  if (exact && other.exact)
    return numerator == other.numerator && denominator == other.denominator;
  return number() == other.number();
}

bool equalByValue(std::string_view a, std::string_view b) {
  std::optional<Value> x = readValue(a), y = readValue(b);
  if (x && y)
    return *x == *y;
  if (x || y)
    return false;
  std::string left = normalised(a);
  return !left.empty() && left == normalised(b);
}

bool equalByValue(std::string_view a, double b) {
  std::optional<Value> value = readValue(a);
  return value && value->number() == b;
}

std::string_view lastBoxed(std::string_view text) {
  constexpr std::string_view mark = "\\boxed{";
  size_t at = text.rfind(mark);
  if (at == std::string_view::npos)
    return {};
  size_t end = closing(text, at + mark.size() - 1);
  if (end == std::string_view::npos)
    return {};
  return text.substr(at + mark.size(), end - at - mark.size());
}

} // namespace r1c::runtime
