//===- Profile.cpp - where a run's time goes ------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/telemetry/Profile.h"
#include "runtime/support/Error.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <numeric>
#include <utility>

namespace r1c::runtime {

namespace {

template <typename... Args>
std::string line(const char *format, Args... args) {
  char buffer[256];
  std::snprintf(buffer, sizeof buffer, format, args...);
  return buffer;
}

double sum(const Clock::Seconds &seconds) {
  return std::accumulate(seconds.begin(), seconds.end(), 0.0);
}

std::string row(const std::string &name, const Clock::Seconds &seconds,
                double total) {
  std::string text = line("%-20s", name.c_str());
  for (double each : seconds)
    text += line(" %9.3f", each);
  return text +
         line(" %9.3f %6.1f\n", sum(seconds), 100 * sum(seconds) / total);
}

} // namespace

double Profile::Entry::all() const { return sum(seconds); }

void Profile::add(size_t kernel, Part part, double seconds, int64_t rows) {
  const KernelInfo &info = manifest.kernels[kernel];
  Entry &entry = entries[kernel];
  entry.seconds[static_cast<size_t>(part)] += seconds;
  ++entry.calls;
  entry.flops += static_cast<double>(info.flopsPerRow) * rows;
  entry.bytes +=
      static_cast<double>(info.bytes) + double(info.bytesPerRow) * rows;
}

void Profile::addSeconds(const Clock::Seconds &seconds) {
  for (size_t i = 0; i < seconds.size(); ++i)
    rounds[i] += seconds[i];
}

std::string Profile::byPart() const {
  std::map<std::string, Clock::Seconds> kinds;
  Clock::Seconds kernels{};
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::string &name = manifest.kernels[i].name;
    Clock::Seconds &kind = kinds[name.substr(0, name.rfind('_'))];
    for (size_t part = 0; part < kind.size(); ++part) {
      kind[part] += entries[i].seconds[part];
      kernels[part] += entries[i].seconds[part];
    }
  }
  std::vector<std::pair<std::string, Clock::Seconds>> order(kinds.begin(),
                                                            kinds.end());
  std::sort(order.begin(), order.end(), [](const auto &a, const auto &b) {
    return sum(a.second) > sum(b.second);
  });
  std::string text = line("%-20s", "seconds");
  for (const char *part : partNames)
    text += line(" %9s", part);
  text += line(" %9s %6s\n", "all", "%");
  double total = sum(rounds);
  for (const auto &[name, seconds] : order)
    if (sum(seconds) > 0)
      text += row(name, seconds, total);
  Clock::Seconds host = rounds;
  for (size_t part = 0; part < host.size(); ++part)
    host[part] -= kernels[part];
  return text + row("everything else", host, total) +
         row("all", rounds, total) + "\n";
}

std::string Profile::byKernel() const {
  std::vector<size_t> order;
  for (size_t i = 0; i < entries.size(); ++i)
    if (entries[i].calls)
      order.push_back(i);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return entries[a].all() > entries[b].all();
  });
  std::string text =
      "   seconds      %     calls  us/call    GF/s    GB/s  kernel\n";
  for (size_t i : order) {
    const Entry &entry = entries[i];
    double seconds = entry.all();
    text += line("%10.3f  %5.1f  %8ld  %7.1f", seconds,
                 100 * seconds / sum(rounds), static_cast<long>(entry.calls),
                 1e6 * seconds / static_cast<double>(entry.calls));
    for (double amount : {entry.flops, entry.bytes})
      text += amount > 0 ? line(" %7.1f", 1e-9 * amount / seconds)
                         : line(" %7s", "");
    const KernelInfo &kernel = manifest.kernels[i];
    text += "  " + kernel.name;
    if (!kernel.what.empty())
      text += " " + kernel.what;
    if (!kernel.loc.empty())
      text += "  (" + kernel.loc + ")";
    text += "\n";
  }
  return text;
}

std::string Profile::report(const PassCounts &c) const {
  if (sum(rounds) == 0)
    return "no round was run: there is nothing to profile\n";
  auto number = [](int64_t n) { return static_cast<long long>(n); };
  std::string text = byPart();
  if (c.sampledRows)
    text += line("sampling: %lld rows run; %lld rows of prompts copied within "
                 "their group instead\n",
                 number(c.sampledRows), number(c.copiedPromptRows));
  if (c.discardedRows)
    text += line("sampling: %lld of these rows came behind the end of their "
                 "sequence, before the host had seen it\n",
                 number(c.discardedRows));
  if (c.chunks)
    text += line("scoring and training: %lld chunks, %lld rows, %lld tokens "
                 "scored; %lld rows of shared prompts not run again\n",
                 number(c.chunks), number(c.rows), number(c.targets),
                 number(c.sharedRows));
  if (c.updateChunks)
    text += line("backward: %lld of %lld chunks, %lld of %lld tokens; nothing "
                 "was learnt from the others\n",
                 number(c.learntChunks), number(c.updateChunks),
                 number(c.learntTargets), number(c.updateTargets));
  if (c.summedBytes)
    text += line("gradients summed over the ranks: %.1f MB in %.3f s, %.3f s "
                 "of which were waited for; all else is this rank's\n",
                 1e-6 * static_cast<double>(c.summedBytes), c.sumSeconds,
                 c.sumWaited);
  return text + "\n" + byKernel();
}

//===----------------------------------------------------------------------===//
// Trace
//===----------------------------------------------------------------------===//

Trace::Trace(const std::filesystem::path &place)
    : path(place), file(std::fopen(place.c_str(), "w")) {
  if (!file)
    throw Error(path.string(), ": ", std::strerror(errno));
  check(
      std::fputs("[{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":"
                 "{\"name\":\"r1c\"}},\n"
                 "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":2,"
                 "\"args\":{\"name\":\"between ranks\"}}",
                 file));
}

Trace::~Trace() {
  if (file)
    end();
}

std::string Trace::end() {
  check(std::fputs("\n]\n", file));
  check(std::fclose(std::exchange(file, nullptr)));
  return problem();
}

std::string Trace::flush() {
  check(std::fflush(file));
  return problem();
}

std::string Trace::problem() const {
  return reason ? concat(path.string(), ": the trace could not be written: ",
                         std::strerror(reason))
                : "";
}

void Trace::check(int written) {
  if (written < 0 && !reason)
    reason = errno;
}

void Trace::add(const std::string &name, const char *category, Time begin,
                const std::string &args, std::optional<double> seconds,
                Row row) {
  using Microseconds = std::chrono::duration<double, std::micro>;
  double lasted =
      seconds ? *seconds * 1e6
              : Microseconds(std::chrono::steady_clock::now() - begin).count();
  check(
      std::fprintf(file,
                   ",\n{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":1,"
                   "\"tid\":%d,\"ts\":%.2f,\"dur\":%.2f,\"args\":{%s}}",
                   name.c_str(), category, static_cast<int>(row),
                   Microseconds(begin - start).count(), lasted, args.c_str()));
}

} // namespace r1c::runtime
