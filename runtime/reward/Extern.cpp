//===- Extern.cpp - programs that judge outputs ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/reward/Extern.h"
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unordered_set>

namespace r1c::runtime {

using Time = std::chrono::steady_clock;

/// Wrong answers that are shown.
constexpr int64_t namedAnswers = 5;
/// Bytes of a line, so that a program gone wild does not fill the memory.
constexpr size_t longestAnswer = size_t(16) << 20;

struct ExternPool::Worker {
  pid_t process = -1;
  int socket = -1;
  int64_t question = -1; ///< what it works on; -1: idle
  bool ended = false;    ///< closed its end by itself
  Time::time_point deadline;
  std::string toSend, received;
};

ExternPool::ExternPool(const Fields &d, std::filesystem::path base)
    : name(d.text("name")), program(d.text("program")),
      result(d.text("result", "number")), count(d.integer("workers", 1)),
      timeout(d.number("timeout", 60)), failure(d.get("failure")),
      directory(std::move(base)) {
  if (count < 1 || !(timeout > 0))
    throw Error(d.where(), ": 'workers' and 'timeout' must be above 0");
  if (!accepts(failure))
    throw Error(d.where(), ": 'failure' must be a ", result);
  for (int64_t i = 0; i < count; ++i)
    workers.push_back(std::make_unique<Worker>());
}

ExternPool::~ExternPool() {
  for (auto &worker : workers)
    stop(*worker);
}

bool ExternPool::accepts(const Json &value) const {
  if (result == "text")
    return value.is_string();
  return value.is_number() || value.is_boolean();
}

void ExternPool::start(Worker &worker) {
  int ends[2];
  // A socket instead of two pipes: a write to a dead worker is an error that
  // can be handled instead of a signal.
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    throw Error("extern '", name, "': ", std::strerror(errno));
  // Everything the child needs is prepared before the fork: after it, only
  // calls that are safe in a process with other threads are made.
  std::string place = directory.string();
  const char *arguments[] = {"/bin/sh", "-c", program.c_str(), nullptr};
  pid_t process = ::fork();
  if (process < 0) {
    int reason = errno;
    ::close(ends[0]);
    ::close(ends[1]);
    throw Error("extern '", name, "': ", std::strerror(reason));
  }
  if (process == 0) {
    ::setpgid(0, 0); // so that it can be killed with its children
    ::dup2(ends[1], STDIN_FILENO);
    ::dup2(ends[1], STDOUT_FILENO);
    if (place.empty() || ::chdir(place.c_str()) == 0)
      ::execv(arguments[0], const_cast<char *const *>(arguments));
    ::_exit(127);
  }
  ::setpgid(process, process);
  ::close(ends[1]);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  worker.process = process;
  worker.socket = ends[0];
  worker.question = -1;
  worker.ended = false;
  worker.toSend.clear();
  worker.received.clear();
}

/// Ends the worker and gives its status as waitpid does.
int ExternPool::stop(Worker &worker) {
  if (worker.process < 0)
    return 0;
  ::close(worker.socket);
  int status = 0;
  // One that has ended by itself says how; it may be about to.
  for (int i = 0; i < 20 && worker.ended; ++i) {
    if (::waitpid(worker.process, &status, WNOHANG) == worker.process) {
      ::kill(-worker.process, SIGKILL); // its children
      worker.process = worker.socket = -1;
      return status;
    }
    ::usleep(5000);
  }
  ::kill(-worker.process, SIGKILL);
  ::waitpid(worker.process, &status, 0);
  worker.process = worker.socket = -1;
  return status;
}

void ExternPool::require(bool answers, const std::string &what) const {
  if (!answers)
    throw Error("extern '", name, "' (", program, "): ", what,
                ", and the program has never answered; what it wrote to "
                "standard error is above");
}

void ExternPool::beginRound(int64_t round) {
  if (answersOf != round) {
    answers.clear();
    failed = 0;
  }
  answersOf = round;
}

std::vector<Json> ExternPool::unanswered(const std::vector<Json> &questions,
                                         int64_t round) {
  beginRound(round);
  std::vector<Json> open;
  std::unordered_set<std::string> seen;
  for (const Json &question : questions) {
    std::string key = dumpJson(question);
    if (!answers.count(key) && seen.insert(std::move(key)).second)
      open.push_back(question);
  }
  return open;
}

void ExternPool::adopt(const Json &question, const Json &answer) {
  answers.emplace(dumpJson(question), answer);
}

std::vector<Json>
ExternPool::ask(const std::vector<Json> &questions, int64_t round,
                const std::function<void(const std::string &)> &warn) {
  std::vector<std::string> open;
  std::unordered_map<std::string, Json> texts;
  for (const Json &question : unanswered(questions, round)) {
    open.push_back(dumpJson(question));
    texts.emplace(open.back(), question);
  }

  size_t next = 0, done = 0;
  auto fail = [&](Worker &worker, const std::string &what) {
    ++failed;
    int status = stop(worker);
    // The shell's words for a program that is not there or cannot be run.
    bool starts = !worker.ended || !WIFEXITED(status) ||
                  (WEXITSTATUS(status) != 127 && WEXITSTATUS(status) != 126);
    require(everAnswered || starts, "cannot be started");
    constexpr int64_t patience = 3;
    firstFailures += !everAnswered;
    require(everAnswered || firstFailures < patience, what);
    warn(concat("extern '", name, "' (", program, "): ", what,
                "; the question costs ", dumpJson(failure)));
    answers[open[worker.question]] = failure;
    ++done;
    worker.question = -1;
  };

  while (done < open.size()) {
    for (auto &worker : workers) {
      if (worker->question >= 0 || next >= open.size())
        continue;
      if (worker->process < 0)
        start(*worker);
      worker->question = static_cast<int64_t>(next++);
      Json line = {{"id", worker->question},
                   {"args", texts[open[worker->question]]}};
      worker->toSend = dumpJson(line) + "\n";
      worker->received.clear();
      worker->deadline =
          Time::now() + std::chrono::duration_cast<Time::duration>(
                            std::chrono::duration<double>(timeout));
    }

    std::vector<pollfd> polls;
    std::vector<Worker *> polled;
    auto earliest = Time::time_point::max();
    for (auto &worker : workers)
      if (worker->question >= 0) {
        short events = POLLIN;
        if (!worker->toSend.empty())
          events |= POLLOUT;
        polls.push_back({worker->socket, events, 0});
        polled.push_back(worker.get());
        earliest = std::min(earliest, worker->deadline);
      }
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                    earliest - Time::now())
                    .count() +
                1;
    ::poll(polls.data(), polls.size(),
           static_cast<int>(std::clamp<long>(left, 0, 1 << 30)));

    for (size_t i = 0; i < polls.size(); ++i) {
      Worker &worker = *polled[i];
      if ((polls[i].revents & POLLOUT) && !worker.toSend.empty()) {
        ssize_t sent = ::send(worker.socket, worker.toSend.data(),
                              worker.toSend.size(), MSG_NOSIGNAL);
        if (sent > 0)
          worker.toSend.erase(0, static_cast<size_t>(sent));
      }
      if (polls[i].revents & (POLLIN | POLLHUP | POLLERR)) {
        char bytes[65536];
        ssize_t got = ::recv(worker.socket, bytes, sizeof bytes, 0);
        if (got > 0) {
          worker.received.append(bytes, static_cast<size_t>(got));
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
          worker.ended = true;
          fail(worker, "a worker ended before it answered");
          continue;
        }
        size_t end = worker.received.find('\n');
        if (end != std::string::npos) {
          Json answer =
              Json::parse(worker.received.substr(0, end), nullptr, false);
          if (!answer.is_object() ||
              answer.value("id", Json()) != worker.question ||
              !answer.contains("value") || !accepts(answer["value"])) {
            // Each answer is another text, and so another warning.
            if (everAnswered && ++wrongAnswers > namedAnswers)
              fail(worker, concat("more than ", namedAnswers,
                                  " answers were wrong; they are counted in "
                                  "the metric externs/",
                                  name, "/failures"));
            else
              fail(worker,
                   "a worker answered '" +
                       worker.received.substr(0, std::min<size_t>(end, 80)) +
                       "', not {\"id\": " + std::to_string(worker.question) +
                       ", \"value\": a " + result + "}");
            continue;
          }
          answers[open[worker.question]] = answer["value"];
          everAnswered = true;
          ++done;
          worker.question = -1;
          continue;
        }
        if (worker.received.size() > longestAnswer) {
          fail(worker, concat("a worker wrote ", longestAnswer >> 20,
                              " MiB that are no line"));
          continue;
        }
      }
      if (Time::now() >= worker.deadline)
        fail(worker, concat("a worker did not answer within ", timeout, " s"));
    }
  }

  std::vector<Json> all;
  for (const Json &question : questions)
    all.push_back(answers.at(dumpJson(question)));
  return all;
}

} // namespace r1c::runtime
