//===- Json.cpp - JSON that users give ------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/json/Json.h"

using namespace llvm;

/// Where `text` opens one bracket too many, or npos. Brackets in strings do not
/// count; what is no JSON may be judged wrongly behind the place where the
/// parser will stop.
static size_t findTooDeep(StringRef text) {
  constexpr int deepest = 1000;
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i)
    switch (text[i]) {
    case '"':
      for (++i; i < text.size() && text[i] != '"'; ++i)
        if (text[i] == '\\')
          ++i;
      break;
    case '[':
    case '{':
      if (++depth > deepest)
        return i;
      break;
    case ']':
    case '}':
      --depth;
      break;
    }
  return StringRef::npos;
}

Expected<json::Value> r1c::parseJson(StringRef text) {
  size_t at = findTooDeep(text);
  if (at == StringRef::npos)
    return json::parse(text);
  // Said as the parser says it, from behind the bracket.
  StringRef read = text.take_front(at + 1);
  return make_error<json::ParseError>(
      "Nested more than 1000 deep", read.count('\n') + 1,
      read.size() - (read.rfind('\n') + 1), read.size());
}
