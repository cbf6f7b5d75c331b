//===- BytePairs.cpp - byte-level byte-pair encoding ----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/tokenizer/BytePairs.h"
#include <optional>
#include <queue>
#include <unicode/utf8.h>

namespace r1c::runtime {

namespace {

/// GPT-2's alphabet: printable bytes of Latin-1 are themselves, the others are
/// numbered from 256 on.
std::unordered_map<int32_t, char> byteOfCharacter() {
  std::unordered_map<int32_t, char> map;
  int32_t next = 256;
  for (int32_t byte = 0; byte < 256; ++byte) {
    bool printable = (byte >= '!' && byte <= '~') ||
                     (byte >= 0xA1 && byte <= 0xAC) ||
                     (byte >= 0xAE && byte <= 0xFF);
    map[printable ? byte : next++] = static_cast<char>(byte);
  }
  return map;
}

/// Nothing if a character is not of the alphabet.
std::optional<std::string> byteLevel(const std::string &text) {
  static const std::unordered_map<int32_t, char> bytes = byteOfCharacter();
  std::string result;
  auto length = static_cast<int32_t>(text.size());
  for (int32_t at = 0; at < length;) {
    int32_t point;
    U8_NEXT(text.data(), at, length, point);
    auto found = bytes.find(point);
    if (found == bytes.end())
      return std::nullopt;
    result += found->second;
  }
  return result;
}

uint64_t pairOf(int32_t left, int32_t right) {
  return uint64_t(uint32_t(left)) << 32 | uint32_t(right);
}

} // namespace

std::string bytesOfToken(const std::string &text) {
  return byteLevel(text).value_or(text);
}

BytePairs::BytePairs(const Fields &model) {
  refuseVariants(model);
  ignoreMerges = model.flag("ignore_merges", false);
  Fields entries = model.object("vocab");
  for (const auto &[text, value] : entries.json().items()) {
    int64_t id = entries.integer(text.c_str());
    if (id < 0 || id > (1 << 24))
      throw Error(entries.where(), ": the id ", id, " of '", text,
                  "' is out of range");
    vocabulary.emplace(text, static_cast<int32_t>(id));
    if (auto bytes = byteLevel(text); bytes && !bytes->empty())
      idOfBytes.emplace(*bytes, static_cast<int32_t>(id));
  }

  // A byte that no entry spells is the unknown token, or nothing.
  int32_t unknown = -1;
  if (model.has("unk_token")) {
    auto at = vocabulary.find(model.text("unk_token"));
    if (at == vocabulary.end())
      throw Error(model.where(), ": the vocabulary has no unk_token '",
                  model.text("unk_token"), "'");
    unknown = at->second;
  }
  int known = 0;
  for (int byte = 0; byte < 256; ++byte) {
    auto at = idOfBytes.find(std::string(1, static_cast<char>(byte)));
    known += at != idOfBytes.end();
    idOfByte[byte] = at == idOfBytes.end() ? unknown : at->second;
  }
  if (known < 128)
    throw Error(model.where(), ": the vocabulary spells only ", known,
                " single bytes; only byte-level BPE is known");
  if (known < 256 && unknown >= 0 && model.flag("fuse_unk", false))
    throw Error(model.where(), ": 'fuse_unk' is not known");
  const Json &list = model.array("merges");
  within([&] { return model.where(); }, [&] { readMerges(list); });
}

void BytePairs::refuseVariants(const Fields &model) const {
  // Older files name no type.
  if (std::string type = model.text("type", "BPE"); type != "BPE")
    throw Error(model.where(), ": a tokenizer of type ", type,
                "; only BPE is known");
  if (model.number("dropout", 0) != 0)
    throw Error(model.where(), ": 'dropout' is not known");
  for (const char *affix : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!model.text(affix, "").empty())
      throw Error(model.where(), ": '", affix,
                  "' is not known; only byte-level BPE is");
  if (model.flag("byte_fallback", false))
    throw Error(model.where(),
                ": 'byte_fallback' is not known; only byte-level BPE is");
  model.get("merges"); // absent, it must not read as an empty list
}

void BytePairs::readMerges(const Json &list) {
  merges.reserve(list.size());
  int32_t rank = 0;
  for (const Json &entry : list) {
    // "left right", in newer files ["left", "right"].
    std::optional<std::string> left, right;
    if (entry.is_string()) {
      std::string text = entry.get<std::string>();
      if (size_t gap = text.find(' '); gap != std::string::npos) {
        left = byteLevel(text.substr(0, gap));
        right = byteLevel(text.substr(gap + 1));
      }
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
               entry[1].is_string()) {
      left = byteLevel(entry[0].get<std::string>());
      right = byteLevel(entry[1].get<std::string>());
    }
    if (!left || !right)
      throw Error("merges[", rank, "] is ", dumpJson(entry),
                  ", not two entries of a byte-level vocabulary");
    auto a = idOfBytes.find(*left), b = idOfBytes.find(*right),
         both = idOfBytes.find(*left + *right);
    if (a == idOfBytes.end() || b == idOfBytes.end() || both == idOfBytes.end())
      throw Error("merges[", rank, "] is ", dumpJson(entry),
                  ", but the vocabulary lacks one of them or their join");
    // Of a pair that stands twice the last counts, as in the original.
    merges[pairOf(a->second, b->second)] = {rank++, both->second};
  }
}

const BytePairs::Merge *BytePairs::mergeOf(int32_t left, int32_t right) const {
  auto at = merges.find(pairOf(left, right));
  return at == merges.end() ? nullptr : &at->second;
}

void BytePairs::encode(std::string_view piece,
                       std::vector<int32_t> &ids) const {
  if (ignoreMerges)
    if (auto at = idOfBytes.find(std::string(piece)); at != idOfBytes.end())
      return ids.push_back(at->second);

  // A list of parts, linked so that a merge moves nothing, and a heap of the
  // merges that were possible when their parts were made.
  struct Part {
    int32_t id;
    int32_t before, after;
  };
  std::vector<Part> parts;
  for (char byte : piece)
    if (int32_t id = idOfByte[static_cast<unsigned char>(byte)]; id >= 0) {
      auto at = static_cast<int32_t>(parts.size());
      parts.push_back({id, at - 1, at + 1});
    }
  if (parts.empty())
    return;
  parts.back().after = -1;

  struct Candidate {
    int32_t rank, at, left, right, result;
    // The lowest rank first, the leftmost of equal ones.
    bool operator<(const Candidate &other) const {
      return std::pair(rank, at) > std::pair(other.rank, other.at);
    }
  };
  std::priority_queue<Candidate> heap;
  auto consider = [&](int32_t at) {
    if (at < 0 || parts[at].after < 0)
      return;
    int32_t left = parts[at].id, right = parts[parts[at].after].id;
    if (const Merge *merge = mergeOf(left, right))
      heap.push({merge->rank, at, left, right, merge->result});
  };
  for (size_t at = 0; at < parts.size(); ++at)
    consider(static_cast<int32_t>(at));
  constexpr int32_t gone = -1;
  while (!heap.empty()) {
    Candidate top = heap.top();
    heap.pop();
    Part &left = parts[top.at];
    if (left.id != top.left || left.after < 0 ||
        parts[left.after].id != top.right)
      continue; // another merge has taken one of the two
    Part &right = parts[left.after];
    left.id = top.result;
    left.after = right.after;
    right.id = gone;
    if (left.after >= 0)
      parts[left.after].before = top.at;
    consider(left.before);
    consider(top.at);
  }
  for (int32_t at = 0; at >= 0; at = parts[at].after)
    ids.push_back(parts[at].id);
}

} // namespace r1c::runtime
