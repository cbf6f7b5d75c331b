//===- PreTokenizer.cpp - cutting a text into pieces ----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/tokenizer/PreTokenizer.h"

namespace r1c::runtime {

namespace {

/// The pattern of GPT-2, which the pre-tokenizer "ByteLevel" means.
constexpr const char *gpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

} // namespace

PreTokenizer::PreTokenizer(const Fields &description) {
  read(description);
  if (!byteLevel)
    throw Error(description.where(),
                ": has no ByteLevel; only byte-level BPE is known");
}

void PreTokenizer::read(const Fields &step) {
  std::string type = step.text("type");
  if (type == "Sequence")
    return step.forEach("pretokenizers",
                        [&](const Fields &each) { read(each); });
  Step result;
  if (type == "Digits") {
    result.pattern.emplace(step.flag("individual_digits", false) ? "\\p{N}"
                                                                 : "\\p{N}+");
  } else if (type == "Split") {
    std::string behavior = step.text("behavior");
    bool invert = step.flag("invert", false);
    // The pieces are the matches; texts between them are pieces, or dropped.
    if (behavior == "Removed" && invert)
      result.keepsGaps = false;
    else if (behavior != "Isolated" || invert)
      throw Error(step.where(), ": a Split with behavior ", behavior,
                  invert ? ", inverted," : "",
                  " is not known; there are Isolated, and Removed inverted");
    Fields pattern = step.object("pattern");
    if (!pattern.has("Regex"))
      throw Error(pattern.where(), ": only a 'Regex' is known");
    within([&] { return pattern.where(); },
           [&] { result.pattern.emplace(pattern.text("Regex")); });
  } else if (type == "ByteLevel") {
    byteLevel = true;
    result.prefixSpace = step.flag("add_prefix_space", true);
    if (step.flag("use_regex", true))
      result.pattern.emplace(gpt2Pattern);
  } else {
    throw Error(step.where(), ": no pre-tokenizer ", type,
                "; there are Sequence, Split, Digits and ByteLevel");
  }
  steps.push_back(std::move(result));
}

std::vector<std::string> PreTokenizer::split(std::string_view text) const {
  std::vector<std::string> pieces = {std::string(text)};
  for (const Step &step : steps) {
    if (step.prefixSpace)
      for (std::string &piece : pieces)
        if (piece[0] != ' ')
          piece.insert(0, " ");
    if (!step.pattern)
      continue;
    std::vector<std::string> finer;
    for (const std::string &piece : pieces)
      step.pattern->split(piece, [&](std::string_view part, bool matches) {
        if (matches || step.keepsGaps)
          finer.emplace_back(part);
      });
    pieces = std::move(finer);
  }
  return pieces;
}

} // namespace r1c::runtime
