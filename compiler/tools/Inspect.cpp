//===- Inspect.cpp - r1c inspect ------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/Driver.h"
#include "runtime/artifact/Artifact.h"
#include "runtime/support/Error.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <set>

using namespace r1c;
namespace json = llvm::json;

namespace {

std::string bytesText(double bytes) {
  for (const char *unit : {"B", "KiB", "MiB", "GiB"}) {
    if (bytes < 1024 || unit[0] == 'G')
      return llvm::formatv(bytes < 10 ? "{0:f1} {1}" : "{0:f0} {1}", bytes,
                           unit);
    bytes /= 1024;
  }
  return "";
}

/// What a kernel's launches of few rows take instead of it (`few_rows`).
std::vector<const json::Object *> othersOf(const json::Object &kernel) {
  std::vector<const json::Object *> others;
  if (const json::Object *launch = kernel.getObject("launch"))
    if (const json::Array *list = launch->getArray("few_rows"))
      for (const json::Value &value : *list)
        if (const json::Object *other = value.getAsObject())
          others.push_back(other);
  return others;
}

void printMemory(const json::Object &manifest) {
  double total = 0;
  std::map<std::string, double> apart;
  for (const json::Value &buffer : *manifest.getArray("buffers")) {
    const json::Object &object = *buffer.getAsObject();
    // As the plan rounds them.
    apart[object.getString("arena")->str()] += llvm::alignTo(
        std::max<int64_t>(object.getInteger("bytes").value_or(0), 1), 64);
  }
  llvm::outs() << "memory plan\n";
  for (const json::Value &arena : *manifest.getArray("arenas")) {
    const json::Object &object = *arena.getAsObject();
    double bytes = object.getNumber("bytes").value_or(0);
    total += bytes;
    llvm::StringRef name = *object.getString("name");
    llvm::outs() << llvm::formatv("  {0,-28} {1,12}", name, bytesText(bytes));
    if (apart[name.str()] > bytes)
      llvm::outs() << ", " << bytesText(apart[name.str()])
                   << " if each buffer had its own";
    llvm::outs() << "\n";
  }
  // Of attention and column sums on a GPU: loaded with the kernels, beside the
  // arenas.
  double own = 0;
  auto add = [&](const json::Object &kernel) {
    if (const json::Object *usage = kernel.getObject("usage"))
      own += usage->getNumber("own").value_or(0);
  };
  for (const json::Value &value : *manifest.getArray("kernels")) {
    const json::Object &kernel = *value.getAsObject();
    add(kernel);
    for (const json::Object *other : othersOf(kernel))
      add(*other);
  }
  if (own > 0)
    llvm::outs() << llvm::formatv("  {0,-28} {1,12}\n", "kernels' own",
                                  bytesText(own));
  llvm::outs() << llvm::formatv("  {0,-28} {1,12}\n", "all",
                                bytesText(total + own));
}

/// Where a command comes from, without the folders of the file.
llvm::StringRef placeOf(const json::Object &command) {
  return llvm::sys::path::filename(command.getString("loc").value_or(""));
}

/// The commands of programs and stages, and what they come to.
class Listing {
public:
  explicit Listing(const json::Array &all) : all(all) {
    for (const json::Value &value : all) {
      const json::Object &kernel = *value.getAsObject();
      kernels[kernel.getString("name")->str()] = {&kernel};
    }
  }
  /// One line a command, indented by its depth.
  void print(const json::Array &body, unsigned depth = 0, int64_t times = 1);
  /// One line a kernel that some command dispatches.
  void printKernels() const;

  std::vector<std::string> collectives;

private:
  struct Kernel {
    const json::Object *object = nullptr;
    unsigned commands = 0;
  };
  llvm::StringRef purpose(llvm::StringRef kernel) const {
    return kernels.at(kernel.str()).object->getString("what").value_or("");
  }

  const json::Array &all; ///< kernels in order
  std::map<std::string, Kernel> kernels;
};

void Listing::print(const json::Array &body, unsigned depth, int64_t times) {
  for (const json::Value &value : body) {
    const json::Object &command = *value.getAsObject();
    llvm::StringRef op = command.getString("op").value_or("");
    std::string what;
    for (const char *key :
         {"kernel", "policy", "function", "field", "name", "program"})
      if (auto text = command.getString(key))
        what += (" " + *text).str();
    std::string place = placeOf(command).str();
    if (op == "dispatch") {
      llvm::StringRef kernel = *command.getString("kernel");
      ++kernels[kernel.str()].commands;
      if (!purpose(kernel).empty())
        what += (" " + purpose(kernel)).str();
    }
    if (op == "gather") {
      size_t count = command.getArray("values")->size();
      collectives.push_back(
          llvm::formatv("gather of {0} value{1} a token ({2})", count,
                        count == 1 ? "" : "s", place));
    }
    if (op == "reduce_start") {
      int64_t count = 0;
      for (const json::Value &each : *command.getArray("counts"))
        count += *each.getAsInteger();
      collectives.push_back(llvm::formatv(
          "{0} buckets of {1} x f32, {2} each, begun in the backward ({3})",
          times, count, bytesText(4.0 * count), place));
    }
    if (op == "all_reduce")
      collectives.push_back(llvm::formatv(
          "{0} x {1}, {2}, with the buckets begun before ({3})",
          command.getInteger("count").value_or(0), *command.getString("dtype"),
          bytesText(4.0 * command.getInteger("count").value_or(0)), place));
    llvm::outs() << llvm::formatv("  {0}{1}{2}  {3}\n",
                                  std::string(2 * depth, ' '), op, what, place);
    if (const json::Array *inner = command.getArray("body"))
      print(*inner, depth + 1,
            op == "loop"
                ? (*command.getInteger("to") - *command.getInteger("from")) /
                      *command.getInteger("step")
                : times);
  }
}

void Listing::printKernels() const {
  llvm::outs() << "kernels: how many commands call each, and its work\n";
  for (const json::Value &value : all) {
    std::string name = value.getAsObject()->getString("name")->str();
    const Kernel &kernel = kernels.at(name);
    if (!kernel.commands)
      continue;
    std::string line = llvm::formatv(
        "  {0,-36} {1,4}", (name + " " + purpose(name)).str(), kernel.commands);
    auto number = [&](const json::Object *of, const char *key) {
      return of ? of->getNumber(key).value_or(0) : 0;
    };
    if (double flops = number(kernel.object, "flops_per_row"))
      line += llvm::formatv("  {0:f3} Mflop a row, {1} once", flops / 1e6,
                            bytesText(number(kernel.object, "bytes")));
    auto shape = [&](const json::Object &of) {
      const json::Object *usage = of.getObject("usage");
      std::string text;
      if (const json::Object *launch = of.getObject("launch"))
        text += llvm::formatv(
            "  {0:f0} threads, {1} shared", number(launch, "threads"),
            bytesText(number(launch, "shared") + number(usage, "shared")));
      if (usage)
        text +=
            llvm::formatv(", {0:f0} registers{1}", number(usage, "registers"),
                          number(usage, "spilled") ? ", spills" : "");
      return text;
    };
    llvm::outs() << line << shape(*kernel.object) << "\n";
    for (const json::Object *other : othersOf(*kernel.object))
      if (other->getObject("usage"))
        llvm::outs() << llvm::formatv("    {0,-34}     ",
                                      llvm::formatv("up to {0:f0} rows",
                                                    number(other, "rows"))
                                          .str())
                     << shape(*other) << "\n";
  }
}

/// What a pass over the chunks of a set does, in its own commands.
struct Pass {
  bool rebuilds = false, learns = false;
  int64_t layersForward = 0, layersBackward = 0;

  void add(const json::Array &body) {
    for (const json::Value &value : body) {
      const json::Object &command = *value.getAsObject();
      llvm::StringRef op = *command.getString("op");
      rebuilds |= op == "rebuild";
      learns |= op == "learn";
      if (op == "loop") {
        int64_t from = *command.getInteger("from"),
                to = *command.getInteger("to");
        (to > from ? layersForward : layersBackward) += std::abs(to - from);
      } else if (const json::Array *inner = command.getArray("body")) {
        add(*inner);
      }
    }
  }
};

/// One line for each pass over a model in a round of a stage, and for what is
/// read in the place of one; `active` gets the policies that have passes.
void printPasses(const json::Array &body, int64_t times,
                 std::set<std::string> &active) {
  for (const json::Value &value : body) {
    const json::Object &command = *value.getAsObject();
    llvm::StringRef op = *command.getString("op");
    llvm::StringRef place = placeOf(command);
    std::string policy = command.getString("policy").value_or("").str();
    if (op == "sample") {
      active.insert(policy);
      llvm::outs() << "  1 x " << policy << ": sampling  " << place << "\n";
    } else if (op == "column" && command.getString("field") == "logp" &&
               !command.getBoolean("view").value_or(false)) {
      llvm::outs() << "  no pass: recorded log-probabilities  " << place
                   << "\n";
    } else if (op == "chunks") {
      active.insert(policy);
      Pass pass;
      pass.add(*command.getArray("body"));
      llvm::outs() << "  " << times << " x " << policy << ": "
                   << (!pass.learns    ? "forward"
                       : pass.rebuilds ? "forward again, and backward"
                                       : "forward and backward")
                   << llvm::formatv("; a chunk calls {0} layers forward, {1} "
                                    "backward  {2}\n",
                                    pass.layersForward, pass.layersBackward,
                                    place);
      continue;
    }
    if (const json::Array *inner = command.getArray("body"))
      printPasses(*inner,
                  op == "update"
                      ? command.getInteger("minibatches").value_or(1) *
                            command.getInteger("epochs").value_or(1)
                      : times,
                  active);
  }
}

void printPasses(const json::Object &manifest) {
  std::set<std::string> active;
  for (const json::Value &value : *manifest.getArray("stages")) {
    const json::Object &stage = *value.getAsObject();
    llvm::outs() << "passes of a round of stage " << *stage.getString("name")
                 << "\n";
    printPasses(*stage.getArray("body"), 1, active);
  }
  for (const json::Value &value : *manifest.getArray("policies")) {
    llvm::StringRef name = *value.getAsObject()->getString("name");
    if (!active.count(name.str()))
      llvm::outs() << "  no pass at all: policy " << name << "\n";
  }
}

} // namespace

int r1c::inspectMain(const DriverOptions &options) {
  runtime::Artifact artifact;
  try {
    artifact = runtime::readArtifact(options.file);
  } catch (const Error &error) {
    llvm::errs() << "error: " << error.what() << "\n";
    return 1;
  }
  if (options.json) {
    llvm::outs() << artifact.manifest << "\n";
    return 0;
  }
  llvm::Expected<json::Value> parsed = json::parse(artifact.manifest);
  if (!parsed) {
    llvm::errs() << "error: " << options.file
                 << ": manifest.json: " << llvm::toString(parsed.takeError())
                 << "\n";
    return 1;
  }
  const json::Object &manifest = *parsed->getAsObject();
  const json::Object &target = *manifest.getObject("target");
  llvm::StringRef kind = *target.getString("kind");
  // Of a GPU the machine for which the memory was planned.
  std::string machine =
      kind == "cuda"
          ? " (" + target.getString("features").value_or("").str() + ")"
          : "";
  llvm::outs() << llvm::formatv(
      "{0}: {1}, target {2} {3}{4}, kernels {5}, constants {6}\n", options.file,
      *manifest.getString("producer"), kind, *target.getString("cpu"), machine,
      bytesText(artifact.kernels.size()), bytesText(artifact.constants.size()));
  printMemory(manifest);
  printPasses(manifest);
  Listing listing(*manifest.getArray("kernels"));
  for (const auto &entry : *manifest.getObject("programs")) {
    llvm::outs() << "program " << entry.first << "\n";
    listing.print(*entry.second.getAsArray());
  }
  for (const json::Value &value : *manifest.getArray("stages")) {
    const json::Object &stage = *value.getAsObject();
    llvm::outs() << llvm::formatv(
        "stage {0}: {1} {2}\n", *stage.getString("name"),
        stage.getInteger("count").value_or(0), *stage.getString("limit"));
    listing.print(*stage.getArray("body"));
  }
  listing.printKernels();
  llvm::outs() << "collectives, in order\n";
  for (const std::string &line : listing.collectives)
    llvm::outs() << "  " << line << "\n";
  return 0;
}
