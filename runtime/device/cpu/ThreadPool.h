//===- ThreadPool.h - workers for one kernel at a time ----------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DEVICE_CPU_THREADPOOL_H
#define R1C_RUNTIME_DEVICE_CPU_THREADPOOL_H

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace r1c::runtime {

/// Runs one function on all workers at a time. The caller is worker 0, so a
/// pool of one has no threads and costs nothing.
class ThreadPool {
public:
  using Function = void (*)(void *const *args, int64_t worker, int64_t workers);

  explicit ThreadPool(int64_t workers);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  int64_t size() const { return count; }

  /// Returns when every worker has; not to be called from a worker.
  void run(Function function, void *const *args);

  /// R1C_THREADS if set, else the cores this process may use.
  static int64_t defaultSize();

private:
  void work(int64_t worker);
  void end();

  int64_t count;
  std::vector<std::thread> threads;
  Function function = nullptr;
  void *const *arguments = nullptr;
  // Written by one side and spun on by the other: a cache line each.
  alignas(64) std::atomic<uint32_t> generation{0};
  alignas(64) std::atomic<uint32_t> running{0};
  bool stopping = false;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DEVICE_CPU_THREADPOOL_H
