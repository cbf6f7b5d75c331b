//===- NetworkPasses.h - passes on the functions of models ------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_NETWORKPASSES_H
#define R1C_COMPILER_PHASES_NETWORKPASSES_H

#include "dialects/kern/Kern.h"
#include "dialects/lm/LM.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace r1c {

#define GEN_PASS_DECL
#include "compiler/phases/NetworkPasses.h.inc"

#define GEN_PASS_REGISTRATION
#include "compiler/phases/NetworkPasses.h.inc"

} // namespace r1c

#endif // R1C_COMPILER_PHASES_NETWORKPASSES_H
