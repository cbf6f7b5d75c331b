//===- Command.h - commands, and how they are loaded ------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_EXECUTE_COMMAND_H
#define R1C_RUNTIME_EXECUTE_COMMAND_H

#include "runtime/collective/Collective.h"
#include "runtime/device/Memory.h"
#include "runtime/execute/Policy.h"
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace r1c::runtime {

class Session;

/// What a reduce_start hands over, and the all_reduce that waits for it.
struct Reduction {
  Bucket bucket;
  Place place;
  std::unique_ptr<Mark> mark; ///< where it is final; null: at once
};

/// One command of a program, with everything resolved: running it looks up no
/// name and parses no JSON.
class Command {
public:
  virtual ~Command() = default;
  virtual void run(Session &session) = 0;
  std::string loc; ///< "step.r1:9:1", or empty
};

struct Block {
  std::vector<std::unique_ptr<Command>> commands;
  void run(Session &session) const;
};

/// A number operand: a literal, or one float64 on the device.
class Number {
public:
  Number() = default;
  explicit Number(double literal) : literal(literal) {}
  explicit Number(Range range) : range(std::move(range)) {}
  double get() const { return range ? range.get() : literal; }

private:
  double literal = 0;
  Range range;
};

/// Turns the JSON of programs and stages into commands. The families of
/// commands in runtime/execute/commands/ register what they load.
class Loader {
public:
  Loader(Session &session, Executable &executable, const Memory &memory);

  /// Loads all programs first: stages and policies refer to them.
  void loadPrograms(const Json &programs);
  Block loadBlock(const Json &list, const std::string &where, bool deviceOnly);
  const Block &program(const std::string &name) const;

  /// Helpers for the families.
  Number number(const Fields &fields, const char *name) const;
  Number number(const Fields &fields, const char *name, double otherwise) const;
  Policy &policy(const Fields &fields, const char *name) const;
  int64_t set(const Fields &fields) const;
  /// Names a command the same way in every load of an artifact: what a
  /// checkpoint calls its cursor, its last step, its best value.
  std::string key(const std::string &kind);
  /// Runs `body`; an error that leaves it is told the place, unless a command
  /// inside has told its own.
  template <typename Body>
  auto located(const std::string &place, Body &&body) {
    try {
      return body();
    } catch (Error &error) {
      if (!place.empty() && !std::exchange(isLocated, true))
        error.within(place);
      throw;
    }
  }

  Session &session;
  Executable &executable;
  const Memory &memory;
  std::string scope; ///< the stage or program that is being loaded
  bool inUpdate = false, inEvery = false, inSlices = false;
  /// Those that no all_reduce waits for yet.
  std::vector<std::shared_ptr<Reduction>> reductions;

private:
  std::map<std::string, std::unique_ptr<Block>> programs;
  std::map<std::string, int> keys;
  bool isLocated = false; ///< an error is on its way
};

using LoadCommand = std::unique_ptr<Command> (*)(Loader &, const Fields &);

/// Device commands come in runs: a whole run is one Command.
bool isDeviceCommand(const std::string &op);
std::unique_ptr<Command> loadDeviceRun(Loader &loader, const Json &list,
                                       size_t &at, const std::string &where);

/// The host commands by name.
void registerSets(std::map<std::string, LoadCommand> &table);
void registerTexts(std::map<std::string, LoadCommand> &table);
void registerTraining(std::map<std::string, LoadCommand> &table);
void registerChunks(std::map<std::string, LoadCommand> &table);
void registerPolicies(std::map<std::string, LoadCommand> &table);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_EXECUTE_COMMAND_H
