//===- Device.h - the interface to a device ---------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DEVICE_DEVICE_H
#define R1C_RUNTIME_DEVICE_DEVICE_H

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace r1c::runtime {

/// A kernel of a loaded executable, ready to be dispatched.
struct Kernel {
  void *entry = nullptr;
};

/// A loaded kernels.so (or cubin); must outlive its kernels' dispatches.
class Executable {
public:
  virtual ~Executable() = default;
  /// Throws r1c::Error if there is no such symbol.
  virtual Kernel find(const std::string &symbol) = 0;
};

/// What executes kernels. Commands run in the order in which they are given;
/// the host may only look at memory after `download` or `synchronize`.
///
/// Addresses are the device's own: the host does not read through them.
/// tests/runtime/ runs one conformance suite against every device.
class Device {
public:
  virtual ~Device() = default;

  virtual std::string describe() const = 0;
  /// Workers among which a kernel's work is divided.
  virtual int64_t workers() const = 0;
  /// Bytes that it has in all, whoever uses them.
  virtual int64_t memory() const = 0;

  /// `bytes` of zeroed memory, 64-byte aligned and readable up to the next
  /// multiple of 64; freed with the device. Throws r1c::Error when there is
  /// not enough.
  virtual char *allocate(int64_t bytes) = 0;

  virtual std::unique_ptr<Executable> load(std::string_view image) = 0;

  virtual void upload(char *target, const void *source, int64_t bytes) = 0;
  virtual void download(void *target, const char *source, int64_t bytes) = 0;
  /// Source and target do not overlap.
  virtual void copy(char *target, const char *source, int64_t bytes) = 0;
  virtual void zero(char *target, int64_t bytes) = 0;

  /// Runs a kernel with the ABI of docs/levels.md: `args[i]` is the start of
  /// its i-th buffer. `args` must stay valid until the next synchronize.
  virtual void dispatch(const Kernel &kernel, void *const *args) = 0;

  virtual void synchronize() = 0;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DEVICE_DEVICE_H
