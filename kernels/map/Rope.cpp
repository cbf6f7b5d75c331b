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

/// Where a row of an input begins.
static Value start(Kernel &k, Value tensor, Value row) {
  int64_t columns = cast<RankedTensorType>(tensor.getType()).getShape().back();
  return k.e.at(k.pointer(tensor), k.e.mul(row, columns),
                kern::elementTypeOf(tensor));
}

static Angle angleOf(Emit &e, kern::RopeOp op, Value position,
                     Value frequency) {
  Angle angle = emitAngle(e, position, frequency);
  if (op.getInverse())
    angle.sin = arith::NegFOp::create(e.b, e.loc, angle.sin);
  return angle;
}

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
      sources.push_back(start(k, input, row));
    turn.row(row, sources, [&](int64_t c, Value) {
      return angleOf(e, op, position,
                     someFrequencies(e, op.getFrequencies(), c, turn.lanes));
    });
  });
  return success();
}

/// A thread a pair: (row, head, c).
LogicalResult r1c::kernels::buildRopeCuda(Kernel &k) {
  Emit &e = k.e;
  auto op = cast<kern::RopeOp>(k.op);
  TurnEmitter turn(k, op.getTurn(), 1);
  Type f32 = e.b.getF32Type();
  auto parts = turn.turn.getParts();
  int64_t half = turn.turn.half, width = turn.turn.width();
  int64_t heads = parts.back().head + parts.back().count,
          turned = op.getHeads();
  Value table = turned ? k.constants(op.getFrequencies()) : Value();
  e.loop(k.worker, e.mul(k.size, heads * half), k.workers, [&](Value i) {
    Value row = e.div(i, heads * half), within = e.rem(i, heads * half);
    Value head = e.div(within, half), c = e.rem(within, half);
    SmallVector<Value> angles(2);
    auto angle = [&]() -> SmallVector<Value> {
      auto [cos, sin] = angleOf(e, op, emitPosition(k, op.getPositions(), row),
                                e.load(e.at(table, c, f32), f32));
      return {cos, sin};
    };
    if (turned == heads)
      angles = angle();
    else if (turned)
      angles = e.choose(e.less(head, e.i64(turned)), {f32, f32}, angle,
                        [&]() -> SmallVector<Value> {
                          return {e.splat(f32, 1.0), e.splat(f32, 0.0)};
                        });
    for (const kern::Turn::Part &part : parts) {
      auto move = [&] {
        Value own = e.mul(e.add(head, -part.head), width);
        turn.pair(part, start(k, op.getInputs()[part.input], row),
                  e.add(e.add(own, part.inputHead * width), c),
                  turn.target(part.result, row),
                  e.add(e.add(own, part.resultHead * width), c),
                  {angles[0], angles[1]});
      };
      if (parts.size() == 1) {
        move();
        continue;
      }
      Value inside =
          arith::AndIOp::create(e.b, e.loc, e.less(e.i64(part.head - 1), head),
                                e.less(head, e.i64(part.head + part.count)));
      e.when(inside, move);
    }
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

/// A thread an angle.
LogicalResult r1c::kernels::buildAnglesCuda(Kernel &k) {
  Emit &e = k.e;
  auto op = cast<kern::AnglesOp>(k.op);
  Type f32 = e.b.getF32Type();
  int64_t half = op.getFrequencies().size();
  Value table = k.constants(op.getFrequencies());
  e.loop(k.worker, e.mul(k.size, half), k.workers, [&](Value i) {
    Value row = e.div(i, half), c = e.rem(i, half);
    Angle angle = emitAngle(e, emitPosition(k, op.getPositions(), row),
                            e.load(e.at(table, c, f32), f32));
    Value at =
        e.at(k.pointer(op.getResult()), e.add(e.mul(row, 2 * half), c), f32);
    e.store(angle.cos, at, f32);
    e.store(angle.sin, e.at(at, half, f32), f32);
  });
  return success();
}
