//===- Layers.cpp - the kernels between the matrix products ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Shapes of a model of 135 M parameters: 576 wide, 9 heads of 64, 3 key-value
// heads, vocabulary 49152. GB/s count each operand and result once.
//===----------------------------------------------------------------------===//

#include "bench/Kernels.h"
#include <benchmark/benchmark.h>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

namespace {

using Buffer = std::shared_ptr<void>;

Buffer floats(size_t count) {
  Buffer b(std::aligned_alloc(64, (count * 4 + 127) / 64 * 64), std::free);
  std::mt19937 g(count);
  std::uniform_real_distribution<float> d(-1, 1);
  for (size_t i = 0; i < count; ++i)
    static_cast<float *>(b.get())[i] = d(g);
  return b;
}

Buffer ints(const std::vector<int32_t> &v) {
  Buffer b(std::aligned_alloc(64, (v.size() * 4 + 127) / 64 * 64), std::free);
  std::copy(v.begin(), v.end(), static_cast<int32_t *>(b.get()));
  return b;
}

void run(benchmark::State &state, const std::string &text,
         const std::vector<Buffer> &buffers, int64_t size, double bytes,
         double flops) {
  auto kernel = r1c::bench::compile(text, "k");
  std::vector<void *> args;
  for (const Buffer &b : buffers)
    args.push_back(b.get());
  if (size >= 0)
    args.push_back(&size);
  for (auto _ : state)
    kernel(args.data(), 0, 1);
  auto rate = benchmark::Counter::kIsIterationInvariantRate;
  if (bytes > 0)
    state.counters["GB/s"] = benchmark::Counter(bytes * 1e-9, rate);
  if (flops > 0)
    state.counters["GF/s"] = benchmark::Counter(flops * 1e-9, rate);
}

void norm(benchmark::State &state) {
  int64_t rows = 1024;
  run(state, R"(
func.func @k(%x: tensor<?x576xf32>, %w: tensor<576xf32>) -> tensor<?x576xf32> attributes {kern.kernel} {
  %y = kern.row (%xv = %x : element tensor<?x576xf32>, %wv = %w : column tensor<576xf32>) -> (element tensor<?x576xf32>) {
    %n = arith.constant 576.0 : f32
    %eps = arith.constant 1.0e-5 : f32
    %s = arith.mulf %xv, %xv : f32
    %t = kern.reduce add %s : f32
    %m = arith.divf %t, %n : f32
    %e = arith.addf %m, %eps : f32
    %r = math.rsqrt %e : f32
    %p = arith.mulf %xv, %r : f32
    %q = arith.mulf %p, %wv : f32
    kern.yield %q : f32
  }
  return %y : tensor<?x576xf32>
})",
      {floats(rows * 576), floats(576), floats(rows * 576)}, rows,
      rows * 576 * 8, 0);
}
BENCHMARK(norm);

void logProbability(benchmark::State &state) {
  int64_t rows = 32, n = 49152;
  run(state, R"(
func.func @k(%z: tensor<?x49152xf32>, %target: tensor<?xi32>) -> (tensor<?xf32>, tensor<?xf32>) attributes {kern.kernel} {
  %y:2 = kern.row (%u = %z : element tensor<?x49152xf32>, %tv = %target : row tensor<?xi32>) -> (row tensor<?xf32>, row tensor<?xf32>) {
    %zero = arith.constant 0.0 : f32
    %m = kern.reduce max %u : f32
    %d = arith.subf %u, %m : f32
    %e = math.exp %d : f32
    %s = kern.reduce add %e : f32
    %j = kern.index column
    %hit = arith.cmpi eq, %j, %tv : i32
    %pick = arith.select %hit, %u, %zero : f32
    %ut = kern.reduce add %pick : f32
    %ls = math.log %s : f32
    %lse = arith.addf %m, %ls : f32
    %logp = arith.subf %ut, %lse : f32
    kern.yield %logp, %lse : f32, f32
  }
  return %y#0, %y#1 : tensor<?xf32>, tensor<?xf32>
})",
      {floats(rows * n), ints(std::vector<int32_t>(rows, 7)), floats(rows),
       floats(rows)},
      rows, rows * n * 4, 0);
}
BENCHMARK(logProbability);

void gumbelSample(benchmark::State &state) {
  int64_t rows = 32, n = 49152;
  run(state, R"(
func.func @k(%z: tensor<?x49152xf32>, %c: tensor<?x4xi32>) -> tensor<?xi32> attributes {kern.kernel} {
  %y = kern.row (%u = %z : element tensor<?x49152xf32>, %c0 = %c : row[0] tensor<?x4xi32>, %c1 = %c : row[1] tensor<?x4xi32>, %c2 = %c : row[2] tensor<?x4xi32>) -> (row tensor<?xi32>) {
    %scale = arith.constant 2.3283064e-10 : f32
    %half = arith.constant 1.1641532e-10 : f32
    %r = kern.noise key(%c0, %c1) counter(%c2, %c1)
    %f = arith.uitofp %r : i32 to f32
    %p = math.fma %f, %scale, %half : f32
    %l = math.log %p : f32
    %nl = arith.negf %l : f32
    %ll = math.log %nl : f32
    %s = arith.subf %u, %ll : f32
    %a = kern.reduce argmax %s : f32
    kern.yield %a : i32
  }
  return %y : tensor<?xi32>
})",
      {floats(rows * n), ints(std::vector<int32_t>(rows * 4, 7)), floats(rows)},
      rows, rows * n * 4, 0);
}
BENCHMARK(gumbelSample);

const char *attentionText = R"(
func.func @k(%q: tensor<?x576xf32>, %k: tensor<?x192xf32>, %v: tensor<?x192xf32>, %p: tensor<?xi32>, %b: tensor<?xi32>) -> (tensor<?x576xf32>, tensor<?x9xf32>) attributes {kern.kernel} {
  %0:2 = kern.attention %q, %k, %v at %p from %b {heads = 9, kv_heads = 3, scale = 0.125 : f32} : tensor<?x576xf32>, tensor<?x192xf32>, tensor<?x192xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x576xf32>, tensor<?x9xf32>
  return %0#0, %0#1 : tensor<?x576xf32>, tensor<?x9xf32>
})";

void attention(benchmark::State &state) {
  int64_t rows = state.range(0);
  std::vector<int32_t> positions, bases(rows, 0);
  for (int64_t i = 0; i < rows; ++i)
    positions.push_back(i);
  run(state, attentionText,
      {floats(rows * 576), floats(rows * 192), floats(rows * 192),
       ints(positions), ints(bases), floats(rows * 576), floats(rows * 9)},
      rows, 0, 2.0 * rows * rows * 576);
}
BENCHMARK(attention)->Arg(256)->Arg(1024)->Unit(benchmark::kMillisecond);

void attentionBackward(benchmark::State &state) {
  int64_t rows = state.range(0);
  // Probabilities of any sum are as fast.
  run(state, R"(
func.func @k(%q: tensor<?x576xf32>, %k: tensor<?x192xf32>, %v: tensor<?x192xf32>, %o: tensor<?x576xf32>, %l: tensor<?x9xf32>, %g: tensor<?x576xf32>, %off: tensor<?xi32>) -> (tensor<?x576xf32>, tensor<?x192xf32>, tensor<?x192xf32>) attributes {kern.kernel} {
  %0:3 = kern.attention_backward %q, %k, %v out %o lse %l seed %g offsets %off {heads = 9, kv_heads = 3, scale = 0.125 : f32} : tensor<?x576xf32>, tensor<?x192xf32>, tensor<?x192xf32>, tensor<?x576xf32>, tensor<?x9xf32>, tensor<?x576xf32>, tensor<?xi32> -> tensor<?x576xf32>, tensor<?x192xf32>, tensor<?x192xf32>
  return %0#0, %0#1, %0#2 : tensor<?x576xf32>, tensor<?x192xf32>, tensor<?x192xf32>
})",
      {floats(rows * 576), floats(rows * 192), floats(rows * 192),
       floats(rows * 576), floats(rows * 9), floats(rows * 576),
       ints({0, (int32_t)rows}), floats(rows * 576), floats(rows * 192),
       floats(rows * 192)},
      1, 0, 2.5 * 2.0 * rows * rows * 576);
}
BENCHMARK(attentionBackward)
    ->Arg(256)
    ->Arg(1024)
    ->Unit(benchmark::kMillisecond);

void packTransposed(benchmark::State &state) {
  run(state, R"(
func.func @k(%w: tensor<1536x576xf32>) -> !kern.packed<576x1536xf32> attributes {kern.kernel} {
  %0 = kern.pack %w {transpose} : tensor<1536x576xf32> -> !kern.packed<576x1536xf32>
  return %0 : !kern.packed<576x1536xf32>
})",
      {floats(1536 * 576), floats(1536 * 576)}, -1, 1536 * 576 * 8, 0);
}
BENCHMARK(packTransposed);

void packPlain(benchmark::State &state) {
  run(state, R"(
func.func @k(%w: tensor<1536x576xf32>) -> !kern.packed<1536x576xf32> attributes {kern.kernel} {
  %0 = kern.pack %w : tensor<1536x576xf32> -> !kern.packed<1536x576xf32>
  return %0 : !kern.packed<1536x576xf32>
})",
      {floats(1536 * 576), floats(1536 * 576)}, -1, 1536 * 576 * 8, 0);
}
BENCHMARK(packPlain);

void weightGradient(benchmark::State &state) {
  int64_t rows = 1024;
  run(state, R"(
func.func @k(%a: tensor<?x1536xf32>, %b: tensor<?x576xf32>) -> tensor<1536x576xf32> attributes {kern.kernel} {
  %0 = kern.matmul %a, %b transpose_a : tensor<?x1536xf32>, tensor<?x576xf32> -> (tensor<1536x576xf32>)
  return %0 : tensor<1536x576xf32>
})",
      {floats(rows * 1536), floats(rows * 576), floats(1536 * 576)}, rows, 0,
      2.0 * rows * 1536 * 576);
}
BENCHMARK(weightGradient)->Unit(benchmark::kMillisecond);

void siluMul(benchmark::State &state) {
  int64_t rows = 1024;
  run(state, R"(
func.func @k(%a: tensor<?x1536xf32>, %b: tensor<?x1536xf32>) -> tensor<?x1536xf32> attributes {kern.kernel} {
  %0 = kern.map (%g = %a : element tensor<?x1536xf32>, %u = %b : element tensor<?x1536xf32>) -> (element tensor<?x1536xf32>) {
    %one = arith.constant 1.0 : f32
    %n = arith.negf %g : f32
    %e = math.exp %n : f32
    %d = arith.addf %e, %one : f32
    %p = arith.mulf %g, %u : f32
    %q = arith.divf %p, %d : f32
    kern.yield %q : f32
  }
  return %0 : tensor<?x1536xf32>
})",
      {floats(rows * 1536), floats(rows * 1536), floats(rows * 1536)}, rows,
      rows * 1536 * 12, 0);
}
BENCHMARK(siluMul);

} // namespace

BENCHMARK_MAIN();
