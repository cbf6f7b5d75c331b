//===- Meaning.h - what an expression of a step file is -----------*- C++
//-*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_FRONTENDS_STEP_MEANING_H
#define R1C_FRONTENDS_STEP_MEANING_H

#include "frontends/step/AST.h"
#include "frontends/step/Formula.h"
#include "llvm/ADT/StringMap.h"

#include <map>

namespace r1c::step {

struct Module;
struct Meaning;

/// A block's names; a template's block hangs off its file's.
struct Env {
  Env *parent = nullptr;
  Module *module = nullptr;
  std::map<std::string, Meaning> names;
};

/// A set of outputs.
struct Outputs {
  std::string name; // as the step file calls it
  std::string set;  // as the types call it
  mlir::Value value;
  /// Declared columns and their kinds; only those that all its data sets have.
  std::map<std::string, std::string> columns;
  NodePtr temperature;
  std::string temperatureKey;
  /// Who sampled it and with which weights; empty if it was read from data.
  std::string policy;
  unsigned version = 0;
  int64_t maxGroups = 0;
  int64_t maxGroupSize = 0; // 0: only the data knows
};

/// A loss with its arguments, to be checked inside an update.
struct Loss {
  const Template *definition = nullptr;
  Env *env = nullptr;                   // where it was defined
  std::map<std::string, Meaning> bound; // its parameters
  llvm::SMLoc use;                      // where it got them
};

struct DataSets {
  std::vector<std::string> names;
  std::vector<double> weights; // empty: one set, or in proportion to sizes
};

struct Meaning {
  enum Kind {
    error, // already reported
    formula,
    text,
    outputs,
    policy, // name
    data,
    loss,
    function, // definition, env
    external, // name
    import,   // module
    none,
    deferred, // let
    word,     // any, scalar, text, number, flag, and axes: name
    list,
    optimizer,  // fields
    description // name of the function that made it, fields
  };
  Kind kind = error;
  llvm::SMLoc loc;
  NodePtr node;                        // formula
  std::optional<std::string> constant; // text
  mlir::Value ssa;                     // text
  bool changes = false;                // text
  std::string name;
  std::shared_ptr<Outputs> set;
  std::shared_ptr<DataSets> sets;
  std::shared_ptr<Loss> closure;
  const Template *definition = nullptr;
  const Stmt *let = nullptr; // deferred
  Env *env = nullptr;
  Module *module = nullptr;
  std::vector<Meaning> items;
  std::map<std::string, mlir::Attribute> fields;
  NodePtr rate; // optimizer

  bool isError() const { return kind == error; }
  bool isFormula() const { return kind == formula; }
  bool isFlag() const { return kind == formula && node->flag; }
  bool isText() const { return kind == text; }
};

/// A file: the main one or an import.
struct Module {
  std::string name;
  std::string directory;
  std::unique_ptr<File> file;
  Env env;
  std::map<std::string, Module *> imports;
};

} // namespace r1c::step

#endif // R1C_FRONTENDS_STEP_MEANING_H
