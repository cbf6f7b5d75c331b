//===- CheckReport.h - the table of r1c check -------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TOOLS_CHECKREPORT_H
#define R1C_COMPILER_TOOLS_CHECKREPORT_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace r1c {

/// The largest difference between values that should agree.
class Errors {
public:
  /// `floor`: values below it count as that large in the relative error, so
  /// that the rounding of a sum that cancels is no large error of a small
  /// number.
  explicit Errors(double floor) : floor(floor) {}

  /// The values of one quantity. The relative error is that to the largest of
  /// them. Two NaNs agree, and so do equal infinities.
  void add(llvm::ArrayRef<double> actual, llvm::ArrayRef<double> expected);
  /// A difference that is known already, and the scale to hold it against.
  void addKnown(double absolute, double scale);
  /// Whether all bits agreed.
  bool isExact() const { return differing == 0; }

  int64_t compared = 0, differing = 0;
  double absolute = 0, relative = 0;

private:
  double floor;
};

/// A line of the table: two ways to compute the same.
struct CheckRow {
  std::string what;
  double absolute = 0, relative = 0;
  /// Of the relative error; none: bits must be equal.
  std::optional<double> bound;
  bool isGood = false;
  std::string remark;

  /// Within `bound`; equal where there is none.
  CheckRow(std::string what, const Errors &errors, std::optional<double> bound);
};

/// The lines about one loss or one policy.
struct CheckSection {
  std::string title;
  std::vector<std::string> notes;
  std::vector<CheckRow> rows;
};

class CheckReport {
public:
  CheckSection &section(std::string title);
  bool isGood() const;
  int64_t checks() const;
  int64_t failures() const;
  /// Aligned; bold and coloured where `out` is a terminal with colours.
  void print(llvm::raw_ostream &out) const;
  llvm::json::Value toJSON() const;

private:
  std::vector<std::unique_ptr<CheckSection>> sections;
};

} // namespace r1c

#endif // R1C_COMPILER_TOOLS_CHECKREPORT_H
