//===- AST.h - syntax tree of a step file -----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_FRONTENDS_STEP_AST_H
#define R1C_FRONTENDS_STEP_AST_H

#include "llvm/Support/SMLoc.h"

#include <memory>
#include <string>
#include <vector>

namespace r1c::step {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

/// `[name =] value [where condition]`
struct Arg {
  std::string name; // empty: by position
  llvm::SMLoc loc;
  ExprPtr value;
  ExprPtr where; // or null
};

struct Expr {
  enum Kind {
    number,     // value
    text,       // name
    identifier, // name
    list,       // args, by position
    unary,      // name ("-" or "not") of operands[0]
    binary,     // name of operands[0], operands[1]; loc: the operator's
    choice,     // operands[0] if operands[1] else operands[2]
    attribute,  // operands[0] . name; loc: the name's
    call,       // operands[0] ( args )
  };
  Kind kind = number;
  /// Where errors point: the operator, the attribute, else the start.
  llvm::SMLoc loc;
  /// Where the expression starts.
  llvm::SMLoc start;
  std::string name;
  double value = 0;
  unsigned height = 0; // of the tree below
  std::vector<ExprPtr> operands;
  std::vector<Arg> args;
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;

struct Param {
  std::string name;
  llvm::SMLoc loc;
  ExprPtr defaultValue; // or null
  std::string kind;     // externs only
};

/// A fn or a loss: a template, checked at each use.
struct Template {
  bool isLoss = false;
  std::string name;
  llvm::SMLoc loc;
  bool hasParams = false; // `loss l { }` has none, and sees its block's names
  std::vector<Param> params;
  std::vector<StmtPtr> body;
  ExprPtr result; // what is returned or minimized
};

struct Stmt {
  enum Kind {
    let,    // name = value [where condition]
    assign, // name := value
    every,  // every value steps { body }
    metric, // metric name = value
    loss,   // definition
    call,   // value
  };
  Kind kind = let;
  llvm::SMLoc loc;
  std::string name;
  ExprPtr value;
  ExprPtr where;
  std::vector<StmtPtr> body;
  std::unique_ptr<Template> definition;
};

struct Decl {
  enum Kind { import, param, policy, data, stage, function, external };
  Kind kind = import;
  llvm::SMLoc loc; // of the name
  std::string name;
  ExprPtr value;             // param, policy, data; extern: program(...)
  std::vector<Arg> args;     // stage
  std::vector<StmtPtr> body; // stage
  std::vector<Param> params; // extern
  std::string result;        // extern: kind
  std::unique_ptr<Template> definition;
};

struct File {
  std::vector<Decl> decls;
};

} // namespace r1c::step

#endif // R1C_FRONTENDS_STEP_AST_H
