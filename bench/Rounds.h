//===- Rounds.h - one thing measured in several ways -------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// In each round every way to compute something, and what the machine can do at
// most, run once after the other. Rates are medians, and ratios medians of
// ratios within a round: what else the machine does falls on all alike.
//===----------------------------------------------------------------------===//

#ifndef R1C_BENCH_ROUNDS_H
#define R1C_BENCH_ROUNDS_H

#include "bench/Products.h"
#include <benchmark/benchmark.h>
#include <map>
#include <string>
#include <vector>

namespace r1c::bench {

/// A way to compute something, or a limit.
struct Way {
  const char *name; ///< "r1c" is what is measured
  Run run;
  double work; ///< flops or bytes of a run
  int64_t repeats = 1;
  std::vector<double> seconds = {};
};

/// Fills the counters of a benchmark of one iteration, and gives them: `ms`,
/// `rate` ("GF/s" or "GB/s"), `/name`, r1c's rate over that of another way, and
/// `rounds`.
std::map<std::string, double> inTurn(benchmark::State &state,
                                     std::vector<Way> ways, int threads,
                                     const std::string &rate);

/// Reads the command line; versions, CPU and commit go to the results.
void initialize(int &argc, char **argv);
/// Adds a benchmark that calls inTurn.
void add(const std::string &name,
         const std::function<void(benchmark::State &)> &body);

} // namespace r1c::bench

#endif // R1C_BENCH_ROUNDS_H
