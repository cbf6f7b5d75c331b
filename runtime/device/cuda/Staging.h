//===- Staging.h - host memory that a GPU copies by itself ------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DEVICE_CUDA_STAGING_H
#define R1C_RUNTIME_DEVICE_CUDA_STAGING_H

#include "runtime/device/cuda/Driver.h"
#include <algorithm>

namespace r1c::runtime::cuda {

/// Pinned memory through which uploads and downloads go: a copy from or to it
/// needs no help of the host. For uploads it is a ring of two halves, so that
/// the host fills one while the other is under way, and many small uploads are
/// queued without waiting for any.
class Staging {
public:
  static constexpr int64_t half = int64_t(4) << 20;

  Staging(const Driver &driver, Stream stream)
      : driver(driver), stream(stream) {
    driver.check(
        driver.cuMemHostAlloc(reinterpret_cast<void **>(&start), 3 * half, 0),
        "gets no pinned memory of the host");
    for (Event &event : left)
      driver.check(driver.cuEventCreate(&event, eventNoTiming),
                   "gives no event");
  }
  ~Staging() {
    for (Event event : left)
      if (event)
        driver.cuEventDestroy_v2(event);
    driver.cuMemFreeHost(start);
  }
  Staging(const Staging &) = delete;
  Staging &operator=(const Staging &) = delete;

  /// Room for an upload of at most `half` bytes. The copy from it must be
  /// queued before the next call.
  char *forUpload(int64_t bytes) {
    if (used + bytes > half) {
      // All copies from this half are queued: when they are done it is free.
      driver.check(driver.cuEventRecord(left[current], stream),
                   "takes no event");
      current ^= 1;
      used = 0;
      // Succeeds at once for an event that was never recorded.
      driver.check(driver.cuEventSynchronize(left[current]),
                   "failed in an earlier command");
    }
    char *room = start + current * half + used;
    used += (bytes + 63) / 64 * 64;
    return room;
  }
  /// Room for a download of at most `half` bytes, until the next one.
  char *forDownload() { return start + 2 * half; }

private:
  const Driver &driver;
  Stream stream;
  char *start = nullptr;
  Event left[2] = {nullptr, nullptr};
  int current = 0;
  int64_t used = 0;
};

} // namespace r1c::runtime::cuda

#endif // R1C_RUNTIME_DEVICE_CUDA_STAGING_H
