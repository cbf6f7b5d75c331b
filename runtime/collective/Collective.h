//===- Collective.h - communication between ranks ---------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_COLLECTIVE_COLLECTIVE_H
#define R1C_RUNTIME_COLLECTIVE_COLLECTIVE_H

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace r1c::runtime {

class Mark;

/// Which collective it is, for messages: "all_reduce" at "step.r1:9:1".
struct Place {
  std::string what, loc;
};

/// Float32 numbers, one after the other from a device address on.
struct Piece {
  char *address = nullptr;
  int64_t count = 0;
};

/// What is summed together.
using Bucket = std::vector<Piece>;

/// A bucket that has been summed: when it was handed over, and under way.
struct Summed {
  std::chrono::steady_clock::time_point given, begin;
  double seconds = 0;
  int64_t bytes = 0;
};

/// The ranks of a run. Every rank makes the same calls of `gather` in the same
/// order, and the same calls of `startSum` in the same order: the command
/// program is the same on all of them. How the two interleave may differ.
class Collective {
public:
  virtual ~Collective() = default;
  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;
  /// Among the ranks of this machine.
  virtual int64_t localRank() const = 0;
  /// Ranks that may use the same cores as this one, itself included.
  virtual int64_t sharers() const = 0;

  /// What every rank brings, in rank order.
  virtual std::vector<std::string> gather(std::string mine,
                                          const Place &place) = 0;

  /// Begins to sum a bucket over all ranks, in place; ((r0 + r1) + r2) + …
  /// The bucket is left alone until `finishSums`. It is final behind a mark of
  /// the device, or, without one, now.
  virtual void startSum(const Bucket &bucket, const Place &place,
                        const Mark *behind = nullptr) = 0;
  /// Waits for all sums that were begun.
  virtual std::vector<Summed> finishSums() = 0;

  /// What people should know of how it sums.
  virtual std::vector<std::string> notes() const { return {}; }

  /// The rank has come to a line of the step file.
  virtual void at(const std::string &loc) {}
  /// Says the error (nothing if it is empty), with the rank's name, and ends
  /// the whole job. Returns where there is nobody else.
  virtual void fail(const std::string &error) {}

  bool isRoot() const { return rank() == 0; }
  /// The rank's part of `count` things in order: from `first` to `last`.
  std::pair<int64_t, int64_t> share(int64_t count) const {
    return {count * rank() / size(), count * (rank() + 1) / size()};
  }
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_COLLECTIVE_COLLECTIVE_H
