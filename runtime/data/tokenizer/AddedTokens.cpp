//===- AddedTokens.cpp - tokens that stand for themselves in a text -------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/tokenizer/AddedTokens.h"
#include <algorithm>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

namespace r1c::runtime {

namespace {

bool isSpace(UChar32 point) { return u_isUWhiteSpace(point); }

/// What \w means in regular expressions.
bool isWord(UChar32 point) {
  return u_isUAlphabetic(point) || u_isdigit(point) ||
         (U_GET_GC_MASK(point) & (U_GC_M_MASK | U_GC_PC_MASK)) ||
         u_hasBinaryProperty(point, UCHAR_JOIN_CONTROL);
}

const uint8_t *bytesOf(std::string_view text) {
  return reinterpret_cast<const uint8_t *>(text.data());
}

UChar32 firstOf(std::string_view text) {
  UChar32 point;
  U8_GET(bytesOf(text), 0, 0, static_cast<int32_t>(text.size()), point);
  return point;
}

UChar32 lastOf(std::string_view text) {
  auto at = static_cast<int32_t>(text.size());
  UChar32 point;
  U8_PREV(bytesOf(text), 0, at, point);
  return point;
}

} // namespace

AddedToken readAddedToken(const Fields &fields) {
  AddedToken token;
  token.content = fields.text("content");
  int64_t id = fields.integer("id");
  if (id < 0 || id > (1 << 24))
    throw Error(fields.where(), ": the id ", id, " is out of range");
  token.id = static_cast<int32_t>(id);
  token.special = fields.flag("special", false);
  token.normalized = fields.flag("normalized", !token.special);
  token.singleWord = fields.flag("single_word", false);
  token.lstrip = fields.flag("lstrip", false);
  token.rstrip = fields.flag("rstrip", false);
  return token;
}

void AddedTokens::add(AddedToken token) {
  if (token.content.empty())
    return;
  std::vector<AddedToken> &list = tokens[token.content[0]];
  list.push_back(std::move(token));
  std::sort(list.begin(), list.end(), [](const auto &a, const auto &b) {
    return a.content.size() > b.content.size();
  });
}

const AddedToken *AddedTokens::at(std::string_view text,
                                  size_t position) const {
  auto list = tokens.find(text[position]);
  if (list == tokens.end())
    return nullptr;
  for (const AddedToken &token : list->second)
    if (text.substr(position, token.content.size()) == token.content)
      return &token;
  return nullptr;
}

void AddedTokens::split(std::string_view text,
                        const std::function<void(std::string_view)> &plain,
                        const std::function<void(int32_t)> &found) const {
  size_t done = 0;
  auto give = [&](size_t end) {
    if (end > done)
      plain(text.substr(done, end - done));
  };
  for (size_t position = 0; position < text.size();) {
    const AddedToken *token = at(text, position);
    if (!token) {
      ++position;
      continue;
    }
    size_t start = position, end = position + token->content.size();
    position = end; // also where a single word is none: nothing in it is tried
    if (token->singleWord &&
        ((start > 0 && isWord(lastOf(text.substr(0, start)))) ||
         (end < text.size() && isWord(firstOf(text.substr(end))))))
      continue;
    if (token->lstrip)
      while (start > done && isSpace(lastOf(text.substr(0, start)))) {
        auto at = static_cast<int32_t>(start);
        U8_BACK_1(bytesOf(text), 0, at);
        start = static_cast<size_t>(at);
      }
    if (token->rstrip)
      while (end < text.size() && isSpace(firstOf(text.substr(end)))) {
        auto at = static_cast<int32_t>(end);
        U8_FWD_1(text.data(), at, static_cast<int32_t>(text.size()));
        end = static_cast<size_t>(at);
      }
    give(start);
    found(token->id);
    done = end;
  }
  give(text.size());
}

} // namespace r1c::runtime
