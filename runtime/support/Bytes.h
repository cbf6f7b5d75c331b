//===- Bytes.h - lists of numbers as bytes ----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// What ranks tell each other: they are of one build, on machines of one kind.
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_SUPPORT_BYTES_H
#define R1C_RUNTIME_SUPPORT_BYTES_H

#include "runtime/support/Error.h"
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace r1c::runtime {

/// Appends a list: how many there are, then each.
template <typename T>
void appendBytes(std::string &to, const std::vector<T> &values) {
  static_assert(std::is_trivially_copyable_v<T>);
  uint64_t count = values.size();
  to.append(reinterpret_cast<const char *>(&count), sizeof count);
  to.append(reinterpret_cast<const char *>(values.data()), count * sizeof(T));
}

/// Takes a list from the start of `from`, as `appendBytes` wrote it.
template <typename T>
std::vector<T> takeBytes(std::string_view &from) {
  static_assert(std::is_trivially_copyable_v<T>);
  uint64_t count = 0;
  bool whole = from.size() >= sizeof count;
  if (whole) {
    std::memcpy(&count, from.data(), sizeof count);
    from.remove_prefix(sizeof count);
    whole = count <= from.size() / sizeof(T);
  }
  if (!whole)
    throw Error("what another rank sent is cut off");
  std::vector<T> values(count);
  std::memcpy(values.data(), from.data(), count * sizeof(T));
  from.remove_prefix(count * sizeof(T));
  return values;
}

} // namespace r1c::runtime

#endif // R1C_RUNTIME_SUPPORT_BYTES_H
