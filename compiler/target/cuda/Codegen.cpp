//===- Codegen.cpp - LLVM dialect to a cubin ------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/common/KernelFunctions.h"
#include "compiler/target/common/Tool.h"
#include "compiler/target/cuda/Cuda.h"
#include "dialects/kern/Kern.h"
#include "mlir/Conversion/NVVMToLLVM/NVVMToLLVM.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Object/ELF.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Parallel.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/Regex.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;
using namespace r1c;

static constexpr llvm::StringLiteral triple = "nvptx64-nvidia-cuda";

static constexpr cuda::Machine machines[] = {
    {"h100", 80LL << 30},
    {"h200", 141LL << 30},
    {"h800", 80LL << 30},
};

const cuda::Machine *cuda::findMachine(StringRef name) {
  for (const Machine &machine : machines)
    if (machine.name == name)
      return &machine;
  return nullptr;
}

std::string cuda::machineNames() {
  return llvm::join(llvm::map_range(machines, [](auto &m) { return m.name; }),
                    ", ");
}

static FailureOr<std::unique_ptr<llvm::TargetMachine>>
makeMachine(Location loc) {
  LLVMInitializeNVPTXTargetInfo();
  LLVMInitializeNVPTXTarget();
  LLVMInitializeNVPTXTargetMC();
  LLVMInitializeNVPTXAsmPrinter();
  std::string error;
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(llvm::Triple(triple), error);
  if (!target)
    return emitError(loc, "no code generator for PTX: ") << error;
  llvm::TargetOptions options;
  // One meaning of a * b + c: no contraction that the kernel did not write.
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  std::unique_ptr<llvm::TargetMachine> machine(target->createTargetMachine(
      llvm::Triple(triple), cuda::architecture, "+ptx90", options,
      llvm::Reloc::PIC_, std::nullopt, llvm::CodeGenOptLevel::Aggressive));
  if (!machine)
    return emitError(loc, "no code generator for ") << cuda::architecture;
  return machine;
}

namespace {
/// Some of the kernels on their way to PTX. LLVM's part of the way runs in a
/// thread of its own: nothing in here is shared.
struct Part {
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> ir;
  std::unique_ptr<llvm::TargetMachine> machine;
  std::string ptx, error;

  void compile() {
    optimizeKernels(*ir, *machine);
    llvm::SmallVector<char> bytes;
    llvm::raw_svector_ostream stream(bytes);
    llvm::legacy::PassManager codegen;
    if (machine->addPassesToEmitFile(codegen, stream, nullptr,
                                     llvm::CodeGenFileType::AssemblyFile)) {
      error = "this LLVM cannot write PTX";
      return;
    }
    codegen.run(*ir);
    ptx.assign(bytes.begin(), bytes.end());
  }
};
} // namespace

/// Appends a PTX module's declarations to `all`; the directives at its head
/// stand there already but for the first.
static void appendPtx(std::string &all, StringRef ptx) {
  if (all.empty()) {
    all = ptx.str();
    return;
  }
  SmallVector<StringRef> lines;
  ptx.split(lines, '\n');
  for (StringRef line : lines)
    if (!line.starts_with(".version") && !line.starts_with(".target") &&
        !line.starts_with(".address_size"))
      (all += line) += '\n';
}

static FailureOr<std::string> findPtxas(Location loc) {
  if (const char *path = std::getenv("R1C_PTXAS")) {
    if (llvm::sys::fs::can_execute(path))
      return std::string(path);
    return emitError(loc, "R1C_PTXAS names '")
           << path << "', which is no program";
  }
  if (auto found = llvm::sys::findProgramByName("ptxas"))
    return *found;
  if (auto found =
          llvm::sys::findProgramByName("ptxas", {"/usr/local/cuda/bin"}))
    return *found;
  return emitError(loc, "ptxas is not on the PATH nor in /usr/local/cuda/bin: "
                        "install CUDA 13's nvcc, or say where it is in "
                        "R1C_PTXAS");
}

/// Reads "Function properties" and "Used N registers" of ptxas -v.
static void readReport(StringRef report, cuda::Kernels &kernels) {
  llvm::Regex entry("Compiling entry function '([^']+)'"),
      frame("([0-9]+) bytes stack frame, ([0-9]+) bytes spill stores, ([0-9]+) "
            "bytes spill loads"),
      used("Used ([0-9]+) registers"), shared("([0-9]+) bytes smem");
  SmallVector<StringRef> lines, match;
  report.split(lines, '\n');
  std::string current;
  auto number = [](StringRef text) {
    int64_t n = 0;
    text.getAsInteger(10, n);
    return n;
  };
  for (StringRef line : lines) {
    if (line.contains("warning") || line.contains("(C75"))
      kernels.warnings.push_back(line.str());
    if (entry.match(line, &match))
      current = match[1].str();
    if (frame.match(line, &match)) {
      kernels.usage[current].stackBytes = number(match[1]);
      kernels.usage[current].spillBytes = number(match[2]) + number(match[3]);
    }
    if (used.match(line, &match))
      kernels.usage[current].registers = number(match[1]);
    if (shared.match(line, &match))
      kernels.usage[current].sharedBytes = number(match[1]);
  }
}

/// Whether it is whole and has all kernels.
static LogicalResult checkCubin(Location loc, StringRef ptxas, StringRef bytes,
                                const cuda::Kernels &kernels) {
  auto wrong = [&](const Twine &what) {
    return emitError(loc, "ptxas wrote no cubin: '")
           << ptxas << "' ended well, but " << what;
  };
  using Elf = llvm::object::ELF64LE;
  auto check = [&]() -> llvm::Error {
    auto file = llvm::object::ELFFile<Elf>::create(bytes);
    if (!file)
      return file.takeError();
    auto sections = file->sections();
    if (!sections)
      return sections.takeError();
    for (const auto &section : *sections)
      if (section.sh_type != llvm::ELF::SHT_NOBITS)
        if (auto contents = file->getSectionContents(section); !contents)
          return contents.takeError();
    return llvm::Error::success();
  };
  if (auto error = check())
    return wrong("what it left is no ELF file: " +
                 llvm::toString(std::move(error)));
  for (const auto &launch : kernels.launches)
    if (auto usage = kernels.usage.find(launch.first());
        usage == kernels.usage.end() || usage->second.registers == 0)
      return wrong("said nothing of kernel " + launch.first() +
                   ", for which -v asks");
  return success();
}

static LogicalResult assemble(Location loc, const std::string &ptx,
                              const cuda::TargetOptions &options,
                              cuda::Kernels &kernels) {
  auto ptxas = findPtxas(loc);
  if (failed(ptxas))
    return failure();
  TemporaryFiles files(loc);
  FailureOr<std::string> output = files.make("cubin"),
                         input = files.make("ptx", ptx);
  if (failed(output) || failed(input))
    return failure();
  StringRef arguments[] = {"-v",     "-arch",           cuda::architecture,
                           "--fmad", "false",           "--split-compile",
                           "0",      StringRef(*input), "-o",
                           *output};
  auto report =
      runTool(loc, *ptxas, arguments, files, [](StringRef said) -> StringRef {
        return said.contains("Unsupported .version")
                   ? "it is older than CUDA 13's: R1C_PTXAS names another"
                   : "";
      });
  if (!options.dump.empty() &&
      failed(writeFile(loc, options.dump + ".ptx", ptx)))
    return failure();
  if (failed(report))
    return failure();
  if (!options.dump.empty() &&
      failed(writeFile(loc, options.dump + ".txt", *report)))
    return failure();
  readReport(*report, kernels);
  auto cubin = llvm::MemoryBuffer::getFile(*output);
  if (!cubin)
    return emitError(loc, "cannot read what ptxas wrote: ")
           << cubin.getError().message();
  StringRef bytes = (*cubin)->getBuffer();
  if (failed(checkCubin(loc, *ptxas, bytes, kernels)))
    return failure();
  kernels.cubin.assign(bytes.begin(), bytes.end());
  return success();
}

/// What a builder says of a loop stands, after its lowering, at the branch back
/// as any attribute; only the branch's own reaches LLVM IR.
static void annotateLoops(ModuleOp module) {
  module.walk([](LLVM::BrOp branch) {
    Attribute said = branch->removeDiscardableAttr("llvm.loop_annotation");
    if (said)
      branch.setLoopAnnotationAttr(cast<LLVM::LoopAnnotationAttr>(said));
  });
}

FailureOr<cuda::Kernels> cuda::buildKernels(ModuleOp module,
                                            const TargetOptions &options) {
  Location loc = module.getLoc();
  MLIRContext *context = module.getContext();
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerNVVMDialectTranslation(registry);
  context->appendDialectRegistry(registry);

  // Dealt to a number of parts that depends on the kernels alone, so that the
  // result does not depend on the machine that compiles.
  constexpr size_t kernelsAPart = 8;
  SmallVector<func::FuncOp> functions = kernelFunctions(module);
  size_t count =
      std::max<size_t>(1, llvm::divideCeil(functions.size(), kernelsAPart));
  std::vector<Part> parts(count);
  Kernels kernels;
  for (auto [i, part] : llvm::enumerate(parts)) {
    OwningOpRef<ModuleOp> copy(ModuleOp::create(loc));
    for (size_t k = i; k < functions.size(); k += count)
      copy->push_back(functions[k]->clone());
    PassManager pm(context);
    pm.addPass(createKernToThreadsPass(options));
    addLowerToNVVM(pm);
    pm.addPass(createConvertNVVMToLLVMPass());
    auto machine = makeMachine(loc);
    if (failed(machine) || failed(pm.run(*copy)))
      return failure();
    annotateLoops(*copy);
    for (auto function : copy->getOps<LLVM::LLVMFuncOp>())
      if (auto launch =
              function->getAttrOfType<DictionaryAttr>(kern::launchAttrName)) {
        kernels.launches[function.getName()] = launch;
        if (auto bytes =
                function->getAttrOfType<IntegerAttr>(kern::ownMemoryAttrName))
          kernels.usage[function.getName()].ownBytes = bytes.getInt();
      }
    part.machine = std::move(*machine);
    part.ir = translateModuleToLLVMIR(*copy, part.context, "kernels");
    if (!part.ir)
      return emitError(loc, "translation to LLVM IR failed");
    part.ir->setTargetTriple(llvm::Triple(triple));
    part.ir->setDataLayout(part.machine->createDataLayout());
    for (llvm::Function &function : *part.ir)
      if (!function.isDeclaration()) {
        if (!kernels.launches.contains(function.getName()))
          function.setLinkage(llvm::GlobalValue::InternalLinkage);
        function.addFnAttr(llvm::Attribute::NoUnwind);
        function.addFnAttr("no-builtins");
      }
  }
  llvm::parallelForEach(parts, [](Part &part) { part.compile(); });

  std::string ptx;
  for (Part &part : parts) {
    if (!part.error.empty())
      return emitError(loc) << part.error;
    appendPtx(ptx, part.ptx);
  }
  if (failed(assemble(loc, ptx, options, kernels)))
    return failure();
  return kernels;
}
