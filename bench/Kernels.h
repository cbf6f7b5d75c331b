//===- Kernels.h - kernels for benchmarks -----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_BENCH_KERNELS_H
#define R1C_BENCH_KERNELS_H

#include <cstdint>
#include <memory>
#include <string>

namespace r1c::bench {

using Kernel = void (*)(void *const *, int64_t, int64_t);

/// Compiles MLIR text for this machine and returns a symbol. Ends the
/// program with a message if that fails. Never unloaded.
Kernel compile(const std::string &module, const std::string &symbol);

using Buffer = std::shared_ptr<void>;
/// Aligned as the runtime's buffers are, and readable a little beyond.
Buffer allocate(size_t bytes);
/// Numbers of a normal distribution of this width, f32 or bf16 (cut).
Buffer normals(size_t count, bool bf16, float width, unsigned seed);

/// Versions and CPU for the recorded results.
std::string llvmVersion();
std::string cpuName();

} // namespace r1c::bench

#endif // R1C_BENCH_KERNELS_H
