//===- Single.h - a run of one rank -----------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_COLLECTIVE_SINGLE_SINGLE_H
#define R1C_RUNTIME_COLLECTIVE_SINGLE_SINGLE_H

#include "runtime/collective/Collective.h"

namespace r1c::runtime {

/// One rank: the sum over all ranks is what is there already.
class SingleCollective : public Collective {
public:
  int64_t rank() const override { return 0; }
  int64_t size() const override { return 1; }
  int64_t localRank() const override { return 0; }
  int64_t sharers() const override { return 1; }
  std::vector<std::string> gather(std::string mine, const Place &) override {
    return {std::move(mine)};
  }
  void startSum(const Bucket &, const Place &, const Mark *) override {}
  std::vector<Summed> finishSums() override { return {}; }
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_COLLECTIVE_SINGLE_SINGLE_H
