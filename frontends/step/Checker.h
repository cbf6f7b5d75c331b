//===- Checker.h - checks a step file and emits rl --------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Checking and emitting are one walk: templates are checked at each use, with
// the kinds and axes they get there, which is when their ops are known too.
// The walk is split by subject: declarations (Checker.cpp), expressions
// (CheckExpr.cpp), arguments and constants (CheckArgs.cpp), functions
// (CheckCalls.cpp, CheckText.cpp, CheckDescribe.cpp), reductions
// (CheckReduce.cpp), sets of outputs and what policies say of them
// (CheckSets.cpp), statements and stages (CheckStage.cpp), updates
// (CheckUpdate.cpp).
//===----------------------------------------------------------------------===//

#ifndef R1C_FRONTENDS_STEP_CHECKER_H
#define R1C_FRONTENDS_STEP_CHECKER_H

#include "frontends/step/Meaning.h"
#include "frontends/step/Names.h"
#include "frontends/step/Source.h"
#include "frontends/step/Step.h"

#include <set>

namespace r1c::step {

/// The arguments of a call of something built in, by parameter name.
struct BoundArgs {
  std::map<std::string, const Arg *> byName;
  bool ok = true;

  const Arg *get(llvm::StringRef name) const {
    auto found = byName.find(name.str());
    return found == byName.end() ? nullptr : found->second;
  }
};

class Checker {
public:
  Checker(Source &source, mlir::MLIRContext &context, const Options &options);

  /// The module of the file; null after an error.
  mlir::OwningOpRef<mlir::ModuleOp> run(llvm::StringRef text,
                                        llvm::StringRef path);

private:
  struct PolicyInfo {
    llvm::SMLoc loc;
    std::string kind;
    bool scalarHead = false;
    std::string tokenizer; // empty: known from files only
    int64_t context = 0;   // 0: known from files only
    std::string copyOf;
    unsigned version = 0;
  };
  struct DataInfo {
    llvm::SMLoc loc;
    std::map<std::string, std::string> columns;
    bool hasPrompt = false;
    unsigned completions = 0;
    unsigned completionColumns = 0; // that the first of them names
    bool hasIds = false;
    double temperature = 1;
  };
  struct ParamInfo {
    llvm::SMLoc loc;
    double value = 0;
    bool frozen = false;
  };
  struct StageInfo {
    std::string name;
    rl::Limit limit = rl::Limit::steps;
    int64_t count = 0;
    std::optional<double> steps;   // updates in all, where the file says
    std::optional<double> updates; // of one round, where the file says
    std::map<std::string, llvm::SMLoc> metrics;
  };
  /// The update whose loss is being checked.
  struct UpdateInfo {
    rl::UpdateOp op;
    std::string policy;
    std::shared_ptr<Outputs> set;
    rl::Split split = rl::Split::group;
  };

  //===--- Declarations (Checker.cpp) -------------------------------------===//
  Module *load(llvm::StringRef name, llvm::SMLoc loc,
               llvm::StringRef directory);
  Module *addModule(llvm::StringRef text, llvm::StringRef path, bool isMain);
  void declare(Module &module);
  void declareParam(const Decl &decl, Env &env);
  void declarePolicy(const Decl &decl, Env &env);
  void declareData(const Decl &decl, Env &env);
  void declareExtern(const Decl &decl, Env &env);
  void freezeParams();

  //===--- Expressions (CheckExpr.cpp) ------------------------------------===//
  Meaning check(const Expr &expr, Env &env);
  Meaning checkKind(const Expr &expr, Env &env);
  Meaning checkName(const Expr &expr, Env &env);
  Meaning checkUnary(const Expr &expr, Env &env);
  Meaning checkBinary(const Expr &expr, Env &env);
  Meaning checkChoice(const Expr &expr, Env &env);
  Meaning checkAttribute(const Expr &expr, Env &env);
  Meaning field(const Outputs &set, llvm::StringRef name, llvm::SMLoc loc);
  Meaning operate(Node::Op op, llvm::ArrayRef<Meaning> operands,
                  llvm::SMLoc loc);
  bool combine(llvm::ArrayRef<NodePtr> nodes, llvm::SMLoc loc);
  bool combineSets(rl::Axis axis, llvm::StringRef set, rl::Axis otherAxis,
                   llvm::StringRef otherSet, llvm::SMLoc loc);
  Meaning find(llvm::StringRef name, Env &env);
  /// Gives the value its name: a formula becomes an op here.
  Meaning nameIt(Meaning value, llvm::StringRef name, llvm::SMLoc loc);

  //===--- Functions (CheckCalls.cpp) -------------------------------------===//
  Meaning checkCall(const Expr &expr, Env &env);
  Meaning callBuiltin(llvm::StringRef name, const Expr &expr, Env &env);
  Meaning callMath(llvm::StringRef name, const Expr &expr, Env &env);
  Meaning callText(llvm::StringRef name, const Expr &expr, Env &env);
  Meaning callEqual(const Meaning &a, const Meaning &b, llvm::SMLoc loc);
  Meaning callTemplate(const Template &definition, Env &home, const Expr &expr,
                       Env &env);
  Meaning callExtern(llvm::StringRef name, const Expr &expr, Env &env);
  Meaning callDescription(llvm::StringRef name, const Expr &expr, Env &env);
  Meaning callAdamW(const Expr &expr, Env &env);
  Meaning describeMix(const Expr &expr, Env &env);
  Meaning describeJsonl(const Expr &expr, Env &env);
  Meaning describeLlama(const BoundArgs &args, const Expr &expr, Env &env);
  mlir::Attribute promptTemplate(const Meaning &value);
  static unsigned columnsNamed(mlir::DictionaryAttr promptTemplate);
  Meaning textOp(llvm::StringRef function, llvm::ArrayRef<Meaning> operands,
                 char result, llvm::SMLoc loc, bool masked = false,
                 llvm::ArrayRef<mlir::NamedAttribute> attributes = {});

  /// Binds a call's arguments to `params`, the first `positional` of which may
  /// be given by position. Reports what does not fit.
  BoundArgs bind(const Expr &call, llvm::StringRef name,
                 llvm::ArrayRef<llvm::StringRef> params,
                 llvm::ArrayRef<llvm::StringRef> required, size_t positional);
  Meaning argument(const BoundArgs &args, llvm::StringRef name, Env &env);
  NodePtr one(const Arg &arg, llvm::StringRef what, Env &env);
  std::optional<double> constant(const Arg &arg, llvm::StringRef what,
                                 Env &env);
  std::optional<int64_t> whole(const Arg &arg, llvm::StringRef what, Env &env);
  /// What a number may be: the test, and how a message says it.
  struct Limits {
    bool (*hold)(double);
    const char *words;
  };
  /// Reports a value that is known now and breaks the limits. It is looked at
  /// with the params as they are, which stay open.
  bool within(const NodePtr &node, const Arg &arg, llvm::StringRef what,
              const Limits &limits);
  /// A constant within limits; `fallback` where it is not given.
  std::optional<double> constantWithin(const BoundArgs &args,
                                       llvm::StringRef what, double fallback,
                                       const Limits &limits, Env &env);
  static const Limits finite, positive, notNegative, belowOne, ratio, share,
      topK;
  std::optional<std::string> constantText(const Arg &arg, llvm::StringRef what,
                                          Env &env);
  std::optional<double> constantOf(const NodePtr &node);
  std::optional<int64_t> capacity(const NodePtr &node, llvm::StringRef what,
                                  llvm::SMLoc loc);

  //===--- Reductions (CheckReduce.cpp) -----------------------------------===//
  Meaning checkReduction(const Expr &axis, const Expr &op, const Expr &call,
                         Env &env);
  Meaning checkCount(const Expr &axis, const Expr &what, Env &env);
  Meaning checkRepeat(llvm::StringRef axis, const Expr &call, Env &env);
  Meaning checkScan(llvm::StringRef kind, const Expr &call, Env &env);
  bool checkDomain(llvm::StringRef axis, llvm::StringRef op, llvm::SMLoc loc);
  bool checkTorn(rl::Axis axis, llvm::StringRef what, llvm::SMLoc loc);
  std::shared_ptr<Outputs> onlySet(Env &env, llvm::SMLoc loc,
                                   llvm::StringRef what);

  //===--- Sets (CheckSets.cpp) -------------------------------------------===//
  Meaning checkSet(const Stmt &stmt, Env &env);
  Meaning checkSample(const Stmt &stmt, Env &env);
  Meaning checkRead(const Stmt &stmt, Env &env);
  bool setData(const Meaning &data, bool sampled, Outputs &set,
               mlir::SmallVectorImpl<mlir::Attribute> &symbols,
               llvm::SMLoc loc);
  bool checkCondition(mlir::Region &region, const Stmt &stmt,
                      const Outputs &set, Env &env);
  std::string uniqueSet(llvm::StringRef name);
  Meaning callLogprob(llvm::StringRef name, const Expr &expr, Env &env);
  Meaning callValue(const Expr &expr, Env &env);
  /// The mask of what is needed here, for an op on `axis` of `set`; null: all.
  mlir::Value neededMask(rl::Axis axis, llvm::StringRef set);
  bool readsPolicy(const Meaning &policy, const Outputs &set, llvm::SMLoc loc);

  //===--- Statements (CheckStage.cpp) ------------------------------------===//
  void checkStage(const Decl &decl, Env &env);
  void findModified(const std::vector<StmtPtr> &body);
  std::optional<double> updatesPerRound(const Decl &decl, Env &env);
  void checkBlock(const std::vector<StmtPtr> &body, Env &env);
  void checkStmt(const Stmt &stmt, Env &env);
  /// The value of a name that was left to where it is read.
  Meaning checkDeferred(const Stmt &let, Env &env);
  void checkLet(const Stmt &stmt, Env &env);
  void checkAssign(const Stmt &stmt, Env &env);
  void checkEvery(const Stmt &stmt, Env &env);
  void checkMetric(const Stmt &stmt, Env &env);
  bool checkMetricName(const Stmt &stmt);
  void checkSave(const Expr &call, Env &env);
  void checkWrite(const Expr &call, Env &env);

  //===--- Updates (CheckUpdate.cpp) --------------------------------------===//
  void checkUpdate(const Expr &call, Env &env);
  std::shared_ptr<Outputs> setOfLoss(const Loss &loss, llvm::SMLoc loc);
  NodePtr checkLoss(const Loss &loss, Env &body);
  void emitStep(const NodePtr &loss, llvm::StringRef name,
                const Meaning &optimizer, llvm::SMLoc loc);
  /// Moves what `value` comes from before the update.
  void hoist(mlir::Value value);

  //===--- Errors and locations -------------------------------------------===//
  /// Reports at the use of the outermost template, naming the inner line.
  Meaning fail(llvm::SMLoc loc, const llvm::Twine &message);
  mlir::Location at(llvm::SMLoc loc);
  Meaning formula(NodePtr node, llvm::SMLoc loc);
  /// A formula that is the result of an op, with what is known of it.
  Meaning leaf(mlir::Value ssa, llvm::SMLoc loc, bool changes = false,
               bool gradient = false,
               std::optional<Provenance> provenance = std::nullopt);
  std::string displayName(llvm::StringRef set);
  /// "per token", "one number"; "a text", "a policy": for messages.
  std::string describe(const Meaning &value);
  mlir::Value emitText(const Meaning &text);

  Source &source;
  mlir::MLIRContext &context;
  const Options &options;
  mlir::OpBuilder builder;
  mlir::OwningOpRef<mlir::ModuleOp> result;

  std::vector<std::unique_ptr<Module>> modules;
  std::map<std::string, Module *> moduleOf; // by path
  std::vector<std::string> loading;
  bool parsed = true; // all files so far

  std::map<std::string, ParamInfo> params;
  std::map<std::string, PolicyInfo> policies;
  bool brokenPolicies = false; ///< whether others have errors
  std::map<std::string, DataInfo> datas;
  std::map<std::string, const Decl *> externs;
  std::set<std::string> modified; // policies that some stage changes
  unsigned nextVersion = 1;

  std::map<std::string, std::shared_ptr<Outputs>> sets; // by set name
  std::vector<Use> uses; // of templates, outermost first
  size_t expansions = 0; // of templates, so far
  unsigned depth = 0;    // of the expression being checked
  StageInfo *stage = nullptr;
  UpdateInfo *update = nullptr;
  bool inCondition = false; // of a sample or read
  NodePtr need; // where the value being checked is needed; null: everywhere
  /// Reads whose policy (whose tokenizer) is not known yet, by set.
  std::map<std::string, rl::ReadOp> openReads;
};

/// Whether the statement makes a set of outputs: `o = sample(...)`.
bool isSet(const Stmt &stmt);

/// By statement: whether the only read of what it names is in a side of a
/// choice further down, where it may as well be computed.
std::vector<bool> readInOneSide(llvm::ArrayRef<StmtPtr> body);

std::string axisText(rl::Axis axis);
/// A number for messages: 16, 0.5, 1e+12.
std::string printed(double value);
std::optional<rl::Axis> axisNamed(llvm::StringRef name);

} // namespace r1c::step

#endif // R1C_FRONTENDS_STEP_CHECKER_H
