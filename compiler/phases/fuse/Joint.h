//===- Joint.h - products of one input, taken together ----------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A kernel costs a few microseconds whatever it does, which is most of what a
// small one takes. Queries, keys and values are one product over their weights'
// columns, and what turns them stores them where attention reads them: the same
// kernel, where nothing comes between. Backward their gradients lie beside each
// other, as those of gate and up do: the input's gradient is then one product
// over the weights' rows, and the weights' gradients are one product with the
// input.
//
// Forward no sum changes: a column's sum does not depend on its neighbours.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_FUSE_JOINT_H
#define R1C_COMPILER_PHASES_FUSE_JOINT_H

#include "dialects/lm/LM.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/SmallVector.h"

namespace r1c::fuse {

/// What comes before an attention.
struct JointAttention {
  lm::RopeOp query, key;
  mlir::Value value;
  /// The attention, or its derivative, that reads all three first.
  mlir::Operation *root;
  /// Those of queries, keys and values if they are one product; none if each
  /// is written by itself.
  llvm::SmallVector<lm::LinearOp, 3> products = {};
  /// Queries and keys are turned as the products give them, with nothing (no
  /// norm) between.
  bool direct = false;
  /// Then: why the turn is a kernel of its own; empty if the product's kernel
  /// turns its sums.
  llvm::StringRef turnApart = {};
  bool isOneKernel() const { return direct && turnApart.empty(); }
};

/// Derivatives of linear ops with one input.
struct JointGradient {
  /// By linear op: the gradient of its result, and what is made of it.
  llvm::SmallVector<mlir::Value, 3> gradients;
  llvm::SmallVector<lm::LinearInputGradOp, 3> inputs;
  llvm::SmallVector<lm::LinearWeightGradOp, 3> weights;
  llvm::SmallVector<lm::LinearBiasGradOp, 3> biases; ///< none, or all
  mlir::Value sum; ///< of the inputs' gradients
  /// The op that gives the last of the gradients: behind it they are brought
  /// side by side.
  mlir::Operation *after = nullptr;
  mlir::Value beside = {}; ///< then: the tensor that holds them
  /// The last of each list, which the joint product is written for: what it
  /// reads has been written by then.
  llvm::SmallVector<mlir::Operation *, 3> ends() {
    llvm::SmallVector<mlir::Operation *, 3> ends{lastOf(inputs),
                                                 lastOf(weights)};
    if (!biases.empty())
      ends.push_back(lastOf(biases));
    return ends;
  }

private:
  template <typename Ops>
  static mlir::Operation *lastOf(const Ops &ops) {
    mlir::Operation *last = nullptr;
    for (mlir::Operation *op : ops)
      if (!last || last->isBeforeInBlock(op))
        last = op;
    return last;
  }
};

/// The joint derivatives of the linear ops that gave values with these
/// gradients; `joined` takes the ops that need not be written by themselves.
/// `apart` is why, where there are none.
std::optional<JointGradient>
findJointGradient(llvm::ArrayRef<mlir::Value> gradients,
                  llvm::SmallPtrSetImpl<mlir::Operation *> &joined,
                  llvm::StringRef &apart);

/// What an op with these operands can take from one kernel. `apart` is why, if
/// it is nothing, or the products are not one.
std::optional<JointAttention>
findJointAttention(mlir::Operation *root, mlir::Value query, mlir::Value key,
                   mlir::Value value, llvm::StringRef &apart);

/// `@m.angles` for each model whose functions take cosines and sines of
/// positions: gives them, for all its layers.
void writeAngles(mlir::ModuleOp module);

/// The only user, if it turns the value back.
lm::RopeOp turnedBack(mlir::Value gradient);

} // namespace r1c::fuse

#endif // R1C_COMPILER_PHASES_FUSE_JOINT_H
