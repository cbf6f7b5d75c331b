//===- RolloutTest.cpp - sampling, and what it is told by -----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/rollout/Rollout.h"
#include "runtime/support/Philox.h"
#include "tests/runtime/DelayedDevice.h"
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

/// The hash model on the CPU, or on a device that runs so many steps ahead;
/// runs its three kernels as its program.
class HashModel {
public:
  HashModel(int64_t slots, int64_t capacity, int64_t rows, int64_t threads,
            std::optional<int64_t> ahead = {})
      : slots(slots), capacity(capacity) {
    if (ahead) {
      auto own = std::make_unique<DelayedDevice>(threads, *ahead);
      delayed = own.get();
      device = std::move(own);
    } else {
      device = makeCpuDevice(threads);
    }
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
    launches.clear();
    for (const Json &op : description.json["programs"]["actor.rollout"]) {
      std::vector<Operand> operands;
      for (const Json &arg : op["args"]) {
        Range range = memory->range(arg);
        operands.push_back({range.address, range.bytes});
      }
      KernelInfo kernel;
      kernel.symbol = op["kernel"].get<std::string>();
      launches.push_back(executable->bind(kernel, operands));
    }
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
    ran = 0;
    return rollout->run(groups, settings, *tokenizer, [&](int64_t rows) {
      ++calls;
      ran += rows;
      for (const auto &launch : launches)
        device->dispatch(*launch);
      if (afterCall)
        afterCall(memory->buffer("r.sample_count").read<int64_t>(1)[0]);
    });
  }

  TestManifest description;
  Manifest manifest;
  std::unique_ptr<Device> device;
  DelayedDevice *delayed = nullptr;
  std::unique_ptr<Memory> memory;
  std::unique_ptr<Executable> executable;
  std::vector<std::unique_ptr<Launch>> launches;
  std::unique_ptr<Rollout> rollout;
  std::unique_ptr<Tokenizer> tokenizer = makeCharacters("0123456789+");
  std::vector<float> weights;
  Row row;
  int calls = 0;
  int64_t ran = 0; ///< rows of all calls
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

void expectDefinition(const HashModel &model, const OutputSet &set,
                      const SampleSettings &settings) {
  for (size_t i = 0; i < set.sequences.size(); ++i) {
    const Sequence &sequence = set.sequences[i];
    auto number = static_cast<int64_t>(i);
    EXPECT_EQ(sequence.group, number / settings.groupSize);
    Sequence expected =
        reference(set.groupOf(sequence).prompt,
                  settings.firstGroup * settings.groupSize + number, settings,
                  *model.tokenizer, model.weights);
    EXPECT_EQ(sequence.chosen, expected.chosen) << i;
    EXPECT_EQ(sequence.logp, expected.logp) << i;
    EXPECT_EQ(sequence.text, expected.text) << i;
    EXPECT_EQ(sequence.truncated, expected.truncated) << i;
  }
}

// The bits of a rollout must not depend on slots, rows a call, threads, or how
// far the host is behind.
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
  using Ahead = std::optional<int64_t>;
  for (bool stops : {false, true}) {
    settings.stops = stops ? std::vector<std::string>{"34", "9+"}
                           : std::vector<std::string>{};
    for (auto [slots, rows, threads] :
         {std::tuple(1, 1, 1), std::tuple(2, 5, 1), std::tuple(7, 7, 2),
          std::tuple(8, 64, 3), std::tuple(64, 100, 1), std::tuple(30, 3, 1)})
      for (Ahead ahead : {Ahead(), Ahead(0), Ahead(1), Ahead(3)}) {
        SCOPED_TRACE(concat("slots ", slots, ", rows ", rows, ", ahead ",
                            ahead.value_or(-1)));
        HashModel model(slots, 40, rows, threads, ahead);
        OutputSet set = model.run(prompts, settings);
        ASSERT_EQ(set.sequences.size(), 30u);
        expectDefinition(model, set, settings);
        // A second run finds nothing of the first.
        set = model.run(prompts, settings);
        expectDefinition(model, set, settings);
      }
  }
}

// Few rows for many slots: a sequence that had no row in a call goes on where
// the host knows its last token, and not from what another one drew.
TEST(Rollout, SequencesThatMissACallGoOn) {
  std::mt19937 random(11);
  auto upTo = [&](unsigned most) { return 1 + random() % most; };
  for (int i = 0; i < 300; ++i) {
    SampleSettings settings;
    settings.groupSize = upTo(4);
    settings.maxNewTokens = upTo(6);
    settings.seed = random();
    int64_t slots = upTo(6), rows = upTo(6), ahead = upTo(4);
    SCOPED_TRACE(concat("slots ", slots, ", rows ", rows, ", ahead ", ahead,
                        ", case ", i));
    std::vector<std::string> prompts(upTo(5));
    for (std::string &prompt : prompts)
      for (unsigned length = upTo(6); length > 0; --length)
        prompt += "0123456789+"[random() % 11];
    HashModel model(slots, 6 + settings.maxNewTokens - 1, rows, 1, ahead);
    expectDefinition(model, model.run(prompts, settings), settings);
    if (HasFailure())
      return;
  }
}

// Sequences that end early and others that are cut, in slots that have no row
// to spare: what the host has not seen end must not write into the next slot.
TEST(Rollout, RowsBehindAnEndAreThrownAway) {
  SampleSettings settings;
  settings.groupSize = 12;
  settings.maxNewTokens = 9;
  settings.seed = 5;
  int64_t rows = 0;
  for (int64_t ahead : {0, 1, 2, 3, 20}) {
    SCOPED_TRACE(ahead);
    HashModel model(4, 11, 40, 1, ahead);
    OutputSet set = model.run({"12+", "777"}, settings);
    expectDefinition(model, set, settings);
    int64_t cut = 0, chosen = 0;
    for (const Sequence &sequence : set.sequences) {
      cut += sequence.truncated;
      chosen += static_cast<int64_t>(sequence.chosen.size());
    }
    EXPECT_GT(cut, 4);
    EXPECT_LT(cut, 20);
    // Nothing else is run more often: two rows of each prompt, one a token.
    EXPECT_EQ(model.ran - model.rollout->discardedRows(), chosen + 4);
    if (ahead == 0) {
      EXPECT_EQ(model.rollout->discardedRows(), 0);
      rows = model.ran;
    } else {
      // At most so many rows behind each sequence that was not cut.
      EXPECT_GT(model.rollout->discardedRows(), 0);
      EXPECT_LE(model.ran, rows + (24 - cut) * ahead);
    }
    if (ahead < 20) // that many steps never are under way
      EXPECT_EQ(model.delayed->mostBehind, ahead);
  }
}

// Artifacts of format 0.5 have no table for it: each call waits for the one
// before.
TEST(Rollout, ProgramsThatTakeNoTokensOfTheirOwnAreWaitedFor) {
  SampleSettings settings;
  settings.groupSize = 4;
  settings.maxNewTokens = 9;
  HashModel model(3, 40, 20, 1, 3);
  model.description.json["policies"][0]["rollout"].erase("previous");
  model.reload();
  expectDefinition(model, model.run({"12+", "777"}, settings), settings);
  EXPECT_EQ(model.rollout->discardedRows(), 0);
  EXPECT_EQ(model.delayed->mostBehind, 0);
  model.description.buffer("r.few", "i32", 19);
  model.description.json["policies"][0]["rollout"]["previous"] = "r.few";
  EXPECT_THROW(model.reload(), Error);
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
  // Their records are read call by call, whatever the device could do.
  for (auto [slots, ahead] :
       {std::pair(1, std::optional<int64_t>()), {4, {}}, {7, {}}, {5, 3}}) {
    HashModel model(slots, 40, 16, 2, ahead);
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

} // namespace
