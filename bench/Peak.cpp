//===- Peak.cpp - what this machine can do --------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// bench_peak: one JSON object; "f32 2T" and "bf16 2T" in GF/s, "read 2T" in
// GB/s. The best of many short rounds: a limit that other programs on the
// machine can only hide. Products are chains of independent sums in registers,
// reads go through a buffer that no cache holds.
//===----------------------------------------------------------------------===//

#include "runtime/device/cpu/ThreadPool.h"
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <immintrin.h>
#include <memory>
#include <string>

namespace {

constexpr int64_t steps = 200000;
constexpr int chains = 16;
constexpr size_t bytes = size_t(512) << 20;

/// Results must look needed.
volatile float sink;

__attribute__((target("avx512f"))) void f32() {
  __m512 sums[chains], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(1.0f);
  for (auto &sum : sums)
    sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < steps; ++i) {
    asm volatile("" : "+v"(a), "+v"(b)); // not the same every time
#pragma unroll
    for (auto &sum : sums)
      sum = _mm512_fmadd_ps(a, sum, b);
  }
  for (auto &sum : sums)
    sink = _mm512_cvtss_f32(sum);
}

__attribute__((target("avx512f,avx512bf16"))) void bf16() {
  __m512 sums[chains];
  __m512i a = _mm512_set1_epi32(0), b = a;
  for (auto &sum : sums)
    sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < steps; ++i) {
    asm volatile("" : "+v"(a), "+v"(b));
#pragma unroll
    for (auto &sum : sums)
      sum = _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }
  for (auto &sum : sums)
    sink = _mm512_cvtss_f32(sum);
}

__attribute__((target("avx2,fma"))) void narrow() {
  __m256 sums[chains], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(1.0f);
  for (auto &sum : sums)
    sum = _mm256_setzero_ps();
  for (int64_t i = 0; i < steps; ++i) {
    asm volatile("" : "+x"(a), "+x"(b));
#pragma unroll
    for (int c = 0; c < 12; ++c) // 16 registers
      sums[c] = _mm256_fmadd_ps(a, sums[c], b);
  }
  for (auto &sum : sums)
    sink = _mm256_cvtss_f32(sum);
}

__attribute__((target("avx2"))) void read(const char *from, size_t size) {
  __m256i sums[8];
  for (auto &sum : sums)
    sum = _mm256_setzero_si256();
  for (const char *p = from; p < from + size; p += 256)
#pragma unroll
    for (int i = 0; i < 8; ++i)
      sums[i] =
          _mm256_xor_si256(sums[i], _mm256_load_si256((const __m256i *)p + i));
  for (auto &sum : sums)
    sink = float(_mm256_extract_epi32(sum, 0));
}

/// Seconds of the best of `rounds`, all workers at once.
double best(int64_t threads, int rounds,
            std::function<void(int64_t, int64_t)> body) {
  r1c::runtime::ThreadPool pool(threads);
  double least = 1e9;
  void *args[] = {&body};
  for (int i = 0; i < rounds; ++i) {
    auto start = std::chrono::steady_clock::now();
    pool.run(
        [](void *const *args, int64_t worker, int64_t workers) {
          (*static_cast<decltype(body) *>(args[0]))(worker, workers);
        },
        args);
    std::chrono::duration<double> took =
        std::chrono::steady_clock::now() - start;
    least = std::min(least, took.count());
  }
  return least;
}

} // namespace

int main() {
  std::string out;
  auto add = [&](const char *what, int64_t threads, double value) {
    char line[80];
    std::snprintf(line, sizeof line, "%s\"%s %dT\": %.1f",
                  out.empty() ? "{" : ", ", what, int(threads), value);
    out += line;
  };
  std::unique_ptr<char, decltype(&std::free)> memory(
      static_cast<char *>(std::aligned_alloc(4096, bytes)), std::free);
  std::memset(memory.get(), 1, bytes);
  for (int64_t threads : {1, 2}) {
    double sums = double(steps) * threads * 1e-9;
    if (__builtin_cpu_supports("avx512f"))
      add("f32", threads,
          sums * chains * 32 / best(threads, 40, [](auto, auto) { f32(); }));
    else
      add("f32", threads,
          sums * 12 * 16 / best(threads, 40, [](auto, auto) { narrow(); }));
    if (__builtin_cpu_supports("avx512bf16"))
      add("bf16", threads,
          sums * chains * 64 / best(threads, 40, [](auto, auto) { bf16(); }));
    add("read", threads,
        bytes * 1e-9 / best(threads, 20, [&](int64_t worker, int64_t workers) {
          size_t size = bytes / workers;
          read(memory.get() + worker * size, size);
        }));
  }
  std::printf("%s}\n", out.c_str());
  return 0;
}
