//===- BytePairs.h - byte-level byte-pair encoding ------------ -*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DATA_TOKENIZER_BYTEPAIRS_H
#define R1C_RUNTIME_DATA_TOKENIZER_BYTEPAIRS_H

#include "runtime/support/Json.h"
#include <string_view>
#include <unordered_map>

namespace r1c::runtime {

/// The bytes that a token's text in tokenizer.json stands for. Byte-level
/// vocabularies are written in GPT-2's alphabet, one printable character a
/// byte; a text with any other character stands for itself.
std::string bytesOfToken(const std::string &text);

/// The model of a tokenizer.json: a vocabulary, and which neighbours merge.
class BytePairs {
public:
  /// From the object "model". Throws r1c::Error.
  explicit BytePairs(const Fields &model);

  /// Appends the ids of one piece that the pre-tokenizer has cut.
  void encode(std::string_view piece, std::vector<int32_t> &ids) const;

  /// Calls `each` with every entry's id and text, as the file writes them.
  template <typename Each>
  void forEach(Each each) const {
    for (const auto &[text, id] : vocabulary)
      each(id, text);
  }

private:
  struct Merge {
    int32_t rank, result;
  };

  void readMerges(const Json &merges);
  void refuseVariants(const Fields &model) const;
  const Merge *mergeOf(int32_t left, int32_t right) const;

  std::unordered_map<std::string, int32_t> vocabulary;
  /// By the bytes they stand for; entries that are no byte-level text are not
  /// here, because no text is ever cut into them.
  std::unordered_map<std::string, int32_t> idOfBytes;
  int32_t idOfByte[256];
  std::unordered_map<uint64_t, Merge> merges;
  bool ignoreMerges = false;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DATA_TOKENIZER_BYTEPAIRS_H
