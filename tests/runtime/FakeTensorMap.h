/*===- FakeTensorMap.h - what the fake driver writes as a tensor map
 * ----------===
 *
 * Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 *===-------------------------------------------------------------------------===*/

#ifndef R1C_TESTS_RUNTIME_FAKETENSORMAP_H
#define R1C_TESTS_RUNTIME_FAKETENSORMAP_H

#include <stdint.h>

/* At most 128 bytes: the values as they were given to cuTensorMapEncodeTiled.
 */
typedef struct {
  uint64_t address;
  uint64_t sizes[5], strides[4];
  uint16_t box[5];
  uint8_t dtype, rank, swizzle, promotion;
} FakeTensorMap;

#endif
