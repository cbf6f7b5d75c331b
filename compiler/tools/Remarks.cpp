//===- Remarks.cpp - what the compiler says of its decisions --------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/Remarks.h"
#include "compiler/Place.h"
#include "mlir/Remark/RemarkStreamer.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Regex.h"

#include <map>

using namespace mlir;
using namespace r1c;
using remark::detail::Remark;

/// In the order in which a compilation comes to them.
static constexpr llvm::StringLiteral allCategories[] = {"differentiate", "fuse",
                                                        "schedule", "target"};

std::string r1c::remarkCategories() {
  return llvm::join(llvm::ArrayRef(allCategories), ", ");
}

static llvm::Regex regexOf(llvm::StringRef categories) {
  return llvm::Regex(("^(" + categories + ")$").str());
}

std::string r1c::refusedCategories(llvm::StringRef categories) {
  llvm::Regex regex = regexOf(categories);
  std::string error;
  if (!regex.isValid(error))
    return "'" + categories.str() + "' is no regular expression: " + error;
  if (llvm::any_of(allCategories, [&](auto each) { return regex.match(each); }))
    return "";
  return "'" + categories.str() +
         "' matches no category; there are: " + remarkCategories();
}

namespace {
struct Keeper : remark::detail::MLIRRemarkStreamerBase {
  explicit Keeper(std::vector<Remark> &kept) : kept(kept) {}
  void streamOptimizationRemark(const Remark &remark) override {
    kept.push_back(remark);
  }
  std::vector<Remark> &kept;
};
} // namespace

void Remarks::enable(MLIRContext &context) {
  remark::RemarkCategories categories;
  for (std::optional<std::string> *kind :
       {&categories.passed, &categories.missed, &categories.analysis})
    *kind = llvm::join(llvm::ArrayRef(allCategories), "|");
  // Fails only where there is an engine already.
  (void)remark::enableOptimizationRemarks(
      context, std::make_unique<Keeper>(kept),
      std::make_unique<remark::RemarkEmittingPolicyAll>(), categories);
}

/// "step.r1:8:8: ", or nothing: without folders, of which there are few.
static std::string placeOf(Location loc) {
  auto file = loc->findInstanceOf<FileLineColLoc>();
  return file ? placeText(llvm::sys::path::filename(file.getFilename()), file) +
                    ": "
              : "";
}

/// The sentence, without the numbers that are beside it for tools.
static std::string sentenceOf(const Remark &remark) {
  std::string text;
  for (const Remark::Arg &arg : remark.getArgs())
    if (arg.key == "Remark")
      text += arg.val;
    else if (arg.key == "Reason")
      text += ": " + arg.val;
  return text;
}

/// "layer, .train, .cached": a form of the first by what it adds to it.
static std::string functionsText(llvm::ArrayRef<llvm::StringRef> functions) {
  constexpr size_t most = 3;
  std::string text;
  for (auto [i, function] : llvm::enumerate(functions.take_front(most))) {
    llvm::StringRef name = function;
    if (i && name.consume_front(functions[0]) && !name.starts_with("."))
      name = function;
    text += (i ? ", " : "") + name.str();
  }
  if (functions.size() > most)
    text += llvm::formatv(" and {0} more", functions.size() - most);
  return text.empty() ? text : text + ": ";
}

void Remarks::print(llvm::StringRef categories, llvm::raw_ostream &out) const {
  llvm::Regex regex = regexOf(categories);
  for (llvm::StringRef category : allCategories) {
    if (!regex.match(category))
      continue;
    // What is said in the same words at the same place, of which functions.
    llvm::MapVector<std::pair<std::string, std::string>,
                    SmallVector<llvm::StringRef>,
                    std::map<std::pair<std::string, std::string>, unsigned>>
        lines;
    for (const Remark &each : kept) {
      if (each.getCategoryName() != category)
        continue;
      auto &functions = lines[{placeOf(each.getLocation()), sentenceOf(each)}];
      llvm::StringRef function = each.getFunction();
      if (!function.starts_with("<") &&
          !llvm::is_contained(functions, function))
        functions.push_back(function);
    }
    if (lines.empty())
      continue;
    auto sorted = lines.takeVector();
    // Kernels are built in parts: by name, and number.
    if (category == "target")
      for (auto &[line, functions] : sorted)
        llvm::sort(functions, [](llvm::StringRef a, llvm::StringRef b) {
          return a.compare_numeric(b) < 0;
        });
    auto order = llvm::to_vector(llvm::seq(sorted.size()));
    if (category == "target")
      llvm::sort(order, [&](size_t a, size_t b) {
        auto name = [&](size_t i) {
          return sorted[i].second.empty() ? llvm::StringRef()
                                          : sorted[i].second.front();
        };
        int difference = name(a).compare_numeric(name(b));
        return difference ? difference < 0 : a < b;
      });
    out << category << "\n";
    for (size_t i : order) {
      const auto &[line, functions] = sorted[i];
      out << "  " << line.first << functionsText(functions) << line.second
          << "\n";
    }
  }
}

bool Remarks::writeYaml(llvm::StringRef path) const {
  // The streamer says nothing of what goes wrong when it opens its file.
  std::error_code error;
  llvm::raw_fd_ostream probe(path, error, llvm::sys::fs::OF_Append);
  probe.close();
  if (error || probe.has_error()) {
    probe.clear_error();
    return false;
  }
  auto yaml = remark::detail::LLVMRemarkStreamer::createToFile(
      path, llvm::remarks::Format::YAML);
  if (failed(yaml))
    return false;
  for (const Remark &each : kept)
    (*yaml)->streamOptimizationRemark(each);
  (*yaml)->finalize();
  return true;
}
