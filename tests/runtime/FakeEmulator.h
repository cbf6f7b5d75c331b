//===- FakeEmulator.h - real kernels behind the fake driver -----*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_RUNTIME_FAKEEMULATOR_H
#define R1C_TESTS_RUNTIME_FAKEEMULATOR_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <type_traits>

namespace r1c::runtime::test {

/// Kernels of an artifact, run by the compiler's interpreter: a library that is
/// named in R1C_EMULATOR, of what the phase `schedule` leaves, in R1C_EMULATED.
struct Emulator {
  void *(*load)(const char *path) = nullptr;
  int64_t (*parameters)(void *kernels, const char *name) = nullptr;
  const char *(*run)(void *kernels, const char *name, const uint64_t *block,
                     unsigned grid, uint64_t (*bytesAt)(uint64_t)) = nullptr;

  Emulator() {
    const char *library = std::getenv("R1C_EMULATOR");
    void *opened = library ? ::dlopen(library, RTLD_NOW | RTLD_LOCAL) : nullptr;
    if (library && !opened)
      std::fprintf(stderr, "%s\n", ::dlerror());
    if (!opened)
      return;
    auto find = [&](auto &function, const char *name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(
          ::dlsym(opened, name));
    };
    find(load, "emulated_load");
    find(parameters, "emulated_parameters");
    find(run, "emulated_run");
  }
};
inline Emulator &emulator() {
  static Emulator emulator;
  return emulator;
}

} // namespace r1c::runtime::test

#endif // R1C_TESTS_RUNTIME_FAKEEMULATOR_H
