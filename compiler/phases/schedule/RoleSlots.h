//===- RoleSlots.h - the buffers of a function by the roles -------*- C++
//-*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// What programs of models bind functions to buffers with.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_SCHEDULE_ROLESLOTS_H
#define R1C_COMPILER_PHASES_SCHEDULE_ROLESLOTS_H

#include "compiler/phases/expand/FunctionWriter.h"
#include "compiler/phases/schedule/Models.h"

namespace r1c::schedule {

/// A reference into the buffer of another one.
inline rt::RefAttr at(rt::RefAttr base, int64_t offset, int64_t stride) {
  return rt::RefAttr::get(base.getContext(), base.getBuffer(), offset, stride);
}

/// A reference into a buffer of equal parts, at the loop's layer + `shift`.
inline rt::RefAttr perLayer(rt::RefAttr base, int64_t bytes,
                            int64_t shift = 0) {
  return rt::RefAttr::get(base.getContext(), base.getBuffer(), shift * bytes,
                          bytes);
}
inline rt::RefAttr part(rt::RefAttr base, int64_t bytes, int64_t index) {
  return rt::RefAttr::get(base.getContext(), base.getBuffer(), index * bytes,
                          0);
}

/// A role's slot by table; most functions need nothing else.
inline Slot pick(llvm::ArrayRef<std::pair<llvm::StringRef, Slot>> table,
                 mlir::DictionaryAttr role) {
  llvm::StringRef kind = roleOf(role);
  auto of = role.getAs<mlir::StringAttr>(role::of);
  auto name = role.getAs<mlir::StringAttr>(role::name);
  std::string full = kind.str();
  if (of)
    full += ":" + of.getValue().str();
  else if (name)
    full += ":" + name.getValue().str();
  for (auto &[key, slot] : table)
    if (key == full || key == kind)
      return slot;
  return {};
}

inline Slot none(mlir::DictionaryAttr, mlir::Type) { return {}; }

} // namespace r1c::schedule

#endif // R1C_COMPILER_PHASES_SCHEDULE_ROLESLOTS_H
