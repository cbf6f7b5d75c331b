//===- Ranks.cpp - what the ranks of a run must agree on ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/execute/Session.h"
#include "runtime/support/Files.h"
#include <algorithm>
#include <csignal>
#include <cstring>

namespace r1c::runtime {

static volatile std::sig_atomic_t interrupted = 0;

void Session::interrupt() { interrupted = 1; }

void Session::forgetInterrupt() { interrupted = 0; }

bool Session::mayStop(const StageInfo &stage) {
  // A signal that comes while this runs is the next round's.
  bool own = interrupted != 0;
  if (collective().size() == 1)
    return own;
  auto asked = within([&] { return stage.loc; },
                      [&] {
                        return collective().gather(
                            own ? "1" : "0", {"end of a round", stage.loc});
                      });
  return std::find(asked.begin(), asked.end(), "1") != asked.end();
}

void Session::countSums(const std::vector<Summed> &sums,
                        std::chrono::steady_clock::time_point came) {
  using Seconds = std::chrono::duration<double>;
  double waited = Seconds(std::chrono::steady_clock::now() - came).count();
  double busy = 0;
  for (const Summed &sum : sums) {
    busy += sum.seconds;
    counts.summedBytes += sum.bytes;
    if (trace)
      trace->add("all_reduce", "ranks", sum.begin,
                 concat("\"bytes\":", sum.bytes, ",\"given_us_before\":",
                        1e6 * Seconds(sum.begin - sum.given).count()),
                 sum.seconds, Trace::Row::ranks);
  }
  if (trace)
    trace->add("wait for all_reduce", "ranks", came, "", waited);
  counts.sumSeconds += busy;
  counts.sumWaited += waited;
  recorderOwner->metric("all_reduce/seconds", busy, true);
  recorderOwner->metric("all_reduce/exposed_seconds", waited, true);
}

/// A fingerprint that takes eight bytes at a time: states are gigabytes.
static uint64_t digest(std::string_view bytes, uint64_t hash) {
  while (!bytes.empty()) {
    uint64_t word = 0;
    size_t count = std::min(bytes.size(), sizeof word);
    std::memcpy(&word, bytes.data(), count);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 32;
    bytes.remove_prefix(count);
  }
  return hash;
}

/// For a message: an option that was not given is null.
static std::string said(const OrderedJson &value) {
  return value.is_null() ? "none" : value.dump();
}

/// Compares what the ranks say by name; throws where rank 0 says otherwise.
static void requireSame(Collective &ranks, const OrderedJson &mine,
                        const std::string &what, const std::string &advice) {
  std::vector<std::string> all = ranks.gather(mine.dump(), {what, ""});
  OrderedJson first = OrderedJson::parse(all.front());
  for (size_t rank = 1; rank < all.size(); ++rank) {
    OrderedJson theirs = OrderedJson::parse(all[rank]);
    for (const auto &[name, value] : first.items())
      if (!theirs.contains(name) || theirs[name] != value)
        throw Error("rank ", rank, " has another ", name, " than rank 0: ",
                    theirs.contains(name) ? said(theirs[name]) : "none",
                    ", not ", said(value), "; ", advice);
  }
}

void Session::requireSameStart() {
  if (collective().size() == 1)
    return;
  OrderedJson mine;
  mine["artifact"] = artifact.fingerprint();
  mine["--seed"] = runOptions.seed ? Json(*runOptions.seed) : Json();
  mine["--steps"] = runOptions.steps ? Json(*runOptions.steps) : Json();
  mine["--resume"] = runOptions.resume;
  mine["--checkpoint-every"] = runOptions.checkpointEvery;
  mine["--set"] = runOptions.params;
  for (const auto &[name, data] : dataSets)
    mine["number of rows of data '" + name + "'"] = data->size();
  requireSame(collective(), mine, "the start",
              "start all ranks with one command line and the same files");
}

void Session::requireSameState(const Json &state) {
  if (collective().size() == 1)
    return;
  OrderedJson mine;
  Json counters = state;
  counters.erase("files"); // the first rank's alone
  mine["state"] = dumpJson(counters);
  constexpr int64_t most = 1 << 24;
  std::string bytes;
  for (const auto &[name, range] : stateRanges()) {
    uint64_t hash = 0xcbf29ce484222325;
    for (int64_t at = 0; at < range.bytes; at += most) {
      bytes.resize(static_cast<size_t>(std::min(most, range.bytes - at)));
      deviceOwner->download(bytes.data(), range.address + at,
                            static_cast<int64_t>(bytes.size()));
      hash = digest(bytes, hash);
    }
    mine["contents of '" + name + "'"] = hash;
  }
  requireSame(collective(), mine,
              concat("comparison of the ranks at step ", step),
              "the ranks must compute the same bits: are their machines and "
              "files alike?");
}

} // namespace r1c::runtime
