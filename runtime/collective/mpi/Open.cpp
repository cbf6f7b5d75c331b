//===- Open.cpp - whether there are other ranks ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/collective/mpi/Open.h"
#include "runtime/collective/StartLimit.h"
#include "runtime/collective/ranks/Ranks.h"
#include "runtime/collective/single/Single.h"
#include "runtime/support/Error.h"
#include "runtime/support/Files.h"
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>

namespace r1c::runtime {

/// How many processes the launcher says there are; 1 without one.
static long launchedRanks() {
  auto number = [](const char *name) {
    const char *text = std::getenv(name);
    return text ? std::strtol(text, nullptr, 10) : 0;
  };
  // Open MPI's mpirun; MPICH's, and srun where it speaks PMI.
  for (const char *name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"})
    if (long size = number(name))
      return size;
  // srun --mpi=pmix. Without PMIx its tasks are runs of their own.
  if (std::getenv("PMIX_RANK"))
    return std::max(1L, number("SLURM_STEP_NUM_TASKS"));
  return 1;
}

/// MPI's own start waits for every rank. The launcher ends the others.
static void endWithoutMpi(double seconds) {
  std::fprintf(stderr,
               "error: MPI has not started within %g s "
               "(--collective-timeout): a rank has ended or stands "
               "still before it came there\n",
               seconds);
  std::_Exit(1);
}

std::shared_ptr<Collective> openRanks(double timeout) {
  long size = launchedRanks();
  if (size <= 1)
    return std::make_shared<SingleCollective>();
  std::error_code none;
  fs::path own = fs::read_symlink("/proc/self/exe", none).parent_path();
  const char *name = "libr1c_mpi.so";
  fs::path path;
  for (const fs::path &place : {own / name, own.parent_path() / "lib" / name})
    if (path.empty() && fs::exists(place, none))
      path = place;
  if (path.empty())
    throw Error("started as one of ", size, " ranks, and ", name,
                " is neither beside the program nor in ../lib: install an MPI "
                "(Debian: libopenmpi-dev openmpi-bin) and build r1c again");
  // Open MPI's own plug-ins look its symbols up globally.
  void *library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!library)
    throw Error("started as one of ", size, " ranks, and ", path.string(),
                " cannot be loaded: ", ::dlerror(),
                "; install the MPI that r1c was built with (Debian: "
                "openmpi-bin)");
  auto *open =
      reinterpret_cast<OpenTransport *>(::dlsym(library, openTransportName));
  if (!open)
    throw Error(path.string(), " is of another version of r1c");
  char text[512] = "";
  std::unique_ptr<Transport> transport;
  {
    StartLimit limit(timeout, [&] { endWithoutMpi(timeout); });
    transport.reset(open(text, sizeof text));
  }
  if (!transport)
    throw Error(path.string(), ": ", text);
  // Of another launcher's MPI: each process would take itself for the only one.
  if (transport->size() != size)
    throw Error("the launcher started ", size, " ranks, and MPI sees ",
                transport->size(),
                ": start r1c with the mpirun of the MPI that it was built "
                "with");
  return std::make_shared<RankCollective>(std::move(transport), timeout);
}

} // namespace r1c::runtime
