//===- Tokenize.cpp - the marks and words of a template -------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/jinja/Syntax.h"
#include <algorithm>
#include <cstring>
#include <map>
#include <unicode/utf8.h>

namespace r1c::runtime::jinja {

namespace {

bool isBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool isDigit(char c) { return c >= '0' && c <= '9'; }
bool isLetter(char c) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

class Tokenizer {
public:
  explicit Tokenizer(const std::string &text) {
    // Line ends as Jinja reads them; the last one is not of the template.
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n')
        continue;
      source += text[i] == '\r' ? '\n' : text[i];
    }
    if (source.ends_with('\n'))
      source.pop_back();
  }

  std::vector<Token> run() {
    while (at < source.size())
      outside();
    add(Token::end, "");
    return std::move(tokens);
  }

private:
  void add(Token::Kind kind, std::string text) {
    tokens.push_back({kind, std::move(text), line});
  }

  [[noreturn]] void fail(const std::string &message) const {
    throw Error("line ", line, ": ", message);
  }

  bool startsWith(std::string_view mark) const {
    return std::string_view(source).substr(at, mark.size()) == mark;
  }

  void advance(size_t to) {
    line += static_cast<int>(
        std::count(source.begin() + static_cast<ptrdiff_t>(at),
                   source.begin() + static_cast<ptrdiff_t>(to), '\n'));
    at = to;
  }

  /// Text up to the next mark, and the mark with what is inside.
  void outside() {
    size_t mark = at;
    do
      mark = std::min(source.find('{', mark), source.size());
    while (mark < source.size() &&
           (mark + 1 == source.size() || !strchr("{%#", source[mark + 1])) &&
           ++mark);
    std::string text = source.substr(at, mark - at);
    char kind = mark < source.size() ? source[mark + 1] : 0;
    char sign = mark + 2 < source.size() ? source[mark + 2] : 0;
    if (kind && sign == '-') {
      while (!text.empty() && isBlank(text.back()))
        text.pop_back();
    } else if (kind && kind != '{' && sign != '+') {
      // Blanks before a block that begins its line are not of the text.
      size_t start = text.rfind('\n') + 1; // 0 where there is none
      if ((start > 0 || atLineStart) &&
          text.find_first_not_of(" \t", start) == std::string::npos)
        text.resize(start);
    }
    if (!text.empty())
      add(Token::text, text);
    advance(mark);
    if (!kind)
      return;
    advance(at + 2 + (sign == '-' || (sign == '+' && kind != '{')));
    if (kind == '#')
      return comment();
    add(kind == '{' ? Token::printBegin : Token::blockBegin, "");
    inside(kind == '{' ? "}}" : "%}");
  }

  void comment() {
    size_t close = source.find("#}", at);
    if (close == std::string::npos)
      fail("a comment is not closed");
    char sign = source[close - 1];
    advance(close + 2);
    afterBlock(sign);
  }

  /// Blanks behind a mark that was closed with `sign`.
  void afterBlock(char sign) {
    size_t from = at;
    if (sign == '-')
      while (at < source.size() && isBlank(source[at]))
        advance(at + 1);
    else if (sign != '+' && at < source.size() && source[at] == '\n')
      advance(at + 1);
    atLineStart = at > from && source[at - 1] == '\n';
  }

  void inside(std::string_view close) {
    // A closing mark inside brackets is two brackets: {{ {"a": {}} }}.
    std::string open;
    // Trees are no deeper than this, and they are walked by recursion.
    size_t most = tokens.size() + 1000;
    for (;;) {
      if (tokens.size() > most)
        fail("more than 1000 words between two marks");
      while (at < source.size() && isBlank(source[at]))
        advance(at + 1);
      if (at >= source.size())
        fail(concat("no ", close, " closes this"));
      char sign = source[at];
      bool isSigned = (sign == '-' || (sign == '+' && close == "%}")) &&
                      source.compare(at + 1, 2, close) == 0;
      if (isSigned || (open.empty() && startsWith(close))) {
        if (!open.empty())
          fail("a bracket is not closed");
        add(close == "}}" ? Token::printEnd : Token::blockEnd, "");
        advance(at + (isSigned ? 3 : 2));
        if (close == "%}")
          return afterBlock(isSigned ? sign : ' ');
        size_t from = at;
        while (isSigned && at < source.size() && isBlank(source[at]))
          advance(at + 1);
        atLineStart = at > from && source[at - 1] == '\n';
        return;
      }
      if (isLetter(sign))
        word();
      else if (isDigit(sign))
        number();
      else if (sign == '\'' || sign == '"')
        string(sign);
      else
        symbol(open);
    }
  }

  void word() {
    size_t end = at;
    while (end < source.size() &&
           (isLetter(source[end]) || isDigit(source[end])))
      ++end;
    add(Token::name, source.substr(at, end - at));
    advance(end);
  }

  void number() {
    size_t end = at;
    while (end < source.size() && isDigit(source[end]))
      ++end;
    if (end + 1 < source.size() && source[end] == '.' &&
        isDigit(source[end + 1]))
      for (++end; end < source.size() && isDigit(source[end]);)
        ++end;
    add(Token::number, source.substr(at, end - at));
    advance(end);
  }

  void string(char quote) {
    std::string value;
    size_t i = at + 1;
    for (; i < source.size() && source[i] != quote; ++i) {
      if (source[i] != '\\') {
        value += source[i];
        continue;
      }
      if (++i == source.size())
        break;
      static const std::map<char, char> escapes = {
          {'n', '\n'}, {'t', '\t'}, {'r', '\r'}, {'\\', '\\'}, {'\'', '\''},
          {'"', '"'},  {'a', '\a'}, {'b', '\b'}, {'f', '\f'},  {'v', '\v'}};
      if (auto escape = escapes.find(source[i]); escape != escapes.end())
        value += escape->second;
      else if (source[i] == '\n')
        continue;
      else if (source[i] == 'u' || source[i] == 'x')
        i += codePoint(i + 1, source[i] == 'u' ? 4 : 2, value);
      else if (isDigit(source[i]) || source[i] == 'U' || source[i] == 'N')
        fail(concat("the escape \\", source[i], " is not known"));
      else
        value += {'\\', source[i]};
    }
    if (i >= source.size())
      fail("a text is not closed");
    add(Token::string, value);
    advance(i + 1);
  }

  size_t codePoint(size_t from, size_t digits, std::string &value) {
    std::string hex = source.substr(std::min(from, source.size()), digits);
    if (hex.size() != digits ||
        hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
      fail("an escape is not complete");
    auto point = static_cast<UChar32>(std::stol(hex, nullptr, 16));
    if (U_IS_SURROGATE(point))
      fail("an escape is half a surrogate pair");
    char bytes[4];
    int32_t length = 0;
    U8_APPEND_UNSAFE(bytes, length, point);
    value.append(bytes, static_cast<size_t>(length));
    return digits;
  }

  void symbol(std::string &open) {
    for (std::string_view wide : {"==", "!=", "<=", ">=", "//", "**"})
      if (startsWith(wide)) {
        add(Token::symbol, std::string(wide));
        return advance(at + 2);
      }
    char c = source[at];
    if (!strchr("+-*/%~|.,:()[]{}<>=", c))
      fail(concat("'", c, "' is not expected here"));
    if (strchr("([{", c))
      open += c;
    if (strchr(")]}", c)) {
      char wanted = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (open.empty() || open.back() != wanted)
        fail(concat("'", c, "' closes nothing"));
      open.pop_back();
    }
    add(Token::symbol, std::string(1, c));
    advance(at + 1);
  }

  std::string source;
  size_t at = 0;
  int line = 1;
  bool atLineStart = true;
  std::vector<Token> tokens;
};

} // namespace

std::vector<Token> tokenize(const std::string &source) {
  return Tokenizer(source).run();
}

} // namespace r1c::runtime::jinja
