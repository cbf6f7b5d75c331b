//===- Cuda.cpp - an NVIDIA GPU as a device -------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Cuda.h"
#include "runtime/device/cuda/Launch.h"
#include "runtime/device/cuda/Staging.h"
#include "runtime/support/Error.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>

namespace r1c::runtime {

namespace {

using namespace cuda;

DevicePointer pointer(const char *address) {
  return reinterpret_cast<DevicePointer>(address);
}

class CudaRecording : public Recording {
public:
  CudaRecording(std::shared_ptr<const Driver> driver, Graph graph)
      : driver(std::move(driver)) {
    Result result = this->driver->cuGraphInstantiateWithFlags(&exec, graph, 0);
    this->driver->cuGraphDestroy(graph);
    this->driver->check(result, "cannot record commands");
  }
  ~CudaRecording() override { driver->cuGraphExecDestroy(exec); }

  std::shared_ptr<const Driver> driver;
  GraphExec exec = nullptr;
  int64_t launches = 0;
  std::string name; ///< of its first kernel
};

class CudaMark : public Mark {
public:
  explicit CudaMark(std::shared_ptr<const Driver> driver)
      : driver(std::move(driver)) {
    this->driver->check(this->driver->cuEventCreate(&event, eventNoTiming),
                        "gives no event");
  }
  ~CudaMark() override { driver->cuEventDestroy_v2(event); }

  std::shared_ptr<const Driver> driver;
  Event event = nullptr;
  /// Stretches of kernels that end at or before it.
  mutable int64_t stretches = 0;
};

/// Kernels that were launched and that the host has not waited for, in the
/// stretches that marks end: so that a fault is blamed on few.
class Unfinished {
public:
  void note(const std::string &name, int64_t count) {
    if (stretches.back().count == 0)
      stretches.back().first = name;
    stretches.back().count += count;
  }
  /// How many stretches have ended when a mark is put here.
  int64_t end() {
    if (stretches.back().count > 0)
      stretches.emplace_back();
    return done + static_cast<int64_t>(stretches.size()) - 1;
  }
  /// So many stretches are known to be over.
  void finish(int64_t ended) {
    for (; done < ended; ++done)
      stretches.pop_front();
  }
  void finish() { finish(end()); }
  int64_t count() const {
    int64_t sum = 0;
    for (const Stretch &stretch : stretches)
      sum += stretch.count;
    return sum;
  }
  /// The name of the first; empty if there is none.
  const std::string &first() const { return stretches.front().first; }

private:
  struct Stretch {
    std::string first;
    int64_t count = 0;
  };
  std::deque<Stretch> stretches{1}; ///< the last one goes on
  int64_t done = 0;                 ///< stretches that were before them
};

/// "sm_90a" -> 90; 0 for what is no architecture.
int capabilityOf(const std::string &architecture) {
  if (architecture.rfind("sm_", 0) != 0)
    return 0;
  return std::atoi(architecture.c_str() + 3);
}

/// The context of a GPU that has been found fit.
class CudaContext {
public:
  CudaContext(const std::string &architecture, int64_t localRank)
      : driver(openDriver()) {
    int count = 0;
    driver->check(driver->cuDeviceGetCount(&count), "driver counts no device");
    if (count == 0)
      throw Error("compiled for a GPU, and this machine has none that can be "
                  "seen (CUDA_VISIBLE_DEVICES may hide it)");
    driver->check(
        driver->cuDeviceGet(&device, static_cast<int>(localRank % count)),
        "cannot be had");
    char text[256] = "";
    driver->check(driver->cuDeviceGetName(text, sizeof text, device),
                  "has no name");
    name = text;
    int major = attribute(capabilityMajor), minor = attribute(capabilityMinor);
    int wanted = capabilityOf(architecture);
    // What ends in 'a' runs on this very capability alone.
    if (10 * major + minor != wanted)
      throw Error("compiled for ", architecture,
                  ", a GPU of compute capability ", wanted / 10, ".",
                  wanted % 10, ", and the one here, ", name, ", has ", major,
                  ".", minor);
    multiprocessors = attribute(multiprocessorCount);
    driver->check(driver->cuDevicePrimaryCtxRetain(&context, device),
                  "cannot be opened");
    Result current = driver->cuCtxSetCurrent(context);
    if (current == success)
      current = driver->cuStreamCreate(&stream, streamNonBlocking);
    if (current != success) {
      driver->cuDevicePrimaryCtxRelease_v2(device);
      driver->check(current, "cannot be used");
    }
  }
  ~CudaContext() {
    driver->cuStreamDestroy_v2(stream);
    driver->cuDevicePrimaryCtxRelease_v2(device);
  }
  CudaContext(const CudaContext &) = delete;
  CudaContext &operator=(const CudaContext &) = delete;

  int attribute(int which) const {
    int value = 0;
    driver->check(driver->cuDeviceGetAttribute(&value, which, device),
                  "does not say what it is");
    return value;
  }

  std::shared_ptr<const Driver> driver;
  std::string name;
  int64_t multiprocessors = 0;
  int device = 0;
  Context context = nullptr;
  Stream stream = nullptr;
};

class CudaDevice : public Device {
public:
  CudaDevice(const std::string &architecture, int64_t localRank)
      : context(architecture, localRank), driver(*context.driver),
        stream(context.stream), staging(driver, stream) {
    const char *wait = std::getenv("R1C_CUDA_SYNC");
    waitForEach = wait && *wait && std::strcmp(wait, "0") != 0;
    for (Event &event : timer)
      driver.check(driver.cuEventCreate(&event, 0), "gives no event");
  }
  ~CudaDevice() override {
    // Whatever fails here has failed before, or hurts nobody.
    driver.cuStreamSynchronize(stream);
    for (Event event : timer)
      driver.cuEventDestroy_v2(event);
    for (DevicePointer block : blocks)
      driver.cuMemFree_v2(block);
  }

  std::string describe() const override {
    return concat("cuda, ", context.name, ", ", context.multiprocessors,
                  " multiprocessors, driver ", driver.version / 1000, ".",
                  driver.version % 1000 / 10);
  }
  std::string address() const override {
    char text[64] = "";
    driver.check(driver.cuDeviceGetPCIBusId(text, sizeof text, context.device),
                 "does not say where it is");
    return text;
  }
  int64_t workers() const override { return context.multiprocessors; }

  int64_t memory() const override {
    size_t bytes = 0;
    driver.check(driver.cuDeviceTotalMem_v2(&bytes, context.device),
                 "does not say how much memory it has");
    return static_cast<int64_t>(bytes);
  }
  int64_t freeMemory() const override {
    size_t free = 0, total = 0;
    driver.check(driver.cuMemGetInfo_v2(&free, &total),
                 "does not say how much memory is free");
    return static_cast<int64_t>(free);
  }

  char *allocate(int64_t bytes) override {
    // Allocations are aligned to 256; the driver refuses an empty one.
    size_t size = (static_cast<size_t>(bytes) + 64) / 64 * 64;
    DevicePointer start = 0;
    Result result = driver.cuMemAlloc_v2(&start, size);
    if (result == outOfMemory)
      throw Error("cannot allocate ", bytes, " bytes on the GPU, ",
                  freeMemory(),
                  " are free; end what else runs on it, or compile with a "
                  "--memory that leaves it more");
    check(result);
    blocks.push_back(start);
    check(driver.cuMemsetD8Async(start, 0, size, stream));
    afterKernel = false;
    return reinterpret_cast<char *>(start);
  }

  std::unique_ptr<Executable> load(std::string_view image) override {
    return std::make_unique<CudaExecutable>(
        context.driver, image, context.multiprocessors, stream, rowBounds);
  }

  void upload(char *target, const void *source, int64_t bytes) override {
    requireNotRecording();
    const auto *from = static_cast<const char *>(source);
    while (bytes > 0) {
      int64_t piece = std::min(bytes, Staging::half);
      char *room = staging.forUpload(piece);
      std::memcpy(room, from, static_cast<size_t>(piece));
      check(driver.cuMemcpyHtoDAsync_v2(pointer(target), room, piece, stream));
      target += piece, from += piece, bytes -= piece;
    }
    afterKernel = false;
    settle();
  }
  void download(void *target, const char *source, int64_t bytes) override {
    requireNotRecording();
    auto *to = static_cast<char *>(target);
    if (bytes <= 0)
      synchronize();
    while (bytes > 0) {
      int64_t piece = std::min(bytes, Staging::half);
      check(driver.cuMemcpyDtoHAsync_v2(staging.forDownload(), pointer(source),
                                        piece, stream));
      synchronize();
      std::memcpy(to, staging.forDownload(), static_cast<size_t>(piece));
      to += piece, source += piece, bytes -= piece;
    }
  }
  void copy(char *target, const char *source, int64_t bytes) override {
    if (bytes <= 0)
      return;
    check(driver.cuMemcpyDtoDAsync_v2(pointer(target), pointer(source), bytes,
                                      stream));
    afterKernel = false;
    settle();
  }
  void zero(char *target, int64_t bytes) override {
    if (bytes <= 0)
      return;
    check(driver.cuMemsetD8Async(pointer(target), 0, bytes, stream));
    afterKernel = false;
    settle();
  }

  void dispatch(const Launch &launch) override {
    const CudaLaunch &own = chosen(static_cast<const CudaLaunch &>(launch));
    LaunchConfig config = own.config;
    // It waits for its predecessors before it reads what they may write, but
    // for some operands; where they write one of those, and behind anything but
    // a kernel, it starts when they have ended.
    bool overlaps =
        own.overlaps && afterKernel &&
        std::none_of(own.early.begin(), own.early.end(),
                     [&](const Span &span) { return written.touches(span); });
    if (own.overlaps && !overlaps)
      --config.attributeCount;
    if (!overlaps)
      written.clear();
    for (const Span &span : own.written)
      written.add(span);
    afterKernel = true;
    // The driver copies the parameters before it returns, and takes them as
    // pointers to what is not const.
    Result result = driver.cuLaunchKernelEx(
        &config, own.function, const_cast<void **>(own.parameters), nullptr);
    unfinished.note(own.name, 1);
    // Faults belong to what is under way; anything else to this very launch.
    if (result != success && !isFault(result))
      throw Error(own.name, ": cannot be launched: ", driver.describe(result));
    check(result);
    settle();
  }

  int64_t expectRows(int64_t most) override {
    auto bound = rowBounds.lower_bound(most);
    mostRows = most && bound != rowBounds.end() ? *bound : 0;
    return mostRows;
  }

  double time(const Launch &launch) override {
    requireNotRecording();
    check(driver.cuEventRecord(timer[0], stream));
    afterKernel = false;
    dispatch(launch);
    check(driver.cuEventRecord(timer[1], stream));
    synchronize();
    float milliseconds = 0;
    check(driver.cuEventElapsedTime(&milliseconds, timer[0], timer[1]));
    return 1e-3 * milliseconds;
  }

  std::unique_ptr<Mark> makeMark() override {
    return std::make_unique<CudaMark>(context.driver);
  }
  void mark(const Mark &mark) override {
    Event event = markedEvent(mark);
    afterKernel = false;
    // In a recording it is put anew at each replay.
    if (recording)
      return check(
          driver.cuEventRecordWithFlags(event, stream, recordExternal));
    check(driver.cuEventRecord(event, stream));
    static_cast<const CudaMark &>(mark).stretches = unfinished.end();
  }
  void wait(const Mark &mark) override {
    requireNotRecording();
    check(driver.cuEventSynchronize(markedEvent(mark)));
    unfinished.finish(static_cast<const CudaMark &>(mark).stretches);
  }

  int64_t stepsAhead() const override { return waitForEach ? 0 : ahead; }
  std::shared_ptr<char> hostMemory(int64_t bytes) override {
    void *start = nullptr;
    // The driver refuses an empty one.
    driver.check(driver.cuMemHostAlloc(&start, std::max<int64_t>(bytes, 64), 0),
                 "gets no pinned memory of the host");
    std::memset(start, 0, static_cast<size_t>(bytes));
    return {static_cast<char *>(start),
            [driver = context.driver, stream = stream](char *memory) {
              // A copy to it may be under way.
              driver->cuStreamSynchronize(stream);
              driver->cuMemFreeHost(memory);
            }};
  }
  void fetch(char *target, const char *source, int64_t bytes) override {
    requireNotRecording();
    if (bytes <= 0)
      return;
    check(driver.cuMemcpyDtoHAsync_v2(target, pointer(source), bytes, stream));
    afterKernel = false;
    settle();
  }

  std::unique_ptr<Recording>
  record(const std::function<void()> &commands) override {
    requireNotRecording();
    if (waitForEach)
      return nullptr;
    check(driver.cuStreamBeginCapture_v2(stream, captureThreadLocal));
    recording = true;
    afterKernel = false;
    Unfinished before = std::exchange(unfinished, {});
    auto end = [&] {
      recording = afterKernel = false;
      std::swap(unfinished, before);
      Graph graph = nullptr;
      Result result = driver.cuStreamEndCapture(stream, &graph);
      return std::pair(result, graph);
    };
    try {
      commands();
    } catch (...) {
      if (Graph graph = end().second)
        driver.cuGraphDestroy(graph);
      throw;
    }
    auto [result, graph] = end();
    check(result);
    auto made = std::make_unique<CudaRecording>(context.driver, graph);
    made->launches = before.count();
    made->name = before.first();
    return made;
  }
  void replay(const Recording &recorded) override {
    const auto &own = static_cast<const CudaRecording &>(recorded);
    unfinished.note(own.name, own.launches);
    check(driver.cuGraphLaunch(own.exec, stream));
    afterKernel = false;
    settle();
  }

  void synchronize() override {
    requireNotRecording();
    check(driver.cuStreamSynchronize(stream));
    unfinished.finish();
  }

private:
  /// What is launched for so many rows as are expected.
  const CudaLaunch &chosen(const CudaLaunch &launch) const {
    if (mostRows)
      for (const CudaLaunch::FewRows &few : launch.fewRows)
        if (mostRows <= few.rows)
          return *few.launch;
    return launch;
  }

  /// Of a step that draws tokens the device takes some hundred microseconds,
  /// and the host some ten to read what it left and to prepare the next one.
  /// One step ahead hides that; the second one hides that the host is, now and
  /// then, slow for a step. Each further one is a row for nothing behind every
  /// sequence that has ended.
  static constexpr int64_t ahead = 2;

  /// Faults of kernels come to light in a later call, and stay: nothing can be
  /// done with the GPU after one.
  void check(Result result) const {
    if (result == success)
      return;
    std::string reason = driver.describe(result);
    int64_t count = unfinished.count();
    if (count == 1)
      throw Error(unfinished.first(), ": failed on the GPU: ", reason);
    if (count > 1)
      throw Error("one of ", count, " kernels, the first of them ",
                  unfinished.first(), ", failed on the GPU: ", reason,
                  "; R1C_CUDA_SYNC=1 in the environment says which");
    throw Error("a command failed on the GPU: ", reason);
  }

  /// After each command, where faults are to be reported with it.
  void settle() {
    if (waitForEach && !recording)
      synchronize();
  }

  void requireNotRecording() const {
    if (recording)
      throw Error("this command cannot be recorded");
  }

  CudaContext context;
  const Driver &driver;
  Stream stream;
  Staging staging;
  Event timer[2] = {nullptr, nullptr};
  std::vector<DevicePointer> blocks;
  Unfinished unfinished;
  Written written; ///< by kernels that the next one may overlap with
  std::set<int64_t> rowBounds; ///< of kernels with another for few rows
  int64_t mostRows = 0;        ///< one of them, or 0: as many as there are
  bool afterKernel = false;    ///< whether the last command was one
  bool waitForEach = false, recording = false;
};

} // namespace

std::unique_ptr<Device> makeCudaDevice(const std::string &architecture,
                                       int64_t localRank) {
  return std::make_unique<CudaDevice>(architecture, localRank);
}

cuda::Event markedEvent(const Mark &mark) {
  return static_cast<const CudaMark &>(mark).event;
}

} // namespace r1c::runtime
