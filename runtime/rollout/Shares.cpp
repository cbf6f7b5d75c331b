//===- Shares.cpp - what each rank works on -------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/rollout/Shares.h"
#include "runtime/support/Bytes.h"
#include <algorithm>
#include <numeric>

namespace r1c::runtime {

namespace {

/// What a chunk costs, in rows: nothing is learnt from idle ones, and a
/// backward takes about twice as long as the forward.
int64_t costOf(const Chunk &chunk, const Packing &packing) {
  auto rows = static_cast<int64_t>(chunk.tokens.size());
  bool isIdle = !packing.idle.empty() && packing.idle[chunk.sequences.front()];
  return packing.idle.empty() || isIdle ? rows : 3 * rows;
}

/// Deals the chunks; gives the cost of the busiest rank.
int64_t deal(Shares &shares, const Packing &packing, int64_t ranks) {
  std::vector<size_t> order(shares.chunks.size());
  std::iota(order.begin(), order.end(), 0);
  std::vector<int64_t> costs, load(ranks), count(ranks);
  for (const Chunk &chunk : shares.chunks)
    costs.push_back(costOf(chunk, packing));
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return costs[a] > costs[b]; });
  shares.ranks.resize(order.size());
  for (size_t chunk : order) {
    auto least = std::min_element(load.begin(), load.end()) - load.begin();
    shares.ranks[chunk] = static_cast<int32_t>(least);
    load[least] += costs[chunk];
    ++count[least];
  }
  shares.most = *std::max_element(count.begin(), count.end());
  return *std::max_element(load.begin(), load.end());
}

/// Rows of the longest sequence of the view.
int64_t longest(const OutputSet &set, const Axes &axes) {
  int64_t most = 1;
  for (int32_t s : axes.viewSequences) {
    const Sequence &sequence = set.sequences[s];
    most = std::max(most,
                    static_cast<int64_t>(set.groupOf(sequence).prompt.size() +
                                         sequence.chosen.size()) -
                        1);
  }
  return most;
}

} // namespace

Shares shareChunks(const OutputSet &set, const Axes &axes,
                   const Packing &packing, int64_t ranks) {
  Shares best;
  best.chunks = packChunks(set, axes, packing);
  int64_t cost = deal(best, packing, ranks);
  if (ranks == 1 || best.chunks.empty())
    return best;
  // So many chunks a rank as there must be, each somewhat above the mean: a
  // tight one leaves no room for sequences that do not divide.
  int64_t rows = 0, least = longest(set, axes);
  for (const Chunk &chunk : best.chunks)
    rows += static_cast<int64_t>(chunk.tokens.size());
  int64_t each = (rows + ranks * packing.rows - 1) / (ranks * packing.rows);
  for (int64_t eighths : {8, 9, 10, 12}) {
    Packing smaller = packing;
    int64_t parts = 8 * ranks * each;
    smaller.rows = std::max(least, (rows * eighths + parts - 1) / parts);
    if (smaller.rows >= packing.rows)
      break;
    Shares tried;
    tried.chunks = packChunks(set, axes, smaller);
    if (int64_t its = deal(tried, smaller, ranks); its < cost) {
      cost = its;
      best = std::move(tried);
    }
  }
  return best;
}

std::string sequencesToBytes(std::span<const Sequence> sequences) {
  std::string bytes;
  for (const Sequence &sequence : sequences) {
    appendBytes(bytes,
                std::vector<int32_t>{sequence.group, sequence.truncated});
    appendBytes(bytes, sequence.chosen);
    appendBytes(bytes, sequence.logp);
    sequence.kept.save(bytes);
  }
  return bytes;
}

void sequencesFromBytes(std::string_view &from, int64_t firstGroup,
                        const Tokenizer &tokenizer, std::vector<Sequence> &to) {
  while (!from.empty()) {
    Sequence sequence;
    std::vector<int32_t> head = takeBytes<int32_t>(from);
    sequence.group = head.at(0) + static_cast<int32_t>(firstGroup);
    sequence.truncated = head.at(1) != 0;
    sequence.chosen = takeBytes<int32_t>(from);
    sequence.logp = takeBytes<float>(from);
    sequence.kept.load(from);
    sequence.text = tokenizer.decode(sequence.chosen);
    to.push_back(std::move(sequence));
  }
}

} // namespace r1c::runtime
