//===- Driver.h - the CUDA driver, opened at run time -----------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The few types and functions of the CUDA driver that the runtime uses,
// declared here so that it builds, and starts, on machines without CUDA. Where
// cuda.h is at hand, tests/runtime/DriverLayout.cpp compares them.
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DEVICE_CUDA_DRIVER_H
#define R1C_RUNTIME_DEVICE_CUDA_DRIVER_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace r1c::runtime::cuda {

using Result = int; ///< a CUresult
inline constexpr Result success = 0, outOfMemory = 2, noDevice = 100,
                        invalidImage = 200, noBinaryForGpu = 209,
                        notFound = 500, notReady = 600;

/// Whether an error is that of a kernel under way, and not of the call that
/// returns it: an uncorrectable memory error, or those from
/// CUDA_ERROR_ILLEGAL_ADDRESS to CUDA_ERROR_LAUNCH_FAILED that a kernel meets.
constexpr bool isFault(Result result) {
  return result == 214 || result == 700 || result == 702 || result == 710 ||
         (result >= 714 && result <= 719);
}

using DevicePointer = uint64_t;
using Context = struct ContextTag *;
using Module = struct ModuleTag *;
using Function = struct FunctionTag *;
using Stream = struct StreamTag *;
using Event = struct EventTag *;
using Graph = struct GraphTag *;
using GraphExec = struct GraphExecTag *;

/// A CUtensorMap, which only the driver writes and the hardware reads.
struct alignas(128) TensorMap {
  uint64_t opaque[16];
};

/// A CUlaunchAttribute; of its values only these are used.
struct LaunchAttribute {
  int id;
  char pad[4];
  union {
    unsigned cluster[3];
    int allowed; ///< of programmaticSerialization
    char value[64];
  };
};

/// A CUlaunchConfig.
struct LaunchConfig {
  unsigned gridX, gridY, gridZ;
  unsigned blockX, blockY, blockZ;
  unsigned sharedBytes;
  Stream stream;
  LaunchAttribute *attributes;
  unsigned attributeCount;
};

/// Values of the driver's enumerations, by their names there.
inline constexpr int multiprocessorCount = 16, capabilityMajor = 75,
                     capabilityMinor = 76; // CUdevice_attribute
inline constexpr int maxDynamicShared = 8,
                     nonPortableCluster = 14; // CUfunction_attribute
inline constexpr int clusterDimension = 4,
                     programmaticSerialization = 6; // CUlaunchAttributeID
inline constexpr int captureThreadLocal = 1;        // CUstreamCaptureMode
inline constexpr unsigned streamNonBlocking = 1, eventNoTiming = 2,
                          recordExternal = 1;
inline constexpr int mapFloat32 = 7, mapBfloat16 = 9; // CUtensorMapDataType
inline constexpr int mapPromoteL2To256 = 3;           // CUtensorMapL2promotion

/// X(name of the function in the library, its parameters). All return a Result.
#define R1C_CUDA_DRIVER_FUNCTIONS(X)                                           \
  X(cuDriverGetVersion, (int *version))                                        \
  X(cuInit, (unsigned flags))                                                  \
  X(cuGetErrorName, (Result error, const char **text))                         \
  X(cuGetErrorString, (Result error, const char **text))                       \
  X(cuDeviceGetCount, (int *count))                                            \
  X(cuDeviceGet, (int *device, int ordinal))                                   \
  X(cuDeviceGetName, (char *name, int length, int device))                     \
  X(cuDeviceGetPCIBusId, (char *name, int length, int device))                 \
  X(cuDeviceGetAttribute, (int *value, int attribute, int device))             \
  X(cuDeviceTotalMem_v2, (size_t *bytes, int device))                          \
  X(cuDevicePrimaryCtxRetain, (Context * context, int device))                 \
  X(cuDevicePrimaryCtxRelease_v2, (int device))                                \
  X(cuCtxSetCurrent, (Context context))                                        \
  X(cuMemGetInfo_v2, (size_t *free, size_t *total))                            \
  X(cuMemAlloc_v2, (DevicePointer * address, size_t bytes))                    \
  X(cuMemFree_v2, (DevicePointer address))                                     \
  X(cuMemHostAlloc, (void **address, size_t bytes, unsigned flags))            \
  X(cuMemFreeHost, (void *address))                                            \
  X(cuMemcpyHtoDAsync_v2,                                                      \
    (DevicePointer target, const void *source, size_t bytes, Stream stream))   \
  X(cuMemcpyDtoHAsync_v2,                                                      \
    (void *target, DevicePointer source, size_t bytes, Stream stream))         \
  X(cuMemcpyDtoDAsync_v2,                                                      \
    (DevicePointer target, DevicePointer source, size_t bytes, Stream stream)) \
  X(cuMemsetD8Async,                                                           \
    (DevicePointer target, unsigned char value, size_t bytes, Stream stream))  \
  X(cuStreamCreate, (Stream * stream, unsigned flags))                         \
  X(cuStreamDestroy_v2, (Stream stream))                                       \
  X(cuStreamSynchronize, (Stream stream))                                      \
  X(cuStreamBeginCapture_v2, (Stream stream, int mode))                        \
  X(cuStreamEndCapture, (Stream stream, Graph * graph))                        \
  X(cuGraphInstantiateWithFlags,                                               \
    (GraphExec * exec, Graph graph, unsigned long long flags))                 \
  X(cuGraphLaunch, (GraphExec exec, Stream stream))                            \
  X(cuGraphExecDestroy, (GraphExec exec))                                      \
  X(cuGraphDestroy, (Graph graph))                                             \
  X(cuEventCreate, (Event * event, unsigned flags))                            \
  X(cuEventDestroy_v2, (Event event))                                          \
  X(cuEventRecord, (Event event, Stream stream))                               \
  X(cuEventRecordWithFlags, (Event event, Stream stream, unsigned flags))      \
  X(cuStreamWaitEvent, (Stream stream, Event event, unsigned flags))           \
  X(cuEventQuery, (Event event))                                               \
  X(cuEventSynchronize, (Event event))                                         \
  X(cuEventElapsedTime, (float *milliseconds, Event begin, Event end))         \
  X(cuModuleLoadData, (Module * module, const void *image))                    \
  X(cuModuleUnload, (Module module))                                           \
  X(cuModuleGetFunction,                                                       \
    (Function * function, Module module, const char *name))                    \
  X(cuFuncSetAttribute, (Function function, int attribute, int value))         \
  X(cuFuncGetParamInfo,                                                        \
    (Function function, size_t index, size_t *offset, size_t *bytes))          \
  X(cuLaunchKernelEx, (const LaunchConfig *config, Function function,          \
                       void **parameters, void **extra))                       \
  X(cuTensorMapEncodeTiled,                                                    \
    (TensorMap * map, int dtype, uint32_t rank, void *address,                 \
     const uint64_t *sizes, const uint64_t *strides, const uint32_t *box,      \
     const uint32_t *elementStrides, int interleave, int swizzle,              \
     int l2Promotion, int outOfBounds))

/// The driver's functions, by their names there.
struct Driver {
#define R1C_CUDA_DRIVER_MEMBER(name, parameters) Result(*name) parameters;
  R1C_CUDA_DRIVER_FUNCTIONS(R1C_CUDA_DRIVER_MEMBER)
#undef R1C_CUDA_DRIVER_MEMBER

  int version = 0; ///< the newest CUDA that it supports: 13000 is 13.0

  /// "CUDA_ERROR_ILLEGAL_ADDRESS, an illegal memory access was encountered"
  std::string describe(Result error) const;
  /// Throws r1c::Error unless `result` is success. `doing`: "cannot load".
  void check(Result result, const char *doing) const;
};

/// The oldest driver that loads what ptxas of CUDA 13 makes.
inline constexpr int leastVersion = 13000;

/// Opens libcuda.so.1, or what R1C_LIBCUDA names, and starts the driver. It
/// stays open until the process ends. Throws r1c::Error if there is none, it is
/// older than `leastVersion`, or does not start.
std::shared_ptr<const Driver> openDriver();

} // namespace r1c::runtime::cuda

#endif // R1C_RUNTIME_DEVICE_CUDA_DRIVER_H
