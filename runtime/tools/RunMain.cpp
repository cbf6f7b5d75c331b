//===- RunMain.cpp - running an artifact, errors as one line --------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/execute/Session.h"
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <new>

namespace r1c::runtime {

int runMain(RunOptions options) {
  std::string text;
  try {
    Session session(std::move(options));
    std::signal(SIGINT, [](int) {
      Session::interrupt();
      std::signal(SIGINT, SIG_DFL);
    });
    bool done = session.run();
    std::signal(SIGINT, SIG_DFL);
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
  std::fprintf(stderr, "error: %s\n", text.c_str());
  return 1;
}

} // namespace r1c::runtime
