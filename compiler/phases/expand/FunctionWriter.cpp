//===- FunctionWriter.cpp - functions whose arguments have roles ---------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/expand/FunctionWriter.h"

using namespace mlir;
using namespace r1c;

DictionaryAttr r1c::makeRole(MLIRContext *context, StringRef role,
                             ArrayRef<std::pair<StringRef, StringRef>> more) {
  Builder b(context);
  SmallVector<NamedAttribute> entries{
      b.getNamedAttr(role::attribute, b.getStringAttr(role))};
  for (auto [key, value] : more)
    entries.push_back(b.getNamedAttr(key, b.getStringAttr(value)));
  return b.getDictionaryAttr(entries);
}

StringRef r1c::roleOf(DictionaryAttr attributes) {
  auto role =
      attributes ? attributes.getAs<StringAttr>(role::attribute) : StringAttr();
  return role ? role.getValue() : StringRef();
}

FunctionWriter::FunctionWriter(ModuleOp module, Location loc, StringRef model,
                               StringRef function)
    : body(module.getContext()) {
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  func = func::FuncOp::create(b, loc, (model + "." + function).str(),
                              b.getFunctionType({}, {}));
  func->setAttr(role::model, FlatSymbolRefAttr::get(b.getContext(), model));
  func->setAttr(role::function, b.getStringAttr(function));
  body.setInsertionPointToEnd(func.addEntryBlock());
}

Value FunctionWriter::argument(Type type, DictionaryAttr attributes,
                               Location loc) {
  argumentAttributes.push_back(attributes);
  return func.getBody().front().addArgument(type, loc);
}

void FunctionWriter::result(Value value, DictionaryAttr attributes) {
  results.push_back(value);
  resultAttributes.push_back(attributes);
}

func::FuncOp FunctionWriter::finish() {
  func::ReturnOp::create(body, func.getLoc(), results);
  func.setFunctionType(
      body.getFunctionType(func.getBody().front().getArgumentTypes(),
                           ValueRange(results).getTypes()));
  func.setArgAttrsAttr(body.getArrayAttr(argumentAttributes));
  func.setResAttrsAttr(body.getArrayAttr(resultAttributes));
  return func;
}
