//===- MemoryPlan.cpp - whether an artifact fits, and what makes it large -===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/artifact/MemoryPlan.h"
#include "runtime/support/Error.h"
#include <algorithm>
#include <cstdio>
#include <cstring>

namespace r1c::runtime {

std::string bytesText(double bytes, double (*round)(double)) {
  const char *units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < std::size(units); ++unit)
    bytes /= 1024;
  char text[32];
  if (bytes < 10)
    std::snprintf(text, sizeof text, "%.1f %s", round(bytes * 10) / 10,
                  units[unit]);
  else
    std::snprintf(text, sizeof text, "%.0f %s", round(bytes), units[unit]);
  return text;
}

/// Which words of the step file an arena's size comes from.
static std::string causeOf(const Manifest &manifest, const std::string &arena) {
  auto endsWith = [&](const std::string &end) {
    return arena.size() > end.size() &&
           arena.compare(arena.size() - end.size(), end.size(), end) == 0;
  };
  if (arena == "activations")
    return "context, and layers, hidden, intermediate of what is trained; "
           "--chunk-rows of r1c, but for what sampling takes";
  if (arena == "tables")
    return "groups, group_size, max_new_tokens; context";
  if (endsWith(".rollout.memory")) {
    // Of how many sequences keys and values are held.
    std::string cause = "context, layers, kv_heads", policy = arena;
    policy.resize(policy.size() - std::strlen(".rollout.memory"));
    for (const Json &entry : manifest.json.value("policies", Json::array()))
      if (entry.value("name", "") == policy && entry.contains("rollout"))
        cause += concat("; ", entry["rollout"].value("slots", int64_t(0)),
                        " sequences at once");
    return cause;
  }
  if (endsWith(".memory"))
    return "layers, hidden, intermediate, and the size of the vocabulary";
  return "";
}

static std::string row(const std::string &name, int64_t bytes,
                       const std::string &note) {
  char text[256];
  std::snprintf(text, sizeof text, "\n  %-40s %10s  %s", name.c_str(),
                bytesText(static_cast<double>(bytes)).c_str(), note.c_str());
  return text;
}

void requireMemory(const Manifest &manifest, int64_t limit,
                   const std::string &offered, const std::string &advice) {
  std::vector<ArenaInfo> arenas = manifest.arenas;
  int64_t total = 0;
  for (const ArenaInfo &arena : arenas)
    total += std::min(arena.bytes, mostMemory);
  if (total <= limit)
    return;

  auto larger = [](const auto &a, const auto &b) {
    return a.bytes != b.bytes ? a.bytes > b.bytes : a.name < b.name;
  };
  std::sort(arenas.begin(), arenas.end(), larger);
  std::vector<BufferInfo> buffers = manifest.buffers;
  std::sort(buffers.begin(), buffers.end(), larger);

  std::string table = "\n arenas, and what makes them large";
  for (const ArenaInfo &arena : arenas)
    if (arena.bytes >= total / 100)
      table += row(arena.name, arena.bytes, causeOf(manifest, arena.name));
  table += "\n the largest buffers, and where they come from";
  for (size_t i = 0; i < std::min<size_t>(8, buffers.size()); ++i)
    table += row(buffers[i].name, buffers[i].bytes, buffers[i].loc);
  // Rounded apart: what is needed must read as more than what is offered.
  throw Error("needs ", bytesText(static_cast<double>(total), std::ceil),
              " of memory, and ", offered, " offers ",
              bytesText(static_cast<double>(limit), std::floor), ", ",
              bytesText(static_cast<double>(total - limit), std::ceil),
              " too little: ", advice, table);
}

} // namespace r1c::runtime
