//===- Syntax.h - tokens and trees of a template -------------- -*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DATA_JINJA_SYNTAX_H
#define R1C_RUNTIME_DATA_JINJA_SYNTAX_H

#include "runtime/support/Json.h"
#include <memory>
#include <optional>

namespace r1c::runtime::jinja {

struct Token {
  enum Kind {
    text,       ///< what stands outside of all marks
    printBegin, ///< {{
    printEnd,   ///< }}
    blockBegin, ///< {%
    blockEnd,   ///< %}
    name,
    string,
    number,
    symbol, ///< an operator or bracket
    end
  };
  Kind kind;
  std::string spelling; ///< of a string its value
  int line;
};

/// Throws r1c::Error with the line.
std::vector<Token> tokenize(const std::string &source);

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum Kind {
    literal,   ///< value
    variable,  ///< name
    attribute, ///< children[0].name
    index,     ///< children[0][children[1]]
    slice,     ///< children[0][children[1]:children[2]:children[3]], any empty
    call,      ///< children[0](the others), named ones in `keys`
    filter,    ///< children[0] | name(the others)
    test,      ///< children[0] is name(the others)
    unary,     ///< name children[0]
    binary,    ///< children[0] name children[1]
    choice,    ///< children[0] if children[1] else children[2]
    list,      ///< [children]
    dictionary ///< {children: in pairs}
  };
  Kind kind;
  int line;
  std::string name;
  Json value;
  std::vector<ExpressionPtr> children;
  std::vector<std::string> keys; ///< names of the last arguments of a call
};

struct Statement;
using StatementPtr = std::unique_ptr<Statement>;

struct Statement {
  enum Kind {
    text,   ///< `name` as it stands
    print,  ///< first
    block,  ///< body
    choice, ///< if first: body, else otherwise
    loop,   ///< for names in first [if second]: body, else otherwise
    set,    ///< names = first, or names[0].name = first; without first: body
    unknown ///< `name` says what
  };
  Kind kind;
  int line;
  std::string name;
  std::vector<std::string> names;
  ExpressionPtr first, second;
  std::vector<StatementPtr> body, otherwise;
};

StatementPtr parse(const std::string &source);

} // namespace r1c::runtime::jinja

#endif // R1C_RUNTIME_DATA_JINJA_SYNTAX_H
