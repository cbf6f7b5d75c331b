//===- Driver.cpp - the CUDA driver, opened at run time -------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Driver.h"
#include "runtime/support/Error.h"
#include <cstdlib>
#include <dlfcn.h>

namespace r1c::runtime::cuda {

std::string Driver::describe(Result error) const {
  const char *name = nullptr, *text = nullptr;
  if (cuGetErrorName(error, &name) != success || !name)
    return concat("CUDA error ", error);
  if (cuGetErrorString(error, &text) != success || !text)
    return name;
  return concat(name, ", ", text,
                error == outOfMemory
                    ? "; end what else runs on it, or compile with a --memory "
                      "that leaves it more"
                    : "");
}

void Driver::check(Result result, const char *doing) const {
  if (result != success)
    throw Error("the GPU ", doing, ": ", describe(result));
}

static std::string versionText(int version) {
  return concat(version / 1000, ".", version % 1000 / 10);
}

std::shared_ptr<const Driver> openDriver() {
  const char *named = std::getenv("R1C_LIBCUDA");
  bool other = named && *named;
  const char *name = other ? named : "libcuda.so.1";
  void *library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    std::string reason = ::dlerror();
    throw Error("compiled for a GPU, and the NVIDIA driver is not there: ",
                reason, "; compile without --target to run on the CPU");
  }
  auto driver = std::make_shared<Driver>();
  auto find = [&](const char *symbol) {
    void *function = ::dlsym(library, symbol);
    if (!function)
      throw Error(name, " has no function ", symbol,
                  "; it is no NVIDIA driver, or a very old one");
    return function;
  };
  // The version first: an older driver may lack the others.
  driver->cuDriverGetVersion =
      reinterpret_cast<Result (*)(int *)>(find("cuDriverGetVersion"));
  int version = 0;
  if (Result result = driver->cuDriverGetVersion(&version); result != success)
    throw Error(name, " does not say its version (error ", result,
                "); it is no working NVIDIA driver");
  if (version < leastVersion)
    throw Error("the NVIDIA driver here supports CUDA ", versionText(version),
                ", and kernels of this compiler need CUDA ",
                versionText(leastVersion),
                "; install driver 580 or a newer one");
#define R1C_CUDA_DRIVER_FIND(function, parameters)                             \
  driver->function = reinterpret_cast<Result(*) parameters>(find(#function));
  R1C_CUDA_DRIVER_FUNCTIONS(R1C_CUDA_DRIVER_FIND)
#undef R1C_CUDA_DRIVER_FIND
  driver->version = version;
  Result started = driver->cuInit(0);
  if (started == noDevice)
    throw Error("compiled for a GPU, and this machine has none that can be "
                "seen (CUDA_VISIBLE_DEVICES may hide it)");
  driver->check(started, "driver does not start");
  return driver;
}

} // namespace r1c::runtime::cuda
