//===- kernels.cu - the test kernels for a GPU ----------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// kernels.c, a block of a GPU in the place of a worker of a CPU, and what only a
// GPU has. Built with nvcc where there is one, for tests on a real GPU.
//===----------------------------------------------------------------------===//

#include <stdint.h>

template <int bytes>
struct alignas(64) Parameters {
  void *operands[bytes / 8];
};

#define R1C_DEVICE static __device__
#define R1C_KERNEL(name, bytes)                                                \
  static __device__ void run_##name(void *const *, int64_t, int64_t);          \
  extern "C" __global__ void name(                                             \
      const __grid_constant__ Parameters<bytes> block) {                       \
    if (threadIdx.x == 0)                                                      \
      run_##name(block.operands, blockIdx.x, gridDim.x);                       \
  }                                                                            \
  static __device__ void run_##name(void *const *args, int64_t worker,         \
                                    int64_t workers)

#include "kernels.c"

struct alignas(64) MapParameters {
  void *operands[3];
  alignas(64) char map[128];
};

static __device__ uint32_t sharedAddress(const void *pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

extern "C" __global__ void
tensor_copy(const __grid_constant__ MapParameters block) {
  __shared__ alignas(128) uint16_t box[64];
  __shared__ alignas(8) uint64_t barrier;
  if (threadIdx.x != 0 || blockIdx.x != 0)
    return;
  auto *y = static_cast<uint16_t *>(block.operands[1]);
  int row = static_cast<int>(*static_cast<const int64_t *>(block.operands[2]));
  uint32_t bar = sharedAddress(&barrier);
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n\t"
               "fence.proxy.async.shared::cta;\n\t" ::"r"(bar)
               : "memory");
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                   bar),
               "r"(static_cast<uint32_t>(sizeof box))
               : "memory");
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile."
               "mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
                   sharedAddress(box)),
               "l"(block.map), "r"(8), "r"(row), "r"(bar)
               : "memory");
  uint32_t done = 0;
  while (!done)
    asm volatile("{\n\t.reg .pred p;\n\t"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], 0;\n\t"
                 "selp.u32 %0, 1, 0, p;\n\t}"
                 : "=r"(done)
                 : "r"(bar)
                 : "memory");
  for (int i = 0; i < 64; ++i)
    y[i] = box[i];
}
