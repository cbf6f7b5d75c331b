//===- Optimizer.cpp - AdamW as kernels -----------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Loshchilov and Hutter, arXiv:1711.05101, with the gradient clipped by its
// norm over all parameters. Formulas of single numbers are float64; the sweep
// over the parameters is float32, and rounds what products read in bfloat16.
//===----------------------------------------------------------------------===//

#include "compiler/phases/ragged/KernBuilder.h"
#include "compiler/phases/schedule/Models.h"
#include "compiler/phases/schedule/RoleSlots.h"
#include "compiler/phases/schedule/Scratch.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::schedule;

namespace {

/// Scalar arithmetic, short enough to read as a formula.
struct Scalar {
  OpBuilder &b;
  Location loc;
  Type type;

  Value number(double x) {
    return arith::ConstantOp::create(b, loc, b.getFloatAttr(type, x));
  }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, loc, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, loc, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, loc, x, y); }
  Value div(Value x, Value y) { return arith::DivFOp::create(b, loc, x, y); }
  Value sqrt(Value x) { return math::SqrtOp::create(b, loc, x); }
};

/// sqrt(sum of squares): one row of `normRow` elements after the other, then
/// the rows, so that the order depends on nothing but their number.
Slot gradientNorm(OpBuilder &builder, Buffers &buffers, Kernels &kernels,
                  Location loc, const Policy &policy) {
  Scratch scratch(builder, kernels);
  OpBuilder &b = scratch.builder();
  loc = NameLoc::get(b.getStringAttr("gradient_norm"), loc);
  Type f32 = b.getF32Type(), f64 = b.getF64Type();
  int64_t rows = policy.total / normRow;
  Value gradients = scratch.argument(
      RankedTensorType::get({rows, normRow}, f32), {policy.gradients, {}});
  auto access = [&](kern::AccessKind kind) {
    return b.getArrayAttr(kern::AccessAttr::get(b.getContext(), kind, -1, -1));
  };
  auto sums = kern::RowOp::create(
      b, loc, TypeRange(RankedTensorType::get({rows}, f32)), gradients,
      ValueRange(), Value(), access(kern::AccessKind::element),
      access(kern::AccessKind::row));
  {
    OpBuilder::InsertionGuard guard(b);
    Block *body = b.createBlock(&sums.getBody(), {}, {f32}, {loc});
    Value x = body->getArgument(0);
    Value sum = kern::ReduceOp::create(b, loc, kern::ReduceKind::add,
                                       arith::MulFOp::create(b, loc, x, x));
    kern::YieldOp::create(b, loc, ValueRange(sum));
  }
  scratch.dispatch(sums.getResult(0), "tables");
  auto range = RankedTensorType::get({2}, b.getI32Type());
  rt::RefAttr offsets = buffers.allocate(
      loc, "norm_rows", "constants", 8, "i32",
      DenseElementsAttr::get(range, ArrayRef<int32_t>{0, int32_t(rows)}));
  Value norm = ragged::reduce(
      b, loc, RankedTensorType::get({1}, f64),
      ragged::element(sums.getResult(0)),
      scratch.argument(range, {offsets, {}}),
      [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
        Value wide = arith::ExtFOp::create(b, loc, f64, x[0]);
        Value sum = kern::ReduceOp::create(b, loc, kern::ReduceKind::add, wide);
        return math::SqrtOp::create(b, loc, sum);
      });
  return scratch.dispatch(norm, "tables");
}

} // namespace

LogicalResult Models::adamw(OpBuilder &builder, rl::AdamWOp op, rt::RefAttr lr,
                            Attribute lrMetric) {
  Policy &policy = this->policy(op.getPolicy());
  Location loc = op.getLoc();
  Slot norm = gradientNorm(builder, buffers, kernels, loc, policy);
  // Both before the sweep: the runtime stops at a metric of an update that is
  // not finite, while the weights are still good.
  rt::MetricOp::create(builder, loc, "grad_norm", norm.ref, "update");
  rt::MetricOp::create(builder, loc, "learning_rate", lrMetric, "update");

  double beta1 = op.getBeta1().convertToDouble(),
         beta2 = op.getBeta2().convertToDouble();
  Scratch scratch(builder, kernels);
  OpBuilder &b = scratch.builder();
  Type f32 = b.getF32Type(), f64 = b.getF64Type();
  auto one32 = RankedTensorType::get({1}, f32),
       one64 = RankedTensorType::get({1}, f64);

  // What multiplies the gradient, and 1 / (1 - beta^t) for both moments.
  Value normValue = scratch.argument(one64, norm);
  Value updates = scratch.argument(one64, {policy.updates, {}});
  Value clip = ragged::map(
      b, loc, one32, ragged::element(normValue), Value(),
      [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
        Scalar s{b, loc, f64};
        Value scale = s.number(1);
        if (auto limit = op.getClipNorm()) {
          Value ratio = s.div(s.number(limit->convertToDouble()),
                              s.add(x[0], s.number(1e-6)));
          Value over = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT,
                                             ratio, scale);
          scale = arith::SelectOp::create(b, loc, over, ratio, scale);
        }
        return arith::TruncFOp::create(b, loc, f32, scale);
      });
  auto correction = [&](double beta) {
    return ragged::map(b, loc, one32, ragged::element(updates), Value(),
                       [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
                         Scalar s{b, loc, f64};
                         Value t = s.add(x[0], s.number(1));
                         Value power = math::ExpOp::create(
                             b, loc, s.mul(t, s.number(std::log(beta))));
                         Value c =
                             s.div(s.number(1), s.sub(s.number(1), power));
                         return arith::TruncFOp::create(b, loc, f32, c);
                       });
  };
  Value correction1 = correction(beta1), correction2 = correction(beta2);
  for (Value value : {clip, correction1, correction2})
    scratch.dispatch(value, "tables");
  Value rate = scratch.argument(one32, {lr, {}});
  Location sweepLoc = NameLoc::get(b.getStringAttr("adamw"), loc);

  // Of elements with one kind of decay that are all rounded, or none.
  auto sweep = [&](int64_t from, int64_t to) {
    if (from >= to)
      return;
    bool rounds = from < policy.roundedCount;
    double decay =
        from < policy.decayed ? op.getWeightDecay().convertToDouble() : 0.0;
    auto type = RankedTensorType::get({to - from}, f32);
    auto slice = [&](rt::RefAttr base, int64_t bytes = 4) {
      return Slot{at(base, from * bytes, 0), {}};
    };
    SmallVector<Slot> state = {slice(policy.weights), slice(policy.moment1),
                               slice(policy.moment2)};
    SmallVector<Type> types(3, type);
    SmallVector<Value> inputs;
    for (const Slot &slot : state)
      inputs.push_back(scratch.argument(type, slot));
    if (rounds) {
      state.push_back(slice(policy.roundedWeights, 2));
      types.push_back(type.clone(b.getBF16Type()));
    }
    inputs.push_back(scratch.argument(type, slice(policy.gradients)));
    inputs.append({rate, clip, correction1, correction2});
    SmallVector<Attribute> access(
        4, kern::AccessAttr::get(b.getContext(), kern::AccessKind::element, -1,
                                 -1));
    access.append(
        4, kern::AccessAttr::get(b.getContext(), kern::AccessKind::one, -1, 0));
    auto map = kern::MapOp::create(
        b, sweepLoc, types, inputs, ValueRange(), ValueRange(),
        b.getArrayAttr(access),
        b.getArrayAttr(ArrayRef<Attribute>(access).take_front(types.size())));
    {
      OpBuilder::InsertionGuard guard(b);
      Block *body = b.createBlock(&map.getBody(), {}, SmallVector<Type>(8, f32),
                                  SmallVector<Location>(8, loc));
      Scalar s{b, loc, f32};
      Value w = body->getArgument(0), m = body->getArgument(1),
            v = body->getArgument(2);
      Value g = s.mul(body->getArgument(3), body->getArgument(5));
      m = s.add(s.mul(s.number(beta1), m), s.mul(s.number(1 - beta1), g));
      v = s.add(s.mul(s.number(beta2), v),
                s.mul(s.number(1 - beta2), s.mul(g, g)));
      Value root = s.sqrt(s.mul(v, body->getArgument(7)));
      Value step =
          s.div(s.mul(m, body->getArgument(6)),
                s.add(root, s.number(op.getEpsilon().convertToDouble())));
      if (decay != 0)
        step = s.add(step, s.mul(s.number(decay), w));
      w = s.sub(w, s.mul(body->getArgument(4), step));
      SmallVector<Value> yielded{w, m, v};
      if (rounds)
        yielded.push_back(arith::TruncFOp::create(b, loc, b.getBF16Type(), w));
      kern::YieldOp::create(b, loc, yielded);
    }
    scratch.dispatch(map.getResult(0), "tables", state);
  };
  int64_t early = std::min(policy.roundedCount, policy.decayed),
          late = std::max(policy.roundedCount, policy.decayed);
  sweep(0, early);
  sweep(early, late);
  sweep(late, policy.total);
  std::string pack = (policy.op.getSymName() + ".pack").str();
  rt::CallOp::create(builder, loc,
                     policy.roundedCount ? policy.packBackward : pack);
  return success();
}
