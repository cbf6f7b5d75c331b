//===- Tokenizer.h - texts and token ids ------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DATA_TOKENIZER_TOKENIZER_H
#define R1C_RUNTIME_DATA_TOKENIZER_TOKENIZER_H

#include "runtime/support/Files.h"
#include "runtime/support/Json.h"
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace r1c::runtime {

/// Between UTF-8 text and the token ids of one model.
class Tokenizer {
public:
  virtual ~Tokenizer() = default;

  /// Throws r1c::Error when the text cannot be written in this vocabulary.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  /// The text of a run of ids; special tokens (the end token) give nothing.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;

  /// The id that closes a completion.
  virtual int32_t end() const = 0;
  /// Whether a sequence is over after this id.
  virtual bool isEnd(int32_t id) const { return id == end(); }
  /// All of them, the one that closes a completion first.
  virtual std::vector<int32_t> ends() const { return {end()}; }
  virtual int64_t size() const = 0;

  /// A user's turn in the model's chat format, up to where the model answers.
  virtual std::string chat(const std::string &text,
                           const std::string &system) const;

  /// Writes what others need to read the model's ids again into a directory of
  /// `save`.
  virtual void write(const std::filesystem::path &directory) const = 0;
};

/// From a policy's "tokenizer" in the manifest; paths are found by `base`.
std::unique_ptr<Tokenizer> makeTokenizer(const Fields &description,
                                         const Base &base);

/// "characters": id 0 is the end of a sequence, then the alphabet's code points
/// in their order.
std::unique_ptr<Tokenizer> makeCharacters(const std::string &alphabet);

/// "huggingface": tokenizer.json (byte-level BPE) of a model directory.
std::unique_ptr<Tokenizer>
makeHuggingFace(const std::filesystem::path &directory);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DATA_TOKENIZER_TOKENIZER_H
