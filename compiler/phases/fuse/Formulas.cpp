//===- Formulas.cpp - the scalar formulas inside the model's kernels ------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/fuse/Formulas.h"

#include <limits>

using namespace mlir;
using namespace r1c;
using namespace r1c::fuse;

using Values = SmallVector<Value>;
using Arguments = ArrayRef<Value>;

static int64_t columnsOf(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getDimSize(1);
}
static Type perRowOf(Value tensor, Type element) {
  return RankedTensorType::get(
      {cast<RankedTensorType>(tensor.getType()).getDimSize(0)}, element);
}

/// 1 / sqrt(mean(x²) + ε). A square root and a division, which IEEE defines to
/// the last bit, rather than an approximate reciprocal root.
static Value reciprocalRoot(Scalars &s, Value x, int64_t columns,
                            double epsilon) {
  Value mean = s.div(s.sum(s.mul(x, x)), s.number(columns));
  return s.div(s.number(1), s.sqrt(s.add(mean, s.number(epsilon))));
}

Value fuse::rmsNorm(OpBuilder &b, Location loc, Value x, Value weight,
                    double epsilon, Type elementType) {
  int64_t n = columnsOf(x);
  auto type = cast<RankedTensorType>(x.getType()).clone(elementType);
  return writeRow(b, loc, type, {element(x), column(weight)},
                  [&](Scalars &s, Arguments v) -> Values {
                    Value scale = reciprocalRoot(s, v[0], n, epsilon);
                    return {s.mul(s.mul(v[0], scale), v[1])};
                  })
      .getResult(0);
}

RMSNormGradient fuse::rmsNormGradient(OpBuilder &b, Location loc,
                                      Value gradient, Value x, Value weight,
                                      Value residual, double epsilon,
                                      Type rounded) {
  int64_t n = columnsOf(x);
  SmallVector<Operand> operands{element(gradient), element(x), column(weight)};
  if (residual)
    operands.push_back(element(residual));
  SmallVector<Type> types{x.getType(), perRowOf(x, b.getF32Type())};
  if (rounded)
    types.push_back(cast<RankedTensorType>(x.getType()).clone(rounded));
  auto op =
      writeRow(b, loc, types, operands, [&](Scalars &s, Arguments v) -> Values {
        Value scale = reciprocalRoot(s, v[1], n, epsilon);
        Value a = s.mul(v[0], v[2]);
        Value mean = s.div(s.sum(s.mul(a, v[1])), s.number(n));
        Value factor = s.mul(mean, s.mul(scale, scale));
        Value dx = s.mul(scale, s.sub(a, s.mul(v[1], factor)));
        dx = residual ? s.add(v[3], dx) : dx;
        Values yielded{dx, scale};
        if (rounded)
          yielded.push_back(dx);
        return yielded;
      });
  return {op.getResult(0), op.getResult(1),
          rounded ? op.getResult(2) : Value()};
}

Value fuse::siluMul(Scalars &s, Value gate, Value up) {
  return s.mul(s.mul(gate, s.sigmoid(gate)), up);
}

SmallVector<Value> fuse::siluMulGradient(Scalars &s, Value gradient, Value gate,
                                         Value up) {
  Value sigma = s.sigmoid(gate), one = s.number(1);
  Value slope = s.mul(sigma, s.add(one, s.mul(gate, s.sub(one, sigma))));
  return {s.mul(s.mul(gradient, up), slope),
          s.mul(gradient, s.mul(gate, sigma))};
}

Value fuse::logitsGradient(OpBuilder &b, Location loc, Logits logits,
                           Value targets, Value temperature, Value entropy,
                           Value lse, Value logpGradient, Value entropyGradient,
                           Type elementType) {
  Value kept = logits.kept;
  SmallVector<Operand> operands{row(targets), one(temperature), row(lse)};
  if (logpGradient)
    operands.push_back(row(logpGradient));
  if (entropyGradient) {
    operands.push_back(row(entropyGradient));
    operands.push_back(row(entropy));
  }
  if (kept)
    operands.push_back(element(kept));
  int64_t columns =
      logits.stored ? columnsOf(logits.stored)
                    : cast<kern::PackedType>(logits.packed.getType()).getN();
  auto type =
      RankedTensorType::get({ShapedType::kDynamic, columns}, elementType);
  // The logit comes first.
  auto body = [&](Scalars &s, Arguments v) -> Values {
    Value t = inverseTemperature(s, v[2]);
    Value logP = s.sub(s.mul(v[0], t), v[3]);
    Value p = s.exp(logP);
    Value sum;
    if (logpGradient) {
      Value hit = s.equal(s.column(), v[1]);
      Value kronecker = s.select(hit, s.number(1), s.number(0));
      sum = s.mul(v[4], s.sub(kronecker, p));
    }
    if (entropyGradient) {
      Value h = v[logpGradient ? 5 : 4], total = v[logpGradient ? 6 : 5];
      Value term = s.mul(h, s.mul(p, s.add(logP, total)));
      term = s.select(s.less(s.number(0), p), term, s.number(0));
      sum = sum ? s.sub(sum, term) : s.neg(term);
    }
    Value gradient = s.mul(sum, t);
    return {kept ? s.select(v.back(), gradient, s.number(0)) : gradient};
  };
  if (!logits.stored)
    return writeMatmul(b, loc, type, logits.x, logits.packed, /*paired=*/false,
                       operands, body)
        .getResult(0);
  operands.insert(operands.begin(), gather(logits.stored));
  return writeMap(b, loc, type, operands, logits.rows, body).getResult(0);
}

/// The largest t in (0, 1], to the last bit or two, for which the elements of
/// `e` that are at least t sum (`weighted`) or count to at least `target`.
/// Bisection in geometric steps; uniform over the row.
static Value largestThreshold(Scalars &s, Value e, Value target,
                              bool weighted) {
  // All elements that float32 can tell from 0 lie above the first bound. The
  // second lies above 1, the largest element. 30 halvings of their ratio's
  // logarithm, 83, leave 8e-8.
  Value low = s.number(0x1p-120), high = s.number(1.0000002384185791);
  for (int step = 0; step < 30; ++step) {
    Value middle = s.mul(s.sqrt(low), s.sqrt(high));
    Value value = weighted ? e : s.number(1);
    Value sum = s.sum(s.select(s.less(e, middle), s.number(0), value));
    Value tooFew = s.less(sum, target);
    low = s.select(tooFew, low, middle);
    high = s.select(tooFew, middle, high);
  }
  return low;
}

Value fuse::keep(OpBuilder &b, Location loc, Value logits, Value temperature,
                 Value topK, Value topP, Value minP) {
  // Probabilities relative to the largest, once: the searches below pass over
  // them many times.
  Value relative =
      writeRow(b, loc, logits.getType(), {element(logits), one(temperature)},
               [&](Scalars &s, Arguments v) -> Values {
                 Value u = s.mul(v[0], inverseTemperature(s, v[1]));
                 Value maximum = s.reduce(kern::ReduceKind::max, u);
                 return {s.exp(s.sub(u, maximum))};
               })
          .getResult(0);
  Value least =
      writeRow(b, loc, perRowOf(logits, b.getF32Type()),
               {element(relative), one(topK), one(topP), one(minP)},
               [&](Scalars &s, Arguments v) -> Values {
                 Value zero = s.number(0), e = v[0];
                 Value ofK =
                     s.select(s.less(zero, v[1]),
                              largestThreshold(s, e, v[1], false), zero);
                 Value left = s.select(s.less(e, ofK), zero, e);
                 Value target = s.mul(v[2], s.sum(left));
                 Value ofP =
                     s.select(s.less(v[2], s.number(1)),
                              largestThreshold(s, left, target, true), zero);
                 Value larger = s.select(s.less(ofK, ofP), ofP, ofK);
                 return {s.select(s.less(larger, v[3]), v[3], larger)};
               })
          .getResult(0);
  return writeMap(b, loc,
                  cast<RankedTensorType>(logits.getType()).clone(b.getI1Type()),
                  {element(relative), row(least)}, {},
                  [&](Scalars &s, Arguments v) -> Values {
                    return {s.atLeast(v[0], v[1])};
                  })
      .getResult(0);
}
