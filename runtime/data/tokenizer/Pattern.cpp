//===- Pattern.cpp - cutting texts by a regular expression ----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/tokenizer/Pattern.h"
#include "runtime/support/Error.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace r1c::runtime {

namespace {

std::string messageOf(int error) {
  PCRE2_UCHAR message[128];
  pcre2_get_error_message(error, message, sizeof message);
  return reinterpret_cast<const char *>(message);
}

/// The pattern in the words of PCRE2. White space is Unicode's property in
/// both, but PCRE2's \s has U+180E too.
std::string translated(const std::string &text) {
  std::string result;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\' && at + 1 < text.size()) {
      char escaped = text[++at];
      if (escaped == 's')
        result += "\\p{White_Space}";
      else if (escaped == 'S')
        result += "\\P{White_Space}";
      else
        result += {'\\', escaped};
      continue;
    }
    // A counted repetition is repeated there, possessive here.
    if (text[at] == '}' && at + 1 < text.size() && text[at + 1] == '+' &&
        at > 0 && text[at - 1] >= '0' && text[at - 1] <= '9')
      throw Error("the pattern `", text, "` has a '+' after a count");
    result += text[at];
  }
  return result;
}

} // namespace

Pattern::Pattern(const std::string &text) {
  int error;
  PCRE2_SIZE where;
  std::string source = translated(text);
  pcre2_code *compiled = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &error, &where, nullptr);
  if (!compiled)
    throw Error("the pattern `", text, "` is wrong: ", messageOf(error));
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
  code = std::shared_ptr<void>(compiled, [](void *pattern) {
    pcre2_code_free(static_cast<pcre2_code *>(pattern));
  });
}

void Pattern::split(
    std::string_view text,
    const std::function<void(std::string_view, bool)> &each) const {
  auto *pattern = static_cast<pcre2_code *>(code.get());
  std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data *)> data(
      pcre2_match_data_create_from_pattern(pattern, nullptr),
      pcre2_match_data_free);
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    int found = pcre2_match(pattern, reinterpret_cast<PCRE2_SPTR>(text.data()),
                            text.size(), at, 0, data.get(), nullptr);
    if (found == PCRE2_ERROR_NOMATCH)
      break;
    if (found < 0)
      throw Error("a text of ", text.size(),
                  " bytes cannot be cut: ", messageOf(found));
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(data.get());
    if (range[1] <= range[0]) { // an empty match cuts nothing
      at = range[1] + 1;
      continue;
    }
    if (range[0] > done)
      each(text.substr(done, range[0] - done), false);
    each(text.substr(range[0], range[1] - range[0]), true);
    at = done = range[1];
  }
  if (done < text.size())
    each(text.substr(done), false);
}

} // namespace r1c::runtime
