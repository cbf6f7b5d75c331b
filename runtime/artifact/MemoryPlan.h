//===- MemoryPlan.h - whether an artifact fits, and what makes it large ---===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_ARTIFACT_MEMORYPLAN_H
#define R1C_RUNTIME_ARTIFACT_MEMORYPLAN_H

#include "runtime/artifact/Manifest.h"
#include <cmath>

namespace r1c::runtime {

/// What no machine has; a manifest with more is refused.
constexpr int64_t mostMemory = int64_t(1) << 50;

/// "1.5 GiB"; `round` as in std::ceil.
std::string bytesText(double bytes, double (*round)(double) = std::nearbyint);

/// Throws if the arenas take more than `limit` bytes, with a table of them and
/// of the largest buffers. `offered` says whose limit it is: "--memory";
/// `advice` what to do about it.
void requireMemory(const Manifest &manifest, int64_t limit,
                   const std::string &offered,
                   const std::string &advice = "make the sizes named below "
                                               "smaller");

} // namespace r1c::runtime

#endif // R1C_RUNTIME_ARTIFACT_MEMORYPLAN_H
