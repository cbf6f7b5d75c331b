//===- Session.h - one run of an artifact -----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_EXECUTE_SESSION_H
#define R1C_RUNTIME_EXECUTE_SESSION_H

#include "runtime/artifact/Artifact.h"
#include "runtime/collective/Collective.h"
#include "runtime/execute/Command.h"
#include "runtime/rollout/Chunks.h"
#include "runtime/telemetry/Profile.h"
#include "runtime/telemetry/Recorder.h"
#include <chrono>
#include <functional>
#include <optional>

namespace r1c::runtime {

class ExternPool;

/// How a run is started; the command line of r1c-run field by field.
struct RunOptions {
  std::string artifact;      ///< path of step.r1x
  std::filesystem::path out; ///< results; created
  /// Where relative paths of the step file are looked for; no folder: in the
  /// artifact's, then in the working directory.
  Base base;
  std::optional<int64_t> steps; ///< instead of every stage's own number
  std::optional<uint64_t> seed; ///< default 0, or that of the resumed run
  int64_t threads = 0;          ///< 0: R1C_THREADS, else all cores
  uint64_t memory = 0;          ///< bytes it may take; 0: what the device has
  int64_t checkpointEvery =
      50; ///< updates between checkpoints; 0: at the end only
  bool resume = false, quiet = false, profile = false;
  double collectiveTimeout = 600; ///< seconds without a word from a rank
  /// The ranks of the run, this process one of them; null: it is alone.
  std::shared_ptr<Collective> ranks;
  std::filesystem::path trace; ///< empty: none
  /// --set name=value
  std::vector<std::pair<std::string, std::string>> params;
};

/// Throws if another process runs in --out, or --out already holds a run and
/// --resume was not given.
void requireFreshOut(const RunOptions &options);

/// A set of outputs, its axes, and the minibatch that is being learnt from.
struct SetState {
  OutputSet outputs;
  Axes whole;
  std::optional<Axes> view;
  /// The sequences whose traces are recorded this round.
  std::vector<int64_t> traced;

  const Axes &axes(bool ofView) const;
};

/// Texts that a text function gave.
struct TextColumn {
  std::vector<std::string> values;
};

/// What the loader learns about a stage from its commands.
struct StagePlan {
  Block body;
  std::string mainCursor; ///< key of the cursor whose epochs count
  Number mainGroups;
  int64_t mainSet = -1;        ///< the set that is learnt from
  bool mainSetUpdated = false; ///< an update has said so
  int64_t updatesPerRound = 0;
};

class Session {
public:
  explicit Session(RunOptions options);
  ~Session();

  /// All stages, from the start or from the last checkpoint. False if it was
  /// interrupted: the round under way is then finished and a checkpoint
  /// written.
  bool run();

  /// Asks the running session to stop after its round; safe in a signal
  /// handler.
  static void interrupt();
  static void forgetInterrupt();

  //===--- for commands ---------------------------------------------------===//

  Device &device() { return *deviceOwner; }
  Collective &collective() const {
    return gpuRanks ? *gpuRanks : *runOptions.ranks;
  }
  const Memory &memory() const { return *memoryOwner; }
  Policy &policy(const std::string &name);
  DataSet &dataSet(const std::string &name);
  SetState &set(int64_t number);
  const TextColumn &texts(int64_t id) const;
  ExternPool &externPool(const std::string &name);

  uint64_t seed() const { return seedValue; }
  const RunOptions &options() const { return runOptions; }
  Recorder &recorder() { return *recorderOwner; }

  /// Device commands have at most so many rows, or 0: not known.
  void expectRows(int64_t most) { rowBound = deviceOwner->expectRows(most); }
  /// What tells recordings of the same commands apart (Device::expectRows).
  int64_t rowBound = 0;
  /// Weights of a policy have changed by other means than its update.
  void rebuildPacked(Policy &policy);
  /// Longest sequence (in rows) that fits wherever the set is used.
  int64_t rowLimit(int64_t set) const;
  void limitRows(int64_t set, int64_t rows);

  /// Sums over the ranks are done, which the update began to wait for at
  /// `came`.
  void countSums(const std::vector<Summed> &sums,
                 std::chrono::steady_clock::time_point came);
  /// An update has been done.
  void countUpdate(Policy &policy);
  /// Whether the stage may do another update.
  bool mayUpdate() const;
  /// Rows that a cursor may still give in this stage.
  int64_t rowsLeft(const std::string &cursor) const;

  Clock clock;
  std::optional<Profile> profile;
  std::optional<Trace> traceOwner;
  Trace *trace = nullptr; ///< while rounds are traced
  bool recording = false; ///< device commands are being recorded, not run
  PassCounts counts;
  int64_t tracedRounds = 0; ///< of this stage, in this run
  bool errorLocated = false;

  std::map<int64_t, SetState> sets;
  std::map<int64_t, TextColumn> textColumns;
  std::map<std::string, DataCursor> cursors;
  /// Command key -> step at which an `every` was last passed.
  std::map<std::string, int64_t> lastPassed;
  /// Command key -> (value, directory) of what `save` keeps.
  std::map<std::string, std::vector<std::pair<double, std::string>>> kept;
  /// Data set -> lines that `write` has appended.
  std::map<std::string, int64_t> written;

  StagePlan *plan = nullptr; ///< the stage that is loaded or run
  int64_t step = 0;          ///< updates of this stage so far
  int64_t roundInStage = 0, round = 0, sampledTokens = 0;
  int64_t chunks = 0; ///< of one rank, at most, in the pass under way
  /// Tokens of the view that each rank's chunks of that pass hold.
  std::vector<std::vector<int32_t>> tokensOfRank;
  Chunk *chunk = nullptr;   ///< the one that is under way
  bool isLastChunk = false; ///< of this rank, in that pass
  size_t reductions = 0;    ///< begun since the last all_reduce
  bool checkpointAsked = false;
  /// The last round ended at the stage's last step with updates left to do.
  bool roundCut = false;

private:
  void openDevice();
  void loadData();
  void loadStages(Loader &loader);
  void startPolicies();
  void setParams();
  void writeStepBuffers();
  bool finished(const StageInfo &stage) const;
  int64_t stageSteps(const StageInfo &stage) const;
  void runRound(const StageInfo &stage);
  /// The clock's, which the profile sees too.
  Clock::Seconds takeSeconds();
  void describeRun() const;
  /// False, with `traceProblem`, if all of it could not be written.
  bool endTrace();

  /// Throws, saying what, if the ranks were started differently.
  void requireSameStart();
  /// ... or if what they hold is not the same, bit for bit.
  void requireSameState(const Json &state);
  /// Whether some rank has been asked to stop.
  bool mayStop(const StageInfo &stage);

  void saveCheckpoint();
  Json saveState();
  void restoreState(const Json &state);
  std::vector<std::pair<std::string, Range>> stateRanges() const;

  RunOptions runOptions;
  uint64_t seedValue = 0;
  Artifact artifact;
  Manifest manifest;
  std::unique_ptr<Device> deviceOwner;
  std::unique_ptr<Collective> gpuRanks; ///< with sums on the GPUs, if several
  std::unique_ptr<Memory> memoryOwner;
  std::unique_ptr<Executable> executable;
  std::map<std::string, std::unique_ptr<Policy>> policies;
  std::vector<std::string> policyOrder;
  std::map<std::string, std::unique_ptr<DataSet>> dataSets;
  std::map<std::string, std::unique_ptr<ExternPool>> externs;
  std::unique_ptr<Loader> loaderOwner;
  std::vector<StagePlan> plans;
  std::map<int64_t, int64_t> rowLimits;
  std::unique_ptr<Recorder> recorderOwner;
  Range stepBuffer, stepsBuffer;
  size_t stageIndex = 0;
  int64_t lastCheckpointStep = 0, lastCheckpointRound = -1, totalSteps = 0;
  std::string lastCheckpoint, traceProblem;
};

/// Runs an artifact; prints one line and returns 1 where it fails. Ctrl-C and
/// SIGTERM stop after the round (130), a second one at once; so does SIGUSR1
/// where there are other ranks.
int runMain(RunOptions options);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_EXECUTE_SESSION_H
