//===- Turn.cpp - heads of a row turned and cut ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Turn.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

Value r1c::kernels::emitPosition(Kernel &k, Value positions, Value row) {
  Emit &e = k.e;
  Type i32 = e.b.getI32Type();
  Value p = e.load(e.at(k.pointer(positions), row, i32), i32);
  return arith::SIToFPOp::create(e.b, e.loc, e.b.getF32Type(), p);
}

Angle r1c::kernels::emitAngle(Emit &e, Value position, Value frequency,
                              bool inverse) {
  Value angle = arith::MulFOp::create(e.b, e.loc, position, frequency);
  Value cos = math::CosOp::create(e.b, e.loc, angle),
        sin = math::SinOp::create(e.b, e.loc, angle);
  if (inverse)
    sin = arith::NegFOp::create(e.b, e.loc, sin);
  return {cos, sin};
}

Value r1c::kernels::startOf(Kernel &k, Value tensor, Value row) {
  int64_t columns = cast<RankedTensorType>(tensor.getType()).getShape().back();
  return k.e.at(k.pointer(tensor), k.e.mul(row, columns),
                kern::elementTypeOf(tensor));
}

Value r1c::kernels::someFrequencies(Emit &e, ArrayRef<float> all, int64_t c,
                                    int64_t lanes) {
  SmallVector<float> piece(lanes, 0.0f);
  for (int64_t i = c; i < std::min<int64_t>(all.size(), c + lanes); ++i)
    piece[i - c] = all[i];
  auto type = VectorType::get(lanes, e.b.getF32Type());
  return arith::ConstantOp::create(
      e.b, e.loc, DenseElementsAttr::get(type, ArrayRef<float>(piece)));
}

TurnEmitter::TurnEmitter(Kernel &k, const kern::Turn &turn, int64_t lanes)
    : k(k), e(k.e), turn(turn), lanes(lanes) {
  for (RankedTensorType input : turn.inputs)
    types.push_back(input.getElementType());
}

std::pair<Value, Value> TurnEmitter::turned(Value a, Value b,
                                            const Angle &angle) {
  auto times = [&](Value v, Value w) -> Value {
    return arith::MulFOp::create(e.b, e.loc, v, w);
  };
  Value low = arith::SubFOp::create(e.b, e.loc, times(a, angle.cos),
                                    times(b, angle.sin));
  Value high = arith::AddFOp::create(e.b, e.loc, times(b, angle.cos),
                                     times(a, angle.sin));
  return {low, high};
}

Value TurnEmitter::targetRow(unsigned result, Value row) {
  if (!turn.isScattered(result))
    return row;
  Type i32 = e.b.getI32Type();
  return e.toI64(e.load(e.at(k.pointer(turn.to), row, i32), i32));
}

Value TurnEmitter::target(unsigned result, Value row) {
  Value tensor = turn.results[result];
  int64_t columns = cast<RankedTensorType>(tensor.getType()).getShape().back();
  return e.at(k.pointer(tensor), e.mul(targetRow(result, row), columns),
              kern::elementTypeOf(tensor));
}

std::pair<Value, Value> TurnEmitter::load(const kern::Turn::Part &part,
                                          Value source, Value from,
                                          Value mask) {
  Type in = types[part.input];
  auto at = [&](Value column) {
    return e.widen(e.load(e.at(source, column, in), in, lanes, mask));
  };
  Value low = at(from);
  return {low, at(e.add(from, turn.half))};
}

void TurnEmitter::store(const kern::Turn::Part &part,
                        std::pair<Value, Value> loaded, Value target, Value to,
                        const Angle &angle, Value mask) {
  Type out = kern::elementTypeOf(turn.results[part.result]);
  if (part.turned)
    loaded = turned(loaded.first, loaded.second, angle);
  auto at = [&](Value v, Value column) {
    e.store(e.narrow(v, out), e.at(target, column, out), out, mask);
  };
  at(loaded.first, to);
  at(loaded.second, e.add(to, turn.half));
}

void TurnEmitter::pair(const kern::Turn::Part &part, Value source, Value from,
                       Value target, Value to, const Angle &angle, Value mask) {
  store(part, load(part, source, from, mask), target, to, angle, mask);
}

void TurnEmitter::row(Value row, ArrayRef<Value> sources,
                      function_ref<Angle(int64_t, Value)> angle, Value first,
                      Value last) {
  auto parts = turn.getParts();
  SmallVector<Value> targets;
  for (size_t i = 0; i < turn.results.size(); ++i)
    targets.push_back(target(i, row));
  for (int64_t c = 0; c < turn.half; c += lanes) {
    Value mask = turn.half - c < lanes ? e.mask(lanes, turn.half - c) : Value();
    Angle now;
    if (turn.heads)
      now = angle(c, mask);
    for (const kern::Turn::Part &part : parts) {
      Value from = e.i64(0), to = e.i64(part.count);
      if (first) {
        from = e.max(e.add(first, -part.head), from);
        to = e.min(e.add(last, -part.head), to);
      }
      e.loop(from, to, e.i64(1), [&](Value head) {
        Value own = e.mul(head, turn.width());
        pair(part, sources[part.input],
             e.add(own, part.inputHead * turn.width() + c),
             targets[part.result],
             e.add(own, part.resultHead * turn.width() + c), now, mask);
      });
    }
  }
}

void TurnEmitter::row(Value row, Value source, Value angles, Value first,
                      Value last) {
  Type f32 = e.b.getF32Type();
  Value line = e.at(k.pointer(angles), e.mul(row, turn.width()), f32);
  this->row(
      row, source,
      [&](int64_t c, Value mask) -> Angle {
        return {e.load(e.at(line, c, f32), f32, lanes, mask),
                e.load(e.at(line, turn.half + c, f32), f32, lanes, mask)};
      },
      first, last);
}
