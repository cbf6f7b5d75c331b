//===- RT.cpp - the rt dialect --------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/rt/RT.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c::rt;

#include "dialects/rt/RTDialect.cpp.inc"
#include "dialects/rt/RTEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/rt/RTAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/rt/RTOps.cpp.inc"

void RTDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/rt/RTAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/rt/RTOps.cpp.inc"
      >();
}

// `<@buffer>`, `<@buffer + 64>`, `<@buffer + 64 + 128 * i>`
Attribute RefAttr::parse(AsmParser &parser, Type) {
  FlatSymbolRefAttr buffer;
  int64_t offset = 0, stride = 0;
  if (parser.parseLess() || parser.parseAttribute(buffer))
    return {};
  while (succeeded(parser.parseOptionalPlus())) {
    int64_t number = 0;
    if (parser.parseInteger(number))
      return {};
    if (succeeded(parser.parseOptionalStar())) {
      if (parser.parseKeyword("i"))
        return {};
      stride = number;
    } else {
      offset = number;
    }
  }
  if (parser.parseGreater())
    return {};
  return RefAttr::get(parser.getContext(), buffer, offset, stride);
}

void RefAttr::print(AsmPrinter &printer) const {
  printer << "<" << getBuffer();
  if (getOffset())
    printer << " + " << getOffset();
  if (getStride())
    printer << " + " << getStride() << " * i";
  printer << ">";
}

LogicalResult BufferOp::verify() {
  if (int64_t(getOffset()) < 0 || int64_t(getBytes()) < 0)
    return emitOpError("has a negative offset or size");
  if (getOffset() % 64)
    return emitOpError("starts at byte ")
           << getOffset() << ", which is not a multiple of 64";
  return success();
}

LogicalResult LoopOp::verify() {
  int64_t from = getFrom(), to = getTo(), step = getStep();
  if (step == 0 || (to - from) % step != 0 || (to - from) / step < 0)
    return emitOpError("never reaches ")
           << to << " from " << from << " in steps of " << step;
  if ((*this)->getParentOfType<LoopOp>())
    return emitOpError("stands inside another rt.loop: loops do not nest");
  return success();
}
