//===- Precision.h - which values are stored in few digits ------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_FUSE_PRECISION_H
#define R1C_COMPILER_PHASES_FUSE_PRECISION_H

#include "dialects/lm/LM.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

namespace r1c {

/// "cuda": set by the driver for a GPU; absent: a CPU.
inline constexpr llvm::StringLiteral targetAttribute = "r1c.target";

} // namespace r1c

namespace r1c::fuse {

/// The derivative that a gate which is computed again, from saved operands, is
/// written together with, if any: it comes before all that read the gate.
lm::SiluMulGradOp derivativeOf(lm::SiluMulOp gated);
/// The other way round.
lm::SiluMulOp gatedWith(lm::SiluMulGradOp grad);

/// The lm.silu_mul that `op` is written together with, if any.
lm::SiluMulOp pairOf(lm::LinearOp op);
/// Why gate and up are not written together with what reads them; empty if they
/// are.
llvm::StringRef whyUnpaired(lm::SiluMulOp gated);

/// The element types of one model's tensors. Residuals, statistics and
/// gradients of parameters are float32 always; what only matrix products and
/// attention read (and on a GPU, where no gradient of queries, keys and values
/// is float32, sums for biases) is stored as they read it, and so is what the
/// forward saves for such readers: the same in every function of the model.
class Precision {
public:
  Precision(mlir::ModuleOp module, llvm::StringRef model);

  /// Of operands of matrix products and of attention: f32 or bf16.
  mlir::Type products;
  /// Of the gradients of queries, keys and values as attention gives them. On
  /// a CPU they are f32: there, sums grow in the results.
  mlir::Type gradients;

  /// Whether every reader of the value takes it as `products`.
  bool isNarrow(mlir::Value value) const;
  /// Whether some readers take it as `products` though it is stored in f32.
  bool isRounded(mlir::Value value) const;
  /// Whether this reader takes the value as `products`.
  bool isNarrow(mlir::OpOperand &use) const;

private:
  llvm::StringMap<bool> saved; ///< what is saved, by name
};

} // namespace r1c::fuse

#endif // R1C_COMPILER_PHASES_FUSE_PRECISION_H
