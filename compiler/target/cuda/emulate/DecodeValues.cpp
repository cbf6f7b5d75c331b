//===- DecodeValues.cpp - arithmetic of the LLVM dialect ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Decoder.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c::cuda::emulate;

/// Slots of all operands in a, b, c.
static void setOperands(FunctionDecoder &d, Instruction &i, Operation *op) {
  uint32_t *places[] = {&i.a, &i.b, &i.c};
  for (auto [operand, place] : llvm::zip(op->getOperands(), places))
    *place = d.slot(operand);
}

/// An elementwise op on the operands of `op`, or of its first operand's type.
static bool elementwise(FunctionDecoder &d, Opcode code, Operation *op,
                        uint8_t kind = 0) {
  Type type = op->getOperand(0).getType();
  unsigned bits = bitsOf(scalarOf(type));
  for (Value operand : op->getOperands())
    d.slot(operand);
  Instruction &i = d.emitResult(code, op, op->getResult(0));
  setOperands(d, i, op);
  i.kind = kind;
  i.width = bits;
  i.imm = maskOf(bits);
  return true;
}

bool FunctionDecoder::decodeIntegers(Operation *op) {
  if (op->getNumResults() != 1)
    return false;
  StringRef name = op->getName().stripDialect();
  Opcode code = llvm::StringSwitch<Opcode>(name)
                    .Case("add", Opcode::Add)
                    .Case("sub", Opcode::Sub)
                    .Case("mul", Opcode::Mul)
                    .Case("udiv", Opcode::UDiv)
                    .Case("sdiv", Opcode::SDiv)
                    .Case("urem", Opcode::URem)
                    .Case("srem", Opcode::SRem)
                    .Case("and", Opcode::And)
                    .Case("or", Opcode::Or)
                    .Case("xor", Opcode::Xor)
                    .Case("shl", Opcode::Shl)
                    .Case("lshr", Opcode::LShr)
                    .Case("ashr", Opcode::AShr)
                    .Case("icmp", Opcode::ICmp)
                    .Case("intr.smax", Opcode::SMax)
                    .Case("intr.smin", Opcode::SMin)
                    .Case("intr.umax", Opcode::UMax)
                    .Case("intr.umin", Opcode::UMin)
                    .Case("intr.abs", Opcode::Abs)
                    .Case("intr.ctpop", Opcode::CtPop)
                    .Case("intr.ctlz", Opcode::Ctlz)
                    .Case("intr.cttz", Opcode::Cttz)
                    .Case("intr.bitreverse", Opcode::BitReverse)
                    .Case("intr.bswap", Opcode::ByteSwap)
                    .Case("intr.fshl", Opcode::Fshl)
                    .Case("intr.fshr", Opcode::Fshr)
                    .Default(Opcode::Nop);
  if (code == Opcode::Nop)
    return false;
  uint8_t kind = 0;
  if (auto compare = dyn_cast<LLVM::ICmpOp>(op))
    kind = uint8_t(compare.getPredicate());
  return elementwise(*this, code, op, kind);
}

bool FunctionDecoder::decodeFloats(Operation *op) {
  if (op->getNumResults() != 1 || op->getNumOperands() == 0)
    return false;
  uint8_t kind = floatKind(op->getOperand(0).getType());
  StringRef name = op->getName().stripDialect();
  Opcode code = llvm::StringSwitch<Opcode>(name)
                    .Case("fadd", Opcode::FAdd)
                    .Case("fsub", Opcode::FSub)
                    .Case("fmul", Opcode::FMul)
                    .Case("fdiv", Opcode::FDiv)
                    .Case("frem", Opcode::FRem)
                    .Case("fneg", Opcode::FNeg)
                    .Case("fcmp", Opcode::FCmp)
                    .Case("intr.fabs", Opcode::FAbs)
                    .Case("intr.copysign", Opcode::CopySign)
                    .Case("intr.fma", Opcode::Fma)
                    .Case("intr.sqrt", Opcode::Sqrt)
                    .Case("intr.maximum", Opcode::Maximum)
                    .Case("intr.minimum", Opcode::Minimum)
                    .Case("intr.maxnum", Opcode::MaxNum)
                    .Case("intr.minnum", Opcode::MinNum)
                    .Case("intr.floor", Opcode::Floor)
                    .Case("intr.ceil", Opcode::Ceil)
                    .Case("intr.trunc", Opcode::FTrunc)
                    .Cases({"intr.rint", "intr.nearbyint", "intr.roundeven"},
                           Opcode::Rint)
                    .Case("intr.round", Opcode::Round)
                    .Default(Opcode::Nop);
  // bfloat16 is a type to store: all but a change of sign is done in f32.
  bool signOnly =
      code == Opcode::FNeg || code == Opcode::FAbs || code == Opcode::CopySign;
  if (code == Opcode::Nop || kind == 255 || (kind == 2 && !signOnly))
    return false;
  elementwise(*this, code, op, kind);
  if (auto compare = dyn_cast<LLVM::FCmpOp>(op))
    function.code.back().extra = uint32_t(compare.getPredicate());
  return true;
}

void FunctionDecoder::decodeBitcast(Operation *op) {
  Value from = op->getOperand(0), to = op->getResult(0);
  unsigned fromBits = bitsOf(scalarOf(from.getType())),
           toBits = bitsOf(scalarOf(to.getType()));
  if (fromBits == toBits)
    return alias(to, slot(from), op);
  uint32_t source = slot(from);
  Instruction &i = emitResult(Opcode::Reinterpret, op, to);
  i.a = source;
  i.lanes = slotsOf(from.getType());
  i.width = fromBits;
  i.kind = toBits;
  i.imm = i.results;
}

bool FunctionDecoder::decodeCasts(Operation *op) {
  if (op->getNumResults() != 1 || op->getNumOperands() != 1)
    return false;
  Value from = op->getOperand(0), to = op->getResult(0);
  unsigned fromBits = bitsOf(scalarOf(from.getType())),
           toBits = bitsOf(scalarOf(to.getType()));
  auto convert = [&](Opcode code, uint8_t kind, uint8_t width) {
    if (kind == 255 || width == 255)
      return false;
    uint32_t source = slot(from);
    Instruction &i = emitResult(code, op, to);
    i.a = source;
    i.kind = kind;
    i.width = width;
    i.imm = maskOf(toBits);
    return true;
  };
  uint8_t fromKind = floatKind(from.getType()),
          toKind = floatKind(to.getType());
  return llvm::TypeSwitch<Operation *, bool>(op)
      .Case<LLVM::ZExtOp, LLVM::FreezeOp>([&](auto) {
        alias(to, slot(from), op);
        return true;
      })
      .Case<LLVM::PtrToIntOp, LLVM::IntToPtrOp>([&](auto) {
        if (toBits >= fromBits)
          alias(to, slot(from), op);
        else
          convert(Opcode::Trunc, 0, fromBits);
        return true;
      })
      .Case([&](LLVM::TruncOp) { return convert(Opcode::Trunc, 0, fromBits); })
      .Case([&](LLVM::SExtOp) { return convert(Opcode::SExt, 0, fromBits); })
      .Case<LLVM::FPExtOp, LLVM::FPTruncOp>(
          [&](auto) { return convert(Opcode::FToF, fromKind, toKind); })
      .Case([&](LLVM::FPToSIOp) {
        return fromKind < 2 && convert(Opcode::FToS, fromKind, toBits);
      })
      .Case([&](LLVM::FPToUIOp) {
        return fromKind < 2 && convert(Opcode::FToU, fromKind, toBits);
      })
      .Case([&](LLVM::SIToFPOp) {
        return toKind < 2 && convert(Opcode::SToF, toKind, fromBits);
      })
      .Case([&](LLVM::UIToFPOp) {
        return toKind < 2 && convert(Opcode::UToF, toKind, fromBits);
      })
      .Case([&](LLVM::BitcastOp) {
        decodeBitcast(op);
        return true;
      })
      .Case([&](LLVM::AddrSpaceCastOp) {
        unsigned a = spaceOf(from.getType()), b = spaceOf(to.getType());
        auto global = [](unsigned space) {
          return space == 0 || space == 1 || space == 4 || space == 101;
        };
        auto shared = [](unsigned space) { return space == 3 || space == 7; };
        if (a == b || (global(a) && global(b)) || (shared(a) && shared(b))) {
          alias(to, slot(from), op);
          return true;
        }
        unsigned other = a == 0 ? b : a;
        if (a != 0 && b != 0)
          return false;
        if (shared(other))
          return convert(Opcode::SharedWindow, a == 0, other);
        return other == 5 && convert(Opcode::LocalWindow, a == 0, other);
      })
      .Default([](Operation *) { return false; });
}

bool FunctionDecoder::decodeReductions(Operation *op) {
  StringRef name = op->getName().stripDialect();
  if (!name.consume_front("intr.vector.reduce."))
    return false;
  Opcode inner = llvm::StringSwitch<Opcode>(name)
                     .Case("add", Opcode::Add)
                     .Case("mul", Opcode::Mul)
                     .Case("and", Opcode::And)
                     .Case("or", Opcode::Or)
                     .Case("xor", Opcode::Xor)
                     .Case("smax", Opcode::SMax)
                     .Case("smin", Opcode::SMin)
                     .Case("umax", Opcode::UMax)
                     .Case("umin", Opcode::UMin)
                     .Case("fmax", Opcode::MaxNum)
                     .Case("fmin", Opcode::MinNum)
                     .Case("fmaximum", Opcode::Maximum)
                     .Case("fminimum", Opcode::Minimum)
                     .Case("fadd", Opcode::FAdd)
                     .Case("fmul", Opcode::FMul)
                     .Default(Opcode::Nop);
  if (inner == Opcode::Nop)
    return false;
  bool start = op->getNumOperands() == 2;
  Value vector = op->getOperands().back();
  uint32_t a = slot(vector), b = start ? slot(op->getOperand(0)) : kNone;
  Type element = scalarOf(vector.getType());
  Instruction &i = emitResult(Opcode::Reduce, op, op->getResult(0));
  i.a = a;
  i.b = b;
  i.lanes = slotsOf(vector.getType());
  i.extra = uint32_t(inner);
  i.kind = isa<FloatType>(element) ? floatKind(element) : 0;
  i.width = bitsOf(element);
  i.imm = maskOf(i.width);
  return !isa<FloatType>(element) || i.kind < 2;
}

bool FunctionDecoder::decodeIntrinsic(LLVM::CallIntrinsicOp op) {
  // Which of them, in the order of Approx in Arithmetic.h.
  int which =
      llvm::StringSwitch<int>(op.getIntrin())
          .Cases({"llvm.nvvm.ex2.approx.f", "llvm.nvvm.ex2.approx.ftz.f"}, 0)
          .Cases({"llvm.nvvm.lg2.approx.f", "llvm.nvvm.lg2.approx.ftz.f"}, 1)
          .Cases({"llvm.nvvm.rcp.approx.f", "llvm.nvvm.rcp.approx.ftz.f"}, 2)
          .Cases({"llvm.nvvm.rsqrt.approx.f", "llvm.nvvm.rsqrt.approx.ftz.f"},
                 3)
          .Default(-1);
  if (which < 0 || op.getNumOperands() != 1 || op->getNumResults() != 1)
    return false;
  return elementwise(*this, Opcode::Approx, op, which);
}

bool FunctionDecoder::decodeValues(Operation *op) {
  if (auto call = dyn_cast<LLVM::CallIntrinsicOp>(op))
    return decodeIntrinsic(call);
  if (auto select = dyn_cast<LLVM::SelectOp>(op)) {
    for (Value operand : op->getOperands())
      slot(operand);
    Instruction &i = emitResult(Opcode::Select, op, select.getRes());
    setOperands(*this, i, op);
    i.kind = slotsOf(select.getCondition().getType()) != i.lanes;
    return true;
  }
  if (isa<LLVM::AssumeOp, LLVM::LifetimeStartOp, LLVM::LifetimeEndOp,
          LLVM::Prefetch, LLVM::FenceOp, LLVM::StackRestoreOp>(op))
    return true;
  if (auto save = dyn_cast<LLVM::StackSaveOp>(op)) {
    alias(save.getResult(), constant(0), op);
    return true;
  }
  return decodeCasts(op) || decodeIntegers(op) || decodeFloats(op) ||
         decodeReductions(op);
}

// Constants, structs, arrays and vectors.

bool FunctionDecoder::fillConstant(Attribute attribute, Type type,
                                   uint32_t first) {
  std::vector<uint64_t> &image = function.image;
  if (auto number = dyn_cast<IntegerAttr>(attribute)) {
    image[first] = number.getValue().getZExtValue();
    return true;
  }
  if (auto number = dyn_cast<FloatAttr>(attribute)) {
    image[first] = number.getValue().bitcastToAPInt().getZExtValue();
    return true;
  }
  if (auto elements = dyn_cast<DenseElementsAttr>(attribute)) {
    for (Attribute element : elements.getValues<Attribute>())
      if (!fillConstant(element, elements.getElementType(), first++))
        return false;
    return true;
  }
  if (auto parts = dyn_cast<ArrayAttr>(attribute)) {
    for (auto [i, part] : llvm::enumerate(parts)) {
      Type inner = type;
      uint32_t at = first + elementAt(inner, {int64_t(i)}).first;
      if (!fillConstant(part, inner, at))
        return false;
    }
    return true;
  }
  if (isa<LLVM::ZeroAttr>(attribute))
    return true;
  return false;
}

bool FunctionDecoder::decodeAggregates(Operation *op) {
  // In place, if nothing else will want the old aggregate.
  auto target = [&](Value from, Value to) {
    Operation *maker = from.getDefiningOp();
    bool mine = maker && maker->getBlock() == op->getBlock() &&
                isa<LLVM::InsertValueOp, LLVM::InsertElementOp, LLVM::UndefOp,
                    LLVM::PoisonOp>(maker);
    if (mine && from.hasOneUse() && !slots.count(to)) {
      slots[to] = slot(from);
      return slot(from);
    }
    uint32_t first = slot(to);
    Instruction &copy = emit(Opcode::Copy, op);
    copy.dst = first;
    copy.a = slot(from);
    copy.lanes = copy.results = slotsOf(to.getType());
    return first;
  };
  auto put = [&](Value value, uint32_t first) {
    uint32_t source = slot(value);
    Instruction &copy = emit(Opcode::Copy, op);
    copy.dst = first;
    copy.a = source;
    copy.lanes = copy.results = slotsOf(value.getType());
  };
  return llvm::TypeSwitch<Operation *, bool>(op)
      .Case([&](LLVM::ConstantOp constant) {
        Value result = constant.getResult();
        uint32_t first = slot(result);
        return fillConstant(constant.getValue(), result.getType(), first);
      })
      .Case([&](LLVM::ZeroOp zero) {
        slot(zero.getResult()); // slots are zero at first
        return true;
      })
      .Case<LLVM::UndefOp, LLVM::PoisonOp>([&](auto undef) {
        emitResult(Opcode::Undef, op, undef.getResult());
        return true;
      })
      .Case([&](LLVM::AddressOfOp address) {
        for (auto &global : code.globals)
          if (global->name == address.getGlobalName()) {
            uint32_t first = slot(address.getResult());
            function.image[first] = global->space == 3
                                        ? global->address
                                        : uint64_t(global->bytes.data());
            return true;
          }
        return false;
      })
      .Case([&](LLVM::ExtractValueOp extract) {
        Type type = extract.getContainer().getType();
        uint32_t offset = elementAt(type, extract.getPosition()).first;
        alias(extract.getRes(), slot(extract.getContainer()) + offset, op);
        return true;
      })
      .Case([&](LLVM::InsertValueOp insert) {
        Type type = insert.getContainer().getType();
        uint32_t offset = elementAt(type, insert.getPosition()).first;
        slot(insert.getValue());
        put(insert.getValue(),
            target(insert.getContainer(), insert.getRes()) + offset);
        return true;
      })
      .Case([&](LLVM::ExtractElementOp extract) {
        uint32_t vector = slot(extract.getVector());
        if (auto position = known(extract.getPosition())) {
          alias(extract.getRes(), vector + *position, op);
          return true;
        }
        uint32_t position = slot(extract.getPosition());
        Instruction &i = emitResult(Opcode::ExtractLane, op, extract.getRes());
        i.a = vector;
        i.b = position;
        i.lanes = slotsOf(extract.getVector().getType());
        return true;
      })
      .Case([&](LLVM::InsertElementOp insert) {
        slot(insert.getValue());
        uint32_t first = target(insert.getVector(), insert.getRes());
        if (auto position = known(insert.getPosition())) {
          put(insert.getValue(), first + *position);
          return true;
        }
        uint32_t value = slot(insert.getValue()),
                 position = slot(insert.getPosition());
        Instruction &i = emit(Opcode::InsertLane, op);
        i.dst = first;
        i.b = value;
        i.c = position;
        i.lanes = slotsOf(insert.getVector().getType());
        return true;
      })
      .Case([&](LLVM::ShuffleVectorOp shuffle) {
        std::vector<uint32_t> table;
        uint32_t a = slot(shuffle.getV1()), b = slot(shuffle.getV2());
        uint32_t lanes = slotsOf(shuffle.getV1().getType());
        for (int32_t lane : shuffle.getMask())
          table.push_back(lane < 0                 ? a
                          : uint32_t(lane) < lanes ? a + lane
                                                   : b + lane - lanes);
        function.tables.push_back(std::move(table));
        Instruction &i = emitResult(Opcode::Shuffle, op, shuffle.getRes());
        i.extra = function.tables.size() - 1;
        return true;
      })
      .Default([](Operation *) { return false; });
}
