//===- Sm90Words.cpp - Hopper's instructions as small words ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/matmul/Sm90Words.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/BuiltinOps.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

//===----------------------------------------------------------------------===//
// Where and what
//===----------------------------------------------------------------------===//

Value Sm90Words::both(Value a, Value b) {
  return arith::AndIOp::create(e.b, e.loc, a, b);
}
Value Sm90Words::toI32(Value v) {
  return arith::TruncIOp::create(e.b, e.loc, e.b.getI32Type(), v);
}

Value Sm90Words::thread() {
  return NVVM::ThreadIdXOp::create(e.b, e.loc, e.b.getI32Type());
}
Value Sm90Words::block() {
  return NVVM::BlockIdXOp::create(e.b, e.loc, e.b.getI32Type());
}
Value Sm90Words::blocks() {
  return NVVM::GridDimXOp::create(e.b, e.loc, e.b.getI32Type());
}
Value Sm90Words::lane() {
  return NVVM::LaneIdOp::create(e.b, e.loc, e.b.getI32Type());
}

//===----------------------------------------------------------------------===//
// Shared memory
//===----------------------------------------------------------------------===//

static LLVM::LLVMPointerType pointerTo(Emit &e, unsigned space) {
  return LLVM::LLVMPointerType::get(e.b.getContext(), space);
}

Value Sm90Words::sharedAt(Value shared, Value bytes) {
  return LLVM::GEPOp::create(e.b, e.loc, shared.getType(), e.b.getI8Type(),
                             shared, ValueRange(bytes));
}

Value Sm90Words::sharedAddress(Value shared) {
  return LLVM::PtrToIntOp::create(e.b, e.loc, e.b.getI32Type(), shared);
}

void Sm90Words::initBarrier(Value barrier, Value arrivals) {
  NVVM::MBarrierInitOp::create(e.b, e.loc, barrier, arrivals, Value());
}
void Sm90Words::fenceBarrierInit() {
  NVVM::FenceMbarrierInitOp::create(e.b, e.loc);
}
void Sm90Words::wait(Value barrier, Value parity) {
  // The hint is how long a thread may sleep, in nanoseconds: long enough
  // that waiting costs no issue slots.
  NVVM::MBarrierTryWaitParityOp::create(e.b, e.loc, barrier, parity,
                                        c(10'000'000));
}
void Sm90Words::expectBytes(Value barrier, Value bytes) {
  NVVM::MBarrierArriveExpectTxOp::create(e.b, e.loc, Type(), barrier, bytes,
                                         NVVM::MemScopeKind::CTA,
                                         /*relaxed=*/false, Value());
}
void Sm90Words::arrive(Value barrier) {
  NVVM::MBarrierArriveOp::create(e.b, e.loc, e.b.getI64Type(), barrier,
                                 Value());
}
void Sm90Words::syncWarp() { NVVM::SyncWarpOp::create(e.b, e.loc, c(-1)); }
void Sm90Words::syncBlock() { NVVM::BarrierOp::create(e.b, e.loc); }
void Sm90Words::syncNamed(Value id, int64_t threads) {
  NVVM::BarrierOp::create(e.b, e.loc, TypeRange(), id, c(threads),
                          NVVM::BarrierReductionAttr(), Value());
}
void Sm90Words::fenceAsync() {
  NVVM::FenceProxyOp::create(
      e.b, e.loc, NVVM::ProxyKind::async_shared,
      NVVM::SharedSpaceAttr::get(e.b.getContext(),
                                 NVVM::SharedSpace::shared_cta));
}

void Sm90Words::copyBox(Value to, Value map, ArrayRef<Value> coordinates,
                        Value barrier) {
  Value cluster =
      LLVM::AddrSpaceCastOp::create(e.b, e.loc, pointerTo(e, 7), to);
  NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(
      e.b, e.loc, cluster, map, ValueRange(coordinates), barrier, ValueRange(),
      Value(), Value(), NVVM::TMALoadMode::TILE, /*isCTAOnly=*/false,
      NVVM::CTAGroupKindAttr(), Value());
}

void Sm90Words::prefetchMap(Value map) {
  auto yes = e.b.getUnitAttr();
  NVVM::PrefetchOp::create(e.b, e.loc, NVVM::PrefetchCacheLevelAttr(),
                           NVVM::CacheEvictionPriorityAttr(), map, Value(), yes,
                           UnitAttr(), UnitAttr());
}

//===----------------------------------------------------------------------===//
// wgmma
//===----------------------------------------------------------------------===//
// Bits of a descriptor (PTX ISA, "Matrix Descriptor Format"): 0-13 address,
// 16-29 leading byte offset, 32-45 stride byte offset, all in units of 16
// bytes; 62-63 = 1: 128-byte swizzle. Tiles start at multiples of 1024 bytes,
// so the base offset (49-51) is 0.

static int64_t descriptorBits(int64_t leading, int64_t stride) {
  return (leading / 16) << 16 | (stride / 16) << 32 | int64_t(1) << 62;
}

int64_t Sm90Words::descriptorK() {
  // The leading offset is not used with a swizzle: 16 elements of K always lie
  // inside one row of 128 bytes.
  return descriptorBits(16, 1024);
}
int64_t Sm90Words::descriptorMN(int64_t blockBytes) {
  // Stride: from 8 values of k to the next 8, which are 8 rows of 128 bytes.
  return descriptorBits(blockBytes, 1024);
}

Value Sm90Words::descriptor(Value address16, int64_t rest) {
  Value wide = arith::ExtUIOp::create(e.b, e.loc, e.b.getI64Type(), address16);
  return arith::OrIOp::create(e.b, e.loc, wide, e.i64(rest));
}

Value Sm90Words::zeros(int64_t columns) {
  SmallVector<Type> types(columns / 2, e.b.getF32Type());
  return LLVM::ZeroOp::create(
      e.b, e.loc, LLVM::LLVMStructType::getLiteral(e.b.getContext(), types));
}

Value Sm90Words::multiply(Value sums, Value a, Value b, int64_t columns,
                          bool mnA, bool mnB) {
  using namespace NVVM;
  auto shape = MMAShapeAttr::get(e.b.getContext(), 64, columns, 16);
  // The op names layouts as if for a product of matrices: A by rows and B by
  // columns are K-major.
  return WgmmaMmaAsyncOp::create(
      e.b, e.loc, sums.getType(), sums, a, b, shape, WGMMATypes::bf16,
      WGMMATypes::bf16, WGMMATypes::f32, WGMMAScaleOut::one, WGMMAScaleIn::one,
      WGMMAScaleIn::one, mnA ? MMALayout::col : MMALayout::row,
      mnB ? MMALayout::row : MMALayout::col, MMAIntOverflowAttr());
}

void Sm90Words::fence() { NVVM::WgmmaFenceAlignedOp::create(e.b, e.loc); }
void Sm90Words::commit() { NVVM::WgmmaGroupSyncAlignedOp::create(e.b, e.loc); }
void Sm90Words::waitGroups(int64_t pending) {
  NVVM::WgmmaWaitGroupSyncOp::create(e.b, e.loc, pending);
}

SmallVector<Value> Sm90Words::unpack(Value sums) {
  SmallVector<Value> values;
  size_t count = cast<LLVM::LLVMStructType>(sums.getType()).getBody().size();
  for (size_t i = 0; i < count; ++i)
    values.push_back(
        LLVM::ExtractValueOp::create(e.b, e.loc, sums, ArrayRef<int64_t>(i)));
  return values;
}

//===----------------------------------------------------------------------===//
// wgmma with A in registers
//===----------------------------------------------------------------------===//

SmallVector<Value> Sm90Words::loadMatrices(Value at) {
  auto type = LLVM::LLVMStructType::getLiteral(
      e.b.getContext(), SmallVector<Type>(4, e.b.getI32Type()));
  auto shape =
      NVVM::LdStMatrixShapeAttr::get(e.b.getContext(), /*m=*/8, /*n=*/8);
  return unpack(NVVM::LdMatrixOp::create(e.b, e.loc, type, at, 4,
                                         NVVM::MMALayout::row, shape,
                                         NVVM::LdStMatrixEltType::B16));
}

static LLVM::InlineAsmOp assembly(Emit &e, Type result, ValueRange operands,
                                  StringRef text, StringRef constraints) {
  return LLVM::InlineAsmOp::create(
      e.b, e.loc, result, operands, text, constraints,
      /*has_side_effects=*/true, /*is_align_stack=*/false,
      LLVM::tailcallkind::TailCallKind::None,
      LLVM::AsmDialectAttr::get(e.b.getContext(), LLVM::AsmDialect::AD_ATT),
      ArrayAttr());
}

/// "0,1,2,...": operands in the registers of the results.
static void appendTies(std::string &constraints, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    constraints += "," + std::to_string(i);
}

Value Sm90Words::multiplyRegisters(Value sums, ArrayRef<Value> a, Value b,
                                   int64_t columns, bool mnB) {
  // nvvm has no wgmma with A in registers. Operands: the sums, tied to the
  // results; four registers of A; the descriptor of B.
  int64_t count = columns / 2;
  std::string text = "wgmma.mma_async.sync.aligned.m64n" +
                     std::to_string(columns) + "k16.f32.bf16.bf16 {",
              constraints = "=f";
  for (int64_t i = 0; i < count; ++i)
    text += (i ? ", $" : "$") + std::to_string(i);
  for (int64_t i = 1; i < count; ++i)
    constraints += ",=f";
  appendTies(constraints, count);
  constraints += ",r,r,r,r,l";
  text += "}, {";
  for (int64_t i = 0; i < 4; ++i)
    text += (i ? ", $" : "$") + std::to_string(2 * count + i);
  text += "}, $" + std::to_string(2 * count + 4) +
          (mnB ? ", 1, 1, 1, 1;" : ", 1, 1, 1, 0;");
  SmallVector<Value> operands = unpack(sums);
  llvm::append_range(operands, a);
  operands.push_back(b);
  return assembly(e, sums.getType(), operands, text, constraints).getRes();
}

Value Sm90Words::settle(Value sums, ValueRange held) {
  SmallVector<Value> operands = unpack(sums);
  int64_t count = operands.size();
  std::string constraints = "=f";
  for (int64_t i = 1; i < count; ++i)
    constraints += ",=f";
  appendTies(constraints, count);
  for (size_t i = 0; i < held.size(); ++i)
    constraints += ",r";
  llvm::append_range(operands, held);
  return assembly(e, sums.getType(), operands, "", constraints).getRes();
}

//===----------------------------------------------------------------------===//
// Registers
//===----------------------------------------------------------------------===//

void Sm90Words::setRegisters(int64_t count, bool more) {
  NVVM::SetMaxRegisterOp::create(e.b, e.loc, count,
                                 more ? NVVM::SetMaxRegisterAction::increase
                                      : NVVM::SetMaxRegisterAction::decrease);
}

Value Sm90Words::exchange(Value v, int64_t lanes) {
  return NVVM::ShflOp::create(e.b, e.loc, v.getType(), c(-1), v, c(lanes),
                              c(31), NVVM::ShflKind::bfly, UnitAttr());
}

Value Sm90Words::opaque(Value v) {
  return LLVM::InlineAsmOp::create(
             e.b, e.loc, v.getType(), ValueRange(v), "mov.b32 $0, $1;", "=r,r",
             /*has_side_effects=*/true, /*is_align_stack=*/false,
             LLVM::TailCallKind::None, LLVM::AsmDialectAttr(), ArrayAttr())
      .getRes();
}

Value Sm90Words::packBf16(Value low, Value high) {
  // Rounds to nearest even, as truncf does; a NaN becomes the canonical one.
  auto type = VectorType::get(2, e.b.getBF16Type());
  Value pair = NVVM::ConvertF32x2ToBF16x2Op::create(
      e.b, e.loc, Type(type), high, low, Value(), NVVM::FPRoundingMode::RN);
  return LLVM::BitcastOp::create(e.b, e.loc, e.b.getI32Type(), pair);
}

void Sm90Words::branch(Value condition, function_ref<void()> then,
                       function_ref<void()> otherwise) {
  auto op = scf::IfOp::create(e.b, e.loc, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(e.b);
  e.b.setInsertionPointToStart(op.thenBlock());
  then();
  e.b.setInsertionPointToStart(op.elseBlock());
  otherwise();
}
