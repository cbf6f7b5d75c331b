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
}

namespace r1c::runtime {

/// Adds the options of a run to a command, the artifact or step file apart:
/// what r1c-run and `r1c run` have in common. `options` must outlive the
/// parsing.
void addRunOptions(CLI::App &app, RunOptions &options);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_TOOLS_COMMANDLINE_H
