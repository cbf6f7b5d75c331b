//===- Shares.h - what each rank works on -----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_ROLLOUT_SHARES_H
#define R1C_RUNTIME_ROLLOUT_SHARES_H

#include "runtime/rollout/Chunks.h"

namespace r1c::runtime {

/// The chunks of a view, and whose each is.
struct Shares {
  std::vector<Chunk> chunks;
  std::vector<int32_t> ranks; ///< one a chunk
  int64_t most = 0;           ///< chunks of one rank, at most
};

/// Packs a view for so many ranks. Chunks get fewer rows where that leaves the
/// busiest rank with less to do, and go, largest first, to the rank that has
/// least. All of it depends on the set and the number of ranks alone; for one
/// rank it is `packChunks`.
Shares shareChunks(const OutputSet &set, const Axes &axes,
                   const Packing &packing, int64_t ranks);

/// Sequences as bytes, without what their groups and rows say, and back: to the
/// end of `to`, with `firstGroup` added to their groups. Their texts are
/// decoded again.
std::string sequencesToBytes(std::span<const Sequence> sequences);
void sequencesFromBytes(std::string_view &from, int64_t firstGroup,
                        const Tokenizer &tokenizer, std::vector<Sequence> &to);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_ROLLOUT_SHARES_H
