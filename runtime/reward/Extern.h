//===- Extern.h - programs that judge outputs -------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_REWARD_EXTERN_H
#define R1C_RUNTIME_REWARD_EXTERN_H

#include "runtime/support/Json.h"
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace r1c::runtime {

/// An `extern ... = program("...")`: a pool of processes that speak JSON lines.
/// A worker reads {"id": n, "args": [...]} and answers {"id": n, "value": v};
/// v is a number, flag or text, as declared. What it writes to its standard
/// error goes to ours.
///
/// A worker that crashes, hangs beyond the timeout or answers nonsense is
/// named, killed with everything it started, and the question costs the
/// declared failure value. Equal questions share one answer within a round.
class ExternPool {
public:
  /// An entry of the manifest's "externs"; the program runs in `base`.
  ExternPool(const Fields &description, std::filesystem::path base);
  ~ExternPool();
  ExternPool(const ExternPool &) = delete;
  ExternPool &operator=(const ExternPool &) = delete;

  bool givesText() const { return result == "text"; }

  /// Questions of this round that cost the failure value.
  int64_t failures() const { return failed; }

  /// The answers to `questions` (each the list of arguments), in order. A
  /// question on which the program hangs or crashes costs the failure value; a
  /// program that has never answered anything is no judge: that throws.
  std::vector<Json> ask(const std::vector<Json> &questions, int64_t round,
                        const std::function<void(const std::string &)> &warn);

  /// Those of the questions that have no answer in this round, each once, in
  /// their order.
  std::vector<Json> unanswered(const std::vector<Json> &questions,
                               int64_t round);
  /// An answer that another pool of the same program gave in this round.
  void adopt(const Json &question, const Json &answer);
  /// Questions that cost the failure value there.
  void addFailures(int64_t count) { failed += count; }

private:
  void beginRound(int64_t round);
  struct Worker;
  void start(Worker &worker);
  int stop(Worker &worker);
  void require(bool answers, const std::string &what) const;
  bool accepts(const Json &value) const;

  std::string name, program, result;
  int64_t count;
  double timeout;
  Json failure;
  std::filesystem::path directory;
  std::vector<std::unique_ptr<Worker>> workers;
  std::unordered_map<std::string, Json> answers;
  int64_t answersOf = -1; ///< the round of `answers`
  int64_t failed = 0;     ///< in that round
  bool everAnswered = false;
  int64_t firstFailures = 0; ///< before the first answer
  int64_t wrongAnswers = 0;  ///< after it
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_REWARD_EXTERN_H
