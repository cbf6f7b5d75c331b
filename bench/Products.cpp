//===- Products.cpp - our matrix products and what they run on ----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "bench/Products.h"
#include "bench/Kernels.h"
#include "bench/Texts.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <vector>
#ifdef R1C_BENCH_ONEDNN
// The threads of the peer's pool, through its runtime's stable entry points.
extern "C" {
void GOMP_parallel(void (*)(void *), void *, unsigned, unsigned);
int omp_get_thread_num();
}
#else
#include "runtime/device/cpu/ThreadPool.h"
#endif

using namespace r1c::bench;

Buffer r1c::bench::output(size_t bytes) {
  static std::map<size_t, Buffer> known;
  Buffer &b = known[bytes];
  if (!b) {
    b = allocate(bytes);
    std::memset(b.get(), 0, bytes);
  }
  return b;
}

Buffer r1c::bench::randoms(size_t count, bool bf16) {
  static std::map<std::pair<size_t, bool>, Buffer> known;
  Buffer &b = known[{count, bf16}];
  if (b)
    return b;
  std::mt19937 g(count);
  std::uniform_real_distribution<float> d(-1, 1);
  b = allocate(count * (bf16 ? 2 : 4));
  for (size_t i = 0; i < count; ++i) {
    float v = d(g);
    if (bf16)
      std::memcpy((char *)b.get() + 2 * i, (char *)&v + 2, 2);
    else
      ((float *)b.get())[i] = v;
  }
  return b;
}

void r1c::bench::parallel(int threads, const std::function<void(int)> &body) {
  if (threads == 1)
    return body(0);
#ifdef R1C_BENCH_ONEDNN
  GOMP_parallel(
      [](void *f) {
        (*static_cast<const std::function<void(int)> *>(f))(
            omp_get_thread_num());
      },
      const_cast<std::function<void(int)> *>(&body), threads, 0);
#else
  static std::map<int, std::unique_ptr<runtime::ThreadPool>> pools;
  auto &pool = pools[threads];
  if (!pool)
    pool = std::make_unique<runtime::ThreadPool>(threads);
  void *args[] = {const_cast<std::function<void(int)> *>(&body)};
  pool->run(
      [](void *const *args, int64_t worker, int64_t) {
        (*static_cast<const std::function<void(int)> *>(args[0]))(int(worker));
      },
      args);
#endif
}

Run r1c::bench::runOf(Kernel kernel, std::vector<Buffer> buffers,
                      std::optional<int64_t> size, int threads) {
  auto rows = std::make_shared<int64_t>(size.value_or(0));
  std::vector<void *> args;
  for (const Buffer &b : buffers)
    args.push_back(b.get());
  if (size)
    args.push_back(rows.get());
  return [=] {
    (void)buffers, (void)rows;
    parallel(threads,
             [&](int worker) { kernel(args.data(), worker, threads); });
  };
}

/// B's panels, the last one whole.
static Buffer panels(Shape s, bool bf16) {
  return randoms((s.n + 31) / 32 * 32 * s.k, bf16);
}

Run r1c::bench::product(Shape s, bool bf16, int threads, Epilogue epilogue) {
  std::vector<Buffer> buffers = {randoms(s.m * s.k, bf16), panels(s, bf16)};
  if (epilogue == Epilogue::residual) {
    buffers.push_back(randoms(s.m * s.n, bf16));
    buffers.push_back(randoms(s.n, false));
  }
  buffers.push_back(output(s.m * s.n * 4));
  return runOf(compile(productText(s, bf16, epilogue), "mm"), buffers, s.m,
               threads);
}

Run r1c::bench::head(Shape s, bool bf16, int threads) {
  std::string text = headText(s, bf16);
  int64_t chunks = (s.n + 255) / 256;
  Buffer targets = allocate(s.m * 4), temperature = allocate(4);
  std::fill_n((int32_t *)targets.get(), s.m, 7);
  *(float *)temperature.get() = 1;
  std::vector<Buffer> first = {randoms(s.m * s.k, bf16), panels(s, bf16),
                               targets, temperature},
                      second;
  for (int i = 0; i < 4; ++i) {
    second.push_back(allocate(s.m * chunks * 4));
    first.push_back(second.back());
  }
  for (int i = 0; i < 3; ++i)
    second.push_back(allocate(s.m * 4));
  Run sums = runOf(compile(text, "mm"), first, s.m, threads),
      rows = runOf(compile(text, "row"), second, s.m, threads);
  return [=] {
    sums();
    rows();
  };
}

Run r1c::bench::splitProduct(Shape s, bool bf16) {
  Shape half{s.m, s.n, s.k / 2};
  Kernel kernel = compile(productText(half, bf16, Epilogue::none), "mm");
  Kernel add = compile(R"(
func.func @add(%0: tensor<?xf32>, %1: tensor<?xf32>) -> tensor<?xf32> attributes {kern.kernel} {
  %2 = kern.map (%x = %0 : element tensor<?xf32>, %y = %1 : element tensor<?xf32>) -> (element tensor<?xf32>) {
    %z = arith.addf %x, %y : f32
    kern.yield %z : f32
  }
  return %2 : tensor<?xf32>
})",
                       "add");
  // Each half has its columns of A and its rows of B by themselves.
  Buffer a = randoms(s.m * s.k, bf16), b = panels(s, bf16),
         sums = output(s.m * s.n * 4), others = allocate(s.m * s.n * 4);
  auto sizes = std::make_shared<std::pair<int64_t, int64_t>>(s.m, s.m * s.n);
  int64_t bytes = bf16 ? 2 : 4, columns = (s.n + 31) / 32 * 32;
  std::vector<std::vector<void *>> halves;
  for (int64_t i = 0; i < 2; ++i)
    halves.push_back({(char *)a.get() + i * s.m * half.k * bytes,
                      (char *)b.get() + i * columns * half.k * bytes,
                      i ? others.get() : sums.get(), &sizes->first});
  std::vector<void *> both = {sums.get(), others.get(), sums.get(),
                              &sizes->second};
  return [=] {
    (void)a, (void)b, (void)sums, (void)others, (void)sizes;
    parallel(2, [&](int worker) { kernel(halves[worker].data(), 0, 1); });
    parallel(2, [&](int worker) { add(both.data(), worker, 2); });
  };
}

Run r1c::bench::weightGradient(Shape s, bool bf16, int threads) {
  return runOf(compile(weightGradientText(s, bf16), "mm"),
               {randoms(s.k * s.m, bf16), randoms(s.k * s.n, bf16),
                output(s.m * s.n * 4)},
               s.k, threads);
}
