//===- ParseExpr.cpp - expressions of a step file, to syntax tree ---------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/ParserImpl.h"
#include "llvm/ADT/STLExtras.h"

using namespace r1c::step;
using llvm::SMLoc;
using llvm::StringRef;
using r1c::step::detail::Parser;

ExprPtr Parser::make(Expr::Kind kind, SMLoc loc, StringRef name) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->loc = expr->start = loc;
  expr->name = name.str();
  return expr;
}

static void addOperand(Expr &expr, ExprPtr operand) {
  expr.height = std::max(expr.height, operand->height + 1);
  expr.operands.push_back(std::move(operand));
}

/// Of the arguments, which are parsed into the expression.
static void addHeights(Expr &expr) {
  for (const Arg &arg : expr.args)
    for (const Expr *part : {arg.value.get(), arg.where.get()})
      if (part)
        expr.height = std::max(expr.height, part->height + 1);
}

bool Parser::fits(const Expr &expr) {
  if (expr.height <= maxHeight)
    return true;
  source.error(expr.loc, "more than " + llvm::Twine(maxHeight) +
                             " operators in one expression: give parts of it "
                             "names of their own");
  giveUp();
  return false;
}

ExprPtr Parser::parseExpr() {
  Nesting nesting(*this);
  if (!nesting.fits())
    return nullptr;
  ExprPtr value = parseBinary(0);
  if (!value || !peek().isName("if"))
    return value;
  ExprPtr choice = make(Expr::choice, take().loc);
  ExprPtr condition = parseBinary(0);
  if (!condition)
    return nullptr;
  if (!accept("else")) {
    unexpected("'else': a choice gives a value either way");
    return nullptr;
  }
  ExprPtr other = parseExpr();
  if (!other)
    return nullptr;
  choice->start = value->start;
  addOperand(*choice, std::move(value));
  addOperand(*choice, std::move(condition));
  addOperand(*choice, std::move(other));
  return choice;
}

/// Levels: 0 or, 1 and, 2 not, 3 comparisons, 4 sums, 5 products, 6 unary.
ExprPtr Parser::parseBinary(unsigned level) {
  static const std::vector<StringRef> operators[] = {
      {"or"},     {"and"},        {}, {"==", "!=", "<", ">", "<=", ">="},
      {"+", "-"}, {"*", "/", "%"}};
  if (level == 2 && peek().isName("not")) {
    ExprPtr negation = make(Expr::unary, take().loc, "not");
    Nesting nesting(*this);
    ExprPtr operand = nesting.fits() ? parseBinary(2) : nullptr;
    if (!operand)
      return nullptr;
    addOperand(*negation, std::move(operand));
    return negation;
  }
  if (level == 2)
    return parseBinary(3);
  if (level == 6)
    return parseUnary();
  ExprPtr left = parseBinary(level + 1);
  while (left && (peek().kind == Token::symbol || peek().kind == Token::name) &&
         llvm::is_contained(operators[level], peek().text)) {
    if (level == 3 && left->kind == Expr::binary &&
        llvm::is_contained(operators[3], left->name) &&
        left->start == left->operands[0]->start) {
      source.error(peek().loc,
                   "comparisons do not chain: write a < b and b < c");
      return nullptr;
    }
    Token op = take();
    ExprPtr right = parseBinary(level + 1);
    if (!right)
      return nullptr;
    ExprPtr both = make(Expr::binary, op.loc, op.text);
    both->start = left->start;
    addOperand(*both, std::move(left));
    addOperand(*both, std::move(right));
    left = std::move(both);
    if (!fits(*left))
      return nullptr;
  }
  return left;
}

ExprPtr Parser::parseUnary() {
  if (!peek().is("-"))
    return parsePostfix();
  ExprPtr negation = make(Expr::unary, take().loc, "-");
  Nesting nesting(*this);
  ExprPtr operand = nesting.fits() ? parseUnary() : nullptr;
  if (!operand)
    return nullptr;
  addOperand(*negation, std::move(operand));
  return negation;
}

ExprPtr Parser::parsePostfix() {
  ExprPtr expr = parseAtom();
  while (expr) {
    if (peek().is(".")) {
      ++next;
      if (peek().kind != Token::name) {
        unexpected("the name of an attribute");
        return nullptr;
      }
      ExprPtr attribute = make(Expr::attribute, peek().loc, peek().text);
      ++next;
      attribute->start = expr->start;
      addOperand(*attribute, std::move(expr));
      expr = std::move(attribute);
    } else if (peek().is("(")) {
      ++next;
      ExprPtr call = make(Expr::call, expr->loc);
      call->start = expr->start;
      addOperand(*call, std::move(expr));
      if (!parseArgs(call->args, ")", true))
        return nullptr;
      expr = std::move(call);
      addHeights(*expr);
    } else {
      break;
    }
    if (!fits(*expr))
      return nullptr;
  }
  return expr;
}

ExprPtr Parser::parseAtom() {
  const Token &token = peek();
  switch (token.kind) {
  case Token::number: {
    ExprPtr expr = make(Expr::number, token.loc);
    expr->value = take().value;
    return expr;
  }
  case Token::string: {
    ExprPtr expr = make(Expr::text, token.loc, token.text);
    ++next;
    return expr;
  }
  case Token::name: {
    if (isKeyword(token.text)) {
      unexpected("a value");
      return nullptr;
    }
    ExprPtr expr = make(Expr::identifier, token.loc, token.text);
    ++next;
    return expr;
  }
  case Token::symbol:
    if (token.is("(")) {
      SMLoc start = take().loc;
      ExprPtr expr = parseExpr();
      if (!expr || !expect(")"))
        return nullptr;
      // Tells (a < b) < c from a < b < c.
      expr->start = start;
      return expr;
    }
    if (token.is("[")) {
      ExprPtr expr = make(Expr::list, take().loc);
      if (!parseArgs(expr->args, "]", false))
        return nullptr;
      addHeights(*expr);
      return expr;
    }
    break;
  default:
    break;
  }
  unexpected("a value");
  return nullptr;
}

/// After the opening bracket, up to and including `close`.
bool Parser::parseArgs(std::vector<Arg> &args, StringRef close, bool named) {
  if (accept(close))
    return true;
  do {
    if (peek().is(close)) // after a trailing comma
      break;
    Arg arg;
    arg.loc = peek().loc;
    if (named && peek().kind == Token::name && peek(1).is("=")) {
      arg.name = take().text;
      ++next;
    }
    arg.value = parseExpr();
    if (!arg.value)
      return false;
    if (named && accept("where")) {
      arg.where = parseExpr();
      if (!arg.where)
        return false;
    }
    if (!arg.name.empty() &&
        llvm::any_of(args, [&](const Arg &a) { return a.name == arg.name; })) {
      source.error(arg.loc, "'" + arg.name + "' is given twice");
      return false;
    }
    if (arg.name.empty() && !args.empty() && !args.back().name.empty()) {
      source.error(arg.loc, "a value by position after one by name");
      return false;
    }
    args.push_back(std::move(arg));
  } while (accept(","));
  return expect(close);
}
