//===- Sets.cpp - sets of outputs as the schedule sees them ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/schedule/Sets.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::schedule;

Axes::Axes(Buffers &buffers, OpBuilder &builder, Location loc, int64_t set,
           bool view, int64_t tokens, int64_t sequences, int64_t groups)
    : buffers(buffers), number(set), view(view) {
  std::string prefix = llvm::formatv("set{0}.{1}", set, view ? "view." : "");
  tokenExtent = buffers.extent(loc, prefix + "tokens", tokens);
  sequenceExtent = buffers.extent(loc, prefix + "sequences", sequences);
  groupExtent = buffers.extent(loc, prefix + "groups", groups);
  NamedAttribute sizes[] = {
      builder.getNamedAttr("tokens", tokenExtent.size),
      builder.getNamedAttr("sequences", sequenceExtent.size),
      builder.getNamedAttr("groups", groupExtent.size)};
  op = rt::AxesOp::create(builder, loc, set, view,
                          builder.getDictionaryAttr(sizes));
}

Slot Axes::index(StringRef name) {
  Slot &slot = indices[name];
  if (slot.ref)
    return slot;
  // What the rows of a kernel that takes this index are, and its entries.
  struct Shape {
    Extent rows;
    int64_t entries;
  };
  auto offsets = [](Extent e) { return Shape{e, e.capacity + 1}; };
  auto each = [](Extent e) { return Shape{e, e.capacity}; };
  Shape shape = llvm::StringSwitch<Shape>(name)
                    .Case("sequence_offsets", offsets(sequenceExtent))
                    .Case("group_offsets", offsets(groupExtent))
                    .Case("group_token_offsets", offsets(groupExtent))
                    .Case("token_sequence", each(tokenExtent))
                    .Case("token_group", each(tokenExtent))
                    .Case("sequence_group", each(sequenceExtent))
                    .Case("view_tokens", each(tokenExtent))
                    .Case("view_sequences", each(sequenceExtent))
                    .Case("view_groups", each(groupExtent))
                    .Default(Shape{{}, 2}); // all_*
  std::string full =
      llvm::formatv("set{0}.{1}{2}", number, view ? "view." : "", name);
  slot.rows = shape.rows;
  slot.ref =
      buffers.allocate(op.getLoc(), full, "tables", shape.entries * 4, "i32");
  NamedAttrList to(op.getTo());
  to.set(name, slot.ref);
  op.setToAttr(to.getDictionary(op.getContext()));
  return slot;
}
