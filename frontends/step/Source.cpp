//===- Source.cpp - source files and diagnostics --------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "frontends/step/Source.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace r1c::step;
using llvm::SMLoc;
using llvm::SourceMgr;
using llvm::StringRef;
using llvm::Twine;

StringRef Source::add(std::string text, StringRef name) {
  auto buffer = llvm::MemoryBuffer::getMemBufferCopy(text, name);
  StringRef contents = buffer->getBuffer();
  manager.AddNewSourceBuffer(std::move(buffer), SMLoc());
  return contents;
}

void Source::print(SMLoc loc, SourceMgr::DiagKind kind, const Twine &message) {
  // What is missing from a file has no line in it.
  if (!loc.isValid()) {
    out << "error: " << message << "\n";
    return;
  }
  manager.PrintMessage(out, loc, kind, message, {}, {}, /*ShowColors=*/false);
}

bool Source::error(SMLoc loc, const Twine &message) {
  ++errors;
  std::pair<const char *, std::string> key(loc.getPointer(), message.str());
  // Something else than a step file has an error a byte.
  constexpr size_t most = 50;
  if (printed.size() > most || llvm::is_contained(printed, key))
    return false;
  printed.push_back(key);
  if (printed.size() > most) {
    out << "error: more than " << most
        << " errors: those above come first, the rest is not shown\n";
    return false;
  }
  print(loc, SourceMgr::DK_Error, message);
  return true;
}

void Source::warning(SMLoc loc, const Twine &message) {
  print(loc, SourceMgr::DK_Warning, message);
}

void Source::remark(SMLoc loc, const Twine &message) {
  print(loc, SourceMgr::DK_Remark, message);
}

void Source::note(SMLoc loc, const Twine &message) {
  print(loc, SourceMgr::DK_Note, message);
}

mlir::Location Source::location(mlir::MLIRContext *context, SMLoc loc) const {
  unsigned buffer = loc.isValid() ? manager.FindBufferContainingLoc(loc) : 0;
  if (!buffer)
    return mlir::UnknownLoc::get(context);
  auto [line, column] = manager.getLineAndColumn(loc, buffer);
  return mlir::FileLineColLoc::get(
      context, manager.getMemoryBuffer(buffer)->getBufferIdentifier(), line,
      column);
}

unsigned Source::lineOf(SMLoc loc) const {
  return manager.getLineAndColumn(loc).first;
}

StringRef r1c::step::nearest(StringRef name,
                             llvm::ArrayRef<StringRef> candidates) {
  StringRef best;
  // Short names have every other short name near them.
  unsigned limit = std::min<unsigned>(std::max<unsigned>(2, name.size() / 3),
                                      name.empty() ? 0 : name.size() - 1);
  for (StringRef candidate : candidates) {
    unsigned distance = name.edit_distance(candidate, true, limit + 1);
    if (distance <= limit) {
      best = candidate;
      limit = distance ? distance - 1 : 0;
      if (distance == 0)
        break;
    }
  }
  return best;
}

std::string r1c::step::didYouMean(StringRef name,
                                  llvm::ArrayRef<StringRef> candidates) {
  StringRef best = nearest(name, candidates);
  return best.empty() ? "" : ("; did you mean '" + best + "'?").str();
}
