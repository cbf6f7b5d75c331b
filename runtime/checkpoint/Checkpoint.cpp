//===- Checkpoint.cpp - the state of a run between two rounds -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/Checkpoint.h"
#include "runtime/data/DataSet.h"
#include "runtime/support/Files.h"
#include <algorithm>
#include <cstdio>

namespace r1c::runtime {

namespace {

constexpr size_t keptCheckpoints = 2;

std::vector<fs::path> checkpointsIn(const fs::path &directory) {
  std::vector<fs::path> found;
  if (!fs::is_directory(directory))
    return found;
  for (const auto &entry : fs::directory_iterator(directory))
    if (entry.path().filename().string().rfind("round-", 0) == 0)
      found.push_back(entry.path());
  std::sort(found.begin(), found.end()); // names have a fixed width
  return found;
}

} // namespace

void Checkpoint::restore(const std::string &name, const Range &range) const {
  const Tensor &tensor = buffers.get(name);
  if (tensor.bytes != range.bytes)
    throw Error("checkpoint: buffer '", name, "' has ", tensor.bytes,
                " bytes, the artifact's ", range.bytes);
  range.device->upload(range.address, tensor.data, tensor.bytes);
}

fs::path
writeCheckpoint(const fs::path &directory, int64_t round, const Json &state,
                const std::vector<std::pair<std::string, Range>> &buffers) {
  char name[32];
  std::snprintf(name, sizeof name, "round-%08ld", static_cast<long>(round));
  fs::path path = directory / name;
  writeDirectoryAtomically(path, [&](const fs::path &temporary) {
    std::vector<TensorToWrite> tensors;
    for (const auto &[buffer, range] : buffers)
      tensors.push_back({buffer, "U8", {range.bytes}, {}, range});
    writeSafetensors(temporary / "state.safetensors", tensors);
    writeFile(temporary / "state.json", dumpJson(state, 1) + "\n");
  });
  // And what a killed process was writing.
  for (const auto &entry : fs::directory_iterator(directory))
    if (entry.path().filename().string().rfind(".round-", 0) == 0)
      fs::remove_all(entry.path());
  std::vector<fs::path> all = checkpointsIn(directory);
  for (size_t i = 0; i + keptCheckpoints < all.size(); ++i)
    fs::remove_all(all[i]);
  return path;
}

std::optional<fs::path> latestCheckpoint(const fs::path &directory) {
  std::vector<fs::path> all = checkpointsIn(directory);
  if (all.empty())
    return {};
  return all.back();
}

Checkpoint readCheckpoint(const fs::path &path) {
  fs::path file = path / "state.json";
  return {parseJson(readFile(file), file.string()),
          Safetensors(path / "state.safetensors")};
}

void readingLatest(const fs::path &path, const std::function<void()> &body) {
  try {
    body();
  } catch (const Error &error) {
    std::vector<fs::path> all = checkpointsIn(path.parent_path());
    auto at = std::find(all.begin(), all.end(), path);
    if (at == all.begin())
      throw Error(error.what(), "; there is no checkpoint before it: start "
                                "again in another --out");
    throw Error(error.what(), "; remove ", path.string(),
                ", and --resume goes on from ",
                std::prev(at)->filename().string());
  }
}

void reloadWritten(DataSet &data, const fs::path &file, int64_t lines,
                   bool cut) {
  std::string text = readFile(file);
  size_t at = 0;
  for (int64_t line = 1; line <= lines; ++line) {
    size_t end = text.find('\n', at);
    if (end == std::string::npos)
      throw Error(file.string(), ": has fewer lines than at the checkpoint");
    data.append(text.substr(at, end - at),
                concat(file.filename().string(), ":", line));
    at = end + 1;
  }
  if (cut && at != text.size())
    writeFileAtomically(file, std::string_view(text).substr(0, at));
}

} // namespace r1c::runtime
