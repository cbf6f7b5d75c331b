//===- Jinja.h - chat templates ------------------------------- -*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DATA_JINJA_JINJA_H
#define R1C_RUNTIME_DATA_JINJA_JINJA_H

#include "runtime/support/Json.h"
#include <memory>

namespace r1c::runtime {

namespace jinja {
struct Statement;
} // namespace jinja

/// A template in the part of Jinja that chat templates are written in, with
/// white space as `transformers` sets it (trim_blocks and lstrip_blocks). What
/// is not of that part is an error when a rendering comes to it: a branch that
/// no message takes may hold anything that parses.
class Jinja {
public:
  /// Throws r1c::Error with the line.
  explicit Jinja(const std::string &source);
  ~Jinja();

  /// With the variables of an object. Throws r1c::Error with the line.
  std::string render(const Json &variables) const;

private:
  std::unique_ptr<jinja::Statement> root;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DATA_JINJA_JINJA_H
