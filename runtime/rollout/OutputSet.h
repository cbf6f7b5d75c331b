//===- OutputSet.h - what sample and read give ------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_ROLLOUT_OUTPUTSET_H
#define R1C_RUNTIME_ROLLOUT_OUTPUTSET_H

#include "runtime/data/DataSet.h"
#include "runtime/rollout/KeptSets.h"
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace r1c::runtime {

/// One prompt and the sequences that answer it.
struct Group {
  const Row *row = nullptr;
  std::vector<int32_t> prompt;
};

struct Sequence {
  int32_t group = 0;
  std::vector<int32_t>
      chosen;              ///< what the policy chose, the end token included
  std::vector<float> logp; ///< of each, as recorded
  std::string text;        ///< `chosen` decoded, without the end token
  bool truncated = false;  ///< cut at max_new_tokens
  const Recorded *recorded = nullptr; ///< read from another engine's line
  KeptSets kept = {}; ///< of each chosen token, where they were asked for
};

/// Sequences by group, in data order (docs/levels.md, section 0).
struct OutputSet {
  std::vector<Group> groups;
  std::vector<Sequence> sequences; ///< sorted by group

  const Group &groupOf(const Sequence &sequence) const {
    return groups[sequence.group];
  }
  /// The line of the data whose columns the sequence has, and where it stands.
  const Json &lineOf(const Sequence &sequence) const {
    return sequence.recorded ? sequence.recorded->line
                             : groupOf(sequence).row->line;
  }
  const std::string &originOf(const Sequence &sequence) const {
    return sequence.recorded ? sequence.recorded->origin
                             : groupOf(sequence).row->origin;
  }
  int64_t tokens() const;

  /// Appends the groups and sequences of another set.
  void append(OutputSet &&other);
  /// Keeps what is flagged; groups that lose every sequence go too.
  void keepGroups(std::span<const double> flags);
  void keepSequences(std::span<const double> flags);
  void truncateGroups(int64_t count);

private:
  void keep(const std::vector<bool> &kept);
};

/// The index arrays of a set or of a view of it; names as in the command
/// `axes`. Indices of a view count inside the view; `viewSequences`,
/// `viewGroups` and `viewTokens` lead back into the set.
struct Axes {
  std::vector<int32_t> viewSequences, viewGroups, viewTokens;
  std::vector<int32_t> sequenceOffsets, groupOffsets, groupTokenOffsets;
  std::vector<int32_t> tokenSequence, tokenGroup, sequenceGroup;

  int64_t tokens() const { return static_cast<int64_t>(tokenSequence.size()); }
  int64_t sequences() const {
    return static_cast<int64_t>(viewSequences.size());
  }
  int64_t groups() const { return static_cast<int64_t>(viewGroups.size()); }

  static Axes whole(const OutputSet &set);
  /// `sequences`: ascending indices into the set.
  static Axes view(const OutputSet &set, std::vector<int32_t> sequences);
};

/// Deals the set into minibatches: each a list of ascending sequence indices.
/// Whole groups, or single sequences if `tearGroups`. The order is drawn from
/// (seed, round, epoch); sizes differ by one at most; empty ones are left out.
std::vector<std::vector<int32_t>> deal(const OutputSet &set,
                                       int64_t minibatches, bool tearGroups,
                                       uint64_t seed, uint32_t round,
                                       uint32_t epoch);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_ROLLOUT_OUTPUTSET_H
