//===- Formulas.cpp - the interpreter of rl by hand-made cases ------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Formulas.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace r1c;
using reference::Axes;
using reference::reduceValues;
using rl::Axis;
using rl::ReduceKind;

TEST(Reductions, Values) {
  std::vector<double> x{3, 1, 4, 1, 5};
  EXPECT_EQ(reduceValues(ReduceKind::sum, x), 14);
  EXPECT_EQ(reduceValues(ReduceKind::mean, x), 2.8);
  EXPECT_EQ(reduceValues(ReduceKind::min, x), 1);
  EXPECT_EQ(reduceValues(ReduceKind::max, x), 5);
  EXPECT_EQ(reduceValues(ReduceKind::first, x), 3);
  EXPECT_EQ(reduceValues(ReduceKind::last, x), 5);
  EXPECT_DOUBLE_EQ(reduceValues(ReduceKind::var, x), 3.2);
  EXPECT_DOUBLE_EQ(reduceValues(ReduceKind::std, x), std::sqrt(3.2));
}

TEST(Reductions, OfNothingAndOfOne) {
  double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(reduceValues(ReduceKind::mean, {}), 0);
  EXPECT_EQ(reduceValues(ReduceKind::sum, {}), 0);
  EXPECT_EQ(reduceValues(ReduceKind::min, {}), infinity);
  EXPECT_EQ(reduceValues(ReduceKind::max, {}), -infinity);
  EXPECT_EQ(reduceValues(ReduceKind::first, {}), 0);
  EXPECT_EQ(reduceValues(ReduceKind::last, {}), 0);
  EXPECT_EQ(reduceValues(ReduceKind::std, {}), 0);
  EXPECT_EQ(reduceValues(ReduceKind::std, {7}), 0);
  EXPECT_EQ(reduceValues(ReduceKind::var, {7}), 0);
  EXPECT_EQ(reduceValues(ReduceKind::any, {}), 0);
  EXPECT_EQ(reduceValues(ReduceKind::all, {}), 1);
  EXPECT_TRUE(std::isnan(reduceValues(ReduceKind::quantile, {}, 0.5)));
}

// What numpy.quantile gives.
TEST(Reductions, QuantileInterpolates) {
  EXPECT_EQ(reduceValues(ReduceKind::quantile, {4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(reduceValues(ReduceKind::quantile, {4, 1, 3, 2}, 0.8), 3.4);
  EXPECT_EQ(reduceValues(ReduceKind::quantile, {4, 1, 3, 2}, 0), 1);
  EXPECT_EQ(reduceValues(ReduceKind::quantile, {4, 1, 3, 2}, 1), 4);
  EXPECT_EQ(reduceValues(ReduceKind::quantile, {9}, 0.3), 9);
}

TEST(Axes, Owners) {
  Axes axes{{2, 1, 3}, {0, 0, 1}};
  EXPECT_EQ(axes.size(Axis::token), 6);
  EXPECT_EQ(axes.size(Axis::group), 2);
  EXPECT_EQ(axes.owners(Axis::token, Axis::sequence),
            (std::vector<int64_t>{0, 0, 1, 2, 2, 2}));
  EXPECT_EQ(axes.owners(Axis::token, Axis::group),
            (std::vector<int64_t>{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(axes.owners(Axis::sequence, Axis::one),
            (std::vector<int64_t>{0, 0, 0}));
}
