//===- ThreadTransport.h - ranks that are threads ---------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_RUNTIME_THREADTRANSPORT_H
#define R1C_TESTS_RUNTIME_THREADTRANSPORT_H

#include "runtime/collective/ranks/Ranks.h"
#include <cstring>
#include <map>
#include <thread>

namespace r1c::runtime::test {

/// Where the messages of all ranks lie until they are fetched.
struct PostOffice {
  std::mutex mutex;
  std::map<std::tuple<int, int, int>, std::deque<std::string>> boxes;
};

/// Messages between threads. Receives are fulfilled in the order in which they
/// were posted, as MPI's are, and not before they are asked after.
class ThreadTransport : public Transport {
public:
  ThreadTransport(std::shared_ptr<PostOffice> office, int rank, int ranks)
      : office(std::move(office)), own(rank), count(ranks) {}
  int32_t rank() const override { return own; }
  int32_t size() const override { return count; }

  Request send(const void *data, int64_t bytes, int32_t to,
               int32_t tag) override {
    std::lock_guard lock(office->mutex);
    office->boxes[{own, to, tag}].emplace_back(static_cast<const char *>(data),
                                               bytes);
    return new Receive{};
  }
  Request receive(void *data, int64_t bytes, int32_t from,
                  int32_t tag) override {
    auto *receive = new Receive{{from, own, tag}, data, bytes};
    posted[receive->box].push_back(receive);
    return receive;
  }
  State test(Request request) override {
    auto *receive = static_cast<Receive *>(request);
    if (receive->into) {
      std::lock_guard lock(office->mutex);
      auto &box = office->boxes[receive->box];
      auto &queue = posted[receive->box];
      if (queue.front() != receive || box.empty())
        return State::pending;
      if (static_cast<int64_t>(box.front().size()) != receive->bytes)
        std::abort();
      std::memcpy(receive->into, box.front().data(), box.front().size());
      box.pop_front();
      queue.pop_front();
    }
    delete receive;
    return State::done;
  }
  void forget(Request request) override {
    auto *receive = static_cast<Receive *>(request);
    std::erase(posted[receive->box], receive);
    delete receive;
  }
  const char *error() const override { return "none"; }
  void abort(int) override { std::abort(); }

private:
  struct Receive {
    std::tuple<int, int, int> box;
    void *into = nullptr;
    int64_t bytes = 0;
  };
  std::shared_ptr<PostOffice> office;
  std::map<std::tuple<int, int, int>, std::deque<Receive *>> posted;
  int own, count;
};

/// Runs `body` on so many ranks, a thread each.
inline void onRanks(int ranks, double timeout,
                    const std::function<void(Collective &)> &body) {
  auto office = std::make_shared<PostOffice>();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      RankCollective collective(
          std::make_unique<ThreadTransport>(office, rank, ranks), timeout,
          [](const std::string &) {});
      body(collective);
    });
  for (std::thread &thread : threads)
    thread.join();
}

} // namespace r1c::runtime::test

#endif // R1C_TESTS_RUNTIME_THREADTRANSPORT_H
