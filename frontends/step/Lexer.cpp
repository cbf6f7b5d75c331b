//===- Lexer.cpp - tokens of a step file ----------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/Lexer.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"

using namespace r1c::step;
using llvm::SMLoc;
using llvm::StringRef;

bool r1c::step::isKeyword(StringRef word) {
  static const StringRef words[] = {
      "import", "param",  "policy", "data",   "stage",    "fn",
      "loss",   "extern", "every",  "metric", "minimize", "return",
      "if",     "else",   "where",  "and",    "or",       "not"};
  return llvm::is_contained(words, word);
}

namespace {

class Lexer {
public:
  Lexer(Source &source, StringRef text)
      : source(source), at(text.begin()), stop(text.end()) {}

  std::vector<Token> run();

private:
  bool done() const { return at == stop; }
  char peek(size_t ahead = 0) const {
    return at + ahead < stop ? at[ahead] : '\0';
  }
  SMLoc here() const { return SMLoc::getFromPointer(at); }

  void push(Token::Kind kind, SMLoc loc, std::string text, double value = 0) {
    Token token;
    token.kind = kind;
    token.loc = loc;
    token.text = std::move(text);
    token.value = value;
    tokens.push_back(std::move(token));
  }

  void lexNumber();
  void lexString();
  void lexRaw();
  void lexSymbol();
  void dropNewlines();

  Source &source;
  const char *at;
  const char *stop;
  std::vector<Token> tokens;
};

/// A token that cannot be the last one of a statement.
bool opens(const Token &token) {
  static const StringRef symbols[] = {
      "(", "[", "{", ",",  "=",  ":=", "+",  "-", "*", "/",
      "%", "<", ">", "<=", ">=", "==", "!=", ".", ":"};
  static const StringRef words[] = {"and", "or", "not", "where", "if", "else"};
  if (token.kind == Token::symbol)
    return llvm::is_contained(symbols, token.text);
  return token.kind == Token::name && llvm::is_contained(words, token.text);
}

/// A token that cannot be the first one of a statement.
bool continues(const Token &token) {
  static const StringRef symbols[] = {"+", "-",  "*",  "/",  "%",  "<",
                                      ">", "<=", ">=", "==", "!=", ".",
                                      ",", "=",  ":=", ")",  "]"};
  static const StringRef words[] = {"and", "or", "where", "if", "else"};
  if (token.kind == Token::symbol)
    return llvm::is_contained(symbols, token.text);
  return token.kind == Token::name && llvm::is_contained(words, token.text);
}

} // namespace

void Lexer::lexNumber() {
  const char *start = at;
  SMLoc loc = here();
  while (llvm::isDigit(peek()))
    ++at;
  if (peek() == '.' && llvm::isDigit(peek(1))) {
    ++at;
    while (llvm::isDigit(peek()))
      ++at;
  }
  if ((peek() == 'e' || peek() == 'E') &&
      (llvm::isDigit(peek(1)) ||
       ((peek(1) == '-' || peek(1) == '+') && llvm::isDigit(peek(2))))) {
    at += 2;
    while (llvm::isDigit(peek()))
      ++at;
  }
  StringRef digits(start, at - start);
  if (llvm::isAlpha(peek()) || peek() == '_') {
    while (llvm::isAlnum(peek()) || peek() == '_')
      ++at;
    source.error(loc, "'" + StringRef(start, at - start) +
                          "' is neither a number nor a name");
  }
  double value = 0;
  (void)digits.getAsDouble(value);
  push(Token::number, loc, digits.str(), value);
}

void Lexer::lexString() {
  SMLoc loc = here();
  std::string text;
  for (++at; !done() && peek() != '"' && peek() != '\n'; ++at) {
    if (peek() != '\\') {
      text += peek();
      continue;
    }
    SMLoc escape = here();
    switch (++at, peek()) {
    case 'n':
      text += '\n';
      break;
    case 't':
      text += '\t';
      break;
    case '"':
    case '\\':
      text += peek();
      break;
    default:
      source.error(escape, "unknown escape in a text: write \\n, \\t, \\\" or "
                           "\\\\, or a raw text in back-quotes");
    }
  }
  if (peek() == '"')
    ++at;
  else
    source.error(loc, "a text in quotes ends on its line: write \\n, or a raw "
                      "text in back-quotes");
  push(Token::string, loc, std::move(text));
}

void Lexer::lexRaw() {
  SMLoc loc = here();
  const char *start = ++at;
  while (!done() && peek() != '`')
    ++at;
  push(Token::string, loc, std::string(start, at));
  if (done())
    source.error(loc, "this raw text has no closing back-quote");
  else
    ++at;
}

void Lexer::lexSymbol() {
  static const StringRef pairs[] = {":=", "<=", ">=", "==", "!="};
  SMLoc loc = here();
  StringRef two(at, std::min<size_t>(2, stop - at));
  if (llvm::is_contained(pairs, two)) {
    at += 2;
    return push(Token::symbol, loc, two.str());
  }
  char c = *at++;
  if (static_cast<unsigned char>(c) >= 128) {
    while (static_cast<unsigned char>(peek()) >= 128)
      ++at;
    source.error(loc, "outside texts and comments a step file is ASCII");
    return;
  }
  if (!StringRef("()[]{},.:=+-*/%<>").contains(c)) {
    StringRef hint = c == '#'               ? ": comments begin with //"
                     : c == '!'             ? ": write 'not', or '!='"
                     : c == '&' || c == '|' ? ": write 'and', 'or'"
                     : c == '\''            ? ": texts are in double quotes"
                                            : "";
    source.error(loc, llvm::Twine("unexpected character '") + StringRef(&c, 1) +
                          "'" + hint);
    return;
  }
  push(Token::symbol, loc, std::string(1, c));
}

void Lexer::dropNewlines() {
  std::vector<Token> kept;
  // Of the open brackets, innermost last: a block inside parentheses cannot
  // occur, but an unclosed parenthesis must not swallow the file.
  std::vector<char> open;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Token &token = tokens[i];
    if (token.kind == Token::symbol && token.text.size() == 1) {
      char c = token.text[0];
      if (c == '(' || c == '[' || c == '{')
        open.push_back(c);
      else if (c == ')' || c == ']') {
        if (!open.empty() && open.back() != '{')
          open.pop_back();
      } else if (c == '}') {
        while (!open.empty() && open.back() != '{')
          open.pop_back();
        if (!open.empty())
          open.pop_back();
      }
    }
    if (token.kind != Token::newline) {
      kept.push_back(token);
      continue;
    }
    if (kept.empty() || kept.back().kind == Token::newline)
      continue;
    if (token.text != ";") {
      if (!open.empty() && open.back() != '{')
        continue;
      size_t next = i + 1;
      while (next < tokens.size() && tokens[next].kind == Token::newline &&
             tokens[next].text != ";")
        ++next;
      if (opens(kept.back()) ||
          (next < tokens.size() && continues(tokens[next])))
        continue;
    }
    kept.push_back(token);
  }
  tokens = std::move(kept);
}

std::vector<Token> Lexer::run() {
  while (!done()) {
    char c = peek();
    if (c == '\n') {
      push(Token::newline, here(), "\n");
      ++at;
    } else if (c == ';') {
      push(Token::newline, here(), ";");
      ++at;
    } else if (c == ' ' || c == '\t' || c == '\r') {
      ++at;
    } else if (c == '/' && peek(1) == '/') {
      while (!done() && peek() != '\n')
        ++at;
    } else if (llvm::isDigit(c)) {
      lexNumber();
    } else if (llvm::isAlpha(c) || c == '_') {
      const char *start = at;
      SMLoc loc = here();
      while (llvm::isAlnum(peek()) || peek() == '_')
        ++at;
      push(Token::name, loc, std::string(start, at));
    } else if (c == '"') {
      lexString();
    } else if (c == '`') {
      lexRaw();
    } else {
      lexSymbol();
    }
  }
  push(Token::newline, here(), "\n");
  push(Token::end, here(), "");
  dropNewlines();
  return std::move(tokens);
}

std::vector<Token> r1c::step::lex(Source &source, StringRef text) {
  text.consume_front("\xEF\xBB\xBF"); // some editors begin a file with a mark
  return Lexer(source, text).run();
}
