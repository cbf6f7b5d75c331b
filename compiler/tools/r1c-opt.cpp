//===- r1c-opt.cpp - mlir-opt with r1c's dialects and passes --------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/Register.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  r1c::registerDialects(registry);
  r1c::registerPasses();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "r1c optimizer driver\n", registry));
}
