//===- CommandLine.cpp - the options of a run -----------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/tools/CommandLine.h"
#include "runtime/artifact/MemoryPlan.h"
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <fcntl.h>
#include <unistd.h>

namespace r1c::runtime {

/// As in a step file: numbers that float64 counts exactly.
static constexpr int64_t mostSteps = 9'000'000'000'000'000;

/// A whole number within bounds. CLI11 itself takes one that is too large for
/// the largest there is.
template <typename T>
static CLI::Validator whole(T least, T most) {
  return CLI::Validator(
      [least, most](std::string &text) -> std::string {
        T value;
        const char *end = text.data() + text.size();
        auto [rest, code] = std::from_chars(text.data(), end, value);
        if (code == std::errc() && rest == end && value >= least &&
            value <= most)
          return "";
        return concat("'", text, "' is not a whole number from ", least, " to ",
                      most);
      },
      "");
}

/// What a clock can wait for: CLI11's own check takes "nan", and prints the
/// largest double for what it refuses.
static std::string notSeconds(std::string &text) {
  double value;
  const char *end = text.data() + text.size();
  auto [rest, code] = std::from_chars(text.data(), end, value);
  if (code == std::errc() && rest == end && value > 0 && value <= 1e9)
    return "";
  return concat("'", text, "' is not a number of seconds above 0, up to 1e9");
}

/// Replaces "1.5G", "16 GiB" or "1e9" by a whole number of bytes.
static std::string asBytes(std::string &text) {
  double value = 0;
  const char *end = text.data() + text.size();
  auto [rest, code] = std::from_chars(text.data(), end, value);
  std::string unit(rest, end);
  std::erase(unit, ' ');
  std::transform(unit.begin(), unit.end(), unit.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  const std::string prefixes = "kmgtp";
  size_t power = unit.empty() ? std::string::npos : prefixes.find(unit[0]);
  if (power != std::string::npos) {
    value *= std::pow(1024.0, power + 1);
    unit.erase(0, 1);
  }
  bool isUnit = unit.empty() || unit == "b" ||
                (unit == "ib" && power != std::string::npos);
  if (code != std::errc() || !isUnit || !(value >= 1 && value <= mostMemory))
    return concat("'", text, "' is not a size from 1 byte to ",
                  bytesText(mostMemory), ": write 16G, 1.5G or 500M");
  text = std::to_string(static_cast<int64_t>(value));
  return "";
}

void keepStandardFiles() {
  for (int file : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(file, F_GETFD) < 0)
      ::open("/dev/null", O_RDWR); // takes the lowest number that is free
}

int exitStatus(const CLI::App &app, const CLI::ParseError &error) {
  return app.exit(error) == 0 ? 0 : 1;
}

void addMemoryOption(CLI::App &app, uint64_t &bytes, const std::string &help) {
  app.add_option("--memory", bytes, help)
      ->type_name("SIZE")
      ->transform(CLI::Validator(asBytes, ""));
}

void addRunOptions(CLI::App &app, RunOptions &options) {
  app.add_option("--out", options.out, "directory of the results; created")
      ->required()
      ->type_name("DIR")
      ->check(CLI::Validator(
          [](const std::string &path) {
            return path.empty() ? "a directory has a name" : "";
          },
          ""));
  app.add_option_function<int64_t>(
         "--steps", [&](const int64_t &value) { options.steps = value; },
         "updates of each stage that counts steps, instead of its own number")
      ->type_name("N")
      ->check(whole<int64_t>(0, mostSteps));
  app.add_option_function<uint64_t>(
         "--seed", [&](const uint64_t &value) { options.seed = value; },
         "what all random numbers are drawn from (default 0)")
      ->type_name("N")
      ->check(whole<uint64_t>(0, UINT64_MAX));
  app.add_option("--threads", options.threads,
                 "worker threads (default R1C_THREADS, else all cores)")
      ->type_name("N")
      ->check(whole<int64_t>(1, 4096));
  addMemoryOption(app, options.memory,
                  "bytes that the buffers may take: 16G (default: what the "
                  "machine has)");
  app.add_option("--checkpoint-every", options.checkpointEvery,
                 "updates between checkpoints; 0: only at the end")
      ->type_name("N")
      ->check(whole<int64_t>(0, mostSteps))
      ->capture_default_str();
  app.add_flag("--resume", options.resume,
               "continue the run in --out from its last checkpoint");
  app.add_option_function<std::vector<std::string>>(
         "--set",
         [&](const std::vector<std::string> &list) {
           for (const std::string &text : list) {
             size_t at = text.find('=');
             if (at == std::string::npos || at == 0 || at + 1 == text.size())
               throw CLI::ValidationError("--set",
                                          "'" + text + "' is not NAME=VALUE");
             options.params.emplace_back(text.substr(0, at),
                                         text.substr(at + 1));
           }
         },
         "value of an open param of the step file")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->take_all();
  app.add_option("--collective-timeout", options.collectiveTimeout,
                 "seconds after which a run of several ranks ends, with an "
                 "error that says where, when one of them does not arrive")
      ->type_name("SECONDS")
      ->check(CLI::Validator(notSeconds, ""))
      ->capture_default_str();
  app.add_flag("--quiet", options.quiet, "no progress, no summary");
  app.add_flag("--profile", options.profile,
               "where the time goes, at the end: by part of the round, by "
               "kernel");
  app.add_option(
         "--trace", options.trace,
         "a trace of each stage's first 3 rounds, which ui.perfetto.dev "
         "opens")
      ->type_name("FILE");
}

} // namespace r1c::runtime
