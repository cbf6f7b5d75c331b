//===- PreTokenizer.h - cutting a text into pieces ------------ -*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DATA_TOKENIZER_PRETOKENIZER_H
#define R1C_RUNTIME_DATA_TOKENIZER_PRETOKENIZER_H

#include "runtime/data/tokenizer/Pattern.h"
#include "runtime/support/Json.h"

namespace r1c::runtime {

/// What stands between a text and byte pairs: steps that each cut the pieces
/// of the one before. No token reaches across a cut.
class PreTokenizer {
public:
  /// From the object "pre_tokenizer". Throws r1c::Error.
  explicit PreTokenizer(const Fields &description);

  std::vector<std::string> split(std::string_view text) const;

private:
  struct Step {
    std::optional<Pattern> pattern;
    bool keepsGaps = true;    ///< what lies between two matches
    bool prefixSpace = false; ///< a piece begins with a space, or gets one
  };

  void read(const Fields &step);

  std::vector<Step> steps;
  bool byteLevel = false;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DATA_TOKENIZER_PRETOKENIZER_H
