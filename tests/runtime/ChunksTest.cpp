//===- ChunksTest.cpp - sets, views, packing ------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/rollout/Chunks.h"
#include <algorithm>
#include <gtest/gtest.h>
#include <random>

using namespace r1c;
using namespace r1c::runtime;

namespace {

OutputSet randomSet(unsigned seed, int groups, int groupSize, int longest) {
  std::mt19937 random(seed);
  OutputSet set;
  for (int g = 0; g < groups; ++g) {
    Group group;
    group.prompt.resize(1 + random() % longest);
    for (int32_t &token : group.prompt)
      token = static_cast<int32_t>(random() % 100);
    set.groups.push_back(group);
    for (int i = 0; i < groupSize; ++i) {
      Sequence sequence;
      sequence.group = g;
      sequence.chosen.resize(1 + random() % longest);
      for (int32_t &token : sequence.chosen)
        token = static_cast<int32_t>(random() % 100);
      set.sequences.push_back(sequence);
    }
  }
  return set;
}

TEST(Axes, WholeAndView) {
  OutputSet set;
  set.groups.resize(3);
  for (auto [group, length] : {std::pair(0, 2), {0, 1}, {1, 3}, {2, 1}, {2, 2}})
    set.sequences.push_back(
        {group, std::vector<int32_t>(length, 7), {}, "", false});
  using V = std::vector<int32_t>;
  Axes whole = Axes::whole(set);
  EXPECT_EQ(whole.sequenceOffsets, (V{0, 2, 3, 6, 7, 9}));
  EXPECT_EQ(whole.groupOffsets, (V{0, 2, 3, 5}));
  EXPECT_EQ(whole.groupTokenOffsets, (V{0, 3, 6, 9}));
  EXPECT_EQ(whole.tokenSequence, (V{0, 0, 1, 2, 2, 2, 3, 4, 4}));
  EXPECT_EQ(whole.tokenGroup, (V{0, 0, 0, 1, 1, 1, 2, 2, 2}));
  EXPECT_EQ(whole.sequenceGroup, (V{0, 0, 1, 2, 2}));
  EXPECT_EQ(whole.viewTokens, (V{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  Axes view = Axes::view(set, {1, 4});
  EXPECT_EQ(view.sequenceOffsets, (V{0, 1, 3}));
  EXPECT_EQ(view.groupOffsets, (V{0, 1, 2}));
  EXPECT_EQ(view.groupTokenOffsets, (V{0, 1, 3}));
  EXPECT_EQ(view.sequenceGroup, (V{0, 1}));
  EXPECT_EQ(view.viewGroups, (V{0, 2}));
  EXPECT_EQ(view.viewSequences, (V{1, 4}));
  EXPECT_EQ(view.viewTokens, (V{2, 7, 8}));
  Axes empty = Axes::view(set, {});
  EXPECT_EQ(empty.sequenceOffsets, (V{0}));
  EXPECT_EQ(empty.groupOffsets, (V{0}));
}

TEST(OutputSet, KeepsWhatIsFlagged) {
  OutputSet set = randomSet(1, 4, 2, 5);
  OutputSet copy = set;
  copy.keepGroups(std::vector<double>{0, 1, 0, 1});
  ASSERT_EQ(copy.groups.size(), 2u);
  EXPECT_EQ(copy.groups[0].prompt, set.groups[1].prompt);
  EXPECT_EQ(copy.sequences[2].chosen, set.sequences[6].chosen);
  EXPECT_EQ(copy.sequences[2].group, 1);
  set.keepSequences(std::vector<double>{0, 0, 1, 0, 0, 0, 1, 1});
  EXPECT_EQ(set.groups.size(), 2u);
  ASSERT_EQ(set.sequences.size(), 3u);
  EXPECT_EQ(set.sequences[0].group, 0);
  EXPECT_EQ(set.sequences[2].group, 1);
}

TEST(Deal, EverySequenceOnceAndGroupsWhole) {
  OutputSet set = randomSet(2, 10, 3, 4);
  for (bool tear : {false, true}) {
    auto batches = deal(set, 4, tear, 9, 1, 0);
    ASSERT_EQ(batches.size(), 4u);
    std::vector<int> seen(30);
    for (auto &batch : batches) {
      EXPECT_TRUE(std::is_sorted(batch.begin(), batch.end()));
      for (int32_t s : batch)
        ++seen[s];
      if (!tear)
        for (int32_t s : batch)
          for (int32_t t = s / 3 * 3; t < s / 3 * 3 + 3; ++t)
            EXPECT_TRUE(std::binary_search(batch.begin(), batch.end(), t));
    }
    EXPECT_EQ(seen, std::vector<int>(30, 1));
    EXPECT_EQ(batches, deal(set, 4, tear, 9, 1, 0));
    EXPECT_NE(batches, deal(set, 4, tear, 9, 2, 0));
    EXPECT_NE(batches, deal(set, 4, tear, 9, 1, 1));
    EXPECT_NE(batches, deal(set, 4, tear, 8, 1, 0));
  }
  EXPECT_EQ(deal(set, 12, false, 9, 1, 0).size(), 10u); // never an empty one
}

/// Every chosen token of the view has one target row, and what that row sees,
/// through its own and the shared keys, is the text before the token.
void checkChunks(const OutputSet &set, const Axes &axes, const Packing &packing,
                 const std::vector<Chunk> &chunks) {
  std::vector<int> seen(axes.tokens()), wanted(axes.tokens(), 1);
  for (int64_t token = 0; token < axes.tokens(); ++token)
    if (packing.dropIdle && packing.idle[axes.tokenSequence[token]])
      wanted[token] = 0;
  for (const Chunk &chunk : chunks) {
    auto rows = static_cast<int32_t>(chunk.tokens.size());
    EXPECT_LE(rows, packing.rows);
    EXPECT_LE(chunk.units(), packing.units);
    EXPECT_EQ(chunk.offsets.front(), 0);
    EXPECT_EQ(chunk.offsets.back(), rows);
    for (int64_t u = 0; u < chunk.units(); ++u)
      for (int32_t r = chunk.offsets[u]; r < chunk.offsets[u + 1]; ++r) {
        // The last key of a row is the row itself, and all lie in its unit.
        EXPECT_EQ(chunk.bases[r] + chunk.positions[r], r);
        EXPECT_LE(chunk.shared[r], chunk.positions[r]);
        EXPECT_EQ(chunk.sharedBases[r], chunk.offsets[u]);
        EXPECT_GE(chunk.bases[r] + chunk.shared[r], chunk.offsets[u]);
      }
    for (size_t t = 0; t < chunk.targets.size(); ++t) {
      int32_t token = chunk.tokenIndex[t], row = chunk.targetRows[t];
      ++seen[token];
      int32_t in = axes.tokenSequence[token];
      const Sequence &sequence = set.sequences[axes.viewSequences[in]];
      std::vector<int32_t> text = set.groups[sequence.group].prompt;
      int32_t place = token - axes.sequenceOffsets[in];
      text.insert(text.end(), sequence.chosen.begin(),
                  sequence.chosen.begin() + place);
      EXPECT_EQ(chunk.targets[t], sequence.chosen[place]);
      ASSERT_EQ(chunk.positions[row] + 1, static_cast<int32_t>(text.size()));
      for (int32_t p = 0; p <= chunk.positions[row]; ++p) {
        int32_t key =
            (p < chunk.shared[row] ? chunk.sharedBases : chunk.bases)[row] + p;
        EXPECT_EQ(chunk.tokens[key], text[p]);
        EXPECT_EQ(chunk.positions[key], p);
      }
    }
    EXPECT_TRUE(
        std::adjacent_find(chunk.targetRows.begin(), chunk.targetRows.end()) ==
        chunk.targetRows.end());
  }
  EXPECT_EQ(seen, wanted);
}

TEST(Chunks, EveryTokenIsPredictedOnceFromWhatStandsBeforeIt) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    OutputSet set = randomSet(seed, 6, 3, 12);
    if (seed % 5 == 0)
      for (Group &group : set.groups)
        group.prompt.resize(1);
    std::vector<int32_t> chosen;
    for (int32_t i = 0; i < 18; ++i)
      if ((seed + i) % 3)
        chosen.push_back(i);
    Axes axes = Axes::view(set, chosen);
    Packing packing{24 + seed};
    if (seed % 4 == 0)
      packing.units = 2;
    if (seed % 2)
      for (int64_t i = 0; i < axes.sequences(); ++i)
        packing.idle.push_back((i + seed) % 5 < 2);
    packing.dropIdle = seed % 4 == 3;
    checkChunks(set, axes, packing, packChunks(set, axes, packing));
  }
}

OutputSet setOfLengths(int prompt, std::vector<int> lengths) {
  OutputSet set;
  set.groups.resize(1);
  set.groups[0].prompt.resize(prompt, 1);
  for (int length : lengths)
    set.sequences.push_back(
        {0, std::vector<int32_t>(length, 1), {}, "", false});
  return set;
}

TEST(Chunks, AGroupSharesTheRowsOfItsPrompt) {
  OutputSet set = setOfLengths(5, {3, 1, 4});
  Axes axes = Axes::whole(set);
  auto chunks = packChunks(set, axes, {100});
  ASSERT_EQ(chunks.size(), 1u);
  // Four rows once, then each sequence's last row of the prompt and its own.
  EXPECT_EQ(chunks[0].tokens.size(), 4u + 3 + 1 + 4);
  EXPECT_EQ(chunks[0].units(), 1);
  EXPECT_EQ(chunks[0].sharedRows, 8);
  EXPECT_EQ(chunks[0].targetRows,
            (std::vector<int32_t>{4, 5, 6, 7, 8, 9, 10, 11}));
  // Where a chunk ends, the prompt stands again.
  chunks = packChunks(set, axes, {10});
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0].tokens.size(), 4u + 3 + 1);
  EXPECT_EQ(chunks[1].tokens.size(), 4u + 4);
  EXPECT_EQ(chunks[1].shared, std::vector<int32_t>(8, 0));
}

TEST(Chunks, IdleSequencesStandApart) {
  OutputSet set = setOfLengths(5, {3, 1, 4, 2});
  Axes axes = Axes::whole(set);
  Packing packing{100, 100, {false, true, false, true}};
  auto chunks = packChunks(set, axes, packing);
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0].sequences, (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(chunks[1].sequences, (std::vector<int32_t>{1, 3}));
  packing.dropIdle = true;
  chunks = packChunks(set, axes, packing);
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0].sequences, (std::vector<int32_t>{0, 2}));
  chunks[0].keepTargets({true, false, false, true, false, true, false});
  EXPECT_EQ(chunks[0].targetRows, (std::vector<int32_t>{4, 7, 9}));
}

TEST(Chunks, KeptSetsOfTheirTargets) {
  OutputSet set = randomSet(4, 5, 3, 9);
  std::mt19937 random(5);
  const int64_t vocabulary = 40;
  for (Sequence &sequence : set.sequences)
    for (size_t c = 0; c < sequence.chosen.size() && sequence.group != 2; ++c) {
      std::vector<int8_t> flags(vocabulary);
      for (int8_t &flag : flags)
        flag = random() % 3 == 0;
      sequence.kept.append(flags);
    }
  Axes axes = Axes::view(set, {0, 2, 3, 7, 8, 11, 14});
  size_t targets = 0;
  for (const Chunk &chunk : packChunks(set, axes, {20})) {
    std::vector<int8_t> flags = keptOf(chunk, set, axes, vocabulary);
    ASSERT_EQ(flags.size(), chunk.targets.size() * vocabulary);
    for (size_t t = 0; t < chunk.targets.size(); ++t, ++targets) {
      int32_t in = axes.tokenSequence[chunk.tokenIndex[t]];
      const Sequence &sequence = set.sequences[axes.viewSequences[in]];
      // Group 2 is without: all tokens are kept.
      std::vector<int8_t> expected(vocabulary, 1);
      if (sequence.group != 2)
        sequence.kept.write(chunk.tokenIndex[t] - axes.sequenceOffsets[in],
                            expected);
      std::span row = std::span(flags).subspan(t * vocabulary, vocabulary);
      EXPECT_TRUE(std::equal(row.begin(), row.end(), expected.begin()));
    }
  }
  EXPECT_EQ(static_cast<int64_t>(targets), axes.tokens());
}

TEST(Chunks, BestFitDecreasing) {
  // Rows = chosen, with a prompt of one.
  OutputSet set = setOfLengths(1, {3, 7, 5, 2, 3});
  auto chunks = packChunks(set, Axes::whole(set), {10});
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0].sequences, (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(chunks[1].sequences, (std::vector<int32_t>{2, 3, 4}));
  EXPECT_THROW(packChunks(set, Axes::whole(set), {6}), Error);
}

} // namespace
