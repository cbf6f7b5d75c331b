//===- Elf.h - checks of kernel images --------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DEVICE_ELF_H
#define R1C_RUNTIME_DEVICE_ELF_H

#include <string_view>

namespace r1c::runtime {

enum class ElfKind {
  library, ///< a shared object for this machine's CPU
  cubin    ///< kernels of an NVIDIA GPU
};

/// Throws r1c::Error if `image` is not a whole 64-bit ELF file of the kind:
/// what loads it is given no size, and believes what its headers say. `name`
/// stands for it in the message.
void checkElf(std::string_view image, const char *name, ElfKind kind);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DEVICE_ELF_H
