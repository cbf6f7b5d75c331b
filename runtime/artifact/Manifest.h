//===- Manifest.h - manifest.json, checked ----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_ARTIFACT_MANIFEST_H
#define R1C_RUNTIME_ARTIFACT_MANIFEST_H

#include "runtime/support/Json.h"
#include <string>
#include <unordered_map>
#include <vector>

namespace r1c::runtime {

/// Bytes of one element of a dtype ("f32", "i64", ...); 0 for an unknown one.
int64_t bytesOf(const std::string &dtype);

struct ArenaInfo {
  std::string name;
  int64_t bytes;
};

struct BufferInfo {
  std::string name;
  size_t arena; ///< index into Manifest::arenas
  int64_t offset, bytes;
  std::string dtype, loc;
};

struct KernelInfo {
  std::string name, symbol;
  std::string what; ///< the value that it gives where it was first used
  int64_t operands; ///< -1: not said
  /// The cost of a call with so many rows (its last operand): for reports.
  int64_t flopsPerRow = 0, bytesPerRow = 0, bytes = 0;
  std::string loc;
};

struct ParamInfo {
  std::string name;
  Json value;
  std::string buffer; ///< empty: frozen
};

struct StageInfo {
  std::string name, limit;
  int64_t count;
  Json body;
  std::string loc;
};

/// The manifest with everything checked that can be checked without running:
/// kinds of all fields, unique names, ranges. Commands stay JSON here; the
/// loader in runtime/execute/ checks them as it resolves them.
struct Manifest {
  Json json;
  std::string producer, targetKind, targetFeatures;
  std::vector<ArenaInfo> arenas;
  std::vector<BufferInfo> buffers;
  std::vector<KernelInfo> kernels;
  std::vector<ParamInfo> params;
  std::vector<StageInfo> stages;
  std::unordered_map<std::string, size_t> bufferByName, kernelByName;

  const BufferInfo *findBuffer(const std::string &name) const;

  /// Throws r1c::Error; `constants` is the size of constants.bin.
  static Manifest parse(const std::string &text, size_t constants);
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_ARTIFACT_MANIFEST_H
