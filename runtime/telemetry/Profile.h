//===- Profile.h - where a run's time goes ----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_TELEMETRY_PROFILE_H
#define R1C_RUNTIME_TELEMETRY_PROFILE_H

#include "runtime/artifact/Manifest.h"
#include "runtime/telemetry/Clock.h"
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace r1c::runtime {

/// What passes over the model worked on.
struct PassCounts {
  int64_t sampledRows = 0, copiedPromptRows = 0; ///< of rollouts
  int64_t discardedRows = 0;                     ///< of those that were sampled
  int64_t chunks = 0, rows = 0, targets = 0;     ///< of scoring and training
  int64_t sharedRows = 0;    ///< that each sequence would have had to itself
  int64_t learntChunks = 0;  ///< with a backward pass
  int64_t learntTargets = 0; ///< ... of the head
  int64_t updateChunks = 0, updateTargets = 0; ///< of these, inside updates
  int64_t summedBytes = 0;                     ///< of gradients, over the ranks
  double sumSeconds = 0, sumWaited = 0;
};

/// Time by kernel and by part of the round, when asked for (--profile).
class Profile {
public:
  explicit Profile(const Manifest &manifest)
      : manifest(manifest), entries(manifest.kernels.size()) {}

  /// A kernel ran in `part`; `rows` is the size it was given, or 0.
  void add(size_t kernel, Part part, double seconds, int64_t rows);
  void addSeconds(const Clock::Seconds &seconds);

  /// A table of parts and kinds of kernels, the counts, and all kernels with
  /// their rates.
  std::string report(const PassCounts &counts) const;

private:
  struct Entry {
    Clock::Seconds seconds{};
    int64_t calls = 0;
    double flops = 0, bytes = 0;
    double all() const;
  };
  std::string byPart() const;
  std::string byKernel() const;

  const Manifest &manifest;
  std::vector<Entry> entries;
  Clock::Seconds rounds{};
};

/// A trace of a stage's first rounds in Chrome's JSON array format, which
/// Perfetto opens (--trace). Events nest; times are microseconds since the
/// start. A file without its end, as a killed run leaves it, opens too.
class Trace {
public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr int64_t rounds = 3; ///< of a stage; a megabyte or more each

  enum class Row { commands = 1, ranks };

  explicit Trace(const std::filesystem::path &place);
  ~Trace();
  Trace(const Trace &) = delete;
  Trace &operator=(const Trace &) = delete;

  /// An event from `begin` until now, or of `seconds` if they are given; `args`
  /// is the inside of a JSON object.
  void add(const std::string &name, const char *category, Time begin,
           const std::string &args = "",
           std::optional<double> seconds = std::nullopt,
           Row row = Row::commands);

  /// What went wrong since the beginning, with the file's path, or nothing.
  std::string flush();
  /// The same, with the end of the file written.
  std::string end();

private:
  /// Remembers why the first write that failed did so.
  void check(int written);
  std::string problem() const;

  std::filesystem::path path;
  std::FILE *file;
  int reason = 0; ///< an errno
  Time start = std::chrono::steady_clock::now();
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_TELEMETRY_PROFILE_H
