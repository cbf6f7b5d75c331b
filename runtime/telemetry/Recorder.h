//===- Recorder.h - metrics, traces, progress -------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_TELEMETRY_RECORDER_H
#define R1C_RUNTIME_TELEMETRY_RECORDER_H

#include "runtime/support/Json.h"
#include "runtime/telemetry/Clock.h"
#include <cstdio>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace r1c::runtime {

using OrderedJson = nlohmann::ordered_json;

/// Writes DIR/metrics.jsonl and DIR/samples.jsonl and tells the terminal how
/// the run goes.
///
/// metrics.jsonl holds one object an update (one a round where a round has no
/// update). Its fields: step, stage, round, then what the round recorded, what
/// this update recorded, tokens, seconds, and seconds/PART. Values recorded
/// once a round stand in each of its updates' lines; seconds of parts outside
/// the updates stand in the first line, so that sums over lines are totals.
class Recorder {
public:
  /// `kept`: byte lengths of the two files at the checkpoint that a run resumes
  /// from; what lies behind is cut off. `quiet`: no progress. `silent`: nothing
  /// is written or said, another rank does it.
  Recorder(std::filesystem::path directory, std::optional<Json> kept,
           bool quiet, bool silent = false);
  ~Recorder();

  /// `steps` < 0: not known; then `rounds` says how many there will be.
  void beginStage(const std::string &name, int64_t steps);
  void beginRound(int64_t round);
  void metric(const std::string &name, double value, bool ofUpdate);
  /// Parts since the round began, or since the update before.
  void endUpdate(int64_t step, const Clock::Seconds &seconds);
  void trace(OrderedJson sample) { traces.push_back(std::move(sample)); }
  /// A per-sequence value for the traces of this round.
  std::vector<OrderedJson> &currentTraces() { return traces; }
  /// Writes the round's lines. `position` is (done, of): what progress shows.
  void endRound(int64_t step, const Clock::Seconds &seconds, int64_t tokens);

  /// A line for people, above the progress line; each warning once a run, even
  /// where progress is off.
  void warn(const std::string &text);
  void note(const std::string &text);
  /// A record of the data is left out: the first few are named, each once, the
  /// others counted at the end.
  void dropped(const std::string &origin, const std::string &reason);
  /// Curve, last values, where results lie.
  void summary(const std::vector<std::string> &places);

  /// Byte lengths of the files, for a checkpoint.
  Json position();

private:
  struct Line {
    int64_t step;
    std::vector<std::pair<std::string, double>> metrics;
    Clock::Seconds seconds;
  };
  void flush();
  void progress(const OrderedJson &line);
  void addToCurve(const OrderedJson &line);
  void clearProgress();
  void print(const std::string &text);
  std::string formatted(const OrderedJson &line) const;

  std::filesystem::path directory;
  std::FILE *metrics = nullptr, *samples = nullptr;
  bool quiet, silent, terminal;
  bool shown = false;
  std::string stage;
  int64_t steps = -1, round = 0, startStep = -1;
  double stageSeconds = 0;
  double lastPlain = -1e9;
  std::vector<std::pair<std::string, double>> roundMetrics, updateMetrics;
  std::vector<Line> lines;
  std::vector<OrderedJson> traces, lastTraces;
  std::vector<std::string> warned;
  std::set<std::string> leftOut; ///< origins of dropped records
  std::vector<double> curve;     ///< reward (or loss) by line
  std::string curveName;
  OrderedJson lastLine;
};

/// `values` as bars of one line, at most `width` wide (means of neighbours).
std::string sparkline(const std::vector<double> &values, size_t width);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_TELEMETRY_RECORDER_H
