//===- HuggingFace.cpp - the tokenizer of a model directory ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/jinja/Jinja.h"
#include "runtime/data/tokenizer/AddedTokens.h"
#include "runtime/data/tokenizer/BytePairs.h"
#include "runtime/data/tokenizer/PreTokenizer.h"
#include "runtime/data/tokenizer/Tokenizer.h"
#include "runtime/support/Files.h"
#include <set>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>

namespace r1c::runtime {

namespace {

/// NFC as the original has it: characters younger than Unicode 9 have no order
/// and no compositions there.
const icu::Normalizer2 &nfcOfUnicode9() {
  static UErrorCode status = U_ZERO_ERROR;
  static const icu::UnicodeSet known(u"[:age=9.0:]", status);
  static const icu::Normalizer2 *newest =
      icu::Normalizer2::getNFCInstance(status);
  if (U_FAILURE(status))
    throw Error("ICU has no NFC");
  static const icu::FilteredNormalizer2 normalizer(*newest, known);
  return normalizer;
}

class HuggingFace : public Tokenizer {
public:
  explicit HuggingFace(const fs::path &place) : directory(place) {
    inFile("tokenizer.json", [&](const Fields &top) { readTokenizer(top); });
    for (const char *name : {"generation_config.json", "config.json"})
      if (endIds.empty() && fs::exists(directory / name))
        inFile(name, [&](const Fields &top) { readEnds(top); });
    for (const char *name :
         {"special_tokens_map.json", "tokenizer_config.json"})
      if (fs::exists(directory / name))
        inFile(name, [&](const Fields &top) { readSpecial(top); });
    readChatFile();
    if (endId < 0)
      throw Error(directory.string(),
                  ": no file says which token ends a sequence (eos_token_id "
                  "of generation_config.json)");
  }

  std::vector<int32_t> encode(std::string_view text) const override {
    // In the order of the original: tokens that are looked for in the text as
    // it stands, the normalizer, tokens in what it made of the rest.
    std::vector<int32_t> ids;
    auto take = [&](int32_t id) { ids.push_back(id); };
    added.split(
        text,
        [&](std::string_view plain) {
          addedNormalized.split(
              normalized(plain),
              [&](std::string_view rest) {
                for (const std::string &piece : preTokenizer->split(rest))
                  model->encode(piece, ids);
              },
              take);
        },
        take);
    return ids;
  }

  std::string decode(std::span<const int32_t> ids) const override {
    std::string bytes, text;
    for (int32_t id : ids)
      if (id >= 0 && static_cast<size_t>(id) < texts.size() &&
          !special.count(id))
        bytes += texts[id];
    // A token may be a part of a character: what is none in the end is
    // replaced, so that a text is always UTF-8.
    return icu::UnicodeString::fromUTF8(bytes).toUTF8String(text);
  }

  int32_t end() const override { return endId; }
  bool isEnd(int32_t id) const override { return endIds.count(id) != 0; }
  std::vector<int32_t> ends() const override {
    std::vector<int32_t> result = {endId};
    for (int32_t id : endIds)
      if (id != endId)
        result.push_back(id);
    return result;
  }
  int64_t size() const override { return static_cast<int64_t>(texts.size()); }

  std::string chat(const std::string &text,
                   const std::string &system) const override {
    return within([&] { return directory.string() + ": its chat template"; },
                  [&] {
                    if (!chatTemplate)
                      throw Error(chatProblem);
                    Json messages = Json::array();
                    if (!system.empty())
                      messages.push_back(
                          {{"role", "system"}, {"content", system}});
                    messages.push_back({{"role", "user"}, {"content", text}});
                    Json variables = namedTokens;
                    variables["messages"] = std::move(messages);
                    variables["add_generation_prompt"] = true;
                    variables["tools"] = nullptr;
                    variables["documents"] = nullptr;
                    return chatTemplate->render(variables);
                  });
  }

  void write(const fs::path &target) const override {
    for (const char *name :
         {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
          "vocab.json", "merges.txt", "chat_template.jinja"})
      if (fs::exists(directory / name))
        writeFile(target / name, readFile(directory / name));
  }

private:
  /// Reads a JSON file of the directory; errors name it.
  template <typename Read>
  void inFile(const char *name, Read read) {
    std::string path = (directory / name).string();
    Json json = parseJson(readFile(path), path);
    within([&] { return path; }, [&] { read(Fields(json, "")); });
  }

  void readTokenizer(const Fields &top) {
    model.emplace(top.object("model"));
    model->forEach(
        [&](int32_t id, const std::string &text) { place(id, text); });
    if (top.has("normalizer"))
      readNormalizer(top.object("normalizer"));
    if (!top.has("pre_tokenizer"))
      throw Error("no 'pre_tokenizer'; only byte-level BPE is known");
    preTokenizer.emplace(top.object("pre_tokenizer"));
    if (!top.has("decoder") ||
        top.object("decoder").text("type") != "ByteLevel")
      throw Error("the 'decoder' is not ByteLevel, the only one known");
    top.forEach("added_tokens", [&](const Fields &fields) {
      AddedToken token = readAddedToken(fields);
      place(token.id, token.content);
      if (token.special)
        special.insert(token.id);
      contents[token.content] = token.id;
      if (!token.normalized)
        return added.add(std::move(token));
      token.content = normalized(token.content);
      addedNormalized.add(std::move(token));
    });
  }

  void readNormalizer(const Fields &normalizer) {
    std::string type = normalizer.text("type");
    if (type == "Sequence")
      return normalizer.forEach(
          "normalizers", [&](const Fields &each) { readNormalizer(each); });
    if (type != "NFC")
      throw Error(normalizer.where(), ": no normalizer ", type,
                  "; only NFC is known");
    nfc = &nfcOfUnicode9();
  }

  /// One end token, or several; the first closes completions.
  void readEnds(const Fields &top) {
    if (!top.has("eos_token_id"))
      return;
    const Json &field = top.get("eos_token_id");
    for (const Json &id : field.is_array() ? field : Json::array({field})) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
          id.get<int64_t>() >= size())
        throw Error("'eos_token_id' is ", dumpJson(field),
                    ", but the tokenizer has the ids 0 to ", size() - 1);
      endId = endId < 0 ? id.get<int32_t>() : endId;
      endIds.insert(id.get<int32_t>());
    }
  }

  void readSpecial(const Fields &top) {
    for (const char *name : {"bos_token", "eos_token", "unk_token", "sep_token",
                             "pad_token", "cls_token", "mask_token"})
      if (top.has(name))
        namedTokens[name] = top.get(name).is_object()
                                ? top.object(name).text("content")
                                : top.text(name);
    if (auto token = namedTokens.find("eos_token"); token != namedTokens.end())
      if (auto at = contents.find(token->get<std::string>());
          at != contents.end()) {
        endId = at->second;
        endIds.insert(at->second);
      }
    if (!top.has("chat_template"))
      return;
    if (!top.get("chat_template").is_array())
      return setChat(top.text("chat_template"));
    top.forEach("chat_template", [&](const Fields &each) {
      if (each.text("name") == "default")
        setChat(each.text("template"));
    });
  }

  void readChatFile() {
    fs::path path = directory / "chat_template.jinja";
    if (fs::exists(path))
      setChat(readFile(path));
  }

  void setChat(const std::string &source) {
    // A model is of use without a chat format too: what cannot be read is an
    // error where a prompt needs it.
    try {
      chatTemplate = std::make_unique<Jinja>(source);
      chatProblem.clear();
    } catch (const Error &error) {
      chatTemplate.reset();
      chatProblem = error.what();
    }
  }

  void place(int32_t id, const std::string &text) {
    if (static_cast<size_t>(id) >= texts.size())
      texts.resize(id + 1);
    texts[id] = bytesOfToken(text);
  }

  std::string normalized(std::string_view text) const {
    if (!nfc)
      return std::string(text);
    UErrorCode status = U_ZERO_ERROR;
    std::string result;
    nfc->normalize(icu::UnicodeString::fromUTF8(
                       {text.data(), static_cast<int32_t>(text.size())}),
                   status)
        .toUTF8String(result);
    return result;
  }

  fs::path directory;
  std::optional<BytePairs> model;
  std::optional<PreTokenizer> preTokenizer;
  const icu::Normalizer2 *nfc = nullptr;
  AddedTokens added, addedNormalized;
  std::map<std::string, int32_t> contents; ///< of added tokens
  std::vector<std::string> texts;          ///< the bytes of each id
  std::set<int32_t> special, endIds;
  int32_t endId = -1;
  Json namedTokens = Json::object(); ///< bos_token and the like
  std::unique_ptr<Jinja> chatTemplate;
  std::string chatProblem = ///< why there is none
      "is missing; write the prompt as a plain template";
};

} // namespace

std::unique_ptr<Tokenizer>
makeHuggingFace(const std::filesystem::path &directory) {
  return std::make_unique<HuggingFace>(directory);
}

} // namespace r1c::runtime
