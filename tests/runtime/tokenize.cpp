//===- tokenize.cpp - a model directory's tokenizer, text by text ---------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// usage: tokenize DIR < texts.jsonl
// Each line is a JSON text; for each, {"ids": [...], "text": "decoded"} or
// {"error": "..."}. With a JSON object {"text": ..., "system": ...} the text is
// first put into the model's chat format, which is then given as "prompt". With
// {"template": ..., "variables": {...}} that template is rendered instead, as
// "prompt" alone.
//===----------------------------------------------------------------------===//

#include "runtime/data/jinja/Jinja.h"
#include "runtime/data/tokenizer/Tokenizer.h"
#include "runtime/support/Json.h"
#include <iostream>

using namespace r1c;
using namespace r1c::runtime;

static Json answer(const Tokenizer &tokenizer, const Json &line) {
  Json result;
  std::string text;
  if (line.is_object() && line.contains("template")) {
    Jinja jinja(line.at("template").get<std::string>());
    result["prompt"] = jinja.render(line.at("variables"));
    return result;
  }
  if (line.is_object()) {
    text = tokenizer.chat(line.at("text"), line.value("system", ""));
    result["prompt"] = text;
  } else {
    text = line.get<std::string>();
  }
  std::vector<int32_t> ids = tokenizer.encode(text);
  result["ids"] = ids;
  result["text"] = tokenizer.decode(ids);
  return result;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    std::cerr << "usage: tokenize DIR < texts.jsonl\n";
    return 1;
  }
  try {
    std::unique_ptr<Tokenizer> tokenizer = makeHuggingFace(argv[1]);
    for (std::string line; std::getline(std::cin, line);) {
      Json result;
      try {
        result = answer(*tokenizer, parseJson(line, "standard input"));
      } catch (const Error &error) {
        result["error"] = error.what();
      }
      std::cout << dumpJson(result) << "\n";
    }
  } catch (const Error &error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
