//===- Capacities.h - how much runs at once ---------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_SCHEDULE_CAPACITIES_H
#define R1C_COMPILER_PHASES_SCHEDULE_CAPACITIES_H

#include "compiler/phases/fuse/Precision.h"
#include "mlir/IR/BuiltinAttributes.h"
#include <algorithm>

namespace r1c {

/// Rows of a chunk, where the driver says it.
inline constexpr llvm::StringLiteral chunkRowsAttribute = "r1c.chunk_rows";
/// The most sequences that are sampled at once, where the driver says it.
inline constexpr llvm::StringLiteral slotsAttribute = "r1c.slots";
/// The most bytes of logits that a head's slice keeps, where the driver says
/// it.
inline constexpr llvm::StringLiteral headBytesAttribute = "r1c.head_bytes";

} // namespace r1c

namespace r1c::schedule {

/// Enough for the kernels of a target to run at speed; buffers grow with them.
struct Capacities {
  int64_t slots;       ///< sequences that are sampled at once
  int64_t rolloutRows; ///< rows of a sampling step, prompts among them
  int64_t chunkRows;   ///< rows of a forward and backward pass, at least
  int64_t headRows;    ///< rows whose logits are held at once, at most
  int64_t headBytes;   ///< of those logits and their gradients, at most

  explicit Capacities(mlir::ModuleOp module) {
    auto target = module->getAttrOfType<mlir::StringAttr>(targetAttribute);
    bool cuda = target && target.getValue() == "cuda";
    slots = cuda ? 256 : 64;
    rolloutRows = cuda ? 2048 : 256;
    chunkRows = cuda ? 16384 : 1024;
    headRows = cuda ? 4096 : 1024;
    headBytes = int64_t(cuda ? 4096 : 96) << 20;
    if (auto rows =
            module->getAttrOfType<mlir::IntegerAttr>(chunkRowsAttribute))
      chunkRows = rows.getInt();
    if (auto most = module->getAttrOfType<mlir::IntegerAttr>(slotsAttribute))
      slots = std::min(slots, most.getInt());
    if (auto most =
            module->getAttrOfType<mlir::IntegerAttr>(headBytesAttribute))
      headBytes = std::min(headBytes, most.getInt());
  }
};

/// Rows of a slice in which an update goes over the head.
inline int64_t headRows(const Capacities &capacities, int64_t vocabulary,
                        bool bf16) {
  // A logit in float32, its gradient in what products read.
  int64_t rows = capacities.headBytes / (vocabulary * (bf16 ? 6 : 8));
  return std::min(std::max<int64_t>(rows / 128 * 128, 128),
                  capacities.headRows);
}

} // namespace r1c::schedule

#endif // R1C_COMPILER_PHASES_SCHEDULE_CAPACITIES_H
