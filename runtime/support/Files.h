//===- Files.h - files: whole reads, atomic writes --------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_SUPPORT_FILES_H
#define R1C_RUNTIME_SUPPORT_FILES_H

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace r1c::runtime {

namespace fs = std::filesystem;

std::string readFile(const fs::path &path);

/// Writes the whole file and has it on the disk before it returns.
void writeFile(const fs::path &path, std::string_view bytes);

/// The same piece by piece: `fill` calls `write` with what comes next.
void writeFile(const fs::path &path,
               const std::function<void(
                   const std::function<void(std::string_view)> &write)> &fill);

/// Writes beside `path` and renames: readers see the old file or the new one.
void writeFileAtomically(const fs::path &path, std::string_view bytes);

/// Fills a new directory through `fill` (which gets a temporary path), puts it
/// on the disk and renames it to `path`, replacing what was there.
void writeDirectoryAtomically(
    const fs::path &path, const std::function<void(const fs::path &)> &fill);

/// A directory that one process at a time works in; let go of when the process
/// ends, however it ends.
class DirectoryLock {
public:
  explicit DirectoryLock(const fs::path &directory);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock &) = delete;
  DirectoryLock &operator=(const DirectoryLock &) = delete;
  /// Throws where another process had it: two that write the same files would
  /// leave nothing of use.
  void requireFree() const;

private:
  fs::path directory;
  int file;
  bool taken;
};

/// 64-bit FNV-1a, to recognise a file; not against an adversary.
uint64_t fingerprint(std::string_view bytes,
                     uint64_t start = 0xcbf29ce484222325);

/// Where the relative paths of a step file begin.
struct Base {
  fs::path folder;
  /// What `folder` does not have may lie below the working directory: only
  /// where nobody has named the folder.
  bool orHere = false;
};

/// Where a path of the step file is: as it stands if absolute, else as `base`
/// says.
fs::path resolvePath(const std::string &path, const Base &base);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_SUPPORT_FILES_H
