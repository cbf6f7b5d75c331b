//===- Words.cpp - counting words of a language ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/reward/Words.h"
#include "runtime/support/Error.h"
#include <memory>
#include <unicode/brkiter.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/uscript.h>
#include <vector>

namespace r1c::runtime {

namespace {

std::vector<UScriptCode> scriptsOf(const std::string &language) {
  UErrorCode status = U_ZERO_ERROR;
  UScriptCode codes[16];
  int32_t count = uscript_getCode(language.c_str(), codes, 16, &status);
  if (U_FAILURE(status) || count < 1 || status == U_USING_DEFAULT_WARNING)
    throw Error("words: no language '", language,
                "'; write a code such as \"en\" or \"zh\"");
  std::vector<UScriptCode> scripts(codes, codes + count);
  for (UScriptCode &script : scripts)
    if (script == USCRIPT_SIMPLIFIED_HAN || script == USCRIPT_TRADITIONAL_HAN)
      script = USCRIPT_HAN; // characters are classed Han
  return scripts;
}

int64_t count(std::string_view text, const std::vector<UScriptCode> *scripts) {
  icu::UnicodeString unicode = icu::UnicodeString::fromUTF8(
      icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  UErrorCode status = U_ZERO_ERROR;
  // Opening the rules costs far more than walking a text.
  thread_local std::unique_ptr<icu::BreakIterator> iterator(
      icu::BreakIterator::createWordInstance(icu::Locale::getRoot(), status));
  if (U_FAILURE(status) || !iterator)
    throw Error("words: no word boundaries in this ICU: ", u_errorName(status));
  iterator->setText(unicode);
  int64_t words = 0;
  int32_t start = iterator->first();
  for (int32_t end = iterator->next(); end != icu::BreakIterator::DONE;
       start = end, end = iterator->next()) {
    bool letters = false, fits = true;
    for (int32_t at = start; at < end;) {
      UChar32 point = unicode.char32At(at);
      at += U16_LENGTH(point);
      if (!u_isalpha(point))
        continue;
      letters = true;
      if (!scripts)
        continue;
      bool found = false;
      UErrorCode ignored = U_ZERO_ERROR;
      UScriptCode script = uscript_getScript(point, &ignored);
      for (UScriptCode wanted : *scripts)
        found |= script == wanted || script == USCRIPT_COMMON ||
                 script == USCRIPT_INHERITED;
      fits &= found;
    }
    words += letters && fits;
  }
  return words;
}

} // namespace

int64_t countWords(std::string_view text) { return count(text, nullptr); }

int64_t countWords(std::string_view text, const std::string &language) {
  std::vector<UScriptCode> scripts = scriptsOf(language);
  return count(text, &scripts);
}

} // namespace r1c::runtime
