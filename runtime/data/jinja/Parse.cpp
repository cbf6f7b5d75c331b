//===- Parse.cpp - templates as trees -------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/jinja/Syntax.h"
#include <algorithm>

namespace r1c::runtime::jinja {

namespace {

class Parser {
public:
  explicit Parser(const std::string &source) : tokens(tokenize(source)) {}

  StatementPtr run() {
    auto root = statement(Statement::block);
    std::string stop = body(root->body, {});
    if (!stop.empty())
      fail(concat("'", stop, "' closes nothing"));
    return root;
  }

private:
  /// Trees are built and walked by recursion.
  struct Nesting {
    explicit Nesting(Parser &parser) : depth(parser.depth) {
      if (++depth > 200) {
        --depth;
        parser.fail("nested too deeply");
      }
    }
    ~Nesting() { --depth; }
    int &depth;
  };

  const Token &token(size_t ahead = 0) const {
    return tokens[std::min(at + ahead, tokens.size() - 1)];
  }
  [[noreturn]] void fail(const std::string &message) const {
    throw Error("line ", token().line, ": ", message);
  }

  bool is(Token::Kind kind, std::string_view spelling) const {
    return token().kind == kind && token().spelling == spelling;
  }
  bool take(Token::Kind kind, std::string_view spelling) {
    if (!is(kind, spelling))
      return false;
    ++at;
    return true;
  }
  bool symbol(std::string_view spelling) {
    return take(Token::symbol, spelling);
  }
  bool word(std::string_view spelling) { return take(Token::name, spelling); }
  void need(std::string_view spelling) {
    if (!take(Token::symbol, spelling) && !take(Token::name, spelling))
      fail(concat("'", spelling, "' is missing"));
  }
  std::string name() {
    if (token().kind != Token::name)
      fail("a name is missing");
    return tokens[at++].spelling;
  }
  void close(Token::Kind kind) {
    if (token().kind != kind)
      fail(concat("'", token().spelling, "' is not expected here"));
    ++at;
  }

  StatementPtr statement(Statement::Kind kind) const {
    auto result = std::make_unique<Statement>();
    result->kind = kind;
    result->line = token().line;
    return result;
  }
  ExpressionPtr expression(Expression::Kind kind, std::string name = "") const {
    auto result = std::make_unique<Expression>();
    result->kind = kind;
    result->line = token().line;
    result->name = std::move(name);
    return result;
  }

  /// Statements up to a block that begins with one of `stops`, whose name is
  /// taken and returned; empty at the end of the template.
  std::string body(std::vector<StatementPtr> &list,
                   std::initializer_list<std::string_view> stops) {
    Nesting nesting(*this);
    for (;;) {
      switch (token().kind) {
      case Token::end:
        if (stops.size())
          fail(concat("'", *(stops.end() - 1), "' is missing"));
        return "";
      case Token::text:
        list.push_back(statement(Statement::text));
        list.back()->name = tokens[at++].spelling;
        break;
      case Token::printBegin:
        ++at;
        list.push_back(statement(Statement::print));
        list.back()->first = tuple();
        close(Token::printEnd);
        break;
      default: {
        close(Token::blockBegin);
        std::string kind = name();
        if (std::find(stops.begin(), stops.end(), kind) != stops.end() ||
            kind.starts_with("end") || kind == "else" || kind == "elif") {
          if (std::find(stops.begin(), stops.end(), kind) == stops.end())
            fail(concat("'", kind, "' closes nothing"));
          return kind;
        }
        list.push_back(block(kind));
      }
      }
    }
  }

  StatementPtr block(const std::string &kind) {
    if (kind == "if")
      return choice();
    if (kind == "for")
      return loop();
    if (kind == "set")
      return set();
    if (kind == "generation") {
      // It marks what a model wrote, and prints it.
      auto result = statement(Statement::block);
      close(Token::blockEnd);
      body(result->body, {"endgeneration"});
      close(Token::blockEnd);
      return result;
    }
    auto result = statement(Statement::unknown);
    result->name = kind;
    if (kind == "macro") { // a call of it is refused where it stands
      while (token().kind != Token::blockEnd && token().kind != Token::end)
        ++at;
      close(Token::blockEnd);
      std::vector<StatementPtr> unread;
      body(unread, {"endmacro"});
      result->kind = Statement::block;
    } else if (kind != "break" && kind != "continue") {
      --at;
      fail(concat("the block '", kind, "' is not known"));
    }
    close(Token::blockEnd);
    return result;
  }

  StatementPtr choice() {
    Nesting nesting(*this);
    auto result = statement(Statement::choice);
    result->first = tuple();
    close(Token::blockEnd);
    std::string stop = body(result->body, {"elif", "else", "endif"});
    if (stop == "elif") {
      result->otherwise.push_back(choice());
      return result;
    }
    if (stop == "else") {
      close(Token::blockEnd);
      body(result->otherwise, {"endif"});
    }
    close(Token::blockEnd);
    return result;
  }

  StatementPtr loop() {
    auto result = statement(Statement::loop);
    do
      result->names.push_back(name());
    while (symbol(","));
    need("in");
    result->first = orExpression(); // its own `if` is the loop's filter
    if (word("if"))
      result->second = full();
    close(Token::blockEnd);
    if (body(result->body, {"else", "endfor"}) == "else") {
      close(Token::blockEnd);
      body(result->otherwise, {"endfor"});
    }
    close(Token::blockEnd);
    return result;
  }

  StatementPtr set() {
    auto result = statement(Statement::set);
    do
      result->names.push_back(name());
    while (symbol(","));
    if (result->names.size() == 1 && symbol("."))
      result->name = name();
    if (symbol("=")) {
      result->first = tuple();
      close(Token::blockEnd);
      return result;
    }
    if (result->names.size() != 1)
      fail("'=' is missing");
    close(Token::blockEnd);
    body(result->body, {"endset"});
    close(Token::blockEnd);
    return result;
  }

  /// One expression, or several with commas, which make a list.
  ExpressionPtr tuple() {
    ExpressionPtr first = full();
    if (!is(Token::symbol, ","))
      return first;
    auto result = expression(Expression::list);
    result->children.push_back(std::move(first));
    while (symbol(","))
      result->children.push_back(full());
    return result;
  }

  ExpressionPtr full() {
    Nesting nesting(*this);
    ExpressionPtr result = orExpression();
    while (word("if")) {
      auto whole = expression(Expression::choice);
      whole->children.push_back(std::move(result));
      whole->children.push_back(orExpression());
      whole->children.push_back(word("else") ? full() : nullptr);
      result = std::move(whole);
    }
    return result;
  }

  ExpressionPtr pair(std::string name, ExpressionPtr left,
                     ExpressionPtr right) const {
    auto result = expression(Expression::binary, std::move(name));
    result->children.push_back(std::move(left));
    result->children.push_back(std::move(right));
    return result;
  }

  ExpressionPtr orExpression() {
    ExpressionPtr left = andExpression();
    while (word("or"))
      left = pair("or", std::move(left), andExpression());
    return left;
  }

  ExpressionPtr andExpression() {
    ExpressionPtr left = notExpression();
    while (word("and"))
      left = pair("and", std::move(left), notExpression());
    return left;
  }

  ExpressionPtr notExpression() {
    if (!word("not"))
      return comparison();
    Nesting nesting(*this);
    auto result = expression(Expression::unary, "not");
    result->children.push_back(notExpression());
    return result;
  }

  ExpressionPtr comparison() {
    ExpressionPtr left = sum();
    for (bool compared = false;; compared = true) {
      std::string operation;
      if (token().kind == Token::symbol)
        for (std::string_view each : {"==", "!=", "<=", ">=", "<", ">"})
          if (operation.empty() && symbol(each))
            operation = each;
      if (operation.empty() && word("in"))
        operation = "in";
      if (operation.empty() && is(Token::name, "not") &&
          token(1).kind == Token::name && token(1).spelling == "in") {
        at += 2;
        operation = "not in";
      }
      if (operation.empty())
        return left;
      if (compared)
        fail("a chain of comparisons is not known");
      left = pair(operation, std::move(left), sum());
    }
  }

  ExpressionPtr sum() {
    ExpressionPtr left = joined();
    for (;;) {
      std::string operation = token().spelling;
      if (!symbol("+") && !symbol("-"))
        return left;
      left = pair(operation, std::move(left), joined());
    }
  }

  ExpressionPtr joined() {
    ExpressionPtr left = product();
    while (symbol("~"))
      left = pair("~", std::move(left), product());
    return left;
  }

  ExpressionPtr product() {
    ExpressionPtr left = unary();
    for (;;) {
      std::string operation = token().spelling;
      if (!symbol("*") && !symbol("/") && !symbol("//") && !symbol("%"))
        return left;
      left = pair(operation, std::move(left), unary());
    }
  }

  ExpressionPtr unary() {
    if (symbol("-")) {
      auto result = expression(Expression::unary, "-");
      result->children.push_back(postfix(primary()));
      return filters(std::move(result));
    }
    symbol("+");
    return filters(postfix(primary()));
  }

  ExpressionPtr primary() {
    const Token &first = token();
    if (first.kind == Token::string || first.kind == Token::number) {
      auto result = expression(Expression::literal);
      if (first.kind == Token::number)
        result->value = parseJson(
            first.spelling, concat("line ", first.line, ": ", first.spelling));
      else
        result->value = first.spelling;
      ++at;
      // Texts side by side are one.
      while (first.kind == Token::string && token().kind == Token::string)
        result->value =
            result->value.get<std::string>() + tokens[at++].spelling;
      return result;
    }
    if (first.kind == Token::name)
      return named();
    if (symbol("(")) {
      if (symbol(")"))
        return expression(Expression::list);
      ExpressionPtr inner = tuple();
      need(")");
      return inner;
    }
    if (symbol("[")) {
      auto result = expression(Expression::list);
      while (!symbol("]")) {
        result->children.push_back(full());
        if (!is(Token::symbol, "]"))
          need(",");
      }
      return result;
    }
    if (symbol("{")) {
      auto result = expression(Expression::dictionary);
      while (!symbol("}")) {
        result->children.push_back(full());
        need(":");
        result->children.push_back(full());
        if (!is(Token::symbol, "}"))
          need(",");
      }
      return result;
    }
    fail(concat("'", first.spelling, "' is not expected here"));
  }

  ExpressionPtr named() {
    std::string given = name();
    for (const auto &[spelling, value] :
         std::initializer_list<std::pair<std::string_view, Json>>{
             {"true", true},
             {"True", true},
             {"false", false},
             {"False", false},
             {"none", nullptr},
             {"None", nullptr}})
      if (given == spelling) {
        auto result = expression(Expression::literal);
        result->value = value;
        return result;
      }
    return expression(Expression::variable, given);
  }

  ExpressionPtr postfix(ExpressionPtr base) {
    for (;;) {
      if (symbol(".")) {
        auto result = expression(Expression::attribute);
        // A number is an index: message.0
        if (token().kind == Token::number)
          fail("an index after '.' is not known; it is written in [ ]");
        result->name = name();
        result->children.push_back(std::move(base));
        base = std::move(result);
      } else if (symbol("[")) {
        base = subscript(std::move(base));
      } else if (is(Token::symbol, "(")) {
        auto result = expression(Expression::call);
        result->children.push_back(std::move(base));
        arguments(*result);
        base = std::move(result);
      } else {
        return base;
      }
    }
  }

  ExpressionPtr subscript(ExpressionPtr base) {
    auto result = expression(Expression::index);
    result->children.push_back(std::move(base));
    auto part = [&] {
      bool empty = is(Token::symbol, ":") || is(Token::symbol, "]");
      result->children.push_back(empty ? nullptr : full());
    };
    part();
    while (symbol(":")) {
      result->kind = Expression::slice;
      part();
    }
    need("]");
    if (result->kind == Expression::index && !result->children[1])
      fail("an index is missing");
    if (result->children.size() > 4)
      fail("a slice has at most three parts");
    result->children.resize(result->kind == Expression::slice ? 4 : 2);
    return result;
  }

  void arguments(Expression &call) {
    need("(");
    while (!symbol(")")) {
      if (token().kind == Token::name && token(1).kind == Token::symbol &&
          token(1).spelling == "=") {
        call.keys.push_back(name());
        need("=");
      } else if (!call.keys.empty()) {
        fail("a plain argument comes after a named one");
      }
      call.children.push_back(full());
      if (!is(Token::symbol, ")"))
        need(",");
    }
  }

  ExpressionPtr filters(ExpressionPtr base) {
    for (;;) {
      bool isTest = is(Token::name, "is");
      if (!isTest && !is(Token::symbol, "|"))
        return base;
      ++at;
      bool negated = isTest && word("not");
      auto result =
          expression(isTest ? Expression::test : Expression::filter, name());
      result->children.push_back(std::move(base));
      if (is(Token::symbol, "("))
        arguments(*result);
      else if (isTest &&
               (token().kind == Token::string || token().kind == Token::number))
        result->children.push_back(primary());
      base = std::move(result);
      if (negated) {
        auto outer = expression(Expression::unary, "not");
        outer->children.push_back(std::move(base));
        base = std::move(outer);
      }
    }
  }

  std::vector<Token> tokens;
  size_t at = 0;
  int depth = 0;
};

} // namespace

StatementPtr parse(const std::string &source) { return Parser(source).run(); }

} // namespace r1c::runtime::jinja
