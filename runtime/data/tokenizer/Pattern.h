//===- Pattern.h - cutting texts by a regular expression --------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DATA_TOKENIZER_PATTERN_H
#define R1C_RUNTIME_DATA_TOKENIZER_PATTERN_H

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace r1c::runtime {

/// A regular expression of a tokenizer.json that cuts texts (PCRE2 with Unicode
/// classes; what Oniguruma, the original's library, takes another way is
/// rewritten or refused).
class Pattern {
public:
  /// Throws r1c::Error.
  explicit Pattern(const std::string &text);

  /// Calls `each` with the matches (true) and with what lies between them
  /// (false), in order; with nothing that is empty.
  void split(std::string_view text,
             const std::function<void(std::string_view, bool)> &each) const;

private:
  std::shared_ptr<void> code;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DATA_TOKENIZER_PATTERN_H
