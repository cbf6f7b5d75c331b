//===- Interfaces.cpp - interfaces that r1c's ops implement ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/interfaces/Interfaces.h"
#include "mlir/IR/BuiltinTypes.h"

using namespace mlir;

double r1c::elementCount(Type type, const CostShape &shape) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor)
    return 0;
  double count = 1;
  for (int64_t size : tensor.getShape())
    count *= ShapedType::isDynamic(size) ? shape.rows : size;
  return count;
}

double r1c::bytesOfOperandsAndResults(Operation *op, const CostShape &shape) {
  double bytes = 0;
  auto add = [&](Type type) {
    if (auto tensor = dyn_cast<RankedTensorType>(type))
      bytes += elementCount(type, shape) *
               (tensor.getElementType().getIntOrFloatBitWidth() / 8.0);
  };
  for (Type type : op->getOperandTypes())
    add(type);
  for (Type type : op->getResultTypes())
    add(type);
  return bytes;
}

#include "dialects/interfaces/Cost.cpp.inc"
#include "dialects/interfaces/Differentiable.cpp.inc"
