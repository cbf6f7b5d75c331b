//===- Chunks.cpp - packing sequences into bounded rows -------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/rollout/Chunks.h"
#include <algorithm>
#include <numeric>
#include <set>

namespace r1c::runtime {

std::vector<Chunk> packChunks(const OutputSet &set, const Axes &axes,
                              int64_t capacity, int64_t maxSequences) {
  struct Bin {
    int64_t room;
    std::vector<int32_t> sequences;
  };
  std::vector<int64_t> rows(axes.sequences());
  std::vector<int32_t> order;
  for (int32_t i = 0; i < axes.sequences(); ++i) {
    const Sequence &sequence = set.sequences[axes.viewSequences[i]];
    const Group &group = set.groupOf(sequence);
    // Nothing chosen: nothing to score or to learn from.
    if (sequence.chosen.empty())
      continue;
    rows[i] =
        static_cast<int64_t>(group.prompt.size() + sequence.chosen.size()) - 1;
    if (rows[i] > capacity)
      throw Error(group.row ? group.row->origin : "sequence", ": ", rows[i],
                  " tokens do not fit in a chunk of ", capacity, " rows");
    order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return rows[a] != rows[b] ? rows[a] > rows[b] : a < b;
  });

  std::vector<Bin> bins;
  std::set<std::pair<int64_t, size_t>> byRoom; // (room, bin): best fit in log n
  for (int32_t i : order) {
    auto at = byRoom.lower_bound({rows[i], 0});
    size_t bin;
    if (at == byRoom.end()) {
      bin = bins.size();
      bins.push_back({capacity, {}});
    } else {
      bin = at->second;
      byRoom.erase(at);
    }
    bins[bin].room -= rows[i];
    bins[bin].sequences.push_back(i);
    if (static_cast<int64_t>(bins[bin].sequences.size()) < maxSequences)
      byRoom.insert({bins[bin].room, bin});
  }

  for (Bin &bin : bins)
    std::sort(bin.sequences.begin(), bin.sequences.end());
  std::sort(bins.begin(), bins.end(), [](const Bin &a, const Bin &b) {
    return a.sequences.front() < b.sequences.front();
  });

  std::vector<Chunk> chunks;
  for (Bin &bin : bins) {
    Chunk chunk;
    chunk.offsets.push_back(0);
    for (int32_t i : bin.sequences) {
      const Sequence &sequence = set.sequences[axes.viewSequences[i]];
      const std::vector<int32_t> &prompt = set.groupOf(sequence).prompt;
      auto base = static_cast<int32_t>(chunk.tokens.size());
      auto prompts = static_cast<int32_t>(prompt.size());
      for (int32_t p = 0; p < rows[i]; ++p) {
        chunk.tokens.push_back(p < prompts ? prompt[p]
                                           : sequence.chosen[p - prompts]);
        chunk.positions.push_back(p);
        chunk.bases.push_back(base);
      }
      for (size_t c = 0; c < sequence.chosen.size(); ++c) {
        chunk.targetRows.push_back(base + prompts - 1 +
                                   static_cast<int32_t>(c));
        chunk.targets.push_back(sequence.chosen[c]);
        chunk.tokenIndex.push_back(axes.sequenceOffsets[i] +
                                   static_cast<int32_t>(c));
      }
      chunk.offsets.push_back(static_cast<int32_t>(chunk.tokens.size()));
    }
    chunk.sequences = std::move(bin.sequences);
    chunks.push_back(std::move(chunk));
  }
  return chunks;
}

std::vector<int8_t> keptOf(const Chunk &chunk, const OutputSet &set,
                           const Axes &axes, int64_t vocabulary) {
  std::vector<int8_t> flags(chunk.targets.size() * vocabulary, 1);
  std::span<int8_t> rest(flags);
  for (int32_t i : chunk.sequences) {
    const Sequence &sequence = set.sequences[axes.viewSequences[i]];
    for (int64_t c = 0; c < sequence.kept.size(); ++c)
      sequence.kept.write(c, rest.subspan(c * vocabulary, vocabulary));
    rest = rest.subspan(sequence.chosen.size() * vocabulary);
  }
  return flags;
}

} // namespace r1c::runtime
