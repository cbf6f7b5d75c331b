//===- RL.cpp - the rl dialect: types, syntax, folds ---------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/rl/RL.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/BitVector.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c::rl;

#include "dialects/rl/RLDialect.cpp.inc"
#include "dialects/rl/RLEnums.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/rl/RLTypes.cpp.inc"

void RLDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/rl/RLTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/rl/RLOps.cpp.inc"
      >();
}

Operation *RLDialect::materializeConstant(OpBuilder &builder, Attribute value,
                                          Type type, Location loc) {
  auto number = dyn_cast<FloatAttr>(value);
  auto num = dyn_cast<NumType>(type);
  if (!number || !num || num.getAxis() != Axis::one)
    return nullptr;
  return ConstantOp::create(builder, loc, number);
}

OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValueAttr(); }

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

std::optional<Axis> r1c::rl::getAxis(Type type) {
  return llvm::TypeSwitch<Type, std::optional<Axis>>(type)
      .Case<NumType, FlagType, TextType>([](auto t) { return t.getAxis(); })
      .Default([](Type) { return std::nullopt; });
}

StringRef r1c::rl::getSet(Type type) {
  return llvm::TypeSwitch<Type, StringRef>(type)
      .Case<NumType, FlagType, TextType, OutputsType>(
          [](auto t) { return t.getSet(); })
      .Default([](Type) { return StringRef(); });
}

Type r1c::rl::withAxis(Type type, Axis axis) {
  StringRef set = axis == Axis::one ? StringRef() : getSet(type);
  return llvm::TypeSwitch<Type, Type>(type)
      .Case<NumType, FlagType, TextType>([&](auto t) -> Type {
        return decltype(t)::get(type.getContext(), axis, set);
      })
      .Default([](Type) { return Type(); });
}

UpdateOp r1c::rl::getEnclosingUpdate(Operation *op) {
  return op->getParentOfType<UpdateOp>();
}

/// `<one>` or `<token of "o">`.
template <typename T>
static Type parseAxisType(AsmParser &parser) {
  std::string set;
  if (parser.parseLess())
    return {};
  FailureOr<Axis> axis = FieldParser<Axis>::parse(parser);
  if (failed(axis))
    return {};
  if (succeeded(parser.parseOptionalKeyword("of")) && parser.parseString(&set))
    return {};
  if (parser.parseGreater())
    return {};
  return T::getChecked([&] { return parser.emitError(parser.getNameLoc()); },
                       parser.getContext(), *axis, StringRef(set));
}

template <typename T>
static void printAxisType(AsmPrinter &printer, T type) {
  printer << '<' << stringifyAxis(type.getAxis());
  if (!type.getSet().empty()) {
    printer << " of ";
    printer.printString(type.getSet());
  }
  printer << '>';
}

static LogicalResult verifyAxisType(function_ref<InFlightDiagnostic()> error,
                                    Axis axis, StringRef set) {
  if (axis == Axis::one && !set.empty())
    return error() << "a single value belongs to no set of outputs";
  if (axis != Axis::one && set.empty())
    return error() << "values per " << stringifyAxis(axis)
                   << " belong to a set of outputs: write "
                   << stringifyAxis(axis) << " of \"name\"";
  return success();
}

Type NumType::parse(AsmParser &parser) {
  return parseAxisType<NumType>(parser);
}
Type FlagType::parse(AsmParser &parser) {
  return parseAxisType<FlagType>(parser);
}
Type TextType::parse(AsmParser &parser) {
  return parseAxisType<TextType>(parser);
}
void NumType::print(AsmPrinter &printer) const {
  printAxisType(printer, *this);
}
void FlagType::print(AsmPrinter &printer) const {
  printAxisType(printer, *this);
}
void TextType::print(AsmPrinter &printer) const {
  printAxisType(printer, *this);
}
LogicalResult NumType::verify(function_ref<InFlightDiagnostic()> error,
                              Axis axis, StringRef set) {
  return verifyAxisType(error, axis, set);
}
LogicalResult FlagType::verify(function_ref<InFlightDiagnostic()> error,
                               Axis axis, StringRef set) {
  return verifyAxisType(error, axis, set);
}
LogicalResult TextType::verify(function_ref<InFlightDiagnostic()> error,
                               Axis axis, StringRef set) {
  return verifyAxisType(error, axis, set);
}

//===----------------------------------------------------------------------===//
// rl.map syntax: (%x = %a : type, ...) -> type { body }
//===----------------------------------------------------------------------===//

/// What a region sees of one element: f64 for a num, i1 for a flag.
static Type scalarOf(Type type) {
  if (isa<FlagType>(type))
    return IntegerType::get(type.getContext(), 1);
  return Float64Type::get(type.getContext());
}

ParseResult MapOp::parse(OpAsmParser &parser, OperationState &result) {
  SmallVector<OpAsmParser::Argument> arguments;
  SmallVector<OpAsmParser::UnresolvedOperand> operands;
  SmallVector<Type> types;
  SMLoc loc = parser.getCurrentLocation();
  auto parseInput = [&]() -> ParseResult {
    Type type;
    if (parser.parseArgument(arguments.emplace_back()) || parser.parseEqual() ||
        parser.parseOperand(operands.emplace_back()) ||
        parser.parseColonType(type))
      return failure();
    arguments.back().type = scalarOf(type);
    types.push_back(type);
    return success();
  };
  Type resultType;
  Region *body = result.addRegion();
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, parseInput) ||
      parser.parseArrow() || parser.parseType(resultType) ||
      parser.parseOptionalAttrDictWithKeyword(result.attributes) ||
      parser.parseRegion(*body, arguments) ||
      parser.resolveOperands(operands, types, loc, result.operands))
    return failure();
  result.addTypes(resultType);
  return success();
}

LogicalResult MapOp::canonicalize(MapOp op, PatternRewriter &rewriter) {
  Block &body = op.getBody().front();
  Value yielded = body.getTerminator()->getOperand(0);
  if (auto argument = dyn_cast<BlockArgument>(yielded)) {
    Value input = op.getInputs()[argument.getArgNumber()];
    if (input.getType() == op.getResult().getType()) {
      rewriter.replaceOp(op, input);
      return success();
    }
  }
  // Groups have no index of their own that a formula without them could stand
  // on.
  if (getAxis(op.getResult().getType()) == Axis::group)
    return failure();
  llvm::BitVector unread(body.getNumArguments());
  for (BlockArgument argument : body.getArguments())
    if (argument.use_empty())
      unread.set(argument.getArgNumber());
  if (unread.none())
    return failure();
  rewriter.modifyOpInPlace(op, [&] {
    body.eraseArguments(unread);
    op->eraseOperands(unread);
  });
  return success();
}

void MapOp::print(OpAsmPrinter &printer) {
  printer << " (";
  llvm::interleaveComma(llvm::zip(getBody().getArguments(), getInputs()),
                        printer, [&](auto pair) {
                          auto [argument, input] = pair;
                          printer.printRegionArgument(argument, {},
                                                      /*omitType=*/true);
                          printer << " = " << input << " : " << input.getType();
                        });
  printer << ") -> " << getResult().getType();
  printer.printOptionalAttrDictWithKeyword((*this)->getAttrs());
  printer << ' ';
  printer.printRegion(getBody(), /*printEntryBlockArgs=*/false);
}

#define GET_OP_CLASSES
#include "dialects/rl/RLOps.cpp.inc"
