//===- Cpu.cpp - the CPU as a device --------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cpu/Cpu.h"
#include "runtime/device/Elf.h"
#include "runtime/device/cpu/Amx.h"
#include "runtime/device/cpu/ThreadPool.h"
#include "runtime/support/Error.h"
#include <cerrno>
#include <chrono>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <set>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace r1c::runtime {

namespace {

/// What does not stay in a cache is written past them: bytes that memset would
/// first read. `start` is a multiple of 64.
void clear(char *start, size_t bytes) {
#if defined(__SSE2__)
  for (; bytes >= 64; start += 64, bytes -= 64)
    for (int i = 0; i < 64; i += 16)
      _mm_stream_si128(reinterpret_cast<__m128i *>(start + i),
                       _mm_setzero_si128());
  _mm_sfence();
#endif
  std::memset(start, 0, bytes);
}

/// A worker's share, whole lines; args: the start, and the end.
void clearShare(void *const *args, int64_t worker, int64_t workers) {
  auto *start = static_cast<char *>(args[0]);
  int64_t bytes = static_cast<char *>(args[1]) - start;
  auto from = [&](int64_t share) {
    return share == workers ? bytes : bytes / 64 * share / workers * 64;
  };
  clear(start + from(worker),
        static_cast<size_t>(from(worker + 1) - from(worker)));
}

struct CpuLaunch : Launch {
  ThreadPool::Function function;
  std::vector<void *> args;
};

class CpuExecutable : public Executable {
public:
  explicit CpuExecutable(std::string_view image) {
    // dlopen maps what the headers say, and dies of a signal where the file
    // ends before that.
    checkElf(image, "kernels.so", ElfKind::library);
    // dlopen wants a file: an anonymous one in memory needs no directory that
    // is writable and executable, and leaves nothing behind.
    int file = ::memfd_create("r1c-kernels", MFD_CLOEXEC);
    if (file < 0)
      throw Error("kernels.so: memfd_create: ", std::strerror(errno));
    std::string_view rest = image;
    while (!rest.empty()) {
      ssize_t written = ::write(file, rest.data(), rest.size());
      if (written < 0 && errno == EINTR)
        continue;
      if (written <= 0) {
        int reason = errno;
        ::close(file);
        throw Error("kernels.so: ", std::strerror(reason));
      }
      rest.remove_prefix(static_cast<size_t>(written));
    }
    std::string path = concat("/proc/self/fd/", file);
    handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    std::string reason = handle ? "" : ::dlerror();
    ::close(file);
    if (!handle) {
      // The descriptor's path says nothing to anybody.
      if (size_t at = reason.find(path); at == 0)
        reason.erase(0, path.size() + 2);
      throw Error("kernels.so cannot be loaded: ", reason);
    }
  }
  ~CpuExecutable() override { ::dlclose(handle); }

  std::unique_ptr<Launch> bind(const KernelInfo &kernel,
                               std::span<const Operand> operands) override {
    void *entry = ::dlsym(handle, kernel.symbol.c_str());
    if (!entry)
      throw Error("kernels.so has no symbol '", kernel.symbol, "'");
    auto launch = std::make_unique<CpuLaunch>();
    launch->function = reinterpret_cast<ThreadPool::Function>(entry);
    for (const Operand &operand : operands)
      launch->args.push_back(operand.address);
    return launch;
  }

private:
  void *handle;
};

class CpuDevice : public Device {
public:
  explicit CpuDevice(int64_t threads) : pool(threads) { allowAmx(); }
  ~CpuDevice() override {
    for (auto [start, bytes] : blocks)
      ::munmap(start, bytes);
  }

  std::string describe() const override {
    return concat("cpu, ", pool.size(),
                  pool.size() == 1 ? " thread" : " threads");
  }
  int64_t workers() const override { return pool.size(); }

  int64_t memory() const override { return cpuMemory(); }

  char *allocate(int64_t bytes) override {
    // Fresh pages are zero, page aligned, and cost nothing until touched. The
    // extra line keeps reads behind a buffer of full pages harmless.
    size_t size = (static_cast<size_t>(bytes) + 64 + 4095) / 4096 * 4096;
    void *start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
      throw Error("cannot allocate ", bytes, " bytes: ", std::strerror(errno));
    ::madvise(start, size, MADV_HUGEPAGE);
    blocks.push_back({start, size});
    return static_cast<char *>(start);
  }

  std::unique_ptr<Executable> load(std::string_view image) override {
    return std::make_unique<CpuExecutable>(image);
  }

  void upload(char *target, const void *source, int64_t bytes) override {
    std::memcpy(target, source, static_cast<size_t>(bytes));
  }
  void download(void *target, const char *source, int64_t bytes) override {
    std::memcpy(target, source, static_cast<size_t>(bytes));
  }
  void copy(char *target, const char *source, int64_t bytes) override {
    std::memcpy(target, source, static_cast<size_t>(bytes));
  }
  void zero(char *target, int64_t bytes) override {
    // Gradients of a whole model; less is soon read again.
    constexpr int64_t large = 16 << 20;
    if (bytes < large || reinterpret_cast<uintptr_t>(target) % 64 != 0)
      return void(std::memset(target, 0, static_cast<size_t>(bytes)));
    void *const args[] = {target, target + bytes};
    pool.run(clearShare, args);
  }
  void dispatch(const Launch &launch) override {
    const auto &own = static_cast<const CpuLaunch &>(launch);
    pool.run(own.function, own.args.data());
  }
  double time(const Launch &launch) override {
    auto begin = std::chrono::steady_clock::now();
    dispatch(launch);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() -
                                         begin)
        .count();
  }
  void synchronize() override {}

private:
  ThreadPool pool;
  std::vector<std::pair<void *, size_t>> blocks;
};

} // namespace

int64_t cpuMemory() {
  int64_t bytes =
      static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  // A container may be given less than the machine has; "max" is no number.
  std::ifstream file("/sys/fs/cgroup/memory.max");
  int64_t limit;
  return file >> limit ? std::min(bytes, limit) : bytes;
}

std::unique_ptr<Device> makeCpuDevice(int64_t threads) {
  return std::make_unique<CpuDevice>(threads > 0 ? threads
                                                 : ThreadPool::defaultSize());
}

std::string missingCpuFeatures(const std::string &features) {
  std::set<std::string> have;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("flags", 0) != 0)
      continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    for (std::string word; words >> word;) {
      // Linux writes avx512_bf16 where LLVM writes avx512bf16.
      std::erase(word, '_');
      have.insert(word);
    }
    break;
  }
  if (have.empty())
    return {};
  std::string missing;
  std::istringstream list(features);
  for (std::string feature; std::getline(list, feature, ',');) {
    // Only the large vector extensions: their names agree between LLVM and
    // Linux, and they are what is missing in practice.
    std::string name = feature.empty() ? "" : feature.substr(1);
    std::erase(name, '-');
    bool isTiles = name == "amxtile" || name == "amxbf16";
    bool asked = feature[0] == '+' && (name == "avx" || name == "avx2" ||
                                       isTiles || name.rfind("avx512", 0) == 0);
    if (asked && (!have.count(name) || (isTiles && !allowAmx())))
      missing += (missing.empty() ? "" : ", ") + feature.substr(1);
  }
  return missing;
}

} // namespace r1c::runtime
