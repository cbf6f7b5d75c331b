//===- HuggingFace.h - a Hugging Face model directory as a policy -*- C++ -*-=//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Only config.json is read here: what shape the model has. Weights, tokenizer
// and end tokens are the runtime's, and may change without compiling again.
//===----------------------------------------------------------------------===//

#ifndef R1C_FRONTENDS_HF_HUGGINGFACE_H
#define R1C_FRONTENDS_HF_HUGGINGFACE_H

#include "mlir/IR/BuiltinOps.h"

namespace r1c::hf {

/// Gives every `rl.policy` of kind "load" the sizes of its model, in the keys
/// that `ModelConfig` reads, and its tokenizer. Directories are looked for
/// below `base`, then from the working directory. A `context` that the step
/// file gives stays, and may not exceed the model's; else it is what the
/// samples of the program can need with prompts of up to 1024 tokens. Reports
/// at the policy what cannot be read and which kinds of model are not
/// supported, and at a sample that it takes more tokens than its policy has.
llvm::LogicalResult readPolicies(mlir::ModuleOp module, llvm::StringRef base);

/// The sizes in the text of a config.json: every key of `ModelConfig`, except
/// those at their default. `emitError` names the file.
llvm::FailureOr<mlir::DictionaryAttr>
readConfig(mlir::MLIRContext *context, llvm::StringRef text,
           llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

} // namespace r1c::hf

#endif // R1C_FRONTENDS_HF_HUGGINGFACE_H
