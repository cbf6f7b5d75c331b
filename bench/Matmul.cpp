//===- Matmul.cpp - generated matrix products beside oneDNN's -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// bench_matmul [--benchmark_filter=REGEX] [--benchmark_out=FILE]
//
// A benchmark is one product, computed in every way that there is. Weights are
// packed before, by each in its own layout.
//===----------------------------------------------------------------------===//

#include "bench/Products.h"
#include "bench/Rounds.h"
#include <algorithm>
#include <benchmark/benchmark.h>
#include <cmath>
#include <cstdio>
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

std::map<std::string, std::map<std::string, double>> results;

void measure(benchmark::State &state, Case c) {
  results[c.name()] =
      inTurn(state, waysOf(c), c.threads, c.shape.m <= 4 ? "GB/s" : "GF/s");
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
  initialize(argc, argv);
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
    add(c.name(), [=](benchmark::State &state) { measure(state, c); });
  benchmark::RunSpecifiedBenchmarks();
  table(cases);
  return 0;
}
