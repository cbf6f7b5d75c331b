//===- Bundle.cpp - buffers that travel together --------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/Bundle.h"
#include <numeric>

namespace r1c::runtime {

Bundle::Bundle(const std::vector<Range> &list) : ranges(list) {
  std::vector<size_t> order(ranges.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(ranges[a].arena, ranges[a].address) <
           std::pair(ranges[b].arena, ranges[b].address);
  });
  offsets.resize(ranges.size());
  size_t end = 0;
  const Range *before = nullptr;
  for (size_t i : order) {
    const Range &range = ranges[i];
    int64_t gap = before && before->arena == range.arena
                      ? range.address - (before->address + before->bytes)
                      : -1;
    // Buffers start at multiples of 64: in a smaller gap there is none.
    bool joined = gap >= 0 && gap < 64;
    if (!joined) {
      end = (end + 63) / 64 * 64;
      pieces.push_back({range.address, 0, end});
    }
    Piece &piece = pieces.back();
    offsets[i] = piece.image + (range.address - piece.address);
    piece.bytes = range.address + range.bytes - piece.address;
    end = piece.image + piece.bytes;
    before = &range;
  }
  if (ranges.empty())
    return;
  image = ranges.front().device->hostMemory(static_cast<int64_t>(end));
  fetched = ranges.front().device->makeMark();
}

void Bundle::upload() const {
  for (const Piece &piece : pieces)
    ranges.front().device->upload(piece.address, image.get() + piece.image,
                                  piece.bytes);
}

void Bundle::fetch() {
  Device &device = *ranges.front().device;
  for (const Piece &piece : pieces)
    device.fetch(image.get() + piece.image, piece.address, piece.bytes);
  if (fetched)
    device.mark(*fetched);
}

void Bundle::wait() const {
  if (fetched)
    ranges.front().device->wait(*fetched);
}

void Bundle::download() {
  fetch();
  wait();
}

} // namespace r1c::runtime
