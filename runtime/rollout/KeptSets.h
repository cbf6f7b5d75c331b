//===- KeptSets.h - from which tokens each one was drawn --------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_ROLLOUT_KEPTSETS_H
#define R1C_RUNTIME_ROLLOUT_KEPTSETS_H

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace r1c::runtime {

/// For each token of a sequence, the tokens that top_p, top_k and min_p kept
/// when it was drawn: what its log-probability is relative to, whatever becomes
/// of the weights. A set takes four bytes a kept token or a bit a token of the
/// vocabulary, whichever is less.
class KeptSets {
public:
  /// Appends a set: one flag a token of the vocabulary, not 0 if kept.
  void append(std::span<const int8_t> flags);

  /// No sets: every token was drawn from the whole vocabulary.
  bool empty() const { return sets.empty(); }
  int64_t size() const { return static_cast<int64_t>(sets.size()); }

  /// Writes 1 for the tokens of the set, 0 for all others. `flags` may be of
  /// another vocabulary, whose further tokens were never kept.
  void write(int64_t index, std::span<int8_t> flags) const;

  /// Appends the sets to `to`, and takes them from the start of `from`, as
  /// bytes of this machine.
  void save(std::string &to) const;
  void load(std::string_view &from);

  int64_t bytes() const {
    return static_cast<int64_t>(words.size() * sizeof(uint32_t));
  }

private:
  struct Set {
    size_t first; ///< in `words`
    bool isList;  ///< token ids; else 32 flags a word
  };
  std::vector<Set> sets;
  std::vector<uint32_t> words;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_ROLLOUT_KEPTSETS_H
