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

/// One chunk: units of rows, one after the other, and where the log-
/// probabilities of their chosen tokens come from. Names as in the command
/// `chunks`.
///
/// A sequence of P prompt and C chosen tokens has P + C - 1 rows: row r
/// predicts the token behind it, and nothing is predicted behind the last one.
/// A unit is one sequence, or several of one group: then their first P - 1
/// rows, which are equal bit for bit, stand once at its start, and each
/// sequence adds C rows. The row of the prompt's last token belongs to the
/// sequences: each predicts a target of its own.
struct Chunk {
  std::vector<int32_t> tokens, positions;
  /// Key p of a row is row shared_bases + p if p < shared, else bases + p.
  std::vector<int32_t> bases, shared, sharedBases;
  std::vector<int32_t> offsets; ///< of units, in rows
  std::vector<int32_t> targetRows, targets, tokenIndex;
  std::vector<int32_t> sequences; ///< index into the axes' sequences

  int64_t units() const { return static_cast<int64_t>(offsets.size()) - 1; }
  /// Rows that each sequence would have had to itself.
  int64_t sharedRows = 0;

  /// Leaves only those targets for which `keep` is set.
  void keepTargets(const std::vector<bool> &keep);
  /// The chunk with only targets first ... first + count - 1.
  Chunk slice(int64_t first, int64_t count) const;
};

struct Packing {
  int64_t rows;              ///< of a chunk, at most
  int64_t units = INT64_MAX; ///< of a chunk, at most
  /// Sequences of the view that will probably not be learnt from: they get
  /// chunks of their own. Empty: none.
  std::vector<bool> idle = {};
  bool dropIdle = false; ///< ... or none at all
};

/// Packs a view: the sequences of a group into one unit, cut where a chunk's
/// rows end; units largest first, each into the fullest chunk that still takes
/// it (best fit decreasing). Ties go to the earlier sequence and the earlier
/// chunk, so that the packing depends on the set alone. Inside a chunk, and
/// from chunk to chunk by first sequence, the set's order holds.
/// Throws when one sequence has more rows than a chunk.
std::vector<Chunk> packChunks(const OutputSet &set, const Axes &axes,
                              const Packing &packing);

/// The kept sets of a chunk's targets, a flag a token of the vocabulary each;
/// of tokens without one, all.
std::vector<int8_t> keptOf(const Chunk &chunk, const OutputSet &set,
                           const Axes &axes, int64_t vocabulary);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_ROLLOUT_CHUNKS_H
