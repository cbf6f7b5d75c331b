//===- r1c-run.cpp - executes an artifact ---------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/tools/CommandLine.h"
#include <CLI/CLI.hpp>

int main(int argc, char **argv) {
  r1c::runtime::keepStandardFiles();
  CLI::App app("Executes a compiled step file. No compiler needed.", "r1c-run");
  r1c::runtime::RunOptions options;
  app.add_option("artifact", options.artifact, "what `r1c compile` wrote")
      ->required()
      ->type_name("STEP.r1x");
  app.add_option("--base", options.base.folder,
                 "where alone the step file's relative paths are looked for "
                 "(default: the artifact's folder, then the current one)")
      ->type_name("DIR")
      ->check(CLI::ExistingDirectory);
  r1c::runtime::addRunOptions(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    return r1c::runtime::exitStatus(app, error);
  }
  return r1c::runtime::runMain(std::move(options));
}
