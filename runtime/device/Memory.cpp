//===- Memory.cpp - arenas and named buffers on a device ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/Memory.h"

namespace r1c::runtime {

void detail::failRange(const Range &range, int64_t count) {
  throw Error("buffer '", range.name, "' holds ", range.size(), " elements, ",
              count,
              " are needed; the sizes declared in the step file are too "
              "small for this data");
}

void detail::failDtype(const Range &range) {
  throw Error("buffer '", range.name, "' of dtype '", range.dtype,
              "' cannot be read or written by the runtime");
}

void Range::set(double value) const {
  write(std::span<const double>(&value, 1));
}

void Range::setInteger(int64_t value) const {
  write(std::span<const int64_t>(&value, 1));
}

Memory::Memory(Device &device, const Manifest &manifest,
               std::string_view constants)
    : owner(device), description(manifest) {
  for (const ArenaInfo &arena : manifest.arenas) {
    arenas.push_back(within([&] { return "arena '" + arena.name + "'"; },
                            [&] { return device.allocate(arena.bytes); }));
    total += arena.bytes;
    if (arena.name == "constants")
      device.upload(arenas.back(), constants.data(),
                    static_cast<int64_t>(constants.size()));
  }
}

Range Memory::buffer(const std::string &name) const {
  const BufferInfo *info = description.findBuffer(name);
  if (!info)
    throw Error("no buffer '", name, "'");
  Range range;
  range.device = &owner;
  range.address = arenas[info->arena] + info->offset;
  range.bytes = info->bytes;
  range.dtype = info->dtype;
  range.element = bytesOf(info->dtype);
  range.name = name;
  range.arena = info->arena;
  return range;
}

Range Memory::range(const Json &reference) const {
  if (reference.is_string())
    return buffer(reference.get<std::string>());
  Fields fields(reference, "reference");
  Range range = buffer(fields.text("buffer"));
  int64_t offset = fields.integer("offset", 0);
  if (offset < 0 || offset > range.bytes)
    throw Error("offset ", offset, " lies outside buffer '", range.name,
                "' of ", range.bytes, " bytes");
  if (fields.integer("stride", 0) != 0)
    throw Error("a reference to buffer '", range.name,
                "' has a stride outside a loop");
  range.address += offset;
  range.bytes -= offset;
  return range;
}

Range Memory::optional(const Fields &fields, const char *name) const {
  if (!fields.has(name))
    return {};
  return within([&] { return concat(fields.where(), ".", name); },
                [&] { return range(fields.get(name)); });
}

Range Memory::required(const Fields &fields, const char *name) const {
  fields.get(name);
  return optional(fields, name);
}

} // namespace r1c::runtime
