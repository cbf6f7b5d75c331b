//===- Syntax.cpp - parsing and printing of ops with a region -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A region's arguments are declared where the operands are listed:
//   (%xv = %x : element tensor<?x64xf32>, ...)
//===----------------------------------------------------------------------===//

#include "dialects/kern/Kern.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/OpImplementation.h"

using namespace mlir;
using namespace r1c::kern;

namespace {

using Unresolved = OpAsmParser::UnresolvedOperand;

struct Clause {
  SmallVector<Unresolved> operands;
  SmallVector<Type> types;
  SmallVector<Attribute> access;

  ParseResult resolve(OpAsmParser &parser, OperationState &result) {
    for (auto [operand, type] : llvm::zip(operands, types))
      if (parser.resolveOperand(operand, type, result.operands))
        return failure();
    return success();
  }
  int32_t size() const { return operands.size(); }
};

/// element | row | row[k] | gather(n) | ...
ParseResult parseAccess(OpAsmParser &parser, Attribute &access) {
  StringRef keyword;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseKeyword(&keyword))
    return failure();
  std::optional<AccessKind> kind = symbolizeAccessKind(keyword);
  if (!kind)
    return parser.emitError(loc, "unknown access '")
           << keyword
           << "': expected element, row, column, one, gather, gather_row, "
              "scatter, chunk or beside";
  int64_t index = -1, lane = -1;
  if (succeeded(parser.parseOptionalLParen()) &&
      (parser.parseInteger(index) || parser.parseRParen()))
    return failure();
  if (succeeded(parser.parseOptionalLSquare()) &&
      (parser.parseInteger(lane) || parser.parseRSquare()))
    return failure();
  access = AccessAttr::get(parser.getContext(), *kind, index, lane);
  return success();
}

void printAccess(OpAsmPrinter &p, AccessAttr access) {
  p << stringifyAccessKind(access.getKind());
  if (access.getIndex() >= 0)
    p << '(' << access.getIndex() << ')';
  if (access.getLane() >= 0)
    p << '[' << access.getLane() << ']';
}

/// (%arg = %operand : access type, ...)
ParseResult parseInputs(OpAsmParser &parser, Clause &clause,
                        SmallVectorImpl<OpAsmParser::Argument> &arguments) {
  return parser.parseCommaSeparatedList(
      OpAsmParser::Delimiter::Paren, [&]() -> ParseResult {
        OpAsmParser::Argument &argument = arguments.emplace_back();
        Type type;
        if (parser.parseArgument(argument) || parser.parseEqual() ||
            parser.parseOperand(clause.operands.emplace_back()) ||
            parser.parseColon() ||
            parseAccess(parser, clause.access.emplace_back()) ||
            parser.parseType(type))
          return failure();
        auto tensor = dyn_cast<RankedTensorType>(type);
        if (!tensor)
          return parser.emitError(parser.getNameLoc(),
                                  "operands of a region must be tensors");
        argument.type = tensor.getElementType();
        clause.types.push_back(type);
        return success();
      });
}

void printInputs(OpAsmPrinter &p, ValueRange inputs, ArrayAttr access,
                 ArrayRef<BlockArgument> arguments) {
  p << '(';
  llvm::interleaveComma(llvm::seq<size_t>(0, inputs.size()), p, [&](size_t i) {
    p.printOperand(arguments[i]);
    p << " = " << inputs[i] << " : ";
    printAccess(p, cast<AccessAttr>(access[i]));
    p << ' ' << inputs[i].getType();
  });
  p << ')';
}

/// keyword (%a : type, ...), optional
ParseResult parseClause(OpAsmParser &parser, StringRef keyword,
                        Clause &clause) {
  if (failed(parser.parseOptionalKeyword(keyword)))
    return success();
  return parser.parseCommaSeparatedList(
      OpAsmParser::Delimiter::Paren, [&]() -> ParseResult {
        return failure(parser.parseOperand(clause.operands.emplace_back()) ||
                       parser.parseColonType(clause.types.emplace_back()));
      });
}

void printClause(OpAsmPrinter &p, StringRef keyword, ValueRange values) {
  if (values.empty())
    return;
  p << ' ' << keyword << '(';
  llvm::interleaveComma(values, p,
                        [&](Value v) { p << v << " : " << v.getType(); });
  p << ')';
}

/// -> (access type, ...); with `defaultElement` an access that is not written
/// is `element`.
ParseResult parseResults(OpAsmParser &parser, OperationState &result,
                         SmallVectorImpl<Attribute> &access,
                         bool defaultElement = false) {
  if (parser.parseArrow())
    return failure();
  return parser.parseCommaSeparatedList(
      OpAsmParser::Delimiter::Paren, [&]() -> ParseResult {
        Type type;
        OptionalParseResult typed = defaultElement
                                        ? parser.parseOptionalType(type)
                                        : OptionalParseResult();
        if (typed.has_value()) {
          access.push_back(
              AccessAttr::get(parser.getContext(), AccessKind::element));
          if (failed(*typed))
            return failure();
          result.addTypes(type);
          return success();
        }
        if (parseAccess(parser, access.emplace_back()) ||
            parser.parseType(type))
          return failure();
        result.addTypes(type);
        return success();
      });
}

void printResults(OpAsmPrinter &p, TypeRange types, ArrayAttr access,
                  bool defaultElement = false) {
  p << " -> (";
  llvm::interleaveComma(llvm::seq<size_t>(0, types.size()), p, [&](size_t i) {
    auto attr = cast<AccessAttr>(access[i]);
    if (!defaultElement || attr.getKind() != AccessKind::element) {
      printAccess(p, attr);
      p << ' ';
    }
    p << types[i];
  });
  p << ')';
}

template <typename OpT>
void setSegments(OpAsmParser &parser, OperationState &result,
                 ArrayRef<int32_t> sizes) {
  llvm::copy(sizes, result.getOrAddProperties<typename OpT::Properties>()
                        .operandSegmentSizes.begin());
}

ParseResult parseBody(OpAsmParser &parser, OperationState &result,
                      ArrayRef<OpAsmParser::Argument> arguments) {
  return failure(parser.parseOptionalAttrDictWithKeyword(result.attributes) ||
                 parser.parseRegion(*result.addRegion(), arguments));
}

void printBody(OpAsmPrinter &p, Operation *op, ArrayRef<StringRef> elided) {
  SmallVector<StringRef> all(std::begin(elided), std::end(elided));
  all.push_back("operandSegmentSizes");
  p.printOptionalAttrDictWithKeyword(op->getAttrs(), all);
  p << ' ';
  p.printRegion(op->getRegion(0), /*printEntryBlockArgs=*/false);
}

} // namespace

//===----------------------------------------------------------------------===//
// RowOp, MapOp, ColumnSumOp
//===----------------------------------------------------------------------===//

ParseResult RowOp::parse(OpAsmParser &parser, OperationState &result) {
  Clause inputs, indices, offsets;
  SmallVector<OpAsmParser::Argument> arguments;
  SmallVector<Attribute> resultAccess;
  if (parseInputs(parser, inputs, arguments) ||
      parseClause(parser, "indices", indices) ||
      parseClause(parser, "offsets", offsets) ||
      parseResults(parser, result, resultAccess) ||
      inputs.resolve(parser, result) || indices.resolve(parser, result) ||
      offsets.resolve(parser, result))
    return failure();
  Builder &b = parser.getBuilder();
  result.addAttribute("access", b.getArrayAttr(inputs.access));
  result.addAttribute("result_access", b.getArrayAttr(resultAccess));
  setSegments<RowOp>(parser, result,
                     {inputs.size(), indices.size(), offsets.size()});
  return parseBody(parser, result, arguments);
}

void RowOp::print(OpAsmPrinter &p) {
  p << ' ';
  printInputs(p, getInputs(), getAccess(), getBody().getArguments());
  printClause(p, "indices", getIndices());
  printClause(p, "offsets",
              getOffsets() ? ValueRange(getOffsets()) : ValueRange());
  printResults(p, getResultTypes(), getResultAccess());
  printBody(p, *this, {"access", "result_access"});
}

ParseResult MapOp::parse(OpAsmParser &parser, OperationState &result) {
  Clause inputs, indices, inits;
  SmallVector<OpAsmParser::Argument> arguments;
  SmallVector<Attribute> resultAccess;
  if (parseInputs(parser, inputs, arguments) ||
      parseClause(parser, "indices", indices) ||
      parseClause(parser, "inits", inits) ||
      parseResults(parser, result, resultAccess) ||
      inputs.resolve(parser, result) || indices.resolve(parser, result) ||
      inits.resolve(parser, result))
    return failure();
  Builder &b = parser.getBuilder();
  result.addAttribute("access", b.getArrayAttr(inputs.access));
  result.addAttribute("result_access", b.getArrayAttr(resultAccess));
  setSegments<MapOp>(parser, result,
                     {inputs.size(), indices.size(), inits.size()});
  return parseBody(parser, result, arguments);
}

void MapOp::print(OpAsmPrinter &p) {
  p << ' ';
  printInputs(p, getInputs(), getAccess(), getBody().getArguments());
  printClause(p, "indices", getIndices());
  printClause(p, "inits", getInits());
  printResults(p, getResultTypes(), getResultAccess());
  printBody(p, *this, {"access", "result_access"});
}

ParseResult ColumnSumOp::parse(OpAsmParser &parser, OperationState &result) {
  Clause inputs, indices, init;
  SmallVector<OpAsmParser::Argument> arguments;
  Type type;
  if (parseInputs(parser, inputs, arguments) ||
      parseClause(parser, "indices", indices) ||
      parseClause(parser, "init", init) || parser.parseArrow() ||
      parser.parseType(type) || inputs.resolve(parser, result) ||
      indices.resolve(parser, result) || init.resolve(parser, result))
    return failure();
  result.addTypes(type);
  result.addAttribute("access",
                      parser.getBuilder().getArrayAttr(inputs.access));
  setSegments<ColumnSumOp>(parser, result,
                           {inputs.size(), indices.size(), init.size()});
  return parseBody(parser, result, arguments);
}

void ColumnSumOp::print(OpAsmPrinter &p) {
  p << ' ';
  printInputs(p, getInputs(), getAccess(), getBody().getArguments());
  printClause(p, "indices", getIndices());
  printClause(p, "init", getInit() ? ValueRange(getInit()) : ValueRange());
  p << " -> " << getResult().getType();
  printBody(p, *this, {"access"});
}

//===----------------------------------------------------------------------===//
// MatmulOp
//===----------------------------------------------------------------------===//

ParseResult MatmulOp::parse(OpAsmParser &parser, OperationState &result) {
  Unresolved a, b;
  Type aType, bType;
  Clause init, inputs, angles, to, caches;
  SmallVector<OpAsmParser::Argument> accumulators, arguments;
  if (parser.parseOperand(a) || parser.parseComma() || parser.parseOperand(b))
    return failure();
  Builder &builder = parser.getBuilder();
  if (succeeded(parser.parseOptionalKeyword("transpose_a")))
    result.addAttribute("transpose_a", builder.getUnitAttr());
  if (succeeded(parser.parseOptionalKeyword("paired")))
    result.addAttribute("paired", builder.getUnitAttr());
  if (parser.parseColonType(aType) || parser.parseComma() ||
      parser.parseType(bType) || parseClause(parser, "init", init))
    return failure();
  bool region = false;
  if (succeeded(parser.parseOptionalKeyword("acc"))) {
    region = true;
    if (parser.parseArgumentList(accumulators, OpAsmParser::Delimiter::Paren))
      return failure();
    for (OpAsmParser::Argument &argument : accumulators)
      argument.type = builder.getF32Type();
    if (succeeded(parser.parseOptionalKeyword("with")) &&
        parseInputs(parser, inputs, arguments))
      return failure();
  }
  SmallVector<Attribute> resultAccess;
  if (parseClause(parser, "turned", angles) ||
      parseClause(parser, "scatter", to) ||
      parseClause(parser, "caches", caches) ||
      parseResults(parser, result, resultAccess, /*defaultElement=*/true) ||
      parser.resolveOperand(a, aType, result.operands) ||
      parser.resolveOperand(b, bType, result.operands) ||
      init.resolve(parser, result) || inputs.resolve(parser, result) ||
      angles.resolve(parser, result) || to.resolve(parser, result) ||
      caches.resolve(parser, result))
    return failure();
  result.addAttribute("access", builder.getArrayAttr(inputs.access));
  result.addAttribute("result_access", builder.getArrayAttr(resultAccess));
  setSegments<MatmulOp>(parser, result,
                        {1, 1, init.size(), inputs.size(), angles.size(),
                         to.size(), caches.size()});
  if (region) {
    accumulators.append(arguments);
    return parseBody(parser, result, accumulators);
  }
  result.addRegion();
  return parser.parseOptionalAttrDictWithKeyword(result.attributes);
}

void MatmulOp::print(OpAsmPrinter &p) {
  p << ' ' << getA() << ", " << getB();
  if (getTransposeA())
    p << " transpose_a";
  if (getPaired())
    p << " paired";
  p << " : " << getA().getType() << ", " << getB().getType();
  printClause(p, "init", getInit() ? ValueRange(getInit()) : ValueRange());
  if (!getBody().empty()) {
    auto arguments = getBody().getArguments();
    size_t accumulators = getPaired() ? 2 : 1;
    p << " acc(";
    llvm::interleaveComma(arguments.take_front(accumulators), p,
                          [&](BlockArgument a) { p.printOperand(a); });
    p << ')';
    if (!getInputs().empty()) {
      p << " with ";
      printInputs(
          p, getInputs(), getAccess(),
          SmallVector<BlockArgument>(arguments.drop_front(accumulators)));
    }
  }
  printClause(p, "turned",
              getAngles() ? ValueRange(getAngles()) : ValueRange());
  printClause(p, "scatter", getTo() ? ValueRange(getTo()) : ValueRange());
  printClause(p, "caches", getCaches());
  printResults(p, getResultTypes(), getResultAccess(), /*defaultElement=*/true);
  StringRef elided[] = {"access", "result_access", "transpose_a", "paired"};
  if (!getBody().empty())
    return printBody(p, *this, elided);
  SmallVector<StringRef> all(std::begin(elided), std::end(elided));
  all.push_back("operandSegmentSizes");
  p.printOptionalAttrDictWithKeyword((*this)->getAttrs(), all);
}
