//===- Nccl.h - sums between GPUs -------------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_COLLECTIVE_NCCL_NCCL_H
#define R1C_RUNTIME_COLLECTIVE_NCCL_NCCL_H

#include "runtime/collective/Collective.h"
#include "runtime/device/Device.h"
#include <memory>

namespace r1c::runtime {

/// Ranks whose sums run on their GPUs, over NCCL, in a stream of their own;
/// whatever else they tell each other goes over `ranks`. Sums are added in the
/// order of NCCL's ring: the same one for the same GPUs, as algorithm and
/// protocol are pinned (NCCL_ALGO=Ring, NCCL_PROTO=Simple) unless the
/// environment says otherwise.
///
/// `device` is the one that is current on this thread, which must make all
/// calls. A sum that does not end within `timeout` seconds after all ranks have
/// begun it is given up with an r1c::Error; a start of NCCL that takes as long
/// ends the job. Throws if NCCL is not there, or two ranks have one GPU.
std::unique_ptr<Collective> makeNcclRanks(std::shared_ptr<Collective> ranks,
                                          Device &device, double timeout);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_COLLECTIVE_NCCL_NCCL_H
