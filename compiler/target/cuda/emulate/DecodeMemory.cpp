//===- DecodeMemory.cpp - memory ops of the LLVM dialect ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Decoder.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c::cuda::emulate;

void FunctionDecoder::decodeGep(LLVM::GEPOp op) {
  uint32_t address = slot(op.getBase());
  uint32_t lanes = slotsOf(op.getResult().getType());
  bool one = slotsOf(op.getBase().getType()) == 1;
  Type type = op.getElemType();
  int64_t offset = 0;
  bool first = true;
  auto step = [&](uint32_t index, unsigned width, int64_t stride, bool scalar) {
    uint32_t next = allocate(lanes);
    Instruction &i = emit(Opcode::Address, op);
    i.dst = next;
    i.lanes = i.results = lanes;
    i.a = address;
    i.b = index;
    i.width = width;
    i.imm = stride;
    i.kind = (one ? 1 : 0) | (scalar ? 2 : 0);
    address = next;
    one = false;
  };
  for (auto index : op.getIndices()) {
    Type inner = type;
    int64_t stride = sizeOf(type);
    if (auto number = dyn_cast<IntegerAttr>(index)) {
      int64_t value = number.getValue().getSExtValue();
      if (first)
        offset += value * stride;
      else
        offset += elementAt(inner, {value}).second;
    } else {
      Value value = cast<Value>(index);
      if (!first) {
        elementAt(inner, {0});
        stride = sizeOf(inner);
      }
      if (auto constant = known(value))
        offset += *constant * stride;
      else
        step(slot(value), bitsOf(scalarOf(value.getType())), stride,
             slotsOf(value.getType()) == 1);
    }
    type = first ? type : inner;
    first = false;
  }
  if (offset || (one && lanes > 1))
    step(kNone, 64, offset, true);
  alias(op.getResult(), address, op);
}

bool FunctionDecoder::decodeMemory(Operation *op) {
  auto memory = [&](Opcode what, Value pointer, Type type,
                    std::optional<uint64_t> align) -> Instruction & {
    uint32_t shape = access(type);
    Instruction &i = emit(what, op);
    i.kind = spaceOf(pointer.getType());
    i.extra = shape;
    i.imm = align.value_or(alignOf(type));
    i.lanes = slotsOf(type);
    return i;
  };
  return llvm::TypeSwitch<Operation *, bool>(op)
      .Case([&](LLVM::GEPOp gep) {
        decodeGep(gep);
        return true;
      })
      .Case([&](LLVM::LoadOp load) {
        uint32_t address = slot(load.getAddr()), dst = slot(load.getRes());
        Instruction &i = memory(Opcode::Load, load.getAddr(),
                                load.getRes().getType(), load.getAlignment());
        i.a = address;
        i.dst = dst;
        i.results = i.lanes;
        return true;
      })
      .Case([&](LLVM::StoreOp store) {
        uint32_t address = slot(store.getAddr()),
                 value = slot(store.getValue());
        Instruction &i =
            memory(Opcode::Store, store.getAddr(), store.getValue().getType(),
                   store.getAlignment());
        i.a = address;
        i.b = value;
        return true;
      })
      .Case([&](LLVM::MaskedLoadOp load) {
        if (!load.getPassThru())
          return false;
        uint32_t a = slot(load.getData()), b = slot(load.getMask()),
                 c = slot(load.getPassThru()), dst = slot(load.getRes());
        Instruction &i = memory(Opcode::MaskedLoad, load.getData(),
                                load.getRes().getType(), load.getAlignment());
        i.a = a, i.b = b, i.c = c, i.dst = dst;
        i.results = i.lanes;
        return true;
      })
      .Case([&](LLVM::MaskedStoreOp store) {
        uint32_t a = slot(store.getData()), b = slot(store.getValue()),
                 c = slot(store.getMask());
        Instruction &i =
            memory(Opcode::MaskedStore, store.getData(),
                   store.getValue().getType(), store.getAlignment());
        i.a = a, i.b = b, i.c = c;
        return true;
      })
      .Case([&](LLVM::masked_gather gather) {
        if (gather.getPassThru().empty())
          return false;
        uint32_t a = slot(gather.getPtrs()), b = slot(gather.getMask()),
                 c = slot(gather.getPassThru()[0]), dst = slot(gather.getRes());
        Instruction &i =
            memory(Opcode::Gather, gather.getPtrs(), gather.getRes().getType(),
                   gather.getAlignment());
        i.a = a, i.b = b, i.c = c, i.dst = dst;
        i.results = i.lanes;
        return true;
      })
      .Case([&](LLVM::masked_scatter scatter) {
        uint32_t a = slot(scatter.getValue()), b = slot(scatter.getPtrs()),
                 c = slot(scatter.getMask());
        Instruction &i =
            memory(Opcode::Scatter, scatter.getPtrs(),
                   scatter.getValue().getType(), scatter.getAlignment());
        i.a = a, i.b = b, i.c = c;
        return true;
      })
      .Case<LLVM::MemcpyOp, LLVM::MemmoveOp>([&](auto copy) {
        uint32_t a = slot(copy.getDst()), b = slot(copy.getSrc()),
                 c = slot(copy.getLen());
        Instruction &i = emit(Opcode::MemCopy, op);
        i.a = a, i.b = b, i.c = c;
        i.kind = spaceOf(copy.getDst().getType());
        i.width = spaceOf(copy.getSrc().getType());
        return true;
      })
      .Case([&](LLVM::MemsetOp set) {
        uint32_t a = slot(set.getDst()), b = slot(set.getVal()),
                 c = slot(set.getLen());
        Instruction &i = emit(Opcode::MemSet, op);
        i.a = a, i.b = b, i.c = c;
        i.kind = spaceOf(set.getDst().getType());
        return true;
      })
      .Case([&](LLVM::AtomicRMWOp atomic) {
        uint32_t a = slot(atomic.getPtr()), b = slot(atomic.getVal()),
                 dst = slot(atomic.getRes());
        Type type = atomic.getVal().getType();
        Instruction &i = memory(Opcode::Atomic, atomic.getPtr(), type, {});
        i.a = a, i.b = b, i.dst = dst;
        i.results = 1;
        i.c = uint32_t(atomic.getBinOp());
        i.width = bitsOf(type);
        i.d = floatKind(type);
        return true;
      })
      .Case([&](LLVM::AtomicCmpXchgOp atomic) {
        uint32_t a = slot(atomic.getPtr()), b = slot(atomic.getCmp()),
                 c = slot(atomic.getVal()), dst = slot(atomic.getRes());
        Instruction &i = memory(Opcode::CompareSwap, atomic.getPtr(),
                                atomic.getVal().getType(), {});
        i.a = a, i.b = b, i.c = c, i.dst = dst;
        i.results = 2;
        return true;
      })
      .Case([&](LLVM::AllocaOp alloca) {
        uint32_t count = slot(alloca.getArraySize());
        Instruction &i = emitResult(Opcode::Alloca, op, alloca.getRes());
        i.a = count;
        i.imm = sizeOf(alloca.getElemType());
        i.extra = std::max<uint64_t>(alloca.getAlignment().value_or(0),
                                     alignOf(alloca.getElemType()));
        i.kind = spaceOf(alloca.getRes().getType());
        return true;
      })
      .Default([](Operation *) { return false; });
}
