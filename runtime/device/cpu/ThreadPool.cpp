//===- ThreadPool.cpp - workers for one kernel at a time ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cpu/ThreadPool.h"
#include "runtime/support/Error.h"
#include <algorithm>
#include <cstdlib>
#include <sched.h>
#include <system_error>

namespace r1c::runtime {

namespace {

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Waits until `value` differs from `old`. Kernels of a small model follow each
/// other faster than a futex wakes, so it spins for some microseconds; then it
/// offers its core (the other side may be waiting for that very core where
/// others use the machine, too); then it sleeps.
void awaitChange(std::atomic<uint32_t> &value, uint32_t old) {
  auto changed = [&] { return value.load(std::memory_order_acquire) != old; };
  for (int spin = 0; spin < 200; ++spin) {
    if (changed())
      return;
    relax();
  }
  for (int offer = 0; offer < 50; ++offer) {
    if (changed())
      return;
    ::sched_yield();
  }
  value.wait(old, std::memory_order_acquire);
}

} // namespace

int64_t ThreadPool::defaultSize() {
  if (const char *text = std::getenv("R1C_THREADS")) {
    char *end = nullptr;
    long value = std::strtol(text, &end, 10);
    if (*text == 0 || *end != 0 || value < 1 || value > 4096)
      throw Error("R1C_THREADS = '", text, "' is not a number of threads");
    return value;
  }
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

ThreadPool::ThreadPool(int64_t workers) : count(std::max<int64_t>(1, workers)) {
  try {
    for (int64_t worker = 1; worker < count; ++worker)
      threads.emplace_back([this, worker] { work(worker); });
  } catch (const std::system_error &error) {
    size_t started = threads.size() + 1;
    end();
    throw Error("only ", started, " of ", count, " worker threads can be ",
                "started: ", error.code().message(), "; give --threads");
  }
}

ThreadPool::~ThreadPool() { end(); }

void ThreadPool::end() {
  stopping = true;
  generation.fetch_add(1, std::memory_order_release);
  generation.notify_all();
  for (std::thread &thread : threads)
    thread.join();
}

void ThreadPool::run(Function newFunction, void *const *args) {
  if (count == 1)
    return newFunction(args, 0, 1);
  function = newFunction;
  arguments = args;
  running.store(static_cast<uint32_t>(count - 1), std::memory_order_relaxed);
  generation.fetch_add(1, std::memory_order_release);
  generation.notify_all();
  newFunction(args, 0, count);
  for (uint32_t left; (left = running.load(std::memory_order_acquire)) != 0;)
    awaitChange(running, left);
}

void ThreadPool::work(int64_t worker) {
  for (uint32_t seen = 0;;) {
    awaitChange(generation, seen);
    uint32_t now = generation.load(std::memory_order_acquire);
    if (now == seen)
      continue; // a spurious wake
    seen = now;
    if (stopping)
      return;
    function(arguments, worker, count);
    if (running.fetch_sub(1, std::memory_order_acq_rel) == 1)
      running.notify_one();
  }
}

} // namespace r1c::runtime
