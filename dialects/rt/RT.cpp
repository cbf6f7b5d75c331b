//===- RT.cpp - the rt dialect --------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/rt/RT.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c::rt;

#include "dialects/rt/RTDialect.cpp.inc"
#include "dialects/rt/RTEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/rt/RTAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/rt/RTOps.cpp.inc"

void RTDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/rt/RTAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/rt/RTOps.cpp.inc"
      >();
}

// `<@buffer>`, `<@buffer + 64>`, `<@buffer + 64 + 128 * i>`
Attribute RefAttr::parse(AsmParser &parser, Type) {
  FlatSymbolRefAttr buffer;
  int64_t offset = 0, stride = 0;
  if (parser.parseLess() || parser.parseAttribute(buffer))
    return {};
  while (succeeded(parser.parseOptionalPlus())) {
    int64_t number = 0;
    if (parser.parseInteger(number))
      return {};
    if (succeeded(parser.parseOptionalStar())) {
      if (parser.parseKeyword("i"))
        return {};
      stride = number;
    } else {
      offset = number;
    }
  }
  if (parser.parseGreater())
    return {};
  return RefAttr::get(parser.getContext(), buffer, offset, stride);
}

void RefAttr::print(AsmPrinter &printer) const {
  printer << "<" << getBuffer();
  if (getOffset())
    printer << " + " << getOffset();
  if (getStride())
    printer << " + " << getStride() << " * i";
  printer << ">";
}

LogicalResult BufferOp::verify() {
  if (int64_t(getOffset()) < 0 || int64_t(getBytes()) < 0)
    return emitOpError("has a negative offset or size");
  if (getOffset() % 64)
    return emitOpError("starts at byte ")
           << getOffset() << ", which is not a multiple of 64";
  return success();
}

LogicalResult ReduceStartOp::verify() {
  if (getArgs().size() != getCounts().size())
    return emitOpError() << getArgs().size() << " references, but "
                         << getCounts().size() << " counts";
  return success();
}

LogicalResult LoopOp::verify() {
  int64_t from = getFrom(), to = getTo(), step = getStep();
  if (step == 0 || (to - from) % step != 0 || (to - from) / step < 0)
    return emitOpError("never reaches ")
           << to << " from " << from << " in steps of " << step;
  if ((*this)->getParentOfType<LoopOp>())
    return emitOpError("stands inside another rt.loop: loops do not nest");
  return success();
}

//===----------------------------------------------------------------------===//
// rt.kernel: the attribute `launch`. The runtime checks it again, in
// runtime/artifact/Manifest.cpp: an artifact may come from anywhere.
//===----------------------------------------------------------------------===//

namespace {

/// A dictionary whose fields are known by name; the first error is reported.
class LaunchFields {
public:
  LaunchFields(Operation *op, DictionaryAttr fields, std::string where,
               ArrayRef<StringRef> known)
      : op(op), fields(fields), where(std::move(where)) {
    if (!fields) {
      fail("is no dictionary");
      return;
    }
    for (NamedAttribute field : fields)
      if (!llvm::is_contained(known, field.getName().strref()))
        fail("has no field '") << field.getName().strref() << "'";
  }

  bool failed() const { return wrong; }

  InFlightDiagnostic fail(const Twine &text) {
    wrong = true;
    return op->emitOpError("'") << where << "' " << text;
  }

  int64_t integer(StringRef name, int64_t otherwise, int64_t least,
                  int64_t most) {
    Attribute attr = fields.get(name);
    if (!attr)
      return otherwise;
    auto value = dyn_cast<IntegerAttr>(attr);
    if (!value || value.getInt() < least || value.getInt() > most) {
      if (!wrong)
        fail("needs '") << name << "' from " << least << " to " << most;
      return otherwise;
    }
    return value.getInt();
  }

  SmallVector<int64_t> integers(StringRef name) {
    SmallVector<int64_t> values;
    auto array = fields.getAs<ArrayAttr>(name);
    bool good = array && llvm::all_of(array, llvm::IsaPred<IntegerAttr>);
    if (good)
      for (Attribute value : array)
        values.push_back(cast<IntegerAttr>(value).getInt());
    else if (!wrong)
      fail("needs '") << name << "', an array of integers";
    return values;
  }

  Attribute get(StringRef name) const { return fields.get(name); }

private:
  Operation *op;
  DictionaryAttr fields;
  std::string where;
  bool wrong = false;
};

LogicalResult verifyTensorMap(KernelOp op, DictionaryAttr dictionary,
                              const Twine &where) {
  LaunchFields map(op, dictionary, where.str(),
                   {"operand", "dtype", "sizes", "strides", "box", "swizzle"});
  if (map.failed())
    return failure();
  if (!map.get("operand"))
    return map.fail("needs 'operand'");
  map.integer("operand", 0, 0, int64_t(op.getOperands()) - 1);
  auto dtype = dyn_cast_or_null<StringAttr>(map.get("dtype"));
  if (!dtype || (dtype != "bf16" && dtype != "f32"))
    return map.fail("needs 'dtype', bf16 or f32");
  SmallVector<int64_t> sizes = map.integers("sizes"),
                       strides = map.integers("strides"),
                       box = map.integers("box");
  int64_t swizzle = map.integer("swizzle", 0, 0, 128);
  if (map.failed())
    return failure();
  if (sizes.empty() || sizes.size() > 5 || strides.size() + 1 != sizes.size() ||
      box.size() != sizes.size())
    return map.fail("needs 1 to 5 'sizes', as many of 'box', and one fewer "
                    "'strides'");
  for (auto [i, size] : llvm::enumerate(sizes))
    if (size < 1 && !(size == -1 && i + 1 == sizes.size()))
      return map.fail("has a size of ")
             << size << "; only the last may be -1, open";
  for (int64_t stride : strides)
    if (stride < 16 || stride % 16)
      return map.fail("has a stride of ")
             << stride << " bytes, which is not a multiple of 16";
  if (llvm::any_of(box, [](int64_t n) { return n < 1 || n > 256; }))
    return map.fail("has a box that is not from 1 to 256 in each dimension");
  int64_t row = box[0] * (dtype == "bf16" ? 2 : 4);
  if (row % 16)
    return map.fail("has a box whose rows of ")
           << row << " bytes are no multiple of 16";
  if (swizzle != 0 && swizzle != 32 && swizzle != 64 && swizzle != 128)
    return map.fail("needs 'swizzle' of 0, 32, 64 or 128");
  if (swizzle && row > swizzle)
    return map.fail("has a box whose rows of ")
           << row << " bytes exceed the swizzle of " << swizzle;
  return success();
}

/// `where`: "launch", or the one in it for few rows, which has none itself.
LogicalResult verifyLaunch(KernelOp op, DictionaryAttr dictionary,
                           std::string where) {
  SmallVector<StringRef> known{
      "threads", "shared", "blocks_per_sm", "blocks",  "cluster",
      "overlap", "early",  "cached",        "written", "tensor_maps"};
  if (where == "launch")
    known.push_back("few_rows");
  LaunchFields launch(op, dictionary, where, known);
  if (launch.failed())
    return failure();
  if (!launch.get("threads"))
    return launch.fail("needs 'threads'");
  launch.integer("threads", 0, 1, 1024);
  launch.integer("shared", 0, 0, 227 * 1024);
  launch.integer("blocks_per_sm", 1, 1, 32);
  int64_t blocks = launch.integer("blocks", 0, 1, INT32_MAX);
  int64_t cluster = launch.integer("cluster", 1, 1, 16);
  if (launch.failed())
    return failure();
  Attribute overlap = launch.get("overlap");
  if (overlap && !isa<BoolAttr>(overlap))
    return launch.fail("needs 'overlap' to be true or false");
  for (const char *name : {"early", "cached", "written"}) {
    Attribute list = launch.get(name);
    auto numbers = dyn_cast_if_present<ArrayAttr>(list);
    auto isOperand = [&](Attribute number) {
      auto integer = dyn_cast<IntegerAttr>(number);
      return integer && integer.getInt() >= 0 &&
             integer.getInt() < int64_t(op.getOperands());
    };
    if (list && (!numbers || !llvm::all_of(numbers, isOperand)))
      return launch.fail("needs '")
             << name << "' to be an array of numbers of operands, from 0 to "
             << int64_t(op.getOperands()) - 1;
  }
  if (blocks % cluster)
    return launch.fail("has ")
           << blocks << " blocks, no whole number of clusters of " << cluster;
  Attribute others = launch.get("few_rows");
  auto list = dyn_cast_if_present<ArrayAttr>(others);
  if (others && !list)
    return launch.fail("needs 'few_rows' to be an array of dictionaries");
  int64_t before = 0;
  for (auto [i, attribute] :
       llvm::enumerate(list ? list.getValue() : ArrayRef<Attribute>())) {
    std::string here = (where + ".few_rows[" + Twine(i) + "]").str();
    LaunchFields few(op, dyn_cast<DictionaryAttr>(attribute), here,
                     {"rows", "symbol", "launch", "usage"});
    if (few.failed())
      return failure();
    if (!few.get("rows"))
      return few.fail("needs 'rows'");
    before = few.integer("rows", 0, before + 1, INT32_MAX);
    if (few.failed())
      return failure();
    if (!isa_and_present<StringAttr>(few.get("symbol")))
      return few.fail("needs 'symbol', a kernel's");
    auto other = dyn_cast_or_null<DictionaryAttr>(few.get("launch"));
    if (!other)
      return few.fail("needs 'launch', a dictionary");
    if (failed(verifyLaunch(op, other, here + ".launch")))
      return failure();
  }
  Attribute maps = launch.get("tensor_maps");
  if (!maps)
    return success();
  auto array = dyn_cast<ArrayAttr>(maps);
  if (!array || !llvm::all_of(array, llvm::IsaPred<DictionaryAttr>))
    return launch.fail("needs 'tensor_maps' to be an array of dictionaries");
  for (auto [i, map] : llvm::enumerate(array))
    if (failed(verifyTensorMap(op, cast<DictionaryAttr>(map),
                               where + ".tensor_maps[" + Twine(i) + "]")))
      return failure();
  return success();
}

} // namespace

LogicalResult KernelOp::verify() {
  DictionaryAttr launch = getLaunchAttr();
  return launch ? verifyLaunch(*this, launch, "launch") : success();
}
