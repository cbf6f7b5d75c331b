//===- KernWriter.cpp - kern ops with their regions in one call -----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/fuse/KernWriter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::fuse;
using kern::AccessKind;

//===----------------------------------------------------------------------===//
// Scalars
//===----------------------------------------------------------------------===//

Value Scalars::number(double value) {
  return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value));
}
Value Scalars::integer(int64_t value) {
  return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(value));
}
Value Scalars::add(V x, V y) {
  if (x.getType().isInteger())
    return arith::AddIOp::create(b, loc, x, y);
  return arith::AddFOp::create(b, loc, x, y);
}
Value Scalars::sub(V x, V y) { return arith::SubFOp::create(b, loc, x, y); }
Value Scalars::mul(V x, V y) { return arith::MulFOp::create(b, loc, x, y); }
Value Scalars::div(V x, V y) { return arith::DivFOp::create(b, loc, x, y); }
Value Scalars::neg(V x) { return arith::NegFOp::create(b, loc, x); }
Value Scalars::exp(V x, bool isBounded) {
  auto exp = math::ExpOp::create(b, loc, x);
  if (isBounded)
    exp->setAttr(kern::boundedAttrName, b.getUnitAttr());
  return exp;
}
Value Scalars::log(V x, bool isZeroOrNormal) {
  auto log = math::LogOp::create(b, loc, x);
  if (isZeroOrNormal)
    log->setAttr(kern::zeroOrNormalAttrName, b.getUnitAttr());
  return log;
}
Value Scalars::sqrt(V x) { return math::SqrtOp::create(b, loc, x); }
Value Scalars::sigmoid(V x) {
  Value unit = number(1);
  return div(unit, add(unit, exp(neg(x))));
}
Value Scalars::equal(V x, V y) {
  if (x.getType().isInteger())
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, x, y);
  return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, x, y);
}
Value Scalars::isNan(V x) {
  return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNO, x, x);
}
Value Scalars::less(V x, V y) {
  return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, x, y);
}
Value Scalars::atLeast(V x, V y) {
  return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGE, x, y);
}
Value Scalars::select(V condition, V x, V y) {
  return arith::SelectOp::create(b, loc, condition, x, y);
}
Value Scalars::reduce(kern::ReduceKind kind, V x) {
  return kern::ReduceOp::create(b, loc, kind, x);
}
Value Scalars::column() {
  return kern::IndexOp::create(b, loc, b.getI32Type(), kern::IndexKind::column);
}
SmallVector<Value, 4> Scalars::random(V k0, V k1, ArrayRef<V> counter) {
  auto op = kern::RandomOp::create(b, loc, k0, k1, counter[0], counter[1],
                                   counter[2], counter[3]);
  return {op.getR0(), op.getR1(), op.getR2(), op.getR3()};
}
Value Scalars::noise(V k0, V k1, V c1, V c2) {
  return kern::NoiseOp::create(b, loc, b.getI32Type(), k0, k1, c1, c2);
}
Value Scalars::toFloat(V x) {
  return arith::UIToFPOp::create(b, loc, b.getF32Type(), x);
}

//===----------------------------------------------------------------------===//
// Structures
//===----------------------------------------------------------------------===//

static ArrayAttr accesses(OpBuilder &b, ArrayRef<Operand> operands) {
  SmallVector<Attribute> attributes;
  for (const Operand &operand : operands)
    attributes.push_back(kern::AccessAttr::get(b.getContext(), operand.kind,
                                               operand.index, operand.lane));
  return b.getArrayAttr(attributes);
}

/// What results of rank 2 and of rank 1 are.
static ArrayAttr resultAccesses(OpBuilder &b, TypeRange types,
                                AccessKind rankTwo, AccessKind rankOne) {
  SmallVector<Attribute> attributes;
  for (Type type : types)
    attributes.push_back(kern::AccessAttr::get(
        b.getContext(),
        cast<RankedTensorType>(type).getRank() == 2 ? rankTwo : rankOne));
  return b.getArrayAttr(attributes);
}

static SmallVector<Value> tensors(ArrayRef<Operand> operands) {
  return llvm::map_to_vector(
      operands, [](const Operand &operand) { return operand.tensor; });
}

/// `types`: of the op's results. The body computes in float32: operands of
/// bfloat16 are widened here, what is yielded for a result of it is rounded.
static void writeBody(OpBuilder &b, Location loc, Region &region,
                      unsigned accumulators, ArrayRef<Operand> operands,
                      TypeRange types, Body body) {
  OpBuilder::InsertionGuard guard(b);
  Block &block = region.empty() ? region.emplaceBlock() : region.front();
  for (unsigned i = 0; i < accumulators; ++i)
    block.addArgument(b.getF32Type(), loc);
  for (const Operand &operand : operands)
    block.addArgument(kern::elementTypeOf(operand.tensor), loc);
  b.setInsertionPointToEnd(&block);
  Scalars scalars(b, loc);
  SmallVector<Value> arguments(block.args_begin(), block.args_end());
  for (Value &argument : arguments)
    if (argument.getType().isBF16())
      argument = arith::ExtFOp::create(b, loc, b.getF32Type(), argument);
  SmallVector<Value> yielded = body(scalars, arguments);
  for (auto [value, type] : llvm::zip(yielded, types))
    if (getElementTypeOrSelf(type).isBF16() && value.getType().isF32())
      value = arith::TruncFOp::create(b, loc, b.getBF16Type(), value);
  kern::YieldOp::create(b, loc, yielded);
}

kern::RowOp fuse::writeRow(OpBuilder &b, Location loc, TypeRange types,
                           ArrayRef<Operand> operands, Body body,
                           AccessKind rankTwo) {
  auto op =
      kern::RowOp::create(b, loc, types, tensors(operands), ValueRange(),
                          Value(), accesses(b, operands),
                          resultAccesses(b, types, rankTwo, AccessKind::row));
  writeBody(b, loc, op.getBody(), 0, operands, types, body);
  return op;
}

kern::MapOp fuse::writeMap(OpBuilder &b, Location loc, TypeRange types,
                           ArrayRef<Operand> operands, ValueRange indices,
                           Body body, AccessKind rankTwo) {
  SmallVector<Attribute> results;
  for (Type type : types) {
    auto sizes = cast<RankedTensorType>(type).getShape();
    bool wider =
        rankTwo == AccessKind::beside &&
        sizes !=
            cast<RankedTensorType>(operands[0].tensor.getType()).getShape();
    results.push_back(kern::AccessAttr::get(
        b.getContext(), wider ? rankTwo : AccessKind::element));
  }
  auto op = kern::MapOp::create(b, loc, types, tensors(operands), indices,
                                ValueRange(), accesses(b, operands),
                                b.getArrayAttr(results));
  SmallVector<Type> yielded;
  for (auto [result, part] : op.getPlaces())
    yielded.push_back(types[result]);
  writeBody(b, loc, op.getBody(), 0, operands, yielded, body);
  return op;
}

Value fuse::writeScatter(OpBuilder &b, Location loc, Value x, Value indices,
                         Value init) {
  Operand operands[] = {element(x)};
  auto scattered = b.getArrayAttr(
      {kern::AccessAttr::get(b.getContext(), AccessKind::scatter, 0, -1)});
  auto op = kern::MapOp::create(b, loc, TypeRange(init.getType()), x, indices,
                                init, accesses(b, operands), scattered);
  writeBody(b, loc, op.getBody(), 0, operands, init.getType(),
            [](Scalars &, ArrayRef<Value> v) -> SmallVector<Value> {
              return {v[0]};
            });
  return op.getResult(0);
}

Value fuse::writeColumnSum(OpBuilder &b, Location loc, Value init,
                           ArrayRef<Operand> operands, Body body) {
  auto op =
      kern::ColumnSumOp::create(b, loc, init.getType(), tensors(operands),
                                ValueRange(), init, accesses(b, operands));
  writeBody(b, loc, op.getBody(), 0, operands, init.getType(), body);
  return op.getResult();
}

kern::MatmulOp fuse::writeMatmul(OpBuilder &b, Location loc, TypeRange types,
                                 Value a, Value packed, bool paired,
                                 ArrayRef<Operand> operands, Body body,
                                 AccessKind rankTwo) {
  int64_t columns = cast<kern::PackedType>(packed.getType()).getN();
  SmallVector<Attribute> results;
  for (Type type : types) {
    // Beside chunks of columns, or what lies side by side, the columns
    // themselves.
    bool whole = rankTwo != AccessKind::element && columns > 1 &&
                 cast<RankedTensorType>(type).getDimSize(1) == columns;
    results.push_back(kern::AccessAttr::get(
        b.getContext(), whole ? AccessKind::element : rankTwo));
  }
  auto op = kern::MatmulOp::create(
      b, loc, types, a, packed, /*init=*/Value(), tensors(operands),
      /*angles=*/Value(), /*to=*/Value(), /*caches=*/ValueRange(),
      accesses(b, operands), b.getArrayAttr(results), UnitAttr(),
      paired ? b.getUnitAttr() : UnitAttr(), /*heads=*/IntegerAttr());
  if (body) {
    SmallVector<Type> yielded;
    for (auto [result, part] : op.getPlaces())
      yielded.push_back(types[result]);
    writeBody(b, loc, op.getBody(), paired ? 2 : 1, operands, yielded, body);
  }
  return op;
}

kern::MatmulOp fuse::writeTurned(OpBuilder &b, kern::RopeOp rope,
                                 Value angles) {
  auto product = rope.getInputs()[0].getDefiningOp<kern::MatmulOp>();
  auto op = kern::MatmulOp::create(
      b, product.getLoc(), rope.getResultTypes(), product.getA(),
      product.getB(), /*init=*/Value(), product.getInputs(), angles,
      rope.getTo(), rope.getInits(), product.getAccess(),
      resultAccesses(b, rope.getResultTypes(), AccessKind::element,
                     AccessKind::element),
      UnitAttr(), UnitAttr(), rope.getHeadsAttr());
  op.getBody().takeBody(product.getBody());
  rope.erase();
  product.erase();
  return op;
}

Value fuse::writeWeightGradient(OpBuilder &b, Location loc, Value a, Value rhs,
                                Value init) {
  auto op = kern::MatmulOp::create(
      b, loc, TypeRange(init.getType()), a, rhs, init, ValueRange(),
      /*angles=*/Value(), /*to=*/Value(), /*caches=*/ValueRange(),
      b.getArrayAttr({}),
      resultAccesses(b, init.getType(), AccessKind::element,
                     AccessKind::element),
      b.getUnitAttr(), UnitAttr(), /*heads=*/IntegerAttr());
  return op.getResult(0);
}
