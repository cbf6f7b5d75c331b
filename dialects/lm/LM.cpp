//===- LM.cpp - the lm dialect --------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/lm/LM.h"
#include "llvm/ADT/TypeSwitch.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"

using namespace mlir;
using namespace r1c::lm;

#include "dialects/lm/LMDialect.cpp.inc"
#include "dialects/lm/LMEnums.cpp.inc"

void LMDialect::initialize() {}
