//===- VerifyMatmul.cpp - what a matrix product consists of ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/kern/Kern.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace r1c::kern;

static RankedTensorType tensorOf(Value v) {
  return cast<RankedTensorType>(v.getType());
}

int64_t MatmulOp::getRows() {
  return tensorOf(getA()).getDimSize(getTransposeA() ? 1 : 0);
}

int64_t MatmulOp::getDepth() {
  return tensorOf(getA()).getDimSize(getTransposeA() ? 0 : 1);
}

int64_t MatmulOp::getColumns() {
  if (getTransposeA())
    return tensorOf(getB()).getDimSize(1);
  int64_t n = cast<PackedType>(getB().getType()).getN();
  return getPaired() ? n / 2 : n;
}

LogicalResult MatmulOp::verifyFactors() {
  RankedTensorType a = tensorOf(getA());
  if (a.getRank() != 2 || a.isDynamicDim(1))
    return emitOpError("a must be tensor<?xKx...> with static columns, not ")
           << a;
  if (getTransposeA()) {
    auto b = dyn_cast<RankedTensorType>(getB().getType());
    if (!b || b.getRank() != 2 || b.isDynamicDim(1))
      return emitOpError(
                 "b must be a plain tensor<?xNx...> with transpose_a, not ")
             << getB().getType();
    if (b.getElementType() != a.getElementType())
      return emitOpError("a and b differ in element type");
    if (b.getDimSize(0) != a.getDimSize(0))
      return emitOpError("a and b differ in rows");
    if (getPaired())
      return emitOpError("paired and transpose_a exclude each other");
  } else {
    auto b = dyn_cast<PackedType>(getB().getType());
    if (!b)
      return emitOpError("b must be !kern.packed<...>, not ")
             << getB().getType() << ": pack it with kern.pack";
    if (b.getElementType() != a.getElementType())
      return emitOpError("a and b differ in element type");
    if (b.getK() != a.getDimSize(1))
      return emitOpError("a has ")
             << a.getDimSize(1) << " columns but b has K = " << b.getK();
    if (a.getElementType().isBF16() && b.getK() % 2)
      return emitOpError("bf16 needs an even K, not ") << b.getK();
    if (getPaired() && b.getN() % 32)
      return emitOpError("paired needs columns in multiples of 32, not ")
             << b.getN();
  }
  return success();
}

std::optional<Turn> MatmulOp::getTurn() {
  if (!getAngles())
    return std::nullopt;
  auto sums = RankedTensorType::get({getRows(), getColumns()}, getSumType());
  return Turn{{sums},
              getResults(),
              getTo(),
              getCaches(),
              (int64_t)getHeads().value_or(0),
              tensorOf(getAngles()).getDimSize(1) / 2,
              tensorOf(getAngles()).getDimSize(0)};
}

Type MatmulOp::getSumType() {
  if (!getBody().empty() && !getBody().front().empty())
    if (auto yield = dyn_cast<YieldOp>(getBody().front().back()))
      if (yield.getValues().size() == 1 &&
          yield.getValues()[0].getType().isBF16())
        return yield.getValues()[0].getType();
  return Float32Type::get(getContext());
}

LogicalResult MatmulOp::verifyTurned() {
  bool turned = getAngles() != nullptr;
  if (getHeads().has_value() != turned ||
      (!turned && (getTo() || !getCaches().empty())))
    return emitOpError("turned and heads stand together, and scatter and "
                       "caches behind turned alone");
  if (!turned)
    return success();
  if (getTransposeA() || getPaired() || getInit() || isChunked())
    return emitOpError("turned excludes transpose_a, paired, init, and "
                       "reductions");
  RankedTensorType angles = tensorOf(getAngles());
  if (angles.getRank() != 2 || angles.isDynamicDim(1) ||
      angles.getDimSize(1) % 2)
    return emitOpError("is turned by rows of as many cosines as sines, not by ")
           << angles;
  Type element = elementTypeOf(getResults()[0]);
  if (!element.isF32() && !element.isBF16())
    return emitOpError("turned results are f32 or bf16, not ") << element;
  for (Value result : getResults())
    if (elementTypeOf(result) != element)
      return emitOpError("turned results differ in element type");
  return getTurn()->verify(*this);
}
