//===- CheckDeferred.cpp - values that one side of a choice reads ---------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A side of a choice is computed only where it is selected, also through a
// name: in
//
//   helpful = value(judge, o)
//   task    = rewards.accuracy(o) if o.kind == "reasoning" else helpful
//
// `helpful` is computed where it is read, with the mask that holds there. That
// is sound where it is read once and nothing between the two lines changes
// weights or sets.
//===----------------------------------------------------------------------===//

#include "frontends/step/Checker.h"

using namespace r1c;
using namespace r1c::step;

using namespace mlir;

namespace {

/// Where the names of a block are read.
struct Read {
  size_t statement = 0;
  unsigned times = 0;
  bool inSide = false;
};

class ReadCounter {
public:
  std::map<std::string, Read> reads;
  size_t statement = 0;

  void count(const Stmt &stmt) {
    count(stmt.value.get(), false);
    count(stmt.where.get(), false);
    for (const StmtPtr &inner : stmt.body)
      count(*inner);
    if (!stmt.definition)
      return;
    for (const Param &param : stmt.definition->params)
      count(param.defaultValue.get(), false);
    for (const StmtPtr &inner : stmt.definition->body)
      count(*inner);
    count(stmt.definition->result.get(), false);
  }

private:
  void count(const Expr *expr, bool inSide) {
    if (!expr)
      return;
    if (expr->kind == Expr::identifier) {
      Read &read = reads[expr->name];
      read = {statement, read.times + 1, inSide};
    }
    for (const auto &[index, operand] : llvm::enumerate(expr->operands))
      count(operand.get(),
            inSide || (expr->kind == Expr::choice && index != 1));
    for (const Arg &arg : expr->args) {
      count(arg.value.get(), inSide);
      count(arg.where.get(), inSide);
    }
  }
};

} // namespace

bool step::isSet(const Stmt &stmt) {
  if (stmt.kind != Stmt::let || stmt.value->kind != Expr::call)
    return false;
  const Expr &callee = *stmt.value->operands[0];
  return callee.kind == Expr::identifier &&
         (callee.name == "sample" || callee.name == "read");
}

std::vector<bool> step::readInOneSide(ArrayRef<StmtPtr> body) {
  ReadCounter counter;
  for (const StmtPtr &stmt : body) {
    counter.count(*stmt);
    ++counter.statement;
  }
  std::vector<bool> result(body.size());
  // Names behind names are computed within each other.
  std::vector<unsigned> depth(body.size());
  constexpr unsigned deepest = 100;
  size_t barrier = body.size(); // the next statement that changes something
  for (size_t i = body.size(); i-- > 0;) {
    const Stmt &stmt = *body[i];
    auto read = counter.reads.find(stmt.name);
    if (stmt.kind == Stmt::let && !isSet(stmt) && !stmt.where &&
        read != counter.reads.end() && read->second.times == 1) {
      const auto &[place, times, inSide] = read->second;
      const Stmt &reader = *body[place];
      bool here = (reader.kind == Stmt::let && !isSet(reader)) ||
                  reader.kind == Stmt::metric;
      // What reads it may itself be computed further down.
      result[i] = place > i && place < barrier && here &&
                  (inSide || (result[place] && depth[place] < deepest));
      depth[i] = inSide ? 1 : depth[place] + 1;
    }
    if (isSet(stmt) || stmt.kind == Stmt::assign || stmt.kind == Stmt::every ||
        stmt.kind == Stmt::call)
      barrier = i;
  }
  return result;
}
