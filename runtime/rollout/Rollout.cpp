//===- Rollout.cpp - sampling a policy on prompts -------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/rollout/Rollout.h"
#include "runtime/device/Bundle.h"
#include "runtime/support/Philox.h"
#include <algorithm>

namespace r1c::runtime {

Rollout::Rollout(const Fields &d, const Memory &memory)
    : slots(d.integer("slots")), capacityRows(d.integer("capacity")),
      rows(d.integer("rows")), vocabulary(d.integer("vocabulary", 0)),
      tokens(memory.required(d, "tokens")),
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
  for (const Range *range : {&sampleRows, &token, &logp})
    fits(*range, slots);
  fits(noise, 4 * slots);
  if (kept) {
    if (vocabulary < 1)
      throw Error(d.where(), ": 'kept' needs a 'vocabulary' above 0");
    fits(kept, slots * vocabulary);
  }
  fits(key, 2);
  d.forEach("cache", [&](const Fields &fields) {
    Cache cache{memory.range(fields.get("buffer")), fields.integer("layers", 1),
                fields.integer("layer_stride", 0), fields.integer("row_bytes")};
    int64_t end = (cache.layers - 1) * cache.layerStride +
                  slots * capacityRows * cache.rowBytes;
    if (cache.layers < 1 || cache.layerStride < 0 || cache.rowBytes < 0 ||
        end > cache.range.bytes)
      throw Error(fields.where(), ": ", end, " bytes do not fit in buffer '",
                  cache.range.name, "' of ", cache.range.bytes);
    caches.push_back(std::move(cache));
  });
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

namespace {

struct Slot {
  enum { idle, waiting, prefilling, decoding } state = idle;
  int64_t sequence = -1;
  /// The group whose prompt lies in the cache rows, and how many rows of it.
  /// The last prompt token is left to each sequence: it is the row after which
  /// the first token is drawn.
  int64_t cachedGroup = -1, cachedRows = 0;
  int32_t lastToken = 0;
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

OutputSet Rollout::run(std::vector<Group> prompts,
                       const SampleSettings &settings,
                       const Tokenizer &tokenizer,
                       const std::function<void(int64_t rows)> &program) const {
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
  // A filter that is off today keeps everything; that needs no record.
  bool recordKept =
      settings.recordKept &&
      (settings.topK > 0 || settings.topP < 1 || settings.minP > 0);
  if (recordKept && !kept)
    throw Error("the rollout program of this artifact leaves no kept sets");

  std::vector<Slot> table(slots);
  int64_t pending = 0, done = 0;
  auto promptOf = [&](int64_t sequence) -> const std::vector<int32_t> & {
    return set.groupOf(set.sequences[sequence]).prompt;
  };
  auto startDecoding = [&](Slot &slot) {
    slot.state = Slot::decoding;
    slot.lastToken = promptOf(slot.sequence).back();
  };
  // Gives a slot the prompt of its sequence's group from a slot that has it.
  auto takePrefix = [&](int64_t index) {
    Slot &slot = table[index];
    int64_t group = set.sequences[slot.sequence].group;
    auto prefix = static_cast<int64_t>(promptOf(slot.sequence).size()) - 1;
    auto has = [&](const Slot &other) {
      return other.cachedGroup == group && other.cachedRows == prefix;
    };
    if (!has(slot)) {
      auto donor = std::find_if(table.begin(), table.end(), has);
      if (donor == table.end())
        return false;
      copyPrefix(donor - table.begin(), index, prefix);
      slot.cachedGroup = group;
      slot.cachedRows = prefix;
    }
    startDecoding(slot);
    return true;
  };

  // What every call is given, and what it leaves: once a token.
  auto first = [](Range range, int64_t count) {
    range.bytes = count * range.element;
    return range;
  };
  Bundle given({first(tokens, rows), first(positions, rows), first(bases, rows),
                first(sampleRows, slots), first(noise, 4 * slots),
                first(rowCount, 1), first(sampleCount, 1)});
  Bundle taken({first(token, slots), first(logp, slots)});
  std::vector<int32_t> rowTokens, rowPositions, rowBases, drawRows, counters;
  std::vector<int64_t> drawSlots;
  while (done < total) {
    for (int64_t index = 0; index < slots && pending < total; ++index) {
      Slot &slot = table[index];
      if (slot.state != Slot::idle)
        continue;
      slot.sequence = pending++;
      if (takePrefix(index))
        continue;
      int64_t group = set.sequences[slot.sequence].group;
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

    rowTokens.clear(), rowPositions.clear(), rowBases.clear();
    drawRows.clear(), counters.clear(), drawSlots.clear();
    auto room = [&] { return rows - static_cast<int64_t>(rowTokens.size()); };
    auto addRow = [&](int64_t index, int32_t id, int64_t position) {
      rowTokens.push_back(id);
      rowPositions.push_back(static_cast<int32_t>(position));
      rowBases.push_back(static_cast<int32_t>(index * capacityRows));
    };
    auto addDraw = [&](int64_t index) {
      const Slot &slot = table[index];
      int64_t position =
          static_cast<int64_t>(promptOf(slot.sequence).size() +
                               set.sequences[slot.sequence].chosen.size());
      drawRows.push_back(static_cast<int32_t>(rowTokens.size()));
      drawSlots.push_back(index);
      addRow(index, slot.lastToken, position - 1);
      int64_t number = settings.firstGroup * settings.groupSize + slot.sequence;
      for (uint32_t word :
           {static_cast<uint32_t>(number), static_cast<uint32_t>(position),
            settings.round, settings.set})
        counters.push_back(static_cast<int32_t>(word));
    };
    // Sequences that decode go first: prompt rows fill what is left.
    for (int64_t index = 0; index < slots && room() > 0; ++index)
      if (table[index].state == Slot::decoding)
        addDraw(index);
    for (int64_t index = 0; index < slots && room() > 0; ++index) {
      Slot &slot = table[index];
      if (slot.state != Slot::prefilling)
        continue;
      const std::vector<int32_t> &prompt = promptOf(slot.sequence);
      auto prefix = static_cast<int64_t>(prompt.size()) - 1;
      int64_t count = std::min(room(), prefix - slot.cachedRows);
      for (int64_t i = 0; i < count; ++i, ++slot.cachedRows)
        addRow(index, prompt[slot.cachedRows], slot.cachedRows);
      if (slot.cachedRows < prefix)
        continue;
      startDecoding(slot);
      if (room() > 0)
        addDraw(index);
    }

    auto count = [](size_t n) {
      return std::vector<int64_t>{static_cast<int64_t>(n)};
    };
    given.set(0, rowTokens);
    given.set(1, rowPositions);
    given.set(2, rowBases);
    given.set(3, drawRows);
    given.set(4, counters);
    given.set(5, count(rowTokens.size()));
    given.set(6, count(drawRows.size()));
    given.upload();
    program(static_cast<int64_t>(rowTokens.size()));
    auto draws = static_cast<int64_t>(drawSlots.size());
    taken.download();
    std::vector<int32_t> drawn = taken.get<int32_t>(0, draws);
    std::vector<float> drawnLogp = taken.get<float>(1, draws);
    std::vector<int8_t> drawnKept;
    if (recordKept)
      drawnKept = kept.read<int8_t>(draws * vocabulary);

    for (int64_t i = 0; i < draws; ++i) {
      Slot &slot = table[drawSlots[i]];
      Sequence &sequence = set.sequences[slot.sequence];
      sequence.chosen.push_back(drawn[i]);
      sequence.logp.push_back(drawnLogp[i]);
      if (recordKept)
        sequence.kept.append(
            std::span(drawnKept).subspan(i * vocabulary, vocabulary));
      slot.lastToken = drawn[i];
      bool ended = tokenizer.isEnd(drawn[i]) ||
                   endsWithStop(sequence, settings, tokenizer);
      bool full =
          static_cast<int64_t>(sequence.chosen.size()) >= settings.maxNewTokens;
      if (!ended && !full)
        continue;
      sequence.truncated = !ended;
      sequence.text = tokenizer.decode(sequence.chosen);
      slot.state = Slot::idle;
      ++done;
    }
    // Before refilling: a prompt just finished must not be overwritten while
    // others of its group wait for it.
    for (int64_t index = 0; index < slots; ++index)
      if (table[index].state == Slot::waiting)
        takePrefix(index);
  }
  return set;
}

} // namespace r1c::runtime
