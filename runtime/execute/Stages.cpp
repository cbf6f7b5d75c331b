//===- Stages.cpp - one run of an artifact: stages and rounds -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/Checkpoint.h"
#include "runtime/checkpoint/HuggingFace.h"
#include "runtime/execute/Session.h"
#include "runtime/support/Files.h"
#include <algorithm>
#include <cmath>

namespace r1c::runtime {

bool Session::finished(const StageInfo &stage) const {
  if (stage.limit == "steps")
    return step >= runOptions.steps.value_or(stage.count);
  if (stage.limit == "rounds")
    return roundInStage >= stage.count;
  return rowsLeft(plan->mainCursor) <= 0;
}

bool Session::mayUpdate() const {
  const StageInfo &stage = manifest.stages[stageIndex];
  return stage.limit != "steps" ||
         step < runOptions.steps.value_or(stage.count);
}

int64_t Session::rowsLeft(const std::string &cursor) const {
  const StageInfo &stage = manifest.stages[stageIndex];
  if (stage.limit != "epochs" || cursor != plan->mainCursor)
    return INT64_MAX;
  const DataCursor &main = cursors.at(cursor);
  return stage.count * main.epochSize() - main.position();
}

int64_t Session::stageSteps(const StageInfo &stage) const {
  if (stage.limit == "steps")
    return runOptions.steps.value_or(stage.count);
  if (stage.limit == "rounds")
    return stage.count * plan->updatesPerRound;
  double rows = static_cast<double>(stage.count) *
                static_cast<double>(cursors.at(plan->mainCursor).epochSize());
  double groups = std::max(1.0, plan->mainGroups.get());
  return static_cast<int64_t>(std::ceil(rows / groups)) * plan->updatesPerRound;
}

void Session::writeStepBuffers() {
  if (stepBuffer)
    stepBuffer.set(static_cast<double>(step));
  if (stepsBuffer)
    stepsBuffer.set(
        static_cast<double>(stageSteps(manifest.stages[stageIndex])));
}

void Session::countUpdate(Policy &policy) {
  ++step;
  ++totalSteps;
  if (policy.updates)
    policy.updates.set(policy.updates.get() + 1);
  writeStepBuffers();
  recorderOwner->endUpdate(step, takeSeconds());
}

Clock::Seconds Session::takeSeconds() {
  Clock::Seconds seconds = clock.take();
  if (profile)
    profile->addSeconds(seconds);
  return seconds;
}

void Session::runRound(const StageInfo &stage) {
  recorderOwner->beginRound(roundInStage);
  sampledTokens = 0;
  int64_t before = step;
  writeStepBuffers();
  auto begin = std::chrono::steady_clock::now();
  plan->body.run(*this);
  if (trace) {
    trace->add(concat(stage.name, " round ", roundInStage), "round", begin);
    if (++tracedRounds == Trace::rounds) {
      trace = nullptr;
      // Said now, too: the run may take long.
      std::string problem = traceOwner->flush();
      if (traceProblem.empty() && !problem.empty())
        recorderOwner->warn(problem + "; the run goes on without it");
      traceProblem = problem;
    }
  }
  recorderOwner->endRound(step, takeSeconds(), sampledTokens);
  if (plan->updatesPerRound == 0 || step > before)
    return;
  recorderOwner->warn(concat("stage '", stage.name, "': round ", roundInStage,
                             " kept no sequence, so there was no update"));
}

bool Session::endTrace() {
  trace = nullptr;
  if (traceOwner)
    traceProblem = traceOwner->end();
  traceOwner.reset();
  return traceProblem.empty();
}

void Session::describeRun() const {
  OrderedJson json;
  json["artifact"] = fs::absolute(runOptions.artifact).string();
  json["producer"] = manifest.producer;
  json["fingerprint"] = artifact.fingerprint();
  json["seed"] = seedValue;
  json["device"] = deviceOwner->describe();
  json["params"] = OrderedJson::object();
  for (const ParamInfo &param : manifest.params) {
    if (param.buffer.empty())
      json["params"][param.name] = param.value;
    else
      json["params"][param.name] = memoryOwner->buffer(param.buffer).get();
  }
  writeFileAtomically(runOptions.out / "run.json", json.dump(2) + "\n");
  writeFileAtomically(runOptions.out / "step.r1", artifact.source);
}

/// What a run would write over must be a run's: a folder of step files or
/// models may be given as --out.
static void requireRunsOwn(const fs::path &out, const std::string &name) {
  std::error_code none;
  if (fs::exists(out / name, none) && !fs::exists(out / "run.json", none))
    throw Error(out.string(), ": holds ", name,
                ", which no run has written "
                "there, and this one would write over; give another --out");
}

void requireFreshOut(const RunOptions &options) {
  const fs::path &out = options.out;
  // First of all: what a run has written so far looks like one that failed.
  DirectoryLock(out).requireFree();
  // A run that failed before its first update left nothing worth keeping.
  std::error_code none;
  bool resumable = latestCheckpoint(out / "checkpoints").has_value();
  bool hasMetrics = fs::exists(out / "metrics.jsonl", none) &&
                    fs::file_size(out / "metrics.jsonl", none) > 0;
  if (resumable && !options.resume)
    throw Error(out.string(),
                ": already holds a run; give another --out, remove "
                "it, or continue it with --resume");
  if (hasMetrics && !resumable)
    throw Error(out.string(), ": holds a run that ended before its first "
                              "checkpoint; give another --out, or remove it");
  if (!resumable)
    requireRunsOwn(out, "step.r1");
}

bool Session::run() {
  forgetInterrupt();
  const fs::path &out = runOptions.out;
  fs::path checkpoints = out / "checkpoints";
  requireSameStart();

  std::optional<fs::path> latest;
  std::optional<DirectoryLock> lock;
  // The first rank alone writes, and looks what is there before it does.
  if (collective().isRoot()) {
    requireFreshOut(runOptions);
    for (const std::string &name : policyOrder)
      if (policy(name).trained && !runOptions.resume)
        requireRunsOwn(out, name);
    if (runOptions.resume) {
      latest = latestCheckpoint(checkpoints);
      if (!latest)
        throw Error(out.string(), ": holds no checkpoint to resume from; start "
                                  "again without --resume");
    }
    fs::create_directories(out);
    lock.emplace(out);
    lock->requireFree();
    // It may lie in --out, and takes the place of an older one.
    if (!runOptions.trace.empty())
      traceOwner.emplace(runOptions.trace);
  }
  std::string place = latest ? latest->filename().string() : "";
  place = collective().gather(place, {"the start", ""}).front();
  if (!place.empty())
    latest = checkpoints / place;

  std::optional<Checkpoint> checkpoint;
  if (latest) {
    readingLatest(*latest, [&] {
      checkpoint = readCheckpoint(*latest);
      Fields state(checkpoint->state, latest->string());
      state.get("fingerprint");
      if (!state.get("seed").is_number_unsigned())
        throw Error(latest->string(), ": 'seed' is no number");
    });
    const Json &state = checkpoint->state;
    if (state.at("fingerprint") != Json(artifact.fingerprint()))
      throw Error(latest->string(), ": was written by another artifact than ",
                  runOptions.artifact,
                  "; resume with the one that began the run");
    const Json &seed = state.at("seed");
    if (!runOptions.seed)
      seedValue = seed.get<uint64_t>();
    else if (Json(*runOptions.seed) != seed)
      throw Error("--seed ", *runOptions.seed, ": the run was begun with seed ",
                  dumpJson(seed), "; leave --seed out");
  }
  setParams();
  // All of the checkpoint, or of the models, is read before a file of the run
  // is cut or made.
  if (!checkpoint)
    startPolicies();
  else
    readingLatest(*latest, [&] {
      within([&] { return latest->string(); },
             [&] {
               restoreState(checkpoint->state);
               for (auto &[name, range] : stateRanges())
                 checkpoint->restore(name, range);
             });
    });
  recorderOwner = std::make_unique<Recorder>(
      out,
      checkpoint ? std::optional(checkpoint->state.at("files")) : std::nullopt,
      runOptions.quiet, !collective().isRoot());
  if (checkpoint) {
    for (const auto &[name, lines] : written)
      reloadWritten(dataSet(name), out / "data" / (name + ".jsonl"), lines,
                    collective().isRoot());
    for (const std::string &name : policyOrder)
      rebuildPacked(policy(name));
    lastCheckpoint = latest->string();
    recorderOwner->note(
        concat("resuming from ", latest->string(), " (step ", step, ")"));
  }
  for (const std::string &note : collective().notes())
    recorderOwner->warn(note);
  if (collective().isRoot())
    describeRun();
  requireSameState(saveState());

  // What came before the first round is in no part of it.
  clock.take();
  if (profile)
    profile.emplace(manifest);
  int emptyRounds = 0;
  for (; stageIndex < plans.size(); ++stageIndex) {
    const StageInfo &stage = manifest.stages[stageIndex];
    plan = &plans[stageIndex];
    recorderOwner->beginStage(stage.name,
                              plan->updatesPerRound ? stageSteps(stage) : -1);
    // From here on, wherever a resumed run goes on.
    trace = traceOwner ? &*traceOwner : nullptr;
    tracedRounds = 0;
    while (!finished(stage)) {
      if (roundCut)
        recorderOwner->warn(concat(
            "the run had ended inside round ", round - 1, ", at step ", step,
            ": the rest of that round is left out, so what follows "
            "is not what a run without that end would do"));
      roundCut = false;
      int64_t before = step;
      runRound(stage);
      ++round;
      ++roundInStage;
      emptyRounds =
          step == before && plan->updatesPerRound ? emptyRounds + 1 : 0;
      if (emptyRounds >= 100)
        throw Error("stage '", stage.name,
                    "': 100 rounds in a row kept no "
                    "sequence; its where clause keeps nothing");
      bool due = runOptions.checkpointEvery > 0 &&
                 totalSteps - lastCheckpointStep >= runOptions.checkpointEvery;
      bool stop = mayStop(stage);
      if (due || checkpointAsked || stop)
        saveCheckpoint();
      if (stop) {
        recorderOwner->note("stopped at " + lastCheckpoint +
                            "; go on with --resume");
        if (!endTrace())
          recorderOwner->warn(traceProblem);
        return false;
      }
    }
    // The last stage's state stays: a resumed run with more --steps goes on.
    if (stageIndex + 1 == plans.size()) {
      if (round != lastCheckpointRound)
        saveCheckpoint();
      break;
    }
    step = 0;
    roundInStage = 0;
  }
  plan = nullptr;

  std::vector<std::string> places = {
      concat("results in ", out.string(),
             ": metrics.jsonl, samples.jsonl, checkpoints/")};
  for (const std::string &name : policyOrder)
    if (policy(name).trained && collective().isRoot()) {
      fs::path place = out / name;
      saveHuggingFace(place, policy(name));
      places.push_back(concat("policy ", name, ": ", place.string(), "/"));
    }
  recorderOwner->summary(places);
  if (profile && collective().isRoot())
    std::fprintf(stderr, "%s", profile->report(counts).c_str());
  // It was asked for; but first what the run is for is saved.
  if (!endTrace())
    throw Error(traceProblem);
  return true;
}

//===----------------------------------------------------------------------===//
// Checkpoints: between rounds, everything that the next round depends on.
//===----------------------------------------------------------------------===//

std::vector<std::pair<std::string, Range>> Session::stateRanges() const {
  std::map<std::string, Range> ranges; // a buffer may serve two policies
  for (const std::string &name : policyOrder) {
    const Policy &owner = *policies.at(name);
    for (const Range &range : owner.state)
      ranges[range.name] = range;
    // A policy that is only assigned to changes, too.
    for (const Parameter &parameter : owner.parameters)
      ranges.try_emplace(parameter.range.name,
                         memoryOwner->buffer(parameter.range.name));
    if (owner.updates)
      ranges[owner.updates.name] = owner.updates;
  }
  return {ranges.begin(), ranges.end()};
}

Json Session::saveState() {
  Json state;
  state["fingerprint"] = artifact.fingerprint();
  state["seed"] = seedValue;
  state["stage"] = stageIndex;
  state["step"] = step;
  state["total_steps"] = totalSteps;
  state["round_in_stage"] = roundInStage;
  state["round"] = round;
  state["round_cut"] = roundCut;
  for (const auto &[key, cursor] : cursors)
    state["cursors"][key] = cursor.save();
  state["last_passed"] = lastPassed;
  state["kept"] = kept;
  state["written"] = written;
  for (const ParamInfo &param : manifest.params)
    if (!param.buffer.empty())
      state["params"][param.name] = memoryOwner->buffer(param.buffer).get();
  state["files"] = recorderOwner->position();
  return state;
}

void Session::restoreState(const Json &state) {
  Fields fields(state, "state.json");
  auto count = [](const Fields &from, const char *name) {
    int64_t value = from.integer(name);
    if (value < 0)
      throw Error(from.where(), ": '", name, "' = ", value, " is negative");
    return value;
  };
  stageIndex = static_cast<size_t>(count(fields, "stage"));
  if (stageIndex >= plans.size())
    throw Error(fields.where(), ": there is no stage ", stageIndex);
  step = count(fields, "step");
  totalSteps = lastCheckpointStep = count(fields, "total_steps");
  roundInStage = count(fields, "round_in_stage");
  round = lastCheckpointRound = count(fields, "round");
  roundCut = fields.flag("round_cut", false);
  for (const char *name : {"metrics", "samples"})
    count(fields.object("files"), name);
  Json none = Json::object();
  const Json &places = fields.has("cursors") ? fields.get("cursors") : none;
  for (auto &[key, cursor] : cursors) {
    if (!places.contains(key))
      throw Error(fields.where(), ": does not say where '", key, "' stood");
    cursor.restore(places.at(key));
  }
  auto table = [&]<typename Map>(const char *name, Map &map) {
    try {
      map = fields.get(name).get<Map>();
    } catch (const Json::exception &) {
      throw Error(fields.where(), ": '", name, "' is not what a run writes");
    }
  };
  table("last_passed", lastPassed);
  table("kept", kept);
  table("written", written);
  // --set on the command line of the resumed run wins over what was set before.
  if (fields.has("params"))
    for (const auto &[name, value] : fields.get("params").items())
      for (const ParamInfo &param : manifest.params) {
        bool given =
            std::any_of(runOptions.params.begin(), runOptions.params.end(),
                        [&, &name = name](const auto &entry) {
                          return entry.first == name;
                        });
        if (param.name != name || param.buffer.empty() || given)
          continue;
        if (!value.is_number())
          throw Error(fields.where(), ": param '", name, "' is no number");
        memoryOwner->buffer(param.buffer).set(value.get<double>());
      }
}

void Session::saveCheckpoint() {
  checkpointAsked = false;
  lastCheckpointStep = totalSteps;
  lastCheckpointRound = round;
  Json state = saveState();
  requireSameState(state);
  if (collective().isRoot())
    lastCheckpoint = writeCheckpoint(runOptions.out / "checkpoints", round,
                                     state, stateRanges())
                         .string();
}

} // namespace r1c::runtime
