//===- Decoder.h - from ops to instructions ---------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TARGET_CUDA_EMULATE_DECODER_H
#define R1C_COMPILER_TARGET_CUDA_EMULATE_DECODER_H

#include "compiler/target/cuda/emulate/Code.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "llvm/ADT/DenseMap.h"

namespace r1c::cuda::emulate {

/// Slots of a value of this type; 0: the interpreter has no such values.
uint32_t slotsOf(mlir::Type type);
/// Size and natural alignment in memory, in bytes.
uint64_t sizeOf(mlir::Type type);
uint64_t alignOf(mlir::Type type);
/// Slot and byte of an element: of `type` at `position`.
std::pair<uint32_t, uint64_t> elementAt(mlir::Type &type,
                                        mlir::ArrayRef<int64_t> position);
/// Bits of a scalar.
unsigned bitsOf(mlir::Type scalar);
mlir::Type scalarOf(mlir::Type type);
inline uint64_t maskOf(unsigned bits) {
  return bits >= 64 ? ~uint64_t(0) : (uint64_t(1) << bits) - 1;
}
/// 0 f32, 1 f64, 2 bf16, 255: another.
uint8_t floatKind(mlir::Type type);
unsigned spaceOf(mlir::Type pointer);

class FunctionDecoder {
public:
  FunctionDecoder(Code &code, Function &function)
      : code(code), function(function) {}
  void decode(mlir::LLVM::LLVMFuncOp op);

  Code &code;
  Function &function;

  /// First slot of a value; allocates it if it has none yet.
  uint32_t slot(mlir::Value value);
  uint32_t optionalSlot(mlir::Value value) {
    return value ? slot(value) : kNone;
  }
  /// Makes `value`, a result of `op`, a name of slots that are there; copies
  /// them if it has slots already.
  void alias(mlir::Value value, uint32_t first, mlir::Operation *op);
  uint32_t allocate(uint32_t count);
  /// A slot that holds a number from the start.
  uint32_t constant(uint64_t bits);
  /// The number of a value that is known now.
  std::optional<int64_t> known(mlir::Value value);
  Instruction &emit(Opcode op, mlir::Operation *source);
  /// emit, with dst the slots of `result`.
  Instruction &emitResult(Opcode op, mlir::Operation *source,
                          mlir::Value result);
  void unsupported(mlir::Operation *op);
  uint32_t access(mlir::Type type);
  uint32_t edge(mlir::Block *target, mlir::ValueRange arguments);

private:
  void decodeOp(mlir::Operation *op);
  bool decodeValues(mlir::Operation *op);
  bool decodeIntegers(mlir::Operation *op);
  bool decodeFloats(mlir::Operation *op);
  bool decodeCasts(mlir::Operation *op);
  bool decodeReductions(mlir::Operation *op);
  bool decodeMemory(mlir::Operation *op);
  bool decodeControl(mlir::Operation *op);
  bool decodeAggregates(mlir::Operation *op);
  void decodeGep(mlir::LLVM::GEPOp op);
  void decodeBitcast(mlir::Operation *op);
  bool fillConstant(mlir::Attribute attribute, mlir::Type type, uint32_t first);
  bool decodeIntrinsic(mlir::LLVM::CallIntrinsicOp op);
  // DecodeNvvm.cpp
  bool decodeNvvm(mlir::Operation *op);
  bool decodeWarp(mlir::Operation *op);
  bool decodeMbarrier(mlir::Operation *op);
  bool decodeAsync(mlir::Operation *op);
  bool decodeWgmma(mlir::NVVM::WgmmaMmaAsyncOp op);
  void predicate(mlir::Value value, mlir::Operation *op);
  // Assembly.cpp
  bool decodeAssembly(mlir::LLVM::InlineAsmOp op);
  bool decodeWgmmaAssembly(mlir::LLVM::InlineAsmOp op);
  bool decodeEmptyAssembly(mlir::LLVM::InlineAsmOp op);

  llvm::DenseMap<mlir::Value, uint32_t> slots;
  llvm::DenseMap<uint64_t, uint32_t> constants;
  llvm::DenseMap<mlir::Block *, uint32_t> starts;
  std::vector<std::pair<uint32_t, mlir::Block *>> targets; ///< by edge
};

} // namespace r1c::cuda::emulate

#endif // R1C_COMPILER_TARGET_CUDA_EMULATE_DECODER_H
