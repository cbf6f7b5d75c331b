//===- AddedTokens.h - tokens that stand for themselves in a text  -*- C++
//-*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DATA_TOKENIZER_ADDEDTOKENS_H
#define R1C_RUNTIME_DATA_TOKENIZER_ADDEDTOKENS_H

#include "runtime/support/Json.h"
#include <map>
#include <string_view>

namespace r1c::runtime {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;    ///< gives no text when decoded
  bool normalized = false; ///< looked for after the normalizer
  bool singleWord = false; ///< only where no letter or digit touches it
  bool lstrip = false;     ///< takes the white space before it too
  bool rstrip = false;     ///< and behind it
};

/// From an element of "added_tokens".
AddedToken readAddedToken(const Fields &fields);

/// Finds added tokens in texts: the leftmost first, of several there the
/// longest.
class AddedTokens {
public:
  void add(AddedToken token);

  /// Calls `plain` with what lies between the tokens and `found` with the id
  /// of each, in order.
  void split(std::string_view text,
             const std::function<void(std::string_view)> &plain,
             const std::function<void(int32_t)> &found) const;

private:
  const AddedToken *at(std::string_view text, size_t position) const;

  /// By first byte; the longest first.
  std::map<char, std::vector<AddedToken>> tokens;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DATA_TOKENIZER_ADDEDTOKENS_H
