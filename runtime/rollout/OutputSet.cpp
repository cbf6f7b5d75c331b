//===- OutputSet.cpp - what sample and read give --------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/rollout/OutputSet.h"
#include "runtime/support/Philox.h"
#include <algorithm>
#include <numeric>

namespace r1c::runtime {

int64_t OutputSet::tokens() const {
  int64_t total = 0;
  for (const Sequence &sequence : sequences)
    total += static_cast<int64_t>(sequence.chosen.size());
  return total;
}

void OutputSet::append(OutputSet &&other) {
  auto first = static_cast<int32_t>(groups.size());
  for (Group &group : other.groups)
    groups.push_back(std::move(group));
  for (Sequence &sequence : other.sequences) {
    sequence.group += first;
    sequences.push_back(std::move(sequence));
  }
}

void OutputSet::keepGroups(std::span<const double> flags) {
  std::vector<bool> kept(sequences.size());
  for (size_t i = 0; i < sequences.size(); ++i)
    kept[i] = flags[sequences[i].group] != 0;
  keep(kept);
}

void OutputSet::keepSequences(std::span<const double> flags) {
  std::vector<bool> kept(sequences.size());
  for (size_t i = 0; i < sequences.size(); ++i)
    kept[i] = flags[i] != 0;
  keep(kept);
}

void OutputSet::keep(const std::vector<bool> &kept) {
  std::vector<int32_t> place(groups.size(), -1);
  std::vector<Group> newGroups;
  std::vector<Sequence> newSequences;
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (!kept[i])
      continue;
    int32_t group = sequences[i].group;
    if (place[group] < 0) {
      place[group] = static_cast<int32_t>(newGroups.size());
      newGroups.push_back(std::move(groups[group]));
    }
    newSequences.push_back(std::move(sequences[i]));
    newSequences.back().group = place[group];
  }
  groups = std::move(newGroups);
  sequences = std::move(newSequences);
}

void OutputSet::truncateGroups(int64_t count) {
  if (static_cast<int64_t>(groups.size()) <= count)
    return;
  groups.resize(count);
  while (!sequences.empty() && sequences.back().group >= count)
    sequences.pop_back();
}

Axes Axes::whole(const OutputSet &set) {
  std::vector<int32_t> all(set.sequences.size());
  std::iota(all.begin(), all.end(), 0);
  return view(set, std::move(all));
}

Axes Axes::view(const OutputSet &set, std::vector<int32_t> chosen) {
  Axes axes;
  std::vector<int32_t> firstToken(set.sequences.size() + 1, 0);
  for (size_t i = 0; i < set.sequences.size(); ++i)
    firstToken[i + 1] =
        firstToken[i] + static_cast<int32_t>(set.sequences[i].chosen.size());
  axes.sequenceOffsets.push_back(0);
  for (size_t i = 0; i < chosen.size(); ++i) {
    const Sequence &sequence = set.sequences[chosen[i]];
    if (axes.viewGroups.empty() || axes.viewGroups.back() != sequence.group) {
      axes.groupOffsets.push_back(static_cast<int32_t>(i));
      axes.groupTokenOffsets.push_back(axes.sequenceOffsets.back());
      axes.viewGroups.push_back(sequence.group);
    }
    auto group = static_cast<int32_t>(axes.viewGroups.size() - 1);
    axes.sequenceGroup.push_back(group);
    for (int32_t t = firstToken[chosen[i]]; t < firstToken[chosen[i] + 1];
         ++t) {
      axes.viewTokens.push_back(t);
      axes.tokenSequence.push_back(static_cast<int32_t>(i));
      axes.tokenGroup.push_back(group);
    }
    axes.sequenceOffsets.push_back(
        static_cast<int32_t>(axes.viewTokens.size()));
  }
  axes.groupOffsets.push_back(static_cast<int32_t>(chosen.size()));
  axes.groupTokenOffsets.push_back(axes.sequenceOffsets.back());
  axes.viewSequences = std::move(chosen);
  return axes;
}

std::vector<std::vector<int32_t>> deal(const OutputSet &set,
                                       int64_t minibatches, bool tearGroups,
                                       uint64_t seed, uint32_t round,
                                       uint32_t epoch) {
  auto units = static_cast<int64_t>(tearGroups ? set.sequences.size()
                                               : set.groups.size());
  std::vector<int64_t> order =
      permutation(units, keyOf(seed), round, epoch, Draw::minibatches);
  std::vector<std::vector<int32_t>> result;
  for (int64_t m = 0; m < minibatches; ++m) {
    std::vector<bool> taken(units);
    for (int64_t i = m * units / minibatches; i < (m + 1) * units / minibatches;
         ++i)
      taken[order[i]] = true;
    std::vector<int32_t> view;
    for (size_t s = 0; s < set.sequences.size(); ++s)
      if (taken[tearGroups ? static_cast<int64_t>(s) : set.sequences[s].group])
        view.push_back(static_cast<int32_t>(s));
    if (!view.empty())
      result.push_back(std::move(view));
  }
  return result;
}

} // namespace r1c::runtime
