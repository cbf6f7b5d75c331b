//===- Memory.h - arenas and named buffers on a device ----------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DEVICE_MEMORY_H
#define R1C_RUNTIME_DEVICE_MEMORY_H

#include "runtime/artifact/Manifest.h"
#include "runtime/device/Device.h"
#include "runtime/support/Error.h"
#include <span>
#include <string_view>
#include <type_traits>
#include <unordered_map>

namespace r1c::runtime {

/// Sizes that an artifact gives, multiplied or added up: the largest there is
/// where an int64 cannot hold the result, so that it fits nowhere.
inline int64_t product(int64_t a, int64_t b) {
  int64_t result;
  return __builtin_mul_overflow(a, b, &result) ? INT64_MAX : result;
}
inline int64_t sum(int64_t a, int64_t b) {
  int64_t result;
  return __builtin_add_overflow(a, b, &result) ? INT64_MAX : result;
}

/// A named range of device memory, from an offset into a buffer to its end.
struct Range {
  Device *device = nullptr;
  char *address = nullptr;
  int64_t bytes = 0;
  int64_t element = 0; ///< bytes of one element of `dtype`
  size_t arena = 0;    ///< index into Manifest::arenas
  std::string dtype, name;

  explicit operator bool() const { return device != nullptr; }
  int64_t size() const { return element ? bytes / element : 0; }

  /// Writes numbers as the range's dtype (f64 f32 i64 i32 i8 i1). Throws when
  /// they do not fit.
  template <typename T>
  void write(std::span<const T> values) const;
  template <typename T>
  void write(const std::vector<T> &values) const {
    write(std::span<const T>(values));
  }
  /// Writes one number.
  void set(double value) const;
  void setInteger(int64_t value) const;

  /// The first `count` elements as T.
  template <typename T>
  std::vector<T> read(int64_t count) const;
  double get() const { return read<double>(1)[0]; }
};

/// All memory of an artifact: one allocation an arena, made once.
class Memory {
public:
  Memory(Device &device, const Manifest &manifest, std::string_view constants);

  Device &device() const { return owner; }
  const Manifest &manifest() const { return description; }

  /// The whole buffer; throws for an unknown name.
  Range buffer(const std::string &name) const;
  /// A JSON reference {"buffer", "offset"} without stride, or a buffer's name.
  Range range(const Json &reference) const;
  /// An optional field of an object: a reference, a name, or absent.
  Range optional(const Fields &fields, const char *name) const;
  Range required(const Fields &fields, const char *name) const;

  int64_t totalBytes() const { return total; }

private:
  Device &owner;
  const Manifest &description;
  std::vector<char *> arenas;
  int64_t total = 0;
};

//===----------------------------------------------------------------------===//

namespace detail {
[[noreturn]] void failRange(const Range &range, int64_t count);
[[noreturn]] void failDtype(const Range &range);

template <typename Visit>
void visitDtype(const Range &range, Visit visit) {
  if (range.dtype == "f64")
    visit(double());
  else if (range.dtype == "f32")
    visit(float());
  else if (range.dtype == "i64")
    visit(int64_t());
  else if (range.dtype == "i32")
    visit(int32_t());
  else if (range.dtype == "i8" || range.dtype == "i1" || range.dtype == "u8")
    visit(int8_t());
  else
    failDtype(range);
}
} // namespace detail

template <typename T>
void Range::write(std::span<const T> values) const {
  detail::visitDtype(*this, [&](auto zero) {
    using Element = decltype(zero);
    auto count = static_cast<int64_t>(values.size());
    if (count * static_cast<int64_t>(sizeof(Element)) > bytes)
      detail::failRange(*this, count);
    if constexpr (std::is_same_v<T, Element>) {
      device->upload(address, values.data(), count * sizeof(Element));
    } else {
      std::vector<Element> converted(values.begin(), values.end());
      device->upload(address, converted.data(), count * sizeof(Element));
    }
  });
}

template <typename T>
std::vector<T> Range::read(int64_t count) const {
  std::vector<T> result(count);
  detail::visitDtype(*this, [&](auto zero) {
    using Element = decltype(zero);
    if (count * static_cast<int64_t>(sizeof(Element)) > bytes)
      detail::failRange(*this, count);
    if constexpr (std::is_same_v<T, Element>) {
      device->download(result.data(), address, count * sizeof(Element));
    } else {
      std::vector<Element> raw(count);
      device->download(raw.data(), address, count * sizeof(Element));
      for (int64_t i = 0; i < count; ++i)
        result[i] = static_cast<T>(raw[i]);
    }
  });
  return result;
}

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DEVICE_MEMORY_H
