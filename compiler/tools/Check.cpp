//===- Check.cpp - r1c check: can this step file be trusted? --------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/Check.h"
#include "compiler/phases/Phases.h"
#include "compiler/reference/Loss.h"
#include "compiler/tools/Diagnostics.h"
#include "compiler/tools/Driver.h"
#include "compiler/tools/Register.h"
#include "llvm/Support/SourceMgr.h"

using namespace mlir;
using namespace r1c;

namespace json = llvm::json;

namespace {
/// Policies of one shape, which are checked together.
struct Network {
  ModelConfig config;
  std::string policies, note;
};
} // namespace

static StringRef kindOf(rl::PolicyOp policy) {
  return policy.getInit().getAs<StringAttr>("kind").getValue();
}

/// The shape that stands for policies whose own is not in the step file.
static ModelConfig standIn() {
  ModelConfig config;
  config.layers = 2;
  config.hidden = 64;
  config.heads = 4;
  config.kvHeads = 2;
  config.headDim = 16;
  config.intermediate = 96;
  config.vocabulary = 300;
  config.context = 64;
  return config;
}

/// The networks of `module`, each shape once.
static FailureOr<std::vector<Network>> networksOf(ModuleOp module) {
  std::vector<Network> networks;
  std::vector<Attribute> seen;
  for (auto policy : module.getOps<rl::PolicyOp>()) {
    StringRef kind = kindOf(policy);
    // A copy has the network of what it copies.
    if (kind == "copy")
      continue;
    Network network;
    if (kind == "llama") {
      auto config = ModelConfig::parse(policy.getInit(),
                                       [&] { return policy.emitError(); });
      if (failed(config))
        return failure();
      std::string smaller;
      std::tie(network.config, smaller) = shrink(*config);
      if (!smaller.empty())
        network.note = "made smaller: " + smaller;
    } else {
      // Every part that a decoder can have.
      network.config = standIn();
      network.config.qkvBias = network.config.qkNorm = true;
      network.note = (kind + "(...) is not opened: a small random decoder with "
                             "biases and head norms stands for it")
                         .str();
    }
    Attribute key =
        ArrayAttr::get(module.getContext(),
                       {network.config.toDictionary(module.getContext()),
                        StringAttr::get(module.getContext(), network.note)});
    auto found = llvm::find(seen, key);
    if (found != seen.end()) {
      networks[found - seen.begin()].policies +=
          ", " + policy.getSymName().str();
      continue;
    }
    seen.push_back(key);
    network.policies = policy.getSymName().str();
    networks.push_back(network);
  }
  return networks;
}

/// Says what `r1c compile` would say of the file, without opening what it
/// loads.
static LogicalResult compileAll(ModuleOp module) {
  OwningOpRef<ModuleOp> clone(module.clone());
  Builder builder(module.getContext());
  for (auto policy : clone->getOps<rl::PolicyOp>()) {
    if (kindOf(policy) != "load")
      continue;
    NamedAttrList init(standIn().toDictionary(module.getContext()));
    init.set("kind", builder.getStringAttr("llama"));
    init.set(
        "tokenizer",
        builder.getDictionaryAttr(
            {builder.getNamedAttr("kind", builder.getStringAttr("characters")),
             builder.getNamedAttr("alphabet", builder.getStringAttr("01"))}));
    policy.setInitAttr(init.getDictionary(module.getContext()));
  }
  return runPhases(*clone, {});
}

static LogicalResult check(ModuleOp module, const CheckOptions &options,
                           CheckReport &report) {
  auto networks = networksOf(module);
  if (failed(networks) || failed(compileAll(module)))
    return failure();
  size_t losses = reference::listLosses(module).size();
  for (size_t i = 0; i < losses; ++i)
    if (failed(checkLoss(module, i, options, report)))
      return failure();
  if (options.skipNetwork)
    return success();
  for (const Network &network : *networks) {
    CheckSection &section = report.section(
        (StringRef(network.policies).contains(',') ? "network of policies "
                                                   : "network of policy ") +
        network.policies);
    if (!network.note.empty())
      section.notes.push_back(network.note);
    if (failed(checkNetwork(*module.getContext(), network.config, options,
                            section)))
      return failure();
  }
  return success();
}

int r1c::checkMain(const DriverOptions &options) {
  registerPasses();
  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry);
  context.printOpOnDiagnostic(false);
  llvm::SourceMgr sources;
  Diagnostics diagnostics(sources, &context);
  OwningOpRef<ModuleOp> module = compileStepFile(options, context);
  if (!module)
    return 1;
  CheckOptions checkOptions;
  checkOptions.cpu = options.cpu;
  checkOptions.seed = options.seed;
  checkOptions.skipNetwork = options.skipNetwork;
  checkOptions.mistake = options.mistake;
  CheckReport report;
  if (failed(check(*module, checkOptions, report)))
    return 1;
  if (report.checks() == 0) {
    llvm::errs() << options.file
                 << ": error: nothing to check: no stage has an update; leave "
                    "out --skip-network to check the policies\n";
    return 1;
  }
  if (options.json) {
    llvm::outs() << llvm::formatv(
        "{0:2}\n", json::Value(json::Object{{"file", options.file},
                                            {"seed", int64_t(options.seed)},
                                            {"ok", report.isGood()},
                                            {"sections", report.toJSON()}}));
    return report.isGood() ? 0 : 1;
  }
  report.print(llvm::outs());
  llvm::outs() << options.file << ": ";
  if (report.isGood())
    llvm::outs() << "all " << report.checks() << " checks ok";
  else
    llvm::outs() << report.failures() << " of " << report.checks()
                 << " checks FAILED";
  llvm::outs() << " (--seed " << options.seed << ")\n";
  return report.isGood() ? 0 : 1;
}
