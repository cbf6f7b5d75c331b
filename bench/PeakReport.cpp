//===- PeakReport.cpp - what this machine can do, as JSON -----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// bench_peak: one JSON object; "f32 2T" and "bf16 2T" in GF/s, "read 2T" in
// GB/s. The best of many short rounds: a limit that other programs on the
// machine can only hide.
//===----------------------------------------------------------------------===//

#include "bench/Products.h"
#include <algorithm>
#include <chrono>
#include <cstdio>

using namespace r1c::bench;

/// 1e9 of `amount` a second, at best. Half a second of rounds: a scheduler
/// takes its time to give a new thread a core of its own.
static double rate(const Run &run, double amount) {
  using Clock = std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;
  double least = 1e9;
  auto begin = Clock::now();
  while (Seconds(Clock::now() - begin).count() < 0.5) {
    auto start = Clock::now();
    run();
    least = std::min(least, Seconds(Clock::now() - start).count());
  }
  return amount * 1e-9 / least;
}

int main() {
  const char *separator = "{";
  auto print = [&](const char *what, int threads, const Run &run,
                   double amount) {
    if (!run)
      return;
    std::printf("%s\"%s %dT\": %.1f", separator, what, threads,
                rate(run, amount));
    separator = ", ";
  };
  for (int threads : {1, 2}) {
    double amount = 0;
    Run run = peakArithmetic(false, threads, amount);
    print("f32", threads, run, amount);
    run = peakArithmetic(true, threads, amount);
    print("bf16", threads, run, amount);
    run = peakRead(threads, amount);
    print("read", threads, run, amount);
  }
  std::printf("%s}\n", *separator == '{' ? "{" : "");
  return 0;
}
