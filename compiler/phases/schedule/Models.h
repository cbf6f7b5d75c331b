//===- Models.h - policies as programs --------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_SCHEDULE_MODELS_H
#define R1C_COMPILER_PHASES_SCHEDULE_MODELS_H

#include "compiler/phases/schedule/Kernels.h"
#include "compiler/phases/schedule/Sets.h"
#include "dialects/kern/Kern.h"
#include "dialects/lm/LM.h"
#include "dialects/rl/RL.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"

namespace r1c::schedule {

/// A parameter of a policy in its flat float32 buffers: weights, gradients and
/// moments have the same layout.
struct Parameter {
  lm::ParameterOp op;
  int64_t offset = 0; // bytes
  int64_t stride = 0; // bytes from layer to layer; 0 if not stacked
};

/// The buffers that a chunk of rows is packed into, and the activations that
/// its passes leave. One for each model.
struct Chunk {
  int64_t capacity = 0;
  Extent rows, units, targets;
  Extent slice; ///< of the targets
  rt::RefAttr tokens, positions, bases, shared, sharedBases, offsets,
      targetRows, targetTokens, tokenIndex, logitRows;
  /// A flag a token of the vocabulary for each target: its kept set. Made when
  /// a pass over a filtered set first asks for it.
  rt::RefAttr kept;
  /// [layers + 1] inputs of the layers, and their gradients: those lie
  /// gradientBytes apart, or (0) take turns in one place.
  rt::RefAttr activations, gradients;
  int64_t gradientBytes = 0;
  /// What `.layer.train` saves, [layers] each, by name.
  llvm::StringMap<Slot> saved;
};

/// A policy's memory.
struct Policy {
  rl::PolicyOp op;
  lm::ModelOp model;
  bool isTrained = false, isSampled = false;
  /// Some sample of it is with top_p, top_k or min_p; some is without.
  bool isFiltered = false, isPlain = false;
  int64_t layers = 0, hidden = 0, vocabulary = 0, context = 0;
  /// The most sequences that one sample of it draws.
  int64_t sequences = 0;
  llvm::StringMap<Parameter> parameters;
  /// Elements: those with weight decay come first; both counts are multiples
  /// of `normRow`, padded with zeros.
  int64_t decayed = 0, total = 0;
  /// Where a layer's part lies, of parameters with weight decay and of those
  /// without: bytes to the first layer's and from layer to layer, elements.
  struct LayerPart {
    int64_t offset, stride, count;
  };
  llvm::SmallVector<LayerPart, 2> layerParts;
  rt::RefAttr weights, gradients, moment1, moment2, updates;
  /// So many elements, the first, have a copy in bfloat16 that products read as
  /// it lies, and where that is.
  int64_t roundedCount = 0;
  rt::RefAttr roundedWeights;
  /// Other packed layouts of the weights, by layout and parameters.
  llvm::MapVector<mlir::Attribute, rt::RefAttr> packed;
  /// The program that makes those from the rounded weights, if any.
  std::string packBackward;
  mlir::NamedAttrList info, programs;
};

/// Elements that one row of the gradient norm's first reduction takes.
inline constexpr int64_t normRow = 4096;

/// Results of a forward pass over the tokens of a set or view, float32
/// [tokens]; null references are not wanted.
struct TokenResults {
  rt::RefAttr logp, entropy, lse;
};

/// What the log-probabilities of a set are of: the softmax at a temperature,
/// over the kept sets if tokens were filtered out when it was sampled.
struct Distribution {
  rt::RefAttr temperature;
  bool isFiltered = false;
};

/// What multiplies each token's log-probability and entropy in the loss's
/// differential: float64 [tokens]. Those that are not there are 0.
struct Seeds {
  Slot logp, entropy;
};

/// Lays out the policies and writes what runs their models.
class Models {
public:
  Models(mlir::ModuleOp module, Buffers &buffers, Kernels &kernels)
      : module(module), buffers(buffers), kernels(kernels) {}

  /// Weights, packed layouts, and the programs `<policy>.pack` and, for
  /// policies that sample, `<policy>.rollout` and `<policy>.rollout.filtered`.
  llvm::LogicalResult addPolicies(mlir::Block *declarations);

  /// An rt.chunks that runs the model over a set or view. With `keep` the
  /// activations of the last chunk stay for `backward`.
  llvm::LogicalResult forward(mlir::OpBuilder &builder, mlir::Location loc,
                              llvm::StringRef policy, Axes &axes,
                              Distribution of, TokenResults results, bool keep);

  /// Sets the policy's gradient buffer to the gradient of the sum of seed times
  /// value over the tokens of the view; `results` are those of the forward pass
  /// before.
  llvm::LogicalResult backward(mlir::OpBuilder &builder, mlir::Location loc,
                               llvm::StringRef policy, Axes &axes,
                               Distribution of, TokenResults results,
                               Seeds seeds);

  /// Both in one pass over the chunks, for seeds that need no other token's
  /// results: `writeSeeds` writes what computes those of the chunk's tokens.
  /// `expected` are the seeds if the policy still says what was recorded, or
  /// nothing: sequences from which nothing would be learnt are kept together.
  llvm::LogicalResult sweep(
      mlir::OpBuilder &builder, mlir::Location loc, llvm::StringRef policy,
      Axes &axes, Distribution of, TokenResults results, const Seeds &expected,
      llvm::function_ref<mlir::FailureOr<Seeds>(mlir::OpBuilder &)> writeSeeds);

  /// One AdamW step on the accumulated gradient, then the packed layouts.
  /// `lr` is its learning rate as a float32; `lrMetric` as a number operand.
  llvm::LogicalResult adamw(mlir::OpBuilder &builder, rl::AdamWOp op,
                            rt::RefAttr lr, mlir::Attribute lrMetric);

  /// A remark on whether the sequences of a group share their prompt's rows in
  /// training.
  void explainUnits(mlir::Location loc, llvm::StringRef policy,
                    const OutputSet &set);

  /// Tokens of the longest sequence of a policy.
  int64_t contextOf(llvm::StringRef name) { return policy(name).context; }

  Policy &policy(llvm::StringRef name) { return *policies.find(name)->second; }

private:
  using Roles = llvm::function_ref<Slot(mlir::DictionaryAttr, mlir::Type)>;

  llvm::SmallVector<llvm::SmallVector<llvm::StringRef>>
  sideBySide(lm::ModelOp model);
  /// Roles and types of packed operands, by their parameters.
  using PackedOperands = llvm::MapVector<
      mlir::ArrayAttr,
      llvm::SmallVector<std::pair<mlir::DictionaryAttr, kern::PackedType>, 2>>;
  PackedOperands packedOperands(Policy &policy, bool all);
  llvm::LogicalResult layOut(Policy &policy);
  llvm::LogicalResult roundedLayout(
      Policy &policy,
      llvm::ArrayRef<llvm::SmallVector<llvm::StringRef>> roundedGroups);
  void pack(Policy &policy);
  void packByKernels(Policy &policy, mlir::OpBuilder &builder);
  rt::RefAttr roundedAt(Policy &policy, const Parameter &parameter);
  llvm::LogicalResult rollout(Policy &policy);
  /// An empty program `<policy>.<what>`, to be filled.
  mlir::OpBuilder program(Policy &policy, llvm::StringRef what);
  Chunk &chunkOf(Policy &policy);
  /// Rows of a forward and backward pass.
  int64_t chunkRows(Policy &policy);
  rt::ChunksOp makeChunks(mlir::OpBuilder &builder, mlir::Location loc,
                          Policy &policy, Axes &axes, bool filtered,
                          const Seeds &seeds = {}, bool dropIdle = false);
  llvm::LogicalResult body(mlir::OpBuilder &builder, mlir::Location loc,
                           Policy &policy, bool train);
  /// The head on `targets` of a chunk; `logits`, if given, gets its logits.
  llvm::LogicalResult headForward(mlir::OpBuilder &builder, mlir::Location loc,
                                  Policy &policy, Axes &axes, Distribution of,
                                  TokenResults results, Extent targets,
                                  Slot *logits);
  /// The gradients of a slice of the targets; `logits` are those that the
  /// forward pass has left, or none.
  llvm::LogicalResult headBackward(mlir::OpBuilder &slice, mlir::Location loc,
                                   Policy &policy, Axes &axes, Distribution of,
                                   TokenResults results, Seeds seeds,
                                   Slot logits);
  /// Calls `.angles` if the function `name` takes what it gives: cosines and
  /// sines of the rows' positions, for all layers.
  llvm::FailureOr<Slot> angles(mlir::OpBuilder &builder, Policy &policy,
                               llvm::StringRef name, Slot positions);
  llvm::LogicalResult layersBackward(mlir::OpBuilder &inside,
                                     mlir::Location loc, Policy &policy);
  void makeGradients(mlir::Location loc, Policy &policy);
  void zeroLastGradient(mlir::OpBuilder &builder, mlir::Location loc,
                        Policy &policy);

  /// Dispatches the kern ops of function `@<model>.<name>`. `arguments` gives
  /// the buffer of each argument, `results` that of each result (or none: it
  /// gets one of its own), by role attributes and type. `given`, if wanted,
  /// gets the buffers of the results.
  llvm::LogicalResult call(mlir::OpBuilder &builder, Policy &policy,
                           llvm::StringRef name, Roles arguments, Roles results,
                           Extent sequences = {},
                           llvm::StringMap<Slot> *given = nullptr);
  /// The buffer of a tensor seen with its heads as rows, or the other way
  /// round: the same bytes, with another number of rows.
  llvm::LogicalResult viewSideBySide(mlir::Operation *op,
                                     Kernels::Binding &binding);
  llvm::LogicalResult view(mlir::OpBuilder &builder, mlir::Operation *op,
                           Kernels::Binding &binding);
  /// `rows` times `factor`, as a size in memory; computed where `builder`
  /// stands.
  Extent scaled(mlir::OpBuilder &builder, mlir::Location loc, Extent rows,
                int64_t factor);
  /// The buffer of a weight argument (parameter, packed,
  /// parameter_gradient), or none.
  Slot weight(Policy &policy, mlir::DictionaryAttr role, mlir::Type type);
  mlir::func::FuncOp function(Policy &policy, llvm::StringRef name);

  mlir::ModuleOp module;
  Buffers &buffers;
  Kernels &kernels;
  /// Where buffers, kernels and programs are declared.
  mlir::Block *declarations = nullptr;
  llvm::MapVector<llvm::StringRef, std::unique_ptr<Policy>> policies;
  llvm::DenseMap<mlir::Operation *, std::unique_ptr<Chunk>> chunks;
  llvm::DenseMap<std::pair<mlir::Attribute, int64_t>, Extent> scaledExtents;
};

} // namespace r1c::schedule

#endif // R1C_COMPILER_PHASES_SCHEDULE_MODELS_H
