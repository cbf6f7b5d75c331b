//===- HeadFormulas.cpp - log-probabilities and draws in chunks -----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// A vocabulary is reduced chunk by chunk, behind the product that gives the
// logits, and a second kernel brings the chunks of a row together. Sampling and
// training reduce by the same functions here: that a recorded log-probability
// is the trained one, bit for bit, rests on it.
//===----------------------------------------------------------------------===//

#include "compiler/phases/fuse/Formulas.h"

#include <limits>

using namespace mlir;
using namespace r1c;
using namespace r1c::fuse;

using Values = SmallVector<Value>;
using Arguments = ArrayRef<Value>;

static constexpr double infinity = std::numeric_limits<double>::infinity();

Value fuse::inverseTemperature(Scalars &s, Value temperature) {
  Value unit = s.number(1);
  Value greedy = s.equal(temperature, s.number(0));
  return s.select(greedy, unit, s.div(unit, temperature));
}

/// The maximum as what is subtracted before exp: where all is −∞ nothing need
/// be, and −∞ − (−∞) would make a NaN of masked columns.
static Value shiftOf(Scalars &s, Value maximum) {
  Value none = s.equal(maximum, s.number(-infinity));
  return s.select(none, s.number(0), maximum);
}

/// exp gives 0 in float32 from here on down: a difference of −∞ may stand for
/// this, so that its product with 0 is 0.
static Value bounded(Scalars &s, Value difference) {
  Value bound = s.number(-110);
  return s.select(s.less(difference, bound), bound, difference);
}

namespace {

/// max u, Σ exp(u − max) and, for the entropy, Σ (u − max) exp(u − max) of a
/// chunk, or a row.
struct Sums {
  Value maximum, total, weighted;
};

} // namespace

static Sums sumsOfChunk(Scalars &s, Value u, bool entropy) {
  Value maximum = s.reduce(kern::ReduceKind::max, u);
  Value d = bounded(s, s.sub(u, shiftOf(s, maximum)));
  Value e = s.exp(d, /*isBounded=*/true);
  Value total = s.sum(e);
  return {maximum, total, entropy ? s.sum(s.mul(e, d)) : Value()};
}

static Sums sumsOfRow(Scalars &s, Sums chunk) {
  Value maximum = s.reduce(kern::ReduceKind::max, chunk.maximum);
  Value d = bounded(s, s.sub(chunk.maximum, shiftOf(s, maximum)));
  Value e = s.exp(d, /*isBounded=*/true);
  Value total = s.sum(s.mul(chunk.total, e)), weighted;
  if (chunk.weighted) {
    Value shifted = s.add(chunk.weighted, s.mul(d, chunk.total));
    weighted = s.sum(s.mul(e, shifted));
  }
  return {maximum, total, weighted};
}

static Value logProbOf(Scalars &s, Value u, const Sums &row) {
  return s.sub(s.sub(u, row.maximum), s.log(row.total));
}

/// Exactly one column is hit. Masks select: a product with 0 would let an
/// infinity through.
static Value pick(Scalars &s, Value hit, Value u) {
  return s.sum(s.select(hit, u, s.number(0)));
}

/// One result of `elements` each for the chunks of `logits`; the body's first
/// argument is the logit, −∞ for a token that may not be drawn. A selection and
/// not a sum: where all are kept, every bit is as it is without a kept set.
/// `store` gets the logits of a product.
static ResultRange writeChunks(OpBuilder &b, Location loc, Logits logits,
                               ArrayRef<Type> elements,
                               SmallVector<Operand> operands, Body formula,
                               Value *store = nullptr) {
  if (logits.kept)
    operands.push_back(element(logits.kept));
  auto body = [&](Scalars &s, Arguments v) -> Values {
    Values visible(logits.kept ? v.drop_back() : v);
    if (logits.kept)
      visible[0] = s.select(v.back(), v[0], s.number(-infinity));
    Values results = formula(s, visible);
    if (store)
      results.push_back(v[0]);
    return results;
  };
  Value rows = logits.stored ? logits.stored : logits.x;
  int64_t columns =
      logits.stored ? cast<RankedTensorType>(rows.getType()).getDimSize(1)
                    : cast<kern::PackedType>(logits.packed.getType()).getN();
  SmallVector<Type> types;
  for (Type type : elements)
    types.push_back(RankedTensorType::get(
        {cast<RankedTensorType>(rows.getType()).getDimSize(0),
         kern::chunksOf(columns)},
        type));
  if (!logits.stored) {
    if (store)
      types.push_back(RankedTensorType::get({ShapedType::kDynamic, columns},
                                            b.getF32Type()));
    auto results =
        writeMatmul(b, loc, types, logits.x, logits.packed,
                    /*paired=*/false, operands, body, kern::AccessKind::chunk)
            .getResults();
    if (!store)
      return results;
    *store = results.back();
    return results.drop_back();
  }
  operands.insert(operands.begin(), element(logits.stored));
  return writeRow(b, loc, types, operands, body, kern::AccessKind::chunk)
      .getResults();
}

static SmallVector<Operand> elementsOf(ValueRange tensors) {
  return llvm::map_to_vector(tensors, [](Value v) { return element(v); });
}

static Type perRow(Value tensor, Type type) {
  return RankedTensorType::get(
      {cast<RankedTensorType>(tensor.getType()).getDimSize(0)}, type);
}

LogProb fuse::logProb(OpBuilder &b, Location loc, Logits logits, Value targets,
                      Value temperature, Value *store) {
  Type f32 = b.getF32Type();
  auto chunks = writeChunks(
      b, loc, logits, {f32, f32, f32, f32}, {row(targets), one(temperature)},
      [&](Scalars &s, Arguments v) -> Values {
        Value u = s.mul(v[0], inverseTemperature(s, v[2]));
        Sums of = sumsOfChunk(s, u, /*entropy=*/true);
        Value ofTarget = pick(s, s.equal(s.column(), v[1]), u);
        return {of.maximum, of.total, of.weighted, ofTarget};
      },
      store);
  Type type = perRow(targets, f32);
  auto op =
      writeRow(b, loc, {type, type, type}, elementsOf(chunks),
               [&](Scalars &s, Arguments v) -> Values {
                 Sums of = sumsOfRow(s, {v[0], v[1], v[2]});
                 Value logTotal = s.log(of.total);
                 Value mean = s.div(of.weighted, of.total);
                 return {logProbOf(s, s.sum(v[3]), of), s.sub(logTotal, mean),
                         s.add(of.maximum, logTotal)};
               });
  return {op.getResult(0), op.getResult(1), op.getResult(2)};
}

/// −log of a uniform number in (0, 1] made of 32 bits: a standard exponential
/// deviate with full relative precision near 0, where the winner is decided.
static Value exponential(Scalars &s, Value word) {
  Value u = s.mul(s.add(s.toFloat(word), s.number(0.5)), s.number(0x1p-32));
  // −log(1 − u); for small u its series, whose next term is below float32.
  Value tail = s.mul(u, s.add(s.number(0.5), s.mul(u, s.number(1.0 / 3.0))));
  Value series = s.mul(u, s.add(s.number(1), tail));
  // 1 - u: 0, or from 2^-24 to 1.
  Value direct = s.neg(s.log(s.sub(s.number(1), u), /*isZeroOrNormal=*/true));
  return s.select(s.less(u, s.number(0x1p-7)), series, direct);
}

Drawn fuse::sample(OpBuilder &b, Location loc, Logits logits, Value temperature,
                   Value counter, Value key) {
  Type f32 = b.getF32Type(), i32 = b.getI32Type();
  auto chunks =
      writeChunks(b, loc, logits, {f32, f32, f32, i32, f32},
                  {one(temperature), row(counter, 0), row(counter, 1),
                   row(counter, 2), row(counter, 3), one(key, 0), one(key, 1)},
                  [&](Scalars &s, Arguments v) -> Values {
                    // The row's own four words, then those of its columns under
                    // them: all four words of the counter stay the caller's.
                    auto own = s.random(v[6], v[7], v.slice(2, 4));
                    Value word = s.noise(own[0], own[1], own[2], own[3]);
                    // At least 2^-33.
                    Value gumbel = s.neg(s.log(exponential(s, word),
                                               /*isZeroOrNormal=*/true));
                    Value u = s.mul(v[0], inverseTemperature(s, v[1]));
                    Value greedy = s.equal(v[1], s.number(0));
                    Value score = s.select(greedy, v[0], s.add(u, gumbel));
                    Value token = s.reduce(kern::ReduceKind::argmax, score);
                    Sums of = sumsOfChunk(s, u, /*entropy=*/false);
                    // The token's score, found in the same sweep; a NaN never
                    // wins.
                    Value best = s.reduce(
                        kern::ReduceKind::max,
                        s.select(s.isNan(score), s.number(-infinity), score));
                    Value ofToken = pick(s, s.equal(s.column(), token), u);
                    return {of.maximum, of.total, best, token, ofToken};
                  });
  auto op =
      writeRow(b, loc, {perRow(counter, i32), perRow(counter, f32)},
               elementsOf(chunks), [&](Scalars &s, Arguments v) -> Values {
                 Value chunk = s.reduce(kern::ReduceKind::argmax, v[2]);
                 Value hit = s.equal(s.column(), chunk);
                 Value token = s.sum(s.select(hit, v[3], s.integer(0)));
                 Sums of = sumsOfRow(s, {v[0], v[1], Value()});
                 return {token, logProbOf(s, pick(s, hit, v[4]), of)};
               });
  return {op.getResult(0), op.getResult(1)};
}
