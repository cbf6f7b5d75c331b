//===- Rollout.h - sampling a policy on prompts -----------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_ROLLOUT_ROLLOUT_H
#define R1C_RUNTIME_ROLLOUT_ROLLOUT_H

#include "runtime/device/Bundle.h"
#include "runtime/rollout/OutputSet.h"
#include <functional>

namespace r1c::runtime {

/// Numbers of one `sample` command.
struct SampleSettings {
  int64_t groupSize = 1;
  int64_t maxNewTokens = 1;
  double temperature = 1, topP = 1, topK = 0, minP = 0;
  bool recordKept = false; ///< remember what these three kept at each token
  std::vector<std::string> stops;
  uint64_t seed = 0;
  uint32_t round = 0, set = 0;
  int64_t firstGroup = 0; ///< prompts tried in this command before these
};

/// The "rollout" entry of a policy: where its program reads its rows and leaves
/// the tokens it drew.
class Rollout {
public:
  Rollout(const Fields &description, const Memory &memory);

  /// Rows that one sequence may have: prompt and chosen tokens but the last.
  int64_t capacity() const { return capacityRows; }

  /// Samples `groupSize` sequences for each prompt. `program` runs the policy's
  /// rollout program once on so many rows, the filtered one if there is a
  /// filter.
  ///
  /// A slot holds one sequence and its cache rows; it takes the next sequence
  /// as soon as its own ends. Every call of the program holds one row for each
  /// sequence that decodes and as many prompt rows as still fit. The prompt of
  /// a group is run once where its slots overlap in time, and its cache rows
  /// are copied; since bits do not depend on other rows, and noise is drawn
  /// from the sequence's number and position, none of this shows in the result.
  ///
  /// The tokens of a call are looked at when `Device::stepsAhead` further calls
  /// have been given: all else that those need is known before, and they take
  /// the tokens where the calls before them leave them. A sequence that turns
  /// out to have ended has rows in them, which stay inside its slot; what is
  /// drawn behind them is thrown away.
  OutputSet run(std::vector<Group> groups, const SampleSettings &settings,
                const Tokenizer &tokenizer,
                const std::function<void(int64_t rows)> &program);

  /// Rows of the last run behind which a token was thrown away.
  int64_t discardedRows() const { return discarded; }

private:
  struct Cache {
    Range range;
    int64_t layers, layerStride, rowBytes;
  };
  class Work;

  void copyPrefix(int64_t from, int64_t to, int64_t rows) const;
  void writeSettings(const SampleSettings &settings) const;

  int64_t slots, capacityRows, rows, vocabulary;
  Range tokens, previous, positions, bases, sampleRows, noise, key;
  Range temperature, topK, topP, minP, rowCount, sampleCount, token, logp, kept;
  std::vector<Cache> caches;
  Bundle given;              ///< what every call is given
  std::vector<Bundle> taken; ///< what it leaves, of the calls under way
  int64_t discarded = 0;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_ROLLOUT_ROLLOUT_H
