//===- Json.h - JSON that users give ----------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_FRONTENDS_JSON_JSON_H
#define R1C_FRONTENDS_JSON_JSON_H

#include "llvm/Support/JSON.h"

namespace r1c {

/// llvm::json::parse for texts from outside. That goes down by recursion, and
/// so does what destroys its values: what is nested more than 1000 deep, as the
/// runtime's limit is, is an error with its place.
llvm::Expected<llvm::json::Value> parseJson(llvm::StringRef text);

} // namespace r1c

#endif // R1C_FRONTENDS_JSON_JSON_H
