//===- Written.h - what kernels under way may write -------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DEVICE_CUDA_WRITTEN_H
#define R1C_RUNTIME_DEVICE_CUDA_WRITTEN_H

#include <algorithm>
#include <iterator>
#include <map>

namespace r1c::runtime::cuda {

/// From `begin` up to `end`, addresses of the device.
struct Span {
  const char *begin, *end;
};

/// The memory that kernels write which may still run when a later one starts
/// early: a kernel whose first reads are somewhere else need not wait for them.
class Written {
public:
  void add(Span span) {
    if (span.begin >= span.end)
      return;
    auto at = spans.upper_bound(span.begin);
    if (at != spans.begin() && std::prev(at)->second >= span.begin)
      --at;
    // Joined with all that it touches.
    while (at != spans.end() && at->first <= span.end) {
      span.begin = std::min(span.begin, at->first);
      span.end = std::max(span.end, at->second);
      at = spans.erase(at);
    }
    spans.emplace(span.begin, span.end);
  }
  bool touches(Span span) const {
    auto at = spans.lower_bound(span.end);
    return at != spans.begin() && std::prev(at)->second > span.begin;
  }
  void clear() { spans.clear(); }

private:
  std::map<const char *, const char *> spans; ///< end by begin, disjoint
};

} // namespace r1c::runtime::cuda

#endif // R1C_RUNTIME_DEVICE_CUDA_WRITTEN_H
