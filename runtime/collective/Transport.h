//===- Transport.h - messages between ranks ---------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The interface between the runtime and libr1c_mpi.so, which alone knows MPI.
// No exception passes it.
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_COLLECTIVE_TRANSPORT_H
#define R1C_RUNTIME_COLLECTIVE_TRANSPORT_H

#include <cstddef>
#include <cstdint>

namespace r1c::runtime {

/// Carries messages between ranks. Calls come from several threads, one at a
/// time. Messages from one rank to another with one tag arrive in their order.
class Transport {
public:
  using Request = void *;
  enum class State { pending, done, failed };
  /// Of one message.
  static constexpr int64_t mostBytes = int64_t(1) << 28;

  virtual ~Transport() = default;
  virtual int32_t rank() const = 0;
  virtual int32_t size() const = 0;

  /// Neither waits. The bytes are the transport's until `test` says done.
  virtual Request send(const void *data, int64_t bytes, int32_t to,
                       int32_t tag) = 0;
  virtual Request receive(void *data, int64_t bytes, int32_t from,
                          int32_t tag) = 0;
  /// Once it is not pending any more, the request is gone.
  virtual State test(Request request) = 0;
  /// Gives up a receive that is pending.
  virtual void forget(Request receive) = 0;
  /// What the last failure was.
  virtual const char *error() const = 0;

  /// Ends all ranks; may return before it is done.
  virtual void abort(int code) = 0;
};

/// What libr1c_mpi.so exports: starts MPI. Null: it does not start, and `error`
/// says why.
inline constexpr const char *openTransportName = "r1cOpenMpiTransport1";
using OpenTransport = Transport *(char *error, size_t errorBytes);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_COLLECTIVE_TRANSPORT_H
