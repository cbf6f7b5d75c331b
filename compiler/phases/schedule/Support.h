//===- Support.h - what the parts of the schedule share ---------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_PHASES_SCHEDULE_SUPPORT_H
#define R1C_COMPILER_PHASES_SCHEDULE_SUPPORT_H

#include "dialects/rl/RL.h"
#include "mlir/IR/Remarks.h"

namespace r1c {

/// A remark on how the schedule is made.
inline mlir::remark::RemarkOpts scheduleRemark(llvm::StringRef name) {
  return mlir::remark::RemarkOpts::name(name).category("schedule");
}

/// "1.5 MiB"
inline std::string bytesText(int64_t bytes) {
  double number = bytes;
  const char *unit = "B";
  for (const char *next : {"KiB", "MiB", "GiB"}) {
    if (number < 1024)
      break;
    number /= 1024;
    unit = next;
  }
  return llvm::formatv(
      *unit != 'B' && number < 10 ? "{0:f1} {1}" : "{0:f0} {1}", number, unit);
}

/// Whether top_p, top_k or min_p may leave tokens out: one of them is given,
/// and is not the constant that means "off" (1, 0, 0).
inline bool isFiltered(rl::SampleOp op) {
  auto on = [](mlir::Value value, double off) {
    if (!value)
      return false;
    auto constant = value.getDefiningOp<rl::ConstantOp>();
    return !constant || constant.getValue().convertToDouble() != off;
  };
  return on(op.getTopP(), 1) || on(op.getTopK(), 0) || on(op.getMinP(), 0);
}

} // namespace r1c

#endif // R1C_COMPILER_PHASES_SCHEDULE_SUPPORT_H
