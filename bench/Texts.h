//===- Texts.h - matrix products as kernels of kern -----------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_BENCH_TEXTS_H
#define R1C_BENCH_TEXTS_H

#include "bench/Products.h"

namespace r1c::bench {

/// @mm: a, b, (residual, bias,) c.
std::string productText(Shape s, bool bf16, Epilogue epilogue);
/// The head of a model as fuse writes it: @mm reduces the product's sums to
/// four numbers for 256 columns, @row those to log-probability, entropy and
/// log-sum-exp a row.
std::string headText(Shape s, bool bf16);
/// @mm: a, b, c.
std::string weightGradientText(Shape s, bool bf16);

} // namespace r1c::bench

#endif // R1C_BENCH_TEXTS_H
