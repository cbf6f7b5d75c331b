//===- Checkpoint.h - the state of a run between two rounds -----*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_CHECKPOINT_CHECKPOINT_H
#define R1C_RUNTIME_CHECKPOINT_CHECKPOINT_H

#include "runtime/checkpoint/Safetensors.h"
#include "runtime/device/Memory.h"
#include <optional>

namespace r1c::runtime {

class DataSet;

/// DIR/checkpoints/round-00000012/ holds state.json and state.safetensors (one
/// tensor U8 a buffer, bit for bit). A checkpoint is complete or not there; the
/// two latest are kept.
struct Checkpoint {
  Json state;
  Safetensors buffers;

  /// Writes the buffer of that name back to the device.
  void restore(const std::string &name, const Range &range) const;
};

std::filesystem::path
writeCheckpoint(const std::filesystem::path &directory, int64_t round,
                const Json &state,
                const std::vector<std::pair<std::string, Range>> &buffers);

std::optional<std::filesystem::path>
latestCheckpoint(const std::filesystem::path &directory);

Checkpoint readCheckpoint(const std::filesystem::path &path);

/// Runs `body`, which reads the latest checkpoint; an error says how the run
/// can go on without it.
void readingLatest(const std::filesystem::path &path,
                   const std::function<void()> &body);

/// Gives the checkpoint's number of lines of a file that `write` appends to to
/// the data set again; with `cut` the file is cut back to them.
void reloadWritten(DataSet &data, const std::filesystem::path &file,
                   int64_t lines, bool cut);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_CHECKPOINT_CHECKPOINT_H
