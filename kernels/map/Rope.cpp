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

namespace {

struct RopeBuilder {
  Kernel &k;
  Emit &e = k.e;
  kern::RopeOp op = cast<kern::RopeOp>(k.op);
  ArrayRef<float> frequencies = op.getFrequencies();
  int64_t half = frequencies.size(), width = 2 * half;
  Type f32 = e.b.getF32Type(), i32 = e.b.getI32Type();
  int64_t lanes = 16;
  Value mask = {};

  /// Where a row of a tensor begins.
  Value start(Value tensor, Value row) {
    int64_t columns =
        cast<RankedTensorType>(tensor.getType()).getShape().back();
    return e.at(k.pointer(tensor), e.mul(row, columns),
                kern::elementTypeOf(tensor));
  }
  Value resultRow(unsigned result, Value row) {
    if (!op.isScattered(result))
      return row;
    return e.toI64(e.load(e.at(k.pointer(op.getTo()), row, i32), i32));
  }
  Value position(Value row) {
    Value p = e.load(e.at(k.pointer(op.getPositions()), row, i32), i32);
    return arith::SIToFPOp::create(e.b, e.loc, f32, p);
  }
  std::pair<Value, Value> turn(Value position, Value frequency) {
    Value angle = arith::MulFOp::create(e.b, e.loc, position, frequency);
    Value sin = math::SinOp::create(e.b, e.loc, angle);
    if (op.getInverse())
      sin = arith::NegFOp::create(e.b, e.loc, sin);
    return {math::CosOp::create(e.b, e.loc, angle), sin};
  }
  Value load(Value line, Value column, Type element) {
    return e.widen(e.load(e.at(line, column, element), element, lanes, mask));
  }
  void store(Value v, Value line, Value column, Type element) {
    e.store(e.narrow(v, element), e.at(line, column, element), element, mask);
  }

  /// Columns `from` and `from + half` of a line go to `to` and `to + half`;
  /// without a turn as they are.
  void pair(const kern::RopeOp::Part &part, Value source, Value from,
            Value target, Value to, Value cos, Value sin) {
    Type in = kern::elementTypeOf(op.getInputs()[part.input]),
         out = kern::elementTypeOf(op.getResult(part.result));
    Value a = load(source, from, in), b = load(source, e.add(from, half), in);
    if (part.turned) {
      auto times = [&](Value v, Value w) -> Value {
        return arith::MulFOp::create(e.b, e.loc, v, w);
      };
      Value low =
          arith::SubFOp::create(e.b, e.loc, times(a, cos), times(b, sin));
      b = arith::AddFOp::create(e.b, e.loc, times(b, cos), times(a, sin));
      a = low;
    }
    store(a, target, to, out);
    store(b, target, e.add(to, half), out);
  }

  void buildCpu() {
    auto parts = op.getParts();
    auto [from, to] = k.share(k.size);
    e.loop(from, to, e.i64(1), [&](Value row) {
      Value p = e.broadcast(position(row), lanes);
      SmallVector<Value> sources, targets;
      for (Value input : op.getInputs())
        sources.push_back(start(input, row));
      for (auto [i, result] : llvm::enumerate(op.getResults()))
        targets.push_back(start(result, resultRow(i, row)));
      for (int64_t c = 0; c < half; c += lanes) {
        SmallVector<float> piece(lanes, 0.0f);
        for (int64_t i = c; i < std::min(half, c + lanes); ++i)
          piece[i - c] = frequencies[i];
        mask = half - c < lanes ? e.mask(lanes, half - c) : Value();
        Value cos, sin;
        if (op.getHeads())
          std::tie(cos, sin) =
              turn(p, arith::ConstantOp::create(
                          e.b, e.loc,
                          DenseElementsAttr::get(VectorType::get(lanes, f32),
                                                 ArrayRef<float>(piece))));
        for (const kern::RopeOp::Part &part : parts)
          e.loop(0, e.i64(part.count), 1, [&](Value head) {
            Value in = e.add(e.mul(head, width), part.inputHead * width + c);
            Value out = e.add(e.mul(head, width), part.resultHead * width + c);
            pair(part, sources[part.input], in, targets[part.result], out, cos,
                 sin);
          });
      }
    });
  }

  /// A thread a pair: (row, head, c).
  void buildCuda() {
    lanes = 1;
    auto parts = op.getParts();
    int64_t heads = parts.back().head + parts.back().count,
            turned = op.getHeads();
    Value table = turned ? k.constants(frequencies) : Value();
    e.loop(k.worker, e.mul(k.size, heads * half), k.workers, [&](Value i) {
      Value row = e.div(i, heads * half), within = e.rem(i, heads * half);
      Value head = e.div(within, half), c = e.rem(within, half);
      SmallVector<Value> angles(2);
      auto angle = [&]() -> SmallVector<Value> {
        auto [cos, sin] = turn(position(row), e.load(e.at(table, c, f32), f32));
        return {cos, sin};
      };
      if (turned == heads)
        angles = angle();
      else if (turned)
        angles = e.choose(e.less(head, e.i64(turned)), {f32, f32}, angle,
                          [&]() -> SmallVector<Value> {
                            return {e.splat(f32, 1.0), e.splat(f32, 0.0)};
                          });
      for (const kern::RopeOp::Part &part : parts) {
        auto move = [&] {
          Value own = e.mul(e.add(head, -part.head), width);
          pair(part, start(op.getInputs()[part.input], row),
               e.add(e.add(own, part.inputHead * width), c),
               start(op.getResult(part.result), resultRow(part.result, row)),
               e.add(e.add(own, part.resultHead * width), c), angles[0],
               angles[1]);
        };
        if (parts.size() == 1) {
          move();
          continue;
        }
        Value inside = arith::AndIOp::create(
            e.b, e.loc, e.less(e.i64(part.head - 1), head),
            e.less(head, e.i64(part.head + part.count)));
        e.when(inside, move);
      }
    });
  }
};

} // namespace

LogicalResult r1c::kernels::buildRope(Kernel &k) {
  RopeBuilder{k}.buildCpu();
  return success();
}

LogicalResult r1c::kernels::buildRopeCuda(Kernel &k) {
  RopeBuilder{k}.buildCuda();
  return success();
}
