//===- Collective.h - communication between ranks ---------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_COLLECTIVE_COLLECTIVE_H
#define R1C_RUNTIME_COLLECTIVE_COLLECTIVE_H

#include <cstdint>
#include <string>

namespace r1c::runtime {

/// The ranks of a run. Every rank makes the same calls in the same order: the
/// command program is the same on all of them.
class Collective {
public:
  virtual ~Collective() = default;
  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;
  /// Sums `count` elements over all ranks, added in rank order, in place.
  /// `address` is a device address, `dtype` f32 or f64.
  virtual void allReduce(char *address, int64_t count,
                         const std::string &dtype) = 0;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_COLLECTIVE_COLLECTIVE_H
