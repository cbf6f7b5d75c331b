//===- Placement.cpp - where buffers lie in a shared arena ----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/schedule/Placement.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace r1c::schedule;

bool Tenant::meets(const Tenant &other) const {
  return llvm::any_of(lives, [&](Interval life) {
    return llvm::any_of(other.lives,
                        [&](Interval its) { return life.meets(its); });
  });
}

/// Kernels may read, never write, up to the next multiple of 64.
static int64_t occupied(const Tenant &tenant) {
  return llvm::alignTo(std::max<int64_t>(tenant.bytes, 1), 64);
}

Placement r1c::schedule::place(llvm::ArrayRef<Tenant> tenants) {
  Placement result;
  result.offsets.resize(tenants.size());
  auto order = llvm::to_vector(llvm::seq<size_t>(0, tenants.size()));
  llvm::sort(order, [&](size_t a, size_t b) {
    return std::pair(-tenants[a].bytes, a) < std::pair(-tenants[b].bytes, b);
  });
  llvm::SmallVector<size_t> placed; // by offset
  for (size_t tenant : order) {
    int64_t bytes = occupied(tenants[tenant]);
    int64_t end = 0, best = -1, smallest = 0;
    for (size_t other : placed) {
      if (!tenants[tenant].meets(tenants[other]))
        continue;
      int64_t start = result.offsets[other], gap = start - end;
      if (gap >= bytes && (best < 0 || gap < smallest)) {
        best = end;
        smallest = gap;
      }
      end = std::max(end, start + occupied(tenants[other]));
    }
    int64_t offset = best < 0 ? end : best;
    result.offsets[tenant] = offset;
    result.peak = std::max(result.peak, offset + bytes);
    placed.insert(llvm::upper_bound(placed, tenant,
                                    [&](size_t a, size_t b) {
                                      return result.offsets[a] <
                                             result.offsets[b];
                                    }),
                  tenant);
  }
  return result;
}
