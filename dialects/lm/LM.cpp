//===- LM.cpp - the lm dialect --------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/lm/LM.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c::lm;

#include "dialects/lm/LMDialect.cpp.inc"
#include "dialects/lm/LMEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/lm/LMAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/lm/LMTypes.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/lm/LMOps.cpp.inc"

void LMDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/lm/LMTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/lm/LMAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/lm/LMOps.cpp.inc"
      >();
}

ParameterOp ModelOp::getParameter(StringRef name) {
  for (auto parameter : getBody().getOps<ParameterOp>())
    if (parameter.getParameter() == name)
      return parameter;
  return {};
}
