//===- Ranks.cpp - several ranks over messages ----------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/collective/ranks/Ranks.h"
#include "runtime/support/Error.h"
#include "runtime/support/Files.h"
#include "runtime/support/Json.h"
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <sched.h>
#include <unistd.h>

namespace r1c::runtime {

namespace {

/// How long MPI may take to end the job before this process ends itself.
constexpr unsigned abortSeconds = 10;

/// Of the message that tells of a failure.
constexpr int32_t lastWordTag = 0;

/// What a rank announces when it comes to a collective.
struct Word {
  int64_t number, size, bytes;
  char place[232];

  Word() = default;
  Word(int64_t number, int64_t size, int64_t bytes, const Place &at)
      : number(number), size(size), bytes(bytes) {
    std::snprintf(place, sizeof place, "%s%s%s", at.loc.c_str(),
                  at.loc.empty() ? "" : ": ", at.what.c_str());
  }
};

std::string seconds(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", value);
  return text;
}

/// The state and the start time of a process of this machine; 0 where there is
/// none.
std::pair<char, std::string> lookAt(long process) {
  char path[64], text[1024];
  std::snprintf(path, sizeof path, "/proc/%ld/stat", process);
  std::FILE *file = std::fopen(path, "r");
  if (!file)
    return {0, ""};
  text[std::fread(text, 1, sizeof text - 1, file)] = 0;
  std::fclose(file);
  // The name in parentheses may hold anything.
  const char *behind = std::strrchr(text, ')');
  if (!behind || !behind[1] || !behind[2])
    return {0, ""};
  std::istringstream fields(behind + 2);
  std::string field, started;
  char state = behind[2];
  for (int i = 3; i <= 22 && fields >> field; ++i)
    started = field;
  return {state == 'Z' || state == 'X' ? 0 : state, started};
}

/// Where processes see each other: the machine, and the name space of their
/// numbers.
std::string hostName() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  std::error_code none;
  return concat(name, " ",
                fs::read_symlink("/proc/self/ns/pid", none).string());
}

std::string cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  ::sched_getaffinity(0, sizeof set, &set);
  std::string text;
  for (int i = 0; i < CPU_SETSIZE; ++i)
    text += CPU_ISSET(i, &set) ? '1' : '0';
  return text;
}

} // namespace

RankCollective::RankCollective(std::unique_ptr<Transport> messages,
                               double timeout,
                               std::function<void(const std::string &)> onError)
    : transport(std::move(messages)), timeout(timeout),
      onError(std::move(onError)) {
  meetPeers();
  thread = std::thread([this] { run(); });
}

RankCollective::~RankCollective() {
  {
    std::lock_guard lock(mutex);
    stopping = true;
  }
  changed.notify_all();
  thread.join();
  for (Transport::Request word : lastWords)
    if (word)
      transport->forget(word);
}

void RankCollective::meetPeers() {
  lastWords.resize(size());
  hasSaid.resize(size());
  for (int32_t peer = 0; peer < size(); ++peer)
    if (peer != rank())
      lastWords[peer] =
          transport->receive(&hasSaid[peer], 1, peer, lastWordTag);
  std::string host = hostName(), own = cores();
  Json me = {{"host", host},
             {"process", static_cast<int64_t>(::getpid())},
             {"started", lookAt(::getpid()).second},
             {"cores", own}};
  std::vector<std::string> all = gather(dumpJson(me), {"the start", ""});
  coreSharers = 0;
  for (size_t r = 0; r < all.size(); ++r) {
    Json json = parseJson(all[r], "a rank's greeting");
    Fields fields(json, "a rank's greeting");
    peers.push_back({fields.text("host"), fields.integer("process"),
                     fields.text("started")});
    bool isHere = peers.back().host == host;
    ownLocalRank += isHere && static_cast<int64_t>(r) < rank();
    coreSharers += isHere && fields.text("cores") == own;
  }
}

//===----------------------------------------------------------------------===//
// Messages
//===----------------------------------------------------------------------===//

void RankCollective::send(std::vector<Message> &to, const void *data,
                          int64_t bytes, int32_t peer, int32_t tag) {
  const char *from = static_cast<const char *>(data);
  std::lock_guard lock(transportMutex);
  for (int64_t at = 0; at < bytes; at += Transport::mostBytes)
    to.push_back(
        {transport->send(from + at, std::min(bytes - at, Transport::mostBytes),
                         peer, tag),
         peer});
}

void RankCollective::receive(std::vector<Message> &to, void *data,
                             int64_t bytes, int32_t peer, int32_t tag) {
  char *into = static_cast<char *>(data);
  std::lock_guard lock(transportMutex);
  for (int64_t at = 0; at < bytes; at += Transport::mostBytes)
    to.push_back({transport->receive(into + at,
                                     std::min(bytes - at, Transport::mostBytes),
                                     peer, tag),
                  peer});
}

char RankCollective::stateOf(const Peer &peer) const {
  if (peer.host != peers[rank()].host)
    return 'R'; // who knows
  auto [state, started] = lookAt(peer.process);
  return started == peer.started ? state : 0;
}

std::string RankCollective::nameOf(int32_t rank) const {
  std::string name = concat("rank ", rank);
  if (rank >= static_cast<int32_t>(peers.size()))
    return name; // at the start
  const Peer &peer = peers[rank];
  char state = stateOf(peer);
  return concat(name, " (process ", peer.process, " on ",
                peer.host.substr(0, peer.host.find(' ')),
                state == 'T' || state == 't' ? ", stopped" : "",
                state ? "" : ", dead", ")");
}

bool RankCollective::hasFailed(int32_t rank) {
  std::lock_guard lock(transportMutex);
  Transport::Request &word = lastWords[rank];
  // What it sent before its death may need some calls to come through.
  for (int i = 0; word && i < 200; ++i) {
    if (transport->test(word) != Transport::State::pending)
      word = nullptr;
    else
      ::usleep(500);
  }
  return hasSaid[rank] != 0;
}

void RankCollective::requireAlive(const Place &place) {
  for (size_t r = 0; r < peers.size(); ++r)
    if (!stateOf(peers[r])) {
      // One that failed has said why, and is ending the job.
      if (hasFailed(static_cast<int32_t>(r))) {
        ::sleep(abortSeconds);
        std::_Exit(1);
      }
      failed = true;
      throw Error(place.what, ": ", nameOf(static_cast<int32_t>(r)),
                  " has died");
    }
}

void RankCollective::await(std::vector<Message> &messages, const Place &place,
                           bool arriving) {
  auto since = Time::now(), looked = since;
  for (int64_t idle = 0; !messages.empty();) {
    bool moved = false;
    std::string broken;
    {
      std::lock_guard lock(transportMutex);
      // Once a wait has been given up, its memory must not be written to any
      // more: MPI does that in any call.
      if (failed)
        throw Error(place.what, ": given up, as another collective was");
      std::erase_if(messages, [&](const Message &message) {
        Transport::State state = transport->test(message.request);
        if (state == Transport::State::failed)
          broken = concat(nameOf(message.peer), ": ", transport->error());
        moved |= state != Transport::State::pending;
        return state != Transport::State::pending;
      });
      failed = failed || !broken.empty();
    }
    if (!broken.empty())
      throw Error(place.what, ": no connection to ", broken);
    if (moved) {
      idle = 0;
      since = Time::now();
      continue;
    }
    // Messages of a machine's ranks come within microseconds; after that the
    // core is better used by those who are waited for.
    if (++idle < 100)
      continue;
    if (idle < 1000)
      ::sched_yield();
    else
      ::usleep(100);
    auto now = Time::now();
    if (now - looked > std::chrono::milliseconds(100)) {
      looked = now;
      requireAlive(place);
    }
    if (std::chrono::duration<double>(now - since).count() < timeout)
      continue;
    std::vector<int32_t> late;
    for (const Message &message : messages)
      late.push_back(message.peer);
    std::sort(late.begin(), late.end());
    late.erase(std::unique(late.begin(), late.end()), late.end());
    std::string names;
    for (int32_t peer : late)
      names += (names.empty() ? "" : ", ") + nameOf(peer);
    failed = true;
    throw Error(place.what, ": ",
                arriving ? "not arrived within " : "nothing came within ",
                seconds(timeout), " (--collective-timeout): ", names);
  }
}

std::vector<int64_t> RankCollective::arrive(Lane &lane, const Place &place,
                                            int64_t numbers, int64_t bytes) {
  std::vector<Word> words(size());
  int64_t own = rank();
  words[own] = Word(lane.collectives++, numbers, bytes, place);
  std::vector<Message> messages, sent;
  for (int32_t peer = 0; peer < size(); ++peer)
    if (peer != own) {
      receive(messages, &words[peer], sizeof(Word), peer, lane.tag);
      send(sent, &words[own], sizeof(Word), peer, lane.tag);
    }
  await(messages, place, /*arriving=*/true);
  await(sent, place, /*arriving=*/true);
  std::vector<int64_t> announced;
  for (int32_t peer = 0; peer < size(); ++peer) {
    const Word &word = words[peer];
    if (word.number != words[own].number || word.size != numbers ||
        std::strncmp(word.place, words[own].place, sizeof word.place) != 0) {
      failed = true;
      throw Error("the ranks have come apart: rank ", own, " is at ",
                  words[own].place, " (", numbers, "), rank ", peer, " at ",
                  word.place, " (", word.size, ")");
    }
    announced.push_back(word.bytes);
  }
  return announced;
}

std::vector<std::string> RankCollective::gather(std::string mine,
                                                const Place &place) {
  std::vector<int64_t> sizes =
      arrive(gathers, place, 0, static_cast<int64_t>(mine.size()));
  std::vector<std::string> all(size());
  std::vector<Message> messages;
  for (int32_t peer = 0; peer < size(); ++peer) {
    if (peer == rank())
      continue;
    all[peer].resize(static_cast<size_t>(sizes[peer]));
    receive(messages, all[peer].data(), sizes[peer], peer, gathers.tag + 1);
    send(messages, mine.data(), static_cast<int64_t>(mine.size()), peer,
         gathers.tag + 1);
  }
  await(messages, place, /*arriving=*/false);
  all[rank()] = std::move(mine);
  return all;
}

//===----------------------------------------------------------------------===//
// Sums
//===----------------------------------------------------------------------===//

void RankCollective::startSum(const Bucket &bucket, const Place &place,
                              const Mark *) {
  {
    std::lock_guard lock(mutex);
    jobs.push_back({bucket, place, Time::now()});
    ++unfinished;
  }
  changed.notify_all();
}

std::vector<Summed> RankCollective::finishSums() {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return unfinished == 0 || error; });
  if (error)
    std::rethrow_exception(error);
  return std::exchange(finished, {});
}

void RankCollective::at(const std::string &loc) {
  std::lock_guard lock(mutex);
  reached = loc;
}

void RankCollective::run() {
  std::unique_lock lock(mutex);
  while (true) {
    bool due = changed.wait_for(lock, std::chrono::milliseconds(200),
                                [&] { return stopping || !jobs.empty(); });
    if (stopping)
      return;
    Job job;
    if (due) {
      job = std::move(jobs.front());
      jobs.pop_front();
    } else {
      job.place = {"between collectives", reached};
    }
    lock.unlock();
    Summed summed{job.given, Time::now(), 0, 0};
    try {
      if (!due && !failed) {
        requireAlive(job.place);
      } else if (due) {
        int64_t count = 0;
        for (const Piece &piece : job.bucket)
          count += piece.count;
        arrive(sums, job.place, count, 0);
        for (const Piece &piece : job.bucket)
          sum({reinterpret_cast<float *>(piece.address),
               static_cast<size_t>(piece.count)},
              job.place);
        summed.bytes = count * static_cast<int64_t>(sizeof(float));
      }
    } catch (const Error &caught) {
      report(job.place, caught.what());
      lock.lock();
      error = std::current_exception();
      changed.notify_all();
      return;
    }
    summed.seconds =
        std::chrono::duration<double>(Time::now() - summed.begin).count();
    lock.lock();
    if (due) {
      finished.push_back(summed);
      --unfinished;
      changed.notify_all();
    }
  }
}

void RankCollective::sum(std::span<float> numbers, const Place &place) {
  // Rank r adds up part r. It goes over it in pieces, so that what the others
  // send needs little room, and the next piece comes in while one is added.
  constexpr int64_t piece = 1 << 18;
  int64_t ranks = size(), own = rank();
  auto count = static_cast<int64_t>(numbers.size());
  int64_t part = ((count + ranks - 1) / ranks + 15) / 16 * 16;
  auto range = [&](int64_t of, int64_t k) {
    int64_t end = std::min(count, (of + 1) * part);
    int64_t first = std::min(end, of * part + k * piece);
    return numbers.subspan(static_cast<size_t>(first),
                           static_cast<size_t>(std::min(piece, end - first)));
  };
  int64_t pieces = (std::min(part, count) + piece - 1) / piece;
  scratch.resize(static_cast<size_t>(2 * ranks * piece));
  auto theirs = [&](int64_t of, int64_t k) {
    return scratch.data() + (k % 2 * ranks + of) * piece;
  };
  auto bytes = [](std::span<const float> s) {
    return static_cast<int64_t>(s.size_bytes());
  };
  std::vector<Message> raw[2], final[2];
  auto exchange = [&](int64_t k) {
    for (int32_t peer = 0; peer < ranks; ++peer) {
      if (peer == own)
        continue;
      receive(raw[k % 2], theirs(peer, k), bytes(range(own, k)), peer,
              sums.tag + 1);
      send(raw[k % 2], range(peer, k).data(), bytes(range(peer, k)), peer,
           sums.tag + 1);
    }
  };
  if (pieces)
    exchange(0);
  for (int64_t k = 0; k < pieces; ++k) {
    if (k + 1 < pieces)
      exchange(k + 1);
    await(raw[k % 2], place, /*arriving=*/false);
    std::span<float> mine = range(own, k);
    float total[1024];
    for (size_t at = 0; at < mine.size(); at += std::size(total)) {
      size_t n = std::min(std::size(total), mine.size() - at);
      for (int64_t r = 0; r < ranks; ++r) {
        const float *each = (r == own ? mine.data() : theirs(r, k)) + at;
        if (r == 0)
          std::copy(each, each + n, total);
        else
          for (size_t i = 0; i < n; ++i)
            total[i] += each[i];
      }
      std::copy(total, total + n, mine.data() + at);
    }
    // Its own numbers have left, so what comes back may take their place.
    await(final[k % 2], place, /*arriving=*/false);
    for (int32_t peer = 0; peer < ranks; ++peer) {
      if (peer == own)
        continue;
      receive(final[k % 2], range(peer, k).data(), bytes(range(peer, k)), peer,
              sums.tag + 2);
      send(final[k % 2], mine.data(), bytes(mine), peer, sums.tag + 2);
    }
  }
  for (std::vector<Message> &last : final)
    await(last, place, /*arriving=*/false);
}

//===----------------------------------------------------------------------===//
// Errors
//===----------------------------------------------------------------------===//

void RankCollective::report(const Place &place, const std::string &text) {
  std::string full = place.loc.empty() ? text : place.loc + ": " + text;
  if (onError)
    onError(full);
  else
    fail(full);
}

void RankCollective::fail(const std::string &text) {
  static std::atomic<bool> said = false;
  if (said.exchange(true)) {
    // The other thread is at it.
    ::sleep(abortSeconds);
    std::_Exit(1);
  }
  // Where all ranks fail alike, the first one says it, and its end is theirs.
  if (!isRoot()) {
    ::usleep(300000);
    if (hasFailed(0)) {
      ::sleep(abortSeconds);
      std::_Exit(1);
    }
  }
  if (!text.empty())
    std::fprintf(stderr, "error: rank %ld of %ld: %s\n",
                 static_cast<long>(rank()), static_cast<long>(size()),
                 text.c_str());
  std::fflush(nullptr);
  failed = true;
  {
    std::lock_guard lock(transportMutex);
    std::vector<Transport::Request> words;
    for (int32_t peer = 0; peer < size(); ++peer)
      if (peer != rank())
        words.push_back(transport->send("!", 1, peer, lastWordTag));
    for (int i = 0; i < 200 && !words.empty(); ++i) {
      std::erase_if(words, [&](Transport::Request word) {
        return transport->test(word) != Transport::State::pending;
      });
      ::usleep(500);
    }
  }
  // MPI may hang while it ends the others: the launcher then sees to them.
  ::alarm(abortSeconds);
  transport->abort(1);
  std::_Exit(1);
}

} // namespace r1c::runtime
