//===- RL.cpp - the rl dialect --------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/rl/RL.h"
#include "llvm/ADT/TypeSwitch.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"

using namespace mlir;
using namespace r1c::rl;

#include "dialects/rl/RLDialect.cpp.inc"
#include "dialects/rl/RLEnums.cpp.inc"

void RLDialect::initialize() {}
