//===- FakeMemory.h - device memory that the host cannot touch --*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_RUNTIME_FAKEMEMORY_H
#define R1C_TESTS_RUNTIME_FAKEMEMORY_H

#include "runtime/device/cuda/Driver.h"
#include <algorithm>
#include <cstring>
#include <map>
#include <sys/mman.h>

namespace r1c::runtime::test {

using cuda::DevicePointer;

/// Device memory: addresses that the host may touch only while commands run.
class Region {
public:
  static constexpr size_t bytes = size_t(4) << 30;

  Region() {
    void *mapped = ::mmap(nullptr, bytes, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    start = mapped == MAP_FAILED ? nullptr : static_cast<char *>(mapped);
  }
  DevicePointer take(size_t size) {
    // A page between allocations: nothing written behind one hits another.
    char *address = start + used;
    used += (size + 4095) / 4096 * 4096 + 4096;
    blocks[reinterpret_cast<DevicePointer>(address)] = size;
    inUse += size;
    open(true);
    std::memset(address, 0xa5, size);
    open(false);
    return reinterpret_cast<DevicePointer>(address);
  }
  bool give(DevicePointer address) {
    auto at = blocks.find(address);
    if (at == blocks.end())
      return false;
    inUse -= at->second;
    blocks.erase(at);
    if (blocks.empty())
      used = 0;
    return true;
  }
  bool holds(DevicePointer address, size_t size) const {
    return size <= bytesAt(address);
  }
  /// From there to the end of its allocation; 0 outside.
  size_t bytesAt(DevicePointer address) const {
    auto at = blocks.upper_bound(address);
    if (at == blocks.begin())
      return 0;
    --at;
    DevicePointer end = at->first + at->second;
    return address < end ? end - address : 0;
  }
  /// Nests.
  void open(bool yes) {
    opened += yes ? 1 : -1;
    if (opened != yes)
      return;
    ::mprotect(start, std::min(bytes, used + 4096),
               yes ? PROT_READ | PROT_WRITE : PROT_NONE);
  }

  size_t inUse = 0;

private:
  char *start;
  int opened = 0;
  size_t used = 0;
  std::map<DevicePointer, size_t> blocks;
};

} // namespace r1c::runtime::test

#endif // R1C_TESTS_RUNTIME_FAKEMEMORY_H
