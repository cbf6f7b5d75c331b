//===- Manifest.h - manifest.json, checked ----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_ARTIFACT_MANIFEST_H
#define R1C_RUNTIME_ARTIFACT_MANIFEST_H

#include "runtime/support/Json.h"
#include <memory>
#include <optional>
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

/// A view of an operand through which a GPU's tensor copies go.
struct TensorMapInfo {
  int64_t operand = 0;
  std::string dtype; ///< bf16 or f32
  /// In elements, the contiguous dimension first. The last may be -1: as many
  /// as fit between the operand's address and the end of its buffer.
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides; ///< in bytes, of all dimensions but the first
  std::vector<int64_t> box;     ///< elements that one copy takes
  int64_t swizzle = 0;          ///< bytes: 0, 32, 64 or 128
};

/// How a GPU starts a kernel. The geometry never depends on the rows, which the
/// kernel reads itself, so that a launch can be recorded.
struct LaunchInfo {
  int64_t threads = 0; ///< of a block
  int64_t shared = 0;  ///< bytes of dynamic shared memory
  int64_t blocksPerMultiprocessor = 1;
  int64_t blocks = 0;  ///< of the grid; 0: as many as the multiprocessors give
  int64_t cluster = 1; ///< blocks of a cluster
  /// May start before what precedes it has ended: it waits for that itself.
  bool overlap = false;
  /// Operands that it reads before it waits, and those that it writes; without
  /// a list of these, all of them.
  std::vector<int64_t> early;
  std::optional<std::vector<int64_t>> written;
  std::vector<TensorMapInfo> tensorMaps;
  /// Other kernels with the same operands, or grids of this one, for at most
  /// `rows` rows: the fewest first.
  struct FewRows;
  std::vector<std::shared_ptr<const FewRows>> fewRows;
};

struct LaunchInfo::FewRows {
  int64_t rows = 0;
  std::string symbol;
  LaunchInfo launch;
};

struct KernelInfo {
  std::string name, symbol;
  std::string what;      ///< the value that it gives where it was first used
  int64_t operands = -1; ///< -1: not said
  /// The cost of a call with so many rows (its last operand): for reports.
  int64_t flopsPerRow = 0, bytesPerRow = 0, bytes = 0;
  std::string loc;
  std::optional<LaunchInfo> launch; ///< for a GPU

  /// "kernel 'matmul_3' (step.r1:9:1)"
  std::string describe() const;
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
  std::string producer;
  std::string targetKind;     ///< cpu or cuda
  std::string targetCpu;      ///< znver4, sm_90a
  std::string targetFeatures; ///< +avx512f,...
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
