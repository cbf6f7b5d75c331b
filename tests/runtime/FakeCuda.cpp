//===- FakeCuda.cpp - a CUDA driver that needs no GPU ---------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/runtime/FakeCuda.h"
#include "runtime/device/cuda/Driver.h"
#include "tests/runtime/FakeEmulator.h"
#include "tests/runtime/FakeMemory.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <elf.h>
#include <functional>
#include <map>
#include <set>
#include <unistd.h>

using namespace r1c::runtime::cuda;
using namespace r1c::runtime::test;

namespace r1c::runtime::cuda {
using HostKernel = void (*)(void *const *, int64_t, int64_t);
struct FunctionTag {
  std::string name;
  HostKernel run = nullptr;
  void *emulated = nullptr; ///< instead: the kernels that the emulator has
  size_t parameters = 0;
  int dynamicShared = 48 * 1024;
  bool largeClusters = false;
};
struct ModuleTag {
  void *handle = nullptr;
  void *emulated = nullptr;
  std::map<std::string, FunctionTag> functions;
};
struct StreamTag {
  std::deque<std::function<void()>> queued;
  int64_t done = 0; ///< commands that have run
  bool stalled = false;
  int64_t end() const { return done + static_cast<int64_t>(queued.size()); }
};
struct EventTag {
  Stream stream = nullptr;
  int64_t at = -1; ///< how many commands stood before it
};
struct GraphTag {
  std::vector<std::function<void()>> commands;
  /// External events, and how many commands stand before each.
  std::vector<std::pair<Event, size_t>> events;
};
struct GraphExecTag : GraphTag {};
} // namespace r1c::runtime::cuda

namespace {

constexpr Result invalidValue = 1, illegalAddress = 700, launchFailure = 719,
                 captureUnsupported = 900;

FakeCuda state;

Region &region() {
  static Region memory;
  return memory;
}

std::map<const char *, size_t> pinned;
std::set<Stream> streams;
Graph capturing = nullptr;
Stream capturingStream = nullptr;
Result sticky = success;

/// What a call that fails on purpose, or after a fault, returns.
Result expected(const char *name) {
  if (state.failing == name)
    return state.failure;
  return sticky;
}

/// Of what the host has asked for, in its order (FakeCuda::order).
void note(char call) {
  if (!capturing)
    state.order += call;
}

Result enqueue(Stream stream, std::function<void()> command) {
  if (capturing && stream == capturingStream) {
    ++state.captured;
    capturing->commands.push_back(std::move(command));
  } else {
    stream->queued.push_back(std::move(command));
  }
  return success;
}

/// Runs what stands before the given number.
void runUntil(Stream stream, int64_t number) {
  region().open(true);
  while (stream->done < number && !stream->queued.empty() && !stream->stalled) {
    std::function<void()> command = std::move(stream->queued.front());
    stream->queued.pop_front();
    if (sticky == success)
      command();
    ++stream->done;
  }
  region().open(false);
}
void runAll(Stream stream) { runUntil(stream, stream->end()); }
void runAll() {
  for (Stream stream : streams)
    runAll(stream);
}

void notePageable(const void *address, size_t bytes) {
  const auto *at = static_cast<const char *>(address);
  auto next = pinned.upper_bound(at);
  bool inside = next != pinned.begin() &&
                at + bytes <= std::prev(next)->first + std::prev(next)->second;
  state.pageable += !inside;
}

} // namespace

#define FAKE(name)                                                             \
  if (Result result = expected(#name); result != success)                      \
    return result;
/// ... and of a call that a capturing stream does not take.
#define FAKE_OUTSIDE(name)                                                     \
  FAKE(name)                                                                   \
  if (capturing)                                                               \
    return captureUnsupported;

extern "C" {

FakeCuda *fake_cuda() { return &state; }

Result cuDriverGetVersion(int *version) {
  if (state.failing == "cuDriverGetVersion")
    return state.failure;
  *version = state.version;
  return success;
}
Result cuInit(unsigned) {
  // A process has one GPU for good; a test begins with one that has no fault.
  sticky = success;
  for (Stream stream : streams)
    stream->queued.clear();
  if (const char *devices = std::getenv("R1C_FAKE_DEVICES"))
    state.devices = std::atoi(devices);
  FAKE(cuInit)
  return state.devices ? success : noDevice;
}
Result cuGetErrorName(Result error, const char **text) {
  static const std::map<Result, const char *> names = {
      {invalidValue, "CUDA_ERROR_INVALID_VALUE"},
      {outOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"},
      {invalidImage, "CUDA_ERROR_INVALID_IMAGE"},
      {illegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS"},
      {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"},
      {launchFailure, "CUDA_ERROR_LAUNCH_FAILED"},
      {captureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"}};
  auto at = names.find(error);
  *text = at == names.end() ? "CUDA_ERROR_UNKNOWN" : at->second;
  return success;
}
Result cuGetErrorString(Result error, const char **text) {
  *text = error == illegalAddress ? "an illegal memory access was encountered"
                                  : "as the test wants it";
  return success;
}
Result cuDeviceGetCount(int *count) {
  *count = state.devices;
  return success;
}
Result cuDeviceGet(int *device, int ordinal) {
  *device = ordinal;
  return ordinal < state.devices ? success : 101;
}
Result cuDeviceGetName(char *name, int length, int) {
  std::strncpy(name, "Fake GPU", length);
  return success;
}
Result cuDeviceGetPCIBusId(char *name, int length, int device) {
  std::snprintf(name, length, "0000:%02x:00.0", device);
  return success;
}
Result cuDeviceGetAttribute(int *value, int attribute, int) {
  switch (attribute) {
  case multiprocessorCount:
    *value = state.multiprocessors;
    return success;
  case capabilityMajor:
    *value = state.major;
    return success;
  case capabilityMinor:
    *value = state.minor;
    return success;
  }
  return invalidValue;
}
Result cuDeviceTotalMem_v2(size_t *bytes, int) {
  *bytes = state.memory;
  return success;
}
Result cuDevicePrimaryCtxRetain(Context *context, int) {
  FAKE(cuDevicePrimaryCtxRetain)
  ++state.contexts;
  *context = reinterpret_cast<Context>(&state);
  return success;
}
Result cuDevicePrimaryCtxRelease_v2(int) {
  --state.contexts;
  return success;
}
Result cuCtxSetCurrent(Context) { return success; }
Result cuMemGetInfo_v2(size_t *free, size_t *total) {
  *total = state.memory;
  *free = state.memory - state.usedByOthers - region().inUse;
  return success;
}
Result cuMemAlloc_v2(DevicePointer *address, size_t bytes) {
  FAKE_OUTSIDE(cuMemAlloc_v2)
  if (bytes == 0)
    return invalidValue;
  if (bytes + region().inUse + state.usedByOthers > state.memory)
    return outOfMemory;
  ++state.allocations;
  *address = region().take(bytes);
  return success;
}
Result cuMemFree_v2(DevicePointer address) {
  runAll();
  if (!region().give(address))
    return invalidValue;
  --state.allocations;
  return success;
}
Result cuMemHostAlloc(void **address, size_t bytes, unsigned) {
  FAKE_OUTSIDE(cuMemHostAlloc)
  auto *memory = new char[bytes];
  pinned[memory] = bytes;
  *address = memory;
  return success;
}
Result cuMemFreeHost(void *address) {
  runAll();
  pinned.erase(static_cast<char *>(address));
  delete[] static_cast<char *>(address);
  return success;
}
Result cuMemcpyHtoDAsync_v2(DevicePointer target, const void *source,
                            size_t bytes, Stream stream) {
  FAKE(cuMemcpyHtoDAsync_v2)
  if (!region().holds(target, bytes))
    return invalidValue;
  notePageable(source, bytes);
  note('u');
  return enqueue(stream, [=] {
    std::memcpy(reinterpret_cast<void *>(target), source, bytes);
  });
}
Result cuMemcpyDtoHAsync_v2(void *target, DevicePointer source, size_t bytes,
                            Stream stream) {
  FAKE(cuMemcpyDtoHAsync_v2)
  if (!region().holds(source, bytes))
    return invalidValue;
  notePageable(target, bytes);
  note('d');
  return enqueue(stream, [=] {
    std::memcpy(target, reinterpret_cast<void *>(source), bytes);
  });
}
Result cuMemcpyDtoDAsync_v2(DevicePointer target, DevicePointer source,
                            size_t bytes, Stream stream) {
  FAKE(cuMemcpyDtoDAsync_v2)
  if (!region().holds(source, bytes) || !region().holds(target, bytes))
    return invalidValue;
  return enqueue(stream, [=] {
    std::memcpy(reinterpret_cast<void *>(target),
                reinterpret_cast<void *>(source), bytes);
  });
}
Result cuMemsetD8Async(DevicePointer target, unsigned char value, size_t bytes,
                       Stream stream) {
  FAKE(cuMemsetD8Async)
  if (!region().holds(target, bytes))
    return invalidValue;
  return enqueue(stream, [=] {
    std::memset(reinterpret_cast<void *>(target), value, bytes);
  });
}
Result cuStreamCreate(Stream *stream, unsigned) {
  FAKE(cuStreamCreate)
  *stream = *streams.insert(new StreamTag).first;
  return success;
}
Result cuStreamDestroy_v2(Stream stream) {
  runAll(stream);
  streams.erase(stream);
  delete stream;
  return success;
}
Result cuStreamSynchronize(Stream stream) {
  FAKE_OUTSIDE(cuStreamSynchronize)
  ++state.waits;
  note('w');
  runAll(stream);
  return sticky;
}
Result cuStreamWaitEvent(Stream stream, Event event, unsigned) {
  if (event->stream && event->stream != stream)
    enqueue(stream,
            [from = event->stream, at = event->at] { runUntil(from, at); });
  return success;
}
Result cuStreamBeginCapture_v2(Stream stream, int mode) {
  FAKE_OUTSIDE(cuStreamBeginCapture_v2)
  if (mode < 0 || mode > 2)
    return invalidValue;
  capturing = new GraphTag;
  capturingStream = stream;
  return success;
}
Result cuStreamEndCapture(Stream, Graph *graph) {
  FAKE(cuStreamEndCapture)
  *graph = capturing;
  capturing = nullptr;
  return *graph ? success : Result(903);
}
Result cuGraphInstantiateWithFlags(GraphExec *exec, Graph graph,
                                   unsigned long long) {
  FAKE_OUTSIDE(cuGraphInstantiateWithFlags)
  ++state.graphs;
  *exec = new GraphExecTag{*graph};
  return success;
}
Result cuGraphLaunch(GraphExec exec, Stream stream) {
  FAKE_OUTSIDE(cuGraphLaunch)
  ++state.replays;
  note('r');
  for (auto [event, before] : exec->events)
    *event = {stream, stream->end() + static_cast<int64_t>(before)};
  for (const auto &command : exec->commands)
    enqueue(stream, command);
  return success;
}
Result cuGraphExecDestroy(GraphExec exec) {
  --state.graphs;
  delete exec;
  return success;
}
Result cuGraphDestroy(Graph graph) {
  delete graph;
  return success;
}
Result cuEventCreate(Event *event, unsigned) {
  *event = new EventTag;
  return success;
}
Result cuEventDestroy_v2(Event event) {
  delete event;
  return success;
}
Result cuEventRecord(Event event, Stream stream) {
  FAKE_OUTSIDE(cuEventRecord)
  *event = {stream, stream->end()};
  return success;
}
Result cuEventRecordWithFlags(Event event, Stream stream, unsigned flags) {
  FAKE(cuEventRecordWithFlags)
  if (!capturing)
    return flags == recordExternal ? invalidValue
                                   : cuEventRecord(event, stream);
  if (flags != recordExternal)
    return captureUnsupported; // an event of the recording alone
  capturing->events.push_back({event, capturing->commands.size()});
  return success;
}
Result cuEventSynchronize(Event event) {
  FAKE_OUTSIDE(cuEventSynchronize)
  // Nothing behind it: that may well be under way still.
  if (event->stream && event->stream->done < event->at) {
    note('e');
    runUntil(event->stream, event->at);
  }
  return sticky;
}
Result cuEventQuery(Event event) {
  FAKE_OUTSIDE(cuEventQuery)
  if (event->stream)
    runUntil(event->stream, event->at);
  bool isDone = !event->stream || event->stream->done >= event->at;
  return sticky != success ? sticky : isDone ? success : notReady;
}
Result cuEventElapsedTime(float *milliseconds, Event begin, Event end) {
  if (begin->at < 0 || end->at < 0)
    return 400;
  if (end->stream->done < end->at)
    return notReady;
  *milliseconds = 0.25f * static_cast<float>(end->at - begin->at);
  return success;
}

/// For FakeNccl.cpp: its commands, and a stream that goes no further.
void fake_enqueue(Stream stream, void (*command)(void *), void *argument) {
  stream->queued.push_back([=] { command(argument); });
}
void fake_stall(Stream stream) { stream->stalled = true; }

Result cuModuleLoadData(Module *module, const void *image) {
  FAKE_OUTSIDE(cuModuleLoadData)
  if (const char *path = std::getenv("R1C_EMULATED")) {
    void *kernels = emulator().load ? emulator().load(path) : nullptr;
    *module = new ModuleTag{nullptr, kernels, {}};
    state.modules += kernels != nullptr;
    return kernels ? success : invalidImage;
  }
  // As the driver: no size is given, the headers say it.
  Elf64_Ehdr header;
  std::memcpy(&header, image, sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return invalidImage;
  size_t size = header.e_shoff + size_t(header.e_shnum) * header.e_shentsize;
  std::string bytes(static_cast<const char *>(image), size);
#if defined(__x86_64__)
  header.e_machine = EM_X86_64;
#else
  header.e_machine = EM_AARCH64;
#endif
  std::memcpy(bytes.data(), &header, sizeof header);
  int file = ::memfd_create("fake-cubin", MFD_CLOEXEC);
  bool written =
      ::write(file, bytes.data(), size) == static_cast<ssize_t>(size);
  std::string path = "/proc/self/fd/" + std::to_string(file);
  void *handle =
      written ? ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
  ::close(file);
  if (!handle)
    return invalidImage;
  ++state.modules;
  *module = new ModuleTag{handle, nullptr, {}};
  return success;
}
Result cuModuleUnload(Module module) {
  runAll();
  --state.modules;
  if (module->handle)
    ::dlclose(module->handle);
  delete module;
  return success;
}
Result cuModuleGetFunction(Function *function, Module module,
                           const char *name) {
  FAKE_OUTSIDE(cuModuleGetFunction)
  if (void *kernels = module->emulated) {
    int64_t bytes = emulator().parameters(kernels, name);
    if (bytes < 0)
      return notFound;
    FunctionTag &made = module->functions[name];
    made.name = name;
    made.emulated = kernels;
    made.parameters = bytes;
    *function = &made;
    return success;
  }
  void *entry = ::dlsym(module->handle, name);
  auto *bytes = static_cast<const int64_t *>(
      ::dlsym(module->handle, (std::string(name) + "_parameters").c_str()));
  if (!entry || !bytes)
    return notFound;
  FunctionTag &made = module->functions[name];
  made.name = name;
  made.run = reinterpret_cast<HostKernel>(entry);
  // A block is aligned to 64, and so is its size.
  made.parameters = (*bytes + 63) / 64 * 64;
  *function = &made;
  return success;
}
Result cuFuncSetAttribute(Function function, int attribute, int value) {
  FAKE_OUTSIDE(cuFuncSetAttribute)
  if (attribute == maxDynamicShared && value <= 227 * 1024)
    function->dynamicShared = value;
  else if (attribute == nonPortableCluster)
    function->largeClusters = value != 0;
  else
    return invalidValue;
  return success;
}
Result cuFuncGetParamInfo(Function function, size_t index, size_t *offset,
                          size_t *bytes) {
  if (index != 0)
    return invalidValue;
  *offset = 0;
  *bytes = function->parameters;
  return success;
}
Result cuLaunchKernelEx(const LaunchConfig *config, Function function,
                        void **parameters, void **extra) {
  FAKE(cuLaunchKernelEx)
  FakeLaunch launch{function->name,
                    config->gridX,
                    config->blockX,
                    config->sharedBytes,
                    1,
                    capturing != nullptr,
                    false,
                    {}};
  for (unsigned i = 0; i < config->attributeCount; ++i) {
    const LaunchAttribute &attribute = config->attributes[i];
    if (attribute.id == clusterDimension)
      launch.cluster = attribute.cluster[0];
    if (attribute.id == programmaticSerialization)
      launch.overlaps = attribute.allowed;
  }
  if (extra || !parameters || config->gridX < 1 || config->gridY != 1 ||
      config->gridZ != 1 || config->blockX < 1 || config->blockX > 1024 ||
      config->blockY != 1 || config->blockZ != 1 ||
      launch.shared > static_cast<unsigned>(function->dynamicShared) ||
      launch.cluster > (function->largeClusters ? 16u : 8u) ||
      launch.grid % launch.cluster || !config->stream)
    return invalidValue;
  note('l');
  launch.block.resize(function->parameters / 8);
  std::memcpy(launch.block.data(), parameters[0], function->parameters);
  return enqueue(config->stream, [launch, run = function->run,
                                  emulated = function->emulated] {
    if (state.faulting == launch.kernel) {
      sticky = illegalAddress;
      return;
    }
    if (emulated) {
      const char *error = emulator().run(
          emulated, launch.kernel.c_str(), launch.block.data(), launch.grid,
          [](uint64_t address) { return region().bytesAt(address); });
      if (error) {
        std::fprintf(stderr, "%s\n", error);
        sticky = launchFailure;
      }
      return;
    }
    state.launches.push_back(launch);
    for (unsigned block = 0; block < launch.grid; ++block)
      run(reinterpret_cast<void *const *>(launch.block.data()), block,
          launch.grid);
  });
}

Result cuTensorMapEncodeTiled(TensorMap *map, int dtype, uint32_t rank,
                              void *address, const uint64_t *sizes,
                              const uint64_t *strides, const uint32_t *box,
                              const uint32_t *elementStrides, int interleave,
                              int swizzle, int l2Promotion, int outOfBounds) {
  FAKE(cuTensorMapEncodeTiled)
  static_assert(sizeof(FakeTensorMap) <= sizeof(TensorMap));
  FakeTensorMap fake{};
  auto start = reinterpret_cast<DevicePointer>(address);
  uint64_t element = dtype == mapFloat32 ? 4 : 2, row = box[0] * element;
  if (reinterpret_cast<uintptr_t>(map) % 64 || rank < 1 || rank > 5 ||
      (dtype != mapFloat32 && dtype != mapBfloat16) || start % 16 || row % 16 ||
      swizzle < 0 || swizzle > 3 || (swizzle && row > (16u << swizzle)) ||
      interleave || outOfBounds)
    return invalidValue;
  uint64_t end = sizes[0] * element;
  for (uint32_t i = 0; i < rank; ++i) {
    if (sizes[i] < 1 || box[i] < 1 || box[i] > 256 || elementStrides[i] != 1)
      return invalidValue;
    fake.sizes[i] = sizes[i];
    fake.box[i] = static_cast<uint16_t>(box[i]);
    if (i == 0)
      continue;
    if (strides[i - 1] % 16)
      return invalidValue;
    fake.strides[i - 1] = strides[i - 1];
    end += (sizes[i] - 1) * strides[i - 1];
  }
  if (!region().holds(start, end))
    return invalidValue;
  fake.address = start;
  fake.dtype = static_cast<uint8_t>(dtype);
  fake.rank = static_cast<uint8_t>(rank);
  fake.swizzle = static_cast<uint8_t>(swizzle);
  fake.promotion = static_cast<uint8_t>(l2Promotion);
  std::memset(map, 0, sizeof *map);
  std::memcpy(map, &fake, sizeof fake);
  return success;
}

} // extern "C"
