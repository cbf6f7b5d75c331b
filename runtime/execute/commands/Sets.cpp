//===- Sets.cpp - commands that make and describe sets --------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/execute/Session.h"
#include "runtime/rollout/Shares.h"
#include "runtime/support/Bytes.h"
#include "runtime/support/Philox.h"
#include <algorithm>
#include <cmath>

namespace r1c::runtime {

namespace {

int64_t whole(double value, const char *name) {
  if (!(std::abs(value) < 1e15) || value != std::floor(value))
    throw Error(name, " is ", value, ", which is not a whole number");
  return static_cast<int64_t>(value);
}

/// A whole number within what the artifact was compiled for.
int64_t bounded(const Number &number, const char *name, int64_t most) {
  int64_t value = whole(number.get(), name);
  if (value < 1)
    throw Error(name, " is ", value, "; it must be at least 1");
  if (most > 0 && value > most)
    throw Error(name, " is ", value,
                ", but the artifact was compiled for at most ", most);
  return value;
}

/// What `sample` and `read` share: taking rows, `where`, becoming the set.
class MakeSet : public Command {
public:
  MakeSet(Loader &loader, const Fields &fields, const char *kind)
      : number(loader.set(fields)), policy(loader.policy(fields, "policy")),
        cursorKey(loader.key(kind)), groups(loader.number(fields, "groups")),
        maxGroups(fields.integer("max_groups", 0)),
        maxGroupSize(fields.integer("max_group_size", 0)) {
    Session &session = loader.session;
    if (!policy.tokenizer)
      throw Error("policy '", policy.name, "' has no tokenizer");
    std::vector<const DataSet *> data;
    for (const std::string &name : fields.texts("data"))
      data.push_back(&session.dataSet(name));
    if (data.empty())
      throw Error("'data' names no data set");
    for (const Json &weight : fields.array("weights"))
      weights.push_back(weight.get<double>());
    session.cursors.insert_or_assign(
        cursorKey,
        DataCursor(std::move(data), weights, 0, static_cast<uint32_t>(number),
                   fields.text("order", "") != "file"));
    if (fields.has("where")) {
      Fields where = fields.object("where");
      axis = where.text("axis");
      if (axis != "group" && axis != "sequence")
        throw Error(where.where(), ": 'axis' must be group or sequence");
      flag = loader.memory.required(where, "flag");
      candidateSet = where.integer("set", number);
    }
    if (fields.has("body"))
      body =
          loader.loadBlock(fields.get("body"), fields.where() + ".body", false);
    if (!axis.empty() && body.commands.empty())
      throw Error(fields.where(), ": 'where' has no body that computes it");
    StagePlan &plan = *session.plan;
    if (!loader.inEvery && plan.mainCursor.empty()) {
      plan.mainCursor = cursorKey;
      plan.mainGroups = groups;
      if (plan.mainSet < 0)
        plan.mainSet = number;
    }
  }

protected:
  DataCursor &cursor(Session &session) const {
    DataCursor &cursor = session.cursors.at(cursorKey);
    cursor.reseed(session.seed());
    return cursor;
  }

  /// Encodes a row's prompt. Rows that cannot fit are reported and left out.
  bool takePrompt(Session &session, const Row &row, int64_t newTokens,
                  int64_t limit, Group &group) const {
    group.row = &row;
    group.prompt = row.promptIds;
    if (group.prompt.empty())
      group.prompt =
          within([&] { return row.origin; },
                 [&] { return policy.tokenizer->encode(row.prompt); });
    auto length = static_cast<int64_t>(group.prompt.size());
    if (length == 0) {
      session.recorder().dropped(row.origin, "its prompt is empty");
      return false;
    }
    if (length + newTokens - 1 <= limit)
      return true;
    session.recorder().dropped(
        row.origin, concat("its prompt of ", length, " tokens and ", newTokens,
                           " new ones do not fit in ", limit));
    return false;
  }

  int64_t limit(Session &session) const {
    int64_t rows =
        std::min(session.rowLimit(number), session.rowLimit(candidateSet));
    return policy.rollout ? std::min(rows, policy.rollout->capacity()) : rows;
  }

  /// Runs the `where` body on the candidates and keeps what it flags.
  void filter(Session &session, OutputSet &candidates) const {
    if (axis.empty())
      return;
    Clock::Scope part(session.clock, Part::score);
    SetState &state = session.sets[candidateSet];
    state = {std::move(candidates), {}, {}, {}};
    state.whole = Axes::whole(state.outputs);
    if (!state.outputs.sequences.empty()) {
      body.run(session);
      bool byGroup = axis == "group";
      std::vector<double> flags = flag.read<double>(
          byGroup ? state.whole.groups() : state.whole.sequences());
      if (byGroup)
        state.outputs.keepGroups(flags);
      else
        state.outputs.keepSequences(flags);
    }
    candidates = std::move(state.outputs);
  }

  void publish(Session &session, OutputSet &&outputs) const {
    SetState &state = session.sets[number];
    state = {std::move(outputs), {}, {}, {}};
    state.whole = Axes::whole(state.outputs);
    if (session.plan && session.plan->mainSet == number)
      record(session, state);
  }

  /// The numbers that people watch, and a few traces.
  void record(Session &session, SetState &state) const {
    const std::vector<Sequence> &sequences = state.outputs.sequences;
    if (sequences.empty())
      return;
    double sum = 0, longest = 0, cut = 0;
    for (const Sequence &sequence : sequences) {
      auto length = static_cast<double>(sequence.chosen.size());
      sum += length;
      longest = std::max(longest, length);
      cut += sequence.truncated;
    }
    auto count = static_cast<double>(sequences.size());
    Recorder &recorder = session.recorder();
    recorder.metric("response_length/mean", sum / count, false);
    recorder.metric("response_length/max", longest, false);
    recorder.metric("response_length/truncated", cut / count, false);

    constexpr int64_t traces = 4;
    auto total = static_cast<int64_t>(sequences.size());
    for (int64_t t = 0; t < std::min(traces, total); ++t) {
      // One from each stretch of the set: the traces cover several groups.
      int64_t from = t * total / traces, to = (t + 1) * total / traces;
      if (total < traces)
        from = t, to = t + 1;
      auto words = philox(
          {static_cast<uint32_t>(t), static_cast<uint32_t>(session.round),
           static_cast<uint32_t>(number), static_cast<uint32_t>(Draw::samples)},
          keyOf(session.seed()));
      int64_t index =
          from + static_cast<int64_t>(uniformOf(words[0], words[1]) *
                                      static_cast<double>(to - from));
      const Sequence &sequence = sequences[index];
      const Group &group = state.outputs.groupOf(sequence);
      OrderedJson trace = {{"sequence", index},
                           {"data", state.outputs.originOf(sequence)},
                           {"prompt", group.row->prompt},
                           {"text", sequence.text},
                           {"length", sequence.chosen.size()},
                           {"truncated", sequence.truncated}};
      // What the row brought besides: the answer, say, but no long texts.
      for (const auto &[name, value] : state.outputs.lineOf(sequence).items())
        if (!trace.contains(name) && !value.is_array() &&
            !(value.is_string() &&
              value.get_ref<const std::string &>().size() > 200))
          trace[name] = value;
      state.traced.push_back(index);
      recorder.trace(std::move(trace));
    }
  }

  int64_t number, candidateSet = -1;
  Policy &policy;
  std::string cursorKey;
  Number groups;
  int64_t maxGroups, maxGroupSize;
  std::vector<double> weights;
  std::string axis; ///< of `where`; empty without one
  Range flag;
  Block body;
};

class Sample : public MakeSet {
public:
  Sample(Loader &loader, const Fields &fields)
      : MakeSet(loader, fields, "sample"),
        groupSize(loader.number(fields, "group_size")),
        temperature(loader.number(fields, "temperature", 1)),
        maxNewTokens(loader.number(fields, "max_new_tokens")),
        topP(loader.number(fields, "top_p", 1)),
        topK(loader.number(fields, "top_k", 0)),
        minP(loader.number(fields, "min_p", 0)),
        filtered(fields.has("top_p") || fields.has("top_k") ||
                 fields.has("min_p")),
        recordKept(fields.flag("kept", false)), stops(fields.texts("stop")),
        tries(fields.integer("tries", 1)),
        maxTokens(fields.integer("max_tokens", 0)) {
    if (!policy.rollout ||
        (filtered ? policy.filteredName : policy.rolloutName).empty())
      throw Error("policy '", policy.name, "' has no rollout program",
                  filtered ? " with a filter" : "");
    if (tries < 1)
      throw Error("'tries' must be at least 1");
  }

  void run(Session &session) override {
    Clock::Scope part(session.clock, Part::sample);
    int64_t wanted = bounded(groups, "groups", maxGroups);
    SampleSettings settings;
    settings.groupSize = bounded(groupSize, "group_size", maxGroupSize);
    settings.maxNewTokens = bounded(maxNewTokens, "max_new_tokens", maxTokens);
    settings.temperature = temperature.get();
    settings.topP = topP.get();
    settings.topK = topK.get();
    settings.minP = minP.get();
    settings.recordKept = recordKept;
    settings.stops = stops;
    settings.seed = session.seed();
    settings.round = static_cast<uint32_t>(session.round);
    settings.set = static_cast<uint32_t>(number);
    auto require = [](bool holds, const char *name, double value,
                      const char *words) {
      if (!holds)
        throw Error(name, " is ", value, " in this round; it is ", words);
    };
    require(settings.temperature >= 0 && std::isfinite(settings.temperature),
            "temperature", settings.temperature, "at least 0");
    require(settings.topP > 0 && settings.topP <= 1, "top_p", settings.topP,
            "above 0 and at most 1");
    double k = topK.get();
    require(k >= 0 && k < 1e15 && k == std::floor(k), "top_k", k,
            "a whole number, or 0 for all tokens");
    require(settings.minP >= 0 && settings.minP <= 1, "min_p", settings.minP,
            "from 0 to 1");

    const Block &program =
        filtered ? *policy.filteredProgram : *policy.rolloutProgram;
    DataCursor &data = cursor(session);
    OutputSet result;
    int64_t tried = 0;
    while (static_cast<int64_t>(result.groups.size()) < wanted &&
           tried < wanted * tries) {
      std::vector<Group> prompts = takePrompts(session, data, wanted, settings);
      if (prompts.empty())
        break;
      // Each rank draws for some of the prompts: noise is numbered by sequence.
      auto [from, to] =
          session.collective().share(static_cast<int64_t>(prompts.size()));
      settings.firstGroup = tried + from;
      tried += static_cast<int64_t>(prompts.size());
      int64_t ran = 0, alone = 0, discarded = 0;
      OutputSet candidates = policy.rollout->run(
          {prompts.begin() + from, prompts.begin() + to}, settings,
          *policy.tokenizer, [&](int64_t rows) {
            ran += rows;
            auto begin = std::chrono::steady_clock::now();
            session.expectRows(rows);
            struct Reset {
              Session &session;
              ~Reset() { session.expectRows(0); }
            } reset{session};
            program.run(session);
            if (session.trace)
              session.trace->add("rollout step", "sample", begin,
                                 concat("\"rows\":", rows));
          });
      discarded = policy.rollout->discardedRows();
      if (session.collective().size() > 1)
        candidates =
            gather(session, std::move(prompts), candidates, ran, discarded);
      for (const Sequence &sequence : candidates.sequences)
        alone +=
            static_cast<int64_t>(candidates.groupOf(sequence).prompt.size() -
                                 1 + sequence.chosen.size());
      session.counts.sampledRows += ran;
      session.counts.discardedRows += discarded;
      session.counts.copiedPromptRows += alone - (ran - discarded);
      session.sampledTokens += candidates.tokens();
      filter(session, candidates);
      result.append(std::move(candidates));
    }
    if (tries > 1 || !axis.empty()) {
      result.truncateGroups(wanted);
      session.recorder().metric("groups/tried", double(tried), false);
      session.recorder().metric("groups/kept", double(result.groups.size()),
                                false);
    }
    publish(session, std::move(result));
  }

private:
  /// What all ranks drew, in the order of their prompts; adds up the counts.
  OutputSet gather(Session &session, std::vector<Group> prompts,
                   const OutputSet &mine, int64_t &ran,
                   int64_t &discarded) const {
    std::string bytes;
    appendBytes(bytes, std::vector<int64_t>{ran, discarded});
    bytes += sequencesToBytes(mine.sequences);
    std::vector<std::string> all = session.collective().gather(
        std::move(bytes), {"gather of samples", loc});
    OutputSet whole;
    ran = discarded = 0;
    for (size_t rank = 0; rank < all.size(); ++rank) {
      std::string_view from = all[rank];
      std::vector<int64_t> rows = takeBytes<int64_t>(from);
      ran += rows.at(0);
      discarded += rows.at(1);
      int64_t first = static_cast<int64_t>(prompts.size() * rank / all.size());
      sequencesFromBytes(from, first, *policy.tokenizer, whole.sequences);
    }
    whole.groups = std::move(prompts);
    return whole;
  }

  std::vector<Group> takePrompts(Session &session, DataCursor &data,
                                 int64_t wanted,
                                 const SampleSettings &settings) const {
    std::vector<Group> prompts;
    int64_t most = limit(session), dropped = 0;
    while (static_cast<int64_t>(prompts.size()) < wanted &&
           session.rowsLeft(cursorKey) > 0) {
      Group group;
      if (takePrompt(session, data.next(), settings.maxNewTokens, most, group))
        prompts.push_back(std::move(group));
      else if (++dropped > data.epochSize() && prompts.empty())
        throw Error("no prompt of the data fits in ", most, " tokens with ",
                    settings.maxNewTokens, " new ones");
    }
    return prompts;
  }

  Number groupSize, temperature, maxNewTokens, topP, topK, minP;
  bool filtered, recordKept;
  std::vector<std::string> stops;
  int64_t tries, maxTokens;
};

class Read : public MakeSet {
public:
  Read(Loader &loader, const Fields &fields)
      : MakeSet(loader, fields, "read"),
        maxTokens(loader.number(fields, "max_tokens", 0)) {}

  void run(Session &session) override {
    Clock::Scope part(session.clock, Part::sample);
    int64_t wanted = bounded(groups, "groups", maxGroups);
    int64_t most = whole(maxTokens.get(), "max_tokens");
    int64_t rows = limit(session), dropped = 0;
    DataCursor &data = cursor(session);
    OutputSet result;
    while (static_cast<int64_t>(result.groups.size()) < wanted &&
           session.rowsLeft(cursorKey) > 0) {
      if (!takeRow(session, data.next(), most, rows, result) &&
          ++dropped > data.epochSize() && result.groups.empty())
        throw Error("no row of the data fits in ", rows, " tokens");
    }
    session.sampledTokens += result.tokens();
    filter(session, result);
    publish(session, std::move(result));
  }

private:
  void checkIds(const std::vector<int32_t> &ids,
                const std::string &origin) const {
    int64_t vocabulary = policy.tokenizer->size();
    if (policy.model.is_object())
      vocabulary = policy.model.value("vocabulary", vocabulary);
    for (int32_t id : ids)
      if (id >= vocabulary)
        throw Error(origin, ": token id ", id,
                    " lies outside the vocabulary of ", vocabulary);
  }

  bool takeRow(Session &session, const Row &row, int64_t most, int64_t rows,
               OutputSet &result) const {
    if (row.completions.empty() && row.recorded.empty())
      throw Error(row.origin, ": the data has no completion to read");
    std::vector<Sequence> sequences;
    size_t longest = 0;
    for (const Recorded &recorded : row.recorded) {
      Sequence sequence;
      sequence.group = static_cast<int32_t>(result.groups.size());
      sequence.chosen = recorded.ids;
      sequence.logp = recorded.logp;
      sequence.recorded = &recorded;
      // The embedding would read behind its table.
      checkIds(recorded.ids, recorded.origin);
      checkIds(row.promptIds, recorded.origin);
      sequence.text = policy.tokenizer->decode(recorded.ids);
      sequence.truncated =
          recorded.ids.empty() || !policy.tokenizer->isEnd(recorded.ids.back());
      longest = std::max(longest, sequence.chosen.size());
      sequences.push_back(std::move(sequence));
    }
    for (const std::string &text : row.completions) {
      Sequence sequence;
      sequence.group = static_cast<int32_t>(result.groups.size());
      sequence.chosen = within([&] { return row.origin; },
                               [&] { return policy.tokenizer->encode(text); });
      sequence.chosen.push_back(policy.tokenizer->end());
      sequence.logp.assign(sequence.chosen.size(), 0);
      sequence.text = text;
      longest = std::max(longest, sequence.chosen.size());
      sequences.push_back(std::move(sequence));
    }
    if (most > 0 && static_cast<int64_t>(longest) > most) {
      session.recorder().dropped(row.origin,
                                 concat("its completion of ", longest,
                                        " tokens exceeds max_tokens = ", most));
      return false;
    }
    if (maxGroupSize > 0 &&
        static_cast<int64_t>(sequences.size()) > maxGroupSize)
      throw Error(row.origin, ": ", sequences.size(),
                  " outputs of one prompt, but "
                  "the artifact was compiled for at most ",
                  maxGroupSize);
    Group group;
    if (!takePrompt(session, row, static_cast<int64_t>(longest), rows, group))
      return false;
    result.groups.push_back(std::move(group));
    for (Sequence &sequence : sequences)
      result.sequences.push_back(std::move(sequence));
    return true;
  }

  Number maxTokens;
};

class WriteAxes : public Command {
public:
  WriteAxes(Loader &loader, const Fields &fields)
      : number(loader.set(fields)), view(fields.flag("view", false)) {
    Fields to = fields.has("to") ? fields.object("to") : fields;
    using V = const std::vector<int32_t> &(*)(const Axes &);
    static const std::pair<const char *, V> arrays[] = {
        {"sequence_offsets",
         [](const Axes &a) -> auto & { return a.sequenceOffsets; }},
        {"group_offsets",
         [](const Axes &a) -> auto & { return a.groupOffsets; }},
        {"group_token_offsets",
         [](const Axes &a) -> auto & { return a.groupTokenOffsets; }},
        {"token_sequence",
         [](const Axes &a) -> auto & { return a.tokenSequence; }},
        {"token_group", [](const Axes &a) -> auto & { return a.tokenGroup; }},
        {"sequence_group",
         [](const Axes &a) -> auto & { return a.sequenceGroup; }},
        {"view_tokens", [](const Axes &a) -> auto & { return a.viewTokens; }},
        {"view_sequences",
         [](const Axes &a) -> auto & { return a.viewSequences; }},
        {"view_groups", [](const Axes &a) -> auto & { return a.viewGroups; }}};
    using N = int64_t (*)(const Axes &);
    static const std::pair<std::string, N> counts[] = {
        {"tokens", [](const Axes &a) { return a.tokens(); }},
        {"sequences", [](const Axes &a) { return a.sequences(); }},
        {"groups", [](const Axes &a) { return a.groups(); }}};
    std::vector<std::string> known = {"op", "set", "view", "loc", "to"};
    for (auto [name, get] : arrays) {
      known.push_back(name);
      if (Range range = loader.memory.optional(to, name))
        lists.push_back({range, get});
    }
    for (const auto &[name, get] : counts) {
      known.insert(known.end(), {name, name + "1", "all_" + name});
      if (Range range = loader.memory.optional(to, name.c_str()))
        sizes.push_back({range, get, 0});
      if (Range range = loader.memory.optional(to, (name + "1").c_str()))
        sizes.push_back({range, get, 1});
      if (Range range = loader.memory.optional(to, ("all_" + name).c_str()))
        alls.push_back({range, get, 0});
    }
    for (const auto &[name, value] : to.json().items())
      if (std::find(known.begin(), known.end(), name) == known.end())
        throw Error(to.where(), ": axes has no '", name, "'");
  }

  void run(Session &session) override {
    const Axes &axes = session.set(number).axes(view);
    for (const auto &[range, get] : lists)
      range.write(get(axes));
    for (const Size &size : sizes)
      size.range.setInteger(size.get(axes) + size.more);
    for (const Size &size : alls)
      size.range.write(
          std::vector<int32_t>{0, static_cast<int32_t>(size.get(axes))});
  }

private:
  struct List {
    Range range;
    const std::vector<int32_t> &(*get)(const Axes &);
  };
  struct Size {
    Range range;
    int64_t (*get)(const Axes &);
    int64_t more;
  };
  int64_t number;
  bool view;
  std::vector<List> lists;
  std::vector<Size> sizes, alls;
};

class Column : public Command {
public:
  Column(Loader &loader, const Fields &fields)
      : number(loader.set(fields)), view(fields.flag("view", false)),
        field(fields.text("field")), to(loader.memory.required(fields, "to")) {}

  void run(Session &session) override {
    const SetState &state = session.set(number);
    const OutputSet &set = state.outputs;
    const std::vector<int32_t> &chosen = state.axes(view).viewSequences;
    if (field == "logp") {
      std::vector<float> values;
      for (int32_t s : chosen)
        values.insert(values.end(), set.sequences[s].logp.begin(),
                      set.sequences[s].logp.end());
      return to.write(values);
    }
    std::vector<double> values;
    for (int32_t s : chosen) {
      const Sequence &sequence = set.sequences[s];
      size_t length = sequence.chosen.size();
      if (field == "last" || field == "position") {
        for (size_t t = 0; t < length; ++t)
          values.push_back(field == "last" ? t + 1 == length
                                           : static_cast<double>(t));
        continue;
      }
      values.push_back(ofSequence(set, sequence));
    }
    to.write(values);
  }

private:
  double ofSequence(const OutputSet &set, const Sequence &sequence) const {
    if (field == "length")
      return static_cast<double>(sequence.chosen.size());
    if (field == "truncated")
      return sequence.truncated;
    if (field == "prompt_length")
      return static_cast<double>(set.groupOf(sequence).prompt.size());
    const Json &line = set.lineOf(sequence);
    auto at = line.find(field);
    if (at == line.end())
      throw Error(set.originOf(sequence), ": no column '", field, "'");
    if (at->is_boolean())
      return at->get<bool>();
    if (at->is_number())
      return at->get<double>();
    throw Error(set.originOf(sequence), ": column '", field,
                "' is neither number nor flag");
  }

  int64_t number;
  bool view;
  std::string field;
  Range to;
};

template <typename T>
std::unique_ptr<Command> make(Loader &loader, const Fields &fields) {
  return std::make_unique<T>(loader, fields);
}

} // namespace

void registerSets(std::map<std::string, LoadCommand> &table) {
  table["sample"] = make<Sample>;
  table["read"] = make<Read>;
  table["axes"] = make<WriteAxes>;
  table["column"] = make<Column>;
}

} // namespace r1c::runtime
