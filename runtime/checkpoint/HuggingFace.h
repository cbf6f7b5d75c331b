//===- HuggingFace.h - policies as Hugging Face directories -----*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_CHECKPOINT_HUGGINGFACE_H
#define R1C_RUNTIME_CHECKPOINT_HUGGINGFACE_H

#include "runtime/support/Json.h"
#include <filesystem>

namespace r1c::runtime {

class Policy;

/// Writes config.json, generation_config.json, model.safetensors (float32) and
/// the tokenizer's files, atomically. The directory loads as a
/// LlamaForCausalLM (Qwen2, Qwen3 where the model has their additions).
void saveHuggingFace(const std::filesystem::path &directory,
                     const Policy &policy);

/// config.json from a policy's "model" (dialects/rt/README.md).
nlohmann::ordered_json huggingFaceConfig(const Policy &policy);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_CHECKPOINT_HUGGINGFACE_H
