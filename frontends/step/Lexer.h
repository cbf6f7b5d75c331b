//===- Lexer.h - tokens of a step file --------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_FRONTENDS_STEP_LEXER_H
#define R1C_FRONTENDS_STEP_LEXER_H

#include "frontends/step/Source.h"

#include <vector>

namespace r1c::step {

struct Token {
  enum Kind {
    end,
    newline, // of those that end a statement only; `;` counts as one
    name,    // also of keywords: `text` tells
    number,  // `value`
    string,  // `text` with escapes resolved; raw strings too
    symbol,  // `text`: ( ) [ ] { } , . : = := + - * / % < > <= >= == !=
  };
  Kind kind = end;
  llvm::SMLoc loc;
  std::string text;
  double value = 0;

  bool is(llvm::StringRef symbolText) const {
    return kind == symbol && text == symbolText;
  }
  bool isName(llvm::StringRef nameText) const {
    return kind == name && text == nameText;
  }
};

/// Cuts `text`, a buffer of `source`, into tokens, the last of kind `end`.
/// Newlines inside ( or [, after an operator or comma, and before a line that
/// begins with an operator, `where`, `if`, `else`, `and` or `or` are dropped
/// here, so that the parser need not know. Reports what it cannot read.
std::vector<Token> lex(Source &source, llvm::StringRef text);

/// Words that cannot be names of values.
bool isKeyword(llvm::StringRef word);

} // namespace r1c::step

#endif // R1C_FRONTENDS_STEP_LEXER_H
