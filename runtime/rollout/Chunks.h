//===- Chunks.h - packing sequences into bounded rows -----------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_ROLLOUT_CHUNKS_H
#define R1C_RUNTIME_ROLLOUT_CHUNKS_H

#include "runtime/rollout/OutputSet.h"

namespace r1c::runtime {

/// One chunk: whole sequences, one after the other, and where the log-
/// probabilities of their chosen tokens come from. Names as in the command
/// `chunks`.
///
/// A sequence of P prompt and C chosen tokens has P + C - 1 rows: row r
/// predicts the token behind it, and nothing is predicted behind the last one.
struct Chunk {
  std::vector<int32_t> tokens, positions, bases, offsets;
  std::vector<int32_t> targetRows, targets, tokenIndex;
  std::vector<int32_t> sequences; ///< index into the axes' sequences
};

/// Packs the sequences of a view, longest first, each into the fullest chunk
/// that still takes it (best fit decreasing); ties go to the earlier sequence
/// and the earlier chunk, so that the packing depends on the set alone. Inside
/// a chunk, and from chunk to chunk by first sequence, the set's order holds.
/// Throws when one sequence has more rows than a chunk.
std::vector<Chunk> packChunks(const OutputSet &set, const Axes &axes,
                              int64_t rows, int64_t maxSequences);

/// The kept sets of a chunk's targets, a flag a token of the vocabulary each;
/// of tokens without one, all.
std::vector<int8_t> keptOf(const Chunk &chunk, const OutputSet &set,
                           const Axes &axes, int64_t vocabulary);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_ROLLOUT_CHUNKS_H
