//===- Checker.cpp - declarations of a step file --------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/Checker.h"
#include "frontends/step/Parser.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::step;
using llvm::SMLoc;
using llvm::Twine;

Checker::Checker(Source &source, MLIRContext &context, const Options &options)
    : source(source), context(context), options(options), builder(&context) {}

//===----------------------------------------------------------------------===//
// Errors and locations
//===----------------------------------------------------------------------===//

Meaning Checker::fail(SMLoc loc, const Twine &message) {
  if (uses.empty()) {
    source.error(loc, message);
    return Meaning();
  }
  if (!source.error(uses.front().loc, message))
    return Meaning();
  for (size_t i = 1; i < uses.size(); ++i)
    source.note(uses[i].loc, "in '" + uses[i - 1].name + "', from here");
  source.note(loc, "in '" + uses.back().name + "', here");
  return Meaning();
}

Location Checker::at(SMLoc loc) {
  Location location = source.location(&context, loc);
  for (const Use &use : llvm::reverse(uses))
    location = CallSiteLoc::get(location, source.location(&context, use.loc));
  return location;
}

Meaning Checker::formula(NodePtr node, SMLoc loc) {
  Meaning value;
  value.kind = Meaning::formula;
  value.node = std::move(node);
  value.loc = loc;
  return value;
}

Meaning Checker::leaf(mlir::Value ssa, SMLoc loc, bool changes, bool gradient,
                      std::optional<Provenance> provenance) {
  auto node = std::make_shared<Node>(*makeLeaf(ssa, at(loc)));
  node->changes = changes;
  node->gradient = gradient;
  node->provenance = std::move(provenance);
  return formula(node, loc);
}

std::string Checker::displayName(StringRef set) {
  auto found = sets.find(set.str());
  return found == sets.end() ? set.str() : found->second->name;
}

std::string r1c::step::axisText(rl::Axis axis) {
  return axis == rl::Axis::one ? "one number"
                               : ("per " + rl::stringifyAxis(axis)).str();
}

std::optional<rl::Axis> r1c::step::axisNamed(StringRef name) {
  if (name == "batch" || name == "rollout")
    return rl::Axis::one;
  if (name == "one")
    return std::nullopt;
  return rl::symbolizeAxis(name);
}

std::string Checker::describe(const Meaning &value) {
  switch (value.kind) {
  case Meaning::error:
    return "an error";
  case Meaning::formula:
    if (value.node->axis == rl::Axis::one)
      return value.node->flag ? "one flag" : "one number";
    return (value.node->flag ? "a flag " : "a number ") +
           axisText(value.node->axis);
  case Meaning::text:
    return "a text";
  case Meaning::outputs:
    return "a set of outputs";
  case Meaning::policy:
    return "a policy";
  case Meaning::data:
    return "a data set";
  case Meaning::loss:
    return "a loss";
  case Meaning::function:
    return value.definition->isLoss ? "a loss without its arguments"
                                    : "a function";
  case Meaning::external:
    return "an extern";
  case Meaning::import:
    return "an import";
  case Meaning::none:
    return "'none'";
  case Meaning::deferred:
    break; // checkName never gives one
  case Meaning::word:
    return "'" + value.name + "'";
  case Meaning::list:
    return "a list";
  case Meaning::optimizer:
    return "an optimizer";
  case Meaning::description:
    return "'" + value.name + "(...)'";
  }
  llvm_unreachable("unknown kind of value");
}

//===----------------------------------------------------------------------===//
// Files
//===----------------------------------------------------------------------===//

Module *Checker::addModule(StringRef text, StringRef path, bool isMain) {
  auto module = std::make_unique<Module>();
  module->name = llvm::sys::path::stem(path).str();
  module->directory = llvm::sys::path::parent_path(path).str();
  StringRef buffer = source.add(text.str(), path);
  unsigned before = source.errorCount();
  module->file = parse(source, buffer);
  parsed &= source.errorCount() == before;
  module->env.module = module.get();
  Module *raw = module.get();
  modules.push_back(std::move(module));
  loading.push_back(path.str());
  for (const Decl &decl : raw->file->decls) {
    if (decl.kind == Decl::import) {
      if (Module *imported = load(decl.name, decl.loc, raw->directory))
        raw->imports[decl.name] = imported;
    } else if (!isMain && decl.kind != Decl::function) {
      source.error(decl.loc, "an imported file holds fn, loss and import only");
    }
  }
  loading.pop_back();
  // What could not be read would seem unknown, or unused.
  if (!parsed)
    return raw;
  checkNames(source, *raw->file, isMain, [&](StringRef name) -> const File * {
    auto found = raw->imports.find(name.str());
    return found == raw->imports.end() ? nullptr : found->second->file.get();
  });
  return raw;
}

Module *Checker::load(StringRef name, SMLoc loc, StringRef directory) {
  llvm::SmallString<128> path(directory);
  llvm::sys::path::append(path, name + ".r1");
  std::string text;
  if (auto buffer = llvm::MemoryBuffer::getFile(path)) {
    text = (*buffer)->getBuffer().str();
  } else {
    StringRef shipped = shippedLibrary(name);
    if (shipped.empty()) {
      source.error(
          loc, "no file '" + path + "', and r1c ships no library '" + name +
                   "'" + didYouMean(name, {"rewards", "losses", "advantages"}));
      return nullptr;
    }
    path = ("<library>/" + name + ".r1").str();
    text = shipped.str();
  }
  auto known = moduleOf.find(path.str().str());
  if (known != moduleOf.end())
    return known->second;
  if (llvm::is_contained(loading, path.str().str())) {
    source.error(loc, "'" + name + "' imports itself");
    return nullptr;
  }
  Module *module = addModule(text, path, /*isMain=*/false);
  moduleOf[path.str().str()] = module;
  declare(*module);
  return module;
}

/// Puts what a file declares into its names, in the order of the text.
void Checker::declare(Module &module) {
  for (const Decl &decl : module.file->decls) {
    Meaning value;
    value.loc = decl.loc;
    value.name = decl.name;
    if (decl.kind == Decl::import) {
      auto imported = module.imports.find(decl.name);
      if (imported == module.imports.end())
        continue;
      value.kind = Meaning::import;
      value.module = imported->second;
    } else if (decl.kind == Decl::function) {
      value.kind = Meaning::function;
      value.definition = decl.definition.get();
      value.env = &module.env;
    } else {
      continue;
    }
    module.env.names[decl.name] = value;
  }
  for (const Decl &decl : module.file->decls) {
    // What fails is known as an error, so that its uses are not reported too.
    if (decl.kind != Decl::stage)
      module.env.names.emplace(decl.name, Meaning());
    if (decl.kind == Decl::param)
      declareParam(decl, module.env);
    else if (decl.kind == Decl::policy)
      declarePolicy(decl, module.env);
    else if (decl.kind == Decl::data)
      declareData(decl, module.env);
    else if (decl.kind == Decl::external)
      declareExtern(decl, module.env);
  }
}

//===----------------------------------------------------------------------===//
// Declarations
//===----------------------------------------------------------------------===//

void Checker::declareParam(const Decl &decl, Env &env) {
  Meaning value = check(*decl.value, env);
  if (value.isError())
    return;
  for (const auto &[name, text] : options.overrides) {
    if (name != decl.name)
      continue;
    if (value.isText()) {
      value.constant = text;
      continue;
    }
    StringRef buffer = source.add(text, "--set " + name);
    ExprPtr expr = parseExpression(source, buffer);
    Meaning given = expr ? check(*expr, env) : Meaning();
    if (given.isError())
      return;
    if (!given.isFormula() || given.node->flag) {
      fail(expr->start,
           "param '" + name + "' is a number, not " + describe(given));
      return;
    }
    value.node = given.node;
  }
  if (value.isText() && value.constant) {
    env.names[decl.name] = value;
    return;
  }
  if (!value.isFormula() || value.node->flag) {
    fail(decl.value->start,
         "a param is a number or a text, not " + describe(value));
    return;
  }
  std::optional<double> number = constantOf(value.node);
  if (!number) {
    fail(decl.value->start, "a param is a constant");
    return;
  }
  params[decl.name] = ParamInfo{decl.loc, *number, false};
  rl::ParamOp::create(builder, at(decl.loc), builder.getStringAttr(decl.name),
                      builder.getF64FloatAttr(*number), builder.getUnitAttr());
  auto node = std::make_shared<Node>();
  node->op = Node::param;
  node->name = decl.name;
  node->loc = at(decl.loc);
  env.names[decl.name] = formula(node, decl.loc);
}

void Checker::declarePolicy(const Decl &decl, Env &env) {
  Meaning value = check(*decl.value, env);
  if (value.isError()) {
    brokenPolicies = true;
    return;
  }
  PolicyInfo info;
  info.loc = decl.loc;
  info.version = nextVersion++;
  SmallVector<NamedAttribute> fields;
  auto add = [&](StringRef name, Attribute attribute) {
    fields.push_back(builder.getNamedAttr(name, attribute));
  };
  if (value.kind == Meaning::policy) {
    const PolicyInfo &of = policies[value.name];
    info.kind = "copy";
    info.copyOf = value.name;
    info.scalarHead = of.scalarHead;
    info.tokenizer = of.tokenizer;
    info.context = of.context;
    add("of", FlatSymbolRefAttr::get(&context, value.name));
  } else if (value.kind == Meaning::description &&
             (value.name == "llama" || value.name == "load" ||
              value.name == "lora")) {
    info.kind = value.name;
    for (const auto &[name, attribute] : value.fields)
      add(name, attribute);
    if (auto head = value.fields.find("head"); head != value.fields.end())
      info.scalarHead = head->second == builder.getStringAttr("scalar");
    if (auto tokenizer = value.fields.find("tokenizer");
        tokenizer != value.fields.end()) {
      llvm::raw_string_ostream out(info.tokenizer);
      tokenizer->second.print(out);
    }
    if (auto context = value.fields.find("context");
        context != value.fields.end())
      info.context = cast<IntegerAttr>(context->second).getInt();
    if (value.name == "lora") {
      StringRef of = cast<FlatSymbolRefAttr>(value.fields["of"]).getValue();
      info.tokenizer = policies[of.str()].tokenizer;
      info.scalarHead = policies[of.str()].scalarHead;
      info.context = policies[of.str()].context;
    }
  } else {
    fail(decl.value->start,
         "a policy is load(...), llama(...), lora(...) or another "
         "policy, not " +
             describe(value));
    return;
  }
  add("kind", builder.getStringAttr(info.kind));
  rl::PolicyOp::create(builder, at(decl.loc), builder.getStringAttr(decl.name),
                       builder.getDictionaryAttr(fields));
  policies[decl.name] = info;
  Meaning policy;
  policy.kind = Meaning::policy;
  policy.loc = decl.loc;
  policy.name = decl.name;
  env.names[decl.name] = policy;
}

void Checker::declareData(const Decl &decl, Env &env) {
  Meaning value = check(*decl.value, env);
  if (value.isError())
    return;
  if (value.kind == Meaning::data) { // mix(...), or another name for a data set
    env.names[decl.name] = value;
    return;
  }
  if (value.kind != Meaning::description || value.name != "jsonl") {
    fail(decl.value->start,
         "a data set is jsonl(...) or mix(...), not " + describe(value));
    return;
  }
  DataInfo info;
  info.loc = decl.loc;
  SmallVector<NamedAttribute> fields;
  for (const auto &[name, attribute] : value.fields)
    fields.push_back(builder.getNamedAttr(name, attribute));
  for (NamedAttribute column :
       cast<DictionaryAttr>(value.fields["columns"]).getValue())
    info.columns[column.getName().str()] =
        cast<StringAttr>(column.getValue()).str();
  info.hasPrompt =
      value.fields.count("prompt") || value.fields.count("prompt_ids");
  info.hasIds = value.fields.count("ids");
  if (auto found = value.fields.find("completion");
      found != value.fields.end()) {
    auto templates = cast<ArrayAttr>(found->second);
    info.completions = templates.size();
    info.completionColumns = columnsNamed(cast<DictionaryAttr>(templates[0]));
  }
  if (auto found = value.fields.find("temperature");
      found != value.fields.end())
    info.temperature = cast<FloatAttr>(found->second).getValueAsDouble();
  rl::DataOp::create(builder, at(decl.loc), builder.getStringAttr(decl.name),
                     builder.getDictionaryAttr(fields));
  datas[decl.name] = info;
  Meaning data;
  data.kind = Meaning::data;
  data.loc = decl.loc;
  data.sets = std::make_shared<DataSets>();
  data.sets->names.push_back(decl.name);
  env.names[decl.name] = data;
}

void Checker::declareExtern(const Decl &decl, Env &env) {
  auto isKind = [](StringRef kind) {
    return kind == "text" || kind == "number" || kind == "flag";
  };
  SmallVector<Attribute> pairs;
  for (const Param &param : decl.params) {
    if (!isKind(param.kind)) {
      fail(param.loc,
           "a parameter of an extern is text, number or flag, not '" +
               Twine(param.kind) + "'");
      return;
    }
    pairs.push_back(builder.getStrArrayAttr({param.name, param.kind}));
  }
  if (!isKind(decl.result)) {
    fail(decl.loc, "an extern gives text, number or flag, not '" +
                       Twine(decl.result) + "'");
    return;
  }
  Meaning value = check(*decl.value, env);
  if (value.isError())
    return;
  if (value.kind != Meaning::description ||
      (value.name != "program" && value.name != "library")) {
    fail(decl.value->start,
         "an extern is program(...) or library(...), not " + describe(value));
    return;
  }
  bool textFailure = isa<StringAttr>(value.fields["failure"]);
  if (textFailure != (decl.result == "text")) {
    fail(decl.value->start, "'failure' is what a call that hangs or crashes "
                            "gives: a " +
                                Twine(decl.result));
    return;
  }
  SmallVector<NamedAttribute> fields;
  for (const auto &[name, attribute] : value.fields)
    fields.push_back(builder.getNamedAttr(name, attribute));
  rl::ExternOp::create(builder, at(decl.loc), builder.getStringAttr(decl.name),
                       builder.getArrayAttr(pairs),
                       builder.getStringAttr(decl.result),
                       builder.getDictionaryAttr(fields));
  externs[decl.name] = &decl;
  Meaning callee;
  callee.kind = Meaning::external;
  callee.loc = decl.loc;
  callee.name = decl.name;
  env.names[decl.name] = callee;
}

/// A param that a size came to depend on is a constant everywhere.
void Checker::freezeParams() {
  result->walk([&](Operation *op) {
    if (auto param = dyn_cast<rl::ParamOp>(op)) {
      if (params[param.getSymName().str()].frozen)
        param.setOpen(false);
    } else if (auto get = dyn_cast<rl::GetParamOp>(op)) {
      const ParamInfo &info = params[get.getParam().str()];
      if (!info.frozen)
        return;
      OpBuilder b(get);
      auto known = rl::ConstantOp::create(b, get.getLoc(),
                                          b.getF64FloatAttr(info.value));
      get.getResult().replaceAllUsesWith(known);
      get.erase();
    }
  });
}

//===----------------------------------------------------------------------===//
// Entry points
//===----------------------------------------------------------------------===//

OwningOpRef<ModuleOp> Checker::run(StringRef text, StringRef path) {
  context.loadDialect<rl::RLDialect, arith::ArithDialect, math::MathDialect>();
  // The file as a whole: no line of it says what errors about all are about.
  result = ModuleOp::create(FileLineColLoc::get(&context, path, 0, 0));
  builder.setInsertionPointToEnd(result->getBody());
  Module *main = addModule(text, path, /*isMain=*/true);
  if (!parsed)
    return {};
  declare(*main);
  std::vector<StringRef> names;
  for (const Decl &decl : main->file->decls)
    if (decl.kind == Decl::param)
      names.push_back(decl.name);
  for (const auto &[name, value] : options.overrides)
    if (!llvm::is_contained(names, StringRef(name))) {
      std::string meant = didYouMean(name, names);
      if (meant.empty())
        meant = names.empty() ? "; the file has none"
                              : "; there are " + llvm::join(names, ", ");
      source.error(SMLoc(),
                   "--set " + name + ": there is no such param" + meant);
    }
  for (const Decl &decl : main->file->decls)
    if (decl.kind == Decl::stage)
      findModified(decl.body);
  unsigned stages = 0;
  for (const Decl &decl : main->file->decls)
    if (decl.kind == Decl::stage) {
      ++stages;
      checkStage(decl, main->env);
    }
  if (!stages && !source.errorCount())
    source.error(SMLoc(), path + ": has no stage: write 'stage train(steps = "
                                 "100) { ... }'");
  if (source.errorCount())
    return {};
  freezeParams();
  // What is written twice is run once; what nothing reads is not run.
  PassManager passes(&context);
  passes.addPass(createCSEPass());
  if (failed(verify(*result)) || failed(passes.run(*result)))
    return {};
  return std::move(result);
}

OwningOpRef<ModuleOp> r1c::step::compileStepText(StringRef text, StringRef path,
                                                 MLIRContext &context,
                                                 const Options &options) {
  Source source(options.diagnostics ? *options.diagnostics : llvm::errs());
  return Checker(source, context, options).run(text, path);
}

OwningOpRef<ModuleOp> r1c::step::compileStepFile(StringRef path,
                                                 MLIRContext &context,
                                                 const Options &options) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer) {
    (options.diagnostics ? *options.diagnostics : llvm::errs())
        << path << ": error: cannot read: " << buffer.getError().message()
        << "\n";
    return {};
  }
  return compileStepText((*buffer)->getBuffer(), path, context, options);
}
