//===- Nccl.cpp - sums between GPUs ---------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/collective/nccl/Nccl.h"
#include "runtime/collective/StartLimit.h"
#include "runtime/collective/nccl/Library.h"
#include "runtime/device/cuda/Cuda.h"
#include "runtime/support/Error.h"
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <exception>
#include <unistd.h>

namespace r1c::runtime {

namespace nccl {

void Library::check(Result result, const char *doing) const {
  if (result != success)
    throw Error("NCCL ", doing, ": ", ncclGetErrorString(result),
                "; NCCL_DEBUG=INFO in the environment says more");
}

Library openLibrary() {
  const char *named = std::getenv("R1C_LIBNCCL");
  const char *name = named && *named ? named : "libnccl.so.2";
  void *opened = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!opened)
    throw Error(
        "several ranks on GPUs need NCCL, and it is not there: ", ::dlerror(),
        "; install libnccl2, or name its library in R1C_LIBNCCL");
  auto find = [&](const char *symbol) {
    void *function = ::dlsym(opened, symbol);
    if (!function)
      throw Error(name, " has no function ", symbol,
                  "; it is no NCCL, or a very old one");
    return function;
  };
  Library library;
#define R1C_NCCL_FIND(function, parameters)                                    \
  library.function = reinterpret_cast<Result(*) parameters>(find(#function));
  R1C_NCCL_FUNCTIONS(R1C_NCCL_FIND)
#undef R1C_NCCL_FIND
  library.ncclGetErrorString =
      reinterpret_cast<const char *(*)(Result)>(find("ncclGetErrorString"));
  library.check(library.ncclGetVersion(&library.version),
                "does not say its version");
  return library;
}

} // namespace nccl

namespace {

class NcclRanks : public Collective {
public:
  NcclRanks(std::shared_ptr<Collective> others, const Device &device,
            double timeout)
      : ranks(std::move(others)), driver(cuda::openDriver()), timeout(timeout) {
    requireOwnGpus(device);
    pin("NCCL_ALGO", "Ring");
    pin("NCCL_PROTO", "Simple");
    library = nccl::openLibrary();
    nccl::UniqueId id{};
    if (isRoot())
      library.check(library.ncclGetUniqueId(&id), "cannot start");
    std::string name(id.bytes, sizeof id.bytes);
    name = ranks->gather(std::move(name), {"the start of NCCL", ""})[0];
    std::memcpy(id.bytes, name.data(), sizeof id.bytes);
    driver->check(driver->cuStreamCreate(&stream, cuda::streamNonBlocking),
                  "gives no stream");
    nccl::Result started = nccl::success;
    {
      StartLimit limit(timeout, [&] { endWithoutNccl("start"); });
      started =
          library.ncclCommInitRank(&communicator, static_cast<int>(size()), id,
                                   static_cast<int>(rank()));
    }
    if (started != nccl::success)
      driver->cuStreamDestroy_v2(stream);
    library.check(started, "cannot start");
  }
  ~NcclRanks() override {
    // One that ends by an error must not wait for the others.
    if (communicator) {
      if (std::uncaught_exceptions() || !jobs.empty()) {
        library.ncclCommAbort(communicator);
      } else {
        StartLimit limit(timeout, [&] { endWithoutNccl("end"); });
        library.ncclCommDestroy(communicator);
      }
    }
    for (Job &job : jobs)
      driver->cuEventDestroy_v2(job.end);
    driver->cuStreamDestroy_v2(stream);
  }

  /// The first sum connects the GPUs, for which each rank waits for the
  /// others: later a rank may begin one while another waits for it in a gather.
  void connect(Device &device) {
    std::unique_ptr<Mark> mark = device.makeMark();
    char *number = device.allocate(sizeof(float));
    device.mark(*mark);
    {
      StartLimit limit(timeout, [&] { endWithoutNccl("start"); });
      startSum({{number, 1}}, {"the start of NCCL", ""}, mark.get());
    }
    finishSums();
  }

  int64_t rank() const override { return ranks->rank(); }
  int64_t size() const override { return ranks->size(); }
  int64_t localRank() const override { return ranks->localRank(); }
  int64_t sharers() const override { return ranks->sharers(); }
  std::vector<std::string> gather(std::string mine,
                                  const Place &place) override {
    return ranks->gather(std::move(mine), place);
  }
  void at(const std::string &loc) override { ranks->at(loc); }
  void fail(const std::string &error) override { ranks->fail(error); }
  std::vector<std::string> notes() const override { return changes; }

  void startSum(const Bucket &bucket, const Place &place,
                const Mark *behind) override {
    Job job{place, nullptr, {Time::now(), Time::now(), 0, 0}};
    driver->check(driver->cuStreamWaitEvent(stream, markedEvent(*behind), 0),
                  "cannot wait for an event");
    library.check(library.ncclGroupStart(), "cannot sum");
    for (const Piece &piece : bucket) {
      library.check(library.ncclAllReduce(piece.address, piece.address,
                                          static_cast<size_t>(piece.count),
                                          nccl::float32, nccl::sum,
                                          communicator, stream),
                    "cannot sum");
      job.summed.bytes += 4 * piece.count;
    }
    library.check(library.ncclGroupEnd(), "cannot sum");
    driver->check(driver->cuEventCreate(&job.end, cuda::eventNoTiming),
                  "gives no event");
    driver->check(driver->cuEventRecord(job.end, stream),
                  "cannot record an event");
    jobs.push_back(std::move(job));
  }

  std::vector<Summed> finishSums() override {
    std::vector<Summed> summed;
    if (jobs.empty())
      return summed;
    // Who has not come yet is better told here than by a GPU that spins.
    ranks->gather("", jobs.back().place);
    auto since = Time::now();
    for (Job &job : jobs) {
      await(job, since);
      auto now = Time::now();
      // Sums run one after the other: each since the one before it.
      if (!summed.empty())
        job.summed.begin = std::max(
            job.summed.given,
            summed.back().begin +
                std::chrono::duration_cast<Time::duration>(
                    std::chrono::duration<double>(summed.back().seconds)));
      job.summed.seconds =
          std::chrono::duration<double>(now - job.summed.begin).count();
      summed.push_back(job.summed);
    }
    for (Job &job : jobs)
      driver->cuEventDestroy_v2(job.end);
    jobs.clear();
    return summed;
  }

private:
  using Time = std::chrono::steady_clock;
  struct Job {
    Place place;
    cuda::Event end;
    Summed summed;
  };

  void requireOwnGpus(const Device &device) {
    char host[256] = "";
    ::gethostname(host, sizeof host - 1);
    std::string own = concat(host, ", ", device.address());
    std::vector<std::string> all =
        ranks->gather(own, {"the start of NCCL", ""});
    for (int64_t r = 0; r < size(); ++r)
      if (r != rank() && all[r] == own)
        throw Error("ranks ", std::min(r, rank()), " and ", std::max(r, rank()),
                    " have one GPU, ", own,
                    ", and NCCL takes one process a GPU: start as many ranks "
                    "on a machine as it has GPUs");
  }

  void pin(const char *name, const char *value) {
    const char *given = std::getenv(name);
    if (!given)
      ::setenv(name, value, 1);
    else if (std::strcmp(given, value) != 0)
      changes.push_back(concat(name, "=", given,
                               " in the environment: sums have the bits of "
                               "that, not of ",
                               value));
  }

  void await(const Job &job, Time::time_point since) {
    for (int64_t idle = 0;; ++idle) {
      cuda::Result result = driver->cuEventQuery(job.end);
      if (result == cuda::success)
        return;
      if (result != cuda::notReady)
        driver->check(result, "failed in a sum over ranks");
      nccl::Result error = nccl::success;
      library.ncclCommGetAsyncError(communicator, &error);
      if (error != nccl::success && error != nccl::inProgress)
        give(job, concat("NCCL lost another rank: ",
                         library.ncclGetErrorString(error)));
      if (std::chrono::duration<double>(Time::now() - since).count() > timeout)
        give(job, concat("all ranks have arrived, and NCCL did not end within ",
                         timeout, " s (--collective-timeout)"));
      if (idle > 100)
        ::usleep(20);
    }
  }

  /// The calls with which NCCL starts and ends wait for all ranks, and cannot
  /// be given up.
  void endWithoutNccl(const char *which) {
    ranks->fail(concat("the ", which, " of NCCL: not over within ", timeout,
                       " s (--collective-timeout): a rank stands still, or "
                       "cannot be reached; NCCL_DEBUG=INFO in the environment "
                       "says more"));
  }

  [[noreturn]] void give(const Job &job, const std::string &reason) {
    library.ncclCommAbort(communicator);
    communicator = nullptr;
    throw Error(job.place.what, ": ", reason);
  }

  std::shared_ptr<Collective> ranks;
  std::shared_ptr<const cuda::Driver> driver;
  nccl::Library library;
  double timeout;
  std::vector<std::string> changes;
  cuda::Stream stream = nullptr;
  nccl::Communicator communicator = nullptr;
  std::vector<Job> jobs;
};

} // namespace

std::unique_ptr<Collective> makeNcclRanks(std::shared_ptr<Collective> ranks,
                                          Device &device, double timeout) {
  auto made = std::make_unique<NcclRanks>(std::move(ranks), device, timeout);
  made->connect(device);
  return made;
}

} // namespace r1c::runtime
