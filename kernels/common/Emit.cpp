//===- Emit.cpp - small words for writing kernels -------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Emit.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace r1c::kernels;

int64_t r1c::kernels::bytesOf(Type element) {
  return std::max<int64_t>(1, element.getIntOrFloatBitWidth() / 8);
}

Type r1c::kernels::storageOf(Type element) {
  if (element.isInteger(1))
    return IntegerType::get(element.getContext(), 8);
  // As integers: where bf16 is not native, the code generator would take
  // vectors of it apart with calls of a library.
  return element.isBF16() ? IntegerType::get(element.getContext(), 16)
                          : element;
}

Type r1c::kernels::lanesOf(Type element, int64_t lanes) {
  return lanes > 1 ? VectorType::get(lanes, element) : element;
}

static int64_t lanesIn(Value v) {
  auto vector = dyn_cast<VectorType>(v.getType());
  return vector ? vector.getNumElements() : 1;
}

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

Value Emit::i64(int64_t value) {
  return arith::ConstantIntOp::create(b, loc, value, 64);
}
Value Emit::i32(int32_t value) {
  return arith::ConstantIntOp::create(b, loc, value, 32);
}

Value Emit::splat(Type type, double value) {
  Type element = getElementTypeOrSelf(type);
  TypedAttr attr = FloatAttr::get(element, value);
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return arith::ConstantOp::create(b, loc, attr);
}

Value Emit::splatInt(Type type, int64_t value) {
  auto element = cast<IntegerType>(getElementTypeOrSelf(type));
  TypedAttr attr = IntegerAttr::get(
      element, APInt(64, value, true).sextOrTrunc(element.getWidth()));
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return arith::ConstantOp::create(b, loc, attr);
}

Value Emit::iota(int64_t lanes) {
  if (lanes == 1)
    return i32(0);
  SmallVector<int32_t> values(llvm::to_vector(llvm::seq<int32_t>(0, lanes)));
  return arith::ConstantOp::create(b, loc, b.getI32VectorAttr(values));
}

Value Emit::mask(int64_t lanes, int64_t count) {
  SmallVector<bool> values(lanes);
  for (int64_t i = 0; i < lanes; ++i)
    values[i] = i < count;
  return arith::ConstantOp::create(
      b, loc,
      DenseElementsAttr::get(VectorType::get(lanes, b.getI1Type()),
                             ArrayRef<bool>(values)));
}

Value Emit::maskBelow(int64_t lanes, Value count) {
  // Saturated first: the comparison runs in 32 bits.
  Value c = min(count, i64(lanes));
  Value c32 = arith::TruncIOp::create(b, loc, b.getI32Type(), c);
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, iota(lanes),
                               broadcast(c32, lanes));
}

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

Value Emit::add(Value a, Value c) {
  return arith::AddIOp::create(b, loc, a, c);
}
Value Emit::sub(Value a, Value c) {
  return arith::SubIOp::create(b, loc, a, c);
}
Value Emit::mul(Value a, Value c) {
  return arith::MulIOp::create(b, loc, a, c);
}
Value Emit::add(Value a, int64_t c) { return c ? add(a, i64(c)) : a; }
Value Emit::mul(Value a, int64_t c) { return c == 1 ? a : mul(a, i64(c)); }
Value Emit::div(Value a, Value c) {
  return arith::DivUIOp::create(b, loc, a, c);
}
Value Emit::rem(Value a, Value c) {
  return arith::RemUIOp::create(b, loc, a, c);
}
Value Emit::div(Value a, int64_t c) { return c == 1 ? a : div(a, i64(c)); }
Value Emit::rem(Value a, int64_t c) { return rem(a, i64(c)); }
Value Emit::min(Value a, Value c) {
  return arith::MinSIOp::create(b, loc, a, c);
}
Value Emit::max(Value a, Value c) {
  return arith::MaxSIOp::create(b, loc, a, c);
}
Value Emit::less(Value a, Value c) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, a, c);
}
Value Emit::equal(Value a, Value c) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, a, c);
}
Value Emit::toI64(Value v) {
  return arith::ExtSIOp::create(b, loc, b.getI64Type(), v);
}

//===----------------------------------------------------------------------===//
// Floats and vectors
//===----------------------------------------------------------------------===//

Value Emit::fma(Value x, Value y, Value z) {
  return math::FmaOp::create(b, loc, x, y, z);
}

Value Emit::broadcast(Value scalar, int64_t lanes) {
  if (lanes == 1 || isa<VectorType>(scalar.getType()))
    return scalar;
  return vector::BroadcastOp::create(
      b, loc, VectorType::get(lanes, scalar.getType()), scalar);
}

Value Emit::select(Value condition, Value x, Value y) {
  return arith::SelectOp::create(b, loc, condition, x, y);
}

Value Emit::shuffle(Value x, Value y, ArrayRef<int64_t> lanes) {
  return vector::ShuffleOp::create(b, loc, x, y, lanes);
}

void Emit::transpose(SmallVector<Value> &rows) {
  auto lanes = static_cast<int64_t>(rows.size());
  // Stage by stage, blocks of `half` lanes change places between vectors that
  // are `half` apart.
  for (int64_t half = 1; half < lanes; half *= 2) {
    SmallVector<int64_t> low, high;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      bool second = lane & half;
      low.push_back(second ? lanes + lane - half : lane);
      high.push_back(second ? lanes + lane : lane + half);
    }
    for (int64_t i = 0; i < lanes; ++i)
      if (!(i & half)) {
        Value x = rows[i], y = rows[i + half];
        rows[i] = shuffle(x, y, low);
        rows[i + half] = shuffle(x, y, high);
      }
  }
}

Value Emit::extract(Value v, int64_t lane) {
  return vector::ExtractOp::create(b, loc, v, lane);
}

Value Emit::widen(Value v) {
  if (!getElementTypeOrSelf(v).isBF16())
    return v;
  return arith::ExtFOp::create(b, loc, lanesOf(b.getF32Type(), lanesIn(v)), v);
}

Value Emit::narrow(Value v, Type to) {
  if (getElementTypeOrSelf(v) == to)
    return v;
  return arith::TruncFOp::create(b, loc, lanesOf(to, lanesIn(v)), v);
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value Emit::at(Value pointer, Value index, Type element) {
  return LLVM::GEPOp::create(b, loc, pointer.getType(), storageOf(element),
                             pointer, ValueRange(index));
}

Value Emit::at(Value pointer, int64_t index, Type element) {
  if (index == 0)
    return pointer;
  return LLVM::GEPOp::create(b, loc, pointer.getType(), b.getI8Type(), pointer,
                             ValueRange(i64(index * bytesOf(element))));
}

static Value fromStorage(Emit &e, Value v, Type element) {
  if (element.isBF16())
    return arith::BitcastOp::create(e.b, e.loc, lanesOf(element, lanesIn(v)),
                                    v);
  if (!element.isInteger(1))
    return v;
  return arith::CmpIOp::create(e.b, e.loc, arith::CmpIPredicate::ne, v,
                               e.splatInt(v.getType(), 0));
}
static Value toStorage(Emit &e, Value v) {
  if (getElementTypeOrSelf(v).isBF16())
    return arith::BitcastOp::create(e.b, e.loc,
                                    lanesOf(e.b.getI16Type(), lanesIn(v)), v);
  if (!getElementTypeOrSelf(v).isInteger(1))
    return v;
  return arith::ExtUIOp::create(e.b, e.loc,
                                lanesOf(e.b.getI8Type(), lanesIn(v)), v);
}

Value Emit::load(Value pointer, Type element, int64_t lanes, Value mask) {
  Type type = lanesOf(storageOf(element), lanes);
  Value v;
  if (mask)
    v = LLVM::MaskedLoadOp::create(
        b, loc, type, pointer, mask,
        arith::ConstantOp::create(b, loc, cast<TypedAttr>(b.getZeroAttr(type))),
        b.getI32IntegerAttr(bytesOf(element)));
  else
    v = LLVM::LoadOp::create(b, loc, type, pointer,
                             bytesOf(element) * (aligned ? lanes : 1));
  return fromStorage(*this, v, element);
}

/// Whether a mask is the constant that has its first lane alone.
static bool isFirstLane(Value mask) {
  DenseElementsAttr lanes;
  if (!mask || !matchPattern(mask, m_Constant(&lanes)))
    return false;
  auto values = lanes.getValues<bool>();
  return *values.begin() && llvm::count(values, true) == 1;
}

void Emit::store(Value value, Value pointer, Type element, Value mask) {
  // LLVM 22 makes a store of one lane of a narrowed vector as wide as the lane
  // was before.
  if (isFirstLane(mask))
    return store(extract(value, 0), pointer, element);
  value = toStorage(*this, value);
  if (mask)
    LLVM::MaskedStoreOp::create(b, loc, value, pointer, mask,
                                b.getI32IntegerAttr(bytesOf(element)));
  else
    LLVM::StoreOp::create(b, loc, value, pointer,
                          bytesOf(element) * (aligned ? lanesIn(value) : 1));
}

void Emit::stream(Value value, Value pointer) {
  LLVM::StoreOp::create(b, loc, value, pointer, /*alignment=*/64,
                        /*isVolatile=*/false, /*isNonTemporal=*/true);
}

void Emit::streamed() {
  LLVM::CallIntrinsicOp::create(b, loc, b.getStringAttr("llvm.x86.sse.sfence"),
                                ValueRange());
}

static Value addresses(Emit &e, Value pointer, Value indices, Type element) {
  int64_t lanes = cast<VectorType>(indices.getType()).getNumElements();
  return LLVM::GEPOp::create(e.b, e.loc,
                             VectorType::get(lanes, pointer.getType()),
                             storageOf(element), pointer, ValueRange(indices));
}

Value Emit::gather(Value pointer, Value indices, Type element, Value mask) {
  int64_t lanes = cast<VectorType>(indices.getType()).getNumElements();
  Type type = lanesOf(storageOf(element), lanes);
  if (!mask)
    mask = this->mask(lanes, lanes);
  Value zero =
      arith::ConstantOp::create(b, loc, cast<TypedAttr>(b.getZeroAttr(type)));
  Value v = LLVM::masked_gather::create(
      b, loc, type, addresses(*this, pointer, indices, element), mask,
      ValueRange(zero), b.getI32IntegerAttr(bytesOf(element)));
  return fromStorage(*this, v, element);
}

void Emit::scatter(Value value, Value pointer, Value indices, Type element,
                   Value mask) {
  int64_t lanes = cast<VectorType>(indices.getType()).getNumElements();
  if (!mask)
    mask = this->mask(lanes, lanes);
  LLVM::masked_scatter::create(b, loc, toStorage(*this, value),
                               addresses(*this, pointer, indices, element),
                               mask, b.getI32IntegerAttr(bytesOf(element)));
}

void Emit::loaded() {
  LLVM::InlineAsmOp::create(b, loc, /*res=*/mlir::TypeRange(), ValueRange(), "",
                            "~{memory}",
                            /*has_side_effects=*/true, /*is_align_stack=*/false,
                            LLVM::tailcallkind::TailCallKind::None,
                            LLVM::AsmDialectAttr(), ArrayAttr());
}

void Emit::prefetch(Value pointer, bool write, int32_t locality) {
  LLVM::Prefetch::create(b, loc, pointer, b.getI32IntegerAttr(write),
                         b.getI32IntegerAttr(locality), b.getI32IntegerAttr(1));
}

Value Emit::scratch(int64_t bytes) {
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  return LLVM::AllocaOp::create(b, loc, pointer, b.getI8Type(), i64(bytes),
                                /*alignment=*/64);
}

//===----------------------------------------------------------------------===//
// Control
//===----------------------------------------------------------------------===//

SmallVector<Value>
Emit::loop(Value from, Value to, Value step, ValueRange carried,
           function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto loop = scf::ForOp::create(b, loc, from, to, step, carried);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  SmallVector<Value> next =
      body(loop.getInductionVar(), ValueRange(loop.getRegionIterArgs()));
  b.setInsertionPointToEnd(loop.getBody());
  if (!carried.empty())
    scf::YieldOp::create(b, loc, next);
  return llvm::to_vector_of<Value>(loop.getResults());
}

void Emit::loop(Value from, Value to, Value step,
                function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(b, loc, from, to, step);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

void Emit::loop(int64_t from, Value to, int64_t step,
                function_ref<void(Value)> body) {
  loop(i64(from), to, i64(step), body);
}

void Emit::when(Value condition, function_ref<void()> then) {
  auto op = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.thenBlock());
  then();
}

SmallVector<Value> Emit::choose(Value condition, TypeRange types,
                                function_ref<SmallVector<Value>()> then,
                                function_ref<SmallVector<Value>()> otherwise) {
  auto op =
      scf::IfOp::create(b, loc, types, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  auto fill = [&](Block *block, function_ref<SmallVector<Value>()> f) {
    b.setInsertionPointToStart(block);
    SmallVector<Value> values = f();
    b.setInsertionPointToEnd(block);
    scf::YieldOp::create(b, loc, values);
  };
  fill(op.thenBlock(), then);
  fill(op.elseBlock(), otherwise);
  return llvm::to_vector_of<Value>(op.getResults());
}
