//===- DataSet.cpp - JSON lines with declared columns ---------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/DataSet.h"
#include "runtime/support/Files.h"
#include "runtime/support/Philox.h"
#include <algorithm>

namespace r1c::runtime {

namespace {

/// The name inside {name} when `at` is its opening brace, else empty.
std::string_view nameAt(const std::string &text, size_t at) {
  size_t end = at + 1;
  auto isLetter = [](char c) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  while (end < text.size() &&
         (isLetter(text[end]) ||
          (end > at + 1 && text[end] >= '0' && text[end] <= '9')))
    ++end;
  if (end == at + 1 || end >= text.size() || text[end] != '}')
    return {};
  return std::string_view(text).substr(at + 1, end - at - 1);
}

std::string textOf(const Json &value) {
  return value.is_string() ? value.get<std::string>() : dumpJson(value);
}

} // namespace

Template Template::parse(const Fields &fields, const Base &base) {
  Template result;
  std::string kind = fields.text("kind", "plain");
  result.text = fields.text("text");
  result.system = fields.text("system", "");
  if (kind == "chat")
    result.chat = true;
  else if (kind == "file")
    result.text = readFile(resolvePath(result.text, base));
  else if (kind != "plain")
    throw Error(fields.where(), ": no template kind '", kind,
                "'; there are plain, chat and file");
  return result;
}

std::string Template::fill(const Json &line, const Tokenizer *tokenizer) const {
  std::string result;
  for (size_t at = 0; at < text.size(); ++at) {
    std::string_view name = text[at] == '{' ? nameAt(text, at) : "";
    if (name.empty()) {
      result += text[at];
      continue;
    }
    auto found = line.find(name);
    if (found == line.end() || found->is_null())
      throw Error("no column '", name, "', which the template reads");
    result += textOf(*found);
    at += name.size() + 1;
  }
  if (!chat)
    return result;
  if (!tokenizer)
    throw Error("a chat template needs a model's tokenizer");
  return tokenizer->chat(result, system);
}

DataSet::DataSet(const Fields &description, const Base &base,
                 const Tokenizer *tokenizer, bool mayBeAbsent)
    : setName(description.text("name")), tokenizer(tokenizer) {
  if (description.has("prompt"))
    prompt = Template::parse(description.object("prompt"), base);
  description.forEach("completion", [&](const Fields &fields) {
    completions.push_back(Template::parse(fields, base));
  });
  idsColumn = description.text("ids", "");
  promptIdsColumn = description.text("prompt_ids", "");
  logpColumn = description.text("logp", "");
  if (idsColumn.empty() && !(promptIdsColumn.empty() && logpColumn.empty()))
    throw Error("data '", setName, "': 'prompt_ids' and 'logp' need 'ids'");
  if (description.has("columns")) {
    Fields columns = description.object("columns");
    for (const auto &[name, kind] : columns.json().items())
      kinds[name] = columns.text(name.c_str());
  }
  std::string places;
  for (const std::string &file : description.texts("files")) {
    fs::path path = resolvePath(file, base);
    places += (places.empty() ? "" : ", ") + path.string();
    if (mayBeAbsent && !fs::exists(path))
      continue;
    within([&] { return "data '" + setName + "'"; },
           [&] {
             std::string bytes = readFile(path);
             int64_t number = 0;
             for (size_t at = 0; at < bytes.size();) {
               size_t end = std::min(bytes.find('\n', at), bytes.size());
               std::string line = bytes.substr(at, end - at);
               at = end + 1;
               ++number;
               if (line.find_first_not_of(" \t\r") != std::string::npos)
                 append(line, concat(file, ":", number));
             }
           });
  }
  if (rows.empty() && !mayBeAbsent)
    throw Error("data '", setName, "': its files hold no line: ", places);
}

void DataSet::append(const std::string &line, const std::string &origin) {
  within([&] { return origin; },
         [&] {
           Row row;
           row.origin = origin;
           row.line = parseJson(line, "line");
           if (!row.line.is_object())
             throw Error("must be a JSON object, is ", row.line.type_name());
           for (const auto &[name, kind] : kinds) {
             auto at = row.line.find(name);
             if (at == row.line.end())
               throw Error("no column '", name, "', which is declared as ",
                           kind);
             bool fits = kind == "text"     ? at->is_string()
                         : kind == "number" ? at->is_number()
                         : kind == "flag"   ? at->is_boolean()
                                            : true;
             if (!fits)
               throw Error("column '", name, "' is declared as ", kind,
                           ", but is ", dumpJson(*at));
           }
           row.prompt = prompt.fill(row.line, tokenizer);
           if (!idsColumn.empty())
             return appendRecorded(std::move(row));
           for (const Template &completion : completions)
             row.completions.push_back(completion.fill(row.line, tokenizer));
           rows.push_back(std::move(row));
         });
}

void DataSet::appendRecorded(Row row) {
  auto column = [&](const std::string &name) -> const Json & {
    auto at = row.line.find(name);
    if (at == row.line.end() || !at->is_array())
      throw Error("column '", name, "' must be a list");
    return *at;
  };
  auto idsOf = [&](const std::string &name) {
    std::vector<int32_t> ids;
    for (const Json &id : column(name)) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
          id.get<int64_t>() > INT32_MAX)
        throw Error("column '", name, "' holds ", dumpJson(id),
                    ", which is no token id");
      ids.push_back(id.get<int32_t>());
    }
    return ids;
  };
  Recorded recorded;
  recorded.origin = row.origin;
  recorded.ids = idsOf(idsColumn);
  recorded.logp.resize(recorded.ids.size());
  if (!logpColumn.empty()) {
    const Json &values = column(logpColumn);
    if (values.size() != recorded.ids.size())
      throw Error("column '", logpColumn, "' has ", values.size(),
                  " numbers for ", recorded.ids.size(), " tokens");
    for (size_t i = 0; i < values.size(); ++i) {
      if (!values[i].is_number())
        throw Error("column '", logpColumn, "' holds ", dumpJson(values[i]));
      recorded.logp[i] = values[i].get<float>();
    }
  }
  if (!promptIdsColumn.empty())
    row.promptIds = idsOf(promptIdsColumn);
  recorded.line = row.line;
  std::string key =
      row.promptIds.empty() ? row.prompt : dumpJson(Json(row.promptIds));
  auto [at, isNew] = rowOfPrompt.emplace(key, rows.size());
  if (isNew)
    rows.push_back(std::move(row));
  rows[at->second].recorded.push_back(std::move(recorded));
}

Json DataSet::completed(const Json &line, const std::string &text) const {
  Json result = line;
  if (completions.size() != 1)
    throw Error("data '", setName,
                "' must have one completion template to be "
                "written to");
  const std::string &pattern = completions.front().text;
  for (size_t at = 0; at < pattern.size(); ++at) {
    std::string_view name = pattern[at] == '{' ? nameAt(pattern, at) : "";
    if (name.empty())
      continue;
    result[std::string(name)] = text;
    return result;
  }
  throw Error("data '", setName, "': its completion template names no column");
}

DataCursor::DataCursor(std::vector<const DataSet *> sets,
                       std::vector<double> weights, uint64_t seed, uint32_t id,
                       bool shuffled)
    : sets(std::move(sets)), weights(std::move(weights)), seed(seed), id(id),
      shuffled(shuffled), counts(this->sets.size()),
      shuffles(this->sets.size() + 1) {
  if (!this->weights.empty() && this->weights.size() != this->sets.size())
    throw Error("a mixture of ", this->sets.size(), " data sets has ",
                this->weights.size(), " weights");
  for (double weight : this->weights)
    if (!(weight >= 0))
      throw Error("a mixture's weight is ", weight);
}

void DataCursor::reseed(uint64_t value) {
  if (seed == value)
    return;
  seed = value;
  for (Shuffle &shuffle : shuffles)
    shuffle.epoch = -1;
}

int64_t DataCursor::epochSize() const {
  int64_t total = 0;
  for (const DataSet *set : sets)
    total += set->size();
  return total;
}

double DataCursor::epochs() const {
  int64_t size = epochSize();
  return size ? static_cast<double>(taken) / static_cast<double>(size) : 0;
}

int64_t DataCursor::pick(Shuffle &shuffle, int64_t size, int64_t position,
                         uint32_t which) {
  if (!shuffled)
    return position % size;
  int64_t epoch = position / size;
  if (shuffle.epoch != epoch || shuffle.order.size() != (size_t)size) {
    shuffle.epoch = epoch;
    shuffle.order = permutation(size, keyOf(seed), static_cast<uint32_t>(epoch),
                                which, Draw::dataOrder);
  }
  return shuffle.order[position % size];
}

const Row &DataCursor::next() {
  int64_t total = epochSize();
  if (total == 0)
    throw Error("data '", sets.empty() ? "" : sets.front()->name(),
                "' is empty");
  int64_t position = taken++;
  if (weights.empty()) {
    int64_t index = pick(shuffles.back(), total, position, id);
    for (const DataSet *set : sets) {
      if (index < set->size())
        return set->row(index);
      index -= set->size();
    }
  }
  double sum = 0;
  for (size_t i = 0; i < sets.size(); ++i)
    sum += sets[i]->size() ? weights[i] : 0;
  if (!(sum > 0))
    throw Error("all data sets with a weight above 0 are empty");
  auto words = philox({static_cast<uint32_t>(position),
                       static_cast<uint32_t>(position >> 32), id,
                       static_cast<uint32_t>(Draw::mixture)},
                      keyOf(seed));
  double at = uniformOf(words[0], words[1]) * sum;
  size_t chosen = 0;
  for (size_t i = 0; i < sets.size(); ++i) {
    double weight = sets[i]->size() ? weights[i] : 0;
    if (weight == 0)
      continue;
    chosen = i; // the last one takes what rounding leaves
    if (at < weight)
      break;
    at -= weight;
  }
  // The set's place goes into the address of its shuffle, beside the cursor's.
  auto which = static_cast<uint32_t>(id + (chosen + 1) * 65536);
  return sets[chosen]->row(
      pick(shuffles[chosen], sets[chosen]->size(), counts[chosen]++, which));
}

Json DataCursor::save() const { return {{"taken", taken}, {"counts", counts}}; }

void DataCursor::restore(const Json &state) {
  Fields fields(state, "data cursor");
  taken = fields.integer("taken");
  counts = fields.integers("counts");
  if (taken < 0 || std::any_of(
                       counts.begin(), counts.end(),
                       [](int64_t count) { return count < 0; }))
    throw Error("data cursor: a place before the beginning");
  if (counts.size() != sets.size())
    throw Error("data cursor: ", counts.size(), " counts for ", sets.size(),
                " data sets");
}

} // namespace r1c::runtime
