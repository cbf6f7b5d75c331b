//===- Loaded.h - kernels in this process -----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Compiles kernel functions and calls them here, for tools and tests that hold
// what kernels give against the interpreter.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TARGET_CPU_LOADED_H
#define R1C_COMPILER_TARGET_CPU_LOADED_H

#include "compiler/target/cpu/Cpu.h"
#include "llvm/Support/Error.h"

#include <cstring>
#include <memory>

namespace r1c::cpu {

/// A buffer as kernels want them: 64-byte aligned, readable to the next
/// multiple of 64 bytes, and guarded behind by bytes that must not change.
class Buffer {
public:
  explicit Buffer(size_t bytes);
  template <typename T>
  static Buffer of(const std::vector<T> &values) {
    Buffer b(values.size() * sizeof(T));
    std::memcpy(b.data(), values.data(), values.size() * sizeof(T));
    return b;
  }
  /// All bits of an unlikely NaN: what no kernel writes must not pass for a
  /// result.
  static Buffer poisoned(size_t bytes) {
    Buffer b(bytes);
    std::memset(b.data(), 0xff, bytes);
    return b;
  }
  template <typename T>
  static Buffer poisoned(size_t count) {
    return poisoned(count * sizeof(T));
  }
  template <typename T>
  std::vector<T> values() const {
    std::vector<T> v(bytes / sizeof(T));
    std::memcpy(v.data(), data(), v.size() * sizeof(T));
    return v;
  }
  void *data() const { return start.get(); }
  size_t size() const { return bytes; }
  /// Whether nothing was written behind the end.
  bool intact() const;

private:
  struct Free {
    void operator()(void *p) const { std::free(p); }
  };
  size_t bytes;
  std::unique_ptr<void, Free> start;
};

/// K x N row-major -> panels, by the definition of !kern.packed.
std::vector<float> pack(const std::vector<float> &b, int64_t k, int64_t n);
/// `pack` in bfloat16, where two rows lie side by side.
std::vector<uint16_t> packBf16(const std::vector<uint16_t> &b, int64_t k,
                               int64_t n);

/// The nearest bfloat16, ties to even, as its bits; and back.
uint16_t toBf16(float v);
float fromBf16(uint16_t v);
std::vector<uint16_t> toBf16(const std::vector<float> &v);
std::vector<float> fromBf16(const std::vector<uint16_t> &v);

/// The kernels of a module, loaded.
class LoadedKernels {
public:
  /// Errors are diagnostics.
  static mlir::FailureOr<std::unique_ptr<LoadedKernels>>
  load(mlir::ModuleOp kernels, const TargetOptions &options);
  ~LoadedKernels();

  /// Runs all workers' shares, one after the other in an odd order.
  /// `size`: rows or sequences; negative: the kernel has none.
  llvm::Error run(llvm::StringRef name, llvm::ArrayRef<const Buffer *> buffers,
                  int64_t size, int64_t workers = 1) const;

private:
  LoadedKernels() = default;
  void *handle = nullptr;
  int file = -1;
};

} // namespace r1c::cpu

#endif // R1C_COMPILER_TARGET_CPU_LOADED_H
