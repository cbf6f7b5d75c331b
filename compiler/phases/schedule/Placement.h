//===- Placement.h - where buffers lie in a shared arena --------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_SCHEDULE_PLACEMENT_H
#define R1C_COMPILER_PHASES_SCHEDULE_PLACEMENT_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include <cstdint>

namespace r1c::schedule {

/// From one moment to another, both included.
struct Interval {
  int64_t first, last;
  bool meets(Interval other) const {
    return first <= other.last && other.first <= last;
  }
};

/// Memory that is needed at times.
struct Tenant {
  int64_t bytes = 0;
  llvm::SmallVector<Interval, 1> lives;
  bool meets(const Tenant &other) const;
};

struct Placement {
  llvm::SmallVector<int64_t> offsets; ///< multiples of 64
  int64_t peak = 0;                   ///< bytes of all together
};

/// Best fit, the largest first: each tenant goes into the smallest gap between
/// those that live beside it. What two tenants that meet occupy is disjoint.
Placement place(llvm::ArrayRef<Tenant> tenants);

} // namespace r1c::schedule

#endif // R1C_COMPILER_PHASES_SCHEDULE_PLACEMENT_H
