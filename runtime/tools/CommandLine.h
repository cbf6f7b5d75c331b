//===- CommandLine.h - the options of a run ---------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_TOOLS_COMMANDLINE_H
#define R1C_RUNTIME_TOOLS_COMMANDLINE_H

#include "runtime/execute/Session.h"

namespace CLI {
class App;
class ParseError;
} // namespace CLI

namespace r1c::runtime {

/// Adds the options of a run to a command, the artifact or step file apart:
/// what r1c-run and `r1c run` have in common. `options` must outlive the
/// parsing.
void addRunOptions(CLI::App &app, RunOptions &options);

/// `--memory SIZE`: 16G, 512 MiB, or a number of bytes.
void addMemoryOption(CLI::App &app, uint64_t &bytes, const std::string &help);

/// Opens what the starter has closed of standard input, output and error on
/// /dev/null: the next file that is opened would get its number, and with it
/// what is printed.
void keepStandardFiles();

/// Prints help or what is wrong with the arguments; gives the exit status, 0
/// or 1.
int exitStatus(const CLI::App &app, const CLI::ParseError &error);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_TOOLS_COMMANDLINE_H
