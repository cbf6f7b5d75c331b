//===- Cuda.h - an NVIDIA GPU as a device -----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DEVICE_CUDA_CUDA_H
#define R1C_RUNTIME_DEVICE_CUDA_CUDA_H

#include "runtime/device/Device.h"
#include "runtime/device/cuda/Driver.h"

namespace r1c::runtime {

/// One of the GPUs that the driver shows, that of a rank's number among the
/// ranks of the machine (again from the first on where there are fewer), for
/// kernels that were made for `architecture` ("sm_90a"). To be used from the
/// thread that makes it.
///
/// Throws r1c::Error where there is no driver, too old a one, no GPU, or one of
/// another architecture; nothing has then been allocated.
///
/// With R1C_CUDA_SYNC=1 in the environment each command is waited for and
/// nothing is recorded: a fault of a kernel is then reported with its name.
std::unique_ptr<Device> makeCudaDevice(const std::string &architecture,
                                       int64_t localRank = 0);

/// The event of a mark of such a device.
cuda::Event markedEvent(const Mark &mark);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DEVICE_CUDA_CUDA_H
