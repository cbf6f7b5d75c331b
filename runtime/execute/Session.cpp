//===- Session.cpp - one run of an artifact: set-up -----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/execute/Session.h"
#include "runtime/artifact/MemoryPlan.h"
#include "runtime/checkpoint/HuggingFace.h"
#include "runtime/collective/nccl/Nccl.h"
#include "runtime/collective/single/Single.h"
#include "runtime/device/cpu/Cpu.h"
#include "runtime/device/cpu/ThreadPool.h"
#include "runtime/device/cuda/Cuda.h"
#include "runtime/reward/Extern.h"
#include "runtime/support/Files.h"
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

namespace r1c::runtime {

const Axes &SetState::axes(bool ofView) const {
  if (!ofView)
    return whole;
  if (!view)
    throw Error("a view of a set is only there inside an update");
  return *view;
}

Session::Session(RunOptions options) : runOptions(std::move(options)) {
  if (!runOptions.ranks)
    runOptions.ranks = std::make_shared<SingleCollective>();
  artifact = readArtifact(runOptions.artifact);
  if (runOptions.base.folder.empty())
    runOptions.base = {fs::absolute(runOptions.artifact).parent_path(), true};
  within([&] { return runOptions.artifact; },
         [&] {
           manifest =
               Manifest::parse(artifact.manifest, artifact.constants.size());
           seedValue = runOptions.seed.value_or(0);
           openDevice();
           if (runOptions.profile)
             profile.emplace(manifest);

           Fields top(manifest.json, "manifest.json");
           top.forEach("policies", [&](const Fields &fields) {
             auto policy = std::make_unique<Policy>(
                 fields, *memoryOwner,
                 static_cast<uint32_t>(policyOrder.size()), runOptions.base);
             // What is saved at the end must not fail there.
             if (policy->trained || !policy->model.is_null())
               huggingFaceConfig(*policy);
             policyOrder.push_back(policy->name);
             policies[policy->name] = std::move(policy);
           });
           top.forEach("externs", [&](const Fields &fields) {
             externs[fields.text("name")] =
                 std::make_unique<ExternPool>(fields, runOptions.base.folder);
           });
           loadData();
           for (auto [name, range] : {std::pair("step", &stepBuffer),
                                      std::pair("steps", &stepsBuffer)})
             if (manifest.findBuffer(name))
               *range = memoryOwner->buffer(name);

           loaderOwner =
               std::make_unique<Loader>(*this, *executable, *memoryOwner);
           loaderOwner->loadPrograms(top.has("programs") ? top.get("programs")
                                                         : Json());
           for (const auto &[name, policy] : policies) {
             if (!policy->packName.empty())
               policy->pack = &loaderOwner->program(policy->packName);
             if (!policy->rolloutName.empty())
               policy->rolloutProgram =
                   &loaderOwner->program(policy->rolloutName);
             if (!policy->filteredName.empty())
               policy->filteredProgram =
                   &loaderOwner->program(policy->filteredName);
           }
           loadStages(*loaderOwner);
         });
}

Session::~Session() = default;

/// Everything that may be missing is said here, before anything is allocated.
void Session::openDevice() {
  bool onCpu = manifest.targetKind == "cpu";
  if (onCpu) {
    if (std::string missing = missingCpuFeatures(manifest.targetFeatures);
        !missing.empty())
      throw Error("compiled for a CPU with ", missing,
                  ", which this one lacks; "
                  "compile the step file again here");
    // Ranks that may use the same cores divide them.
    if (runOptions.threads == 0 && !std::getenv("R1C_THREADS"))
      runOptions.threads = std::max<int64_t>(1, ThreadPool::defaultSize() /
                                                    collective().sharers());
    deviceOwner = makeCpuDevice(runOptions.threads);
  } else if (manifest.targetKind == "cuda") {
    deviceOwner = makeCudaDevice(manifest.targetCpu, collective().localRank());
    if (collective().size() > 1)
      gpuRanks = makeNcclRanks(runOptions.ranks, *deviceOwner,
                               runOptions.collectiveTimeout);
  } else {
    throw Error("compiled for ", manifest.targetKind,
                ", and this runtime has no such device");
  }
  const char *place = onCpu ? "this machine" : "this GPU";
  // The compiler knows ways to need less.
  auto require = [&](int64_t limit, const std::string &offered) {
    const char *rest = "make the sizes named below smaller";
    std::string size =
        limit >> 30 ? concat(limit >> 30, "G") : concat(limit >> 20, "M");
    requireMemory(manifest, limit, offered,
                  limit >> 20
                      ? concat("compile with --memory=", size, ", or ", rest)
                      : rest);
  };
  if (runOptions.memory)
    require(static_cast<int64_t>(runOptions.memory), "--memory");
  else
    require(deviceOwner->memory(), place);
  executable = deviceOwner->load(artifact.kernels);
  // The rest may be in use by others: on a GPU no pages are lent.
  if (!onCpu)
    require(deviceOwner->freeMemory(),
            concat(place, ", with what else runs on it,"));
  memoryOwner =
      std::make_unique<Memory>(*deviceOwner, manifest, artifact.constants);
}

Policy &Session::policy(const std::string &name) {
  auto at = policies.find(name);
  if (at == policies.end())
    throw Error("no policy '", name, "'");
  return *at->second;
}

DataSet &Session::dataSet(const std::string &name) {
  auto at = dataSets.find(name);
  if (at == dataSets.end())
    throw Error("no data '", name, "'");
  return *at->second;
}

ExternPool &Session::externPool(const std::string &name) {
  auto at = externs.find(name);
  if (at == externs.end())
    throw Error("no extern '", name, "'");
  return *at->second;
}

SetState &Session::set(int64_t number) {
  auto at = sets.find(number);
  if (at == sets.end())
    throw Error("set ", number, " is read before it is made");
  return at->second;
}

const TextColumn &Session::texts(int64_t id) const {
  auto at = textColumns.find(id);
  if (at == textColumns.end())
    throw Error("text ", id, " is read before it is made");
  return at->second;
}

int64_t Session::rowLimit(int64_t set) const {
  auto at = rowLimits.find(set);
  return at == rowLimits.end() ? INT64_MAX : at->second;
}

void Session::limitRows(int64_t set, int64_t rows) {
  auto [at, added] = rowLimits.emplace(set, rows);
  at->second = std::min(at->second, rows);
}

void Session::rebuildPacked(Policy &policy) {
  if (policy.pack)
    policy.pack->run(*this);
}

namespace {

/// Calls `each` with every command of a stage, however deep.
void walk(const Json &body, const std::function<void(const Json &)> &each) {
  if (!body.is_array())
    return;
  for (const Json &command : body) {
    if (!command.is_object())
      continue;
    each(command);
    if (command.contains("body"))
      walk(command["body"], each);
  }
}

} // namespace

void Session::loadData() {
  // A chat template is that of the model which the data is put to; what some
  // stage writes need not exist yet.
  std::map<std::string, const Tokenizer *> reader;
  std::set<std::string> writtenTo;
  for (const StageInfo &stage : manifest.stages)
    walk(stage.body, [&](const Json &command) {
      std::string op = command.value("op", Json("")).is_string()
                           ? command.value("op", "")
                           : "";
      if (op == "write")
        writtenTo.insert(Fields(command, "write").text("data"));
      if (op != "sample" && op != "read")
        return;
      Fields fields(command, op);
      for (const std::string &name : fields.texts("data"))
        reader.emplace(name, policy(fields.text("policy")).tokenizer.get());
    });
  Fields(manifest.json, "manifest.json")
      .forEach("data", [&](const Fields &fields) {
        std::string name = fields.text("name");
        // Data that no stage reads need not be there.
        if (!reader.count(name) && !writtenTo.count(name))
          return;
        dataSets[name] = std::make_unique<DataSet>(
            fields, runOptions.base, reader[name], writtenTo.count(name) != 0);
      });
}

void Session::loadStages(Loader &loader) {
  plans.resize(manifest.stages.size());
  for (size_t i = 0; i < plans.size(); ++i) {
    const StageInfo &stage = manifest.stages[i];
    plan = &plans[i];
    loader.scope = stage.name;
    plan->body =
        loader.loadBlock(stage.body, "stage '" + stage.name + "'", false);
    if (!loader.reductions.empty())
      throw Error("stage '", stage.name,
                  "': a reduce_start has no all_reduce behind it");
    if (stage.limit == "steps" && plan->updatesPerRound == 0)
      throw Error("stage '", stage.name,
                  "' counts steps, but its round does no "
                  "update; write rounds = N or epochs = N");
    if (stage.limit == "epochs" && plan->mainCursor.empty())
      throw Error("stage '", stage.name,
                  "' counts epochs, but its round takes nothing from data");
  }
  plan = nullptr;
}

void Session::setParams() {
  for (const ParamInfo &param : manifest.params)
    if (!param.buffer.empty())
      memoryOwner->buffer(param.buffer).set(param.value.get<double>());
  for (const auto &[name, text] : runOptions.params) {
    auto at = std::find_if(manifest.params.begin(), manifest.params.end(),
                           [&](const ParamInfo &p) { return p.name == name; });
    if (at == manifest.params.end()) {
      std::string known;
      for (const ParamInfo &param : manifest.params)
        known += (known.empty() ? "" : ", ") + param.name;
      throw Error("--set ", name, ": no such param",
                  known.empty() ? "" : "; there are ", known);
    }
    if (at->buffer.empty())
      throw Error("--set ", name,
                  ": this param is frozen in the artifact, "
                  "because a size depends on it; compile the step file with "
                  "--set ",
                  name, "=", text);
    char *end = nullptr;
    double value = std::strtod(text.c_str(), &end);
    if (end == text.c_str() || *end)
      throw Error("--set ", name, ": '", text, "' is not a number");
    memoryOwner->buffer(at->buffer).set(value);
  }
}

void Session::startPolicies() {
  for (const std::string &name : policyOrder) {
    Policy &target = policy(name);
    Fields source(target.source, "policy '" + name + "': source");
    std::string kind = source.text("kind");
    if (kind == "load")
      target.load(resolvePath(source.text("path"), runOptions.base));
    else if (kind == "copy")
      target.copyFrom(policy(source.text("of"))); // declared before its copies
    else
      target.initialise(seedValue);
    if (target.updates)
      target.updates.set(0);
    rebuildPacked(target);
  }
}

} // namespace r1c::runtime
