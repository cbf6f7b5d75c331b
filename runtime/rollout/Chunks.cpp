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

namespace {

/// Sequences of one group that share the rows of their prompt.
struct Unit {
  std::vector<int32_t> sequences;
  int64_t shared = 0, rows = 0;
  bool idle = false;
};

class Packer {
public:
  Packer(const OutputSet &set, const Axes &axes, const Packing &packing)
      : set(set), axes(axes), packing(packing) {}

  std::vector<Chunk> pack() {
    collect();
    std::vector<size_t> order(units.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return units[a].rows != units[b].rows ? units[a].rows > units[b].rows
                                            : a < b;
    });
    for (size_t unit : order)
      place(unit);
    for (Bin &bin : bins)
      std::sort(bin.units.begin(), bin.units.end());
    std::sort(bins.begin(), bins.end(), [](const Bin &a, const Bin &b) {
      return a.units.front() < b.units.front();
    });
    std::vector<Chunk> chunks;
    for (const Bin &bin : bins)
      chunks.push_back(write(bin));
    return chunks;
  }

private:
  struct Bin {
    int64_t room;
    std::vector<size_t> units;
  };

  const Sequence &sequence(int32_t i) const {
    return set.sequences[axes.viewSequences[i]];
  }
  bool isIdle(int32_t i) const {
    return !packing.idle.empty() && packing.idle[i];
  }

  /// Units in the order of their first sequence.
  void collect() {
    for (int32_t first = 0; first < axes.sequences();) {
      int32_t end = first + 1;
      while (end < axes.sequences() &&
             sequence(end).group == sequence(first).group)
        ++end;
      std::vector<Unit> ofGroup;
      collect(first, end, false, ofGroup);
      if (!packing.dropIdle)
        collect(first, end, true, ofGroup);
      std::sort(ofGroup.begin(), ofGroup.end(), [](Unit &a, Unit &b) {
        return a.sequences.front() < b.sequences.front();
      });
      std::move(ofGroup.begin(), ofGroup.end(), std::back_inserter(units));
      first = end;
    }
  }

  void collect(int32_t first, int32_t end, bool idle, std::vector<Unit> &to) {
    const Group &group = set.groupOf(sequence(first));
    auto prompt = static_cast<int64_t>(group.prompt.size());
    Unit unit;
    auto finish = [&] {
      unit.idle = idle;
      // Alone, a sequence shares nothing.
      if (unit.sequences.size() == 1)
        unit.shared = 0;
      if (!unit.sequences.empty())
        to.push_back(std::move(unit));
      unit = {};
    };
    for (int32_t i = first; i < end; ++i) {
      auto chosen = static_cast<int64_t>(sequence(i).chosen.size());
      // Nothing chosen: nothing to score or to learn from.
      if (chosen == 0 || isIdle(i) != idle)
        continue;
      int64_t alone = prompt + chosen - 1;
      if (alone > packing.rows)
        throw Error(group.row ? group.row->origin : "sequence", ": ", alone,
                    " tokens do not fit in a chunk of ", packing.rows, " rows");
      if (unit.sequences.empty() || prompt < 2 ||
          unit.rows + chosen > packing.rows) {
        finish();
        unit = {{i}, prompt - 1, alone};
        continue;
      }
      unit.sequences.push_back(i);
      unit.rows += chosen;
    }
    finish();
  }

  void place(size_t index) {
    const Unit &unit = units[index];
    auto &rooms = byRoom[unit.idle];
    auto at = rooms.lower_bound({unit.rows, 0});
    size_t bin;
    if (at == rooms.end()) {
      bin = bins.size();
      bins.push_back({packing.rows, {}});
    } else {
      bin = at->second;
      rooms.erase(at);
    }
    bins[bin].room -= unit.rows;
    bins[bin].units.push_back(index);
    if (static_cast<int64_t>(bins[bin].units.size()) < packing.units)
      rooms.insert({bins[bin].room, bin});
  }

  Chunk write(const Bin &bin) const {
    Chunk chunk;
    chunk.offsets.push_back(0);
    for (size_t index : bin.units) {
      const Unit &unit = units[index];
      auto start = static_cast<int32_t>(chunk.tokens.size());
      auto shared = static_cast<int32_t>(unit.shared);
      const std::vector<int32_t> &prompt =
          set.groupOf(sequence(unit.sequences.front())).prompt;
      for (int32_t p = 0; p < shared; ++p)
        addRow(chunk, prompt[p], p, start, 0, start);
      for (int32_t i : unit.sequences)
        write(chunk, i, prompt, shared, start);
      chunk.sharedRows +=
          unit.shared * (static_cast<int64_t>(unit.sequences.size()) - 1);
      chunk.offsets.push_back(static_cast<int32_t>(chunk.tokens.size()));
      chunk.sequences.insert(chunk.sequences.end(), unit.sequences.begin(),
                             unit.sequences.end());
    }
    return chunk;
  }

  /// The rows of a sequence from position `shared` on, and its targets.
  void write(Chunk &chunk, int32_t i, const std::vector<int32_t> &prompt,
             int32_t shared, int32_t start) const {
    const std::vector<int32_t> &chosen = sequence(i).chosen;
    auto prompts = static_cast<int32_t>(prompt.size());
    auto count = static_cast<int32_t>(chosen.size());
    int32_t base = static_cast<int32_t>(chunk.tokens.size()) - shared;
    for (int32_t p = shared; p < prompts + count - 1; ++p)
      addRow(chunk, p < prompts ? prompt[p] : chosen[p - prompts], p, base,
             shared, start);
    for (int32_t c = 0; c < count; ++c) {
      chunk.targetRows.push_back(base + prompts - 1 + c);
      chunk.targets.push_back(chosen[c]);
      chunk.tokenIndex.push_back(axes.sequenceOffsets[i] + c);
    }
  }

  static void addRow(Chunk &chunk, int32_t token, int32_t position,
                     int32_t base, int32_t shared, int32_t sharedBase) {
    chunk.tokens.push_back(token);
    chunk.positions.push_back(position);
    chunk.bases.push_back(base);
    chunk.shared.push_back(shared);
    chunk.sharedBases.push_back(sharedBase);
  }

  const OutputSet &set;
  const Axes &axes;
  const Packing &packing;
  std::vector<Unit> units;
  std::vector<Bin> bins;
  /// (room, bin): best fit in log n; idle units have bins of their own.
  std::set<std::pair<int64_t, size_t>> byRoom[2];
};

} // namespace

std::vector<Chunk> packChunks(const OutputSet &set, const Axes &axes,
                              const Packing &packing) {
  return Packer(set, axes, packing).pack();
}

void Chunk::keepTargets(const std::vector<bool> &keep) {
  size_t to = 0;
  for (size_t i = 0; i < keep.size(); ++i) {
    if (!keep[i])
      continue;
    targetRows[to] = targetRows[i];
    targets[to] = targets[i];
    tokenIndex[to] = tokenIndex[i];
    ++to;
  }
  for (auto *each : {&targetRows, &targets, &tokenIndex})
    each->resize(to);
}

Chunk Chunk::slice(int64_t first, int64_t count) const {
  Chunk part = *this;
  for (auto *each : {&part.targetRows, &part.targets, &part.tokenIndex})
    *each = std::vector<int32_t>(each->begin() + first,
                                 each->begin() + first + count);
  return part;
}

std::vector<int8_t> keptOf(const Chunk &chunk, const OutputSet &set,
                           const Axes &axes, int64_t vocabulary) {
  std::vector<int8_t> flags(chunk.targets.size() * vocabulary, 1);
  std::span<int8_t> rest(flags);
  for (int32_t token : chunk.tokenIndex) {
    int32_t i = axes.tokenSequence[token];
    const Sequence &sequence = set.sequences[axes.viewSequences[i]];
    int64_t c = token - axes.sequenceOffsets[i];
    if (c < sequence.kept.size())
      sequence.kept.write(c, rest.first(vocabulary));
    rest = rest.subspan(vocabulary);
  }
  return flags;
}

} // namespace r1c::runtime
