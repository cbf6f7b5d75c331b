//===- DelayedDevice.h - a CPU that works when it is waited for -*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_RUNTIME_DELAYEDDEVICE_H
#define R1C_TESTS_RUNTIME_DELAYEDDEVICE_H

#include "runtime/device/cpu/Cpu.h"
#include <cstring>
#include <deque>

namespace r1c::runtime::test {

/// A device of any number of steps ahead. Commands run when something waits
/// for them, and none behind that: what is read or overwritten too early is
/// wrong every time.
class DelayedDevice : public Device {
public:
  DelayedDevice(int64_t threads, int64_t ahead)
      : cpu(makeCpuDevice(threads)), ahead(ahead) {}

  std::string describe() const override { return "delayed"; }
  int64_t workers() const override { return cpu->workers(); }
  int64_t memory() const override { return cpu->memory(); }
  char *allocate(int64_t bytes) override { return cpu->allocate(bytes); }
  std::unique_ptr<Executable> load(std::string_view image) override {
    return std::make_unique<Kernels>(cpu->load(image));
  }
  void upload(char *target, const void *source, int64_t bytes) override {
    std::string copy(static_cast<const char *>(source),
                     static_cast<size_t>(bytes));
    enqueue([=] { std::memcpy(target, copy.data(), copy.size()); });
  }
  void download(void *target, const char *source, int64_t bytes) override {
    synchronize();
    std::memcpy(target, source, static_cast<size_t>(bytes));
  }
  void copy(char *target, const char *source, int64_t bytes) override {
    enqueue([=] { std::memcpy(target, source, static_cast<size_t>(bytes)); });
  }
  void zero(char *target, int64_t bytes) override {
    enqueue([=] { std::memset(target, 0, static_cast<size_t>(bytes)); });
  }
  void dispatch(const Launch &launch) override {
    enqueue([this, own = static_cast<const Bound &>(launch).launch] {
      cpu->dispatch(*own);
    });
  }
  double time(const Launch &launch) override {
    synchronize();
    return cpu->time(*static_cast<const Bound &>(launch).launch);
  }

  std::unique_ptr<Mark> makeMark() override {
    return std::make_unique<Place>();
  }
  void mark(const Mark &mark) override {
    const auto &place = static_cast<const Place &>(mark);
    place.at = begun;
    place.number = ++marked;
  }
  void wait(const Mark &mark) override {
    const auto &place = static_cast<const Place &>(mark);
    mostBehind = std::max(mostBehind, marked - place.number);
    runUntil(place.at);
  }
  int64_t stepsAhead() const override { return ahead; }
  void fetch(char *target, const char *source, int64_t bytes) override {
    copy(target, source, bytes);
  }
  void synchronize() override { runUntil(begun); }

  /// The most marks that stood behind one that was waited for.
  int64_t mostBehind = 0;

private:
  /// A launch may go while it is under way.
  struct Bound : Launch {
    std::shared_ptr<Launch> launch;
  };
  struct Kernels : Executable {
    explicit Kernels(std::unique_ptr<Executable> own) : own(std::move(own)) {}
    std::unique_ptr<Launch> bind(const KernelInfo &kernel,
                                 std::span<const Operand> operands) override {
      auto bound = std::make_unique<Bound>();
      bound->launch = own->bind(kernel, operands);
      return bound;
    }
    std::unique_ptr<Executable> own;
  };
  struct Place : Mark {
    mutable int64_t at = 0, number = 0;
  };
  void enqueue(std::function<void()> command) {
    queued.push_back(std::move(command));
    ++begun;
  }
  void runUntil(int64_t number) {
    for (; done < number; ++done) {
      queued.front()();
      queued.pop_front();
    }
  }

  std::unique_ptr<Device> cpu;
  std::deque<std::function<void()>> queued;
  int64_t ahead, begun = 0, done = 0, marked = 0;
};

} // namespace r1c::runtime::test

#endif // R1C_TESTS_RUNTIME_DELAYEDDEVICE_H
