//===- Manifest.cpp - rt as the artifact's JSON ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/package/Manifest.h"
#include "compiler/Place.h"
#include "dialects/rt/RT.h"
#include "runtime/artifact/Artifact.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c;
namespace json = llvm::json;

json::Value r1c::toJson(Attribute attr) {
  return TypeSwitch<Attribute, json::Value>(attr)
      .Case([](BoolAttr a) { return json::Value(a.getValue()); })
      .Case([](IntegerAttr a) { return json::Value(a.getInt()); })
      .Case([](FloatAttr a) { return json::Value(a.getValueAsDouble()); })
      .Case([](StringAttr a) { return json::Value(a.getValue().str()); })
      .Case([](FlatSymbolRefAttr a) { return json::Value(a.getValue().str()); })
      .Case([](UnitAttr) { return json::Value(true); })
      .Case([](DictionaryAttr a) {
        json::Object object;
        for (NamedAttribute entry : a)
          object[entry.getName().str()] = toJson(entry.getValue());
        return json::Value(std::move(object));
      })
      .Case([](DenseI64ArrayAttr a) {
        return json::Value(json::Array(a.asArrayRef()));
      })
      .Case([](ArrayAttr a) {
        json::Array array;
        for (Attribute element : a)
          array.push_back(toJson(element));
        return json::Value(std::move(array));
      })
      .Case([](rt::RefAttr a) {
        json::Object object{{"buffer", a.getBuffer().getValue().str()}};
        if (a.getOffset())
          object["offset"] = a.getOffset();
        if (a.getStride())
          object["stride"] = a.getStride();
        return json::Value(std::move(object));
      })
      .Default([](Attribute) { return json::Value(nullptr); });
}

namespace {

/// The innermost file position of a location; fused and named locations carry
/// it inside.
std::string positionOf(Location loc) {
  std::string text;
  loc->walk([&](Location inner) {
    auto file = dyn_cast<FileLineColLoc>(inner);
    if (!file)
      return WalkResult::advance();
    text = placeText(file);
    return WalkResult::interrupt();
  });
  return text;
}

json::Array bodyOf(Region &region);

/// An op's attributes by name, without the symbol's own name for it.
json::Object fieldsOf(Operation *op) {
  json::Object object;
  for (NamedAttribute attr : op->getAttrs()) {
    StringRef key = attr.getName().strref();
    if (key == "data" && isa<rt::BufferOp>(op))
      continue; // constants travel in constants.bin
    object[key == "sym_name" ? "name" : key.str()] = toJson(attr.getValue());
  }
  if (op->getNumRegions() == 1 && !op->getRegion(0).empty() &&
      !op->getRegion(0).front().empty())
    object["body"] = bodyOf(op->getRegion(0));
  if (std::string position = positionOf(op->getLoc()); !position.empty())
    object["loc"] = std::move(position);
  return object;
}

json::Array bodyOf(Region &region) {
  json::Array body;
  for (Operation &op : region.front()) {
    json::Object object = fieldsOf(&op);
    object["op"] = op.getName().stripDialect().str();
    body.push_back(std::move(object));
  }
  return body;
}

/// Declarations that carry all they say in one dictionary.
template <typename OpTy>
json::Array infos(ModuleOp module) {
  json::Array array;
  for (OpTy op : module.getOps<OpTy>()) {
    json::Value info = toJson(op.getInfo());
    json::Object object = std::move(*info.getAsObject());
    object["name"] = op.getSymName().str();
    array.push_back(std::move(object));
  }
  return array;
}

template <typename OpTy>
json::Array declarations(ModuleOp module) {
  json::Array array;
  for (OpTy op : module.getOps<OpTy>())
    array.push_back(fieldsOf(op));
  return array;
}

} // namespace

json::Value r1c::manifestFrom(ModuleOp module,
                              const TargetDescription &target) {
  json::Object programs;
  for (auto program : module.getOps<rt::ProgramOp>())
    programs[program.getSymName().str()] = bodyOf(program.getBody());
  json::Array stages;
  for (auto stage : module.getOps<rt::StageOp>()) {
    json::Object object = fieldsOf(stage);
    if (!object.get("body"))
      object["body"] = json::Array();
    stages.push_back(std::move(object));
  }
  return json::Object{
      {"format", json::Object{{"major", runtime::formatMajor},
                              {"minor", runtime::formatMinor}}},
      {"producer", "r1c 0.1.0"},
      {"target", json::Object{{"kind", target.kind},
                              {"cpu", target.cpu},
                              {"features", target.features}}},
      {"arenas", declarations<rt::ArenaOp>(module)},
      {"buffers", declarations<rt::BufferOp>(module)},
      {"kernels", declarations<rt::KernelOp>(module)},
      {"params", infos<rt::ParamOp>(module)},
      {"policies", infos<rt::PolicyOp>(module)},
      {"data", infos<rt::DataOp>(module)},
      {"externs", infos<rt::ExternOp>(module)},
      {"programs", std::move(programs)},
      {"stages", std::move(stages)},
  };
}

std::vector<char> r1c::constantsFrom(ModuleOp module) {
  std::vector<char> bytes;
  for (auto buffer : module.getOps<rt::BufferOp>()) {
    auto data = dyn_cast_or_null<DenseElementsAttr>(buffer.getDataAttr());
    if (!data)
      continue;
    size_t end = buffer.getOffset() + buffer.getBytes();
    if (bytes.size() < end)
      bytes.resize(end);
    ArrayRef<char> raw = data.getRawData();
    size_t element = raw.size();
    // A splat stores its one element: repeat it.
    for (size_t at = 0; element && at + element <= (size_t)buffer.getBytes();
         at += element)
      std::copy(raw.begin(), raw.end(),
                bytes.begin() + buffer.getOffset() + at);
  }
  return bytes;
}
