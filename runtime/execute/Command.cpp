//===- Command.cpp - commands, and how they are loaded --------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/execute/Command.h"
#include "runtime/execute/Session.h"

namespace r1c::runtime {

void Block::run(Session &session) const {
  for (const std::unique_ptr<Command> &command : commands) {
    try {
      session.collective().at(command->loc);
      command->run(session);
    } catch (Error &error) {
      // The innermost position is the useful one: an outer block's command must
      // not put its own before it.
      if (!command->loc.empty() && !session.errorLocated) {
        session.errorLocated = true;
        error.within(command->loc);
      }
      throw;
    }
  }
}

Loader::Loader(Session &session, Executable &executable, const Memory &memory)
    : session(session), executable(executable), memory(memory) {}

void Loader::loadPrograms(const Json &list) {
  if (list.is_null())
    return;
  // A call needs the address of its program, whatever the order.
  for (const auto &[name, body] : list.items())
    programs[name] = std::make_unique<Block>();
  std::map<std::string, int> colour; // 1: under way, 2: done
  auto visit = [&](auto &&self, const std::string &name,
                   const Json &body) -> void {
    if (colour[name] == 2)
      return;
    if (colour[name] == 1)
      throw Error("program '", name, "' calls itself");
    colour[name] = 1;
    if (body.is_array())
      for (const Json &command : body)
        if (command.is_object() && command.value("op", Json()) == "call") {
          std::string callee = Fields(command, name).text("program");
          if (list.contains(callee))
            self(self, callee, list[callee]);
        }
    colour[name] = 2;
  };
  for (const auto &[name, body] : list.items())
    visit(visit, name, body);
  for (const auto &[name, body] : list.items()) {
    scope = name;
    *programs[name] = loadBlock(body, "program '" + name + "'", true);
  }
}

const Block &Loader::program(const std::string &name) const {
  auto at = programs.find(name);
  if (at == programs.end())
    throw Error("no program '", name, "'");
  return *at->second;
}

Block Loader::loadBlock(const Json &list, const std::string &where,
                        bool deviceOnly) {
  static const std::map<std::string, LoadCommand> table = [] {
    std::map<std::string, LoadCommand> result;
    registerSets(result);
    registerTexts(result);
    registerTraining(result);
    registerChunks(result);
    registerPolicies(result);
    return result;
  }();
  Block block;
  if (list.is_null())
    return block;
  if (!list.is_array())
    throw Error(where, ": a body must be a list, is ", list.type_name());
  for (size_t i = 0; i < list.size();) {
    std::string place = concat(where, "[", i, "]");
    Fields fields(list[i], place);
    std::string op = fields.text("op");
    if (isDeviceCommand(op)) {
      block.commands.push_back(loadDeviceRun(*this, list, i, where));
      continue;
    }
    auto at = table.find(op);
    if (at == table.end())
      throw Error(place, ": no command '", op, "'");
    if (deviceOnly)
      throw Error(place, ": the host command '", op,
                  "' cannot stand in a program");
    std::string loc = fields.text("loc", "");
    block.commands.push_back(
        located(loc.empty() ? place + " (" + op + ")" : loc,
                [&] { return at->second(*this, fields); }));
    block.commands.back()->loc = loc;
    ++i;
  }
  return block;
}

Number Loader::number(const Fields &fields, const char *name) const {
  if (fields.get(name).is_number())
    return Number(fields.number(name));
  Range range = memory.required(fields, name);
  if (range.dtype != "f64" || range.bytes < 8)
    throw Error(fields.where(), ": '", name,
                "' must be a number or refer to "
                "one f64");
  return Number(range);
}

Number Loader::number(const Fields &fields, const char *name,
                      double otherwise) const {
  return fields.has(name) ? number(fields, name) : Number(otherwise);
}

Policy &Loader::policy(const Fields &fields, const char *name) const {
  return session.policy(fields.text(name));
}

int64_t Loader::set(const Fields &fields) const {
  return fields.integer("set");
}

std::string Loader::key(const std::string &kind) {
  std::string name = scope + "." + kind;
  return concat(name, ".", keys[name]++);
}

} // namespace r1c::runtime
