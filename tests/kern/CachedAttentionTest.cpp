//===- CachedAttentionTest.cpp - kern.attention over a cache --------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A step of a rollout: sequences in slots, some with one new row and some with
// several. A kernel that is told so may read what earlier steps left before the
// kernels ahead of it have ended, but not what this step writes, and bring
// weights near; its bits are those of one that is not told.
//===----------------------------------------------------------------------===//

#include "tests/kern/AttentionShape.h"

using namespace r1c::test;

namespace {

using Shape = AttentionShape;
using CachedAttention = AttentionFixture<Shape>;

TEST_P(CachedAttention, HasTheBitsOfOneThatWaits) {
  std::string type =
      std::string("!kern.packed<72x1032x") + s.type + ">"; // 18.6 pieces
  Kernels kernels(
      attentionText(s, "waits", true, false) +
      attentionText(s, "reads", true, false, "", "cached, ") +
      attentionText(s, "prefetches", true, false, "", "cached, ", type));
  ASSERT_TRUE(kernels.ok());
  Buffer W = bf ? Buffer::of(packBf16(toBf16(random(72 * 1032)), 72, 1032))
                : Buffer::of(pack(random(72 * 1032), 72, 1032));
  struct Sequence {
    int32_t first, rows; ///< position of its first row in this step, and rows
  };
  // Around the ends of blocks of 64 and of 128 keys, of what a kernel has
  // places for, and of a segment; prompts from their start on and from behind
  // it, one of them in two tiles.
  std::vector<std::vector<Sequence>> steps = {
      {{599, 1}},
      {{0, 1}},
      {{128, 1}, {127, 1}, {700, 1}, {63, 1}, {385, 1}},
      {{300, 1}, {0, 9}, {100, 70}, {1, 2}},
      {{1400, 1}, {256, 2}},
  };
  for (const std::vector<Sequence> &step : steps) {
    std::vector<int32_t> positions, bases;
    std::vector<Kernels::RowRange> written;
    int64_t capacity = 0, bytes = kc * (bf ? 2 : 4);
    for (const Sequence &sequence : step)
      capacity =
          std::max<int64_t>(capacity, sequence.first + sequence.rows + 3);
    for (size_t slot = 0; slot < step.size(); ++slot) {
      auto [first, rows] = step[slot];
      auto base = static_cast<int32_t>(slot * capacity);
      written.push_back({base + first, base + first + rows, bytes});
      for (int32_t r = 0; r < rows; ++r) {
        positions.push_back(first + r);
        bases.push_back(base);
      }
    }
    int64_t rows = positions.size(), all = capacity * step.size();
    auto k = random(all * kc), v = random(all * kc);
    // Behind a slot's last row may be anything.
    for (size_t slot = 0; slot < step.size(); ++slot)
      for (int64_t row = step[slot].first + step[slot].rows; row < capacity;
           ++row)
        for (int64_t c = 0; c < kc; ++c)
          k[(slot * capacity + row) * kc + c] =
              v[(slot * capacity + row) * kc + c] = NAN;
    Buffer Q = of(random(rows * qc)), K = of(k), V = of(v),
           P = Buffer::of(positions), B = Buffer::of(bases);
    kernels.setFresh(K, written);
    kernels.setFresh(V, written);
    std::vector<float> out, lse;
    for (int64_t workers : {1, 3, 16})
      for (std::string name : {"waits", "reads", "prefetches"}) {
        Buffer Y = poisoned(rows * qc),
               L = Buffer::poisoned<float>(rows * s.heads);
        std::vector<const Buffer *> buffers{&Q, &K, &V, &P, &B, &Y, &L};
        if (name == "prefetches")
          buffers.insert(buffers.begin() + 5, &W);
        kernels.run(name, buffers, rows, workers);
        if (out.empty()) {
          out = floats(Y), lse = L.values<float>();
          for (float x : out)
            ASSERT_TRUE(std::isfinite(x));
          continue;
        }
        EXPECT_TRUE(sameBits(floats(Y), out))
            << name << ", " << rows << " rows, " << workers << " workers";
        EXPECT_TRUE(sameBits(L.values<float>(), lse))
            << name << ", " << rows << " rows, " << workers << " workers";
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CachedAttention,
                         ::testing::Values(Shape{7, 1, 64, "bf16"},
                                           Shape{4, 2, 64, "bf16"},
                                           Shape{4, 2, 128, "bf16"},
                                           Shape{2, 1, 64, "f32"}),
                         [](const auto &info) { return info.param.name(); });

} // namespace
