//===- Eval.cpp - r1c eval: a loss and its gradient on given values -------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/CompiledUpdate.h"
#include "compiler/tools/Diagnostics.h"
#include "compiler/tools/Driver.h"
#include "compiler/tools/EvalInput.h"
#include "compiler/tools/Register.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/SourceMgr.h"

using namespace mlir;
using namespace r1c;
using reference::Axes;
using reference::Column;

namespace json = llvm::json;

namespace {

class Evaluation {
public:
  Evaluation(ModuleOp module, EvalInput &input, const DriverOptions &options)
      : module(module), input(input), options(options) {}

  /// Prints the result; false after an error has been printed.
  bool run();

private:
  bool fail(const llvm::Twine &message) {
    llvm::errs() << "error: " << message << "\n";
    return false;
  }
  bool fail(llvm::Error error) {
    return fail(options.in + ": " + llvm::toString(std::move(error)));
  }
  template <typename T>
  std::optional<Column> unwrap(llvm::Expected<T> given) {
    if (given)
      return std::optional<Column>(std::move(*given));
    if (isGood)
      fail(given.takeError());
    else
      llvm::consumeError(given.takeError());
    isGood = false;
    return std::nullopt;
  }
  std::optional<Column> leaf(Operation *op);
  std::string describe(Operation *op);
  bool bindLets();
  bool checkMissing();
  bool runCompiled();
  json::Value jsonOf(Value value);
  json::Value gradient(Value seeds, rl::Axis axis);
  json::Object metrics();

  ModuleOp module;
  EvalInput &input;
  const DriverOptions &options;
  reference::Loss loss;
  std::map<std::string, Axes> sets;
  std::optional<reference::Formulas> formulas;
  bool isGood = true;
};

} // namespace

std::optional<Column> Evaluation::leaf(Operation *op) {
  auto setOf = [](Value outputs) {
    return cast<rl::OutputsType>(outputs.getType()).getSet();
  };
  using Result = std::optional<Column>;
  auto policyRead = [&](auto read, StringRef kind) -> Result {
    // The updated policy outside its update has other weights: a `let`.
    bool isUpdated = read.getPolicy() == loss.policy();
    if (isUpdated != loss.update->isProperAncestor(read) ||
        setOf(read.getOutputs()) != loss.set())
      return std::nullopt;
    return unwrap(input.policyValues(
        kind, read.getPolicy(), read.getResult().getType(), sets[loss.set()]));
  };
  auto number = [](std::optional<double> value) -> Result {
    return value ? Result(Column{{*value}, {}}) : std::nullopt;
  };
  return TypeSwitch<Operation *, Result>(op)
      .Case([&](rl::FieldOp field) -> Result {
        std::string set = setOf(field.getOutputs()).str();
        return unwrap(input.field(set, field.getName(),
                                  field.getResult().getType(), sets[set]));
      })
      .Case([&](rl::LogprobOp read) { return policyRead(read, "logp"); })
      .Case([&](rl::EntropyOp read) { return policyRead(read, "entropy"); })
      .Case([&](rl::ValueOp read) { return policyRead(read, "value"); })
      .Case([&](rl::GetParamOp get) -> Result {
        auto param = module.lookupSymbol<rl::ParamOp>(get.getParam());
        return param ? number(param.getValue().convertToDouble())
                     : std::nullopt;
      })
      .Case(
          [&](rl::StepOp) { return number(input.number("step").value_or(0)); })
      .Case([&](rl::StepsOp) -> Result {
        if (auto steps = input.number("steps"))
          return number(steps);
        if (loss.stage.getLimit() == rl::Limit::steps)
          return number(loss.stage.getCount());
        return std::nullopt;
      })
      .Default([](Operation *) -> Result { return std::nullopt; });
}

/// What is missing, and how to give it.
std::string Evaluation::describe(Operation *op) {
  auto letIt = [&]() -> std::string {
    if (auto named = dyn_cast<NameLoc>(op->getLoc()))
      return ("\"let\": {\"" + named.getName().getValue() + "\": ...}").str();
    return "give it a name in the step file, then \"let\": {\"NAME\": ...}";
  };
  auto policyRead = [&](auto read, StringRef kind, StringRef shape) {
    std::string text =
        (kind + "(" + read.getPolicy() + ", " +
         cast<rl::OutputsType>(read.getOutputs().getType()).getSet() + ")")
            .str();
    bool isUpdated = read.getPolicy() == loss.policy();
    if (isUpdated != loss.update->isProperAncestor(read))
      return text + " before the update: " + letIt();
    return text + ": \"" + kind.str() + "\": {\"" + read.getPolicy().str() +
           "\": " + shape.str() + "}";
  };
  return TypeSwitch<Operation *, std::string>(op)
      .Case([&](rl::LogprobOp read) {
        return policyRead(read, "logp", "[[one a token]]");
      })
      .Case([&](rl::EntropyOp read) {
        return policyRead(read, "entropy", "[[one a token]]");
      })
      .Case([&](rl::ValueOp read) {
        return policyRead(read, "value", "[one a sequence]");
      })
      .Case([&](rl::FieldOp field) {
        return (cast<rl::OutputsType>(field.getOutputs().getType()).getSet() +
                "." + field.getName() + ": \"" + field.getName() +
                "\" in every sequence")
            .str();
      })
      .Case([&](rl::CallOp call) {
        return call.getCallee().str() + "(...): " + letIt();
      })
      .Case([&](rl::TextOp text) {
        return text.getFunction().str() + "(...): " + letIt();
      })
      .Case([&](rl::StepsOp) { return std::string("steps: \"steps\": N"); })
      .Default([&](Operation *other) {
        return (other->getName().getStringRef() + ": ").str() + letIt();
      });
}

bool Evaluation::checkMissing() {
  if (!isGood)
    return false;
  if (formulas->missing().empty())
    return true;
  std::string text = "the loss reads what " + options.in + " does not give:";
  for (Operation *op : formulas->missing())
    text += "\n  " + reference::placeOf(op->getLoc()) + ": " + describe(op);
  return fail(text);
}

bool Evaluation::bindLets() {
  for (const std::string &name : input.letNames()) {
    auto found = loss.names.find(name);
    if (found == loss.names.end()) {
      std::string names;
      for (auto &entry : loss.names)
        names += (names.empty() ? "" : ", ") + entry.first.str();
      return fail(options.in + ": let." + name +
                  ": neither the stage nor the loss computes a value of that "
                  "name; there are " +
                  names);
    }
    for (Value value : found->second) {
      Type type = value.getType();
      auto column = unwrap(input.let(name, type, sets[rl::getSet(type).str()]));
      if (!column)
        return false;
      formulas->bind(value, std::move(*column));
    }
  }
  return true;
}

json::Value Evaluation::jsonOf(Value value) {
  const Column *column = formulas->evaluate(value);
  if (!column)
    return nullptr;
  return toJSON(*column, value.getType(),
                formulas->axesOf(rl::getSet(value.getType())));
}

/// The derivative for each element; all 0 where the loss does not read it.
json::Value Evaluation::gradient(Value seeds, rl::Axis axis) {
  if (seeds)
    return jsonOf(seeds);
  Column zeros;
  zeros.numbers.assign(formulas->axesOf(loss.set()).size(axis), 0);
  return toJSON(zeros, rl::NumType::get(module.getContext(), axis, loss.set()),
                formulas->axesOf(loss.set()));
}

json::Object Evaluation::metrics() {
  json::Object result;
  for (Block *block : {&loss.stage.getBody().front(), loss.update->getBlock(),
                       &loss.update.getBody().front()})
    for (auto metric : block->getOps<rl::MetricOp>())
      if (!result.get(metric.getName()))
        result[metric.getName().str()] = jsonOf(metric.getValue());
  return result;
}

/// What the kernels give takes the place of what the interpreter says.
bool Evaluation::runCompiled() {
  CompiledUpdate::Options compile;
  compile.cpu = options.cpu;
  compile.isGiven = [&](Value value) { return formulas->isBound(value); };
  auto compiled = CompiledUpdate::compile(module, loss, compile);
  if (failed(compiled))
    return false;
  auto results = (*compiled)->run(*formulas);
  if (failed(results))
    return false;
  for (auto &[value, column] : *results)
    formulas->bind(value, column);
  return true;
}

bool Evaluation::run() {
  auto prepared = reference::prepareLoss(module, options.stage, options.loss,
                                         input.letNames());
  if (failed(prepared))
    return false;
  loss = *prepared;
  auto axes = input.axes(loss.set(), loss.policy());
  if (!axes)
    return fail(axes.takeError());
  sets = *axes;
  formulas.emplace(sets, [this](Operation *op) { return leaf(op); });
  if (!bindLets())
    return false;

  // The loss first: what it needs must be there.
  formulas->evaluate(loss.value);
  for (Value seeds : loss.backward->getOperands())
    if (isa<rl::NumType>(seeds.getType()))
      formulas->evaluate(seeds);
  if (!checkMissing())
    return false;
  if (options.evaluateOn == "cpu" && !runCompiled())
    return false;
  // Names and metrics that read what is not given are null.
  json::Object values;
  for (auto &[name, named] : loss.names)
    for (auto [i, value] : llvm::enumerate(named))
      values[i ? llvm::formatv("{0}#{1}", name, i + 1).str() : name.str()] =
          jsonOf(value);
  json::Object gradients{
      {"logp", gradient(loss.backward.getSeeds(), rl::Axis::token)},
      {"entropy", gradient(loss.backward.getEntropySeeds(), rl::Axis::token)}};
  if (Value seeds = loss.backward.getValueSeeds())
    gradients["value"] = gradient(seeds, rl::Axis::sequence);
  json::Object result{{"loss", jsonOf(loss.value)},
                      {"gradient", std::move(gradients)},
                      {"values", std::move(values)},
                      {"metrics", metrics()}};
  llvm::outs() << llvm::formatv("{0:2}\n", json::Value(std::move(result)));
  return isGood;
}

int r1c::evalMain(const DriverOptions &options) {
  auto fail = [](const llvm::Twine &message) {
    llvm::errs() << "error: " << message << "\n";
    return 1;
  };
  if (options.evaluateOn != "reference" && options.evaluateOn != "cpu")
    return fail("there is no target '" + options.evaluateOn +
                "': write --target reference or --target cpu");
  auto text = llvm::MemoryBuffer::getFileOrSTDIN(options.in);
  if (!text)
    return fail("cannot read " + options.in + ": " + text.getError().message());
  auto input = EvalInput::parse((*text)->getBuffer());
  if (!input)
    return fail(options.in + ": " + llvm::toString(input.takeError()));

  registerPasses();
  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry);
  llvm::SourceMgr sources;
  Diagnostics diagnostics(sources, &context);
  OwningOpRef<ModuleOp> module = compileStepFile(options, context);
  if (!module)
    return 1;
  return Evaluation(*module, *input, options).run() ? 0 : 1;
}
