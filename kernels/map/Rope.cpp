//===- Rope.cpp - kern.rope and kern.angles -------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Turn.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

LogicalResult r1c::kernels::buildRope(Kernel &k) {
  Emit &e = k.e;
  auto op = cast<kern::RopeOp>(k.op);
  TurnEmitter turn(k, op.getTurn(), 16);
  auto [from, to] = k.share(k.size);
  e.loop(from, to, e.i64(1), [&](Value row) {
    Value position =
        e.broadcast(emitPosition(k, op.getPositions(), row), turn.lanes);
    SmallVector<Value> sources;
    for (Value input : op.getInputs())
      sources.push_back(startOf(k, input, row));
    turn.row(row, sources, [&](int64_t c, Value) {
      return emitAngle(e, position,
                       someFrequencies(e, op.getFrequencies(), c, turn.lanes),
                       op.getInverse());
    });
  });
  return success();
}

LogicalResult r1c::kernels::buildAngles(Kernel &k) {
  Emit &e = k.e;
  auto op = cast<kern::AnglesOp>(k.op);
  constexpr int64_t lanes = 16;
  Type f32 = e.b.getF32Type();
  int64_t half = op.getFrequencies().size();
  auto [from, to] = k.share(k.size);
  e.loop(from, to, e.i64(1), [&](Value row) {
    Value position =
        e.broadcast(emitPosition(k, op.getPositions(), row), lanes);
    Value line = e.at(k.pointer(op.getResult()), e.mul(row, 2 * half), f32);
    for (int64_t c = 0; c < half; c += lanes) {
      Value mask = half - c < lanes ? e.mask(lanes, half - c) : Value();
      Angle angle = emitAngle(
          e, position, someFrequencies(e, op.getFrequencies(), c, lanes));
      e.store(angle.cos, e.at(line, c, f32), f32, mask);
      e.store(angle.sin, e.at(line, half + c, f32), f32, mask);
    }
  });
  return success();
}
