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

Pattern::Pattern(const std::string &text) {
  int error;
  PCRE2_SIZE where;
  pcre2_code *compiled = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &error, &where, nullptr);
  if (!compiled) {
    PCRE2_UCHAR message[128];
    pcre2_get_error_message(error, message, sizeof message);
    throw Error("the pattern `", text, "` is wrong at character ", where + 1,
                ": ", reinterpret_cast<const char *>(message));
  }
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
  code = std::shared_ptr<void>(compiled, [](void *pattern) {
    pcre2_code_free(static_cast<pcre2_code *>(pattern));
  });
}

void Pattern::isolate(std::string_view text,
                      std::vector<std::string_view> &pieces) const {
  auto *pattern = static_cast<pcre2_code *>(code.get());
  std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data *)> data(
      pcre2_match_data_create_from_pattern(pattern, nullptr),
      pcre2_match_data_free);
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    int found = pcre2_match(pattern, reinterpret_cast<PCRE2_SPTR>(text.data()),
                            text.size(), at, 0, data.get(), nullptr);
    if (found < 0)
      break;
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(data.get());
    if (range[1] <= range[0]) { // an empty match cuts nothing
      at = range[1] + 1;
      continue;
    }
    if (range[0] > done)
      pieces.push_back(text.substr(done, range[0] - done));
    pieces.push_back(text.substr(range[0], range[1] - range[0]));
    at = done = range[1];
  }
  if (done < text.size())
    pieces.push_back(text.substr(done));
}

} // namespace r1c::runtime
