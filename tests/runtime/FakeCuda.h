//===- FakeCuda.h - a CUDA driver that needs no GPU -------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A shared library with the functions of runtime/device/cuda/Driver.h, behind
// which the host plays the GPU. It is stricter than a driver where that finds
// mistakes of the runtime:
//
//  - Commands wait in the stream until something waits for them: what is
//    overwritten too early, or read too early, is wrong every time.
//  - Device memory cannot be touched by the host between calls (SIGSEGV), holds
//    rubbish when it is allocated, and ends where its allocation ends.
//  - Only what a capturing stream takes is taken while commands are recorded.
//
// A "cubin" is a shared object of test kernels with the ABI of a CPU, whose ELF
// header says that it is a cubin. Blocks of a grid run one after the other.
// Instead, the compiler's interpreter runs an artifact's own kernels
// (EmulatedKernels.cpp), where R1C_EMULATOR and R1C_EMULATED are set.
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_RUNTIME_FAKECUDA_H
#define R1C_TESTS_RUNTIME_FAKECUDA_H

#include "tests/runtime/FakeTensorMap.h"
#include <cstddef>
#include <string>
#include <vector>

namespace r1c::runtime::test {

struct FakeLaunch {
  std::string kernel;
  unsigned grid = 0, threads = 0, shared = 0, cluster = 0;
  bool recorded = false;
  bool overlaps = false;       ///< may start before the launch before has ended
  std::vector<uint64_t> block; ///< the parameters
};

struct FakeCuda {
  // What it pretends to be.
  int version = 13000, devices = 1, major = 9, minor = 0, multiprocessors = 4;
  size_t memory = size_t(1) << 30, usedByOthers = 0;

  // What shall go wrong: a function's result; a kernel that faults when it is
  // run, after which every call fails.
  std::string failing;
  int failure = 0;
  std::string faulting;

  // What has happened.
  std::vector<FakeLaunch> launches; ///< in the order in which they ran
  int64_t captured = 0;             ///< commands, while recording
  int64_t graphs = 0, replays = 0, waits = 0;
  /// What the host asked for, a letter each, but for what it recorded: u and d
  /// copies to and from the device, l launches, r replays, w waits for all that
  /// is under way, e waits for what stands before an event and was not done.
  std::string order;
  int64_t pageable = 0; ///< copies to or from memory that is not pinned
  int64_t allocations = 0, contexts = 0, modules = 0; ///< that are alive
};

/// The state of the fake: `fake_cuda`, a function of the library. Calls that
/// begin anew (cuInit) leave it as it is.
using FakeCudaState = FakeCuda *(*)();

} // namespace r1c::runtime::test

#endif // R1C_TESTS_RUNTIME_FAKECUDA_H
