//===- Amx.h - leave to use matrix tiles ------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DEVICE_CPU_AMX_H
#define R1C_RUNTIME_DEVICE_CPU_AMX_H

#include <sys/syscall.h>
#include <unistd.h>

namespace r1c::runtime {

/// Linux saves eight more kilobytes a thread for those who use AMX, and wants
/// to be asked, once a process, before the first instruction. False where there
/// is no AMX, or no leave.
inline bool allowAmx() {
  constexpr long requestPermission = 0x1023; // ARCH_REQ_XCOMP_PERM
  constexpr long tileData = 18;              // XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
}

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DEVICE_CPU_AMX_H
