//===- Stages.h - the rounds of the stages as commands ----------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_SCHEDULE_STAGES_H
#define R1C_COMPILER_PHASES_SCHEDULE_STAGES_H

#include "compiler/phases/schedule/Kernels.h"
#include "compiler/phases/schedule/Models.h"
#include "compiler/phases/schedule/SeedProgram.h"
#include "compiler/phases/schedule/Sets.h"
#include "dialects/rl/RL.h"

namespace r1c::schedule {

/// Writes one rt.stage for each rl.stage.
class StageWriter {
public:
  StageWriter(Buffers &buffers, Kernels &kernels, Models &models,
              rt::RefAttr step, rt::RefAttr steps,
              llvm::StringMap<rt::RefAttr> params)
      : buffers(buffers), kernels(kernels), models(models), step(step),
        steps(steps), params(std::move(params)), builder(step.getContext()) {}

  llvm::LogicalResult write(rl::StageOp stage, mlir::OpBuilder &builder);

private:
  /// What the ops of one block see.
  struct Scope {
    Scope *parent = nullptr;
    /// In an update: the minibatch of this set.
    int64_t viewedSet = -1;
    std::unique_ptr<Axes> view;
    /// In an update: the results of the one forward pass over the minibatch.
    llvm::DenseMap<mlir::Attribute, TokenResults> passes;
  };

  llvm::LogicalResult writeBlock(mlir::Block &block, Scope &scope);
  llvm::LogicalResult writeOp(mlir::Operation *op, Scope &scope);
  llvm::LogicalResult writeSample(rl::SampleOp op, Scope &scope);
  llvm::LogicalResult writeRead(rl::ReadOp op, Scope &scope);
  llvm::LogicalResult writeToTensor(rl::ToTensorOp op, Scope &scope);
  /// A function of texts or an extern.
  template <typename CommandTy, typename OpTy>
  llvm::LogicalResult writeHostFunction(OpTy op, mlir::Attribute callee);
  llvm::LogicalResult writeUpdate(rl::UpdateOp op, Scope &scope);
  /// The body of an update whose seeds are token-local, in one pass.
  llvm::LogicalResult writeSweep(rl::UpdateOp op, const SeedProgram &program,
                                 Scope &scope);
  Seeds seedsOf(rl::BackwardOp op, Axes &axes);
  /// Buffers for what a forward pass over the tokens gives.
  TokenResults allocateResults(mlir::Location loc, Axes &axes, bool entropy,
                               bool lse);
  template <typename OpTy>
  llvm::LogicalResult writeModelRead(OpTy op, Scope &scope);
  llvm::LogicalResult writeCondition(mlir::Operation *command,
                                     mlir::Region &condition, OutputSet &set,
                                     Scope &scope);

  OutputSet &makeSet(mlir::Value outputs, int64_t maxGroups,
                     int64_t maxGroupSize, int64_t maxTokens);
  OutputSet &setOf(mlir::Value outputs);
  Axes &axesOf(mlir::Value outputs, Scope &scope);
  Axes &axesOf(llvm::StringRef set, Scope &scope);
  /// A literal or a reference to a float64.
  mlir::Attribute number(mlir::Value value);
  /// A float32 copy of a number, for the model's kernels.
  rt::RefAttr single(mlir::Location loc, mlir::Value value);
  mlir::FailureOr<mlir::ArrayAttr> textArguments(mlir::Operation *op,
                                                 mlir::ValueRange inputs);
  /// Where a host function writes its result: a float64 buffer over the
  /// sequences of the set, or the number of a new text.
  llvm::LogicalResult bindHostResult(mlir::Operation *op, mlir::Value result,
                                     rt::RefAttr &to, mlir::IntegerAttr &id);

  Buffers &buffers;
  Kernels &kernels;
  Models &models;
  rt::RefAttr step, steps;
  llvm::StringMap<rt::RefAttr> params;

  mlir::OpBuilder builder;
  Kernels::Binding tensors;
  llvm::DenseMap<mlir::Value, rt::RefAttr> numbers; // rl values in memory
  llvm::DenseMap<mlir::Value, int64_t> texts;
  llvm::StringMap<std::unique_ptr<OutputSet>> sets;
  int64_t nextSet = 0, nextText = 0;
  /// Policies that have been updated or assigned since a set was sampled.
  llvm::DenseMap<mlir::Attribute, int64_t> versions;
  llvm::StringMap<int64_t> sampledVersion;
};

} // namespace r1c::schedule

#endif // R1C_COMPILER_PHASES_SCHEDULE_STAGES_H
