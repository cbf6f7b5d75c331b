//===- FakeNccl.cpp - NCCL without GPUs -----------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Goes with FakeCuda.cpp, between processes of one machine: a sum is a command
// in a stream of the fake driver, and its ranks meet in files of a directory
// that the unique id names. It sums in rank order. R1C_FAKE_NCCL=stall: sums
// never end; =lost: besides, another rank is said to be gone; =start, =connect,
// =end: the call that starts, the first sum, the call that ends do not return.
//===----------------------------------------------------------------------===//

#include "runtime/collective/nccl/Library.h"
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

using namespace r1c::runtime;
using namespace r1c::runtime::nccl;
namespace fs = std::filesystem;

namespace r1c::runtime::nccl {
struct CommunicatorTag {
  fs::path place;
  int rank, ranks;
  int64_t sums = 0;
};
} // namespace r1c::runtime::nccl

namespace {

bool isAsked(const char *mode) {
  const char *text = std::getenv("R1C_FAKE_NCCL");
  return text && std::strcmp(text, mode) == 0;
}

template <typename Function>
Function *driverFunction(const char *name) {
  void *driver = ::dlopen(std::getenv("R1C_LIBCUDA"), RTLD_NOW | RTLD_NOLOAD);
  return reinterpret_cast<Function *>(::dlsym(driver, name));
}

fs::path fileOf(const Communicator c, const std::string &what, int rank) {
  return c->place / (what + "." + std::to_string(rank));
}

void leave(const fs::path &path, const void *data, size_t bytes) {
  fs::path made = path.string() + ".part";
  std::ofstream(made, std::ios::binary)
      .write(static_cast<const char *>(data), static_cast<long>(bytes));
  fs::rename(made, path);
}

void awaitFile(const fs::path &path) {
  while (!fs::exists(path))
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

[[noreturn]] void stand() {
  while (true)
    std::this_thread::sleep_for(std::chrono::seconds(1));
}

struct Sum {
  Communicator communicator;
  std::string number;
  float *numbers;
  size_t count;
};

void run(void *argument) {
  std::unique_ptr<Sum> sum(static_cast<Sum *>(argument));
  Communicator c = sum->communicator;
  leave(fileOf(c, sum->number, c->rank), sum->numbers, 4 * sum->count);
  std::vector<float> total(sum->count), each(sum->count);
  for (int rank = 0; rank < c->ranks; ++rank) {
    fs::path path = fileOf(c, sum->number, rank);
    awaitFile(path);
    std::ifstream(path, std::ios::binary)
        .read(reinterpret_cast<char *>(each.data()),
              static_cast<long>(4 * sum->count));
    for (size_t i = 0; i < total.size(); ++i)
      total[i] = rank ? total[i] + each[i] : each[i];
  }
  std::memcpy(sum->numbers, total.data(), 4 * sum->count);
}

} // namespace

extern "C" {

Result ncclGetVersion(int *version) {
  *version = 22809;
  return success;
}
const char *ncclGetErrorString(Result error) {
  return error == 6 ? "remote process exited" : "as the test wants it";
}
Result ncclGetUniqueId(UniqueId *id) {
  std::string place =
      (fs::temp_directory_path() / "r1c-fake-nccl-XXXXXX").string();
  if (place.size() >= sizeof id->bytes || !::mkdtemp(place.data()))
    return 3;
  std::strcpy(id->bytes, place.c_str());
  return success;
}
Result ncclCommInitRank(Communicator *made, int ranks, UniqueId id, int rank) {
  // The algorithm must be pinned before the first call.
  if (!std::getenv("NCCL_ALGO") || !std::getenv("NCCL_PROTO"))
    return 5;
  if (isAsked("start"))
    stand();
  *made = new CommunicatorTag{id.bytes, rank, ranks};
  return success;
}
Result ncclCommDestroy(Communicator c) {
  if (isAsked("end"))
    stand();
  leave(fileOf(c, "done", c->rank), "", 0);
  if (c->rank == 0) {
    for (int rank = 0; rank < c->ranks; ++rank)
      awaitFile(fileOf(c, "done", rank));
    fs::remove_all(c->place);
  }
  delete c;
  return success;
}
Result ncclCommAbort(Communicator c) {
  std::error_code none;
  fs::remove_all(c->place, none);
  delete c;
  return success;
}
Result ncclCommGetAsyncError(Communicator c, Result *error) {
  *error = c->sums > 1 && isAsked("lost") ? 6 : success;
  return success;
}
Result ncclGroupStart() { return success; }
Result ncclGroupEnd() { return success; }
Result ncclAllReduce(const void *from, void *to, size_t count, int type,
                     int operation, Communicator c, cuda::Stream stream) {
  if (from != to || type != float32 || operation != sum)
    return 4;
  if (isAsked("connect"))
    stand();
  // The first sum only connects the ranks.
  if (c->sums > 0 && (isAsked("stall") || isAsked("lost")))
    driverFunction<void(cuda::Stream)>("fake_stall")(stream);
  driverFunction<void(cuda::Stream, void (*)(void *), void *)>("fake_enqueue")(
      stream, run,
      new Sum{c, std::to_string(c->sums++), static_cast<float *>(to), count});
  return success;
}

} // extern "C"
