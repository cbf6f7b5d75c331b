//===- Diagnostics.cpp - errors for people --------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/Diagnostics.h"
#include "llvm/Support/SourceMgr.h"

using namespace mlir;
using namespace r1c;

static llvm::SourceMgr::DiagKind kindOf(DiagnosticSeverity severity) {
  switch (severity) {
  case DiagnosticSeverity::Note:
    return llvm::SourceMgr::DK_Note;
  case DiagnosticSeverity::Warning:
    return llvm::SourceMgr::DK_Warning;
  case DiagnosticSeverity::Error:
    return llvm::SourceMgr::DK_Error;
  case DiagnosticSeverity::Remark:
    return llvm::SourceMgr::DK_Remark;
  }
  llvm_unreachable("no such severity");
}

Diagnostics::Diagnostics(llvm::SourceMgr &sources, MLIRContext *context)
    : SourceMgrDiagnosticHandler(sources, context) {
  setHandler([this](Diagnostic &diagnostic) {
    auto place = diagnostic.getLocation()->findInstanceOf<FileLineColLoc>();
    if (!place || place.getLine())
      return emitDiagnostic(diagnostic);
    llvm::SMDiagnostic(place.getFilename(), kindOf(diagnostic.getSeverity()),
                       diagnostic.str())
        .print(nullptr, os);
    for (Diagnostic &note : diagnostic.getNotes())
      emitDiagnostic(note.getLocation(), note.str(), note.getSeverity());
  });
}
