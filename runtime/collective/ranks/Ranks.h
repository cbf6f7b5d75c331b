//===- Ranks.h - several ranks over messages --------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_COLLECTIVE_RANKS_RANKS_H
#define R1C_RUNTIME_COLLECTIVE_RANKS_RANKS_H

#include "runtime/collective/Collective.h"
#include "runtime/collective/Transport.h"
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

namespace r1c::runtime {

/// Ranks that exchange messages. `gather` runs where it is called; sums run on
/// a thread of their own, on memory that the host reads and writes (so that
/// nothing is ever behind a mark).
///
/// Every collective begins with a word from each rank to each: that tells who
/// has arrived, and whether all are at the same one. Nothing is summed by the
/// transport, so the order of the sums is ours: each rank adds up one part of
/// the numbers, in rank order, and gives it to all.
///
/// A wait ends with an r1c::Error when a rank of this machine dies, or when no
/// message arrives for `timeout` seconds. An error of the summing thread, or
/// a rank's death while nothing is waited for, ends the job through `fail`, or,
/// where `onError` is set, is handed to that.
class RankCollective : public Collective {
public:
  RankCollective(std::unique_ptr<Transport> transport, double timeout,
                 std::function<void(const std::string &)> onError = {});
  ~RankCollective() override;

  int64_t rank() const override { return transport->rank(); }
  int64_t size() const override { return transport->size(); }
  int64_t localRank() const override { return ownLocalRank; }
  int64_t sharers() const override { return coreSharers; }
  std::vector<std::string> gather(std::string mine,
                                  const Place &place) override;
  void startSum(const Bucket &bucket, const Place &place,
                const Mark *behind) override;
  std::vector<Summed> finishSums() override;
  void at(const std::string &loc) override;
  void fail(const std::string &error) override;

private:
  using Time = std::chrono::steady_clock;
  /// A message under way.
  struct Message {
    Transport::Request request;
    int32_t peer;
  };
  /// What `gather` and the sums each have for themselves: tags, a count.
  struct Lane {
    int32_t tag;
    int64_t collectives = 0;
  };
  struct Peer {
    std::string host;
    long process = 0;
    std::string started; ///< as the kernel says, so that no other is meant
  };
  struct Job {
    Bucket bucket;
    Place place;
    Time::time_point given;
  };

  void meetPeers();
  /// Whether a rank has said that it failed: its error is the job's.
  bool hasFailed(int32_t rank);
  /// The first word; gives what each rank announces.
  std::vector<int64_t> arrive(Lane &lane, const Place &place, int64_t size,
                              int64_t bytes);
  void send(std::vector<Message> &to, const void *data, int64_t bytes,
            int32_t peer, int32_t tag);
  void receive(std::vector<Message> &to, void *data, int64_t bytes,
               int32_t peer, int32_t tag);
  /// Until all are done. `arriving`: nothing has come from these ranks yet.
  void await(std::vector<Message> &messages, const Place &place, bool arriving);
  /// Throws if a rank of this machine has died.
  void requireAlive(const Place &place);
  /// 'R', 'T' if stopped, 0 if it is no more.
  char stateOf(const Peer &peer) const;
  std::string nameOf(int32_t rank) const;

  void sum(std::span<float> numbers, const Place &place);
  void run();
  void report(const Place &place, const std::string &error);

  std::unique_ptr<Transport> transport;
  std::mutex transportMutex;
  double timeout;
  std::function<void(const std::string &)> onError;
  std::vector<Peer> peers;
  /// By rank: where a word from one that fails arrives.
  std::vector<Transport::Request> lastWords;
  std::vector<char> hasSaid; ///< what arrived: 0, nothing
  int64_t ownLocalRank = 0, coreSharers = 1;
  Lane gathers{1}, sums{3};
  std::vector<float> scratch;
  std::atomic<bool> failed = false;

  std::mutex mutex; ///< of what follows
  std::string reached;
  std::condition_variable changed;
  std::deque<Job> jobs;
  int64_t unfinished = 0;
  std::vector<Summed> finished;
  std::exception_ptr error;
  bool stopping = false;
  std::thread thread;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_COLLECTIVE_RANKS_RANKS_H
