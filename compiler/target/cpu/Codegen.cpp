//===- Codegen.cpp - LLVM dialect to a shared object ----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/cpu/Cpu.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/SubtargetFeature.h"

using namespace mlir;
using namespace r1c;

static constexpr llvm::StringLiteral kTriple = "x86_64-unknown-linux-gnu";

static FailureOr<std::unique_ptr<llvm::TargetMachine>>
makeMachine(Location loc, StringRef cpu, StringRef features) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  llvm::Triple triple(kTriple);
  std::string error;
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return emitError(loc, "no code generator for x86-64: ") << error;
  llvm::TargetOptions options;
  // One meaning of a * b + c: no contraction that the kernel did not write.
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  std::unique_ptr<llvm::TargetMachine> machine(target->createTargetMachine(
      triple, cpu, features, options, llvm::Reloc::PIC_, std::nullopt,
      llvm::CodeGenOptLevel::Aggressive));
  if (!machine)
    return emitError(loc, "no code generator for CPU '") << cpu << "'";
  if (!machine->getMCSubtargetInfo()->isCPUStringValid(cpu))
    return emitError(loc, "unknown CPU '")
           << cpu
           << "': write native, or a name that clang's -march knows, such as "
              "znver4 or x86-64-v3";
  return machine;
}

FailureOr<cpu::Target> cpu::resolveTarget(Location loc,
                                          const TargetOptions &options) {
  Target target;
  target.cpu = options.cpu;
  if (options.cpu == "native") {
    target.cpu = llvm::sys::getHostCPUName().str();
    llvm::SubtargetFeatures features;
    for (auto &[name, on] : llvm::sys::getHostCPUFeatures())
      features.AddFeature(name, on);
    // A fixed order: the string ends up in the artifact.
    std::vector<std::string> sorted(features.getFeatures());
    llvm::sort(sorted);
    target.features = llvm::join(sorted, ",");
  }
  auto machine = makeMachine(loc, target.cpu, target.features);
  if (failed(machine))
    return failure();
  const llvm::MCSubtargetInfo *info = (*machine)->getMCSubtargetInfo();
  if (!info->checkFeatures("+avx2,+fma"))
    return emitError(loc, "CPU '")
           << target.cpu
           << "' has no AVX2 and FMA: kernels need x86-64-v3 or later";
  target.avx512 = info->checkFeatures("+avx512f,+avx512bw,+avx512vl,+avx512dq");
  target.avx512Bf16 = target.avx512 && info->checkFeatures("+avx512bf16");
  return target;
}

/// Optimizes without what changes the order or number of float operations:
/// no auto-vectorizer, no library calls.
static void optimize(llvm::Module &module, llvm::TargetMachine &machine) {
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

static LogicalResult dumpText(Location loc, StringRef path, StringRef text) {
  std::error_code error;
  llvm::raw_fd_ostream out(path, error);
  if (error)
    return emitError(loc, "cannot write ") << path << ": " << error.message();
  out << text;
  return success();
}

/// Links one object into a shared object that needs nothing.
static FailureOr<std::vector<char>> link(Location loc, StringRef object) {
  SmallString<128> input, output, log;
  for (auto [path, suffix] : {std::pair(&input, "o"), std::pair(&output, "so"),
                              std::pair(&log, "log")})
    if (auto error = llvm::sys::fs::createTemporaryFile("r1c", suffix, *path))
      return emitError(loc, "cannot make a temporary file: ")
             << error.message();
  llvm::scope_exit cleanup([&] {
    for (auto *path : {&input, &output, &log})
      llvm::sys::fs::remove(*path);
  });
  if (failed(dumpText(loc, input, object)))
    return failure();
  auto linker = llvm::sys::findProgramByName("ld.lld-22");
  if (!linker)
    linker = llvm::sys::findProgramByName("ld.lld");
  if (!linker)
    return emitError(loc, "ld.lld is not on the PATH: install lld-22");
  StringRef arguments[] = {*linker,
                           "-shared",
                           "--no-undefined",
                           "--strip-all",
                           "--hash-style=gnu",
                           "-z",
                           "noexecstack",
                           "--build-id=none",
                           "-o",
                           output,
                           input};
  std::optional<StringRef> redirects[] = {std::nullopt, StringRef(log),
                                          StringRef(log)};
  std::string message;
  int code = llvm::sys::ExecuteAndWait(*linker, arguments, std::nullopt,
                                       redirects, 0, 0, &message);
  if (code != 0) {
    auto text = llvm::MemoryBuffer::getFile(log);
    return emitError(loc, "linking kernels failed: ")
           << message << (text ? (*text)->getBuffer() : StringRef());
  }
  auto buffer = llvm::MemoryBuffer::getFile(output);
  if (!buffer)
    return emitError(loc, "cannot read the linked kernels: ")
           << buffer.getError().message();
  StringRef bytes = (*buffer)->getBuffer();
  return std::vector<char>(bytes.begin(), bytes.end());
}

FailureOr<std::vector<char>> cpu::buildKernels(ModuleOp module,
                                               const TargetOptions &options) {
  Location loc = module.getLoc();
  auto target = resolveTarget(loc, options);
  if (failed(target))
    return failure();
  auto machine = makeMachine(loc, target->cpu, target->features);
  if (failed(machine))
    return failure();

  // Only the kernels: the rest of the module is not ours to lower.
  llvm::StringSet<> names;
  OwningOpRef<ModuleOp> copy(ModuleOp::create(loc));
  for (auto function : module.getOps<func::FuncOp>())
    if (function->hasAttr(kern::kernelAttrName)) {
      names.insert(function.getName());
      copy->push_back(function->clone());
    }
  MLIRContext *context = module.getContext();
  PassManager pm(context);
  pm.addPass(createKernToLoopsPass(options));
  buildLowerToLLVMPipeline(pm);
  if (failed(pm.run(*copy)))
    return failure();

  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  context->appendDialectRegistry(registry);
  llvm::LLVMContext llvmContext;
  std::unique_ptr<llvm::Module> ir =
      translateModuleToLLVMIR(*copy, llvmContext, "kernels");
  if (!ir)
    return emitError(loc, "translation to LLVM IR failed");
  ir->setTargetTriple(llvm::Triple(kTriple));
  ir->setDataLayout((*machine)->createDataLayout());
  for (llvm::Function &function : *ir) {
    if (function.isDeclaration())
      continue;
    // Tiles and epilogues are nobody else's business.
    if (!names.contains(function.getName()))
      function.setLinkage(llvm::GlobalValue::InternalLinkage);
    function.addFnAttr(llvm::Attribute::NoUnwind);
    function.addFnAttr("no-builtins");
    if (target->avx512) {
      function.addFnAttr("prefer-vector-width", "512");
      function.addFnAttr("min-legal-vector-width", "512");
    }
    function.addFnAttr("target-cpu", target->cpu);
    if (!target->features.empty())
      function.addFnAttr("target-features", target->features);
  }
  optimize(*ir, **machine);
  if (!options.dump.empty()) {
    std::string text;
    llvm::raw_string_ostream(text) << *ir;
    if (failed(dumpText(loc, options.dump + ".ll", text)))
      return failure();
  }
  llvm::SmallVector<char> object;
  llvm::raw_svector_ostream stream(object);
  llvm::legacy::PassManager codegen;
  if ((*machine)->addPassesToEmitFile(codegen, stream, nullptr,
                                      llvm::CodeGenFileType::ObjectFile))
    return emitError(loc, "this LLVM cannot write object files");
  codegen.run(*ir);
  StringRef bytes(object.data(), object.size());
  if (!options.dump.empty() &&
      failed(dumpText(loc, options.dump + ".o", bytes)))
    return failure();
  return link(loc, bytes);
}
