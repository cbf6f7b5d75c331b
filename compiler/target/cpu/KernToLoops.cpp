//===- KernToLoops.cpp - kernel functions to loops ------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/common/ExpandMath.h"
#include "compiler/target/common/KernelFunctions.h"
#include "compiler/target/cpu/Cpu.h"
#include "dialects/kern/Kern.h"
#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Dialect/X86Vector/X86VectorDialect.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c;

namespace {

struct KernToLoopsPass : PassWrapper<KernToLoopsPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(KernToLoopsPass)
  KernToLoopsPass() = default;
  KernToLoopsPass(const KernToLoopsPass &other) : PassWrapper(other) {}
  explicit KernToLoopsPass(const cpu::TargetOptions &options) {
    cpuName = options.cpu;
    reference = options.reference;
  }
  StringRef getArgument() const override { return "kern-to-loops"; }
  StringRef getDescription() const override {
    return "kernel functions to loops on pointers, with the kernel ABI";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, LLVM::LLVMDialect, math::MathDialect,
                    scf::SCFDialect, vector::VectorDialect,
                    x86vector::X86VectorDialect>();
  }
  Option<std::string> cpuName{*this, "cpu",
                              llvm::cl::desc("CPU name, or native"),
                              llvm::cl::init("native")};
  Option<bool> reference{*this, "reference",
                         llvm::cl::desc("the naive lowering"),
                         llvm::cl::init(false)};

  void runOnOperation() override {
    cpu::TargetOptions options;
    options.cpu = cpuName;
    auto target = cpu::resolveTarget(getOperation().getLoc(), options);
    if (failed(target))
      return signalPassFailure();
    kernels::CpuFeatures features{target->avx512, target->avx512Bf16,
                                  target->amxBf16};
    for (func::FuncOp function : kernelFunctions(getOperation())) {
      Operation *op = kernelOp(function);
      if (!op)
        return signalPassFailure();
      kernels::Kernel kernel(function, op, features);
      if (failed(build(kernel)))
        return signalPassFailure();
      kernel.finish();
    }
  }

  LogicalResult build(kernels::Kernel &k) {
    using namespace kernels;
    return llvm::TypeSwitch<Operation *, LogicalResult>(k.op)
        .Case([&](kern::RowOp) {
          return reference ? buildRowReference(k) : buildRowCpu(k);
        })
        .Case([&](kern::MapOp) {
          return reference ? buildMapReference(k) : buildMapCpu(k);
        })
        .Case([&](kern::ColumnSumOp) {
          return reference ? buildColumnSumReference(k) : buildColumnSumCpu(k);
        })
        .Case([&](kern::MatmulOp) {
          return reference ? buildMatmulReference(k) : buildMatmulCpu(k);
        })
        .Case([&](kern::AttentionOp) {
          return reference ? buildAttentionReference(k) : buildAttentionCpu(k);
        })
        .Case([&](kern::AttentionBackwardOp) {
          return reference ? buildAttentionBackwardReference(k)
                           : buildAttentionBackwardCpu(k);
        })
        .Case([&](kern::RopeOp) { return buildRope(k); })
        .Case([&](kern::AnglesOp) { return buildAngles(k); })
        .Case([&](kern::PackOp) {
          return reference ? buildPackReference(k) : buildPackCpu(k);
        })
        .Case([&](kern::ScatterAddOp) { return buildScatterAdd(k); })
        .Case([&](kern::ScanOp) { return buildScan(k); })
        .Case([&](kern::QuantileOp) { return buildQuantile(k); })
        .Default(
            [&](Operation *op) { return op->emitOpError("is not a kernel"); });
  }
};

} // namespace

std::unique_ptr<Pass> cpu::createKernToLoopsPass(const TargetOptions &options) {
  return std::make_unique<KernToLoopsPass>(options);
}

void cpu::registerCpuPasses() {
  registerExpandMathPass();
  PassRegistration<KernToLoopsPass>();
  PassPipelineRegistration<>(
      "r1c-kernels-to-llvm", "what follows kern-to-loops, to the LLVM dialect",
      [](OpPassManager &pm) { addLowerToLLVM(pm, MathUnits::Plain); });
}
