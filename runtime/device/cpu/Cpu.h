//===- Cpu.h - the CPU as a device ------------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DEVICE_CPU_CPU_H
#define R1C_RUNTIME_DEVICE_CPU_CPU_H

#include "runtime/device/Device.h"

namespace r1c::runtime {

/// `threads` <= 0: ThreadPool::defaultSize().
std::unique_ptr<Device> makeCpuDevice(int64_t threads = 0);

/// Bytes of memory that this machine has, or gives to this container.
int64_t cpuMemory();

/// The features of `features` ("+avx512f,+avx512bf16,...") that this machine
/// lacks, comma separated; empty when it has all that we know how to ask for.
std::string missingCpuFeatures(const std::string &features);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DEVICE_CPU_CPU_H
