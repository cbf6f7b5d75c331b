//===- Emulate.cpp - launches and programs --------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Emulate.h"
#include "compiler/target/cuda/emulate/Machine.h"

using namespace mlir;
using namespace r1c::cuda::emulate;

static llvm::Error badLaunch(const llvm::Twine &what) {
  return llvm::createStringError("launch: " + what);
}

/// An array of integers, however it is written.
static bool readIntegers(Attribute attribute, SmallVectorImpl<int64_t> &to) {
  if (auto dense = dyn_cast_or_null<DenseI64ArrayAttr>(attribute)) {
    to.assign(dense.asArrayRef().begin(), dense.asArrayRef().end());
    return true;
  }
  auto array = dyn_cast_or_null<ArrayAttr>(attribute);
  if (!array)
    return false;
  for (Attribute element : array) {
    auto number = dyn_cast<IntegerAttr>(element);
    if (!number)
      return false;
    to.push_back(number.getInt());
  }
  return true;
}

llvm::Expected<Launch> Launch::parse(DictionaryAttr attribute,
                                     int64_t multiprocessors) {
  Launch launch;
  if (!attribute)
    return badLaunch("there is no such attribute");
  auto number = [&](StringRef name, int64_t otherwise) {
    auto value = attribute.getAs<IntegerAttr>(name);
    return value ? value.getInt() : otherwise;
  };
  launch.threads = number("threads", 0);
  launch.shared = number("shared", 0);
  launch.cluster = number("cluster", 1);
  launch.blocks =
      number("blocks", multiprocessors * number("blocks_per_sm", 1));
  if (launch.threads < 1)
    return badLaunch("it says no number of threads");
  if (auto overlap = attribute.getAs<BoolAttr>("overlap"))
    launch.overlap = overlap.getValue();
  if (attribute.contains("early") &&
      !readIntegers(attribute.get("early"), launch.early))
    return badLaunch("'early' is no list of operands");
  if (attribute.contains("cached") &&
      !readIntegers(attribute.get("cached"), launch.cached))
    return badLaunch("'cached' is no list of operands");
  if (attribute.contains("written") &&
      !readIntegers(attribute.get("written"), launch.written.emplace()))
    return badLaunch("'written' is no list of operands");
  auto maps = attribute.getAs<ArrayAttr>("tensor_maps");
  if (!maps)
    return launch;
  for (Attribute element : maps) {
    auto entry = dyn_cast<DictionaryAttr>(element);
    auto operand = entry ? entry.getAs<IntegerAttr>("operand") : IntegerAttr();
    auto dtype = entry ? entry.getAs<StringAttr>("dtype") : StringAttr();
    auto swizzle = entry ? entry.getAs<IntegerAttr>("swizzle") : IntegerAttr();
    TensorMap map;
    if (!operand || !dtype || (dtype != "bf16" && dtype != "f32") ||
        !readIntegers(entry.get("sizes"), map.sizes) ||
        !readIntegers(entry.get("strides"), map.strides) ||
        !readIntegers(entry.get("box"), map.box))
      return badLaunch("a tensor map without operand, dtype (bf16 or f32), "
                       "sizes, strides and box");
    map.operand = operand.getInt();
    map.elementBytes = dtype == "bf16" ? 2 : 4;
    map.swizzle = swizzle ? swizzle.getInt() : 0;
    launch.tensorMaps.push_back(std::move(map));
  }
  return launch;
}

Program::Program() : code(std::make_unique<Code>()) {}
Program::~Program() = default;

llvm::Expected<std::unique_ptr<Program>> Program::decode(Operation *module) {
  std::unique_ptr<Program> program(new Program());
  if (llvm::Error error = decodeModule(module, *program->code))
    return std::move(error);
  return std::move(program);
}

llvm::Error Program::run(StringRef kernel, const Launch &launch,
                         ArrayRef<Buffer> buffers,
                         Statistics *statistics) const {
  auto found = code->names.find(kernel);
  if (found == code->names.end())
    return llvm::createStringError("there is no kernel " + kernel);
  Machine machine(*code, code->functions[found->second], launch, buffers);
  llvm::Error error = machine.run();
  if (statistics)
    *statistics = machine.statistics;
  return error;
}

llvm::Error r1c::cuda::emulate::runKernel(Operation *module, StringRef kernel,
                                          const Launch &launch,
                                          ArrayRef<Buffer> buffers) {
  auto program = Program::decode(module);
  if (!program)
    return program.takeError();
  return (*program)->run(kernel, launch, buffers);
}
