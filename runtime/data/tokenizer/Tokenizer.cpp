//===- Tokenizer.cpp - texts and token ids --------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/tokenizer/Tokenizer.h"
#include "runtime/support/Files.h"

namespace r1c::runtime {

std::string Tokenizer::chat(const std::string &, const std::string &) const {
  throw Error("this tokenizer has no chat format; write the prompt as a plain "
              "template");
}

std::unique_ptr<Tokenizer> makeTokenizer(const Fields &description,
                                         const Base &base) {
  std::string kind = description.text("kind");
  if (kind == "characters")
    return makeCharacters(description.text("alphabet"));
  if (kind == "huggingface") {
    auto directory = resolvePath(description.text("path"), base);
    // A directory that `save` wrote for a policy of characters.
    auto own = directory / "r1c_tokenizer.json";
    if (std::filesystem::exists(own)) {
      Json json = parseJson(readFile(own), own.string());
      return makeCharacters(Fields(json, own.string()).text("alphabet"));
    }
    return makeHuggingFace(directory);
  }
  throw Error(description.where(), ": no tokenizer kind '", kind,
              "'; there are characters and huggingface");
}

} // namespace r1c::runtime
