//===- Rounds.cpp - one thing measured in several ways -------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "bench/Rounds.h"
#include <algorithm>
#include <cstdlib>
#include <ctime>

using namespace r1c::bench;

/// One thread is timed by its own clock, which stands still while another
/// program has the core.
static double now(int threads) {
  timespec t;
  clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static double timed(const Run &run, int64_t repeats, int threads) {
  double start = now(threads);
  for (int64_t i = 0; i < repeats; ++i)
    run();
  return (now(threads) - start) / repeats;
}

static double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + v.size() / 2, v.end());
  return v[v.size() / 2];
}

/// How much of `a`'s rate `b` has.
static double ratio(const Way &a, const Way &b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < a.seconds.size(); ++i)
    ratios.push_back(a.seconds[i] / a.work * b.work / b.seconds[i]);
  return median(ratios);
}

std::map<std::string, double> r1c::bench::inTurn(benchmark::State &state,
                                                 std::vector<Way> ways,
                                                 int threads,
                                                 const std::string &rate) {
  constexpr double slice = 4e-4, budget = 0.7;
  double round = 0;
  for (Way &way : ways) {
    way.run();
    double once = timed(way.run, 1, threads);
    way.repeats = std::max<int64_t>(1, slice / once);
    round += once * way.repeats + (once < slice ? once : 0);
  }
  int64_t rounds = std::clamp<int64_t>(budget / round, 5, 151) | 1;
  std::map<std::string, double> result;
  for (auto _ : state) {
    for (int64_t i = 0; i < rounds; ++i)
      for (size_t j = 0; j < ways.size(); ++j) {
        Way &way = ways[(i + j) % ways.size()];
        if (way.repeats > 1)
          way.run(); // its operands into the caches
        way.seconds.push_back(timed(way.run, way.repeats, threads));
      }
    const Way &own =
        *std::find_if(ways.begin(), ways.end(), [](const Way &way) {
          return std::string(way.name) == "r1c";
        });
    double seconds = median(own.seconds);
    state.SetIterationTime(seconds);
    result["ms"] = 1e3 * seconds;
    result[rate] = 1e-9 * own.work / seconds;
    for (const Way &way : ways)
      if (&way != &own)
        result["/" + std::string(way.name)] = ratio(way, own);
    result["rounds"] = rounds;
  }
  for (auto &[name, value] : result)
    state.counters[name] = value;
  return result;
}

void r1c::bench::initialize(int &argc, char **argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("llvm", llvmVersion());
  benchmark::AddCustomContext("cpu", cpuName());
  if (const char *commit = std::getenv("R1C_COMMIT"))
    benchmark::AddCustomContext("commit", commit);
}

void r1c::bench::add(const std::string &name,
                     const std::function<void(benchmark::State &)> &body) {
  benchmark::RegisterBenchmark(name.c_str(), body)
      ->Unit(benchmark::kMillisecond)
      ->UseManualTime()
      ->Iterations(1);
}
