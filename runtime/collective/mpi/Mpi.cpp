//===- Mpi.cpp - messages between ranks over MPI --------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The whole of libr1c_mpi.so. The order of sums is not MPI's to choose, and a
// wait must be able to end: so it carries messages and does no collective.
//===----------------------------------------------------------------------===//

#include "runtime/collective/Transport.h"
#include <cstdio>
// The C++ bindings, which MPI has dropped, warn.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

namespace {

using r1c::runtime::Transport;

class MpiTransport : public Transport {
public:
  MpiTransport() {
    MPI_Comm_dup(MPI_COMM_WORLD, &ranks);
    MPI_Comm_set_errhandler(ranks, MPI_ERRORS_RETURN);
    MPI_Comm_rank(ranks, &ownRank);
    MPI_Comm_size(ranks, &count);
  }
  ~MpiTransport() override {
    MPI_Comm_free(&ranks);
    MPI_Finalize();
  }

  int32_t rank() const override { return ownRank; }
  int32_t size() const override { return count; }

  Request send(const void *data, int64_t bytes, int32_t to,
               int32_t tag) override {
    auto *request = new MPI_Request;
    note(MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, to, tag, ranks,
                   request));
    return request;
  }
  Request receive(void *data, int64_t bytes, int32_t from,
                  int32_t tag) override {
    auto *request = new MPI_Request;
    note(MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, from, tag, ranks,
                   request));
    return request;
  }

  State test(Request request) override {
    auto *own = static_cast<MPI_Request *>(request);
    int done = 0;
    if (!failed)
      note(MPI_Test(own, &done, MPI_STATUS_IGNORE));
    if (!done && !failed)
      return State::pending;
    delete own;
    return failed ? State::failed : State::done;
  }
  void forget(Request receive) override {
    auto *own = static_cast<MPI_Request *>(receive);
    if (MPI_Cancel(own) == MPI_SUCCESS)
      MPI_Request_free(own);
    delete own;
  }
  const char *error() const override { return text; }

  void abort(int code) override { MPI_Abort(MPI_COMM_WORLD, code); }

private:
  /// After one failure nothing can be trusted.
  void note(int result) {
    if (result == MPI_SUCCESS || failed)
      return;
    failed = true;
    int length = 0;
    MPI_Error_string(result, text, &length);
  }

  MPI_Comm ranks = MPI_COMM_NULL;
  int ownRank = 0, count = 1;
  bool failed = false;
  char text[MPI_MAX_ERROR_STRING + 1] = "";
};

} // namespace

extern "C" __attribute__((visibility("default"))) Transport *
r1cOpenMpiTransport1(char *error, size_t errorBytes) {
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided) !=
      MPI_SUCCESS) {
    std::snprintf(error, errorBytes, "MPI does not start");
    return nullptr;
  }
  if (provided < MPI_THREAD_SERIALIZED) {
    std::snprintf(error, errorBytes,
                  "this MPI cannot be called from two threads in turn "
                  "(MPI_THREAD_SERIALIZED)");
    MPI_Finalize();
    return nullptr;
  }
  return new MpiTransport;
}
