//===- CheckReport.cpp - the table of r1c check ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/CheckReport.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Unicode.h"

#include <cmath>
#include <limits>

using namespace r1c;

namespace json = llvm::json;

void Errors::add(llvm::ArrayRef<double> actual,
                 llvm::ArrayRef<double> expected) {
  double infinity = std::numeric_limits<double>::infinity();
  double scale = floor, largest = 0;
  if (actual.size() != expected.size()) {
    ++differing;
    absolute = relative = infinity;
    return;
  }
  for (auto [a, b] : llvm::zip(actual, expected)) {
    ++compared;
    if (std::isfinite(b))
      scale = std::max(scale, std::fabs(b));
    // Bits, not numbers: 0 and -0 differ.
    if (llvm::bit_cast<uint64_t>(a) == llvm::bit_cast<uint64_t>(b) ||
        (std::isnan(a) && std::isnan(b)))
      continue;
    ++differing;
    // Of two infinities there is no difference.
    if (a == b)
      continue;
    double difference = std::fabs(a - b);
    largest = std::max(largest, std::isnan(difference) ? infinity : difference);
  }
  addKnown(largest, scale);
}

void Errors::addKnown(double difference, double scale) {
  absolute = std::max(absolute, difference);
  relative = std::max(relative, difference / std::max(scale, floor));
  // std::max drops a NaN on its right.
  if (std::isnan(difference))
    absolute = relative = std::numeric_limits<double>::infinity();
}

CheckRow::CheckRow(std::string what, const Errors &errors,
                   std::optional<double> bound)
    : what(std::move(what)), absolute(errors.absolute),
      relative(errors.relative), bound(bound),
      isGood(bound ? errors.relative <= *bound : errors.isExact()) {
  if (!bound && !isGood)
    remark =
        llvm::formatv("{0} of {1} differ", errors.differing, errors.compared);
}

CheckSection &CheckReport::section(std::string title) {
  sections.push_back(std::make_unique<CheckSection>());
  sections.back()->title = std::move(title);
  return *sections.back();
}

int64_t CheckReport::checks() const {
  int64_t count = 0;
  for (const auto &section : sections)
    count += section->rows.size();
  return count;
}

int64_t CheckReport::failures() const {
  int64_t count = 0;
  for (const auto &section : sections)
    count += llvm::count_if(section->rows,
                            [](const CheckRow &row) { return !row.isGood; });
  return count;
}

bool CheckReport::isGood() const { return failures() == 0; }

/// An error as the table shows it.
static std::string shortNumber(double value) {
  if (value == 0)
    return "0";
  return llvm::formatv("{0}", llvm::format("%.1e", value)).str();
}

static std::string padded(llvm::StringRef text, unsigned width) {
  int columns = llvm::sys::unicode::columnWidthUTF8(text);
  return text.str() + std::string(std::max<int>(0, int(width) - columns), ' ');
}

void CheckReport::print(llvm::raw_ostream &out) const {
  bool inColour = out.is_displayed() && out.has_colors();
  auto paint = [&](llvm::raw_ostream::Colors colour, bool bold,
                   llvm::StringRef text) {
    if (inColour)
      out.changeColor(colour, bold);
    out << text;
    if (inColour)
      out.resetColor();
  };
  using Colour = llvm::raw_ostream::Colors;
  int width = 0;
  for (const auto &section : sections)
    for (const CheckRow &row : section->rows)
      width = std::max(width, llvm::sys::unicode::columnWidthUTF8(row.what));
  for (const auto &section : sections) {
    paint(Colour::SAVEDCOLOR, true, section->title);
    out << "\n";
    for (const std::string &note : section->notes)
      out << "  note: " << note << "\n";
    if (!section->rows.empty())
      out << "  " << padded("", width)
          << llvm::formatv("  {0,9}  {1,9}  {2,8}\n", "absolute", "relative",
                           "bound");
    for (const CheckRow &row : section->rows) {
      std::string bound = row.bound ? shortNumber(*row.bound) : "==";
      out << "  " << padded(row.what, width)
          << llvm::formatv("  {0,9}  {1,9}  {2,8}  ", shortNumber(row.absolute),
                           shortNumber(row.relative), bound);
      if (row.isGood)
        paint(Colour::GREEN, false, "ok");
      else
        paint(Colour::RED, true, "FAILED");
      if (!row.remark.empty())
        out << "  " << row.remark;
      out << "\n";
    }
    out << "\n";
  }
}

/// JSON has no number for infinity.
static json::Value numberToJSON(double value) {
  if (std::isfinite(value))
    return value;
  return "inf";
}

json::Value CheckReport::toJSON() const {
  json::Array all;
  for (const auto &section : sections) {
    json::Array rows;
    for (const CheckRow &row : section->rows)
      rows.push_back(json::Object{
          {"what", row.what},
          {"absolute", numberToJSON(row.absolute)},
          {"relative", numberToJSON(row.relative)},
          {"bound", row.bound ? json::Value(*row.bound) : json::Value("==")},
          {"ok", row.isGood},
          {"remark", row.remark}});
    all.push_back(json::Object{{"title", section->title},
                               {"notes", json::Array(section->notes)},
                               {"rows", std::move(rows)}});
  }
  return all;
}
