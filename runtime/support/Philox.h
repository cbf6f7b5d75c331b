//===- Philox.h - counter-based random numbers ------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_SUPPORT_PHILOX_H
#define R1C_RUNTIME_SUPPORT_PHILOX_H

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace r1c::runtime {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

inline PhiloxKey keyOf(uint64_t seed) {
  return {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
}

/// Philox4x32 with ten rounds (Salmon, Moraes, Dror, Shaw, "Parallel random
/// numbers: as easy as 1, 2, 3", SC'11): four random words for a counter and a
/// key. Generated kernels compute the same function.
inline PhiloxCounter philox(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    uint64_t a = uint64_t(0xD2511F53u) * counter[0];
    uint64_t b = uint64_t(0xCD9E8D57u) * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

/// What a draw on the host is for: the counter's last word, so that no two
/// uses share numbers (rollouts use the set's number there, which is small).
enum class Draw : uint32_t {
  parameter = 0x70000001,
  dataOrder = 0x70000002,
  mixture = 0x70000003,
  minibatches = 0x70000004,
  samples = 0x70000005,
};

/// A uniform number in [0, 1) with 53 bits.
inline double uniformOf(uint32_t high, uint32_t low) {
  return static_cast<double>((uint64_t(high) << 21) ^ (low >> 11)) *
         (1.0 / 9007199254740992.0);
}

/// Two independent standard normal numbers from four words (Box-Muller).
inline std::pair<double, double> normalsOf(const PhiloxCounter &words) {
  // 1 - u lies in (0, 1]: the logarithm is finite.
  double radius = std::sqrt(-2 * std::log(1 - uniformOf(words[0], words[1])));
  double angle = 2 * M_PI * uniformOf(words[2], words[3]);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

/// A permutation of 0..n-1 drawn from (key, a, b, use): Fisher and Yates.
inline std::vector<int64_t> permutation(int64_t n, PhiloxKey key, uint32_t a,
                                        uint32_t b, Draw use) {
  std::vector<int64_t> order(n);
  for (int64_t i = 0; i < n; ++i)
    order[i] = i;
  for (int64_t i = n - 1; i > 0; --i) {
    PhiloxCounter words = philox(
        {static_cast<uint32_t>(i), a, b, static_cast<uint32_t>(use)}, key);
    double u = uniformOf(words[0], words[1]);
    std::swap(order[i], order[static_cast<int64_t>(u * (i + 1))]);
  }
  return order;
}

} // namespace r1c::runtime

#endif // R1C_RUNTIME_SUPPORT_PHILOX_H
