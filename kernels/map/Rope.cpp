//===- Rope.cpp - kern.rope -----------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

LogicalResult r1c::kernels::buildRope(Kernel &k) {
  constexpr int64_t lanes = 16;
  Emit &e = k.e;
  auto op = cast<kern::RopeOp>(k.op);
  ArrayRef<float> frequencies = op.getFrequencies();
  int64_t half = frequencies.size(), width = 2 * half, heads = op.getHeads();
  Type f32 = e.b.getF32Type(), i32 = e.b.getI32Type();
  Type element = kern::elementTypeOf(op.getX()),
       stored = kern::elementTypeOf(op.getResult());
  Value x = k.pointer(op.getX()), y = k.pointer(op.getResult());

  auto [from, to] = k.share(k.size);
  e.loop(from, to, e.i64(1), [&](Value row) {
    Value position = e.load(e.at(k.pointer(op.getPositions()), row, i32), i32);
    Value p =
        e.broadcast(arith::SIToFPOp::create(e.b, e.loc, f32, position), lanes);
    Value start = e.mul(row, heads * width);
    for (int64_t c = 0; c < half; c += lanes) {
      SmallVector<float> piece(lanes, 0.0f);
      for (int64_t i = c; i < std::min(half, c + lanes); ++i)
        piece[i - c] = frequencies[i];
      Value mask = half - c < lanes ? e.mask(lanes, half - c) : Value();
      auto type = VectorType::get(lanes, f32);
      Value frequency = arith::ConstantOp::create(
          e.b, e.loc, DenseElementsAttr::get(type, ArrayRef<float>(piece)));
      Value angle = arith::MulFOp::create(e.b, e.loc, p, frequency);
      Value cos = math::CosOp::create(e.b, e.loc, angle);
      Value sin = math::SinOp::create(e.b, e.loc, angle);
      if (op.getInverse())
        sin = arith::NegFOp::create(e.b, e.loc, sin);
      e.loop(0, e.i64(heads), 1, [&](Value head) {
        Value low = e.add(start, e.add(e.mul(head, width), c));
        Value high = e.add(low, half);
        Value a = e.widen(e.load(e.at(x, low, element), element, lanes, mask));
        Value b = e.widen(e.load(e.at(x, high, element), element, lanes, mask));
        auto times = [&](Value v, Value w) -> Value {
          return arith::MulFOp::create(e.b, e.loc, v, w);
        };
        Value first =
            arith::SubFOp::create(e.b, e.loc, times(a, cos), times(b, sin));
        Value second =
            arith::AddFOp::create(e.b, e.loc, times(b, cos), times(a, sin));
        e.store(e.narrow(first, stored), e.at(y, low, stored), stored, mask);
        e.store(e.narrow(second, stored), e.at(y, high, stored), stored, mask);
      });
    }
  });
  return success();
}
