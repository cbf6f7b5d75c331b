//===- LMToKern.h - one function of a model as kern ops ---------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_FUSE_LMTOKERN_H
#define R1C_COMPILER_PHASES_FUSE_LMTOKERN_H

#include "compiler/phases/expand/FunctionWriter.h"
#include "compiler/phases/fuse/Joint.h"
#include "compiler/phases/fuse/Precision.h"
#include "dialects/kern/Kern.h"
#include "dialects/lm/LM.h"
#include "mlir/IR/Remarks.h"

namespace r1c::fuse {

/// What the op is called in its model, such as "q_proj"; or nothing.
std::string nameOf(mlir::Operation *op);

/// What becomes of a function: itself; `<source>.cached`, where keys and values
/// go through a cache; or `<source>.stored`, where the logits are a result that
/// the backward function of the head takes, instead of multiplying again.
enum class Form { plain, cached, stored };

/// Writes one function of a model again, with kern ops in the place of lm ops.
class Fuser {
public:
  Fuser(mlir::ModuleOp module, mlir::func::FuncOp source,
        const Precision &precision, Form form);
  llvm::LogicalResult run();

private:
  /// The tensor that stands for a value of the source; a parameter that is
  /// asked for here is passed plain.
  mlir::Value lookup(mlir::Value value);
  mlir::Value optional(mlir::Value value) {
    return value ? lookup(value) : mlir::Value();
  }
  /// An argument that the source does not have, once for equal attributes.
  mlir::Value extra(mlir::Type type, mlir::DictionaryAttr attributes,
                    llvm::StringRef name);
  /// "positions", "bases", "shared", "shared_bases", "offsets" or "cache_rows".
  mlir::Value contextPart(llvm::StringRef part);
  /// The tensor as an operand of a matrix product or of attention: rounded to
  /// the products' element type where it is not stored in it.
  mlir::Value operand(mlir::Value value);
  mlir::Value asOperand(mlir::Value tensor, mlir::Location loc);
  /// The type in which a result is stored: the products' element type if nobody
  /// reads it in more digits.
  mlir::RankedTensorType stored(mlir::Value result);
  /// The packed operand made of these parameters.
  mlir::Value packed(llvm::ArrayRef<mlir::Value> weights,
                     llvm::StringRef layout);
  /// The argument that a parameter's gradient is added to.
  llvm::FailureOr<mlir::Value> accumulator(mlir::Value gradient);

  /// The lm.add that alone reads `value` and can be its epilogue; `other` is
  /// then the other operand.
  lm::AddOp absorbedAdd(mlir::Value value, mlir::Value &other);
  /// The derivative of a gate that alone reads this gradient: its epilogue.
  lm::SiluMulGradOp gateBehind(lm::LinearInputGradOp op);
  /// Whether `op` gives the logits of one lm.sample and nothing else, and is
  /// written together with it.
  bool isDrawnFrom(lm::LinearOp op);
  void writeProduct(mlir::Location loc, mlir::Value result, mlir::Value a,
                    mlir::Value weights, mlir::Value bias);
  mlir::Value splitHeads(mlir::Location loc, mlir::Value x, int64_t heads);
  mlir::Value mergeHeads(mlir::Location loc, mlir::Value x, mlir::Value like,
                         int64_t heads);

  // Joint.cpp. What is found is written before, at or behind one of its ops.
  void findJoints();
  void addJoint(mlir::Operation *root, mlir::Value query, mlir::Value key,
                mlir::Value value);
  void addJoint(lm::AttentionGradOp grad);
  void addJoint(const JointGradient &joint);
  /// In which the op's result is stored.
  mlir::Type elementOf(lm::LinearOp op);
  /// The gradients that are brought together, or read, where this op stands.
  JointGradient *jointOf(mlir::Operation *op);
  /// The cosines and sines of the rows' positions.
  mlir::Value anglesOf(lm::RopeOp op);
  /// In which queries, keys and values are stored once those are turned.
  llvm::SmallVector<mlir::Type> turnedTypes(const JointAttention &joint);
  /// Why the product's kernel does not turn its sums; empty if it does.
  llvm::StringRef whyTurnedApart(const JointAttention &joint);
  /// The product of queries, keys and values; and what cuts it.
  void writeProducts(const JointAttention &joint);
  /// Turns queries and keys, and brings keys and values to their cache.
  void writeTurn(const JointAttention &joint);
  void writeTurn(const JointAttention &joint, mlir::ValueRange inputs,
                 bool withValues);
  kern::RopeOp writeRope(mlir::Location loc, mlir::TypeRange types,
                         mlir::ValueRange inputs, mlir::Value to,
                         mlir::ValueRange inits, int64_t heads,
                         lm::RopeOp like);
  void writeTurnsBack(lm::AttentionGradOp op);
  /// Brings the gradients side by side, where nothing else does.
  void writeBeside(JointGradient &joint);
  /// What is made of gradients that lie side by side, in the place of `end`.
  llvm::LogicalResult writeGradients(mlir::Operation *end,
                                     const JointGradient &joint);
  template <typename Ops>
  llvm::FailureOr<mlir::Value> accumulators(mlir::Location loc, const Ops &ops);
  template <typename Ops>
  void takeApart(mlir::Value joint, const Ops &ops);
  mlir::RankedTensorType besideType(const JointGradient &joint);
  mlir::Value sideBySide(mlir::Location loc, mlir::ValueRange parts);

  // Explain.cpp: remarks on what is decided, of the category "fuse".
  mlir::remark::RemarkOpts remark(llvm::StringRef kind);
  void explainApart(mlir::Operation *at, llvm::StringRef what,
                    llvm::StringRef why);
  void explain(const JointAttention &joint, llvm::StringRef apart);
  void explain(JointGradient joint);
  void explainProduct(mlir::Value result, lm::AddOp absorbed);
  void explainGated(lm::SiluMulOp op, bool isPaired);
  void explainGateBehind(lm::LinearInputGradOp op);
  void explainHead(mlir::Operation *op, llvm::StringRef what);
  /// What is stored in bfloat16, and what not, and why.
  void explainTypes();

  llvm::LogicalResult write(lm::EmbeddingOp op);
  llvm::LogicalResult write(lm::GatherOp op);
  llvm::LogicalResult write(lm::RMSNormOp op);
  llvm::LogicalResult write(lm::LinearOp op);
  llvm::LogicalResult write(lm::RopeOp op);
  llvm::LogicalResult write(lm::AttentionOp op);
  void prefetchBehindAttention();
  bool isForCuda();
  llvm::LogicalResult write(lm::SiluMulOp op);
  llvm::LogicalResult write(lm::AddOp op);
  llvm::LogicalResult write(lm::HeadOp op);
  llvm::LogicalResult write(lm::LogProbOp op);
  llvm::LogicalResult write(lm::KeepOp op);
  llvm::LogicalResult write(lm::SampleOp op);
  llvm::LogicalResult write(lm::EmbeddingGradOp op);
  llvm::LogicalResult write(lm::GatherGradOp op);
  llvm::LogicalResult write(lm::RMSNormGradOp op);
  llvm::LogicalResult write(lm::LinearInputGradOp op);
  llvm::LogicalResult write(lm::LinearWeightGradOp op);
  llvm::LogicalResult write(lm::LinearBiasGradOp op);
  llvm::LogicalResult write(lm::AttentionGradOp op);
  llvm::LogicalResult write(lm::SiluMulGradOp op);
  llvm::LogicalResult write(lm::HeadGradOp op);

  mlir::func::FuncOp source;
  mlir::MLIRContext *context;
  mlir::StringAttr name; ///< of the function that is written, in the model
  bool cached, storesLogits;
  /// Of a head: all of them, rows x vocabulary.
  mlir::Value logits;
  FunctionWriter f;
  mlir::OpBuilder &b;
  /// Element type of the operands of matrix products: f32 or bf16.
  mlir::Type products;
  const Precision &precision;
  llvm::DenseMap<mlir::Value, mlir::Value> map;
  /// Tensors as `products`.
  llvm::DenseMap<mlir::Value, mlir::Value> rounded;
  llvm::DenseMap<mlir::Attribute, mlir::Value> extras;
  /// Ops that are written together with others.
  llvm::SmallPtrSet<mlir::Operation *, 16> joined;
  /// By the first of their linear ops, and by what reads them.
  llvm::DenseMap<mlir::Operation *, JointAttention> jointProducts, jointTurns;
  llvm::SmallVector<JointGradient, 2> jointGradients;
  llvm::DenseMap<mlir::Operation *, size_t> jointAt; ///< see jointOf
  /// Results that the source does not have.
  llvm::SmallVector<std::pair<mlir::Value, mlir::DictionaryAttr>> caches;
};

} // namespace r1c::fuse

#endif // R1C_COMPILER_PHASES_FUSE_LMTOKERN_H
