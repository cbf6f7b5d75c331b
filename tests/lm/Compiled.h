//===- Compiled.h - run fused functions as machine code ---------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_LM_COMPILED_H
#define R1C_TESTS_LM_COMPILED_H

#include "tests/kern/Harness.h"
#include "tests/lm/Harness.h"

namespace r1c::test {

/// The functions of a fused module, each of their ops a compiled kernel, run op
/// by op. Values are float32, bfloat16 and int32; outputs start as NaN.
class Compiled {
public:
  /// `fused` must outlive this.
  explicit Compiled(mlir::ModuleOp fused);

  /// As `run` of Harness.h, with so many workers a kernel.
  Environment run(llvm::StringRef function, const Environment &environment,
                  int64_t workers = 1);

private:
  mlir::ModuleOp module;
  llvm::DenseMap<mlir::Operation *, std::string> symbols;
  std::unique_ptr<Kernels> kernels;
};

} // namespace r1c::test

#endif // R1C_TESTS_LM_COMPILED_H
