//===- Parser.cpp - step file to syntax tree ------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/ParserImpl.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"

using namespace r1c::step;
using llvm::SMLoc;
using llvm::StringRef;
using r1c::step::detail::Parser;

void Parser::unexpected(const llvm::Twine &expected) {
  if (gaveUp)
    return;
  const Token &token = peek();
  std::string found = token.kind == Token::end       ? "the end of the file"
                      : token.kind == Token::newline ? "the end of the line"
                      : token.kind == Token::string  ? "a text"
                                                     : "'" + token.text + "'";
  source.error(token.loc, "expected " + expected + ", found " + found);
}

/// Goes on after the statement in which an error was found.
void Parser::recover() {
  for (unsigned depth = 0; peek().kind != Token::end; ++next) {
    if (peek().is("{"))
      ++depth;
    if (peek().is("}")) {
      if (depth == 0)
        return;
      --depth;
    }
    if (depth == 0 && peek().kind == Token::newline)
      return;
  }
}

bool Parser::parseName(std::string &name, SMLoc &loc, StringRef what) {
  if (peek().kind != Token::name) {
    unexpected(what);
    return false;
  }
  if (isKeyword(peek().text)) {
    source.error(peek().loc,
                 "'" + peek().text + "' is a keyword and cannot be a name");
    return false;
  }
  loc = peek().loc;
  name = take().text;
  return true;
}

bool Parser::endStatement() {
  if (peek().kind == Token::newline || peek().kind == Token::end ||
      peek().is("}"))
    return true;
  unexpected("the end of the line");
  return false;
}

//===----------------------------------------------------------------------===//
// Declarations
//===----------------------------------------------------------------------===//

std::unique_ptr<File> Parser::parseFile() {
  auto file = std::make_unique<File>();
  for (skipNewlines(); peek().kind != Token::end; skipNewlines()) {
    size_t before = next;
    if (parseDecl(*file))
      continue;
    recover();
    // A stray brace would stop recovery for ever.
    if (next == before || peek().is("}"))
      ++next;
  }
  return file;
}

bool Parser::parseDecl(File &file) {
  static const StringRef starts[] = {"import", "param", "policy", "data",
                                     "stage",  "fn",    "loss",   "extern"};
  Token first = peek();
  if (first.kind != Token::name || !llvm::is_contained(starts, first.text)) {
    if (first.kind == Token::name && peek(1).is("=")) {
      source.error(first.loc,
                   "'" + first.text +
                       "' is given a value outside a stage: write 'param " +
                       first.text + " = ...', or 'policy' or 'data'");
      return false;
    }
    std::string hint = first.kind == Token::name
                           ? didYouMean(first.text, starts)
                           : std::string();
    source.error(first.loc,
                 "expected a declaration (import, param, policy, data, stage, "
                 "fn, loss or extern)" +
                     hint);
    return false;
  }
  ++next;
  Decl decl;
  if (!parseName(decl.name, decl.loc, "a name"))
    return false;
  StringRef word = first.text;
  if (word == "fn" || word == "loss") {
    decl.kind = Decl::function;
    decl.definition = std::make_unique<Template>();
    decl.definition->isLoss = word == "loss";
    decl.definition->name = decl.name;
    decl.definition->loc = decl.loc;
    if (!parseTemplate(*decl.definition))
      return false;
  } else if (word == "stage") {
    decl.kind = Decl::stage;
    if (!expect("(") || !parseArgs(decl.args, ")", true) || !expect("{") ||
        !parseBlock(decl.body, nullptr))
      return false;
  } else if (word == "extern") {
    decl.kind = Decl::external;
    if (!parseExtern(decl))
      return false;
  } else if (word != "import") {
    decl.kind = word == "param"    ? Decl::param
                : word == "policy" ? Decl::policy
                                   : Decl::data;
    if (!expect("="))
      return false;
    decl.value = parseExpr();
    if (!decl.value)
      return false;
  }
  if (!endStatement())
    return false;
  file.decls.push_back(std::move(decl));
  return true;
}

bool Parser::parseParams(std::vector<Param> &params, bool withKinds) {
  if (accept(")"))
    return true;
  do {
    Param param;
    if (!parseName(param.name, param.loc, "the name of a parameter"))
      return false;
    if (withKinds) {
      SMLoc loc;
      if (!expect(":") || !parseName(param.kind, loc, "text, number or flag"))
        return false;
    } else if (accept("=")) {
      param.defaultValue = parseExpr();
      if (!param.defaultValue)
        return false;
    }
    params.push_back(std::move(param));
  } while (accept(","));
  return expect(")");
}

/// After `fn NAME` or `loss NAME`.
bool Parser::parseTemplate(Template &result) {
  if (!result.isLoss || peek().is("(")) {
    result.hasParams = true;
    if (!expect("(") || !parseParams(result.params, false))
      return false;
  }
  if (!result.isLoss && accept("=")) {
    result.result = parseExpr();
    return result.result != nullptr;
  }
  if (!expect("{") || !parseBlock(result.body, &result))
    return false;
  if (!result.result) {
    source.error(result.loc, "'" + result.name + "' has no '" +
                                 (result.isLoss ? "minimize" : "return") + "'");
    return false;
  }
  return true;
}

/// After `extern NAME`.
bool Parser::parseExtern(Decl &decl) {
  SMLoc loc;
  if (!expect("(") || !parseParams(decl.params, true) || !expect(":") ||
      !parseName(decl.result, loc, "text, number or flag") || !expect("="))
    return false;
  decl.value = parseExpr();
  return decl.value != nullptr;
}

//===----------------------------------------------------------------------===//
// Statements
//===----------------------------------------------------------------------===//

/// After `{`, up to and including `}`. Of a template, `owner`: with its
/// `return` or `minimize`.
bool Parser::parseBlock(std::vector<StmtPtr> &body, Template *owner) {
  Nesting nesting(*this);
  if (!nesting.fits())
    return false;
  while (true) {
    skipNewlines();
    if (accept("}"))
      return true;
    if (peek().kind == Token::end) {
      unexpected("'}'");
      return false;
    }
    Token first = peek();
    if (first.isName("return") || first.isName("minimize")) {
      StringRef wanted = !owner ? "" : owner->isLoss ? "minimize" : "return";
      ++next;
      ExprPtr value = parseExpr();
      if (first.text != wanted)
        source.error(first.loc,
                     wanted.empty()
                         ? "'" + first.text + "' belongs in a " +
                               (first.text == "return" ? "fn" : "loss")
                         : "a " + std::string(owner->isLoss ? "loss" : "fn") +
                               " says '" + wanted.str() + "', not '" +
                               first.text + "'");
      else if (owner->result)
        source.error(first.loc, "a second '" + first.text + "'");
      else if (value)
        owner->result = std::move(value);
      if (!value || !endStatement())
        recover();
      continue;
    }
    StmtPtr stmt = parseStmt();
    if (!stmt) {
      recover();
      continue;
    }
    if (owner && !owner->isLoss && stmt->kind != Stmt::let)
      source.error(stmt->loc, "a fn holds named values and a 'return' only");
    if (owner && owner->isLoss && stmt->kind != Stmt::let &&
        stmt->kind != Stmt::metric)
      source.error(stmt->loc,
                   "a loss holds named values, metrics and a 'minimize' only");
    body.push_back(std::move(stmt));
  }
}

StmtPtr Parser::parseStmt() {
  auto stmt = std::make_unique<Stmt>();
  stmt->loc = peek().loc;
  if (accept("every")) {
    stmt->kind = Stmt::every;
    stmt->value = parseExpr();
    if (!stmt->value)
      return nullptr;
    if (!peek().isName("steps")) {
      unexpected("'steps', as in 'every 400 steps { ... }'");
      return nullptr;
    }
    ++next;
    if (!expect("{") || !parseBlock(stmt->body, nullptr))
      return nullptr;
  } else if (accept("metric")) {
    stmt->kind = Stmt::metric;
    // A metric's name is nobody else's: any word will do.
    if (peek().kind != Token::name) {
      unexpected("the name of a metric");
      return nullptr;
    }
    stmt->loc = peek().loc;
    stmt->name = take().text;
    if (!expect("="))
      return nullptr;
    stmt->value = parseExpr();
  } else if (accept("loss")) {
    stmt->kind = Stmt::loss;
    stmt->definition = std::make_unique<Template>();
    stmt->definition->isLoss = true;
    if (!parseName(stmt->name, stmt->loc, "a name"))
      return nullptr;
    stmt->definition->name = stmt->name;
    stmt->definition->loc = stmt->loc;
    if (!parseTemplate(*stmt->definition))
      return nullptr;
    return endStatement() ? std::move(stmt) : nullptr;
  } else if (peek(1).is("=") || peek(1).is(":=")) {
    stmt->kind = peek(1).is("=") ? Stmt::let : Stmt::assign;
    if (!parseName(stmt->name, stmt->loc, "a name"))
      return nullptr;
    ++next;
    stmt->value = parseExpr();
    if (stmt->value && stmt->kind == Stmt::let && accept("where")) {
      stmt->where = parseExpr();
      if (!stmt->where)
        return nullptr;
    }
  } else {
    stmt->kind = Stmt::call;
    stmt->value = parseExpr();
    if (stmt->value && stmt->value->kind != Expr::call) {
      source.error(stmt->loc, "this value is not used: give it a name");
      return nullptr;
    }
  }
  if (stmt->kind != Stmt::every && !stmt->value)
    return nullptr;
  return endStatement() ? std::move(stmt) : nullptr;
}

//===----------------------------------------------------------------------===//
// Entry points
//===----------------------------------------------------------------------===//

std::unique_ptr<File> r1c::step::parse(Source &source, StringRef text) {
  return Parser(source, text).parseFile();
}

ExprPtr r1c::step::parseExpression(Source &source, StringRef text) {
  unsigned before = source.errorCount();
  Parser parser(source, text);
  ExprPtr expr = parser.parseExpr();
  if (expr && !parser.atEnd()) {
    parser.unexpected("the end of the value");
    return nullptr;
  }
  return source.errorCount() == before ? std::move(expr) : nullptr;
}
