//===- Assembly.cpp - inline PTX, recognised by its text ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Inline assembly is known by its exact text, but for wgmma, whose text holds
// its shape: that one is read. What a kernel of r1c emits anew has to be added
// here.
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Decoder.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace r1c::cuda::emulate;

namespace {
/// Blanks in PTX mean nothing: one stands for any number of them.
std::string squeezed(StringRef text) {
  std::string result;
  for (char c : text)
    if (!isspace(c))
      result += c;
    else if (!result.empty() && result.back() != ' ')
      result += ' ';
  return StringRef(result).trim().str();
}

enum class Known {
  None,
  Exp2,
  Log2,
  Reciprocal,
  ReciprocalRoot,
  PackBf16,
  TryWaitLoop,
  ExpectArrive,
  Arrive,
  BarrierSync,
  BarrierArrive,
  GridWait,
  GridGo,
  Move,
};
struct Entry {
  StringRef text;
  Known known;
};
const Entry entries[] = {
    {"ex2.approx.f32 $0, $1;", Known::Exp2},
    {"ex2.approx.ftz.f32 $0, $1;", Known::Exp2},
    {"lg2.approx.f32 $0, $1;", Known::Log2},
    {"lg2.approx.ftz.f32 $0, $1;", Known::Log2},
    {"rcp.approx.ftz.f32 $0, $1;", Known::Reciprocal},
    {"rsqrt.approx.ftz.f32 $0, $1;", Known::ReciprocalRoot},
    {"cvt.rn.bf16x2.f32 $0, $1, $2;", Known::PackBf16},
    {"{ .reg .pred P1; LAB_WAIT: mbarrier.try_wait.parity.shared.b64 P1, [$0], "
     "$1, $2; @P1 bra.uni DONE; bra.uni LAB_WAIT; DONE: }",
     Known::TryWaitLoop},
    {"{ .reg .pred P1; LAB_WAIT: mbarrier.try_wait.parity.b64 P1, [$0], $1, "
     "$2; @P1 bra.uni DONE; bra.uni LAB_WAIT; DONE: }",
     Known::TryWaitLoop},
    {"mbarrier.arrive.expect_tx.shared.b64 _, [$0], $1;", Known::ExpectArrive},
    {"mbarrier.arrive.shared.b64 _, [$0];", Known::Arrive},
    {"bar.sync $0, $1;", Known::BarrierSync},
    {"bar.arrive $0, $1;", Known::BarrierArrive},
    {"mov.b32 $0, $1;", Known::Move},
    {"mov.b64 $0, $1;", Known::Move},
    {"griddepcontrol.wait;", Known::GridWait},
    {"griddepcontrol.launch_dependents;", Known::GridGo},
};

/// Reads the text of a wgmma from left to right.
struct Reader {
  StringRef rest;
  void blanks() { rest = rest.ltrim(); }
  bool eat(StringRef text) {
    blanks();
    return rest.consume_front(text);
  }
  /// $i
  bool operand(unsigned &index) {
    return eat("$") && !rest.consumeInteger(10, index);
  }
  /// {$i, $j, …}
  bool operands(std::vector<unsigned> &indices) {
    if (!eat("{"))
      return false;
    do {
      unsigned index;
      if (!operand(index))
        return false;
      indices.push_back(index);
    } while (eat(","));
    return eat("}");
  }
};
} // namespace

bool FunctionDecoder::decodeWgmmaAssembly(LLVM::InlineAsmOp op) {
  StringRef text = op.getAsmString();
  size_t start = text.find("wgmma.mma_async.sync.aligned.m64n");
  if (start == StringRef::npos || op->getNumResults() != 1)
    return false;
  WgmmaSite site;
  const uint32_t results = slotsOf(op->getResult(0).getType());
  // Inputs tied to an output carry its number as constraint.
  llvm::SmallVector<StringRef> constraints;
  StringRef(op.getConstraints()).split(constraints, ',');
  if (constraints.size() != results + op.getNumOperands())
    return false;
  site.accumulatorSlots.assign(results, kNone);
  for (unsigned i = 0; i < op.getNumOperands(); ++i) {
    unsigned tied;
    if (!constraints[results + i].getAsInteger(10, tied)) {
      if (tied >= results)
        return false;
      site.accumulatorSlots[tied] = slot(op->getOperand(i));
    }
  }
  auto value = [&](unsigned index) -> Value {
    return index >= results && index - results < op.getNumOperands()
               ? op->getOperand(index - results)
               : Value();
  };
  Reader reader{text.substr(start)};
  std::vector<unsigned> d, a;
  unsigned n, index;
  if (!reader.eat("wgmma.mma_async.sync.aligned.m64n") ||
      reader.rest.consumeInteger(10, n) || !reader.eat("k16.f32.bf16.bf16") ||
      !reader.operands(d) || !reader.eat(",") || n % 8 || n > 256 ||
      d.size() != n / 2 || results != n / 2)
    return false;
  for (unsigned i = 0; i < d.size(); ++i)
    if (d[i] != i)
      return false;
  site.n = n;
  if (reader.operands(a)) {
    if (a.size() != 4)
      return false;
    for (unsigned i : a)
      if (Value v = value(i); v && bitsOf(v.getType()) == 32)
        site.fragmentA.push_back(slot(v));
      else
        return false;
  } else {
    if (!reader.operand(index) || !value(index))
      return false;
    site.descriptorA = slot(value(index));
  }
  if (!reader.eat(",") || !reader.operand(index) || !value(index) ||
      !reader.eat(","))
    return false;
  site.descriptorB = slot(value(index));
  // The predicate: a number, or one that setp made of an operand.
  reader.blanks();
  StringRef name = reader.rest.take_while(
      [](char c) { return isalnum(c) || c == '_' || c == '%'; });
  reader.rest = reader.rest.drop_front(name.size());
  std::string condition = ("setp.ne.b32 " + name + ",").str();
  size_t set = text.find(condition);
  Reader setp;
  int64_t number;
  if (!name.getAsInteger(10, number)) {
    site.accumulate = number != 0;
  } else if (set == StringRef::npos) {
    return false;
  } else if (setp.rest = text.substr(set + condition.size());
             setp.operand(index)) {
    Value v = value(index);
    if (!v)
      return false;
    if (auto constant = known(v))
      site.accumulate = *constant != 0;
    else
      site.accumulateSlot = slot(v);
  } else if (!setp.rest.ltrim().consumeInteger(10, number)) {
    site.accumulate = number != 0;
  } else {
    return false;
  }
  if (site.accumulate || site.accumulateSlot != kNone) {
    if (llvm::is_contained(site.accumulatorSlots, kNone))
      return false;
  }
  // Scales and transpositions: of A only when it lies in memory.
  std::vector<int64_t> numbers;
  while (reader.eat(",")) {
    reader.blanks();
    if (reader.operand(index)) {
      Value v = value(index);
      auto constant = v ? known(v) : std::nullopt;
      if (!constant)
        return false;
      numbers.push_back(*constant);
    } else if (!reader.rest.consumeInteger(10, number)) {
      numbers.push_back(number);
    } else {
      return false;
    }
  }
  if (!reader.eat(";") || numbers.size() != (site.fragmentA.empty() ? 4u : 3u))
    return false;
  site.scaleA = numbers[0];
  site.scaleB = numbers[1];
  site.transposeA = site.fragmentA.empty() && numbers[2];
  site.transposeB = numbers.back();
  site.result = slot(op->getResult(0));
  function.wgmmas.push_back(std::move(site));
  emit(Opcode::Wgmma, op).extra = function.wgmmas.size() - 1;
  return true;
}

/// No instruction: results that are tied to operands are these, and other
/// operands are only kept until here.
bool FunctionDecoder::decodeEmptyAssembly(LLVM::InlineAsmOp op) {
  llvm::SmallVector<StringRef> constraints;
  StringRef(op.getConstraints()).split(constraints, ',');
  uint32_t results =
      op->getNumResults() ? slotsOf(op->getResult(0).getType()) : 0;
  if (constraints.size() < results + op.getNumOperands())
    return results == 0;
  uint32_t first = results ? slot(op->getResult(0)) : 0;
  std::vector<bool> given(results);
  for (unsigned i = 0; i < op.getNumOperands(); ++i) {
    unsigned tied;
    if (constraints[results + i].getAsInteger(10, tied))
      continue;
    Value operand = op->getOperand(i);
    if (tied >= results || slotsOf(operand.getType()) != 1)
      return false;
    uint32_t source = slot(operand);
    Instruction &copy = emit(Opcode::Copy, op);
    copy.dst = first + tied;
    copy.a = source;
    copy.results = 1;
    given[tied] = true;
  }
  return !llvm::is_contained(given, false);
}

bool FunctionDecoder::decodeAssembly(LLVM::InlineAsmOp op) {
  if (op.getAsmString().contains("wgmma.mma_async"))
    return decodeWgmmaAssembly(op);
  std::string text = squeezed(op.getAsmString());
  if (text.empty())
    return decodeEmptyAssembly(op);
  Known found = Known::None;
  for (const Entry &entry : entries)
    if (text == entry.text)
      found = entry.known;
  auto operand = [&](unsigned i) { return slot(op->getOperand(i)); };
  auto approximate = [&](uint8_t which) {
    if (op.getNumOperands() != 1 || op->getNumResults() != 1)
      return false;
    uint32_t a = operand(0);
    Instruction &i = emitResult(Opcode::Approx, op, op->getResult(0));
    i.a = a;
    i.kind = which;
    return true;
  };
  auto address = [&](Opcode code, uint32_t b, int64_t flags) {
    uint32_t a = operand(0);
    Type type = op->getOperand(0).getType();
    Instruction &i = emit(code, op);
    i.a = a, i.b = b;
    // An address in a 32-bit register is one of shared memory.
    i.kind = isa<LLVM::LLVMPointerType>(type) ? spaceOf(type) : 3;
    i.imm = flags;
    return true;
  };
  switch (found) {
  case Known::None:
    return false;
  case Known::Exp2:
    return approximate(0);
  case Known::Log2:
    return approximate(1);
  case Known::Reciprocal:
    return approximate(2);
  case Known::ReciprocalRoot:
    return approximate(3);
  case Known::PackBf16: {
    // The first source becomes the upper half.
    uint32_t high = operand(0), low = operand(1), halves = allocate(2);
    for (auto [source, half] : {std::pair(low, 0u), std::pair(high, 1u)}) {
      Instruction &i = emit(Opcode::FToF, op);
      i.dst = halves + half;
      i.a = source;
      i.width = 2;
      i.results = 1;
    }
    Instruction &i = emitResult(Opcode::Reinterpret, op, op->getResult(0));
    i.a = halves;
    i.lanes = 2;
    i.width = 16;
    i.kind = 32;
    i.imm = 1;
    return true;
  }
  case Known::TryWaitLoop:
    return address(Opcode::MbarWait, operand(1), 0);
  case Known::ExpectArrive:
    return address(Opcode::MbarExpect, operand(1), 4);
  case Known::Arrive:
    return address(Opcode::MbarArrive, kNone, 0);
  case Known::BarrierSync:
  case Known::BarrierArrive: {
    uint32_t a = operand(0), b = operand(1);
    Instruction &i = emit(found == Known::BarrierSync ? Opcode::Barrier
                                                      : Opcode::BarrierArrive,
                          op);
    i.a = a, i.b = b;
    return true;
  }
  case Known::GridWait:
    emit(Opcode::GridWait, op);
    return true;
  case Known::GridGo:
    return true;
  case Known::Move: {
    uint32_t source = operand(0);
    Instruction &i = emitResult(Opcode::Copy, op, op->getResult(0));
    i.a = source;
    return true;
  }
  }
  return false;
}
