//===- Matmul.cpp - generated matrix products beside oneDNN's -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// bench_matmul [--benchmark_filter=REGEX] [--benchmark_out=FILE]
//
// A benchmark is one product: in each round every way to compute it, and what
// the machine can do at most, run once after the other. Rates are medians, and
// ratios medians of ratios within a round: what else the machine does falls on
// all alike. Weights are packed before, by each in its own layout.
//===----------------------------------------------------------------------===//

#include "bench/Kernels.h"
#include "bench/Products.h"
#include <algorithm>
#include <benchmark/benchmark.h>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <vector>

using namespace r1c::bench;

namespace {

// Those of a model of 135 M parameters: 576 wide, 192 of keys and of values,
// 1536 in its layers' middle, vocabulary 49152.
const Shape weights[] = {
    {0, 576, 576}, {0, 1536, 576}, {0, 576, 1536}, {0, 49152, 576}};
const Shape gradients[] = {
    {576, 1536, 2048}, {1536, 576, 2048}, {576, 576, 2048},
    {192, 576, 2048},  {576, 1536, 512},  {1536, 576, 512},
    {576, 576, 512},   {192, 576, 512},   {49152, 576, 512}};

struct Case {
  Shape shape;
  bool bf16, gradient;
  int threads;

  std::string name() const {
    return std::string(bf16 ? "bf16 " : "f32 ") + std::to_string(threads) +
           "T " + (gradient ? "gradient " : "") + std::to_string(shape.m) +
           "x" + std::to_string(shape.n) + "x" + std::to_string(shape.k);
  }
  double bytes() const {
    return (bf16 ? 2.0 : 4.0) * (shape.m + shape.n) * shape.k +
           4.0 * shape.m * shape.n;
  }
  /// Bound by the memory that holds the weights: no cache does.
  bool readsMemory() const { return shape.m <= 4 && bytes() > (40 << 20); }
  /// In units of the rate that is printed.
  double work() const { return shape.m <= 4 ? bytes() : shape.flops(); }
};

/// A way to compute a product, or a limit.
struct Way {
  const char *name;
  Run run;
  double work;
  int64_t repeats = 1;
  std::vector<double> seconds = {};
};

std::vector<Way> waysOf(const Case &c) {
  std::vector<Way> ways;
  auto add = [&](const char *name, Run run, double work) {
    if (run)
      ways.push_back({name, run, work});
  };
  Shape s = c.shape;
  double flops, bytes;
  if (Run run = peakArithmetic(c.bf16, c.threads, flops);
      !c.readsMemory() && run)
    add("peak", run, flops);
  if (Run run = peakRead(c.threads, bytes); c.readsMemory() && run)
    add("peak", run, bytes);
  if (c.gradient) {
    add("r1c", weightGradient(s, c.bf16, c.threads), c.work());
    add("onednn", oneDnnWeightGradient(s, c.bf16, c.threads), c.work());
    return ways;
  }
  add("r1c", product(s, c.bf16, c.threads, Epilogue::none), c.work());
  add("onednn", oneDnnProduct(s, c.bf16, c.threads), c.work());
  if (s.m <= 16 && c.threads == 2)
    add("split", splitProduct(s, c.bf16), c.work());
  if (s.m != 16 && s.m != 512)
    return ways;
  if (s.n == 1536)
    add("gated", product(s, c.bf16, c.threads, Epilogue::gated), c.work());
  if (s.k == 1536)
    add("residual", product(s, c.bf16, c.threads, Epilogue::residual),
        c.work());
  if (s.n == 49152)
    add("head", head(s, c.bf16, c.threads), c.work());
  return ways;
}

/// One thread is timed by its own clock, which stands still while another
/// program has the core.
double now(int threads) {
  timespec t;
  clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

double timed(const Run &run, int64_t repeats, int threads) {
  double start = now(threads);
  for (int64_t i = 0; i < repeats; ++i)
    run();
  return (now(threads) - start) / repeats;
}

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + v.size() / 2, v.end());
  return v[v.size() / 2];
}

/// How much of `a`'s rate `b` has.
double ratio(const Way &a, const Way &b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < a.seconds.size(); ++i)
    ratios.push_back(a.seconds[i] / a.work * b.work / b.seconds[i]);
  return median(ratios);
}

std::map<std::string, std::map<std::string, double>> results;

void measure(benchmark::State &state, Case c) {
  constexpr double slice = 4e-4, budget = 0.7;
  std::vector<Way> ways = waysOf(c);
  double round = 0;
  for (Way &way : ways) {
    way.run();
    double once = timed(way.run, 1, c.threads);
    way.repeats = std::max<int64_t>(1, slice / once);
    round += once * way.repeats + (once < slice ? once : 0);
  }
  int64_t rounds = std::clamp<int64_t>(budget / round, 5, 151) | 1;
  for (auto _ : state) {
    for (int64_t i = 0; i < rounds; ++i)
      for (size_t j = 0; j < ways.size(); ++j) {
        Way &way = ways[(i + j) % ways.size()];
        if (way.repeats > 1)
          way.run(); // its operands into the caches
        way.seconds.push_back(timed(way.run, way.repeats, c.threads));
      }
    auto find = [&](const std::string &name) {
      return std::find_if(ways.begin(), ways.end(),
                          [&](const Way &way) { return way.name == name; });
    };
    const Way &own = *find("r1c");
    state.SetIterationTime(median(own.seconds));
    auto &result = results[c.name()];
    result["ms"] = 1e3 * median(own.seconds);
    result[c.shape.m <= 4 ? "GB/s" : "GF/s"] =
        1e-9 * own.work / median(own.seconds);
    for (const Way &way : ways)
      if (&way != &own)
        result["/" + std::string(way.name)] = ratio(way, own);
    result["rounds"] = rounds;
    for (auto &[name, value] : result)
      state.counters[name] = value;
  }
}

void table(const std::vector<Case> &cases) {
  std::printf("\n%-30s %9s %8s %6s %7s %6s   %s\n", "median", "ms", "rate",
              "peak", "oneDNN", "1T", "cost over the plain product");
  std::map<std::string, std::vector<double>> groups;
  for (const Case &c : cases) {
    if (!results.count(c.name()))
      continue;
    auto &r = results[c.name()];
    auto number = [&](const char *key, int width, int digits, double scale,
                      const char *unit) {
      if (r.count(key))
        std::printf(" %*.*f%s", width, digits, r[key] * scale, unit);
      else
        std::printf(" %*s", width + int(std::string(unit).size()), "");
    };
    std::printf("%-30s", c.name().c_str());
    number("ms", 9, 3, 1, "");
    number(c.shape.m <= 4 ? "GB/s" : "GF/s", 8, 1, 1, "");
    number("/peak", 5, 0, 100, "%");
    number("/onednn", 7, 2, 1, "");
    Case single = c;
    single.threads = 1;
    if (c.threads > 1 && results.count(single.name()))
      std::printf(" %6.2f", results[single.name()]["ms"] / r["ms"]);
    else
      std::printf(" %6s", "");
    for (const char *name : {"gated", "residual", "head"})
      if (r.count("/" + std::string(name)))
        std::printf("   %s %+.1f%%", name,
                    100 * (r["/" + std::string(name)] - 1));
    if (r.count("/split"))
      std::printf("   %+.1f%% over split", 100 * (1 / r["/split"] - 1));
    std::printf("\n");
    if (r.count("/onednn"))
      groups[c.gradient        ? "gradients"
             : c.shape.m <= 16 ? "M = 1, 4, 16"
                               : "M >= 512"]
          .push_back(r["/onednn"]);
  }
  for (auto &[name, ratios] : groups) {
    double sum = 0;
    for (double r : ratios)
      sum += std::log(r);
    std::printf("%-14s %3zu products, ratio to oneDNN: geometric mean %.3f, "
                "least %.2f\n",
                name.c_str(), ratios.size(), std::exp(sum / ratios.size()),
                *std::min_element(ratios.begin(), ratios.end()));
  }
}

} // namespace

int main(int argc, char **argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("llvm", llvmVersion());
  benchmark::AddCustomContext("cpu", cpuName());
  if (const char *commit = std::getenv("R1C_COMMIT"))
    benchmark::AddCustomContext("commit", commit);
  benchmark::AddCustomContext("onednn", oneDnnVersion());

  std::vector<Case> cases;
  for (bool bf16 : {false, true})
    for (int threads : {1, 2}) {
      for (int64_t size : {1024, 2048})
        cases.push_back({{size, size, size}, bf16, false, threads});
      for (int64_t m : {4096, 512, 16, 4, 1})
        for (Shape s : weights)
          cases.push_back({{m, s.n, s.k}, bf16, false, threads});
      for (Shape s : gradients)
        cases.push_back({s, bf16, true, threads});
    }
  for (const Case &c : cases)
    benchmark::RegisterBenchmark(
        c.name().c_str(), [=](benchmark::State &state) { measure(state, c); })
        ->Unit(benchmark::kMillisecond)
        ->UseManualTime()
        ->Iterations(1);
  benchmark::RunSpecifiedBenchmarks();
  table(cases);
  return 0;
}
