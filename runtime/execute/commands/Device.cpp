//===- Device.cpp - commands on the device --------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/execute/Command.h"
#include "runtime/execute/Session.h"
#include <algorithm>
#include <chrono>
#include <map>
#include <set>

namespace r1c::runtime {

namespace {

/// One device operation with its addresses.
struct Operation {
  enum Kind { dispatch, zero, copy, call, reduceStart, allReduce } kind;
  std::unique_ptr<Launch> launch;
  char *target = nullptr;
  const char *source = nullptr;
  int64_t bytes = 0;
  size_t info = 0;            ///< dispatch: the manifest's kernel
  const char *rows = nullptr; ///< dispatch: where its size stands, if its cost
                              ///< depends on it
  const Block *program = nullptr;
  /// reduceStart: the one; allReduce: all that it waits for, the rest last.
  std::vector<std::shared_ptr<Reduction>> reductions;
};

/// Operations that follow each other and can be recorded together.
struct Segment {
  size_t first = 0, last = 0;
  bool apart = false; ///< never recorded
  struct Way {
    int64_t runs = 0;
    std::unique_ptr<Recording> recording;
  };
  std::map<int64_t, Way> ways; ///< by what Device::expectRows gave
};

/// A run of device commands. Loops are unrolled when they are loaded: each
/// iteration then has its own addresses and a dispatch computes none.
class DeviceRun : public Command {
public:
  void run(Session &session) override {
    // Every kernel by itself where each is timed; and a run that is called from
    // one that is being recorded becomes a part of that recording.
    if (session.profile || session.trace || session.recording)
      return issue(session, 0, operations.size());
    if (segments.empty())
      cut();
    for (Segment &segment : segments)
      run(session, segment);
  }

  std::vector<Operation> operations;

private:
  void run(Session &session, Segment &segment) {
    // What runs once is not worth recording. The second time every kernel has
    // been run before, so that nothing is loaded while it is recorded.
    Segment::Way &way = segment.ways[session.rowBound];
    if (way.runs++ == 1 && worthRecording(segment))
      way.recording = session.device().record([&] {
        session.recording = true;
        struct Reset {
          bool &flag;
          ~Reset() { flag = false; }
        } reset{session.recording};
        issue(session, segment.first, segment.last);
      });
    if (!way.recording)
      return issue(session, segment.first, segment.last);
    session.device().replay(*way.recording);
    // Its marks are under way, and may be waited for.
    for (size_t i = segment.first; i < segment.last; ++i)
      if (operations[i].kind == Operation::reduceStart)
        beginInLastChunk(session, *operations[i].reductions.front());
  }

  bool worthRecording(const Segment &segment) const {
    return !segment.apart &&
           (segment.last - segment.first > 1 ||
            operations[segment.first].kind == Operation::call);
  }

  /// Ranks meet in an all_reduce, and the host takes part in it: it stands
  /// between recordings, alone or with the program that holds it. Done when the
  /// commands first run: programs are loaded in any order.
  void cut() {
    for (size_t i = 0; i < operations.size(); ++i) {
      bool apart = meetsRanks(operations[i]);
      if (segments.empty() || apart || meetsRanks(operations[i - 1]))
        segments.emplace_back().first = i;
      segments.back().last = i + 1;
      segments.back().apart = apart;
    }
  }

  static bool meetsRanks(const Operation &operation) {
    if (operation.kind == Operation::allReduce)
      return true;
    if (operation.kind != Operation::call)
      return false;
    for (const auto &command : operation.program->commands)
      // A program holds nothing but runs of device commands.
      for (const Operation &inner :
           static_cast<const DeviceRun &>(*command).operations)
        if (meetsRanks(inner))
          return true;
    return false;
  }

  void issue(Session &session, size_t first, size_t last) {
    Device &device = session.device();
    for (size_t i = first; i < last; ++i) {
      const Operation &operation = operations[i];
      switch (operation.kind) {
      case Operation::dispatch:
        if (session.profile || session.trace)
          timed(session, operation);
        else
          device.dispatch(*operation.launch);
        break;
      case Operation::zero:
        device.zero(operation.target, operation.bytes);
        break;
      case Operation::copy:
        device.copy(operation.target, operation.source, operation.bytes);
        break;
      case Operation::call:
        operation.program->run(session);
        break;
      case Operation::reduceStart:
        if (const Mark *mark = operation.reductions.front()->mark.get())
          device.mark(*mark);
        if (!session.recording)
          beginInLastChunk(session, *operation.reductions.front());
        break;
      case Operation::allReduce:
        allReduce(session, operation);
        break;
      }
    }
  }

  static void beginInLastChunk(Session &session, const Reduction &reduction) {
    if (session.isLastChunk && session.collective().size() > 1)
      begin(session, reduction);
  }

  static void begin(Session &session, const Reduction &reduction) {
    ++session.reductions;
    session.collective().startSum(reduction.bucket, reduction.place,
                                  reduction.mark.get());
  }

  /// Begins what the last chunk did not: it had no backward, or there was none
  /// for this rank.
  static void allReduce(Session &session, const Operation &operation) {
    Collective &ranks = session.collective();
    if (ranks.size() == 1)
      return;
    const auto &reductions = operation.reductions;
    auto came = std::chrono::steady_clock::now();
    try {
      while (session.reductions < reductions.size()) {
        const Reduction &reduction = *reductions[session.reductions];
        if (reduction.mark)
          session.device().mark(*reduction.mark);
        begin(session, reduction);
      }
      session.reductions = 0;
      session.countSums(ranks.finishSums(), came);
    } catch (Error &error) {
      session.errorLocated = true;
      error.within(reductions.front()->place.loc);
      throw;
    }
  }

  void timed(Session &session, const Operation &operation) {
    Device &device = session.device();
    const KernelInfo &info =
        session.memory().manifest().kernels[operation.info];
    int64_t rows = 0;
    if (operation.rows)
      device.download(&rows, operation.rows, sizeof rows);
    device.synchronize();
    auto begin = std::chrono::steady_clock::now();
    double seconds = device.time(*operation.launch);
    if (session.profile)
      session.profile->add(operation.info, session.clock.part(), seconds, rows);
    if (session.trace)
      session.trace->add(
          info.what.empty() ? info.name : info.name + " " + info.what, "kernel",
          begin, concat("\"rows\":", rows, ",\"loc\":", Json(info.loc).dump()),
          seconds);
  }

  std::vector<Segment> segments;
};

class RunLoader {
public:
  RunLoader(Loader &loader, DeviceRun &run) : loader(loader), run(run) {}

  void add(const Fields &fields, const int64_t *variable) {
    std::string op = fields.text("op");
    Operation operation{};
    if (op == "loop") {
      if (variable)
        throw Error(fields.where(), ": loops do not nest");
      return addLoop(fields);
    }
    if (op == "dispatch") {
      const Manifest &manifest = loader.memory.manifest();
      std::string name = fields.text("kernel");
      auto at = manifest.kernelByName.find(name);
      if (at == manifest.kernelByName.end())
        throw Error(fields.where(), ": no kernel '", name, "'");
      const KernelInfo &info = manifest.kernels[at->second];
      const Json &args = fields.array("args");
      if (info.operands >= 0 &&
          static_cast<size_t>(info.operands) != args.size())
        throw Error(fields.where(), ": kernel '", name, "' takes ",
                    info.operands, " operands, ", args.size(), " are given");
      operation.kind = Operation::dispatch;
      operation.info = at->second;
      std::vector<Operand> operands;
      for (size_t i = 0; i < args.size(); ++i)
        operands.push_back(operand(
            args[i], concat(fields.where(), ".args[", i, "]"), 0, variable));
      // The size stands last (docs/levels.md, kernel ABI).
      if (info.flopsPerRow || info.bytesPerRow)
        operation.rows = operands[info.operands - 1].address;
      operation.launch =
          within([&] { return fields.where(); },
                 [&] { return loader.executable.bind(info, operands); });
    } else if (op == "zero") {
      operation.kind = Operation::zero;
      operation.bytes = size(fields);
      operation.target = field(fields, "arg", operation.bytes, variable);
    } else if (op == "copy") {
      operation.kind = Operation::copy;
      operation.bytes = size(fields);
      operation.target = field(fields, "target", operation.bytes, variable);
      operation.source = field(fields, "source", operation.bytes, variable);
    } else if (op == "call") {
      operation.kind = Operation::call;
      operation.program = &loader.program(fields.text("program"));
    } else if (op == "all_reduce") {
      operation.kind = Operation::allReduce;
      if (std::string dtype = fields.text("dtype"); dtype != "f32")
        throw Error(fields.where(), ": all_reduce knows f32, not ", dtype);
      operation.reductions = std::exchange(loader.reductions, {});
      operation.reductions.push_back(makeReduction());
      int64_t count = fields.integer("count");
      addRest(operation.reductions,
              {field(fields, "arg", product(count, bytesOf("f32")), variable),
               count},
              fields.where());
      size_t number = 0;
      for (auto &reduction : operation.reductions)
        reduction->place = {concat("all_reduce, bucket ", ++number, " of ",
                                   operation.reductions.size()),
                            fields.text("loc", "")};
    } else if (op == "reduce_start") {
      operation.kind = Operation::reduceStart;
      const Json &args = fields.array("args");
      std::vector<int64_t> counts = fields.integers("counts");
      if (args.size() != counts.size())
        throw Error(fields.where(), ": 'args' and 'counts' differ in length");
      auto reduction = makeReduction();
      for (size_t i = 0; i < args.size(); ++i)
        reduction->bucket.push_back(
            {operand(args[i], concat(fields.where(), ".args[", i, "]"),
                     product(counts[i], bytesOf("f32")), variable)
                 .address,
             counts[i]});
      loader.reductions.push_back(reduction);
      operation.reductions = {reduction};
    } else {
      throw Error(fields.where(), ": the host command '", op,
                  "' cannot stand in a loop");
    }
    run.operations.push_back(std::move(operation));
  }

private:
  std::shared_ptr<Reduction> makeReduction() {
    auto reduction = std::make_shared<Reduction>();
    if (loader.session.collective().size() > 1)
      reduction->mark = loader.session.device().makeMark();
    return reduction;
  }

  /// The last bucket: what of `whole` is in none of those before it.
  static void addRest(const std::vector<std::shared_ptr<Reduction>> &reductions,
                      const Piece &whole, const std::string &where) {
    std::vector<Piece> begun;
    for (const auto &reduction : reductions)
      begun.insert(begun.end(), reduction->bucket.begin(),
                   reduction->bucket.end());
    std::sort(begun.begin(), begun.end(), [](const Piece &a, const Piece &b) {
      return a.address < b.address;
    });
    char *end = whole.address + whole.count * bytesOf("f32");
    begun.push_back({end, 0});
    char *at = whole.address;
    for (const Piece &piece : begun) {
      if (piece.address < at || piece.address > end)
        throw Error(where, ": what is begun before lies elsewhere, or is begun "
                           "twice");
      if (int64_t count = (piece.address - at) / bytesOf("f32"))
        reductions.back()->bucket.push_back({at, count});
      at = piece.address + piece.count * bytesOf("f32");
    }
  }

  void addLoop(const Fields &fields) {
    int64_t from = fields.integer("from"), to = fields.integer("to"),
            step = fields.integer("step");
    if (step == 0 || (to - from) % step != 0 || (to - from) / step < 0)
      throw Error(fields.where(), ": never reaches ", to, " from ", from,
                  " in steps of ", step);
    for (int64_t i = from; i != to; i += step)
      fields.forEach("body", [&](const Fields &command) { add(command, &i); });
  }

  int64_t size(const Fields &fields) {
    int64_t bytes = fields.integer("bytes");
    if (bytes < 0)
      throw Error(fields.where(), ": 'bytes' is negative");
    return bytes;
  }

  char *field(const Fields &fields, const char *name, int64_t bytes,
              const int64_t *variable) {
    return operand(fields.get(name), concat(fields.where(), ".", name), bytes,
                   variable)
        .address;
  }

  Operand operand(const Json &reference, const std::string &where,
                  int64_t bytes, const int64_t *variable) {
    if (reference.is_string())
      return check(loader.memory.buffer(reference.get<std::string>()), 0, bytes,
                   where);
    Fields fields(reference, where);
    Range range =
        within([&] { return where; },
               [&] { return loader.memory.buffer(fields.text("buffer")); });
    int64_t stride = fields.integer("stride", 0);
    if (stride != 0 && !variable)
      throw Error(where, ": has a stride outside a loop");
    return check(range,
                 sum(fields.integer("offset", 0),
                     variable ? product(stride, *variable) : 0),
                 bytes, where);
  }

  Operand check(const Range &range, int64_t offset, int64_t bytes,
                const std::string &where) {
    if (offset < 0 || bytes < 0 || sum(offset, bytes) > range.bytes)
      throw Error(where, ": ", bytes, " bytes at ", offset,
                  " lie outside buffer '", range.name, "' of ", range.bytes);
    return {range.address + offset, range.bytes - offset};
  }

  Loader &loader;
  DeviceRun &run;
};

} // namespace

bool isDeviceCommand(const std::string &op) {
  static const std::set<std::string> ops = {
      "dispatch", "loop", "zero", "copy", "call", "reduce_start", "all_reduce"};
  return ops.count(op) != 0;
}

std::unique_ptr<Command> loadDeviceRun(Loader &loader, const Json &list,
                                       size_t &at, const std::string &where) {
  auto run = std::make_unique<DeviceRun>();
  RunLoader runLoader(loader, *run);
  for (; at < list.size(); ++at) {
    Fields fields(list[at], concat(where, "[", at, "]"));
    if (!isDeviceCommand(fields.text("op")))
      break;
    std::string loc = fields.text("loc", "");
    loader.located(loc, [&] { runLoader.add(fields, nullptr); });
    if (run->loc.empty())
      run->loc = loc;
  }
  return run;
}

} // namespace r1c::runtime
