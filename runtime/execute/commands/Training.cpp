//===- Training.cpp - commands of updates ---------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/execute/Session.h"
#include <algorithm>
#include <cmath>

namespace r1c::runtime {

namespace {

class Update : public Command {
public:
  Update(Loader &loader, const Fields &fields)
      : number(loader.set(fields)), policy(loader.policy(fields, "policy")),
        minibatches(fields.integer("minibatches", 1)),
        epochs(fields.integer("epochs", 1)) {
    std::string split = fields.text("split", "group");
    if (split != "group" && split != "sequence")
      throw Error("'split' is '", split, "'; it must be group or sequence");
    tearGroups = split == "sequence";
    if (minibatches < 1 || epochs < 1)
      throw Error("'minibatches' and 'epochs' must be at least 1");
    if (loader.inUpdate)
      throw Error("an update cannot stand inside another");
    StagePlan &plan = *loader.session.plan;
    if (!loader.inEvery) {
      plan.updatesPerRound += minibatches * epochs;
      if (!plan.mainSetUpdated)
        plan.mainSet = number;
      plan.mainSetUpdated = true;
    }
    loader.inUpdate = true;
    body =
        loader.loadBlock(fields.get("body"), fields.where() + ".body", false);
    loader.inUpdate = false;
  }

  void run(Session &session) override {
    Clock::Scope part(session.clock, Part::update);
    SetState &state = session.set(number);
    for (int64_t epoch = 0; epoch < epochs; ++epoch)
      for (std::vector<int32_t> &sequences :
           deal(state.outputs, minibatches, tearGroups, session.seed(),
                static_cast<uint32_t>(session.round),
                static_cast<uint32_t>(epoch))) {
        if (!session.mayUpdate()) {
          session.roundCut = true;
          return;
        }
        state.view = Axes::view(state.outputs, std::move(sequences));
        body.run(session);
        state.view.reset();
        session.countUpdate(policy);
      }
  }

private:
  int64_t number;
  Policy &policy;
  int64_t minibatches, epochs;
  bool tearGroups;
  Block body;
};

class Metric : public Command {
public:
  Metric(Loader &loader, const Fields &fields)
      : name(fields.text("name")), from(loader.number(fields, "from")),
        ofUpdate(fields.text("reduce", "round") == "update"),
        values(loader.memory.optional(fields, "values")),
        number(fields.integer("set", -1)) {}

  void run(Session &session) override {
    double value = from.get();
    // These three stand before the weights are touched; were one not finite,
    // every weight would be lost.
    bool guards =
        name == "loss" || name == "grad_norm" || name == "learning_rate";
    bool ascends = name == "learning_rate" && value < 0;
    if (ofUpdate && guards && (!std::isfinite(value) || ascends))
      throw Error(name, " is ", value,
                  " in this update, which was not applied; the last checkpoint "
                  "is as it was");
    session.recorder().metric(name, value, ofUpdate);
    if (!values || !session.plan || session.plan->mainSet != number)
      return;
    const SetState &state = session.set(number);
    std::vector<double> all = values.read<double>(state.whole.sequences());
    std::vector<OrderedJson> &traces = session.recorder().currentTraces();
    for (size_t t = 0; t < state.traced.size() && t < traces.size(); ++t)
      traces[t].emplace(name, all[state.traced[t]]);
  }

private:
  std::string name;
  Number from;
  bool ofUpdate;
  Range values;
  int64_t number;
};

class Every : public Command {
public:
  Every(Loader &loader, const Fields &fields)
      : steps(fields.integer("steps")), key(loader.key("every")) {
    if (steps < 1)
      throw Error("'steps' must be at least 1");
    bool outer = std::exchange(loader.inEvery, true);
    body =
        loader.loadBlock(fields.get("body"), fields.where() + ".body", false);
    loader.inEvery = outer;
  }

  void run(Session &session) override {
    auto at = session.lastPassed.find(key);
    // Step 0 is a multiple, too; where the first passage comes later, one only
    // counts that has been passed since step 0.
    bool due = at == session.lastPassed.end()
                   ? session.step == 0 || session.step >= steps
                   : session.step / steps > at->second / steps;
    session.lastPassed[key] = session.step;
    if (due)
      body.run(session);
  }

private:
  int64_t steps;
  std::string key;
  Block body;
};

template <typename T>
std::unique_ptr<Command> make(Loader &loader, const Fields &fields) {
  return std::make_unique<T>(loader, fields);
}

} // namespace

void registerTraining(std::map<std::string, LoadCommand> &table) {
  table["update"] = make<Update>;
  table["metric"] = make<Metric>;
  table["every"] = make<Every>;
}

} // namespace r1c::runtime
