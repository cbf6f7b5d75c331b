//===- r1c-lsp-server.cpp - mlir-lsp-server with r1c's dialects -----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// An editor that speaks the Language Server Protocol shows in a phase's dump
// where a value comes from, who reads it, and what is wrong with an edit.
//===----------------------------------------------------------------------===//

#include "compiler/tools/Register.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  r1c::registerDialects(registry);
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}
