//===- Lifetimes.h - buffers that share memory over time --------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_SCHEDULE_LIFETIMES_H
#define R1C_COMPILER_PHASES_SCHEDULE_LIFETIMES_H

#include "mlir/IR/Block.h"

namespace r1c::schedule {

/// Lays out the buffers of `arena` among the declarations so that those that
/// are alive at the same time are disjoint; gives the bytes of the arena.
///
/// A buffer lives from the first to the last command that names it, inside the
/// innermost body that holds them all: what a body leaves in it does not
/// outlive a passage. So whatever stands in such an arena must be written
/// before it is read in every passage, which holds for results of kernels; and
/// what one passage of a loop leaves to the next is addressed by the loop's
/// variable, and lives as long as the loop. Nothing outlives a program or a
/// round.
int64_t shareArena(mlir::Block &declarations, llvm::StringRef arena);

} // namespace r1c::schedule

#endif // R1C_COMPILER_PHASES_SCHEDULE_LIFETIMES_H
