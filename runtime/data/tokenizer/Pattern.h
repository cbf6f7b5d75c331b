//===- Pattern.h - cutting texts by a regular expression --------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DATA_TOKENIZER_PATTERN_H
#define R1C_RUNTIME_DATA_TOKENIZER_PATTERN_H

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace r1c::runtime {

/// A compiled pattern (PCRE2 with Unicode classes) that cuts texts.
class Pattern {
public:
  /// Throws r1c::Error.
  explicit Pattern(const std::string &text);

  /// Appends the matches and what lies between them, in order.
  void isolate(std::string_view text,
               std::vector<std::string_view> &pieces) const;

private:
  std::shared_ptr<void> code;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DATA_TOKENIZER_PATTERN_H
