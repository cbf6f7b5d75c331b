//===- Lifetimes.cpp - buffers that share memory over time ----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/schedule/Lifetimes.h"
#include "compiler/phases/schedule/Placement.h"
#include "dialects/rt/RT.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::schedule;

namespace {

/// Lets all commands run once, programs where they are called, and notes when.
class Clock {
public:
  Clock(Block &declarations, StringRef arena) {
    for (Operation &op : declarations) {
      if (auto buffer = dyn_cast<rt::BufferOp>(op);
          buffer && buffer.getArena() == arena) {
        index[buffer.getSymName()] = buffers.size();
        buffers.push_back(buffer);
        tenants.push_back({int64_t(buffer.getBytes()), {}});
      } else if (auto program = dyn_cast<rt::ProgramOp>(op)) {
        programs[program.getSymName()] = program;
      } else if (auto policy = dyn_cast<rt::PolicyOp>(op)) {
        policies[policy.getSymName()] = policy;
      }
    }
  }

  /// A program or a round, from its beginning to its end.
  void run(Operation *root);

  SmallVector<rt::BufferOp> buffers;
  SmallVector<Tenant> tenants;

private:
  struct Passage {
    DenseMap<Operation *, Interval> times;
    llvm::MapVector<size_t, SmallVector<Operation *>> uses; // by buffer
  };

  void run(Operation *command, Passage &passage);
  void runPrograms(StringRef policy);

  int64_t now = 0;
  llvm::StringMap<size_t> index;
  llvm::StringMap<Operation *> programs;
  llvm::StringMap<rt::PolicyOp> policies;
};

} // namespace

void Clock::runPrograms(StringRef policy) {
  auto info = policies.find(policy);
  auto names = info == policies.end()
                   ? DictionaryAttr()
                   : info->second.getInfo().getAs<DictionaryAttr>("programs");
  for (NamedAttribute entry :
       names ? names.getValue() : ArrayRef<NamedAttribute>())
    run(programs.lookup(cast<FlatSymbolRefAttr>(entry.getValue()).getValue()));
}

void Clock::run(Operation *command, Passage &passage) {
  int64_t begin = now++;
  auto use = [&](FlatSymbolRefAttr name, Operation *by) {
    auto found = index.find(name.getValue());
    if (found != index.end())
      passage.uses[found->second].push_back(by);
  };
  for (NamedAttribute attribute : command->getAttrs())
    attribute.getValue().walk<WalkOrder::PreOrder>([&](Attribute part) {
      if (auto ref = dyn_cast<rt::RefAttr>(part)) {
        // Other parts of the buffer are other passages' of the loop.
        auto loop = command->getParentOfType<rt::LoopOp>();
        use(ref.getBuffer(), ref.getStride() && loop ? loop : command);
        return WalkResult::skip();
      }
      if (auto name = dyn_cast<FlatSymbolRefAttr>(part))
        use(name, command);
      return WalkResult::advance();
    });
  if (auto sample = dyn_cast<rt::SampleOp>(command))
    runPrograms(sample.getPolicy());
  else if (auto assign = dyn_cast<rt::AssignOp>(command))
    runPrograms(assign.getTo());
  else if (auto call = dyn_cast<rt::CallOp>(command))
    run(programs.lookup(call.getProgram()));
  for (Region &region : command->getRegions())
    for (Operation &inner : region.getOps())
      run(&inner, passage);
  passage.times[command] = {begin, now++};
}

void Clock::run(Operation *root) {
  Passage passage;
  for (Operation &command : root->getRegion(0).getOps())
    run(&command, passage);
  for (auto &[buffer, users] : passage.uses) {
    Block *body = users.front()->getBlock();
    while (llvm::any_of(users, [&](Operation *user) {
      return !body->findAncestorOpInBlock(*user);
    }))
      body = body->getParentOp()->getBlock();
    Interval life{INT64_MAX, 0};
    for (Operation *user : users) {
      Interval time = passage.times.at(body->findAncestorOpInBlock(*user));
      life = {std::min(life.first, time.first), std::max(life.last, time.last)};
    }
    tenants[buffer].lives.push_back(life);
  }
}

int64_t schedule::shareArena(Block &declarations, StringRef arena) {
  Clock clock(declarations, arena);
  // Programs once more by themselves: no command need call them.
  for (Operation &op : declarations)
    if (isa<rt::ProgramOp, rt::StageOp>(op))
      clock.run(&op);
  Placement placement = place(clock.tenants);
  for (auto [buffer, offset] : llvm::zip(clock.buffers, placement.offsets))
    buffer.setOffset(offset);
  return placement.peak;
}
