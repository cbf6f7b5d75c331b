//===- Loaded.cpp - kernels in this process -------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/cpu/Loaded.h"
#include "runtime/device/cpu/Amx.h"
#include "llvm/Support/TargetSelect.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace mlir;
using namespace r1c;
using namespace r1c::cpu;

static constexpr size_t guardBytes = 256;
static constexpr unsigned char guardByte = 0xa5;

static size_t guardedSize(size_t bytes) {
  return (bytes + 63) / 64 * 64 + guardBytes;
}

Buffer::Buffer(size_t bytes) : bytes(bytes) {
  start.reset(std::aligned_alloc(64, guardedSize(bytes)));
  std::memset(start.get(), guardByte, guardedSize(bytes));
}

bool Buffer::intact() const {
  auto *p = static_cast<unsigned char *>(start.get());
  for (size_t i = bytes; i < guardedSize(bytes); ++i)
    if (p[i] != guardByte)
      return false;
  return true;
}

std::vector<float> cpu::pack(const std::vector<float> &b, int64_t k,
                             int64_t n) {
  int64_t panels = (n + 31) / 32;
  std::vector<float> r(panels * k * 32, 0.0f);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < n; ++j)
      r[(j / 32 * k + i) * 32 + j % 32] = b[i * n + j];
  return r;
}

uint16_t cpu::toBf16(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  if (std::isnan(v))
    return (bits | 0x00400000u) >> 16;
  // The exact midpoint goes to the even neighbour.
  uint32_t rest = bits & 0xffff, kept = bits >> 16;
  if (rest > 0x8000 || (rest == 0x8000 && (kept & 1)))
    ++kept;
  return kept;
}

float cpu::fromBf16(uint16_t v) {
  uint32_t bits = uint32_t(v) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

std::vector<uint16_t> cpu::toBf16(const std::vector<float> &v) {
  std::vector<uint16_t> r;
  for (float x : v)
    r.push_back(toBf16(x));
  return r;
}

std::vector<float> cpu::fromBf16(const std::vector<uint16_t> &v) {
  std::vector<float> r;
  for (uint16_t x : v)
    r.push_back(fromBf16(x));
  return r;
}

std::vector<uint16_t> cpu::packBf16(const std::vector<uint16_t> &b, int64_t k,
                                    int64_t n) {
  int64_t panels = (n + 31) / 32, pairs = (k + 1) / 2;
  std::vector<uint16_t> r(panels * pairs * 64, 0);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < n; ++j)
      r[((j / 32 * pairs + i / 2) * 32 + j % 32) * 2 + i % 2] = b[i * n + j];
  return r;
}

FailureOr<std::unique_ptr<LoadedKernels>>
LoadedKernels::load(ModuleOp kernels, const TargetOptions &options) {
  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  runtime::allowAmx();
  auto code = buildKernels(kernels, options);
  if (failed(code))
    return failure();
  std::unique_ptr<LoadedKernels> loaded(new LoadedKernels);
  // Open for life: dlopen takes a second library of the same path, and so of
  // the same descriptor, for the first one.
  loaded->file = memfd_create("kernels", MFD_CLOEXEC);
  if (loaded->file < 0 || write(loaded->file, code->data(), code->size()) !=
                              static_cast<ssize_t>(code->size()))
    return kernels.emitError("cannot write the kernels to memory");
  std::string path = "/proc/self/fd/" + std::to_string(loaded->file);
  loaded->handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!loaded->handle)
    return kernels.emitError("cannot open the kernels: ") << dlerror();
  return loaded;
}

LoadedKernels::~LoadedKernels() {
  if (handle)
    dlclose(handle);
  if (file >= 0)
    close(file);
}

llvm::Error LoadedKernels::run(llvm::StringRef name,
                               llvm::ArrayRef<const Buffer *> buffers,
                               int64_t size, int64_t workers) const {
  auto *kernel = reinterpret_cast<void (*)(void *const *, int64_t, int64_t)>(
      dlsym(handle, name.str().c_str()));
  if (!kernel)
    return llvm::createStringError("there is no kernel '" + name + "'");
  std::vector<void *> arguments;
  for (const Buffer *b : buffers)
    arguments.push_back(b->data());
  if (size >= 0)
    arguments.push_back(&size);
  for (int64_t w = workers - 1; w >= 0; --w)
    kernel(arguments.data(), w, workers);
  for (size_t i = 0; i < buffers.size(); ++i)
    if (!buffers[i]->intact())
      return llvm::createStringError("kernel '" + name +
                                     "' wrote behind buffer " + llvm::Twine(i));
  return llvm::Error::success();
}
