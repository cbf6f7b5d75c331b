//===- Words.h - counting words of a language -------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_REWARD_WORDS_H
#define R1C_RUNTIME_REWARD_WORDS_H

#include <cstdint>
#include <string>
#include <string_view>

namespace r1c::runtime {

/// Words of a text by Unicode's word boundaries (UAX 29, with dictionaries for
/// scripts without spaces). Only words with a letter count: numbers and signs
/// belong to no language. With a language ("en", "zh", ...), those whose
/// letters are all of the scripts that it is written in; two languages of one
/// script are not told apart. Throws for an unknown language.
int64_t countWords(std::string_view text);
int64_t countWords(std::string_view text, const std::string &language);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_REWARD_WORDS_H
