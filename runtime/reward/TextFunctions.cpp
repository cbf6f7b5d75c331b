//===- TextFunctions.cpp - functions of texts -----------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/reward/TextFunctions.h"
#include "runtime/reward/Value.h"
#include "runtime/reward/Words.h"
#include "runtime/support/Error.h"
#include <limits>
#include <memory>
#include <unordered_map>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace r1c::runtime {

namespace {

using Arguments = std::span<const TextArgument>;

void equal(Arguments a, TextResult &result) {
  if (a[0].isText && a[1].isText)
    result.number = equalByValue(a[0].text, a[1].text);
  else if (a[0].isText)
    result.number = equalByValue(a[0].text, a[1].number);
  else if (a[1].isText)
    result.number = equalByValue(a[1].text, a[0].number);
  else
    result.number = a[0].number == a[1].number;
}

void same(Arguments a, TextResult &result) {
  result.number = a[0].text == a[1].text;
}

void between(Arguments a, TextResult &result) {
  size_t start = a[0].text.find(a[1].text);
  if (start == std::string_view::npos)
    return;
  start += a[1].text.size();
  size_t end = a[0].text.find(a[2].text, start);
  if (end != std::string_view::npos)
    result.text = a[0].text.substr(start, end - start);
}

void after(Arguments a, TextResult &result) {
  size_t at = a[0].text.rfind(a[1].text);
  result.text = at == std::string_view::npos
                    ? a[0].text
                    : a[0].text.substr(at + a[1].text.size());
}

void before(Arguments a, TextResult &result) {
  result.text = a[0].text.substr(0, a[0].text.find(a[1].text));
}

struct PatternDeleter {
  void operator()(pcre2_code *code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data *data) const { pcre2_match_data_free(data); }
};
using Pattern = std::unique_ptr<pcre2_code, PatternDeleter>;

pcre2_code *patternOf(std::string_view text) {
  thread_local std::unordered_map<std::string, Pattern> patterns;
  Pattern &pattern = patterns[std::string(text)];
  if (pattern)
    return pattern.get();
  int code;
  PCRE2_SIZE where;
  // Models write any bytes: a text that is not UTF-8 is matched as far as it
  // is.
  pattern.reset(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                    PCRE2_DOTALL | PCRE2_UTF | PCRE2_MATCH_INVALID_UTF |
                        PCRE2_ANCHORED | PCRE2_ENDANCHORED,
                    &code, &where, nullptr));
  if (!pattern) {
    PCRE2_UCHAR message[128];
    pcre2_get_error_message(code, message, sizeof message);
    throw Error("matches: the pattern `", text, "` is wrong at character ",
                where + 1, ": ", reinterpret_cast<const char *>(message));
  }
  pcre2_jit_compile(pattern.get(), PCRE2_JIT_COMPLETE);
  return pattern.get();
}

void matches(Arguments a, TextResult &result) {
  pcre2_code *pattern = patternOf(a[1].text);
  std::unique_ptr<pcre2_match_data, PatternDeleter> data(
      pcre2_match_data_create_from_pattern(pattern, nullptr));
  auto match = [&](uint32_t options) {
    return pcre2_match(pattern, reinterpret_cast<PCRE2_SPTR>(a[0].text.data()),
                       a[0].text.size(), 0, options, data.get(), nullptr);
  };
  int found = match(0);
  // Machine code has 32 KiB to go back in, which `(.|\n)*` fills in a thousand
  // characters; the interpreter takes its memory from the heap.
  if (found == PCRE2_ERROR_JIT_STACKLIMIT)
    found = match(PCRE2_NO_JIT);
  // A pattern that exhausts PCRE2's limits on this text counts as no match: one
  // model output must not stop a run.
  result.number = found >= 0;
}

void number(Arguments a, TextResult &result) {
  std::optional<Value> value = readValue(a[0].text);
  result.number =
      value ? value->number() : std::numeric_limits<double>::quiet_NaN();
}

void words(Arguments a, TextResult &result) {
  int64_t count = a.size() < 2 ? countWords(a[0].text)
                               : countWords(a[0].text, std::string(a[1].text));
  result.number = static_cast<double>(count);
}

void count(Arguments a, TextResult &result) {
  if (a[1].text.empty())
    return;
  for (size_t at = 0; (at = a[0].text.find(a[1].text, at)) != std::string::npos;
       at += a[1].text.size())
    ++result.number;
}

void boxed(Arguments a, TextResult &result) {
  result.text = lastBoxed(a[0].text);
}

void select(Arguments a, TextResult &result) {
  result.text = a[0].number != 0 ? a[1].text : a[2].text;
}

const TextFunction table[] = {
    {"equal", "vv", 2, false, equal, "equal by value"},
    {"same", "tt", 2, false, same, "equal letter by letter (==)"},
    {"between", "ttt", 3, true, between,
     "what stands between the first mark and the next closing one, or nothing"},
    {"after", "tt", 2, true, after,
     "what follows the last mark; without one, all"},
    {"before", "tt", 2, true, before,
     "what precedes the first mark; without one, all"},
    {"matches", "tt", 2, false, matches,
     "whether the regular expression matches the whole text"},
    {"number", "t", 1, false, number, "the number, NaN if it is none"},
    {"words", "tt", 1, false, words,
     "words with letters, of a language if given"},
    {"count", "tt", 2, false, count, "how often it occurs, without overlap"},
    {"boxed", "t", 1, true, boxed, "what the last \\boxed{} holds, or nothing"},
    {"select", "ntt", 3, true, select,
     "the first text if the flag is set, else the second"},
};

} // namespace

std::span<const TextFunction> textFunctions() { return table; }

const TextFunction *findTextFunction(std::string_view name) {
  for (const TextFunction &function : table)
    if (name == function.name)
      return &function;
  return nullptr;
}

} // namespace r1c::runtime
