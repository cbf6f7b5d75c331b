//===- Chunks.cpp - commands of passes over a set's rows ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/execute/Session.h"
#include "runtime/rollout/Shares.h"
#include "runtime/support/Bytes.h"

namespace r1c::runtime {

namespace {

/// What multiplies each token's log-probability, and its entropy, in the loss's
/// differential: references to a float64 a token each.
class Seeds {
public:
  Seeds() = default;
  Seeds(Loader &loader, const Fields &fields) {
    const Json &list = fields.array("seeds");
    for (size_t i = 0; i < list.size(); ++i)
      ranges.push_back(loader.memory.range(list[i]));
  }
  explicit operator bool() const { return !ranges.empty(); }

  /// A flag a token: whether something is learnt from it. NaN counts, so that
  /// it is seen.
  std::vector<bool> read(int64_t tokens) const {
    std::vector<bool> learns(tokens);
    for (const Range &range : ranges) {
      std::vector<double> values = range.read<double>(tokens);
      for (int64_t i = 0; i < tokens; ++i)
        if (values[i] != 0)
          learns[i] = true;
    }
    return learns;
  }

private:
  std::vector<Range> ranges;
};

/// The buffers of a chunk's targets.
struct TargetBuffers {
  Range rows, targets, tokenIndex, kept, count;
  int64_t vocabulary = 0;

  TargetBuffers(Loader &loader, const Fields &to)
      : rows(loader.memory.optional(to, "targets_rows")),
        targets(loader.memory.optional(to, "targets")),
        tokenIndex(loader.memory.optional(to, "token_index")),
        kept(loader.memory.optional(to, "kept")),
        count(loader.memory.optional(to, "target_count")) {}

  void write(const Chunk &chunk, const OutputSet &set, const Axes &axes) const {
    if (rows)
      rows.write(chunk.targetRows);
    if (targets)
      targets.write(chunk.targets);
    if (tokenIndex)
      tokenIndex.write(chunk.tokenIndex);
    if (kept)
      kept.write(keptOf(chunk, set, axes, vocabulary));
    if (count)
      count.setInteger(static_cast<int64_t>(chunk.targets.size()));
  }
};

/// Packs a view into chunks and runs the body for each.
class Chunks : public Command {
public:
  Chunks(Loader &loader, const Fields &fields)
      : number(loader.set(fields)), view(fields.flag("view", false)),
        inUpdate(loader.inUpdate), rows(fields.integer("rows")),
        to(loader, fields.object("to")),
        dropIdle(fields.flag("drop_idle", false)) {
    Fields names = fields.object("to");
    auto range = [&](const char *name) {
      return loader.memory.optional(names, name);
    };
    tokens = range("tokens");
    positions = range("positions");
    bases = range("bases");
    shared = range("shared");
    sharedBases = range("shared_bases");
    offsets = range("offsets");
    rowCount = range("row_count");
    unitCount = range("unit_count");
    if (rows < 1)
      throw Error("'rows' must be at least 1");
    for (const Range *each :
         {&tokens, &positions, &bases, &shared, &sharedBases})
      if (*each && each->size() < rows)
        throw Error("buffer '", each->name, "' holds ", each->size(),
                    " elements, a chunk has ", rows, " rows");
    to.vocabulary = fields.integer("vocabulary", 0);
    if (to.kept &&
        (to.vocabulary < 1 || to.kept.size() < product(rows, to.vocabulary)))
      throw Error("buffer '", to.kept.name, "' holds ", to.kept.size(),
                  " flags, not a vocabulary of ", to.vocabulary,
                  " for each of ", rows, " rows");
    if (offsets)
      maxUnits = offsets.size() - 1;
    if (maxUnits < 1)
      throw Error("buffer '", offsets.name, "' holds no unit");
    if (fields.has("seeds"))
      seeds = Seeds(loader, fields);
    loader.session.limitRows(number, rows);
    body =
        loader.loadBlock(fields.get("body"), fields.where() + ".body", false);
  }

  void run(Session &session) override {
    Clock::Scope part(session.clock, inUpdate ? Part::train : Part::score);
    const SetState &state = session.set(number);
    const Axes &axes = state.axes(view);
    Packing packing{rows, maxUnits};
    if (seeds && !dropIdle)
      packing.idle = idleSequences(axes);
    int64_t ranks = session.collective().size();
    Shares shares = shareChunks(state.outputs, axes, packing, ranks);
    session.chunks = shares.most;
    // A single chunk need not be built again: it stays as it was.
    if (dropIdle && shares.most > 1) {
      packing.idle = idleSequences(axes);
      packing.dropIdle = true;
      shares = shareChunks(state.outputs, axes, packing, ranks);
    }
    session.tokensOfRank.assign(ranks, {});
    std::vector<Chunk *> own;
    for (size_t i = 0; i < shares.chunks.size(); ++i) {
      Chunk &chunk = shares.chunks[i];
      std::vector<int32_t> &tokens = session.tokensOfRank[shares.ranks[i]];
      tokens.insert(tokens.end(), chunk.tokenIndex.begin(),
                    chunk.tokenIndex.end());
      if (shares.ranks[i] == session.collective().rank())
        own.push_back(&chunk);
    }
    for (Chunk *each : own) {
      Chunk &chunk = *each;
      write(tokens, chunk.tokens);
      write(positions, chunk.positions);
      write(bases, chunk.bases);
      write(shared, chunk.shared);
      write(sharedBases, chunk.sharedBases);
      write(offsets, chunk.offsets);
      count(rowCount, chunk.tokens.size());
      count(unitCount, chunk.units());
      PassCounts &counts = session.counts;
      auto targets = static_cast<int64_t>(chunk.targets.size());
      ++counts.chunks;
      counts.rows += static_cast<int64_t>(chunk.tokens.size());
      counts.sharedRows += chunk.sharedRows;
      counts.targets += targets;
      to.write(chunk, state.outputs, axes);
      session.chunk = &chunk;
      session.isLastChunk = each == own.back();
      auto begin = std::chrono::steady_clock::now();
      body.run(session);
      session.chunk = nullptr;
      auto units = chunk.units();
      if (session.trace)
        session.trace->add(
            inUpdate ? "train chunk" : "score chunk", "chunk", begin,
            concat("\"rows\":", chunk.tokens.size(), ",\"units\":", units,
                   ",\"shared_rows\":", chunk.sharedRows,
                   ",\"targets\":", chunk.targets.size()));
    }
  }

private:
  std::vector<bool> idleSequences(const Axes &axes) const {
    std::vector<bool> learns = seeds.read(axes.tokens());
    std::vector<bool> idle(axes.sequences(), true);
    for (int64_t i = 0; i < axes.tokens(); ++i)
      if (learns[i])
        idle[axes.tokenSequence[i]] = false;
    return idle;
  }
  static void write(const Range &range, const std::vector<int32_t> &values) {
    if (range)
      range.write(values);
  }
  static void count(const Range &range, size_t value) {
    if (range)
      range.setInteger(static_cast<int64_t>(value));
  }

  int64_t number;
  bool view, inUpdate;
  int64_t rows, maxUnits = INT64_MAX;
  TargetBuffers to;
  bool dropIdle;
  Range tokens, positions, bases, shared, sharedBases, offsets, rowCount,
      unitCount;
  Seeds seeds;
  Block body;
};

/// What an earlier pass over the same view left in memory still stands if the
/// view is one chunk.
class Rebuild : public Command {
public:
  Rebuild(Loader &loader, const Fields &fields) {
    body =
        loader.loadBlock(fields.get("body"), fields.where() + ".body", false);
  }
  void run(Session &session) override {
    if (session.chunks > 1)
      body.run(session);
  }

private:
  Block body;
};

/// Leaves those targets of the chunk from which something is learnt, and runs
/// the body if there are any.
class Learn : public Command {
public:
  Learn(Loader &loader, const Fields &fields)
      : number(loader.set(fields)), view(fields.flag("view", false)),
        whole(fields.flag("whole", false)), inSlices(loader.inSlices),
        seeds(loader, fields), to(loader, fields.object("to")) {
    if (fields.has("places"))
      places = loader.memory.range(fields.get("places"));
    to.vocabulary = fields.integer("vocabulary", 0);
    body =
        loader.loadBlock(fields.get("body"), fields.where() + ".body", false);
  }

  void run(Session &session) override {
    const SetState &state = session.set(number);
    const Axes &axes = state.axes(view);
    if (!session.chunk)
      throw Error("stands outside 'chunks'");
    Chunk &chunk = *session.chunk;
    std::vector<bool> learns = seeds.read(axes.tokens());
    std::vector<bool> keep(chunk.targets.size());
    int64_t count = 0;
    for (size_t i = 0; i < keep.size(); ++i)
      count += keep[i] = learns[chunk.tokenIndex[i]];
    if (whole && count > 0)
      count = static_cast<int64_t>(keep.size());
    // Targets count where the head's backward is, chunks where that of the
    // layers is: often, but not always, in one place.
    if (!whole || inSlices) {
      session.counts.updateTargets += static_cast<int64_t>(keep.size());
      session.counts.learntTargets += count;
    }
    if (!inSlices) {
      session.counts.updateChunks += 1;
      session.counts.learntChunks += count > 0;
    }
    if (count == 0)
      return;
    if (places) {
      std::vector<int32_t> stood;
      for (size_t i = 0; i < keep.size(); ++i)
        if (whole || keep[i])
          stood.push_back(static_cast<int32_t>(i));
      places.write(stood);
    }
    if (count < static_cast<int64_t>(keep.size())) {
      chunk.keepTargets(keep);
      to.write(chunk, state.outputs, axes);
    }
    auto begin = std::chrono::steady_clock::now();
    body.run(session);
    if (session.trace)
      session.trace->add("backward", "chunk", begin,
                         concat("\"targets\":", count));
  }

private:
  int64_t number;
  bool view, whole, inSlices;
  Range places;
  Seeds seeds;
  TargetBuffers to;
  Block body;
};

/// Runs the body once for each so many targets of the chunk; they are the
/// chunk that it sees.
class Slices : public Command {
public:
  Slices(Loader &loader, const Fields &fields)
      : number(loader.set(fields)), view(fields.flag("view", false)),
        rows(fields.integer("rows")), to(loader, fields.object("to")) {
    if (rows < 1)
      throw Error("'rows' = ", rows, " is not above 0");
    to.vocabulary = fields.integer("vocabulary", 0);
    bool outer = std::exchange(loader.inSlices, true);
    body =
        loader.loadBlock(fields.get("body"), fields.where() + ".body", false);
    loader.inSlices = outer;
  }

  void run(Session &session) override {
    if (!session.chunk)
      throw Error("stands outside 'chunks'");
    Chunk &chunk = *session.chunk;
    auto count = static_cast<int64_t>(chunk.targets.size());
    if (count <= rows) {
      body.run(session);
      return;
    }
    const SetState &state = session.set(number);
    const Axes &axes = state.axes(view);
    for (int64_t first = 0; first < count; first += rows) {
      Chunk slice = chunk.slice(first, std::min(rows, count - first));
      to.write(slice, state.outputs, axes);
      session.chunk = &slice;
      body.run(session);
    }
    session.chunk = &chunk;
  }

private:
  int64_t number;
  bool view;
  int64_t rows;
  TargetBuffers to;
  Block body;
};

/// Gives every rank what the chunks of the others left for their tokens.
class Gather : public Command {
public:
  Gather(Loader &loader, const Fields &fields) {
    const Json &list = fields.array("values");
    for (size_t i = 0; i < list.size(); ++i) {
      values.push_back(loader.memory.range(list[i]));
      if (values.back().dtype != "f32")
        throw Error("'values' holds ", values.back().dtype, ", not f32");
    }
    if (fields.has("body"))
      body =
          loader.loadBlock(fields.get("body"), fields.where() + ".body", false);
  }

  void run(Session &session) override {
    if (session.collective().size() == 1)
      return;
    const auto &tokensOf = session.tokensOfRank;
    int64_t count = 0; // one behind the last token
    for (const std::vector<int32_t> &tokens : tokensOf)
      for (int32_t token : tokens)
        count = std::max<int64_t>(count, token + 1);
    std::vector<std::vector<float>> whole;
    std::string mine;
    for (const Range &range : values) {
      whole.push_back(range.read<float>(count));
      std::vector<float> own;
      for (int32_t token : tokensOf[session.collective().rank()])
        own.push_back(whole.back()[token]);
      appendBytes(mine, own);
    }
    std::vector<std::string> all =
        session.collective().gather(std::move(mine), {"gather of chunks", loc});
    for (size_t rank = 0; rank < all.size(); ++rank) {
      std::string_view from = all[rank];
      for (std::vector<float> &to : whole) {
        std::vector<float> theirs = takeBytes<float>(from);
        for (size_t i = 0; i < tokensOf[rank].size(); ++i)
          to[tokensOf[rank][i]] = theirs.at(i);
      }
    }
    for (size_t i = 0; i < values.size(); ++i)
      values[i].write(whole[i]);
    body.run(session);
  }

private:
  std::vector<Range> values;
  Block body;
};

template <typename T>
std::unique_ptr<Command> make(Loader &loader, const Fields &fields) {
  return std::make_unique<T>(loader, fields);
}

} // namespace

void registerChunks(std::map<std::string, LoadCommand> &table) {
  table["chunks"] = make<Chunks>;
  table["rebuild"] = make<Rebuild>;
  table["learn"] = make<Learn>;
  table["gather"] = make<Gather>;
  table["slices"] = make<Slices>;
}

} // namespace r1c::runtime
