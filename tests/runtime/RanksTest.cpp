//===- RanksTest.cpp - collectives between ranks --------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/rollout/Shares.h"
#include "runtime/support/Bytes.h"
#include "runtime/support/Error.h"
#include "tests/runtime/ThreadTransport.h"
#include <gtest/gtest.h>
#include <random>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

/// Numbers of very different sizes: their sum depends on its order.
std::vector<float> randomNumbers(unsigned seed, size_t count) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> exponent(-20, 20);
  std::vector<float> numbers(count);
  for (float &number : numbers)
    number = normal(random) * std::exp2(exponent(random));
  return numbers;
}

TEST(Ranks, SumInRankOrder) {
  unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  for (int ranks : {2, 3, 5})
    for (size_t count : {0, 1, 15, 17, 1000, 3 * (1 << 18) * 2 + 77}) {
      SCOPED_TRACE(testing::Message() << ranks << " ranks, " << count);
      std::vector<std::vector<float>> given, got(ranks);
      for (int rank = 0; rank < ranks; ++rank)
        given.push_back(randomNumbers(seed + rank, count));
      std::vector<float> wanted = given[0], backwards = given[ranks - 1];
      for (int rank = 1; rank < ranks; ++rank)
        for (size_t i = 0; i < count; ++i) {
          wanted[i] += given[rank][i];
          backwards[i] += given[ranks - 1 - rank][i];
        }
      if (ranks > 2 && count >= 1000)
        EXPECT_NE(wanted, backwards) << "the order does not show";
      onRanks(ranks, 60, [&](Collective &collective) {
        auto rank = static_cast<size_t>(collective.rank());
        std::vector<float> &own = got[rank] = given[rank];
        auto *start = reinterpret_cast<char *>(own.data());
        // Two buckets: one of the middle third, one of the rest.
        auto a = static_cast<int64_t>(count / 3), b = 2 * a,
             end = static_cast<int64_t>(count);
        collective.startSum({{start + 4 * a, b - a}}, {"all_reduce", "x:1:1"});
        collective.startSum({{start, a}, {start + 4 * b, end - b}},
                            {"all_reduce", "x:1:1"});
        std::vector<Summed> summed = collective.finishSums();
        ASSERT_EQ(summed.size(), 2u);
        EXPECT_EQ(summed[0].bytes + summed[1].bytes, 4 * end);
      });
      for (int rank = 0; rank < ranks; ++rank)
        EXPECT_EQ(got[rank], wanted) << rank;
    }
}

TEST(Ranks, GatherInRankOrder) {
  std::mt19937 random(std::random_device{}());
  for (int ranks : {2, 4}) {
    std::vector<std::string> given(ranks);
    for (int rank = 1; rank < ranks; ++rank) // rank 0 brings nothing
      for (size_t n = random() % 100000; given[rank].size() < n;)
        given[rank] += static_cast<char>(random());
    onRanks(ranks, 60, [&](Collective &collective) {
      for (int round = 0; round < 3; ++round)
        EXPECT_EQ(collective.gather(given[collective.rank()], {"gather", ""}),
                  given);
    });
  }
}

/// A rank may begin its sums before a gather that another one does first.
TEST(Ranks, SumsAndGathersDoNotWaitForEachOther) {
  onRanks(3, 60, [](Collective &collective) {
    std::vector<float> numbers(1000, 1.0f + collective.rank());
    auto begin = [&] {
      collective.startSum({{reinterpret_cast<char *>(numbers.data()), 1000}},
                          {"all_reduce", ""});
    };
    if (collective.rank() == 1)
      begin();
    EXPECT_EQ(collective.gather("x", {"gather", ""}).size(), 3u);
    if (collective.rank() != 1)
      begin();
    collective.finishSums();
    EXPECT_EQ(numbers, std::vector<float>(1000, 6.0f));
  });
}

std::string errorOf(const std::function<void()> &body) {
  try {
    body();
  } catch (const Error &error) {
    return error.what();
  }
  return "";
}

TEST(Ranks, OneThatDoesNotArriveIsNamed) {
  for (bool isSum : {false, true})
    onRanks(3, 0.4, [&](Collective &collective) {
      if (collective.rank() == 1) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1200));
        return;
      }
      float number = 0;
      Place place{isSum ? "all_reduce" : "gather of samples", "step.r1:3:4"};
      auto begin = std::chrono::steady_clock::now();
      std::string text = errorOf([&] {
        if (!isSum)
          collective.gather("x", place);
        collective.startSum({{reinterpret_cast<char *>(&number), 1}}, place);
        collective.finishSums();
      });
      double waited = std::chrono::duration<double>(
                          std::chrono::steady_clock::now() - begin)
                          .count();
      EXPECT_EQ(text.find(place.what + ": not arrived within 0.4 s "
                                       "(--collective-timeout): rank 1 "),
                0u)
          << text;
      EXPECT_EQ(text.find("rank 0"), std::string::npos) << text;
      EXPECT_EQ(text.find("rank 2"), std::string::npos) << text;
      EXPECT_LT(waited, 1.0);
    });
}

TEST(Ranks, OnesThatComeApartAreTold) {
  onRanks(2, 60, [](Collective &collective) {
    std::string text = errorOf([&] {
      collective.gather(
          "", {collective.rank() ? "gather of externs" : "gather of samples",
               "step.r1:3:4"});
    });
    EXPECT_NE(text.find("the ranks have come apart"), std::string::npos);
    EXPECT_NE(text.find("step.r1:3:4: gather of samples"), std::string::npos);
    EXPECT_NE(text.find("step.r1:3:4: gather of externs"), std::string::npos);
  });
}

OutputSet randomSet(std::mt19937 &random) {
  OutputSet set;
  int groups = 1 + random() % 6;
  for (int g = 0; g < groups; ++g) {
    set.groups.push_back({nullptr, std::vector<int32_t>(1 + random() % 9, 7)});
    for (int s = 1 + random() % 4; s > 0; --s) {
      Sequence sequence;
      sequence.group = g;
      for (int c = 1 + random() % 12; c > 0; --c) {
        sequence.chosen.push_back(static_cast<int32_t>(random() % 10));
        sequence.logp.push_back(static_cast<float>(random()));
        std::vector<int8_t> kept(40);
        for (int8_t &flag : kept)
          flag = random() % (1 + g) == 0;
        sequence.kept.append(kept);
      }
      sequence.truncated = random() % 2;
      set.sequences.push_back(std::move(sequence));
    }
  }
  return set;
}

TEST(Shares, EverySequenceIsOneRanksAndAllRanksHaveSome) {
  std::mt19937 random(std::random_device{}());
  for (int round = 0; round < 200; ++round) {
    OutputSet set = randomSet(random);
    Axes axes = Axes::whole(set);
    Packing packing{static_cast<int64_t>(24 + random() % 100)};
    if (round % 2)
      for (int64_t i = 0; i < axes.sequences(); ++i)
        packing.idle.push_back(random() % 3 == 0);
    for (int64_t ranks : {1, 2, 3}) {
      Shares shares = shareChunks(set, axes, packing, ranks);
      ASSERT_EQ(shares.ranks.size(), shares.chunks.size());
      std::vector<int> seen(axes.sequences());
      std::vector<int64_t> count(ranks);
      for (size_t i = 0; i < shares.chunks.size(); ++i) {
        EXPECT_LE(static_cast<int64_t>(shares.chunks[i].tokens.size()),
                  packing.rows);
        ++count.at(shares.ranks[i]);
        for (int32_t s : shares.chunks[i].sequences)
          ++seen[s];
      }
      EXPECT_EQ(seen, std::vector<int>(axes.sequences(), 1));
      EXPECT_EQ(shares.most, *std::max_element(count.begin(), count.end()));
      if (ranks == 1)
        EXPECT_EQ(shares.chunks.size(), packChunks(set, axes, packing).size());
    }
  }
}

TEST(Shares, EqualSequencesAreDividedEvenly) {
  OutputSet set;
  for (int g = 0; g < 8; ++g) {
    set.groups.push_back({nullptr, std::vector<int32_t>(5, 1)});
    for (int s = 0; s < 4; ++s)
      set.sequences.push_back(
          {g, std::vector<int32_t>(6, 1), std::vector<float>(6), "", false});
  }
  Axes axes = Axes::whole(set);
  for (int64_t ranks : {2, 4, 8})
    for (int64_t rows : {1024, 60}) {
      Shares shares = shareChunks(set, axes, {rows}, ranks);
      std::vector<size_t> load(ranks);
      for (size_t i = 0; i < shares.chunks.size(); ++i)
        load[shares.ranks[i]] += shares.chunks[i].tokens.size();
      EXPECT_EQ(load, std::vector<size_t>(ranks, load[0]));
    }
}

class Letters : public Tokenizer {
public:
  std::vector<int32_t> encode(std::string_view) const override { return {}; }
  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (int32_t id : ids)
      text += static_cast<char>('a' + id);
    return text;
  }
  int64_t size() const override { return 10; }
  int32_t end() const override { return 9; }
  void write(const std::filesystem::path &) const override {}
};

TEST(Shares, SequencesTravelWhole) {
  std::mt19937 random(std::random_device{}());
  for (int round = 0; round < 50; ++round) {
    OutputSet set = randomSet(random);
    std::string bytes = sequencesToBytes(set.sequences);
    std::string_view from = bytes;
    std::vector<Sequence> got;
    sequencesFromBytes(from, 3, Letters(), got);
    EXPECT_TRUE(from.empty());
    ASSERT_EQ(got.size(), set.sequences.size());
    for (size_t i = 0; i < got.size(); ++i) {
      const Sequence &sent = set.sequences[i];
      EXPECT_EQ(got[i].group, sent.group + 3);
      EXPECT_EQ(got[i].chosen, sent.chosen);
      EXPECT_EQ(got[i].logp, sent.logp);
      EXPECT_EQ(got[i].truncated, sent.truncated);
      EXPECT_EQ(got[i].text, Letters().decode(sent.chosen));
      ASSERT_EQ(got[i].kept.size(), sent.kept.size());
      for (int64_t c = 0; c < sent.kept.size(); ++c) {
        std::vector<int8_t> a(40, 5), b(40, 6);
        got[i].kept.write(c, a);
        sent.kept.write(c, b);
        EXPECT_EQ(a, b);
      }
    }
    from = std::string_view(bytes).substr(0, bytes.size() - 1);
    EXPECT_NE(errorOf([&] { sequencesFromBytes(from, 3, Letters(), got); }),
              "");
  }
}

} // namespace
