//===- Elf.cpp - checks of kernel images ----------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/Elf.h"
#include "runtime/support/Error.h"
#include <cstring>
#include <elf.h>

namespace r1c::runtime {

/// e_machine of a cubin; not in every elf.h.
static constexpr int machineCuda = 190;

#if defined(__x86_64__)
static constexpr int machineHere = EM_X86_64;
#elif defined(__aarch64__)
static constexpr int machineHere = EM_AARCH64;
#else
#error "kernels are made for x86-64 and AArch64"
#endif

void checkElf(std::string_view image, const char *name, ElfKind kind) {
  auto fail = [&](const char *why) { throw Error(name, " ", why); };
  bool cubin = kind == ElfKind::cubin;
  Elf64_Ehdr header;
  if (image.size() < sizeof header ||
      std::memcmp(image.data(), ELFMAG, SELFMAG) != 0 ||
      image[EI_CLASS] != ELFCLASS64)
    fail("is not an ELF object");
  std::memcpy(&header, image.data(), sizeof header);
  if (header.e_machine != (cubin ? machineCuda : machineHere))
    fail(cubin ? "is not made for a GPU" : "was made for another kind of CPU");
  auto inside = [&](uint64_t offset, uint64_t bytes) {
    return offset <= image.size() && bytes <= image.size() - offset;
  };
  if (!cubin && header.e_type != ET_DYN)
    fail("is not a shared object, or a truncated one");
  if ((header.e_phnum && header.e_phentsize != sizeof(Elf64_Phdr)) ||
      !inside(header.e_phoff, uint64_t(header.e_phnum) * sizeof(Elf64_Phdr)) ||
      (header.e_shnum && header.e_shentsize != sizeof(Elf64_Shdr)) ||
      !inside(header.e_shoff, uint64_t(header.e_shnum) * sizeof(Elf64_Shdr)))
    fail("is truncated");
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, image.data() + header.e_phoff + i * sizeof segment,
                sizeof segment);
    if (!inside(segment.p_offset, segment.p_filesz))
      fail("is truncated");
  }
  for (int i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    std::memcpy(&section, image.data() + header.e_shoff + i * sizeof section,
                sizeof section);
    if (section.sh_type != SHT_NOBITS && section.sh_type != SHT_NULL &&
        !inside(section.sh_offset, section.sh_size))
      fail("is truncated");
  }
}

} // namespace r1c::runtime
