//===- RolloutTest.cpp - rollouts, views, packing -------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/rollout/Rollout.h"
#include "runtime/device/cpu/Cpu.h"
#include "runtime/rollout/Chunks.h"
#include "runtime/support/Philox.h"
#include "tests/runtime/TestArtifact.h"
#include <algorithm>
#include <gtest/gtest.h>
#include <random>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

// Known answers of Philox4x32-10 from Random123's own test vectors.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
            (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  uint32_t f = 0xffffffff;
  EXPECT_EQ(philox({f, f, f, f}, {f, f}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                   {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, PermutationIsOne) {
  auto order = permutation(100, keyOf(5), 1, 2, Draw::dataOrder);
  EXPECT_NE(order, permutation(100, keyOf(5), 1, 3, Draw::dataOrder));
  EXPECT_EQ(order, permutation(100, keyOf(5), 1, 2, Draw::dataOrder));
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 100; ++i)
    EXPECT_EQ(order[i], i);
}

/// The hash model on the CPU device; runs the two kernels as its program.
class HashModel {
public:
  HashModel(int64_t slots, int64_t capacity, int64_t rows, int64_t threads)
      : device(makeCpuDevice(threads)), slots(slots), capacity(capacity) {
    addHashPolicy(description, slots, capacity, rows);
    executable = device->load(testKernels());
    reload();
  }

  /// After a change of `description`.
  void reload() {
    manifest = Manifest::parse(dumpJson(description.json), 0);
    memory = std::make_unique<Memory>(*device, manifest, "");
    Fields policy(description.json["policies"][0], "policy");
    rollout = std::make_unique<Rollout>(policy.object("rollout"), *memory);
    weights.resize(16);
    for (int i = 0; i < 16; ++i)
      weights[i] = 0.25f * static_cast<float>(i);
    memory->buffer("actor.packed").write(weights);
    // What a cache holds before must not matter.
    memory->buffer("r.cache").write(
        std::vector<int32_t>(slots * capacity, -77));
  }

  std::string errorOf(const std::string &prompt,
                      const SampleSettings &settings) {
    try {
      run({prompt}, settings);
    } catch (const Error &error) {
      return error.what();
    }
    return "";
  }

  OutputSet run(const std::vector<std::string> &prompts,
                const SampleSettings &settings) {
    std::vector<Group> groups;
    for (const std::string &prompt : prompts)
      groups.push_back({&row, tokenizer->encode(prompt)});
    calls = 0;
    return rollout->run(groups, settings, *tokenizer, [&](int64_t) {
      ++calls;
      for (const Json &op : description.json["programs"]["actor.rollout"]) {
        std::vector<Operand> operands;
        for (const Json &arg : op["args"]) {
          Range range = memory->range(arg);
          operands.push_back({range.address, range.bytes});
        }
        KernelInfo kernel;
        kernel.symbol = op["kernel"].get<std::string>();
        device->dispatch(*executable->bind(kernel, operands));
      }
      if (afterCall)
        afterCall(memory->buffer("r.sample_count").read<int64_t>(1)[0]);
    });
  }

  TestManifest description;
  Manifest manifest;
  std::unique_ptr<Device> device;
  std::unique_ptr<Memory> memory;
  std::unique_ptr<Executable> executable;
  std::unique_ptr<Rollout> rollout;
  std::unique_ptr<Tokenizer> tokenizer = makeCharacters("0123456789+");
  std::vector<float> weights;
  Row row;
  int calls = 0;
  /// Runs after each call of the program, is told how many draws there were.
  std::function<void(int64_t)> afterCall;
  int64_t slots, capacity;
};

/// The same sequence, one token after the other, from its definition.
Sequence reference(const std::vector<int32_t> &prompt, int64_t number,
                   const SampleSettings &s, const Tokenizer &tokenizer,
                   const std::vector<float> &weights) {
  Sequence sequence;
  std::vector<int32_t> tokens = prompt;
  for (;;) {
    uint32_t noise[4] = {static_cast<uint32_t>(number),
                         static_cast<uint32_t>(tokens.size()), s.round, s.set};
    Drawn drawn = drawAfter(tokens, noise, s.seed,
                            static_cast<float>(s.temperature), weights);
    tokens.push_back(drawn.token);
    sequence.chosen.push_back(drawn.token);
    sequence.logp.push_back(drawn.logp);
    sequence.text = tokenizer.decode(sequence.chosen);
    bool stopped = drawn.token == 0;
    for (const std::string &stop : s.stops)
      stopped |= sequence.text.find(stop) != std::string::npos;
    if (stopped)
      return sequence;
    if (static_cast<int64_t>(sequence.chosen.size()) >= s.maxNewTokens) {
      sequence.truncated = true;
      return sequence;
    }
  }
}

// The bits of a rollout must not depend on slots, rows a call, or threads.
TEST(Rollout, EqualsItsDefinitionWhateverTheSlots) {
  std::vector<std::string> prompts = {"1",  "12+34", "123456789+123456789",
                                      "00", "7+7",   "1234"};
  SampleSettings settings;
  settings.groupSize = 5;
  settings.maxNewTokens = 20;
  settings.temperature = 0.7;
  settings.seed = 0x123456789abcdef;
  settings.round = 3;
  settings.set = 2;
  settings.firstGroup = 10;
  for (bool stops : {false, true}) {
    settings.stops = stops ? std::vector<std::string>{"34", "9+"}
                           : std::vector<std::string>{};
    for (auto [slots, rows, threads] :
         {std::tuple(1, 1, 1), std::tuple(2, 5, 1), std::tuple(7, 7, 2),
          std::tuple(8, 64, 3), std::tuple(64, 100, 1), std::tuple(30, 3, 1)}) {
      HashModel model(slots, 40, rows, threads);
      OutputSet set = model.run(prompts, settings);
      ASSERT_EQ(set.sequences.size(), 30u);
      for (size_t i = 0; i < set.sequences.size(); ++i) {
        const Sequence &sequence = set.sequences[i];
        EXPECT_EQ(sequence.group, static_cast<int32_t>(i / 5));
        Sequence expected =
            reference(set.groups[i / 5].prompt, static_cast<int64_t>(50 + i),
                      settings, *model.tokenizer, model.weights);
        EXPECT_EQ(sequence.chosen, expected.chosen) << i << " slots " << slots;
        EXPECT_EQ(sequence.logp, expected.logp);
        EXPECT_EQ(sequence.text, expected.text);
        EXPECT_EQ(sequence.truncated, expected.truncated);
      }
    }
  }
}

TEST(Rollout, PromptsRunOncePerGroupWhereSlotsOverlap) {
  SampleSettings settings;
  settings.groupSize = 8;
  settings.maxNewTokens = 1;
  HashModel model(8, 40, 40, 1);
  model.run({"123456789+123456789+123456789"}, settings);
  // 28 prompt rows and 8 draws: the first call prefills and draws one.
  EXPECT_EQ(model.calls, 2);
}

TEST(Rollout, RefusesWhatDoesNotFit) {
  HashModel model(2, 8, 8, 1);
  SampleSettings settings;
  settings.maxNewTokens = 4;
  EXPECT_NO_THROW(model.run({"12345"}, settings));
  EXPECT_THROW(model.run({"123456"}, settings), Error);
  EXPECT_THROW(model.run({""}, settings), Error);
  settings.topP = 0.9;
  EXPECT_THROW(model.run({"1"}, settings), Error); // no such buffer
}

// What the program leaves for a draw goes to the draw's sequence, in any slot.
TEST(Rollout, RecordsKeptSets) {
  SampleSettings settings;
  settings.groupSize = 3;
  settings.maxNewTokens = 6;
  settings.topP = 0.9;
  settings.recordKept = true;
  for (int64_t slots : {1, 4, 7}) {
    HashModel model(slots, 40, 16, 2);
    model.description.buffer("r.top_p", "f32", 1);
    Json &description = model.description.json["policies"][0]["rollout"];
    description["top_p"] = "r.top_p";
    model.reload();
    EXPECT_NE(model.errorOf("1", settings).find("leaves no kept sets"),
              std::string::npos);
    model.description.buffer("r.kept", "i1", slots * 12);
    description["kept"] = "r.kept";
    EXPECT_THROW(model.reload(), Error); // of which vocabulary?
    description["vocabulary"] = 12;
    model.reload();
    // The hash model has no filter: a set that tells who drew it stands in.
    model.afterCall = [&](int64_t draws) {
      auto noise = model.memory->buffer("r.noise").read<int32_t>(4 * draws);
      std::vector<int8_t> flags(draws * 12);
      for (int64_t i = 0; i < draws; ++i)
        flags[i * 12 + noise[4 * i]] = flags[i * 12 + 11 - noise[4 * i + 1]] =
            1;
      model.memory->buffer("r.kept").write(flags);
    };
    OutputSet set = model.run({"1", "12"}, settings);
    for (size_t i = 0; i < set.sequences.size(); ++i) {
      const Sequence &sequence = set.sequences[i];
      auto prompt = set.groupOf(sequence).prompt.size();
      ASSERT_EQ(sequence.kept.size(),
                static_cast<int64_t>(sequence.chosen.size()));
      for (size_t c = 0; c < sequence.chosen.size(); ++c) {
        std::vector<int8_t> expected(12), kept(12, -1);
        expected[i] = expected[11 - (prompt + c)] = 1;
        sequence.kept.write(static_cast<int64_t>(c), kept);
        EXPECT_EQ(kept, expected) << i << ", " << c;
      }
    }
    // A filter that is off keeps everything: there is nothing to remember.
    SampleSettings off = settings;
    off.topP = 1;
    for (const Sequence &sequence : model.run({"1"}, off).sequences)
      EXPECT_TRUE(sequence.kept.empty());
  }
}

TEST(KeptSets, GiveBackWhatWasAppended) {
  std::mt19937 random(3);
  for (int vocabulary : {1, 31, 32, 33, 1000}) {
    KeptSets sets;
    std::vector<std::vector<int8_t>> all;
    for (int i = 0; i < 50; ++i) {
      // From single tokens to nearly all.
      std::vector<int8_t> flags(vocabulary);
      for (int8_t &flag : flags)
        flag = random() % 50 < static_cast<unsigned>(i);
      all.push_back(flags);
      sets.append(flags);
    }
    ASSERT_EQ(sets.size(), 50);
    EXPECT_LE(sets.bytes(), 50 * (vocabulary + 31) / 32 * 4);
    for (int i = 0; i < 50; ++i) {
      std::vector<int8_t> flags(vocabulary, -1);
      sets.write(i, flags);
      EXPECT_EQ(flags, all[i]);
      // A policy with a longer or shorter table of tokens.
      std::vector<int8_t> longer(vocabulary + 70, -1), shorter(vocabulary / 2);
      sets.write(i, longer);
      all[i].resize(vocabulary + 70);
      EXPECT_EQ(longer, all[i]);
      sets.write(i, shorter);
      all[i].resize(vocabulary / 2);
      EXPECT_EQ(shorter, all[i]);
    }
  }
}

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
