//===- Bundle.h - buffers that travel together ------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DEVICE_BUNDLE_H
#define R1C_RUNTIME_DEVICE_BUNDLE_H

#include "runtime/device/Memory.h"
#include <algorithm>

namespace r1c::runtime {

/// Small buffers that are written, or read, at the same moment, over and over.
/// Those that lie side by side in their arena go in one copy, each whole: on a
/// GPU a copy costs the same for four bytes and for some kilobytes.
class Bundle {
public:
  Bundle() = default;
  /// Ranges of one device that do not overlap.
  explicit Bundle(const std::vector<Range> &ranges);

  /// Puts numbers at the start of the i-th range, converted to its dtype; they
  /// reach the device with `upload`. Throws when they do not fit.
  template <typename T>
  void set(size_t i, std::span<const T> values);
  template <typename T>
  void set(size_t i, const std::vector<T> &values) {
    set(i, std::span<const T>(values));
  }
  void upload() const;

  /// Takes all ranges from the device as they are behind the commands so far,
  /// without waiting; one at a time.
  void fetch();
  /// Until what `fetch` takes is there. Commands behind it may be under way.
  void wait() const;
  /// Both.
  void download();
  /// The first `count` elements of the i-th range, as they were taken.
  template <typename T>
  std::vector<T> get(size_t i, int64_t count) const;

  /// How many copies an upload or a download takes.
  size_t copies() const { return pieces.size(); }

private:
  /// A run of ranges with nothing between them but the padding to 64 bytes.
  struct Piece {
    char *address;
    int64_t bytes;
    size_t image; ///< where it starts in the host's image
  };

  std::vector<Range> ranges;
  std::vector<size_t> offsets; ///< of the ranges in the image
  std::vector<Piece> pieces;
  std::shared_ptr<char> image;
  std::unique_ptr<Mark> fetched;
};

template <typename T>
void Bundle::set(size_t i, std::span<const T> values) {
  const Range &range = ranges[i];
  detail::visitDtype(range, [&](auto zero) {
    using Element = decltype(zero);
    auto count = static_cast<int64_t>(values.size());
    if (count * static_cast<int64_t>(sizeof(Element)) > range.bytes)
      detail::failRange(range, count);
    auto *to = reinterpret_cast<Element *>(image.get() + offsets[i]);
    std::transform(values.begin(), values.end(), to,
                   [](T value) { return static_cast<Element>(value); });
  });
}

template <typename T>
std::vector<T> Bundle::get(size_t i, int64_t count) const {
  const Range &range = ranges[i];
  std::vector<T> result(count);
  detail::visitDtype(range, [&](auto zero) {
    using Element = decltype(zero);
    if (count * static_cast<int64_t>(sizeof(Element)) > range.bytes)
      detail::failRange(range, count);
    auto *from = reinterpret_cast<const Element *>(image.get() + offsets[i]);
    std::transform(from, from + count, result.begin(),
                   [](Element value) { return static_cast<T>(value); });
  });
  return result;
}

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DEVICE_BUNDLE_H
