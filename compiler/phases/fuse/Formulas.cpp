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
                                      Value residual, double epsilon) {
  int64_t n = columnsOf(x);
  SmallVector<Operand> operands{element(gradient), element(x), column(weight)};
  if (residual)
    operands.push_back(element(residual));
  Type perRow = perRowOf(x, b.getF32Type());
  auto op = writeRow(b, loc, {x.getType(), perRow}, operands,
                     [&](Scalars &s, Arguments v) -> Values {
                       Value scale = reciprocalRoot(s, v[1], n, epsilon);
                       Value a = s.mul(v[0], v[2]);
                       Value mean = s.div(s.sum(s.mul(a, v[1])), s.number(n));
                       Value factor = s.mul(mean, s.mul(scale, scale));
                       Value dx = s.mul(scale, s.sub(a, s.mul(v[1], factor)));
                       return {residual ? s.add(v[3], dx) : dx, scale};
                     });
  return {op.getResult(0), op.getResult(1)};
}

Value fuse::siluMul(Scalars &s, Value gate, Value up) {
  return s.mul(s.mul(gate, s.sigmoid(gate)), up);
}

/// The temperature that divides the logits: 0, which means "take the maximum",
/// leaves them as they are.
static Value divisor(Scalars &s, Value temperature) {
  return s.select(s.equal(temperature, s.number(0)), s.number(1), temperature);
}

/// The logit of a token that may be drawn, else −∞. A selection and not a sum:
/// where all are kept, every bit is as it is without a kept set.
static Value ifKept(Scalars &s, Value kept, Value logit) {
  Value never = s.number(-std::numeric_limits<double>::infinity());
  return s.select(kept, logit, never);
}

LogProb fuse::logProb(OpBuilder &b, Location loc, Value logits, Value targets,
                      Value temperature, Value kept) {
  Type perRow = perRowOf(targets, b.getF32Type());
  SmallVector<Operand> operands{element(logits), row(targets),
                                one(temperature)};
  if (kept)
    operands.push_back(element(kept));
  auto op = writeRow(b, loc, {perRow, perRow, perRow}, operands,
                     [&](Scalars &s, Arguments v) -> Values {
                       Value z = kept ? ifKept(s, v[3], v[0]) : v[0];
                       Value u = s.div(z, divisor(s, v[2]));
                       Value maximum = s.reduce(kern::ReduceKind::max, u);
                       Value d = s.sub(u, maximum);
                       Value e = s.exp(d);
                       Value total = s.sum(e);
                       Value logTotal = s.log(total);
                       // Masks select: a product with 0 would let an infinity
                       // through. For the same reason 0 · (−inf) does not enter
                       // the entropy.
                       Value hit = s.equal(s.column(), v[1]);
                       Value ofTarget = s.sum(s.select(hit, d, s.number(0)));
                       Value live = s.less(s.number(0), e);
                       Value weighted =
                           s.sum(s.select(live, s.mul(e, d), s.number(0)));
                       return {s.sub(ofTarget, logTotal),
                               s.sub(logTotal, s.div(weighted, total)),
                               s.add(maximum, logTotal)};
                     });
  return {op.getResult(0), op.getResult(1), op.getResult(2)};
}

Value fuse::logitsGradient(OpBuilder &b, Location loc, Value logits,
                           Value targets, Value temperature, Value entropy,
                           Value lse, Value logpGradient, Value entropyGradient,
                           Value kept, Type elementType) {
  SmallVector<Operand> operands{element(logits), row(targets), one(temperature),
                                row(lse)};
  if (logpGradient)
    operands.push_back(row(logpGradient));
  if (entropyGradient) {
    operands.push_back(row(entropyGradient));
    operands.push_back(row(entropy));
  }
  if (kept)
    operands.push_back(element(kept));
  auto op = writeMap(
      b, loc, cast<RankedTensorType>(logits.getType()).clone(elementType),
      operands, {}, [&](Scalars &s, Arguments v) -> Values {
        Value t = divisor(s, v[2]);
        Value logP = s.sub(s.div(v[0], t), v[3]);
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
        Value gradient = s.div(sum, t);
        return {kept ? s.select(v.back(), gradient, s.number(0)) : gradient};
      });
  return op.getResult(0);
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
                 Value u = s.div(v[0], divisor(s, v[1]));
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

/// −log of a uniform number in (0, 1] made of 32 bits: a standard exponential
/// deviate with full relative precision near 0, where the winner is decided.
static Value exponential(Scalars &s, Value word) {
  Value u = s.mul(s.add(s.toFloat(word), s.number(0.5)), s.number(0x1p-32));
  // −log(1 − u); for small u its series, whose next term is below float32.
  Value tail = s.mul(u, s.add(s.number(0.5), s.mul(u, s.number(1.0 / 3.0))));
  Value series = s.mul(u, s.add(s.number(1), tail));
  Value direct = s.neg(s.log(s.sub(s.number(1), u)));
  return s.select(s.less(u, s.number(0x1p-7)), series, direct);
}

Value fuse::sample(OpBuilder &b, Location loc, Value logits, Value temperature,
                   Value counter, Value key, Value kept) {
  SmallVector<Operand> operands{
      element(logits), one(temperature), row(counter, 0), row(counter, 1),
      row(counter, 2), row(counter, 3),  one(key, 0),     one(key, 1)};
  if (kept)
    operands.push_back(element(kept));
  auto op = writeRow(
      b, loc, perRowOf(logits, b.getI32Type()), operands,
      [&](Scalars &s, Arguments v) -> Values {
        // The row's own four words, then one draw a column under them: all
        // four words of the counter stay the caller's.
        auto own = s.random(v[6], v[7], v.slice(2, 4));
        Value word = s.random(own[0], own[1],
                              {s.column(), own[2], own[3], s.integer(0)})[0];
        Value gumbel = s.neg(s.log(exponential(s, word)));
        Value z = kept ? ifKept(s, v[8], v[0]) : v[0];
        Value noisy = s.add(s.div(z, divisor(s, v[1])), gumbel);
        Value greedy = s.equal(v[1], s.number(0));
        return {s.reduce(kern::ReduceKind::argmax, s.select(greedy, z, noisy))};
      });
  return op.getResult(0);
}
