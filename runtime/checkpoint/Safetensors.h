//===- Safetensors.h - tensor files of Hugging Face -------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_CHECKPOINT_SAFETENSORS_H
#define R1C_RUNTIME_CHECKPOINT_SAFETENSORS_H

#include "runtime/device/Memory.h"
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace r1c::runtime {

/// A tensor of a safetensors file: little endian, row major.
struct Tensor {
  std::string dtype; ///< "F32", "BF16", "F16", "U8", "F64", ...
  std::vector<int64_t> shape;
  const char *data = nullptr; ///< inside the file's mapping
  int64_t bytes = 0;

  int64_t elements() const;
  /// As float32. Throws for dtypes that are not floating point.
  std::vector<float> floats() const;
};

/// A safetensors file, mapped and checked, or all files of a model directory
/// (model.safetensors, or what model.safetensors.index.json lists).
class Safetensors {
public:
  explicit Safetensors(const std::filesystem::path &fileOrDirectory);

  bool has(const std::string &name) const { return tensors.count(name) != 0; }
  /// Throws r1c::Error when there is none.
  const Tensor &get(const std::string &name) const;
  const std::map<std::string, Tensor> &all() const { return tensors; }

private:
  void add(const std::filesystem::path &file);

  std::string path;
  std::map<std::string, Tensor> tensors;
  std::vector<std::shared_ptr<void>> mappings;
};

/// What is written: a tensor's header and where its bytes come from.
struct TensorToWrite {
  std::string name, dtype;
  std::vector<int64_t> shape;
  std::string bytes;
  Range range = {}; ///< in memory of a device, instead of `bytes`

  int64_t size() const {
    return range ? range.bytes : static_cast<int64_t>(bytes.size());
  }
};

/// Writes the tensors, in their order, and has them on the disk; of those in
/// ranges there is never more than a piece in memory twice.
void writeSafetensors(const std::filesystem::path &path,
                      const std::vector<TensorToWrite> &tensors);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_CHECKPOINT_SAFETENSORS_H
