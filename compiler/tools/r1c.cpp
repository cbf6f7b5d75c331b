//===- r1c.cpp - the compiler driver --------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// CLI11 owns the subcommands; flags that begin with --mlir- go to LLVM's
// parser, so that they mean here what they mean in mlir-opt.
//===----------------------------------------------------------------------===//

#include "compiler/phases/Phases.h"
#include "compiler/tools/Driver.h"
#include "compiler/tools/Remarks.h"
#include "mlir/IR/AsmState.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Support/Timing.h"
#include "runtime/tools/CommandLine.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"

#include <CLI/CLI.hpp>

using namespace r1c;

/// Takes the flags that are LLVM's out of `arguments` and parses them.
static void parseLLVMFlags(std::vector<std::string> &arguments) {
  std::vector<const char *> flags{"r1c"};
  std::vector<std::string> rest, owned;
  for (std::string &argument : arguments) {
    // CLI11 would take the next word for its value.
    if (argument == "--remarks")
      argument += "=.*";
    (llvm::StringRef(argument).starts_with("--mlir-") ? owned : rest)
        .push_back(argument);
  }
  for (std::string &flag : owned)
    flags.push_back(flag.c_str());
  mlir::registerAsmPrinterCLOptions();
  mlir::registerMLIRContextCLOptions();
  mlir::registerPassManagerCLOptions();
  mlir::registerDefaultTimingManagerCLOptions();
  llvm::cl::ParseCommandLineOptions(flags.size(), flags.data());
  arguments = std::move(rest);
}

static std::string phaseList() {
  std::string text;
  for (const Phase &phase : phases())
    text += llvm::formatv("  {0,-14} {1}\n", phase.name, phase.summary).str();
  return text;
}

static void addCompileOptions(CLI::App &app, DriverOptions &options) {
  app.add_option("--target", options.target,
                 "cpu, or a GPU: h100, h200, h800 (needs ptxas of CUDA 13)")
      ->default_val("cpu");
  app.add_option("--cpu", options.cpu,
                 "native, or LLVM's name of a processor: znver4, x86-64-v3, …; "
                 "features after it are added or left out: native,-amx-bf16")
      ->default_val("native");
  app.add_option("--weights", options.weights,
                 "float32 or bfloat16: what matrix products read; without it "
                 "what a model's config.json says, float32 for llama(...)")
      ->type_name("TYPE")
      ->check(CLI::IsMember({"float32", "bfloat16"}));
  app.add_option("--chunk-rows", options.chunkRows,
                 "rows that a scoring or training pass takes at once; without "
                 "it as many whole groups as fill 1024 on a CPU, 16384 on a "
                 "GPU, or what fits")
      ->type_name("ROWS")
      ->check(CLI::Range(64, 1 << 20));
  app.add_option("--dump-phases-to", options.phases.dumpTo,
                 "write the IR after each phase into this directory")
      ->type_name("DIR");
  app.add_option("--remarks", options.remarks,
                 "say what was decided, and why: all, or =REGEX, what matches "
                 "a category as a whole: " +
                     remarkCategories())
      ->type_name("[=REGEX]");
  app.add_option("--remarks-to", options.remarksTo,
                 "write all remarks to this file as YAML, for tools")
      ->type_name("FILE.yaml");
}

static void addEvalOptions(CLI::App &app, DriverOptions &options) {
  app.add_option("file", options.file, "STEP.r1")
      ->required()
      ->type_name("FILE");
  app.add_option("--stage", options.stage, "needed where there are several")
      ->type_name("NAME");
  app.add_option("--loss", options.loss, "needed where a stage has several")
      ->type_name("NAME");
  app.add_option("--in", options.in,
                 "outputs, log-probabilities and other values as JSON; - reads "
                 "standard input (docs/eval.md)")
      ->required()
      ->type_name("VALUES.json");
  app.add_option("--target", options.evaluateOn,
                 "reference: the interpreter, in float64; cpu: compiled")
      ->default_val("reference");
  app.add_option("--cpu", options.cpu, "as for compile")->default_val("native");
  app.add_option("--set", options.sets, "change a param: --set lr=1e-5")
      ->type_name("NAME=VALUE");
}

/// The status of a command whose result is what it printed.
static int printed(int status) {
  llvm::outs().flush();
  std::error_code code = llvm::outs().error();
  if (!code)
    return status;
  llvm::outs().clear_error();
  llvm::errs() << "error: cannot write to standard output: " << code.message()
               << "\n";
  return 1;
}

static void addCheckOptions(CLI::App &app, DriverOptions &options) {
  app.add_option("file", options.file, "STEP.r1")
      ->required()
      ->type_name("FILE");
  app.add_option("--seed", options.seed,
                 "of the outputs and weights that are made up")
      ->default_val(0);
  app.add_flag("--json", options.json, "the table as JSON");
  app.add_flag("--skip-network", options.skipNetwork,
               "only the losses; networks take most of the time");
  app.add_option("--cpu", options.cpu, "as for compile")->default_val("native");
  app.add_option("--set", options.sets, "change a param: --set lr=1e-5")
      ->type_name("NAME=VALUE");
  // For the tests of the check itself: what it must notice.
  app.add_option("--mistake", options.mistake)
      ->check(CLI::IsMember({"derivative", "formula", "network", "cache"}))
      ->group("");
  app.footer("Compiled code against the interpreter, gradients against finite "
             "differences, and what must not\nchange a bit: a table of errors "
             "(docs/check.md). Exit code 1 where one is beyond its bound.\n"
             "Data and model files are not opened.");
}

/// CLI11 itself would only say that a command is required.
static void requireCommand(const CLI::App &app, const std::string &name) {
  std::string known;
  for (const CLI::App *command : app.get_subcommands({})) {
    if (command->get_name() == name)
      return;
    known += (known.empty() ? "" : ", ") + command->get_name();
  }
  throw CLI::ParseError("no command '" + name + "'; commands are " + known,
                        CLI::ExitCodes::ExtrasError);
}

int main(int argc, char **argv) {
  runtime::keepStandardFiles();
  llvm::InitLLVM init(argc, argv);
  std::vector<std::string> arguments(argv + 1, argv + argc);
  parseLLVMFlags(arguments);

  CLI::App app(
      "r1c compiles a step file into everything that one "
      "reinforcement-learning step of a language model does.\n"
      "Flags of MLIR (--mlir-print-ir-after-all, --mlir-timing, …) are "
      "understood by every command.",
      "r1c");
  app.require_subcommand(1);
  DriverOptions options;

  auto *compile = app.add_subcommand("compile", "step file to artifact");
  compile
      ->add_option("file", options.file, "STEP.r1, or a phase's dump (.mlir)")
      ->required()
      ->type_name("FILE");
  compile
      ->add_option(
          "-o", options.output,
          "the artifact (default: the name of FILE with .r1x, here); - "
          "writes IR to standard output")
      ->type_name("STEP.r1x");
  addCompileOptions(*compile, options);
  compile
      ->add_option("--compile-to", options.phases.to,
                   "stop after this phase and print the IR")
      ->type_name("PHASE");
  compile
      ->add_option("--compile-from", options.phases.from,
                   "FILE is the IR after this phase")
      ->type_name("PHASE");
  runtime::addMemoryOption(*compile, options.memory,
                           "bytes for its buffers, beyond which sizes are made "
                           "smaller, or it is refused: 16G (default: of a GPU "
                           "15/16 of what --target has, else no limit)");
  compile->add_option("--set", options.sets, "change a param: --set lr=1e-5")
      ->type_name("NAME=VALUE");
  compile->footer("Phases:\n" + phaseList());

  auto *run = app.add_subcommand("run", "compile where needed, then execute");
  addCompileOptions(*run, options);
  const std::vector<CLI::Option *> compileOptions = run->get_options();
  run->add_option("file", options.file, "STEP.r1 or STEP.r1x")
      ->required()
      ->type_name("FILE");
  runtime::RunOptions runOptions;
  runtime::addRunOptions(*run, runOptions);

  auto *inspect = app.add_subcommand("inspect", "what an artifact holds");
  inspect->add_option("file", options.file, "STEP.r1x")
      ->required()
      ->type_name("FILE");
  inspect->add_flag("--json", options.json, "the manifest as it is stored");

  auto *eval =
      app.add_subcommand("eval", "a loss and its gradient on given values");
  addEvalOptions(*eval, options);

  auto *check = app.add_subcommand(
      "check", "hold losses and policies of a step file against themselves");
  addCheckOptions(*check, options);

  try {
    if (!arguments.empty() && arguments[0][0] != '-')
      requireCommand(app, arguments[0]);
    std::reverse(arguments.begin(), arguments.end());
    app.parse(arguments);
  } catch (const CLI::ParseError &error) {
    return runtime::exitStatus(app, error);
  }
  if (*compile)
    return compileMain(options);
  if (*inspect)
    return printed(inspectMain(options));
  if (*eval)
    return printed(evalMain(options));
  if (*check)
    return printed(checkMain(options));
  for (const CLI::Option *option : compileOptions)
    if (option->count())
      options.compileOption = option->get_name();
  return runMain(options, std::move(runOptions));
}
