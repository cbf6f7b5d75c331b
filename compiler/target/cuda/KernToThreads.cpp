//===- KernToThreads.cpp - kernel functions to threads of a GPU -----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/common/KernelFunctions.h"
#include "compiler/target/cuda/Cuda.h"
#include "dialects/kern/Kern.h"
#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c;

namespace {

struct KernToThreadsPass
    : PassWrapper<KernToThreadsPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(KernToThreadsPass)
  KernToThreadsPass() = default;
  KernToThreadsPass(const KernToThreadsPass &other) : PassWrapper(other) {}
  explicit KernToThreadsPass(const cuda::TargetOptions &options) {
    reference = options.reference;
  }
  StringRef getArgument() const override { return "kern-to-threads"; }
  StringRef getDescription() const override {
    return "kernel functions to functions of one thread of a GPU";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry
        .insert<arith::ArithDialect, LLVM::LLVMDialect, math::MathDialect,
                NVVM::NVVMDialect, scf::SCFDialect, vector::VectorDialect>();
  }
  Option<bool> reference{*this, "reference",
                         llvm::cl::desc("the naive lowering"),
                         llvm::cl::init(false)};

  void runOnOperation() override {
    for (func::FuncOp function : kernelFunctions(getOperation())) {
      Operation *op = kernelOp(function);
      if (!op)
        return signalPassFailure();
      kernels::Kernel kernel(function, op, kernels::Launch());
      if (failed(build(kernel)) || failed(buildFewRows(kernel)))
        return signalPassFailure();
      kernel.finish();
    }
  }

  /// Whether results have another type than operands.
  template <typename Op>
  static bool isWide(Op op) {
    return kern::elementTypeOf(op->getResult(0)) !=
           kern::elementTypeOf(op.getQ());
  }

  template <typename Op>
  static bool isOnTensorCores(Op op) {
    auto type = cast<RankedTensorType>(op.getQ().getType());
    return !isWide(op) &&
           kernels::isAttentionSm90(type.getElementType(), type.getDimSize(1),
                                    op.getHeads(), op.getKvHeads(),
                                    op.getScale().convertToDouble());
  }

  template <typename Op>
  static bool onTensorCores(kernels::Kernel &k, Op op) {
    auto type = cast<RankedTensorType>(op.getQ().getType());
    int64_t width = type.getDimSize(1) / op.getHeads();
    if (isOnTensorCores(op)) {
      k.explain("tensor cores, heads of " + Twine(width));
      return true;
    }
    k.explain("by threads, without tensor cores",
              type.getElementType().isF32() ? Twine("float32")
              : isWide(op)                  ? Twine("gradients in float32")
              : width != 64 && width != 128
                  ? "heads of " + Twine(width) + ", not 64 or 128"
                  : Twine("more than 64 heads to a key head, or no positive "
                          "scale"));
    return false;
  }

  /// What launches of few rows take instead: as at decoding, where a start
  /// counts, and the room that a kernel leaves to those before and behind it,
  /// and what it can have done before it may begin.
  LogicalResult buildFewRows(kernels::Kernel &k) {
    if (reference)
      return success();
    constexpr int64_t fewRows = 64;
    if (auto row = dyn_cast<kern::RowOp>(k.op); row && !row.isChunked())
      k.addFewRows(k, fewRows, 1); // a warp a row
    if (auto product = dyn_cast<kern::MatmulOp>(k.op);
        product && kernels::hasFewRowsMatmulSm90(product)) {
      kernels::Kernel few(k.source, k.op, kernels::Launch(), "_few_rows");
      if (failed(kernels::buildFewRowsMatmulSm90(few)))
        return failure();
      k.addFewRows(few, kernels::rowsInRegisters, few.launch->blocksPerSm);
      few.finishBeside();
    }
    auto attention = dyn_cast<kern::AttentionOp>(k.op);
    if (!attention || !attention.getCached() || !isOnTensorCores(attention))
      return success();
    auto add = [&](StringRef suffix, int64_t rows, int64_t blocksPerSm) {
      kernels::Kernel few(k.source, k.op, kernels::Launch(), suffix);
      if (failed(kernels::buildFewRowsAttentionSm90(few, blocksPerSm)))
        return failure();
      k.addFewRows(few, rows, blocksPerSm);
      few.finishBeside();
      return success();
    };
    // One block a multiprocessor, with more places for keys, where even with
    // 32768 of them there are no more segments than those.
    constexpr int64_t segments = 32, fewTiles = 256;
    int64_t fewest =
        kernels::multiprocessors / (segments * attention.getKvHeads());
    int64_t columns =
        cast<RankedTensorType>(attention.getQ().getType()).getDimSize(1);
    bool twoFit = columns / attention.getHeads() == 64;
    if (twoFit && fewest && failed(add("_fewest_rows", fewest, 1)))
      return failure();
    return add("_few_rows", fewTiles, twoFit ? 2 : 1);
  }

  LogicalResult build(kernels::Kernel &k) {
    using namespace kernels;
    return llvm::TypeSwitch<Operation *, LogicalResult>(k.op)
        .Case([&](kern::RowOp) {
          return reference ? buildRowReference(k) : buildRowCuda(k);
        })
        .Case([&](kern::MapOp) {
          return reference ? buildMapReference(k) : buildMapCuda(k);
        })
        .Case([&](kern::ColumnSumOp) {
          return reference ? buildColumnSumReference(k) : buildColumnSumCuda(k);
        })
        .Case([&](kern::MatmulOp) { return buildMatmulCuda(k); })
        .Case([&](kern::AttentionOp op) {
          if (reference)
            return buildAttentionReference(k);
          return onTensorCores(k, op) ? buildAttentionSm90(k)
                                      : buildAttentionCuda(k);
        })
        .Case([&](kern::AttentionBackwardOp op) {
          if (reference)
            return buildAttentionBackwardReference(k);
          return onTensorCores(k, op) ? buildAttentionBackwardSm90(k)
                                      : buildAttentionBackwardCuda(k);
        })
        .Case([&](kern::RopeOp) { return buildRopeCuda(k); })
        .Case([&](kern::AnglesOp) { return buildAnglesCuda(k); })
        .Case([&](kern::PackOp) { return buildPackCuda(k); })
        .Case([&](kern::ScatterAddOp) { return buildScatterAddCuda(k); })
        .Case([&](kern::ScanOp) { return buildScan(k); })
        .Case([&](kern::QuantileOp) { return buildQuantile(k); })
        .Default(
            [&](Operation *op) { return op->emitOpError("is not a kernel"); });
  }
};

/// Marks entries and gives them their parameter block, by value: what a
/// function type cannot say before it is an llvm.func.
struct MarkEntriesPass : PassWrapper<MarkEntriesPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(MarkEntriesPass)
  StringRef getArgument() const override { return "r1c-mark-entries"; }
  StringRef getDescription() const override {
    return "functions with kern.launch become kernels with a parameter block";
  }

  void runOnOperation() override {
    Builder b(&getContext());
    for (auto function : getOperation().getOps<LLVM::LLVMFuncOp>()) {
      auto launch =
          function->getAttrOfType<DictionaryAttr>(kern::launchAttrName);
      if (!launch)
        continue;
      auto number = [&](StringRef name) {
        return launch.getAs<IntegerAttr>(name).getInt();
      };
      function->setAttr(NVVM::NVVMDialect::getKernelFuncAttrName(),
                        b.getUnitAttr());
      int32_t threads = number("threads");
      function->setAttr(NVVM::NVVMDialect::getReqntidAttrName(),
                        b.getDenseI32ArrayAttr({threads}));
      function->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(),
                        b.getI32IntegerAttr(number("blocks_per_sm")));
      if (auto cluster = launch.getAs<IntegerAttr>("cluster"))
        function->setAttr(NVVM::NVVMDialect::getClusterDimAttrName(),
                          b.getDenseI32ArrayAttr({(int32_t)cluster.getInt()}));
      auto block =
          LLVM::LLVMArrayType::get(b.getI8Type(), number("parameters"));
      function.setArgAttr(0, LLVM::LLVMDialect::getByValAttrName(),
                          TypeAttr::get(block));
      function.setArgAttr(0, LLVM::LLVMDialect::getAlignAttrName(),
                          b.getI64IntegerAttr(64));
      function.setArgAttr(0, NVVM::NVVMDialect::getGridConstantAttrName(),
                          b.getUnitAttr());
    }
  }
};

} // namespace

std::unique_ptr<Pass>
cuda::createKernToThreadsPass(const TargetOptions &options) {
  return std::make_unique<KernToThreadsPass>(options);
}

void cuda::addLowerToNVVM(OpPassManager &pm) {
  addLowerToLLVM(pm, MathUnits::Cuda);
  pm.addPass(std::make_unique<MarkEntriesPass>());
}

void cuda::registerCudaPasses() {
  PassRegistration<KernToThreadsPass>();
  PassRegistration<MarkEntriesPass>();
  PassPipelineRegistration<>(
      "r1c-threads-to-nvvm",
      "what follows kern-to-threads, to the LLVM and nvvm dialects",
      [](OpPassManager &pm) { addLowerToNVVM(pm); });
}
