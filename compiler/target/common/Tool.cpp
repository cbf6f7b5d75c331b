//===- Tool.cpp - programs that a target runs -----------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/common/Tool.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"
#include <atomic>
#include <csignal>

using namespace mlir;
using namespace r1c;

LogicalResult r1c::writeFile(Location loc, StringRef path, StringRef text) {
  std::error_code error;
  {
    llvm::raw_fd_ostream out(path, error);
    if (!error) {
      out << text;
      out.close();
      error = out.error();
      out.clear_error(); // else it would end the process
    }
  }
  if (error)
    return emitError(loc, "cannot write ") << path << ": " << error.message();
  return success();
}

TemporaryFiles::~TemporaryFiles() {
  for (const std::string &path : paths) {
    llvm::sys::fs::remove(path);
    llvm::sys::DontRemoveFileOnSignal(path);
  }
}

FailureOr<std::string> TemporaryFiles::make(StringRef suffix) {
  llvm::SmallString<128> path;
  if (auto error = llvm::sys::fs::createTemporaryFile("r1c", suffix, path)) {
    llvm::SmallString<128> folder;
    llvm::sys::path::system_temp_directory(/*ErasedOnReboot=*/true, folder);
    return emitError(loc, "cannot make a temporary file in '")
           << folder << "': " << error.message()
           << "; TMPDIR names another folder";
  }
  paths.push_back(path.str().str());
  llvm::sys::RemoveFileOnSignal(path);
  return paths.back();
}

FailureOr<std::string> TemporaryFiles::make(StringRef suffix, StringRef text) {
  FailureOr<std::string> path = make(suffix);
  if (failed(path) || failed(writeFile(loc, *path, text)))
    return failure();
  return path;
}

/// The program that runs, or 0, and whether a signal came before it was known
/// which that is.
static std::atomic<pid_t> running;
static std::atomic<bool> interrupted;

/// What a signal does that ends this process, behind the removal of its files.
static void endWithProgram() {
  if (!running) {
    interrupted = true;
    return;
  }
  ::kill(running, SIGTERM);
  ::signal(SIGTERM, SIG_DFL);
  ::raise(SIGTERM);
}

/// As llvm::sys::ExecuteAndWait, but where a signal ends this process it ends
/// the program, too: else that would write a file that has been removed.
static int runToEnd(StringRef program, ArrayRef<StringRef> arguments,
                    ArrayRef<std::optional<StringRef>> redirects,
                    std::string &message) {
  bool failed = false;
  running = 0;
  llvm::sys::SetInterruptFunction(endWithProgram);
  llvm::sys::ProcessInfo process = llvm::sys::ExecuteNoWait(
      program, arguments, std::nullopt, redirects, 0, &message, &failed);
  running = failed ? 0 : process.Pid;
  if (interrupted && !failed)
    endWithProgram();
  if (!failed)
    process = llvm::sys::Wait(process, std::nullopt, &message);
  llvm::sys::SetInterruptFunction(nullptr);
  if (interrupted)
    ::raise(SIGTERM);
  return failed ? -1 : process.ReturnCode;
}

FailureOr<std::string>
r1c::runTool(Location loc, StringRef program, ArrayRef<StringRef> arguments,
             TemporaryFiles &files,
             function_ref<StringRef(StringRef said)> advice) {
  FailureOr<std::string> log = files.make("log");
  if (failed(log))
    return failure();
  SmallVector<StringRef> all{program};
  all.append(arguments.begin(), arguments.end());
  std::optional<StringRef> redirects[] = {std::nullopt, StringRef(*log),
                                          StringRef(*log)};
  std::string message;
  int code = runToEnd(program, all, redirects, message);
  auto buffer = llvm::MemoryBuffer::getFile(*log);
  std::string said = buffer ? (*buffer)->getBuffer().str() : "";
  if (code == 0)
    return said;
  auto error = emitError(loc);
  if (code == -1)
    error << "'" << program << "' cannot be run";
  else if (code < 0)
    error << "'" << program << "' was ended by a signal";
  else
    error << "'" << program << "' ended with exit code " << code;
  for (StringRef text : {StringRef(message), StringRef(said)})
    if (!text.trim().empty())
      error << ": " << text.trim();
  if (StringRef more = advice ? advice(said) : StringRef(); !more.empty())
    error << "; " << more;
  return failure();
}
