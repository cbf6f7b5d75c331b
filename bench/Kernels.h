//===- Kernels.h - kernels for benchmarks -----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_BENCH_KERNELS_H
#define R1C_BENCH_KERNELS_H

#include <cstdint>
#include <string>

namespace r1c::bench {

using Kernel = void (*)(void *const *, int64_t, int64_t);

/// Compiles MLIR text for this machine and returns a symbol. Ends the
/// program with a message if that fails. Never unloaded.
Kernel compile(const std::string &module, const std::string &symbol);

/// Versions and CPU for the recorded results.
std::string llvmVersion();
std::string cpuName();

} // namespace r1c::bench

#endif // R1C_BENCH_KERNELS_H
