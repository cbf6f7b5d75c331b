//===- KernBuilder.cpp - small kern ops on flat float64 tensors -----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/ragged/KernBuilder.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::ragged;

static kern::AccessAttr access(Value tensor, kern::AccessKind kind,
                               int64_t index = -1, int64_t lane = -1) {
  return kern::AccessAttr::get(tensor.getContext(), kind, index, lane);
}

Operand ragged::element(Value tensor) {
  return {tensor, access(tensor, kern::AccessKind::element)};
}
Operand ragged::one(Value tensor) {
  return {tensor, access(tensor, kern::AccessKind::one, -1, 0)};
}
Operand ragged::row(Value tensor) {
  return {tensor, access(tensor, kern::AccessKind::row)};
}
Operand ragged::gathered(Value tensor) {
  return {tensor, access(tensor, kern::AccessKind::gather, 0)};
}

/// Fills the region of a map or row.
static void fill(OpBuilder &builder, Location loc, Region &region,
                 ArrayRef<Operand> operands, Body body) {
  OpBuilder::InsertionGuard guard(builder);
  Block *block = builder.createBlock(&region);
  for (const Operand &operand : operands)
    block->addArgument(
        cast<RankedTensorType>(operand.tensor.getType()).getElementType(), loc);
  Value result = body(builder, loc, block->getArguments());
  kern::YieldOp::create(builder, loc, result);
}

static void split(OpBuilder &builder, ArrayRef<Operand> operands,
                  SmallVectorImpl<Value> &tensors, ArrayAttr &accesses) {
  SmallVector<Attribute> attrs;
  for (const Operand &operand : operands) {
    tensors.push_back(operand.tensor);
    attrs.push_back(operand.access);
  }
  accesses = builder.getArrayAttr(attrs);
}

static ArrayAttr only(OpBuilder &builder, kern::AccessKind kind) {
  return builder.getArrayAttr(
      kern::AccessAttr::get(builder.getContext(), kind, -1, -1));
}

Value ragged::map(OpBuilder &builder, Location loc, RankedTensorType type,
                  ArrayRef<Operand> operands, Value index, Body body) {
  SmallVector<Value> tensors;
  ArrayAttr accesses;
  split(builder, operands, tensors, accesses);
  auto op = kern::MapOp::create(builder, loc, TypeRange(type), tensors,
                                index ? ValueRange(index) : ValueRange(),
                                ValueRange(), accesses,
                                only(builder, kern::AccessKind::element));
  fill(builder, loc, op.getBody(), operands, body);
  return op.getResult(0);
}

Value ragged::reduce(OpBuilder &builder, Location loc, RankedTensorType type,
                     ArrayRef<Operand> operands, Value offsets, Body body,
                     kern::AccessKind kind) {
  SmallVector<Value> tensors;
  ArrayAttr accesses;
  split(builder, operands, tensors, accesses);
  auto op =
      kern::RowOp::create(builder, loc, TypeRange(type), tensors, ValueRange(),
                          offsets, accesses, only(builder, kind));
  fill(builder, loc, op.getBody(), operands, body);
  return op.getResult(0);
}
