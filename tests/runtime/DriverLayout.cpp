//===- DriverLayout.cpp - our declarations of the driver against cuda.h ---===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Compiled where cuda.h is at hand; there is nothing to run.
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Driver.h"
#include <type_traits>

namespace ours {
using namespace r1c::runtime::cuda;
// Before cuda.h, which gives some names to newer functions by macros.
#define R1C_DECLARE(name, parameters) using name##_function = Result parameters;
R1C_CUDA_DRIVER_FUNCTIONS(R1C_DECLARE)
#undef R1C_DECLARE
} // namespace ours

#include <cuda.h>

namespace {

/// Handles are pointers to types of which only the names differ.
template <typename A, typename B>
constexpr bool alike =
    sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B>;

template <typename A, typename B>
struct Same : std::false_type {};
template <typename R, typename... A, typename S, typename... B>
  requires(sizeof...(A) == sizeof...(B))
struct Same<R(A...), S(B...)>
    : std::bool_constant<alike<R, S> && (alike<A, B> && ...)> {};

#define R1C_COMPARE(name, parameters)                                          \
  static_assert(Same<ours::name##_function,                                    \
                     std::remove_pointer_t<decltype(&::name)>>::value,         \
                #name);
R1C_CUDA_DRIVER_FUNCTIONS(R1C_COMPARE)
#undef R1C_COMPARE

static_assert(sizeof(ours::TensorMap) == sizeof(CUtensorMap));
static_assert(sizeof(ours::LaunchConfig) == sizeof(CUlaunchConfig));
static_assert(offsetof(ours::LaunchConfig, sharedBytes) ==
              offsetof(CUlaunchConfig, sharedMemBytes));
static_assert(offsetof(ours::LaunchConfig, stream) ==
              offsetof(CUlaunchConfig, hStream));
static_assert(offsetof(ours::LaunchConfig, attributes) ==
              offsetof(CUlaunchConfig, attrs));
static_assert(offsetof(ours::LaunchConfig, attributeCount) ==
              offsetof(CUlaunchConfig, numAttrs));
static_assert(sizeof(ours::LaunchAttribute) == sizeof(CUlaunchAttribute));
static_assert(offsetof(ours::LaunchAttribute, cluster) ==
              offsetof(CUlaunchAttribute, value.clusterDim));

static_assert(ours::success == CUDA_SUCCESS);
static_assert(ours::outOfMemory == CUDA_ERROR_OUT_OF_MEMORY);
static_assert(ours::noDevice == CUDA_ERROR_NO_DEVICE);
static_assert(ours::invalidImage == CUDA_ERROR_INVALID_IMAGE);
static_assert(ours::noBinaryForGpu == CUDA_ERROR_NO_BINARY_FOR_GPU);
static_assert(ours::notFound == CUDA_ERROR_NOT_FOUND);
static_assert(ours::isFault(CUDA_ERROR_ECC_UNCORRECTABLE));
static_assert(ours::isFault(CUDA_ERROR_ILLEGAL_ADDRESS));
static_assert(ours::isFault(CUDA_ERROR_LAUNCH_TIMEOUT));
static_assert(ours::isFault(CUDA_ERROR_ASSERT));
static_assert(ours::isFault(CUDA_ERROR_HARDWARE_STACK_ERROR));
static_assert(ours::isFault(CUDA_ERROR_LAUNCH_FAILED));
static_assert(!ours::isFault(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES));
static_assert(ours::multiprocessorCount ==
              CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
static_assert(ours::capabilityMajor ==
              CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(ours::capabilityMinor ==
              CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(ours::maxDynamicShared ==
              CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
static_assert(ours::nonPortableCluster ==
              CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED);
static_assert(ours::clusterDimension == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
static_assert(ours::programmaticSerialization ==
              CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
static_assert(ours::captureThreadLocal == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
static_assert(ours::streamNonBlocking == CU_STREAM_NON_BLOCKING);
static_assert(ours::eventNoTiming == CU_EVENT_DISABLE_TIMING);
static_assert(ours::mapFloat32 == CU_TENSOR_MAP_DATA_TYPE_FLOAT32);
static_assert(ours::mapBfloat16 == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16);
static_assert(ours::mapPromoteL2To256 == CU_TENSOR_MAP_L2_PROMOTION_L2_256B);
// The swizzles that Launch.cpp counts.
static_assert(CU_TENSOR_MAP_SWIZZLE_NONE == 0);
static_assert(CU_TENSOR_MAP_SWIZZLE_32B == 1);
static_assert(CU_TENSOR_MAP_SWIZZLE_64B == 2);
static_assert(CU_TENSOR_MAP_SWIZZLE_128B == 3);
static_assert(CU_TENSOR_MAP_INTERLEAVE_NONE == 0);
static_assert(CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE == 0);

} // namespace
