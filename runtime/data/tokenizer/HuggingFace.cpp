//===- HuggingFace.cpp - tokenizer.json, byte-level BPE -------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/tokenizer/Tokenizer.h"

namespace r1c::runtime {

std::unique_ptr<Tokenizer>
makeHuggingFace(const std::filesystem::path &directory) {
  throw Error(directory.string(),
              ": this runtime cannot read Hugging Face tokenizers yet");
}

} // namespace r1c::runtime
