//===- Driver.cpp - r1c compile, run --------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/Driver.h"
#include "compiler/phases/Phases.h"
#include "compiler/phases/fuse/Precision.h"
#include "compiler/phases/package/Manifest.h"
#include "compiler/target/cpu/Cpu.h"
#include "compiler/target/cuda/Cuda.h"
#include "compiler/tools/Diagnostics.h"
#include "compiler/tools/Fit.h"
#include "compiler/tools/Register.h"
#include "compiler/tools/Remarks.h"
#include "dialects/rl/RL.h"
#include "dialects/rt/RT.h"
#include "frontends/hf/HuggingFace.h"
#include "frontends/step/Step.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Support/FileUtilities.h"
#include "runtime/artifact/Artifact.h"
#include "runtime/artifact/MemoryPlan.h"
#include "runtime/collective/mpi/Open.h"
#include "runtime/device/cpu/Cpu.h"
#include "runtime/device/cuda/Cuda.h"
#include "runtime/support/Error.h"
#include "runtime/support/Files.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/ToolOutputFile.h"

#include <filesystem>

using namespace mlir;
using namespace r1c;

namespace fs = std::filesystem;

static int fail(const llvm::Twine &message) {
  llvm::errs() << "error: " << message << "\n";
  return 1;
}

OwningOpRef<ModuleOp> r1c::compileStepFile(const DriverOptions &options,
                                           MLIRContext &context) {
  if (llvm::StringRef(options.file).ends_with(".r1x")) {
    fail(options.file + " is an artifact: give the step file");
    return nullptr;
  }
  step::Options stepOptions;
  for (llvm::StringRef set : options.sets) {
    auto [name, value] = set.split('=');
    if (name.empty() || value.empty()) {
      fail("--set " + set + " is not NAME=VALUE");
      return nullptr;
    }
    stepOptions.overrides.push_back({name.str(), value.str()});
  }
  return step::compileStepFile(options.file, context, stepOptions);
}

/// A compilation: what it needs to live as long as its module.
namespace {
struct Compilation {
  Remarks remarks;
  DialectRegistry registry;
  std::unique_ptr<MLIRContext> context;
  llvm::SourceMgr sources;
  std::unique_ptr<Diagnostics> diagnostics;
  OwningOpRef<ModuleOp> module;

  Compilation() {
    registerDialects(registry);
    context = std::make_unique<MLIRContext>(registry);
    // Users get the place in the step file, not the op.
    context->printOpOnDiagnostic(false);
    diagnostics = std::make_unique<Diagnostics>(sources, context.get());
  }

  /// Reads the step file, or the IR that a phase left.
  bool read(const DriverOptions &options) {
    if (!options.phases.from.empty() ||
        llvm::StringRef(options.file).ends_with(".mlir")) {
      module =
          parseSourceFile<ModuleOp>(options.file, ParserConfig(context.get()));
      return module && isAfter(options) && isFor(options);
    }
    module = compileStepFile(options, *context);
    return module && readPolicies(options);
  }

  /// What the check leaves open about the policies: the shapes of models in
  /// directories, and what --weights says.
  bool readPolicies(const DriverOptions &options) {
    // A step file can be checked without the models that it names.
    if (options.phases.to != "check" &&
        failed(hf::readPolicies(*module,
                                fs::path(options.file).parent_path().string())))
      return false;
    if (options.weights.empty())
      return true;
    Builder b(context.get());
    for (auto policy : module->getOps<rl::PolicyOp>()) {
      NamedAttrList init(policy.getInit());
      if (init.get("layers")) {
        init.set("bf16", b.getBoolAttr(options.weights == "bfloat16"));
        policy.setInitAttr(init.getDictionary(context.get()));
      }
    }
    return true;
  }

  /// About a dump: the locations in it are those of the step file.
  InFlightDiagnostic error(const DriverOptions &options) {
    return emitError(FileLineColLoc::get(context.get(), options.file, 0, 0));
  }

  /// A dump says after which phase it stands; the phases take each other's
  /// word, and would not survive anything else.
  bool isAfter(const DriverOptions &options) {
    const CompileOptions &phases = options.phases;
    auto after = (*module)->getAttrOfType<StringAttr>(phaseAttribute);
    if (!after || !findPhase(after)) {
      error(options) << "does not say after which phase it stands: give "
                        "the module the attribute "
                     << phaseAttribute << ", one of " << phaseNames();
      return false;
    }
    if (after == phases.from)
      return true;
    error(options) << "this is the IR after phase '" << after.getValue()
                   << "', not '" << phases.from
                   << "': write --compile-from=" << after.getValue();
    return false;
  }

  /// What the phases from `fuse` on write is for one target.
  bool isFor(const DriverOptions &options) {
    bool isForGpu = (*module)->hasAttr(targetAttribute);
    bool isFused = findPhase("fuse") <= findPhase(options.phases.from);
    if (isForGpu && options.target == "cpu")
      error(options) << "this is IR for a GPU: write --target, one of "
                     << cuda::machineNames();
    else if (!isForGpu && isFused && options.target != "cpu")
      error(options) << "this is IR for a CPU, and --target is "
                     << options.target
                     << ": give the step file, or a dump of a phase "
                        "before 'fuse'";
    else
      return true;
    return false;
  }
};
} // namespace

/// What the artifact says of the machine that --target and --cpu name.
static FailureOr<TargetDescription>
describeTarget(Location loc, const DriverOptions &options) {
  if (options.target != "cpu")
    return TargetDescription{"cuda", cuda::architecture.str(), options.target};
  cpu::TargetOptions target;
  target.cpu = options.cpu;
  auto resolved = cpu::resolveTarget(loc, target);
  if (failed(resolved))
    return failure();
  return TargetDescription{"cpu", resolved->cpu, resolved->features};
}

static FailureOr<std::string> manifestText(ModuleOp module,
                                           const DriverOptions &options) {
  auto target = describeTarget(module.getLoc(), options);
  if (failed(target))
    return failure();
  return llvm::formatv("{0:2}", manifestFrom(module, *target)).str();
}

/// The manifest, if the buffers fit into the memory that is offered; else
/// `problem` says by how much they do not.
static FailureOr<std::string> manifestOf(ModuleOp module,
                                         const DriverOptions &options,
                                         std::string &problem) {
  if (!module.lookupSymbol<ModuleOp>("kernels"))
    return module.emitError("has no kernels: compile it through every phase");
  FailureOr<std::string> manifest = manifestText(module, options);
  if (failed(manifest))
    return failure();
  problem.clear();
  try {
    runtime::requireMemory(
        runtime::Manifest::parse(*manifest, constantsFrom(module).size()),
        options.memory ? static_cast<int64_t>(options.memory)
                       : runtime::mostMemory,
        options.memory ? options.memoryOf : "any machine");
  } catch (const Error &error) {
    problem = options.file + ": " + error.what();
  }
  return manifest;
}

/// Runs the phases; where the buffers do not fit, again with a backward pass
/// that keeps less and computes more. Phases cost a hundredth of the kernels.
static LogicalResult runPhasesToFit(Compilation &compilation,
                                    const DriverOptions &options) {
  OwningOpRef<ModuleOp> checked = compilation.module->clone();
  std::string problem;
  for (const Fit &way : waysToFit(options, *checked)) {
    if (way.isAgain(*compilation.module))
      continue;
    compilation.module = checked->clone();
    compilation.remarks.forget();
    way.applyTo(*compilation.module);
    if (failed(runPhases(*compilation.module, options.phases)))
      return failure();
    FailureOr<std::string> manifest =
        manifestOf(*compilation.module, options, problem);
    if (failed(manifest))
      return failure();
    if (!problem.empty())
      continue;
    way.explain(options);
    return success();
  }
  fail(problem);
  return failure();
}

static DictionaryAttr usageAttr(Builder &b, const cuda::Usage &usage) {
  auto number = [&](StringRef name, int64_t value) {
    return b.getNamedAttr(name, b.getI64IntegerAttr(value));
  };
  return b.getDictionaryAttr(
      {number("registers", usage.registers),
       number("spilled", usage.spillBytes), number("stack", usage.stackBytes),
       number("shared", usage.sharedBytes), number("own", usage.ownBytes)});
}

/// What the assembler says of a kernel (of `of`, or of what few rows take
/// instead); a warning where it spills.
static DictionaryAttr usageOf(Builder &b, const cuda::Kernels &kernels,
                              StringRef symbol, rt::KernelOp of) {
  cuda::Usage usage = kernels.usage.lookup(symbol);
  if (usage.spillBytes) {
    auto warning = of.emitWarning() << "kernel " << symbol;
    if (auto what = of.getWhat())
      warning << " (" << *what << ")";
    warning << " spills " << usage.spillBytes
            << " bytes of registers to memory, which takes time";
  }
  return usageAttr(b, usage);
}

/// How `symbol` is launched, as the runtime has to know it.
static DictionaryAttr launchAttr(const cuda::Kernels &kernels, StringRef symbol,
                                 DictionaryAttr built, rt::KernelOp of) {
  NamedAttrList launch(built);
  Builder b(built.getContext());
  launch.erase("parameters"); // follows from the operands and maps
  if (auto others = built.getAs<ArrayAttr>("few_rows")) {
    SmallVector<Attribute> all;
    auto symbolOf = [&](size_t i) {
      return cast<DictionaryAttr>(others[i]).getAs<StringAttr>("symbol");
    };
    for (size_t i = 0, n = others.size(); i < n; ++i) {
      auto few = cast<DictionaryAttr>(others[i]);
      StringAttr its = symbolOf(i);
      NamedAttrList other(few);
      other.set("launch", launchAttr(kernels, its,
                                     few.getAs<DictionaryAttr>("launch"), of));
      // Told once a kernel, where its grid is largest.
      if (its != symbol && (i + 1 == n || symbolOf(i + 1) != its))
        other.set("usage", usageOf(b, kernels, its, of));
      all.push_back(other.getDictionary(built.getContext()));
    }
    launch.set("few_rows", b.getArrayAttr(all));
  }
  return launch.getDictionary(built.getContext());
}

/// The kernels as machine code; on a GPU each rt.kernel learns how it is
/// launched, and what it takes.
static FailureOr<std::vector<char>> buildImage(ModuleOp module,
                                               const DriverOptions &options) {
  auto kernels = module.lookupSymbol<ModuleOp>("kernels");
  OwningOpRef<ModuleOp> clone = kernels.clone();
  if (options.target == "cpu") {
    cpu::TargetOptions target;
    target.cpu = options.cpu;
    return cpu::buildKernels(*clone, target);
  }
  auto built = cuda::buildKernels(*clone, {});
  if (failed(built))
    return failure();
  Builder b(module.getContext());
  for (auto kernel : module.getOps<rt::KernelOp>()) {
    StringRef symbol = kernel.getSymbol();
    kernel.setLaunchAttr(
        launchAttr(*built, symbol, built->launches.lookup(symbol), kernel));
    kernel.setUsageAttr(usageOf(b, *built, symbol, kernel));
  }
  // ptxas warns where it could not do what a kernel asks for.
  for (const std::string &warning : built->warnings)
    llvm::errs() << "warning: " << warning << "\n";
  return std::move(built->cubin);
}

/// Kernels, manifest, constants and source as a file. The path is replaced only
/// when all of it has been written.
static LogicalResult package(Compilation &compilation,
                             const DriverOptions &options,
                             const std::string &output) {
  ModuleOp module = *compilation.module;
  runtime::Artifact artifact;
  auto code = buildImage(module, options);
  if (failed(code))
    return failure();
  FailureOr<std::string> manifest = manifestText(module, options);
  if (failed(manifest))
    return failure();
  artifact.manifest = std::move(*manifest);
  artifact.kernels.assign(code->begin(), code->end());
  std::vector<char> constants = constantsFrom(module);
  artifact.constants.assign(constants.begin(), constants.end());
  if (auto text = llvm::MemoryBuffer::getFile(options.file))
    artifact.source = (*text)->getBuffer().str();
  try {
    runtime::writeArtifact(output, artifact);
  } catch (const Error &error) {
    fail(error.what());
    return failure();
  }
  return success();
}

/// What --remarks and --remarks-to ask for; the exit status.
static int giveRemarks(const Compilation &compilation,
                       const DriverOptions &options) {
  if (!options.remarks.empty())
    compilation.remarks.print(options.remarks, llvm::errs());
  if (!options.remarksTo.empty() &&
      !compilation.remarks.writeYaml(options.remarksTo))
    return fail("cannot write the remarks to " + options.remarksTo);
  return 0;
}

static int compileTo(DriverOptions options, const std::string &output) {
  if (options.target != "cpu" && !cuda::findMachine(options.target))
    return fail("there is no target '" + options.target + "': write cpu, " +
                cuda::machineNames());
  if (options.target != "cpu" && options.cpu != "native")
    return fail("--cpu is of the target cpu, not of " + options.target +
                ": leave it out");
  if (const cuda::Machine *machine = cuda::findMachine(options.target))
    if (!options.memory) {
      options.memory = cuda::memoryToPlan(machine->memory);
      options.memoryOf = "15/16 of an " + options.target;
    }
  for (const std::string &name : {options.phases.to, options.phases.from})
    if (!name.empty() && !findPhase(name))
      return fail("there is no phase '" + name + "': the phases are " +
                  phaseNames());
  for (auto [option, path] :
       {std::pair<const char *, llvm::StringRef>{"-o ", output},
        {"--remarks-to ", options.remarksTo}})
    if (llvm::sys::fs::equivalent(options.file, path))
      return fail(option + path + " is the step file itself");
  bool isDump = llvm::StringRef(options.file).ends_with(".mlir");
  if (isDump && options.phases.from.empty())
    return fail(options.file + " is IR: write --compile-from=PHASE, the phase "
                               "that it is the dump of");
  if (!options.phases.from.empty() && !options.sets.empty())
    return fail("--set is too late for " + options.file +
                ", where params have their values: give the step file");
  if (!options.phases.from.empty() && !options.phases.to.empty() &&
      findPhase(options.phases.to) <= findPhase(options.phases.from))
    return fail("--compile-to=" + options.phases.to +
                " does not come after --compile-from=" + options.phases.from);
  if (options.memory && options.memoryOf == "--memory" &&
      !options.phases.to.empty())
    return fail("--memory is held against the whole compilation: leave "
                "--compile-to out");
  if (!options.remarks.empty())
    if (std::string problem = refusedCategories(options.remarks);
        !problem.empty())
      return fail("--remarks=" + options.remarks + ": " + problem);
  Compilation compilation;
  if (!options.remarks.empty() || !options.remarksTo.empty())
    compilation.remarks.enable(*compilation.context);
  if (!compilation.read(options))
    return 1;
  if (options.target != "cpu")
    (*compilation.module)
        ->setAttr(targetAttribute,
                  StringAttr::get(compilation.context.get(), "cuda"));
  if (options.phases.to.empty() && output != "-") {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    return failed(runPhasesToFit(compilation, options)) ||
                   failed(package(compilation, options, output))
               ? 1
               : giveRemarks(compilation, options);
  }
  if (failed(runPhases(*compilation.module, options.phases)) ||
      giveRemarks(compilation, options))
    return 1;
  std::string error;
  auto file = openOutputFile(output.empty() ? "-" : output, &error);
  if (!file)
    return fail(error);
  compilation.module->print(file->os());
  file->os() << "\n";
  file->os().flush();
  if (std::error_code code = file->os().error()) {
    file->os().clear_error();
    return fail("cannot write " + (output.empty() ? "-" : output) + ": " +
                code.message());
  }
  file->keep();
  return 0;
}

int r1c::compileMain(const DriverOptions &options) {
  registerPasses();
  std::string output = options.output;
  if (output.empty() && options.phases.to.empty())
    output = fs::path(options.file).stem().string() + ".r1x";
  return compileTo(options, output);
}

/// A run goes on with the artifact that it began with, which must be that of
/// the step file as it is now.
static int requireSameSource(const std::string &file,
                             const std::string &artifact) {
  auto text = llvm::MemoryBuffer::getFile(file);
  if (!text)
    return fail(file + ": cannot read: " + text.getError().message());
  try {
    if (runtime::readArtifact(artifact).source == (*text)->getBuffer())
      return 0;
  } catch (const Error &error) {
    return fail(error.what());
  }
  return fail(file + " has changed since the run in " +
              fs::path(artifact).parent_path().string() +
              " began: start again in another --out, or go on with r1c-run " +
              artifact);
}

/// Makes the artifact of a run, or finds that of the run that is resumed.
static int prepareRun(const DriverOptions &options,
                      const runtime::RunOptions &run, bool &isCompiled) {
  DriverOptions compile = options;
  // Before anything in --out is touched, or compiled in vain.
  try {
    runtime::requireFreshOut(run);
    // What would not fit is refused before its kernels are built.
    compile.memory = run.memory;
    if (cuda::findMachine(options.target)) {
      auto device = runtime::makeCudaDevice(cuda::architecture.str());
      if (!run.memory) {
        compile.memory = cuda::memoryToPlan(device->memory());
        compile.memoryOf = "15/16 of this GPU";
      }
    } else if (!run.memory) {
      compile.memory = static_cast<uint64_t>(runtime::cpuMemory());
      compile.memoryOf = "this machine";
    }
  } catch (const Error &error) {
    return fail(error.what());
  }
  std::error_code error;
  fs::create_directories(run.out, error);
  if (error)
    return fail("cannot make the directory " + run.out.string() + ": " +
                error.message());
  // Another run that begins there would replace the artifact meanwhile.
  runtime::DirectoryLock lock(run.out);
  try {
    lock.requireFree();
  } catch (const Error &error) {
    return fail(error.what());
  }
  if (run.resume && fs::exists(run.artifact)) {
    if (!options.compileOption.empty())
      return fail(options.compileOption +
                  " is of the compilation, and a resumed run goes on with the "
                  "artifact that it began with: leave it out, or start again "
                  "in another --out");
    return requireSameSource(options.file, run.artifact);
  }
  registerPasses();
  for (auto &[name, value] : run.params)
    compile.sets.push_back(name + "=" + value);
  isCompiled = true;
  return compileTo(compile, run.artifact);
}

/// Of a run that did not begin, for a reason that has been said: its artifact,
/// and the folder, if it was made for it and has nothing else in it. Not while
/// another process is there, which may read that artifact.
static void removeUnbegun(const fs::path &out, const fs::path &artifact,
                          bool existed) {
  std::error_code ignored;
  runtime::DirectoryLock lock(out);
  try {
    lock.requireFree();
  } catch (const Error &) {
    return;
  }
  if (fs::exists(out / "run.json", ignored))
    return;
  if (!artifact.empty())
    fs::remove(artifact, ignored);
  if (!existed)
    fs::remove(out, ignored);
}

int r1c::runMain(const DriverOptions &options, runtime::RunOptions run) {
  run.artifact = options.file;
  if (fs::path(options.file).extension() == ".r1x") {
    if (!options.compileOption.empty())
      return fail(options.compileOption + " is of the compilation, and " +
                  options.file +
                  " is compiled already: leave it out, or give the step file");
    return runtime::runMain(std::move(run));
  }
  if (fs::path(options.file).extension() == ".mlir")
    return fail(options.file + " is IR: make it an artifact first, with r1c "
                               "compile --compile-from=PHASE, and run that");
  run.artifact = (run.out / "step.r1x").string();
  try {
    run.ranks = runtime::openRanks(run.collectiveTimeout);
  } catch (const Error &error) {
    return fail(error.what());
  }
  // Of several ranks the first one compiles.
  std::error_code ignored;
  bool isCompiled = false, existed = fs::exists(run.out, ignored);
  if (run.ranks->isRoot())
    if (int status = prepareRun(options, run, isCompiled)) {
      removeUnbegun(run.out, /*artifact=*/"", existed);
      run.ranks->fail("");
      return status;
    }
  try {
    std::string said = run.ranks->gather(isCompiled ? "compiled" : "",
                                         {"the compilation", ""})[0];
    // What --set says is compiled in: the run has nothing left to set.
    if (said == "compiled")
      run.params.clear();
  } catch (const Error &error) {
    run.ranks->fail(error.what());
    return fail(error.what());
  }
  fs::path folder = fs::path(options.file).parent_path();
  run.base = {folder.empty() ? "." : folder, true};
  fs::path out = run.out, artifact = run.artifact;
  int status = runtime::runMain(std::move(run));
  if (status && isCompiled)
    removeUnbegun(out, artifact, existed);
  return status;
}
