//===- Sm90.cpp - words of the attention kernels for Hopper ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/attention/Sm90.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

bool r1c::kernels::isAttentionSm90(Type element, int64_t columns, int64_t heads,
                                   int64_t kvHeads, double scale) {
  int64_t width = columns / heads;
  return element.isBF16() && (width == 64 || width == 128) &&
         heads / kvHeads <= 64 && scale > 0;
}

AttentionWords::AttentionWords(Kernel &k)
    : Sm90Words(k.e), k(k), f32(k.builder.getF32Type()),
      i32(k.builder.getI32Type()) {}

//===----------------------------------------------------------------------===//
// Scalars
//===----------------------------------------------------------------------===//

Value AttentionWords::mulF(Value a, Value b) {
  return arith::MulFOp::create(e.b, e.loc, a, b);
}
Value AttentionWords::addF(Value a, Value b) {
  return arith::AddFOp::create(e.b, e.loc, a, b);
}
Value AttentionWords::subF(Value a, Value b) {
  return arith::SubFOp::create(e.b, e.loc, a, b);
}
Value AttentionWords::maxF(Value a, Value b) {
  return LLVM::MaxNumOp::create(e.b, e.loc, a, b);
}
Value AttentionWords::exp2(Value v) {
  return LLVM::CallIntrinsicOp::create(
             e.b, e.loc, f32, e.b.getStringAttr("llvm.nvvm.ex2.approx.ftz.f"),
             ValueRange(v))
      .getResult(0);
}
Value AttentionWords::notEqual(Value a, Value b) {
  return arith::CmpIOp::create(e.b, e.loc, arith::CmpIPredicate::ne, a, b);
}
Value AttentionWords::either(Value a, Value b) {
  return arith::OrIOp::create(e.b, e.loc, a, b);
}
Value AttentionWords::bit(bool v) {
  return arith::ConstantIntOp::create(e.b, e.loc, v, 1);
}

//===----------------------------------------------------------------------===//
// Warps
//===----------------------------------------------------------------------===//

Value AttentionWords::warpgroup(Value thread) {
  return NVVM::ShflOp::create(e.b, e.loc, i32, c(-1), div(thread, 128), c(0),
                              c(31), NVVM::ShflKind::idx, UnitAttr());
}
Value AttentionWords::ballot(Value bit) {
  return NVVM::VoteSyncOp::create(e.b, e.loc, i32, c(-1), bit,
                                  NVVM::VoteSyncKind::ballot);
}
Value AttentionWords::ones(Value mask) {
  return LLVM::CtPopOp::create(e.b, e.loc, mask);
}
Value AttentionWords::lowest(Value mask) {
  return LLVM::CountTrailingZerosOp::create(e.b, e.loc, i32, mask,
                                            /*is_zero_poison=*/false);
}
Value AttentionWords::lanesBelow(Value lane) {
  Value bit = arith::ShLIOp::create(e.b, e.loc, c(1), lane);
  return e.add(bit, c(-1));
}
Value AttentionWords::lower(Value v, int64_t distance) {
  return NVVM::ShflOp::create(e.b, e.loc, v.getType(), c(-1), v, c(distance),
                              c(0), NVVM::ShflKind::up, UnitAttr());
}
Value AttentionWords::greatest(Value v) {
  for (int64_t lanes = 16; lanes; lanes /= 2)
    v = e.max(v, exchange(v, lanes));
  return v;
}
Value AttentionWords::least(Value v) {
  for (int64_t lanes = 16; lanes; lanes /= 2)
    v = e.min(v, exchange(v, lanes));
  return v;
}
Value AttentionWords::from(Value v, Value lane) {
  return NVVM::ShflOp::create(e.b, e.loc, v.getType(), c(-1), v, lane, c(31),
                              NVVM::ShflKind::idx, UnitAttr());
}
Value AttentionWords::sumOfLower(Value v, Value lane) {
  for (int64_t distance = 1; distance < 32; distance *= 2) {
    Value other = lower(v, distance);
    v = e.select(below(lane, distance), v, e.add(v, other));
  }
  return v;
}
Value AttentionWords::number(Value tensor, Value i) {
  return e.load(e.at(k.pointer(tensor), e.toI64(i), i32), i32);
}

//===----------------------------------------------------------------------===//
// wgmma
//===----------------------------------------------------------------------===//

static LLVM::LLVMStructType sumsType(Emit &e, int64_t columns) {
  SmallVector<Type> types(columns / 2, e.b.getF32Type());
  return LLVM::LLVMStructType::getLiteral(e.b.getContext(), types);
}

Value AttentionWords::nothing(int64_t columns) {
  return LLVM::UndefOp::create(e.b, e.loc, sumsType(e, columns));
}

Value AttentionWords::multiply16(Value sums, Value a, Value b, int64_t columns,
                                 bool mnA, bool mnB, bool overwrite) {
  using namespace NVVM;
  auto shape = MMAShapeAttr::get(e.b.getContext(), 64, columns, 16);
  return WgmmaMmaAsyncOp::create(
      e.b, e.loc, sums.getType(), sums, a, b, shape, WGMMATypes::bf16,
      WGMMATypes::bf16, WGMMATypes::f32,
      overwrite ? WGMMAScaleOut::zero : WGMMAScaleOut::one, WGMMAScaleIn::one,
      WGMMAScaleIn::one, mnA ? MMALayout::col : MMALayout::row,
      mnB ? MMALayout::row : MMALayout::col, MMAIntOverflowAttr());
}

Value AttentionWords::pack(ArrayRef<Value> values) {
  Value sums = nothing(2 * values.size());
  for (auto [i, v] : llvm::enumerate(values))
    sums =
        LLVM::InsertValueOp::create(e.b, e.loc, sums, v, ArrayRef<int64_t>(i));
  return sums;
}

Value AttentionWords::plus(Value descriptor, int64_t bytes) {
  return bytes ? e.add(descriptor, e.i64(bytes / 16)) : descriptor;
}
Value AttentionWords::plusDynamic(Value descriptor, Value bytes) {
  return e.add(descriptor, arith::ExtUIOp::create(e.b, e.loc, e.b.getI64Type(),
                                                  div(bytes, 16)));
}

//===----------------------------------------------------------------------===//
// Copies and barriers
//===----------------------------------------------------------------------===//

void AttentionWords::copy16(Value to, Value from, Value bytes) {
  auto global = LLVM::LLVMPointerType::get(e.b.getContext(), 1);
  Value source = LLVM::AddrSpaceCastOp::create(e.b, e.loc, global, from);
  NVVM::CpAsyncOp::create(e.b, e.loc, to, source, 16,
                          NVVM::LoadCacheModifierKind::CG, bytes);
}
void AttentionWords::prefetch(Value from, Value bytes) {
  auto global = LLVM::LLVMPointerType::get(e.b.getContext(), 1);
  Value source = LLVM::AddrSpaceCastOp::create(e.b, e.loc, global, from);
  NVVM::CpAsyncBulkPrefetchOp::create(e.b, e.loc, source, bytes, Value());
}
void AttentionWords::commitCopies() {
  NVVM::CpAsyncCommitGroupOp::create(e.b, e.loc);
}
void AttentionWords::waitCopies(int64_t pending) {
  NVVM::CpAsyncWaitGroupOp::create(e.b, e.loc, pending);
}
Value AttentionWords::test(Value barrier, Value parity) {
  return NVVM::MBarrierTestWaitOp::create(e.b, e.loc, e.b.getI1Type(), barrier,
                                          parity);
}

//===----------------------------------------------------------------------===//
// Control
//===----------------------------------------------------------------------===//

SmallVector<Value> AttentionWords::repeat(
    ValueRange start,
    function_ref<std::pair<Value, SmallVector<Value>>(ValueRange)> before,
    function_ref<SmallVector<Value>(ValueRange)> body) {
  OpBuilder::InsertionGuard guard(e.b);
  auto loop = scf::WhileOp::create(
      e.b, e.loc, TypeRange(start), start,
      [&](OpBuilder &, Location, ValueRange values) {
        auto [condition, next] = before(values);
        scf::ConditionOp::create(e.b, e.loc, condition, next);
      },
      [&](OpBuilder &, Location, ValueRange values) {
        scf::YieldOp::create(e.b, e.loc, body(values));
      });
  return llvm::to_vector_of<Value>(loop.getResults());
}

SmallVector<Value> AttentionWords::count(
    Value from, Value to, ValueRange carried,
    function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  return e.loop(from, to, c(1), carried, body);
}
