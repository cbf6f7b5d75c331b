//===- Characters.cpp - one id a character --------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/tokenizer/Tokenizer.h"
#include "runtime/support/Files.h"
#include <cstdio>
#include <unicode/uchar.h>
#include <unicode/utf8.h>
#include <unordered_map>

namespace r1c::runtime {

namespace {

/// For messages: 'z', or U+0007 for what a terminal would obey.
std::string shown(UChar32 point, std::string_view bytes) {
  if (u_isprint(point))
    return concat("'", bytes, "'");
  char text[16];
  std::snprintf(text, sizeof text, "U+%04X", static_cast<unsigned>(point));
  return text;
}

class Characters : public Tokenizer {
public:
  explicit Characters(const std::string &alphabet) : alphabet(alphabet) {
    texts.push_back(""); // the end of a sequence
    forEach(alphabet, [&](UChar32 point, std::string_view bytes) {
      auto id = static_cast<int32_t>(texts.size());
      if (!ids.emplace(point, id).second)
        throw Error("the alphabet has '", bytes, "' twice");
      texts.emplace_back(bytes);
    });
  }

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> result;
    forEach(text, [&](UChar32 point, std::string_view bytes) {
      auto at = ids.find(point);
      if (at == ids.end())
        throw Error("the character ", shown(point, bytes),
                    " is not in the tokenizer's alphabet");
      result.push_back(at->second);
    });
    return result;
  }

  std::string decode(std::span<const int32_t> list) const override {
    std::string text;
    for (int32_t id : list)
      if (id > 0 && static_cast<size_t>(id) < texts.size())
        text += texts[id];
    return text;
  }

  int32_t end() const override { return 0; }
  int64_t size() const override { return static_cast<int64_t>(texts.size()); }

  void write(const std::filesystem::path &directory) const override {
    Json json = {
        {"kind", "characters"}, {"alphabet", alphabet}, {"end_of_sequence", 0}};
    writeFile(directory / "r1c_tokenizer.json", dumpJson(json, 2) + "\n");
  }

private:
  template <typename Each>
  static void forEach(std::string_view text, Each each) {
    auto length = static_cast<int32_t>(text.size());
    for (int32_t at = 0; at < length;) {
      int32_t start = at;
      UChar32 point;
      U8_NEXT(text.data(), at, length, point);
      if (point < 0)
        throw Error("byte ", start, " of the text is not UTF-8");
      each(point, text.substr(start, at - start));
    }
  }

  std::string alphabet;
  std::vector<std::string> texts;
  std::unordered_map<UChar32, int32_t> ids;
};

} // namespace

std::unique_ptr<Tokenizer> makeCharacters(const std::string &alphabet) {
  return std::make_unique<Characters>(alphabet);
}

} // namespace r1c::runtime
