//===- Rollout.cpp - sampling a policy on prompts -------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/rollout/Rollout.h"
#include "runtime/support/Philox.h"
#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <deque>

namespace r1c::runtime {

namespace {
/// Places in the bundle that a call is given.
namespace Table {
enum {
  tokens,
  positions,
  bases,
  drawRows,
  noise,
  rowCount,
  drawCount,
  count,
  previous = count ///< where the program has it
};
} // namespace Table

/// What R1C_STEPS_AHEAD says, else what the device does.
int64_t stepsAhead(const Device &device) {
  const char *text = std::getenv("R1C_STEPS_AHEAD");
  if (!text)
    return device.stepsAhead();
  constexpr int64_t most = 64;
  int64_t steps = -1;
  const char *end = text + std::strlen(text);
  auto [at, error] = std::from_chars(text, end, steps);
  if (error != std::errc() || at != end || steps < 0 || steps > most)
    throw Error("R1C_STEPS_AHEAD is '", text, "'; it must be from 0 to ", most);
  return steps;
}
} // namespace

Rollout::Rollout(const Fields &d, const Memory &memory)
    : slots(d.integer("slots")), capacityRows(d.integer("capacity")),
      rows(d.integer("rows")), vocabulary(d.integer("vocabulary", 0)),
      tokens(memory.required(d, "tokens")),
      previous(memory.optional(d, "previous")),
      positions(memory.required(d, "positions")),
      bases(memory.required(d, "bases")),
      sampleRows(memory.required(d, "sample_rows")),
      noise(memory.required(d, "noise")), key(memory.required(d, "key")),
      temperature(memory.optional(d, "temperature")),
      topK(memory.optional(d, "top_k")), topP(memory.optional(d, "top_p")),
      minP(memory.optional(d, "min_p")),
      rowCount(memory.required(d, "row_count")),
      sampleCount(memory.required(d, "sample_count")),
      token(memory.required(d, "token")), logp(memory.required(d, "logp")),
      kept(memory.optional(d, "kept")) {
  if (slots < 1 || rows < 1 || capacityRows < 1)
    throw Error(d.where(), ": slots, rows and capacity must be above 0");
  auto fits = [&](const Range &range, int64_t count) {
    if (range.size() < count)
      throw Error(d.where(), ": buffer '", range.name, "' holds ", range.size(),
                  " elements, ", count, " are needed");
  };
  for (const Range *range : {&tokens, &positions, &bases})
    fits(*range, rows);
  if (previous)
    fits(previous, rows);
  for (const Range *range : {&sampleRows, &token, &logp})
    fits(*range, slots);
  fits(noise, 4 * slots);
  if (kept) {
    if (vocabulary < 1)
      throw Error(d.where(), ": 'kept' needs a 'vocabulary' above 0");
    fits(kept, product(slots, vocabulary));
  }
  fits(key, 2);
  d.forEach("cache", [&](const Fields &fields) {
    Cache cache{memory.range(fields.get("buffer")), fields.integer("layers", 1),
                fields.integer("layer_stride", 0), fields.integer("row_bytes")};
    int64_t end = sum(product(cache.layers - 1, cache.layerStride),
                      product(product(slots, capacityRows), cache.rowBytes));
    if (cache.layers < 1 || cache.layerStride < 0 || cache.rowBytes < 0 ||
        end > cache.range.bytes)
      throw Error(fields.where(), ": ", end, " bytes do not fit in buffer '",
                  cache.range.name, "' of ", cache.range.bytes);
    caches.push_back(std::move(cache));
  });
  auto first = [](Range range, int64_t count) {
    range.bytes = count * range.element;
    return range;
  };
  std::vector<Range> tables(Table::count);
  tables[Table::tokens] = first(tokens, rows);
  tables[Table::positions] = first(positions, rows);
  tables[Table::bases] = first(bases, rows);
  tables[Table::drawRows] = first(sampleRows, slots);
  tables[Table::noise] = first(noise, 4 * slots);
  tables[Table::rowCount] = first(rowCount, 1);
  tables[Table::drawCount] = first(sampleCount, 1);
  if (previous)
    tables.push_back(first(previous, rows));
  given = Bundle(tables);
  // Artifacts of format 0.5 give every token's id by the host.
  int64_t ahead = previous ? stepsAhead(memory.device()) : 0;
  for (int64_t i = 0; i <= ahead; ++i)
    taken.push_back(Bundle({first(token, slots), first(logp, slots)}));
}

void Rollout::copyPrefix(int64_t from, int64_t to, int64_t count) const {
  if (count == 0)
    return;
  for (const Cache &cache : caches)
    for (int64_t layer = 0; layer < cache.layers; ++layer) {
      char *start = cache.range.address + layer * cache.layerStride;
      int64_t slot = capacityRows * cache.rowBytes;
      cache.range.device->copy(start + to * slot, start + from * slot,
                               count * cache.rowBytes);
    }
}

void Rollout::writeSettings(const SampleSettings &settings) const {
  PhiloxKey seed = keyOf(settings.seed);
  key.write(std::vector<int32_t>{static_cast<int32_t>(seed[0]),
                                 static_cast<int32_t>(seed[1])});
  auto setting = [](const Range &range, double value, double off,
                    const char *name) {
    if (range)
      range.set(value);
    else if (value != off)
      throw Error("the rollout program of this artifact has no ", name);
  };
  setting(temperature, settings.temperature, 1, "temperature");
  setting(topK, settings.topK, 0, "top_k");
  setting(topP, settings.topP, 1, "top_p");
  setting(minP, settings.minP, 0, "min_p");
}

namespace {

struct Slot {
  enum { idle, waiting, prefilling, decoding } state = idle;
  int64_t sequence = -1;
  /// The group whose prompt lies in the cache rows, and how many rows of it.
  /// The last prompt token is left to each sequence: it is the row after which
  /// the first token is drawn.
  int64_t cachedGroup = -1, cachedRows = 0;
  /// Tokens of its sequence that calls so far draw; the call of the last one,
  /// and which of that call's draws it is.
  int64_t drawn = 0, lastCall = -1, lastDraw = 0;
};

/// A call of the program that the host has not looked at.
struct Call {
  struct Draw {
    int64_t slot, sequence;
  };
  int64_t number = 0;
  std::vector<Draw> draws;
};

bool endsWithStop(const Sequence &sequence, const SampleSettings &settings,
                  const Tokenizer &tokenizer) {
  if (settings.stops.empty())
    return false;
  size_t longest = 0;
  for (const std::string &stop : settings.stops)
    longest = std::max(longest, stop.size());
  // Earlier ends have been looked at: the last few tokens are enough. Some
  // tokens give no text of their own, hence the margin.
  size_t count = std::min(sequence.chosen.size(), longest + 8);
  std::string tail = tokenizer.decode(std::span(sequence.chosen).last(count));
  return std::any_of(settings.stops.begin(), settings.stops.end(),
                     [&](const std::string &stop) {
                       return !stop.empty() &&
                              tail.find(stop) != std::string::npos;
                     });
}

} // namespace

/// One run: what the host knows of its slots, and the calls under way.
class Rollout::Work {
public:
  Work(Rollout &rollout, OutputSet &set, const SampleSettings &settings,
       const Tokenizer &tokenizer)
      : rollout(rollout), set(set), settings(settings), tokenizer(tokenizer),
        table(rollout.slots), ended(set.sequences.size()) {
    // A filter that is off today keeps everything; that needs no record.
    recordKept = settings.recordKept &&
                 (settings.topK > 0 || settings.topP < 1 || settings.minP > 0);
    if (recordKept && !rollout.kept)
      throw Error("the rollout program of this artifact leaves no kept sets");
    // Kept sets are too large to be brought along for calls under way: slots
    // times the vocabulary.
    ahead = recordKept ? 0 : static_cast<int64_t>(rollout.taken.size()) - 1;
  }

  void run(const std::function<void(int64_t rows)> &program) {
    auto total = static_cast<int64_t>(set.sequences.size());
    while (done < total) {
      refill(total);
      if (!call(program) || static_cast<int64_t>(calls.size()) > ahead)
        look();
    }
    // The rest draws behind what has ended. Their time, and a fault of theirs,
    // belong to sampling all the same.
    if (!calls.empty())
      takenBy(calls.back()).wait();
    for (const Call &call : calls)
      rollout.discarded += static_cast<int64_t>(call.draws.size());
  }

private:
  const std::vector<int32_t> &promptOf(const Slot &slot) const {
    return set.groupOf(set.sequences[slot.sequence]).prompt;
  }
  int64_t groupOf(const Slot &slot) const {
    return set.sequences[slot.sequence].group;
  }
  /// Rows of the prompt that are run before its sequences draw.
  int64_t prefixOf(const Slot &slot) const {
    return static_cast<int64_t>(promptOf(slot).size()) - 1;
  }

  /// Gives a slot the prompt of its sequence's group from a slot that has it.
  bool takePrefix(int64_t index) {
    Slot &slot = table[index];
    int64_t group = groupOf(slot), prefix = prefixOf(slot);
    auto has = [&](const Slot &other) {
      return other.cachedGroup == group && other.cachedRows == prefix;
    };
    if (!has(slot)) {
      auto donor = std::find_if(table.begin(), table.end(), has);
      if (donor == table.end())
        return false;
      rollout.copyPrefix(donor - table.begin(), index, prefix);
      slot.cachedGroup = group;
      slot.cachedRows = prefix;
    }
    slot.state = Slot::decoding;
    return true;
  }

  /// Gives idle slots the next sequences.
  void refill(int64_t total) {
    for (int64_t index = 0; index < rollout.slots && pending < total; ++index) {
      Slot &slot = table[index];
      if (slot.state != Slot::idle)
        continue;
      slot.sequence = pending++;
      slot.drawn = 0;
      if (takePrefix(index))
        continue;
      int64_t group = groupOf(slot);
      bool underWay =
          std::any_of(table.begin(), table.end(), [&](const Slot &other) {
            return other.state == Slot::prefilling &&
                   other.cachedGroup == group;
          });
      slot.state = underWay ? Slot::waiting : Slot::prefilling;
      if (!underWay) {
        slot.cachedGroup = group;
        slot.cachedRows = 0;
      }
    }
  }

  int64_t room() const {
    return rollout.rows - static_cast<int64_t>(rowTokens.size());
  }
  void addRow(int64_t index, int32_t id, int64_t from, int64_t position) {
    rowTokens.push_back(id);
    rowPrevious.push_back(static_cast<int32_t>(from));
    rowPositions.push_back(static_cast<int32_t>(position));
    rowBases.push_back(static_cast<int32_t>(index * rollout.capacityRows));
  }
  /// The row of a slot's last token, and the draw behind it; nothing where that
  /// token is neither known nor left by the call before.
  void addDraw(int64_t index, Call &call) {
    Slot &slot = table[index];
    const std::vector<int32_t> &prompt = promptOf(slot);
    const std::vector<int32_t> &chosen = set.sequences[slot.sequence].chosen;
    int32_t id = -1;
    int64_t from = 0;
    if (slot.drawn == static_cast<int64_t>(chosen.size()))
      id = chosen.empty() ? prompt.back() : chosen.back();
    else if (slot.lastCall == call.number - 1)
      from = slot.lastDraw;
    else
      return;
    int64_t position = static_cast<int64_t>(prompt.size()) + slot.drawn;
    slot.lastCall = call.number;
    slot.lastDraw = static_cast<int64_t>(call.draws.size());
    drawRows.push_back(static_cast<int32_t>(rowTokens.size()));
    call.draws.push_back({index, slot.sequence});
    addRow(index, id, from, position - 1);
    int64_t number = settings.firstGroup * settings.groupSize + slot.sequence;
    for (uint32_t word :
         {static_cast<uint32_t>(number), static_cast<uint32_t>(position),
          settings.round, settings.set})
      counters.push_back(static_cast<int32_t>(word));
    // Whatever it draws, this was its last: the slot is free behind this call.
    if (++slot.drawn == settings.maxNewTokens)
      slot.state = Slot::idle;
  }

  /// Gives the next call; false if there is no row for one.
  bool call(const std::function<void(int64_t rows)> &program) {
    rowTokens.clear(), rowPrevious.clear(), rowPositions.clear();
    rowBases.clear(), drawRows.clear(), counters.clear();
    Call call;
    call.number = made;
    // Sequences that decode go first: prompt rows fill what is left.
    for (int64_t index = 0; index < rollout.slots && room() > 0; ++index)
      if (table[index].state == Slot::decoding)
        addDraw(index, call);
    for (int64_t index = 0; index < rollout.slots && room() > 0; ++index) {
      Slot &slot = table[index];
      if (slot.state != Slot::prefilling)
        continue;
      int64_t prefix = prefixOf(slot);
      int64_t count = std::min(room(), prefix - slot.cachedRows);
      for (int64_t i = 0; i < count; ++i, ++slot.cachedRows)
        addRow(index, promptOf(slot)[slot.cachedRows], 0, slot.cachedRows);
      if (slot.cachedRows < prefix)
        continue;
      slot.state = Slot::decoding;
      if (room() > 0)
        addDraw(index, call);
    }
    if (rowTokens.empty())
      return false;

    auto count = [](size_t n) {
      return std::vector<int64_t>{static_cast<int64_t>(n)};
    };
    Bundle &given = rollout.given;
    given.set(Table::tokens, rowTokens);
    given.set(Table::positions, rowPositions);
    given.set(Table::bases, rowBases);
    given.set(Table::drawRows, drawRows);
    given.set(Table::noise, counters);
    given.set(Table::rowCount, count(rowTokens.size()));
    given.set(Table::drawCount, count(drawRows.size()));
    if (rollout.previous)
      given.set(Table::previous, rowPrevious);
    given.upload();
    program(static_cast<int64_t>(rowTokens.size()));
    takenBy(call).fetch();
    calls.push_back(std::move(call));
    ++made;
    // Before refilling: a prompt just finished must not be overwritten while
    // others of its group wait for it.
    for (int64_t index = 0; index < rollout.slots; ++index)
      if (table[index].state == Slot::waiting)
        takePrefix(index);
    return true;
  }

  Bundle &takenBy(const Call &call) const {
    return rollout.taken[call.number % rollout.taken.size()];
  }

  /// Waits for the oldest call and looks at what it drew.
  void look() {
    assert(!calls.empty() && "sequences are left and none has a row");
    Call call = std::move(calls.front());
    calls.pop_front();
    Bundle &taken = takenBy(call);
    taken.wait();
    auto draws = static_cast<int64_t>(call.draws.size());
    std::vector<int32_t> tokens = taken.get<int32_t>(0, draws);
    std::vector<float> logp = taken.get<float>(1, draws);
    std::vector<int8_t> kept;
    if (recordKept)
      kept = rollout.kept.read<int8_t>(draws * rollout.vocabulary);
    for (int64_t i = 0; i < draws; ++i) {
      auto [index, number] = call.draws[i];
      if (ended[number]) {
        ++rollout.discarded;
        continue;
      }
      Sequence &sequence = set.sequences[number];
      sequence.chosen.push_back(tokens[i]);
      sequence.logp.push_back(logp[i]);
      if (recordKept)
        sequence.kept.append(std::span(kept).subspan(i * rollout.vocabulary,
                                                     rollout.vocabulary));
      bool isEnd = tokenizer.isEnd(tokens[i]) ||
                   endsWithStop(sequence, settings, tokenizer);
      bool isFull =
          static_cast<int64_t>(sequence.chosen.size()) >= settings.maxNewTokens;
      if (!isEnd && !isFull)
        continue;
      sequence.truncated = !isEnd;
      sequence.text = tokenizer.decode(sequence.chosen);
      ended[number] = true;
      ++done;
      if (table[index].sequence == number)
        table[index].state = Slot::idle;
    }
  }

  Rollout &rollout;
  OutputSet &set;
  const SampleSettings &settings;
  const Tokenizer &tokenizer;
  std::vector<Slot> table;
  std::vector<bool> ended; ///< sequences, as far as the host has looked
  std::deque<Call> calls;  ///< under way, the oldest first
  bool recordKept = false;
  int64_t ahead = 0, pending = 0, done = 0, made = 0;
  /// The tables of the next call.
  std::vector<int32_t> rowTokens, rowPrevious, rowPositions, rowBases, drawRows,
      counters;
};

OutputSet Rollout::run(std::vector<Group> prompts,
                       const SampleSettings &settings,
                       const Tokenizer &tokenizer,
                       const std::function<void(int64_t rows)> &program) {
  OutputSet set;
  set.groups = std::move(prompts);
  int64_t total = static_cast<int64_t>(set.groups.size()) * settings.groupSize;
  if (settings.maxNewTokens < 1)
    throw Error("max_new_tokens is ", settings.maxNewTokens,
                "; it must be at least 1");
  set.sequences.resize(total);
  for (int64_t i = 0; i < total; ++i)
    set.sequences[i].group = static_cast<int32_t>(i / settings.groupSize);
  for (const Group &group : set.groups) {
    auto length = static_cast<int64_t>(group.prompt.size());
    if (length < 1 || length + settings.maxNewTokens - 1 > capacityRows)
      throw Error(group.row ? group.row->origin : "prompt", ": a prompt of ",
                  length, " tokens and ", settings.maxNewTokens,
                  " new ones do not fit in ", capacityRows);
  }
  discarded = 0;
  writeSettings(settings);
  Work(*this, set, settings, tokenizer).run(program);
  return set;
}

} // namespace r1c::runtime
