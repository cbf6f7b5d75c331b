//===- Policies.cpp - commands on policies and data -----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/HuggingFace.h"
#include "runtime/execute/Session.h"
#include "runtime/support/Files.h"
#include <algorithm>
#include <cstdio>
#include <unistd.h>

namespace r1c::runtime {

namespace {

class Assign : public Command {
public:
  Assign(Loader &loader, const Fields &fields)
      : to(loader.policy(fields, "to")), from(loader.policy(fields, "from")) {}

  void run(Session &session) override {
    to.copyFrom(from);
    session.rebuildPacked(to);
  }

private:
  Policy &to, &from;
};

class Save : public Command {
public:
  Save(Loader &loader, const Fields &fields)
      : policy(loader.policy(fields, "policy")), name(fields.text("name")),
        byValue(fields.has("best")), best(loader.number(fields, "best", 0)),
        keep(fields.integer("keep", byValue ? 1 : 0)), key(loader.key("save")) {
    if (policy.model.is_null())
      throw Error("policy '", policy.name, "' has no 'model' to be saved with");
    if (keep < 0)
      throw Error("'keep' must be at least 1");
    if (fs::path(name).filename() != name)
      throw Error("'", name, "' is not a name; save writes below --out");
  }

  void run(Session &session) override {
    auto &kept = session.kept[key];
    // With `best` the order is by value and the worst goes; else the oldest.
    double value = byValue ? best.get() : static_cast<double>(session.round);
    auto worst = std::min_element(
        kept.begin(), kept.end(),
        [](const auto &a, const auto &b) { return a.first < b.first; });
    bool full = keep > 0 && static_cast<int64_t>(kept.size()) >= keep;
    if (full && !(value > worst->first))
      return;
    char step[32];
    std::snprintf(step, sizeof step, "step-%06ld",
                  static_cast<long>(session.step));
    fs::path saves = session.options().out / "saves" / name;
    bool writes = session.collective().isRoot();
    if (writes)
      saveHuggingFace(saves / step, policy);
    if (full) {
      if (writes && worst->second != step)
        fs::remove_all(saves / worst->second);
      kept.erase(worst);
    }
    std::erase_if(kept,
                  [&](const auto &entry) { return entry.second == step; });
    kept.push_back({value, step});
    session.recorder().note(concat("saved ", policy.name, " to ",
                                   (saves / step).string(),
                                   byValue ? concat(" (", value, ")") : ""));
    session.checkpointAsked = true;
  }

private:
  Policy &policy;
  std::string name;
  bool byValue;
  Number best;
  int64_t keep;
  std::string key;
};

class Write : public Command {
public:
  Write(Loader &loader, const Fields &fields)
      : data(loader.session.dataSet(fields.text("data"))),
        set(loader.set(fields)),
        where(loader.memory.optional(fields, "where")) {}

  void run(Session &session) override {
    const SetState &state = session.set(set);
    std::vector<double> flags =
        where ? where.read<double>(state.whole.sequences())
              : std::vector<double>(state.whole.sequences(), 1.0);
    fs::path directory = session.options().out / "data";
    fs::path path = directory / (data.name() + ".jsonl");
    int64_t &lines = session.written[data.name()];
    std::FILE *file = nullptr;
    // The first write of a run starts the file anew. One rank does it; all
    // remember the lines.
    if (session.collective().isRoot()) {
      fs::create_directories(directory);
      file = std::fopen(path.c_str(), lines ? "ab" : "wb");
      if (!file)
        throw Error(path.string(), ": cannot be written");
    }
    for (size_t i = 0; i < state.outputs.sequences.size(); ++i) {
      if (flags[i] == 0)
        continue;
      const Sequence &sequence = state.outputs.sequences[i];
      std::string line = dumpJson(
          data.completed(state.outputs.lineOf(sequence), sequence.text));
      if (file)
        std::fprintf(file, "%s\n", line.c_str());
      ++lines;
      data.append(line, concat(data.name(), ".jsonl:", lines));
    }
    if (!file)
      return;
    // A checkpoint will count these lines.
    bool written = std::fflush(file) == 0 && ::fsync(::fileno(file)) == 0;
    std::fclose(file);
    if (!written)
      throw Error(path.string(), ": cannot be written");
  }

private:
  DataSet &data;
  int64_t set;
  Range where;
};

template <typename T>
std::unique_ptr<Command> make(Loader &loader, const Fields &fields) {
  return std::make_unique<T>(loader, fields);
}

} // namespace

void registerPolicies(std::map<std::string, LoadCommand> &table) {
  table["assign"] = make<Assign>;
  table["save"] = make<Save>;
  table["write"] = make<Write>;
}

} // namespace r1c::runtime
