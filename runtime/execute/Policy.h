//===- Policy.h - a policy at run time --------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_EXECUTE_POLICY_H
#define R1C_RUNTIME_EXECUTE_POLICY_H

#include "runtime/device/Memory.h"
#include "runtime/rollout/Rollout.h"
#include <filesystem>
#include <memory>
#include <optional>

namespace r1c::runtime {

struct Block;

/// Master weights of one name: float32, one tensor a layer if stacked.
struct Parameter {
  std::string name; ///< "{}" stands for the layer
  std::vector<int64_t> shape;
  int64_t layers = 0; ///< 0: not stacked
  Range range;        ///< from the first layer's first element
  int64_t stride = 0; ///< bytes from layer to layer
  Json init;

  int64_t elements() const;
  int64_t copies() const { return layers ? layers : 1; }
  std::string nameOf(int64_t layer) const;
  Range layer(int64_t layer) const;
};

/// An entry of the manifest's "policies".
class Policy {
public:
  Policy(const Fields &description, const Memory &memory, uint32_t index,
         const Base &base);

  std::string name;
  Json source, model;
  bool trained = false;
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<Parameter> parameters;
  std::vector<Range> state; ///< what a checkpoint holds
  Range updates;
  std::string packName, rolloutName, filteredName;
  std::optional<Rollout> rollout;

  /// Set by the loader; null where the policy has no such program.
  const Block *pack = nullptr, *rolloutProgram = nullptr,
              *filteredProgram = nullptr;

  /// Master weights from their declared start ("normal", "constant"): a
  /// function of (seed, policy, parameter, element) alone.
  void initialise(uint64_t seed) const;
  /// From a Hugging Face directory; every parameter must be there in its shape.
  void load(const std::filesystem::path &directory) const;
  /// The master weights of a policy with the same parameters.
  void copyFrom(const Policy &other) const;

private:
  uint32_t index;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_EXECUTE_POLICY_H
