//===- Kern.cpp - the kern dialect
//--------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Registration, the packed type and the access attribute.
//===----------------------------------------------------------------------===//

#include "dialects/kern/Kern.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/OpImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c::kern;

#include "dialects/kern/KernDialect.cpp.inc"
#include "dialects/kern/KernEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/kern/KernAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/kern/KernTypes.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/kern/KernOps.cpp.inc"

void KernDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/kern/KernAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/kern/KernTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/kern/KernOps.cpp.inc"
      >();
}

Type r1c::kern::elementTypeOf(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getElementType();
}

//===----------------------------------------------------------------------===//
// PackedType
//===----------------------------------------------------------------------===//

Type PackedType::parse(AsmParser &parser) {
  SmallVector<int64_t> shape;
  Type element;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseLess() ||
      parser.parseDimensionList(shape, /*allowDynamic=*/false) ||
      parser.parseType(element) || parser.parseGreater())
    return {};
  if (shape.size() != 2) {
    parser.emitError(loc, "a packed matrix has two sizes, K and N: write "
                          "!kern.packed<KxNxf32>");
    return {};
  }
  return getChecked([&] { return parser.emitError(loc); }, parser.getContext(),
                    shape[0], shape[1], element);
}

void PackedType::print(AsmPrinter &printer) const {
  printer << '<' << getK() << 'x' << getN() << 'x' << getElementType() << '>';
}

LogicalResult PackedType::verify(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t k, int64_t n, Type elementType) {
  if (k <= 0 || n <= 0)
    return emitError() << "sizes of a packed matrix must be positive";
  if (!elementType.isF32() && !elementType.isBF16())
    return emitError() << "a packed matrix holds f32 or bf16, not "
                       << elementType;
  return success();
}

int64_t PackedType::getPanelElements() const {
  int64_t depth = getElementType().isBF16() ? (getK() + 1) / 2 * 2 : getK();
  return depth * panelColumns;
}

int64_t PackedType::getBytes() const {
  return getPanels() * getPanelElements() *
         (getElementType().getIntOrFloatBitWidth() / 8);
}

//===----------------------------------------------------------------------===//
// AccessAttr
//===----------------------------------------------------------------------===//

Attribute AccessAttr::parse(AsmParser &parser, Type) {
  if (parser.parseLess())
    return {};
  StringRef keyword;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseKeyword(&keyword))
    return {};
  std::optional<AccessKind> kind = symbolizeAccessKind(keyword);
  if (!kind) {
    parser.emitError(loc, "unknown access '") << keyword << "'";
    return {};
  }
  int64_t index = -1, lane = -1;
  if (succeeded(parser.parseOptionalLParen()) &&
      (parser.parseInteger(index) || parser.parseRParen()))
    return {};
  if (succeeded(parser.parseOptionalLSquare()) &&
      (parser.parseInteger(lane) || parser.parseRSquare()))
    return {};
  if (parser.parseGreater())
    return {};
  return get(parser.getContext(), *kind, index, lane);
}

void AccessAttr::print(AsmPrinter &printer) const {
  printer << '<' << stringifyAccessKind(getKind());
  if (getIndex() >= 0)
    printer << '(' << getIndex() << ')';
  if (getLane() >= 0)
    printer << '[' << getLane() << ']';
  printer << '>';
}

//===----------------------------------------------------------------------===//
// MapOp, MatmulOp
//===----------------------------------------------------------------------===//

template <typename T>
static SmallVector<std::pair<unsigned, int64_t>> placesOf(T op) {
  SmallVector<std::pair<unsigned, int64_t>> places;
  for (auto [i, v] : llvm::enumerate(op.getResults())) {
    int64_t count = 1;
    if (cast<AccessAttr>(op.getResultAccess()[i]).getKind() ==
        AccessKind::beside)
      count =
          cast<RankedTensorType>(v.getType()).getDimSize(1) / op.getColumns();
    for (int64_t part = 0; part < count; ++part)
      places.push_back({i, part});
  }
  return places;
}

SmallVector<std::pair<unsigned, int64_t>> MapOp::getPlaces() {
  return placesOf(*this);
}
SmallVector<std::pair<unsigned, int64_t>> MatmulOp::getPlaces() {
  return placesOf(*this);
}

//===----------------------------------------------------------------------===//
// ReduceOp
//===----------------------------------------------------------------------===//

LogicalResult ReduceOp::inferReturnTypes(MLIRContext *context,
                                         std::optional<Location> location,
                                         Adaptor adaptor,
                                         SmallVectorImpl<Type> &types) {
  types.push_back(isArg(adaptor.getKind()) ? IntegerType::get(context, 32)
                                           : adaptor.getValue().getType());
  return success();
}
