//===- Decode.cpp - modules, functions, types and control flow ------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Decoder.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace r1c::cuda::emulate;
namespace emulate = r1c::cuda::emulate;

// Types.

unsigned emulate::bitsOf(Type scalar) {
  if (isa<LLVM::LLVMPointerType>(scalar))
    return 64;
  return scalar.isIntOrFloat() ? scalar.getIntOrFloatBitWidth() : 0;
}

Type emulate::scalarOf(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.getElementType();
  return type;
}

uint8_t emulate::floatKind(Type type) {
  type = scalarOf(type);
  return type.isF32() ? 0 : type.isF64() ? 1 : type.isBF16() ? 2 : 255;
}

unsigned emulate::spaceOf(Type pointer) {
  return cast<LLVM::LLVMPointerType>(scalarOf(pointer)).getAddressSpace();
}

uint32_t emulate::slotsOf(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.getRank() == 1 && !vector.isScalable()
               ? slotsOf(vector.getElementType()) * vector.getNumElements()
               : 0;
  if (auto array = dyn_cast<LLVM::LLVMArrayType>(type))
    return slotsOf(array.getElementType()) * array.getNumElements();
  if (auto record = dyn_cast<LLVM::LLVMStructType>(type)) {
    uint32_t count = 0;
    for (Type part : record.getBody())
      count += slotsOf(part);
    return count;
  }
  unsigned bits = bitsOf(type);
  return bits && bits <= 64 ? 1 : 0;
}

uint64_t emulate::alignOf(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return llvm::PowerOf2Ceil(std::max<uint64_t>(1, sizeOf(type)));
  if (auto array = dyn_cast<LLVM::LLVMArrayType>(type))
    return alignOf(array.getElementType());
  if (auto record = dyn_cast<LLVM::LLVMStructType>(type)) {
    uint64_t align = 1;
    if (!record.isPacked())
      for (Type part : record.getBody())
        align = std::max(align, alignOf(part));
    return align;
  }
  return std::max<uint64_t>(1, sizeOf(type));
}

uint64_t emulate::sizeOf(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return sizeOf(vector.getElementType()) * vector.getNumElements();
  if (auto array = dyn_cast<LLVM::LLVMArrayType>(type))
    return sizeOf(array.getElementType()) * array.getNumElements();
  if (auto record = dyn_cast<LLVM::LLVMStructType>(type)) {
    uint64_t size = 0;
    for (Type part : record.getBody())
      size = (record.isPacked() ? size : llvm::alignTo(size, alignOf(part))) +
             sizeOf(part);
    return llvm::alignTo(size, alignOf(type));
  }
  return llvm::PowerOf2Ceil(llvm::divideCeil(bitsOf(type), 8));
}

std::pair<uint32_t, uint64_t> emulate::elementAt(Type &type,
                                                 ArrayRef<int64_t> position) {
  uint32_t slot = 0;
  uint64_t offset = 0;
  for (int64_t index : position) {
    if (auto record = dyn_cast<LLVM::LLVMStructType>(type)) {
      for (auto [i, part] : llvm::enumerate(record.getBody())) {
        if (!record.isPacked())
          offset = llvm::alignTo(offset, alignOf(part));
        if (int64_t(i) == index) {
          type = part;
          break;
        }
        slot += slotsOf(part);
        offset += sizeOf(part);
      }
    } else {
      type = isa<LLVM::LLVMArrayType>(type)
                 ? cast<LLVM::LLVMArrayType>(type).getElementType()
                 : scalarOf(type);
      slot += slotsOf(type) * index;
      offset += sizeOf(type) * index;
    }
  }
  return {slot, offset};
}

static void addFields(Type type, uint64_t offset,
                      std::vector<Access::Field> &fields) {
  auto each = [&](Type element, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      addFields(element, offset + i * sizeOf(element), fields);
  };
  if (auto vector = dyn_cast<VectorType>(type))
    return each(vector.getElementType(), vector.getNumElements());
  if (auto array = dyn_cast<LLVM::LLVMArrayType>(type))
    return each(array.getElementType(), array.getNumElements());
  if (auto record = dyn_cast<LLVM::LLVMStructType>(type)) {
    for (Type part : record.getBody()) {
      if (!record.isPacked())
        offset = llvm::alignTo(offset, alignOf(part));
      addFields(part, offset, fields);
      offset += sizeOf(part);
    }
    return;
  }
  fields.push_back(
      {uint32_t(offset), uint8_t(sizeOf(type)), uint8_t(bitsOf(type))});
}

uint32_t FunctionDecoder::access(Type type) {
  Access access;
  addFields(type, 0, access.fields);
  access.size = sizeOf(type);
  access.align = alignOf(type);
  uint8_t bytes = access.fields.empty() ? 0 : access.fields[0].bytes;
  for (auto [i, field] : llvm::enumerate(access.fields))
    if (field.bytes != bytes || field.offset != i * bytes ||
        field.bits != 8 * bytes)
      bytes = 0;
  access.uniform = bytes;
  code.accesses.push_back(std::move(access));
  return code.accesses.size() - 1;
}

// Slots and instructions.

uint32_t FunctionDecoder::allocate(uint32_t count) {
  uint32_t first = function.slots;
  function.slots += count;
  function.image.resize(function.slots, 0);
  return first;
}

uint32_t FunctionDecoder::slot(Value value) {
  auto [it, added] = slots.try_emplace(value, kNone);
  if (added)
    it->second = allocate(slotsOf(value.getType()));
  return it->second;
}

void FunctionDecoder::alias(Value value, uint32_t first, Operation *op) {
  auto [it, added] = slots.try_emplace(value, first);
  if (added)
    return;
  Instruction &copy = emit(Opcode::Copy, op);
  copy.dst = it->second;
  copy.a = first;
  copy.lanes = copy.results = slotsOf(value.getType());
}

uint32_t FunctionDecoder::constant(uint64_t bits) {
  // The map's reserved keys, all ones and all ones but one, get their own slot.
  if (bits >= ~uint64_t(1)) {
    uint32_t first = allocate(1);
    function.image[first] = bits;
    return first;
  }
  auto [it, added] = constants.try_emplace(bits, kNone);
  if (added) {
    it->second = allocate(1);
    function.image[it->second] = bits;
  }
  return it->second;
}

std::optional<int64_t> FunctionDecoder::known(Value value) {
  if (auto op = value.getDefiningOp<LLVM::ConstantOp>())
    if (auto number = dyn_cast<IntegerAttr>(op.getValue()))
      return number.getValue().getSExtValue();
  if (value.getDefiningOp<LLVM::ZeroOp>())
    return 0;
  return std::nullopt;
}

Instruction &FunctionDecoder::emit(Opcode op, Operation *source) {
  Instruction instruction;
  instruction.op = op;
  function.code.push_back(instruction);
  function.locations.push_back(source->getLoc());
  return function.code.back();
}

Instruction &FunctionDecoder::emitResult(Opcode op, Operation *source,
                                         Value result) {
  uint32_t dst = slot(result);
  Instruction &instruction = emit(op, source);
  instruction.dst = dst;
  instruction.lanes = instruction.results = slotsOf(result.getType());
  return instruction;
}

void FunctionDecoder::unsupported(Operation *op) {
  for (Value result : op->getResults())
    slot(result);
  std::string text = op->getName().getStringRef().str();
  if (auto call = dyn_cast<LLVM::CallIntrinsicOp>(op))
    text += " " + call.getIntrin().str();
  if (auto assembly = dyn_cast<LLVM::InlineAsmOp>(op))
    text += " \"" + assembly.getAsmString().str() + "\"";
  if (auto call = dyn_cast<LLVM::CallOp>(op))
    text += " of " + call.getCallee().value_or("a pointer").str();
  Instruction &instruction = emit(Opcode::Unsupported, op);
  // The location's name carries the message: this is off the hot path.
  function.locations.back() =
      NameLoc::get(StringAttr::get(op->getContext(), text), op->getLoc());
  (void)instruction;
}

uint32_t FunctionDecoder::edge(Block *target, ValueRange arguments) {
  Edge edge;
  for (auto [argument, value] : llvm::zip(target->getArguments(), arguments)) {
    uint32_t count = slotsOf(value.getType()), src = slot(value),
             dst = slot(argument);
    if (src != dst && count)
      edge.moves.push_back({dst, src, count});
  }
  for (const Edge::Move &a : edge.moves)
    for (const Edge::Move &b : edge.moves)
      edge.overlaps |=
          &a != &b && a.src < b.dst + b.count && b.dst < a.src + a.count;
  function.edges.push_back(std::move(edge));
  targets.push_back({uint32_t(function.edges.size() - 1), target});
  return function.edges.size() - 1;
}

bool FunctionDecoder::decodeControl(Operation *op) {
  return llvm::TypeSwitch<Operation *, bool>(op)
      .Case([&](LLVM::BrOp br) {
        uint32_t e = edge(br.getDest(), br.getDestOperands());
        emit(Opcode::Jump, op).extra = e;
        return true;
      })
      .Case([&](LLVM::CondBrOp br) {
        uint32_t condition = slot(br.getCondition());
        uint32_t yes = edge(br.getTrueDest(), br.getTrueDestOperands());
        uint32_t no = edge(br.getFalseDest(), br.getFalseDestOperands());
        Instruction &i = emit(Opcode::Branch, op);
        i.a = condition;
        i.extra = yes;
        i.imm = no;
        return true;
      })
      .Case([&](LLVM::SwitchOp sw) {
        Cases cases;
        cases.otherwise =
            edge(sw.getDefaultDestination(), sw.getDefaultOperands());
        if (auto values = sw.getCaseValues())
          for (auto [i, value] : llvm::enumerate(values->getValues<APInt>()))
            cases.edges.push_back(
                {value.getZExtValue(),
                 edge(sw.getCaseDestinations()[i], sw.getCaseOperands(i))});
        uint32_t value = slot(sw.getValue());
        function.cases.push_back(std::move(cases));
        Instruction &i = emit(Opcode::Switch, op);
        i.a = value;
        i.extra = function.cases.size() - 1;
        return true;
      })
      .Case([&](LLVM::ReturnOp ret) {
        uint32_t value = ret.getArg() ? slot(ret.getArg()) : kNone;
        Instruction &i = emit(Opcode::Return, op);
        i.a = value;
        i.lanes = ret.getArg() ? slotsOf(ret.getArg().getType()) : 0;
        return true;
      })
      .Case([&](LLVM::CallOp call) {
        auto callee = call.getCallee();
        auto found = callee ? code.names.find(*callee) : code.names.end();
        if (found == code.names.end())
          return false;
        CallSite site;
        site.function = found->second;
        for (Value argument : call.getArgOperands())
          site.arguments.push_back(
              {0, slot(argument), slotsOf(argument.getType())});
        if (call.getNumResults()) {
          site.dst = slot(call.getResult());
          site.results = slotsOf(call.getResult().getType());
        }
        function.calls.push_back(std::move(site));
        emit(Opcode::Call, op).extra = function.calls.size() - 1;
        return true;
      })
      .Case<LLVM::UnreachableOp, LLVM::Trap>([&](auto) {
        emit(Opcode::Unreachable, op);
        return true;
      })
      .Default([](Operation *) { return false; });
}

void FunctionDecoder::decodeOp(Operation *op) {
  size_t before = function.code.size();
  bool done = false;
  if (isa<NVVM::NVVMDialect>(op->getDialect()))
    done = decodeNvvm(op);
  else if (auto assembly = dyn_cast<LLVM::InlineAsmOp>(op))
    done = decodeAssembly(assembly);
  else
    done = decodeAggregates(op) || decodeControl(op) || decodeMemory(op) ||
           decodeValues(op);
  if (!done)
    unsupported(op);
  if (function.code.size() == before)
    return;
  // What the instruction reads of registers. A copy only renames them.
  Instruction &last = function.code.back();
  if (last.op == Opcode::Copy || last.op == Opcode::Jump ||
      last.op == Opcode::Wgmma || last.op == Opcode::InsertLane ||
      last.op == Opcode::Call || last.op == Opcode::Return)
    return;
  last.uses = function.uses.size();
  // A branch hands its other operands on; its condition it reads.
  unsigned count = last.op == Opcode::Branch ? 1 : op->getNumOperands();
  for (Value operand : op->getOperands().take_front(count))
    if (auto it = slots.find(operand); it != slots.end())
      function.uses.push_back({it->second, slotsOf(operand.getType())});
  last.useCount = function.uses.size() - last.uses;
}

void FunctionDecoder::decode(LLVM::LLVMFuncOp op) {
  function.name = op.getName().str();
  function.kernel = op->hasAttr(NVVM::NVVMDialect::getKernelFuncAttrName());
  for (BlockArgument argument : op.getArguments())
    function.arguments.push_back(slot(argument));
  if (function.kernel && op.getNumArguments() == 1)
    if (auto type = op.getArgAttrOfType<TypeAttr>(
            0, LLVM::LLVMDialect::getByValAttrName()))
      function.parameterBytes = sizeOf(type.getValue());
  if (auto threads = op->getAttrOfType<DenseI32ArrayAttr>(
          NVVM::NVVMDialect::getReqntidAttrName())) {
    function.requiredThreads = 1;
    for (int32_t size : threads.asArrayRef())
      function.requiredThreads *= size;
  }
  if (auto registers = op->getAttrOfType<IntegerAttr>(
          NVVM::NVVMDialect::getMaxnregAttrName()))
    function.maxRegisters = registers.getInt();
  if (auto blocks = op->getAttrOfType<IntegerAttr>(
          NVVM::NVVMDialect::getMinctasmAttrName()))
    function.blocksPerSm = std::max<int64_t>(1, blocks.getInt());
  for (Block &block : op.getBody()) {
    starts[&block] = function.code.size();
    for (Operation &inner : block)
      decodeOp(&inner);
  }
  for (auto [index, target] : targets)
    function.edges[index].target = starts.lookup(target);
}

// Modules.

/// The bytes of a global's initial value; false: not known how.
static bool initialBytes(Attribute value, Type type,
                         std::vector<uint8_t> &bytes) {
  bytes.assign(sizeOf(type), 0);
  if (!value || isa<LLVM::ZeroAttr>(value))
    return true;
  if (auto text = dyn_cast<StringAttr>(value)) {
    if (text.size() > bytes.size())
      return false;
    std::copy(text.getValue().begin(), text.getValue().end(), bytes.begin());
    return true;
  }
  auto put = [&](size_t offset, APInt bits) {
    uint64_t word = bits.getZExtValue();
    memcpy(bytes.data() + offset, &word,
           llvm::divideCeil(bits.getBitWidth(), 8));
  };
  auto one = [&](Attribute attribute, size_t offset) {
    if (auto number = dyn_cast<IntegerAttr>(attribute))
      return put(offset, number.getValue()), true;
    if (auto number = dyn_cast<FloatAttr>(attribute))
      return put(offset, number.getValue().bitcastToAPInt()), true;
    return false;
  };
  if (auto elements = dyn_cast<DenseElementsAttr>(value)) {
    size_t step = sizeOf(elements.getElementType()), offset = 0;
    for (Attribute element : elements.getValues<Attribute>()) {
      if (offset + step > bytes.size() || !one(element, offset))
        return false;
      offset += step;
    }
    return true;
  }
  return one(value, 0);
}

/// Gives the variables in shared memory their places: those of each kernel from
/// the start of the window on, behind them the dynamic part, which all external
/// arrays share.
static void placeShared(ArrayRef<LLVM::LLVMFuncOp> functions, Code &code) {
  llvm::StringMap<Global *> byName;
  for (auto &global : code.globals)
    if (global->space == 3) {
      byName[global->name] = global.get();
      if (global->dynamic)
        code.dynamicAlign = std::max(code.dynamicAlign, global->align);
    }
  // What each function reaches, itself and by calls.
  std::vector<llvm::SetVector<Global *>> reached(functions.size());
  std::vector<llvm::SetVector<uint32_t>> called(functions.size());
  for (auto [i, function] : llvm::enumerate(functions)) {
    called[i].insert(i);
    function->walk([&, i = i](Operation *op) {
      if (auto address = dyn_cast<LLVM::AddressOfOp>(op)) {
        if (Global *global = byName.lookup(address.getGlobalName()))
          reached[i].insert(global);
      } else if (auto call = dyn_cast<LLVM::CallOp>(op)) {
        auto found = call.getCallee() ? code.names.find(*call.getCallee())
                                      : code.names.end();
        if (found != code.names.end())
          called[i].insert(found->second);
      }
    });
  }
  uint64_t last = kReservedShared;
  for (size_t i = 0; i < functions.size(); ++i) {
    if (!functions[i]->hasAttr(NVVM::NVVMDialect::getKernelFuncAttrName()))
      continue;
    Function &kernel = code.functions[i];
    llvm::SetVector<uint32_t> all(called[i]);
    for (size_t next = 0; next < all.size(); ++next)
      all.insert(called[all[next]].begin(), called[all[next]].end());
    uint64_t end = kReservedShared;
    SmallVector<Global *> fresh;
    for (uint32_t function : all)
      for (Global *global : reached[function]) {
        kernel.dynamicShared |= global->dynamic;
        if (global->dynamic)
          continue;
        if (global->address)
          end = std::max(end, global->address + global->size);
        else if (!llvm::is_contained(fresh, global))
          fresh.push_back(global);
      }
    for (Global *global : fresh) {
      global->address = llvm::alignTo(end, global->align);
      end = global->address + global->size;
    }
    kernel.sharedEnd = end;
    if (kernel.dynamicShared)
      last = std::max(last, end);
  }
  code.dynamicStart = llvm::alignTo(last, code.dynamicAlign);
  for (auto &global : code.globals)
    if (global->dynamic)
      global->address = code.dynamicStart;
}

llvm::Error emulate::decodeModule(Operation *module, Code &code) {
  SmallVector<LLVM::LLVMFuncOp> functions;
  std::string error;
  module->walk([&](LLVM::GlobalOp op) {
    auto global = std::make_unique<Global>();
    global->name = op.getSymName().str();
    global->space = op.getAddrSpace();
    global->constant = op.getConstant() || global->space == 4;
    Type type = op.getGlobalType();
    global->size = sizeOf(type);
    global->align =
        std::max<uint64_t>(op.getAlignment().value_or(0), alignOf(type));
    global->dynamic =
        global->space == 3 && (global->size == 0 || op.isDeclaration());
    if (global->space != 3 &&
        (!op.getInitializerRegion().empty() ||
         !initialBytes(op.getValueOrNull(), type, global->bytes)))
      error = "global '" + global->name + "' has a value of unknown kind";
    code.globals.push_back(std::move(global));
  });
  if (!error.empty())
    return llvm::createStringError(error);
  module->walk([&](LLVM::LLVMFuncOp op) {
    if (op.isExternal())
      return;
    code.names[op.getName()] = functions.size();
    functions.push_back(op);
  });
  code.functions.resize(functions.size());
  placeShared(functions, code);
  for (auto [op, function] : llvm::zip(functions, code.functions))
    FunctionDecoder(code, function).decode(op);
  for (Function &function : code.functions) {
    code.asynchronous |= !function.wgmmas.empty();
    for (CallSite &call : function.calls)
      for (auto [move, argument] :
           llvm::zip(call.arguments, code.functions[call.function].arguments))
        move.dst = argument;
  }
  return llvm::Error::success();
}
