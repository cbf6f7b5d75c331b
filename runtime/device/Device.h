//===- Device.h - the interface to a device ---------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DEVICE_DEVICE_H
#define R1C_RUNTIME_DEVICE_DEVICE_H

#include "runtime/artifact/Manifest.h"
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace r1c::runtime {

/// What a kernel is given for one of its operands.
struct Operand {
  char *address = nullptr;
  int64_t bytes = 0; ///< from there to the end of its buffer
};

/// A kernel with its operands, ready to be dispatched any number of times.
class Launch {
public:
  virtual ~Launch() = default;
};

/// Commands that were recorded, ready to be replayed any number of times.
class Recording {
public:
  virtual ~Recording() = default;
};

/// A place among a device's commands, for the host or other streams to wait
/// for.
class Mark {
public:
  virtual ~Mark() = default;
};

/// A loaded kernels.so or kernels.cubin; outlives its launches, and does not
/// outlive its device.
class Executable {
public:
  virtual ~Executable() = default;
  /// Binds a kernel to operands, in the order of the kernel ABI
  /// (docs/levels.md). Whatever a dispatch needs is made here: argument lists,
  /// parameter blocks, tensor maps. Throws r1c::Error if there is no such
  /// symbol, or the operands do not suit it.
  virtual std::unique_ptr<Launch> bind(const KernelInfo &kernel,
                                       std::span<const Operand> operands) = 0;
};

/// What executes kernels. Commands run in the order in which they are given,
/// and may still be under way when the call returns; the host sees their
/// results after `download` or `synchronize`. An error of a command may be
/// thrown by any later call.
///
/// Addresses are the device's own: the host does not read through them.
/// tests/runtime/ runs one conformance suite against every device.
class Device {
public:
  virtual ~Device() = default;

  virtual std::string describe() const = 0;
  /// Which one of the machine's it is.
  virtual std::string address() const { return ""; }
  /// Workers among which a kernel's work is divided: threads, multiprocessors.
  virtual int64_t workers() const = 0;
  /// Bytes that it has in all, whoever uses them.
  virtual int64_t memory() const = 0;
  /// Bytes of them that can be allocated now, as far as the device knows.
  virtual int64_t freeMemory() const { return memory(); }

  /// `bytes` of zeroed memory, 64-byte aligned and readable up to the next
  /// multiple of 64; freed with the device. Throws r1c::Error when there is
  /// not enough.
  virtual char *allocate(int64_t bytes) = 0;

  virtual std::unique_ptr<Executable> load(std::string_view image) = 0;

  /// `source` may be overwritten as soon as the call returns.
  virtual void upload(char *target, const void *source, int64_t bytes) = 0;
  /// Waits for all commands before it.
  virtual void download(void *target, const char *source, int64_t bytes) = 0;
  /// Source and target do not overlap.
  virtual void copy(char *target, const char *source, int64_t bytes) = 0;
  virtual void zero(char *target, int64_t bytes) = 0;
  virtual void dispatch(const Launch &launch) = 0;
  /// None of the kernels that follow has more rows than `most`, or 0: that is
  /// not known. It must be true: a device may have other kernels for few (a
  /// launch's `few_rows`), which compute no others. Where the result is the
  /// same, the same kernels are dispatched.
  virtual int64_t expectRows(int64_t most) { return 0; }

  /// Dispatches, waits, and gives the seconds that the kernel took.
  virtual double time(const Launch &launch) = 0;

  /// Null on a device whose commands are done when the call returns.
  virtual std::unique_ptr<Mark> makeMark() { return nullptr; }
  /// Puts the mark behind the commands so far.
  virtual void mark(const Mark &mark) {}
  /// Waits for the commands before the mark, and for none behind it.
  virtual void wait(const Mark &mark) {}

  /// How many further steps of a program the host should give before it looks
  /// at what a step has left, where it can: so many keep the device busy
  /// meanwhile. 0 where nothing is gained.
  virtual int64_t stepsAhead() const { return 0; }
  /// Memory of the host that `fetch` copies to. It must not outlive the device.
  virtual std::shared_ptr<char> hostMemory(int64_t bytes) {
    return {new char[static_cast<size_t>(bytes)](),
            std::default_delete<char[]>()};
  }
  /// As `download` without waiting: the bytes are there when a mark behind it
  /// has been waited for. `target` lies in `hostMemory`.
  virtual void fetch(char *target, const char *source, int64_t bytes) {
    download(target, source, bytes);
  }

  /// Records what `commands` asks for (copy, zero, dispatch and mark alone)
  /// without running it. Null, with `commands` not called, on a device that
  /// gains nothing by it.
  virtual std::unique_ptr<Recording>
  record(const std::function<void()> &commands) {
    return nullptr;
  }
  virtual void replay(const Recording &recording) {}

  virtual void synchronize() = 0;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DEVICE_DEVICE_H
