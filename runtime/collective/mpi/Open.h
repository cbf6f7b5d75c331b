//===- Open.h - whether there are other ranks -------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_COLLECTIVE_MPI_OPEN_H
#define R1C_RUNTIME_COLLECTIVE_MPI_OPEN_H

#include "runtime/collective/Collective.h"
#include <memory>

namespace r1c::runtime {

/// The ranks that mpirun or srun has started, this process one of them; a
/// single one where nobody else was started. A collective that waits longer
/// than `timeout` seconds for a rank ends the job. Throws r1c::Error if there
/// are others, and libr1c_mpi.so is not there or does not start.
std::shared_ptr<Collective> openRanks(double timeout);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_COLLECTIVE_MPI_OPEN_H
