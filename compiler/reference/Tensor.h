//===- Tensor.h - values of the interpreter ---------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_REFERENCE_TENSOR_H
#define R1C_COMPILER_REFERENCE_TENSOR_H

#include <cassert>
#include <cstdint>
#include <variant>
#include <vector>

namespace r1c::reference {

/// A dense row-major array. Every element type is a double here: 32-bit
/// integers and flags fit exactly.
struct Tensor {
  std::vector<int64_t> shape;
  std::vector<double> values;

  Tensor() = default;
  explicit Tensor(std::vector<int64_t> shape, double fill = 0)
      : shape(std::move(shape)) {
    int64_t count = 1;
    for (int64_t size : this->shape)
      count *= size;
    values.assign(count, fill);
  }
  Tensor(std::vector<int64_t> shape, std::vector<double> values)
      : shape(std::move(shape)), values(std::move(values)) {}
  static Tensor number(double value) { return Tensor({}, value); }
  static Tensor list(std::vector<double> values) {
    int64_t size = values.size();
    return Tensor({size}, std::move(values));
  }

  int64_t rows() const { return shape.at(0); }
  int64_t columns() const { return shape.at(1); }
  int64_t count() const { return values.size(); }
  double &operator()(int64_t i) { return values.at(i); }
  double operator()(int64_t i) const { return values.at(i); }
  double &operator()(int64_t i, int64_t j) {
    return values.at(i * columns() + j);
  }
  double operator()(int64_t i, int64_t j) const {
    return values.at(i * columns() + j);
  }
};

/// A value of type !lm.context: for each row its position in its sequence and
/// the key row of that sequence's position 0. Of a prompt that sequences share,
/// the keys before `shared` lie from `sharedBases` on (both empty: of none).
struct Context {
  std::vector<int64_t> positions, bases, shared, sharedBases;

  /// The key row that row i sees at position p.
  int64_t keyRow(int64_t i, int64_t p) const {
    bool ofPrompt = !shared.empty() && p < shared.at(i);
    return (ofPrompt ? sharedBases.at(i) : bases.at(i)) + p;
  }
};

/// The context of whole sequences of these lengths, one behind the other.
inline Context packedContext(const std::vector<int64_t> &lengths) {
  Context context;
  for (int64_t length : lengths) {
    int64_t base = context.positions.size();
    for (int64_t position = 0; position < length; ++position) {
      context.positions.push_back(position);
      context.bases.push_back(base);
    }
  }
  return context;
}

using Datum = std::variant<Tensor, Context>;

} // namespace r1c::reference

#endif // R1C_COMPILER_REFERENCE_TENSOR_H
