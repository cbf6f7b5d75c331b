//===- Library.h - NCCL, opened at run time ---------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The few types and functions of NCCL that the runtime uses, declared here as
// those of the driver are (device/cuda/Driver.h). Where nccl.h is at hand,
// tests/runtime/NcclLayout.cpp compares them.
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_COLLECTIVE_NCCL_LIBRARY_H
#define R1C_RUNTIME_COLLECTIVE_NCCL_LIBRARY_H

#include "runtime/device/cuda/Driver.h"

namespace r1c::runtime::nccl {

using Result = int; ///< an ncclResult_t
inline constexpr Result success = 0, inProgress = 7;
inline constexpr int float32 = 7; // ncclDataType_t
inline constexpr int sum = 0;     // ncclRedOp_t

struct CommunicatorTag;
using Communicator = CommunicatorTag *;
/// An ncclUniqueId.
struct UniqueId {
  char bytes[128];
};

/// X(name of the function in the library, its parameters). All return a Result.
#define R1C_NCCL_FUNCTIONS(X)                                                  \
  X(ncclGetVersion, (int *version))                                            \
  X(ncclGetUniqueId, (UniqueId * id))                                          \
  X(ncclCommInitRank,                                                          \
    (Communicator * communicator, int ranks, UniqueId id, int rank))           \
  X(ncclCommDestroy, (Communicator communicator))                              \
  X(ncclCommAbort, (Communicator communicator))                                \
  X(ncclCommGetAsyncError, (Communicator communicator, Result * error))        \
  X(ncclGroupStart, ())                                                        \
  X(ncclGroupEnd, ())                                                          \
  X(ncclAllReduce,                                                             \
    (const void *from, void *to, size_t count, int type, int operation,        \
     Communicator communicator, cuda::Stream stream))

struct Library {
#define R1C_NCCL_MEMBER(name, parameters) Result(*name) parameters;
  R1C_NCCL_FUNCTIONS(R1C_NCCL_MEMBER)
#undef R1C_NCCL_MEMBER
  const char *(*ncclGetErrorString)(Result error);

  int version = 0; ///< 22809 is 2.28.9

  /// Throws r1c::Error unless `result` is success. `doing`: "cannot start".
  void check(Result result, const char *doing) const;
};

/// Opens libnccl.so.2, or what R1C_LIBNCCL names; it stays open until the
/// process ends. Throws r1c::Error if there is none.
Library openLibrary();

} // namespace r1c::runtime::nccl

#endif // R1C_RUNTIME_COLLECTIVE_NCCL_LIBRARY_H
