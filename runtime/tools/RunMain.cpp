//===- RunMain.cpp - running an artifact, errors as one line --------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/collective/mpi/Open.h"
#include "runtime/execute/Session.h"
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <new>

namespace r1c::runtime {

int runMain(RunOptions options) {
  std::string text;
  std::shared_ptr<Collective> ranks;
  try {
    if (!options.ranks)
      options.ranks = openRanks(options.collectiveTimeout);
    ranks = options.ranks;
    Session session(std::move(options));
    // A launcher passes SIGUSR1 on to all ranks, and ends them at Ctrl-C.
    std::vector<int> signals = {SIGINT, SIGTERM};
    if (ranks->size() > 1)
      signals.push_back(SIGUSR1);
    for (int each : signals)
      std::signal(each, [](int signal) {
        Session::interrupt();
        std::signal(signal, SIG_DFL);
      });
    bool done = session.run();
    for (int each : signals)
      std::signal(each, SIG_DFL);
    return done ? 0 : 130;
  } catch (const Error &error) {
    text = error.what();
  } catch (const std::filesystem::filesystem_error &error) {
    text = error.path1().string() + ": " + error.code().message();
  } catch (const std::bad_alloc &) {
    text = "out of memory";
  } catch (const std::exception &error) {
    text = std::string("internal error: ") + error.what();
  }
  if (ranks)
    ranks->fail(text);
  std::fprintf(stderr, "error: %s\n", text.c_str());
  return 1;
}

} // namespace r1c::runtime
