//===- Codegen.cpp - LLVM dialect to a shared object ----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/common/KernelFunctions.h"
#include "compiler/target/common/Tool.h"
#include "compiler/target/cpu/Cpu.h"
#include "dialects/kern/Kern.h"
#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Parallel.h"
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
  return machine;
}

FailureOr<cpu::Target> cpu::resolveTarget(Location loc,
                                          const TargetOptions &options) {
  Target target;
  auto [name, changes] = StringRef(options.cpu).split(',');
  target.cpu = name.str();
  if (name == "native") {
    target.cpu = llvm::sys::getHostCPUName().str();
    llvm::SubtargetFeatures features;
    for (auto &[name, on] : llvm::sys::getHostCPUFeatures())
      features.AddFeature(name, on);
    // A fixed order: the string ends up in the artifact.
    std::vector<std::string> sorted(features.getFeatures());
    llvm::sort(sorted);
    target.features = llvm::join(sorted, ",");
  }
  if (!changes.empty()) // the last word counts
    target.features += (target.features.empty() ? "" : ",") + changes.str();
  // Of any processor: LLVM prints what it does not know, and goes on, once it
  // makes one by that name.
  auto any = makeMachine(loc, "", "");
  if (failed(any))
    return failure();
  const llvm::MCSubtargetInfo *known = (*any)->getMCSubtargetInfo();
  if (!known->isCPUStringValid(target.cpu))
    return emitError(loc, "unknown CPU '")
           << target.cpu
           << "': write native, or a name that clang's -march knows, such as "
              "znver4 or x86-64-v3";
  auto isFeature = [&](StringRef name) {
    return llvm::any_of(known->getAllProcessorFeatures(),
                        [&](const auto &f) { return f.Key == name; });
  };
  for (StringRef change : llvm::split(changes, ','))
    if (!changes.empty() &&
        !((change.starts_with("+") || change.starts_with("-")) &&
          isFeature(change.drop_front())))
      return emitError(loc, "CPU '")
             << options.cpu << "': '" << change
             << "' is no feature to add or leave out; write a name with + or - "
                "before it, such as -amx-bf16";
  auto machine = makeMachine(loc, target.cpu, target.features);
  if (failed(machine))
    return failure();
  const llvm::MCSubtargetInfo *info = (*machine)->getMCSubtargetInfo();
  if (!info->checkFeatures("+avx2,+fma"))
    return emitError(loc, "CPU '")
           << options.cpu
           << "' has no AVX2 and FMA: kernels need x86-64-v3 or later";
  target.avx512 = info->checkFeatures("+avx512f,+avx512bw,+avx512vl,+avx512dq");
  target.avx512Bf16 = target.avx512 && info->checkFeatures("+avx512bf16");
  target.amxBf16 = target.avx512 && info->checkFeatures("+amx-tile,+amx-bf16");
  return target;
}

/// Links objects into a shared object that needs nothing.
static FailureOr<std::vector<char>> link(Location loc,
                                         ArrayRef<std::string> objects) {
  auto linker = llvm::sys::findProgramByName("ld.lld-22");
  if (!linker)
    linker = llvm::sys::findProgramByName("ld.lld");
  if (!linker)
    return emitError(loc, "ld.lld is not on the PATH: install lld-22");
  TemporaryFiles files(loc);
  FailureOr<std::string> output = files.make("so");
  if (failed(output))
    return failure();
  SmallVector<std::string> inputs;
  for (const std::string &object : objects) {
    FailureOr<std::string> input = files.make("o", object);
    if (failed(input))
      return failure();
    inputs.push_back(*input);
  }
  SmallVector<StringRef> arguments{
      "-shared", "--no-undefined", "--strip-all",     "--hash-style=gnu",
      "-z",      "noexecstack",    "--build-id=none", "-o",
      *output};
  arguments.append(inputs.begin(), inputs.end());
  if (failed(runTool(loc, *linker, arguments, files)))
    return failure();
  auto buffer = llvm::MemoryBuffer::getFile(*output);
  if (!buffer)
    return emitError(loc, "cannot read the linked kernels: ")
           << buffer.getError().message();
  StringRef bytes = (*buffer)->getBuffer();
  return std::vector<char>(bytes.begin(), bytes.end());
}

namespace {
/// Some of the kernels on their way to an object file. LLVM's part of the way
/// runs in a thread of its own: nothing in here is shared.
struct Part {
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> ir;
  std::unique_ptr<llvm::TargetMachine> machine;
  std::string object, text, error;

  void compile(bool wantsText) {
    optimizeKernels(*ir, *machine);
    if (wantsText)
      llvm::raw_string_ostream(text) << *ir;
    llvm::SmallVector<char> bytes;
    llvm::raw_svector_ostream stream(bytes);
    llvm::legacy::PassManager codegen;
    if (machine->addPassesToEmitFile(codegen, stream, nullptr,
                                     llvm::CodeGenFileType::ObjectFile)) {
      error = "this LLVM cannot write object files";
      return;
    }
    codegen.run(*ir);
    object.assign(bytes.begin(), bytes.end());
  }
};
} // namespace

/// Linkage and attributes that every function of the kernels has.
static void markFunctions(llvm::Module &ir, const llvm::StringSet<> &names,
                          const cpu::Target &target) {
  for (llvm::Function &function : ir) {
    if (function.isDeclaration())
      continue;
    // Tiles and epilogues are nobody else's business; but what others may call
    // is compiled for any arguments.
    if (function.hasFnAttribute(kernels::opaqueAttribute)) {
      function.setLinkage(llvm::GlobalValue::ExternalLinkage);
      function.setVisibility(llvm::GlobalValue::HiddenVisibility);
    } else if (!names.contains(function.getName())) {
      function.setLinkage(llvm::GlobalValue::InternalLinkage);
    }
    function.addFnAttr(llvm::Attribute::NoUnwind);
    function.addFnAttr("no-builtins");
    if (target.avx512) {
      function.addFnAttr("prefer-vector-width", "512");
      function.addFnAttr("min-legal-vector-width", "512");
    }
    function.addFnAttr("target-cpu", target.cpu);
    if (!target.features.empty())
      function.addFnAttr("target-features", target.features);
  }
}

FailureOr<std::vector<char>> cpu::buildKernels(ModuleOp module,
                                               const TargetOptions &options) {
  Location loc = module.getLoc();
  auto target = resolveTarget(loc, options);
  if (failed(target))
    return failure();
  MLIRContext *context = module.getContext();
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  context->appendDialectRegistry(registry);

  // Only the kernels: the rest of the module is not ours to lower. Dealt to a
  // number of parts that depends on the kernels alone, so that the result does
  // not depend on the machine that compiles.
  constexpr size_t kernelsAPart = 8;
  llvm::StringSet<> names;
  SmallVector<func::FuncOp> kernels = kernelFunctions(module);
  for (func::FuncOp function : kernels)
    names.insert(function.getName());
  size_t count =
      std::max<size_t>(1, llvm::divideCeil(kernels.size(), kernelsAPart));
  std::vector<Part> parts(count);
  for (auto [i, part] : llvm::enumerate(parts)) {
    OwningOpRef<ModuleOp> copy(ModuleOp::create(loc));
    for (size_t k = i; k < kernels.size(); k += count)
      copy->push_back(kernels[k]->clone());
    PassManager pm(context);
    pm.addPass(createKernToLoopsPass(options));
    addLowerToLLVM(pm, target->avx512 ? MathUnits::Avx512 : MathUnits::Plain);
    auto machine = makeMachine(loc, target->cpu, target->features);
    if (failed(machine) || failed(pm.run(*copy)))
      return failure();
    part.machine = std::move(*machine);
    part.ir = translateModuleToLLVMIR(*copy, part.context, "kernels");
    if (!part.ir)
      return emitError(loc, "translation to LLVM IR failed");
    part.ir->setTargetTriple(llvm::Triple(kTriple));
    part.ir->setDataLayout(part.machine->createDataLayout());
    markFunctions(*part.ir, names, *target);
  }
  llvm::parallelForEach(parts, [&](Part &part) {
    part.compile(/*wantsText=*/!options.dump.empty());
  });

  std::vector<std::string> objects;
  for (auto [i, part] : llvm::enumerate(parts)) {
    if (!part.error.empty())
      return emitError(loc) << part.error;
    std::string path = options.dump + (i ? "." + std::to_string(i) : "");
    if (!options.dump.empty() &&
        (failed(writeFile(loc, path + ".ll", part.text)) ||
         failed(writeFile(loc, path + ".o", part.object))))
      return failure();
    objects.push_back(std::move(part.object));
  }
  return link(loc, objects);
}
