//===- StartLimit.h - an end to waiting for all ranks -----------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_COLLECTIVE_STARTLIMIT_H
#define R1C_RUNTIME_COLLECTIVE_STARTLIMIT_H

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace r1c::runtime {

/// Calls `late`, on a thread of its own, unless it goes out of scope within
/// `seconds`. For the starts of MPI and NCCL, and NCCL's end, which wait for
/// every rank and cannot be given up: `late` has to end the process.
class StartLimit {
public:
  StartLimit(double seconds, std::function<void()> late)
      : thread([this, seconds, late = std::move(late)] {
          std::unique_lock lock(mutex);
          if (!ended.wait_for(lock, std::chrono::duration<double>(seconds),
                              [this] { return started; }))
            late();
        }) {}
  ~StartLimit() {
    {
      std::lock_guard lock(mutex);
      started = true;
    }
    ended.notify_all();
    thread.join();
  }

private:
  std::mutex mutex;
  std::condition_variable ended;
  bool started = false;
  std::thread thread; // last: it uses the others
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_COLLECTIVE_STARTLIMIT_H
