//===- KernelFunctions.cpp - what the targets share -----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/common/KernelFunctions.h"
#include "compiler/target/common/ExpandMath.h"
#include "dialects/kern/Kern.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVMPass.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/UBToLLVM/UBToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/IR/Module.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;
using namespace r1c;

SmallVector<func::FuncOp> r1c::kernelFunctions(ModuleOp module) {
  SmallVector<func::FuncOp> functions;
  for (auto function : module.getOps<func::FuncOp>())
    if (function->hasAttr(kern::kernelAttrName))
      functions.push_back(function);
  return functions;
}

Operation *r1c::kernelOp(func::FuncOp function) {
  if (!function.getBody().hasOneBlock()) {
    function.emitOpError("is marked kern.kernel but has no body of one block");
    return nullptr;
  }
  Operation *found = nullptr;
  for (Operation &op : function.getBody().front().without_terminator()) {
    if (found || !isa<kern::KernDialect>(op.getDialect())) {
      op.emitOpError(
          "a kernel function holds exactly one op of kern and a return");
      return nullptr;
    }
    found = &op;
  }
  if (!found) {
    function.emitOpError("is marked kern.kernel but holds no op of kern");
    return nullptr;
  }
  auto ret = cast<func::ReturnOp>(function.getBody().front().getTerminator());
  llvm::SmallPtrSet<Value, 4> returned;
  for (Value v : ret.getOperands())
    if (v.getDefiningOp() != found || !returned.insert(v).second) {
      function.emitOpError(
          "returns something else than each result of its kern op once");
      return nullptr;
    }
  if (returned.size() != found->getNumResults()) {
    function.emitOpError("must return every result of its kern op");
    return nullptr;
  }
  return found;
}

void r1c::addLowerToLLVM(OpPassManager &pm, MathUnits units) {
  // Before anything that folds: folders evaluate math on constants with the
  // host's libm, and a constant must have the bits that the kernel would give.
  pm.addPass(createExpandMathPass(units));
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createSCFToControlFlowPass());
  ConvertVectorToLLVMPassOptions vectorOptions;
  vectorOptions.x86Vector = true;
  pm.addPass(createConvertVectorToLLVMPass(vectorOptions));
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createUBToLLVMConversionPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
}

void r1c::optimizeKernels(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::PipelineTuningOptions tuning;
  tuning.LoopVectorization = false;
  tuning.LoopInterleaving = false;
  tuning.SLPVectorization = false;
  llvm::PassBuilder builder(&machine, tuning);
  llvm::LoopAnalysisManager lam;
  llvm::FunctionAnalysisManager fam;
  llvm::CGSCCAnalysisManager cgam;
  llvm::ModuleAnalysisManager mam;
  llvm::TargetLibraryInfoImpl library(module.getTargetTriple());
  library.disableAllFunctions();
  fam.registerPass([&] { return llvm::TargetLibraryAnalysis(library); });
  builder.registerModuleAnalyses(mam);
  builder.registerCGSCCAnalyses(cgam);
  builder.registerFunctionAnalyses(fam);
  builder.registerLoopAnalyses(lam);
  builder.crossRegisterProxies(lam, fam, cgam, mam);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3)
      .run(module, mam);
}
