//===- Scratch.cpp - kern ops that the schedule itself needs --------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/schedule/Scratch.h"
#include "compiler/phases/ragged/KernBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::schedule;

Value Scratch::convert(Location loc, Value tensor, Type element) {
  auto type = cast<RankedTensorType>(tensor.getType());
  bool narrows = element.getIntOrFloatBitWidth() <
                 type.getElementType().getIntOrFloatBitWidth();
  return ragged::map(inner, loc,
                     RankedTensorType::get(type.getShape(), element),
                     ragged::element(tensor), Value(),
                     [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
                       if (narrows)
                         return arith::TruncFOp::create(b, loc, element, x[0]);
                       return arith::ExtFOp::create(b, loc, element, x[0]);
                     });
}

Slot Scratch::dispatch(Value value, StringRef arena, ArrayRef<Slot> results) {
  Operation *op = value.getDefiningOp();
  for (auto [result, slot] : llvm::zip(op->getResults(), results))
    if (slot.ref)
      binding[result] = slot;
  if (failed(kernels.dispatch(target, op, binding, arena)))
    llvm_unreachable("the schedule's own kernels are complete");
  return binding.lookup(value);
}
