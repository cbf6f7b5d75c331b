//===- Peak.cpp - what the machine can do at most -----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "bench/Products.h"
#include "runtime/device/cpu/Amx.h"
#include <cpuid.h>
#include <cstring>
#include <immintrin.h>
#include <vector>

using namespace r1c::bench;

// Enough independent sums to hide the latency of an instruction.
static constexpr int chains = 24;

#define R1C_CHAINS(OPERATION)                                                  \
  for (int64_t i = 0; i < count; ++i)                                          \
    for (int j = 0; j < chains; ++j) {                                         \
      sum[j] = OPERATION;                                                      \
      asm volatile("" : "+v"(sum[j]));                                         \
    }

__attribute__((target("avx512f"))) static void multiplyAdds(int64_t count,
                                                            float *out) {
  __m512 sum[chains], x = _mm512_set1_ps(0.5f);
  for (__m512 &s : sum)
    s = x;
  R1C_CHAINS(_mm512_fmadd_ps(x, x, sum[j]))
  for (__m512 &s : sum)
    x = _mm512_add_ps(x, s);
  _mm512_storeu_ps(out, x);
}

__attribute__((target("avx512f,avx512bf16"))) static void dots(int64_t count,
                                                               float *out) {
  __m512 sum[chains], x = _mm512_set1_ps(0.5f);
  for (__m512 &s : sum)
    s = x;
  __m512bh pairs = (__m512bh)_mm512_set1_epi32(0x3f003f00);
  R1C_CHAINS(_mm512_dpbf16_ps(sum[j], pairs, pairs))
  for (__m512 &s : sum)
    x = _mm512_add_ps(x, s);
  _mm512_storeu_ps(out, x);
}

/// One matrix tile's columns and rows; matrix tiles want to be told.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t columnBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

__attribute__((target("amx-tile,amx-bf16"))) static void tiles(int64_t count) {
  alignas(64) static const char zeros[1024] = {};
  TileShapes shapes;
  _tile_loadconfig(&shapes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, zeros, 64);
  _tile_loadd(5, zeros, 64);
  for (int64_t i = 0; i < count; ++i) {
    _tile_dpbf16ps(0, 4, 5);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_release();
}

/// As asked of the CPU itself: not every compiler's runtime knows the name.
static bool hasTiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned bf16 = 1u << 22, tile = 1u << 24;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & bf16) && (d & tile) &&
         r1c::runtime::allowAmx();
}

Run r1c::bench::peakArithmetic(bool bf16, int threads, double &flops) {
  if (!__builtin_cpu_supports("avx512f") ||
      (bf16 && !__builtin_cpu_supports("avx512bf16")))
    return {};
  int64_t count = 20000;
  if (bf16 && hasTiles()) {
    flops = double(count) * 4 * (2 * 16 * 16 * 32) * threads;
    return [=] { parallel(threads, [&](int) { tiles(count); }); };
  }
  flops = double(count) * chains * 16 * (bf16 ? 4 : 2) * threads;
  return [=] {
    parallel(threads, [&](int) {
      float out[16];
      (bf16 ? dots : multiplyAdds)(count, out);
    });
  };
}

/// Eight streams at once, as many as a kernel would have.
__attribute__((target("avx512f"))) static int read(const char *from,
                                                   int64_t bytes) {
  __m512i sum[8] = {};
  int64_t part = bytes / 8 / 64 * 64;
  for (int64_t i = 0; i < part; i += 64)
    for (int j = 0; j < 8; ++j) {
      const char *at = from + j * part + i;
      _mm_prefetch(at + 4096, _MM_HINT_T0);
      sum[j] = _mm512_add_epi32(sum[j], _mm512_loadu_si512(at));
      asm volatile("" : "+v"(sum[j]));
    }
  for (int j = 1; j < 8; ++j)
    sum[0] = _mm512_add_epi32(sum[0], sum[j]);
  return _mm512_reduce_add_epi32(sum[0]);
}

Run r1c::bench::peakRead(int threads, double &bytes) {
  if (!__builtin_cpu_supports("avx512f"))
    return {};
  int64_t size = int64_t(256) << 20;
  Buffer memory = output(size + 4096 * 2);
  bytes = double(size);
  return [=] {
    parallel(threads, [&](int worker) {
      int64_t share = size / threads;
      int all = read(static_cast<char *>(memory.get()) + worker * share, share);
      asm volatile("" : : "r"(all));
    });
  };
}
