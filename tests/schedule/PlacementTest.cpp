//===- PlacementTest.cpp - buffers that share memory ----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/schedule/Placement.h"
#include <gtest/gtest.h>
#include <random>

using namespace r1c::schedule;

namespace {

int64_t occupied(const Tenant &tenant) { return (tenant.bytes + 63) / 64 * 64; }

TEST(Placement, TenantsThatMeetAreDisjoint) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<Tenant> tenants(1 + random() % 60);
    int64_t all = 0;
    for (Tenant &tenant : tenants) {
      tenant.bytes = 1 + random() % (round % 2 ? 1000 : 100000);
      for (unsigned life = 0; life <= random() % 3; ++life) {
        int64_t first = random() % 100;
        tenant.lives.push_back({first, first + int64_t(random() % 20)});
      }
      all += occupied(tenant);
    }
    Placement placement = place(tenants);
    int64_t least = 0, end = 0;
    for (int64_t now = 0; now < 120; ++now) {
      int64_t alive = 0;
      for (const Tenant &tenant : tenants)
        if (tenant.meets({1, {{now, now}}}))
          alive += occupied(tenant);
      least = std::max(least, alive);
    }
    for (size_t a = 0; a < tenants.size(); ++a) {
      int64_t start = placement.offsets[a];
      EXPECT_EQ(start % 64, 0);
      EXPECT_GE(start, 0);
      end = std::max(end, start + occupied(tenants[a]));
      for (size_t b = 0; b < a; ++b) {
        bool apart = start + occupied(tenants[a]) <= placement.offsets[b] ||
                     placement.offsets[b] + occupied(tenants[b]) <= start;
        EXPECT_TRUE(apart || !tenants[a].meets(tenants[b])) << a << ", " << b;
      }
    }
    EXPECT_EQ(placement.peak, end);
    EXPECT_GE(placement.peak, least);
    EXPECT_LE(placement.peak, all);
  }
}

TEST(Placement, TheSmallestGapThatFits) {
  // At moment 1 there are gaps of 960 and of 640 bytes between the living.
  std::vector<Tenant> gaps{{1024, {{0, 1}}}, {960, {{0, 0}}}, {896, {{0, 1}}},
                           {640, {{0, 0}}},  {576, {{0, 1}}}, {512, {{1, 1}}}};
  Placement placement = place(gaps);
  EXPECT_EQ(placement.offsets[5], 1024 + 960 + 896);
  EXPECT_EQ(placement.peak, 1024 + 960 + 896 + 640 + 576);
  // One after the other: all at the same place.
  std::vector<Tenant> after{{64, {{0, 1}}}, {640, {{2, 3}}}, {1, {{4, 4}}}};
  EXPECT_EQ(place(after).peak, 640);
  EXPECT_EQ(place({}).peak, 0);
}

} // namespace
