//===- KeptSets.cpp - from which tokens each one was drawn ----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/rollout/KeptSets.h"
#include "runtime/support/Bytes.h"
#include <algorithm>

namespace r1c::runtime {

void KeptSets::append(std::span<const int8_t> flags) {
  auto kept = static_cast<size_t>(
      std::count_if(flags.begin(), flags.end(), [](int8_t f) { return f; }));
  size_t bitWords = (flags.size() + 31) / 32, first = words.size();
  bool isList = kept < bitWords;
  sets.push_back({first, isList});
  words.resize(first + (isList ? kept : bitWords));
  uint32_t *next = words.data() + first;
  for (size_t v = 0; v < flags.size(); ++v) {
    if (!flags[v])
      continue;
    if (isList)
      *next++ = static_cast<uint32_t>(v);
    else
      next[v / 32] |= uint32_t(1) << v % 32;
  }
}

void KeptSets::write(int64_t index, std::span<int8_t> flags) const {
  const Set &set = sets[index];
  size_t end = index + 1 < size() ? sets[index + 1].first : words.size();
  std::span<const uint32_t> own(words.data() + set.first, end - set.first);
  std::fill(flags.begin(), flags.end(), int8_t(0));
  if (set.isList) {
    for (uint32_t v : own)
      if (v < flags.size())
        flags[v] = 1;
    return;
  }
  size_t known = std::min(flags.size(), own.size() * 32);
  for (size_t v = 0; v < known; ++v)
    flags[v] = own[v / 32] >> v % 32 & 1;
}

void KeptSets::save(std::string &to) const {
  std::vector<uint64_t> starts;
  for (const Set &set : sets)
    starts.push_back(uint64_t(set.first) << 1 | set.isList);
  appendBytes(to, starts);
  appendBytes(to, words);
}

void KeptSets::load(std::string_view &from) {
  sets.clear();
  for (uint64_t start : takeBytes<uint64_t>(from))
    sets.push_back({static_cast<size_t>(start >> 1), (start & 1) != 0});
  words = takeBytes<uint32_t>(from);
}

} // namespace r1c::runtime
