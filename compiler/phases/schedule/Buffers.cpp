//===- Buffers.cpp - buffers and arenas of a schedule ---------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/schedule/Buffers.h"
#include "compiler/phases/schedule/Lifetimes.h"
#include "dialects/kern/Kern.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::schedule;

int64_t schedule::bytesOf(Type elementType) {
  return llvm::divideCeil(elementType.getIntOrFloatBitWidth(), 8);
}

std::string schedule::dtypeOf(Type elementType) {
  std::string text;
  llvm::raw_string_ostream(text) << elementType;
  return text;
}

rt::RefAttr Buffers::allocate(Location loc, StringRef name, StringRef arena,
                              int64_t bytes, StringRef dtype,
                              DenseElementsAttr data) {
  std::string unique = name.str();
  while (names.count(unique))
    unique = (name + "." + Twine(names[name]++)).str();
  names[unique] = 1;
  names.try_emplace(arena, 1);
  int64_t &size = sizes[arena];
  // A GPU's cache has lines of 128 bytes: of a larger buffer the rows should
  // not straddle more of them than they must.
  if (bytes >= 4096)
    size = llvm::alignTo(size, 128);
  int64_t offset = size;
  // Kernels may read, never write, up to the next multiple of 64.
  size += llvm::alignTo(std::max<int64_t>(bytes, 1), 64);
  OpBuilder builder = OpBuilder::atBlockEnd(declarations);
  rt::BufferOp::create(builder, loc, unique, arena, offset, bytes, dtype, data);
  return rt::RefAttr::get(builder.getContext(),
                          FlatSymbolRefAttr::get(builder.getContext(), unique),
                          0, 0);
}

Extent Buffers::extent(Location loc, StringRef name, int64_t capacity) {
  return {allocate(loc, name, "sizes", 8, "i64"), capacity};
}

rt::RefAttr Buffers::number(Location loc, double value) {
  rt::RefAttr &ref = numbers[llvm::bit_cast<uint64_t>(value)];
  if (!ref) {
    auto type =
        RankedTensorType::get({1}, Float64Type::get(module.getContext()));
    ref = allocate(loc, "number", "constants", 8, "f64",
                   DenseElementsAttr::get(type, value));
  }
  return ref;
}

rt::RefAttr Buffers::allocateFor(Location loc, StringRef name, StringRef arena,
                                 Type type, Extent rows) {
  if (auto packed = dyn_cast<kern::PackedType>(type))
    return allocate(loc, name, arena, packed.getBytes(),
                    dtypeOf(packed.getElementType()));
  auto tensor = cast<RankedTensorType>(type);
  int64_t elements = 1;
  for (int64_t size : tensor.getShape())
    elements *= ShapedType::isDynamic(size) ? rows.capacity : size;
  return allocate(loc, name, arena, elements * bytesOf(tensor.getElementType()),
                  dtypeOf(tensor.getElementType()));
}

void Buffers::finish() {
  sizes["activations"] = shareArena(*declarations, "activations");
  OpBuilder builder = OpBuilder::atBlockBegin(declarations);
  SmallVector<StringRef> order(sizes.keys());
  llvm::sort(order);
  for (StringRef name : order)
    rt::ArenaOp::create(builder, module.getLoc(), name, sizes[name]);
}
