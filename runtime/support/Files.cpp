//===- Files.cpp - files: whole reads, atomic writes ----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/Files.h"
#include "runtime/support/Error.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sys/file.h>
#include <unistd.h>
#include <utility>

namespace r1c::runtime {

std::string readFile(const fs::path &path) {
  std::error_code code;
  if (fs::is_directory(path, code))
    throw Error(path.string(), ": is a directory");
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file)
    throw Error(path.string(), ": ", std::strerror(errno));
  std::string bytes(static_cast<size_t>(file.tellg()), '\0');
  file.seekg(0);
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file)
    throw Error(path.string(), ": cannot be read");
  return bytes;
}

void writeFile(const fs::path &path,
               const std::function<void(
                   const std::function<void(std::string_view)> &write)> &fill) {
  struct File {
    int descriptor;
    ~File() {
      if (descriptor >= 0)
        ::close(descriptor);
    }
  } file{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
  auto fail = [&] { throw Error(path.string(), ": ", std::strerror(errno)); };
  if (file.descriptor < 0)
    fail();
  fill([&](std::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t written = ::write(file.descriptor, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR)
        continue;
      if (written < 0)
        fail();
      bytes.remove_prefix(static_cast<size_t>(written));
    }
  });
  // A rename is only atomic against a crash if the bytes were there before it.
  // A pipe or a device has nothing to sync.
  if (::fsync(file.descriptor) != 0 && errno != EINVAL)
    fail();
  if (::close(std::exchange(file.descriptor, -1)) != 0)
    fail();
}

void writeFile(const fs::path &path, std::string_view bytes) {
  writeFile(path, [&](const std::function<void(std::string_view)> &write) {
    write(bytes);
  });
}

static void syncDirectory(const fs::path &path) {
  int directory = ::open(path.empty() ? "." : path.c_str(),
                         O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0)
    return;
  ::fsync(directory);
  ::close(directory);
}

static fs::path temporaryBeside(const fs::path &path) {
  return path.parent_path() /
         concat(".", path.filename().string(), ".tmp-", ::getpid());
}

namespace {

/// What a write that failed half way leaves would fill the disk further.
struct Temporary {
  fs::path path;
  ~Temporary() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

} // namespace

void writeFileAtomically(const fs::path &path, std::string_view bytes) {
  // A device or a pipe is written to; a rename would replace it for everyone.
  std::error_code code;
  if (fs::exists(path, code) && !fs::is_regular_file(path, code))
    return writeFile(path, bytes);
  Temporary temporary{temporaryBeside(path)};
  try {
    writeFile(temporary.path, bytes);
    fs::rename(temporary.path, path);
  } catch (const fs::filesystem_error &error) {
    throw Error(path.string(), ": ", error.code().message());
  }
  syncDirectory(path.parent_path());
}

void writeDirectoryAtomically(
    const fs::path &path, const std::function<void(const fs::path &)> &fill) {
  try {
    if (path.has_parent_path())
      fs::create_directories(path.parent_path());
    Temporary guard{temporaryBeside(path)};
    const fs::path &temporary = guard.path;
    fs::remove_all(temporary);
    fs::create_directory(temporary);
    fill(temporary);
    syncDirectory(temporary);
    if (fs::exists(path)) {
      // rename cannot replace a directory that is not empty.
      fs::path old = temporary;
      old += ".old";
      fs::remove_all(old);
      fs::rename(path, old);
      fs::rename(temporary, path);
      fs::remove_all(old);
    } else {
      fs::rename(temporary, path);
    }
    syncDirectory(path.parent_path());
  } catch (const fs::filesystem_error &error) {
    throw Error(path.string(), ": ", error.code().message());
  }
}

DirectoryLock::DirectoryLock(const fs::path &directory)
    : directory(directory),
      file(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
      taken(file >= 0 && ::flock(file, LOCK_EX | LOCK_NB) != 0 &&
            errno == EWOULDBLOCK) {}

DirectoryLock::~DirectoryLock() {
  if (file >= 0)
    ::close(file);
}

void DirectoryLock::requireFree() const {
  if (taken)
    throw Error(directory.string(), ": another process is running in it");
}

uint64_t fingerprint(std::string_view bytes, uint64_t start) {
  for (unsigned char byte : bytes)
    start = (start ^ byte) * 0x100000001b3;
  return start;
}

fs::path resolvePath(const std::string &path, const Base &base) {
  // An absolute path stands for itself.
  fs::path below = base.folder / path;
  std::error_code code;
  // Beside the step file first: a run should not depend on where it is started.
  if (base.orHere && !fs::exists(below, code) && fs::exists(path, code))
    return path;
  return below;
}

} // namespace r1c::runtime
