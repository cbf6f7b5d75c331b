//===- Names.cpp - each name once, each name known, each name used --------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/Names.h"
#include "frontends/step/Step.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/Twine.h"

#include <map>

using namespace r1c::step;
using llvm::ArrayRef;
using llvm::SMLoc;
using llvm::StringRef;
using llvm::Twine;

bool r1c::step::isAxisName(StringRef name) {
  static const StringRef axes[] = {"token", "sequence", "group", "batch",
                                   "rollout"};
  return llvm::is_contained(axes, name);
}

ArrayRef<StringRef> r1c::step::builtinValues() {
  static const StringRef names[] = {"step", "steps",  "pi",   "none",
                                    "any",  "scalar", "true", "false",
                                    "text", "number", "flag"};
  return names;
}

ArrayRef<StringRef> r1c::step::builtinFunctions() {
  static const StringRef names[] = {
      "abs",     "adamw",      "after", "before", "between", "boxed",
      "ceil",    "characters", "chat",  "clip",   "cos",     "count",
      "entropy", "equal",      "exp",   "file",   "floor",   "jsonl",
      "library", "llama",      "load",  "log",    "logp",    "lora",
      "matches", "max",        "min",   "mix",    "number",  "program",
      "read",    "round",      "run",   "sample", "save",    "sigmoid",
      "sin",     "sqrt",       "stop",  "tanh",   "update",  "value",
      "words",   "write"};
  return names;
}

namespace {

struct Name {
  SMLoc loc;
  std::string what; // "policy", "value", ...
  bool used = false;
};

using Scope = std::map<std::string, Name>;

class NameChecker {
public:
  NameChecker(Source &source, const ImportLookup &import)
      : source(source), import(import) {}

  void check(const File &file, bool isMain);

private:
  void declare(const std::string &name, SMLoc loc, StringRef what,
               bool isFunction = false);
  void close();
  void forEachUnused(llvm::function_ref<void(SMLoc, const Twine &)> report);
  void read(StringRef name, SMLoc loc, bool called);
  void expr(const Expr &expr, bool called = false);
  void attribute(const Expr &expr);
  void stmt(const Stmt &stmt);
  void block(ArrayRef<StmtPtr> body);
  void definition(const Template &definition);

  Source &source;
  const ImportLookup &import;
  std::vector<Scope> scopes;
  /// What the blocks around name, also after the place that is looked at.
  std::map<std::string, SMLoc> further;
};

} // namespace

void NameChecker::declare(const std::string &name, SMLoc loc, StringRef what,
                          bool isFunction) {
  if (isAxisName(name)) {
    source.error(loc, "'" + name + "' is an axis and cannot be a name");
    return;
  }
  if (llvm::is_contained(builtinValues(), name) ||
      (isFunction && llvm::is_contained(builtinFunctions(), name))) {
    source.error(loc, "'" + name + "' is built in and cannot be a name");
    return;
  }
  for (const Scope &scope : scopes) {
    auto known = scope.find(name);
    if (known == scope.end())
      continue;
    source.error(loc, "'" + name + "' is already the name of a " +
                          known->second.what + ", given on line " +
                          Twine(source.lineOf(known->second.loc)) +
                          ": a name is given once and shadows nothing");
    return;
  }
  scopes.back()[name] = Name{loc, what.str(), false};
}

/// Ends a block: what it named must have been read.
void NameChecker::close() {
  forEachUnused(
      [&](SMLoc loc, const Twine &message) { source.error(loc, message); });
  scopes.pop_back();
}

/// What the innermost scope names and nothing reads, in the order of the text.
void NameChecker::forEachUnused(
    llvm::function_ref<void(SMLoc, const Twine &)> report) {
  std::vector<std::pair<SMLoc, std::string>> unused;
  for (auto &[name, info] : scopes.back())
    if (!info.used)
      unused.emplace_back(info.loc, name);
  llvm::sort(unused, [](const auto &a, const auto &b) {
    return a.first.getPointer() < b.first.getPointer();
  });
  for (const auto &[loc, name] : unused)
    report(loc, "'" + name + "' is never used");
}

void NameChecker::read(StringRef name, SMLoc loc, bool called) {
  for (Scope &scope : llvm::reverse(scopes)) {
    auto known = scope.find(name.str());
    if (known == scope.end())
      continue;
    bool callable = known->second.what == "function" ||
                    known->second.what == "loss" ||
                    known->second.what == "extern";
    // A value is never called: `data log` leaves log(x) what it is.
    if (called && !callable && llvm::is_contained(builtinFunctions(), name))
      return;
    known->second.used = true;
    return;
  }
  if (isAxisName(name) || llvm::is_contained(builtinValues(), name))
    return;
  if (llvm::is_contained(builtinFunctions(), name)) {
    if (!called)
      source.error(loc,
                   "'" + name + "' is a function: write " + name + "(...)");
    return;
  }
  std::vector<StringRef> known;
  for (const Scope &scope : scopes)
    for (const auto &[other, info] : scope)
      known.push_back(other);
  llvm::append_range(known, builtinFunctions());
  llvm::append_range(known, builtinValues());
  std::string hint;
  if (auto later = further.find(name.str()); later != further.end())
    hint = "here: it gets its value further down, on line " +
           std::to_string(source.lineOf(later->second));
  else if (!shippedLibrary(name).empty())
    hint = "; write 'import " + name.str() + "' at the top of the file";
  else
    hint = didYouMean(name, known);
  source.error(loc, "unknown name '" + name + "'" +
                        (hint.empty() || hint[0] == ';' ? "" : " ") + hint);
}

/// `losses.grpo`: the import is used, and must have the name.
void NameChecker::attribute(const Expr &e) {
  const Expr &base = *e.operands[0];
  if (base.kind != Expr::identifier) {
    expr(base);
    return;
  }
  if (isAxisName(base.name)) {
    // `rollout.tokens` speaks of the set in sight.
    for (Scope &scope : scopes)
      for (auto &[name, info] : scope)
        info.used |= info.what == "set of outputs";
    return;
  }
  Scope &top = scopes.front();
  auto known = top.find(base.name);
  if (known == top.end() || known->second.what != "import") {
    read(base.name, base.loc, false);
    return;
  }
  known->second.used = true;
  const File *file = import(base.name);
  if (!file)
    return;
  std::vector<StringRef> names;
  for (const Decl &decl : file->decls)
    names.push_back(decl.name);
  if (!llvm::is_contained(names, StringRef(e.name)))
    source.error(e.loc, "'" + base.name + "' has no '" + e.name + "'" +
                            didYouMean(e.name, names));
}

void NameChecker::expr(const Expr &e, bool called) {
  switch (e.kind) {
  case Expr::identifier:
    read(e.name, e.loc, called);
    return;
  case Expr::attribute:
    attribute(e);
    return;
  case Expr::call: {
    const Expr &callee = *e.operands[0];
    bool reduction = callee.kind == Expr::attribute &&
                     callee.operands[0]->kind == Expr::identifier &&
                     isAxisName(callee.operands[0]->name);
    if (!reduction)
      expr(callee, /*called=*/true);
    break;
  }
  default:
    for (const ExprPtr &operand : e.operands)
      expr(*operand);
  }
  for (const Arg &arg : e.args) {
    expr(*arg.value);
    if (arg.where)
      expr(*arg.where);
  }
}

void NameChecker::stmt(const Stmt &s) {
  switch (s.kind) {
  case Stmt::let:
    expr(*s.value);
    declare(s.name, s.loc,
            s.value->kind == Expr::call &&
                    (s.value->operands[0]->name == "sample" ||
                     s.value->operands[0]->name == "read")
                ? "set of outputs"
                : "value");
    // The condition of a set speaks of the candidates by the set's own name.
    if (s.where) {
      Name *name =
          scopes.back().count(s.name) ? &scopes.back()[s.name] : nullptr;
      bool used = name && name->used;
      expr(*s.where);
      if (name)
        name->used = used;
    }
    return;
  case Stmt::assign:
    read(s.name, s.loc, false);
    expr(*s.value);
    return;
  case Stmt::every:
    expr(*s.value);
    block(s.body);
    return;
  case Stmt::loss:
    definition(*s.definition);
    declare(s.name, s.loc, "loss");
    return;
  case Stmt::metric:
  case Stmt::call:
    expr(*s.value);
    return;
  }
}

void NameChecker::block(ArrayRef<StmtPtr> body) {
  scopes.emplace_back();
  std::map<std::string, SMLoc> outer = further;
  for (const StmtPtr &s : body)
    if (s->kind == Stmt::let || s->kind == Stmt::loss)
      further.emplace(s->name, s->loc);
  for (const StmtPtr &s : body)
    stmt(*s);
  close();
  further = std::move(outer);
}

void NameChecker::definition(const Template &t) {
  scopes.emplace_back();
  for (const Param &param : t.params) {
    if (param.defaultValue)
      expr(*param.defaultValue);
    declare(param.name, param.loc, "parameter");
  }
  for (const StmtPtr &s : t.body)
    stmt(*s);
  if (t.result)
    expr(*t.result);
  close();
}

void NameChecker::check(const File &file, bool isMain) {
  scopes.emplace_back();
  for (const Decl &decl : file.decls) {
    static const std::map<Decl::Kind, StringRef> what = {
        {Decl::import, "import"},     {Decl::param, "param"},
        {Decl::policy, "policy"},     {Decl::data, "data set"},
        {Decl::function, "function"}, {Decl::external, "extern"}};
    if (decl.kind == Decl::stage)
      continue; // a space of their own: nothing reads them
    bool isLoss = decl.definition && decl.definition->isLoss;
    declare(decl.name, decl.loc, isLoss ? "loss" : what.at(decl.kind),
            decl.kind == Decl::function || decl.kind == Decl::external);
  }
  std::map<std::string, SMLoc> stages;
  for (const Decl &decl : file.decls) {
    if (decl.value)
      expr(*decl.value);
    for (const Arg &arg : decl.args)
      expr(*arg.value);
    if (decl.definition)
      definition(*decl.definition);
    if (decl.kind == Decl::stage) {
      if (!stages.emplace(decl.name, decl.loc).second)
        source.error(decl.loc, "a second stage '" + decl.name + "'");
      block(decl.body);
    }
  }
  if (isMain)
    forEachUnused(
        [&](SMLoc loc, const Twine &message) { source.warning(loc, message); });
}

void r1c::step::checkNames(Source &source, const File &file, bool isMain,
                           const ImportLookup &import) {
  NameChecker(source, import).check(file, isMain);
}
