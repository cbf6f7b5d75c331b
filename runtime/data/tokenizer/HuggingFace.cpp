//===- HuggingFace.cpp - tokenizer.json, byte-level BPE -------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/tokenizer/Pattern.h"
#include "runtime/data/tokenizer/Tokenizer.h"
#include "runtime/support/Files.h"
#include <algorithm>
#include <set>
#include <unicode/normalizer2.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>
#include <unordered_map>

namespace r1c::runtime {

namespace {

/// The pattern of GPT-2, which the pre-tokenizer "ByteLevel" means.
constexpr const char *gpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// GPT-2's alphabet: each byte as a printable character, which is what the
/// entries of a byte-level vocabulary are written in.
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

/// The bytes that an entry of the vocabulary stands for.
std::string bytesOfEntry(const std::string &entry) {
  static const std::unordered_map<int32_t, char> bytes = byteOfCharacter();
  std::string result;
  auto length = static_cast<int32_t>(entry.size());
  for (int32_t at = 0; at < length;) {
    int32_t point;
    U8_NEXT(entry.data(), at, length, point);
    auto found = bytes.find(point);
    if (found == bytes.end())
      return {}; // an added token that is no byte-level text
    result += found->second;
  }
  return result;
}

class HuggingFace : public Tokenizer {
public:
  explicit HuggingFace(const fs::path &place) : directory(place) {
    within([&] { return (directory / "tokenizer.json").string(); },
           [&] {
             Json json = parseJson(readFile(directory / "tokenizer.json"),
                                   "tokenizer.json");
             Fields top(json, "tokenizer.json");
             readModel(top.object("model"));
             readAddedTokens(top);
             if (top.has("normalizer"))
               readNormalizer(top.object("normalizer"));
             if (top.has("pre_tokenizer"))
               readPreTokenizer(top.object("pre_tokenizer"));
             if (!byteLevel)
               throw Error("only byte-level BPE is known");
           });
    readSpecial();
  }

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    // Added tokens are found first, and stand for themselves.
    size_t start = 0;
    for (size_t at = 0; at < text.size();) {
      auto found = addedAt(text, at);
      if (found == added.end()) {
        ++at;
        continue;
      }
      encodePlain(text.substr(start, at - start), ids);
      ids.push_back(found->second);
      at += found->first.size();
      start = at;
    }
    encodePlain(text.substr(start), ids);
    return ids;
  }

  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (int32_t id : ids)
      if (id >= 0 && static_cast<size_t>(id) < texts.size() &&
          !special.count(id))
        text += texts[id];
    return text;
  }

  int32_t end() const override { return endId; }
  bool isEnd(int32_t id) const override { return ends.count(id) != 0; }
  int64_t size() const override { return static_cast<int64_t>(texts.size()); }

  std::string chat(const std::string &text,
                   const std::string &system) const override {
    if (chatTemplate.find("<|im_start|>") == std::string::npos)
      throw Error(directory.string(),
                  ": its chat template is not ChatML, the "
                  "only one known; write the prompt as a plain template");
    const std::string &instruction = system.empty() ? defaultSystem : system;
    std::string result;
    if (!instruction.empty())
      result = "<|im_start|>system\n" + instruction + "<|im_end|>\n";
    return result + "<|im_start|>user\n" + text +
           "<|im_end|>\n<|im_start|>assistant\n";
  }

  void write(const fs::path &target) const override {
    for (const char *name :
         {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
          "vocab.json", "merges.txt", "chat_template.jinja"})
      if (fs::exists(directory / name))
        writeFile(target / name, readFile(directory / name));
  }

private:
  void readModel(const Fields &model) {
    std::string type = model.text("type", "BPE");
    if (type != "BPE")
      throw Error("a tokenizer of type ", type, "; only BPE is known");
    ignoreMerges = model.flag("ignore_merges", false);
    Fields vocabulary = model.object("vocab");
    for (const auto &[entry, id] : vocabulary.json().items()) {
      auto number = static_cast<int32_t>(vocabulary.integer(entry.c_str()));
      std::string bytes = bytesOfEntry(entry);
      place(number, bytes);
      if (!bytes.empty())
        idOf[bytes] = number;
    }
    // A byte that no entry spells is the unknown token, or nothing.
    std::string unknown =
        model.has("unk_token") ? model.text("unk_token") : std::string();
    int32_t unknownId =
        unknown.empty() ? -1
                        : static_cast<int32_t>(vocabulary.integer(unknown.c_str()));
    int known = 0;
    for (int byte = 0; byte < 256; ++byte) {
      auto at = idOf.find(std::string(1, static_cast<char>(byte)));
      byteIds[byte] = at == idOf.end() ? unknownId : at->second;
      known += at != idOf.end();
    }
    if (known < 128)
      throw Error("the vocabulary spells only ", known,
                  " single bytes; only byte-level BPE is known");
    int32_t rank = 0;
    for (const Json &entry : model.array("merges")) {
      std::string left, right;
      if (entry.is_string()) {
        std::string text = entry.get<std::string>();
        size_t gap = text.find(' ');
        left = text.substr(0, gap);
        right = gap == std::string::npos ? "" : text.substr(gap + 1);
      } else if (entry.is_array() && entry.size() == 2) {
        left = entry[0].get<std::string>();
        right = entry[1].get<std::string>();
      }
      auto a = idOf.find(bytesOfEntry(left)),
           b = idOf.find(bytesOfEntry(right));
      auto both = idOf.find(bytesOfEntry(left) + bytesOfEntry(right));
      if (a == idOf.end() || b == idOf.end() || both == idOf.end())
        throw Error("merge ", rank, " is not of the vocabulary");
      merges.emplace(pair(a->second, b->second),
                     std::pair(rank++, both->second));
    }
  }

  void readAddedTokens(const Fields &top) {
    top.forEach("added_tokens", [&](const Fields &token) {
      auto id = static_cast<int32_t>(token.integer("id"));
      std::string content = token.text("content");
      place(id, content);
      if (token.flag("special", false))
        special.insert(id);
      if (!content.empty())
        added.emplace_back(content, id);
    });
    // The longest that matches wins.
    std::sort(added.begin(), added.end(), [](const auto &a, const auto &b) {
      return a.first.size() > b.first.size();
    });
  }

  void readNormalizer(const Fields &normalizer) {
    std::string type = normalizer.text("type");
    if (type == "Sequence")
      return normalizer.forEach(
          "normalizers", [&](const Fields &each) { readNormalizer(each); });
    if (type != "NFC")
      throw Error("no normalizer ", type, "; only NFC is known");
    UErrorCode status = U_ZERO_ERROR;
    normalizerNfc = icu::Normalizer2::getNFCInstance(status);
    if (U_FAILURE(status))
      throw Error("ICU has no NFC");
  }

  void readPreTokenizer(const Fields &step) {
    std::string type = step.text("type");
    if (type == "Sequence")
      return step.forEach("pretokenizers",
                          [&](const Fields &each) { readPreTokenizer(each); });
    if (type == "Digits") {
      splits.emplace_back(step.flag("individual_digits", false) ? "\\p{N}"
                                                                : "\\p{N}+");
    } else if (type == "Split") {
      std::string behavior = step.text("behavior");
      if (behavior != "Isolated" || step.flag("invert", false))
        throw Error("a Split with behavior ", behavior,
                    " is not known, only Isolated");
      splits.emplace_back(step.object("pattern").text("Regex"));
    } else if (type == "ByteLevel") {
      byteLevel = true;
      addPrefixSpace = step.flag("add_prefix_space", false);
      if (step.flag("use_regex", true))
        splits.emplace_back(gpt2Pattern);
    } else {
      throw Error("no pre-tokenizer ", type);
    }
  }

  /// End tokens and chat format from the files beside it.
  void readSpecial() {
    for (const char *name : {"generation_config.json", "config.json"}) {
      if (!fs::exists(directory / name) || !ends.empty())
        continue;
      Json json = parseJson(readFile(directory / name), name);
      Json ids = json.value("eos_token_id", Json());
      if (ids.is_number_integer())
        ids = Json::array({ids});
      if (ids.is_array())
        for (const Json &id : ids) {
          endId = endId < 0 ? id.get<int32_t>() : endId;
          ends.insert(id.get<int32_t>());
        }
    }
    fs::path file = directory / "tokenizer_config.json";
    if (fs::exists(file)) {
      Json json = parseJson(readFile(file), file.string());
      Json token = json.value("eos_token", Json());
      if (token.is_object())
        token = token.value("content", Json());
      if (token.is_string())
        for (const auto &[content, id] : added)
          if (content == token.get<std::string>()) {
            endId = id;
            ends.insert(id);
          }
      if (json.value("chat_template", Json()).is_string())
        chatTemplate = json["chat_template"].get<std::string>();
    }
    if (fs::exists(directory / "chat_template.jinja"))
      chatTemplate = readFile(directory / "chat_template.jinja");
    if (endId < 0)
      throw Error(directory.string(),
                  ": no file says which token ends a "
                  "sequence (eos_token_id of generation_config.json)");
    // The template's own system text: what stands between the marks when the
    // conversation brings none.
    const std::string open = "<|im_start|>system", close = "<|im_end|>";
    for (size_t at = 0;
         (at = chatTemplate.find(open, at)) != std::string::npos;) {
      at += open.size();
      size_t end = chatTemplate.find(close, at);
      std::string text = chatTemplate.substr(at, end - at);
      if (text.rfind("\\n", 0) == 0)
        text.erase(0, 2);
      else if (text.rfind("\n", 0) == 0)
        text.erase(0, 1);
      if (end != std::string::npos && !text.empty() &&
          text.find_first_of("{}'+\"") == std::string::npos) {
        defaultSystem = text;
        break;
      }
    }
  }

  void place(int32_t id, const std::string &text) {
    if (id < 0 || id > (1 << 24))
      throw Error("the id ", id, " is out of range");
    if (static_cast<size_t>(id) >= texts.size())
      texts.resize(id + 1);
    texts[id] = text;
  }

  static uint64_t pair(int32_t a, int32_t b) {
    return uint64_t(uint32_t(a)) << 32 | uint32_t(b);
  }

  std::vector<std::pair<std::string, int32_t>>::const_iterator
  addedAt(std::string_view text, size_t at) const {
    return std::find_if(added.begin(), added.end(), [&](const auto &token) {
      return text.substr(at, token.first.size()) == token.first;
    });
  }

  void encodePlain(std::string_view text, std::vector<int32_t> &ids) const {
    if (text.empty())
      return;
    std::string normal(text);
    if (normalizerNfc) {
      UErrorCode status = U_ZERO_ERROR;
      icu::UnicodeString from = icu::UnicodeString::fromUTF8(normal);
      normal.clear();
      normalizerNfc->normalize(from, status).toUTF8String(normal);
    }
    if (addPrefixSpace && normal[0] != ' ')
      normal = " " + normal;
    std::vector<std::string_view> pieces = {normal};
    for (const Pattern &split : splits) {
      std::vector<std::string_view> finer;
      for (std::string_view piece : pieces)
        split.isolate(piece, finer);
      pieces = std::move(finer);
    }
    for (std::string_view piece : pieces)
      encodePiece(piece, ids);
  }

  void encodePiece(std::string_view piece, std::vector<int32_t> &ids) const {
    if (ignoreMerges)
      if (auto at = idOf.find(std::string(piece)); at != idOf.end())
        return ids.push_back(at->second);
    std::vector<int32_t> parts;
    for (char byte : piece)
      if (int32_t id = byteIds[static_cast<unsigned char>(byte)]; id >= 0)
        parts.push_back(id);
    // The merge of lowest rank first, the leftmost of equal ones.
    while (parts.size() > 1) {
      int32_t best = INT32_MAX, merged = -1;
      size_t where = 0;
      for (size_t i = 0; i + 1 < parts.size(); ++i) {
        auto at = merges.find(pair(parts[i], parts[i + 1]));
        if (at != merges.end() && at->second.first < best) {
          best = at->second.first;
          merged = at->second.second;
          where = i;
        }
      }
      if (merged < 0)
        break;
      parts[where] = merged;
      parts.erase(parts.begin() + static_cast<ptrdiff_t>(where) + 1);
    }
    ids.insert(ids.end(), parts.begin(), parts.end());
  }

  fs::path directory;
  std::vector<std::string> texts;
  std::unordered_map<std::string, int32_t> idOf;
  int32_t byteIds[256];
  std::unordered_map<uint64_t, std::pair<int32_t, int32_t>> merges;
  std::vector<std::pair<std::string, int32_t>> added;
  std::set<int32_t> special, ends;
  int32_t endId = -1;
  bool ignoreMerges = false, byteLevel = false, addPrefixSpace = false;
  const icu::Normalizer2 *normalizerNfc = nullptr;
  std::vector<Pattern> splits; ///< one after the other
  std::string chatTemplate, defaultSystem;
};

} // namespace

std::unique_ptr<Tokenizer>
makeHuggingFace(const std::filesystem::path &directory) {
  return std::make_unique<HuggingFace>(directory);
}

} // namespace r1c::runtime
