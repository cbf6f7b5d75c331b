//===- ParserImpl.h - the recursive-descent parser ------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_FRONTENDS_STEP_PARSERIMPL_H
#define R1C_FRONTENDS_STEP_PARSERIMPL_H

#include "frontends/step/Lexer.h"
#include "frontends/step/Parser.h"

namespace r1c::step::detail {

using llvm::SMLoc;
using llvm::StringRef;

/// Declarations and statements are in Parser.cpp, expressions in ParseExpr.cpp.
class Parser {
public:
  Parser(Source &source, StringRef text)
      : source(source), tokens(lex(source, text)) {}

  std::unique_ptr<File> parseFile();
  ExprPtr parseExpr();
  bool atEnd() {
    skipNewlines();
    return peek().kind == Token::end;
  }
  void unexpected(const llvm::Twine &expected);

private:
  const Token &peek(size_t ahead = 0) const {
    return tokens[std::min(next + ahead, tokens.size() - 1)];
  }
  Token take() { return tokens[std::min(next++, tokens.size() - 1)]; }
  bool accept(StringRef text) {
    const Token &token = peek();
    if (token.is(text) || token.isName(text)) {
      ++next;
      return true;
    }
    return false;
  }
  bool expect(StringRef text) {
    if (accept(text))
      return true;
    unexpected("'" + text + "'");
    return false;
  }
  void skipNewlines() {
    while (peek().kind == Token::newline)
      ++next;
  }
  void recover();
  bool parseName(std::string &name, SMLoc &loc, StringRef what);
  bool endStatement();

  bool parseDecl(File &file);
  bool parseParams(std::vector<Param> &params, bool withKinds);
  bool parseTemplate(Template &result);
  bool parseExtern(Decl &decl);
  bool parseBlock(std::vector<StmtPtr> &body, Template *owner);
  StmtPtr parseStmt();

  ExprPtr make(Expr::Kind kind, SMLoc loc, StringRef name = "");
  ExprPtr parseBinary(unsigned level);
  ExprPtr parseUnary();
  ExprPtr parsePostfix();
  ExprPtr parseAtom();
  bool parseArgs(std::vector<Arg> &args, StringRef close, bool named);

  /// False, with an error, where a chain of operators has grown deeper than
  /// those who walk the tree can follow.
  bool fits(const Expr &expr);

  /// One level of brackets, blocks or prefix operators around what is parsed.
  class Nesting {
  public:
    explicit Nesting(Parser &parser) : parser(parser) { ++parser.depth; }
    ~Nesting() { --parser.depth; }
    /// False, with an error, where there are too many.
    bool fits() {
      if (parser.depth <= maxNesting)
        return true;
      if (!parser.gaveUp)
        parser.source.error(parser.peek().loc,
                            "nested more than " + llvm::Twine(maxNesting) +
                                " deep: give inner parts names of their own");
      parser.giveUp();
      return false;
    }

  private:
    Parser &parser;
  };
  /// Nothing after such an error is worth reading: skips to the end.
  void giveUp() {
    gaveUp = true;
    next = tokens.size() - 1;
  }

  // Far beyond what anyone writes, and far below what the stack holds.
  static constexpr unsigned maxNesting = 200;
  static constexpr unsigned maxHeight = 1000;

  Source &source;
  std::vector<Token> tokens;
  size_t next = 0;
  unsigned depth = 0;
  bool gaveUp = false;
};

} // namespace r1c::step::detail

#endif // R1C_FRONTENDS_STEP_PARSERIMPL_H
