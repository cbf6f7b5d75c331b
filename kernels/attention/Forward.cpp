//===- Forward.cpp - kern.attention for CPUs ------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Rows that see the same keys, times the heads that share them, are the rows
// of matrix products with a block of 64 keys: scores, then probabilities times
// values. Between them each row has a running maximum and sum. README.md gives
// the order of every sum; it does not know about tiles.
//===----------------------------------------------------------------------===//

#include "kernels/attention/Amx.h"
#include "kernels/matmul/Matmul.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

struct Forward {
  Kernel &k;
  kern::AttentionOp op = cast<kern::AttentionOp>(k.op);
  Emit &e = k.e;
  Type element = kern::elementTypeOf(op.getQ());
  int64_t heads = op.getHeads(), kvHeads = op.getKvHeads();
  int64_t each = heads / kvHeads;
  int64_t width =
      cast<RankedTensorType>(op.getQ().getType()).getDimSize(1) / heads;
  Head head{k, element, width};
  Type f32 = e.b.getF32Type(), i32 = e.b.getI32Type(), i64 = e.b.getI64Type();
  Type pointer = k.args.getType();

  /// Vectors (a row and a head) that keys are packed for once, and the rows
  /// that they come from.
  int64_t rowsAtOnce = std::max<int64_t>(1, (width <= 128 ? 84 : 42) / each);
  int64_t vectors = rowsAtOnce * each;
  int64_t qStride = head.parts * 16, outStride = head.padded;

  /// Whether the heads of a row fit into registers: two sums of scores each
  /// beside 16 columns of keys, and their results.
  bool fitsRegisters =
      k.features.avx512 && each <= 4 && each * head.parts <= 24;

  /// Working memory, as offsets in bytes.
  int64_t bytes = 0;
  int64_t piece(int64_t size) {
    int64_t offset = bytes;
    bytes += (size + 63) / 64 * 64;
    return offset;
  }
  int64_t qAt = piece(vectors * qStride * 4),
          outAt = piece(vectors * outStride * 4),
          keysAt = piece(blockKeys * width * 4),
          valuesAt = piece(blockKeys * head.padded * 4),
          scoresAt = piece(tileRows(k.features) * blockKeys * 4),
          topAt = piece(vectors * 4), sumAt = piece(vectors * 4),
          countAt = piece(vectors * 8);

  Tiles scoreTiles{"scores",       f32,   qStride, 1,
                   width * 32 * 4, false, false,   fewHeights(k.features)};
  Tiles valueTiles{"values",           f32,  blockKeys, 1,
                   blockKeys * 32 * 4, true, false,     fewHeights(k.features)};
  Chains chains{k, head, scoreTiles, blockKeys};
  int64_t restAt = piece(chains.restFloats() * 4);
  func::FuncOp sweep = {};
  Runs runs{k};

  Value f(double v) { return e.splat(f32, v); }
  Value sub(Value a, Value b) {
    return arith::SubFOp::create(e.b, e.loc, a, b);
  }
  Value add(Value a, Value b) {
    return arith::AddFOp::create(e.b, e.loc, a, b);
  }
  Value exp(Value a) { return math::ExpOp::create(e.b, e.loc, a); }
  /// What is no number does not get past the exponential; so it need not get
  /// past the maximum.
  Value larger(Value a, Value b) {
    return e.select(
        arith::CmpFOp::create(e.b, e.loc, arith::CmpFPredicate::OGT, a, b), a,
        b);
  }
  Value in(Value scratch, int64_t offset) {
    return e.at(scratch, offset, e.b.getI8Type());
  }
  Value both(Value a, Value b) {
    return arith::AndIOp::create(e.b, e.loc, a, b);
  }

  void build() {
    scoreTiles.make(k);
    valueTiles.make(k);
    sweep = k.outline(
        "sweep", {pointer, pointer, pointer, i64, i64, i64, i64, i64, i64, i64},
        [&](ValueRange arguments) { sweepBody(arguments); });
    Value scratch = e.scratch(bytes);
    runs.share(rowsAtOnce, /*fetches=*/fitsRegisters,
               [&](Value first, Value end, Value group) {
                 rows(scratch, first, end, group);
               });
  }

  /// The heads of `group` in rows of a run.
  void rows(Value scratch, Value first, Value end, Value group) {
    Value scale = f(op.getScale().convertToDouble());
    auto eachVector = [&](function_ref<void(Value, Value, Value)> body) {
      e.loop(first, end, e.i64(1), [&](Value row) {
        e.loop(0, e.i64(each), 1, [&](Value i) {
          Value h = e.add(e.mul(group, each), i);
          body(row, h, e.add(e.mul(e.sub(row, first), each), i));
        });
      });
    };
    auto place = [&](Value tensor, Value row, Value h) {
      return e.at(k.pointer(tensor),
                  e.add(e.mul(row, heads * width), e.mul(h, width)), element);
    };
    auto at = [&](int64_t offset, Value v, int64_t stride) {
      return e.at(in(scratch, offset), e.mul(v, stride), f32);
    };
    eachVector([&](Value row, Value h, Value v) {
      head.storeFloats(head.times(head.load(place(op.getQ(), row, h)), scale),
                       at(qAt, v, qStride));
      Value zero = e.splat(lanesOf(f32, 16), 0.0);
      for (int64_t c = 0; c < outStride; c += 16)
        e.store(zero, e.at(at(outAt, v, outStride), c, f32), f32);
      e.store(f(-INFINITY), at(topAt, v, 1), f32);
      e.store(f(0), at(sumAt, v, 1), f32);
      e.store(e.add(runs.number(op.getPositions(), row), 1),
              e.at(in(scratch, countAt), v, i64), i64);
    });

    Value offset = e.mul(group, width);
    Value keys = e.at(k.pointer(op.getK()), offset, element),
          values = e.at(k.pointer(op.getV()), offset, element);
    auto vector = [&](Value row) { return e.mul(e.sub(row, first), each); };
    runs.spans(first, end, [&](const Runs::Span &span) {
      func::CallOp::create(e.b, e.loc, sweep,
                           ValueRange{scratch, keys, values, span.base,
                                      span.shared, span.sharedBase,
                                      vector(span.first), vector(span.end),
                                      span.from, span.to});
    });

    eachVector([&](Value row, Value h, Value v) {
      Value top = e.load(at(topAt, v, 1), f32),
            sum = e.load(at(sumAt, v, 1), f32);
      Value inverse = arith::DivFOp::create(e.b, e.loc, f(1), sum);
      head.store(head.times(head.loadFloats(at(outAt, v, outStride)), inverse),
                 place(op.getOut(), row, h));
      if (op.getLse()) {
        Value lse = add(top, math::LogOp::create(e.b, e.loc, sum));
        e.store(lse,
                e.at(k.pointer(op.getLse()), e.add(e.mul(row, heads), h), f32),
                f32);
      }
    });
  }

  /// Keys [from, to) of vectors [first, end).
  void sweepBody(ValueRange arguments) {
    Value scratch = arguments[0], keys = arguments[1], values = arguments[2],
          base = arguments[3], shared = arguments[4], sharedBase = arguments[5],
          first = arguments[6], end = arguments[7], from = arguments[8],
          to = arguments[9];
    Value counts = in(scratch, countAt);
    to = e.min(to, extremes(counts, first, end).second);
    e.loop(from, to, e.i64(blockKeys), [&](Value block) {
      Value count = e.min(e.i64(blockKeys), e.sub(to, block));
      auto place = [&](Value tensor) {
        return [&, tensor](Value i) {
          Value p = e.add(block, i);
          Value start = op.getShared()
                            ? e.select(e.less(p, shared), sharedBase, base)
                            : base;
          return e.at(tensor, e.mul(e.add(start, p), kvHeads * width), element);
        };
      };
      auto tiled = [&] {
        packColumns(head, place(keys), count, in(scratch, keysAt));
        packRows(head, place(values), count, blockKeys, in(scratch, valuesAt));
        forTiles(k, first, end, fewHeights(k.features),
                 [&](Value v, Value n) { tile(scratch, v, n, block); });
      };
      if (!fitsRegisters)
        return tiled();
      // One row, and keys that lie behind one another.
      Value one = e.equal(e.sub(end, first), e.i64(each));
      if (op.getShared()) {
        Value apart = e.less(shared, e.add(block, 1)),
              within = e.less(e.add(block, count), e.add(shared, 1));
        one = both(one, arith::OrIOp::create(e.b, e.loc, apart, within));
      }
      e.when(one, [&] {
        Value key0 = place(keys)(e.i64(0)), value0 = place(values)(e.i64(0));
        oneRow(scratch, first, key0, value0, count, e.sub(to, block));
      });
      e.when(e.equal(one, e.splatInt(one.getType(), 0)), tiled);
    });
  }

  /// Smallest and largest count of vectors [first, end).
  std::pair<Value, Value> extremes(Value counts, Value first, Value end) {
    Value start = e.load(e.at(counts, first, i64), i64);
    SmallVector<Value> r =
        e.loop(first, end, e.i64(1), {start, start},
               [&](Value v, ValueRange carried) -> SmallVector<Value> {
                 Value c = e.load(e.at(counts, v, i64), i64);
                 return {e.min(carried[0], c), e.max(carried[1], c)};
               });
    return {r[0], r[1]};
  }

  void tile(Value scratch, Value first, Value n, Value block) {
    Value counts = in(scratch, countAt), scores = in(scratch, scoresAt),
          values = in(scratch, valuesAt);
    Value out = e.at(in(scratch, outAt), e.mul(first, outStride), f32);
    auto [low, high] = extremes(counts, first, e.add(first, n));
    low = e.max(e.sub(low, block), e.i64(0));
    low = e.min(low, e.i64(blockKeys));
    high = e.min(e.sub(high, block), e.i64(blockKeys));
    e.when(e.less(e.i64(0), high), [&] {
      chains.call(n, e.at(in(scratch, qAt), e.mul(first, qStride), f32),
                  in(scratch, keysAt), scores, in(scratch, restAt),
                  e.div(e.add(high, 31), 32));
      auto keysOf = [&](Value i) {
        return e.sub(e.load(e.at(counts, e.add(first, i), i64), i64), block);
      };
      e.loop(0, n, 1, [&](Value i) {
        Value left = keysOf(i);
        e.when(e.less(e.i64(0), left), [&] {
          Value row = e.mul(i, blockKeys);
          Value line = e.at(scores, row, f32),
                more = e.at(in(scratch, restAt), row, f32);
          probabilities(
              left,
              [&](Value c) {
                return chains.load(e.at(line, c, f32), e.at(more, c, f32));
              },
              line, e.at(in(scratch, topAt), e.add(first, i), f32),
              e.at(in(scratch, sumAt), e.add(first, i), f32),
              e.at(out, e.mul(i, outStride), f32));
        });
      });
      // Keys that all rows of the tile see, then each row's others: an unseen
      // key takes part in nothing.
      valueTiles.call(k, n,
                      {scores, values, out, e.i64(outStride),
                       e.i64(head.padded / 32), low});
      e.when(e.less(low, high), [&] {
        e.loop(0, n, 1, [&](Value i) {
          Value seen = e.min(keysOf(i), e.i64(blockKeys));
          e.when(e.less(low, seen), [&] {
            rest(e.at(scores, e.mul(i, blockKeys), f32), values,
                 e.at(out, e.mul(i, outStride), f32), low, seen);
          });
        });
      });
    });
  }

  /// The heads of one row, on `count` keys of a block, behind which `left` are
  /// to come in all: columns of keys go from one set of registers into the
  /// chains of the other, values are read where they lie. What decoding does.
  void oneRow(Value scratch, Value first, Value keys, Value values, Value count,
              Value left) {
    int64_t stride = kvHeads * width;
    Value q = e.at(in(scratch, qAt), e.mul(first, qStride), f32),
          scores = in(scratch, scoresAt);
    auto groups = [&](Value from, Value to, int64_t number, bool isLast) {
      e.loop(from, to, e.i64(number * 16), [&](Value key) {
        // Memory behind the last key is not ours to read.
        Value last = isLast ? e.add(e.sub(count, key), -1) : Value();
        SmallVector<Value> rows;
        for (int64_t i = 0; i < number * 16; ++i) {
          Value row = isLast ? e.min(e.i64(i), last) : e.i64(i);
          rows.push_back(e.at(keys, e.mul(e.add(key, row), stride), element));
        }
        SmallVector<Value> sums = dotProducts(q, rows);
        for (int64_t h = 0; h < each; ++h)
          for (int64_t g = 0; g < number; ++g)
            e.store(sums[g * each + h],
                    e.at(e.at(scores, key, f32), h * blockKeys + g * 16, f32),
                    f32);
      });
    };
    // Two groups of 16 keys: one alone would wait for its chains.
    Value whole = e.sub(count, e.rem(count, 32));
    groups(e.i64(0), whole, 2, false);
    groups(whole, count, 1, true);
    // The next block: decoding waits for little else.
    e.when(e.less(count, left), [&] {
      Value more = e.min(e.sub(left, count), e.i64(blockKeys));
      e.loop(count, e.add(count, more), e.i64(1), [&](Value j) {
        for (Value tensor : {keys, values})
          for (int64_t c = 0; c < width; c += 64 / bytesOf(element))
            e.prefetch(
                e.at(e.at(tensor, e.mul(j, stride), element), c, element),
                /*write=*/false, /*locality=*/2);
      });
    });
    auto outOf = [&](int64_t h) {
      return e.at(in(scratch, outAt), e.mul(e.add(first, h), outStride), f32);
    };
    SmallVector<Value> out;
    for (int64_t h = 0; h < each; ++h) {
      Value row = e.at(scores, h * blockKeys, f32), v = e.add(first, h);
      probabilities(
          count, [&](Value c) { return e.load(e.at(row, c, f32), f32, 16); },
          row, e.at(in(scratch, topAt), v, f32),
          e.at(in(scratch, sumAt), v, f32), outOf(h));
    }
    for (int64_t h = 0; h < each; ++h)
      out.append(head.loadFloats(outOf(h)));
    out = e.loop(
        e.i64(0), count, e.i64(1), out, [&](Value j, ValueRange carried) {
          SmallVector<Value> v = head.load(
                                 e.at(values, e.mul(j, stride), element)),
                             next;
          for (int64_t h = 0; h < each; ++h)
            next.append(head.addScaled(
                SmallVector<Value>(carried.slice(h * head.parts, head.parts)),
                e.load(e.at(e.at(scores, j, f32), h * blockKeys, f32), f32),
                v));
          return next;
        });
    for (int64_t h = 0; h < each; ++h)
      head.storeFloats(ArrayRef(out).slice(h * head.parts, head.parts),
                       outOf(h));
  }

  /// Of the heads in `q` with keys given by their addresses, in groups of 16:
  /// [group * each + head].
  SmallVector<Value> dotProducts(Value q, ArrayRef<Value> keys) {
    int64_t groups = keys.size() / 16;
    auto add16 = [&](SmallVector<Value> &sums, int64_t g, Value c, int64_t i,
                     Value column) {
      for (int64_t h = 0; h < each; ++h) {
        Value x = e.load(e.at(e.at(q, c, f32), h * qStride + i, f32), f32);
        Value &sum = sums[g * each + h];
        sum = e.fma(e.broadcast(x, 16), column, sum);
      }
    };
    auto columns = [&](Value c, int64_t count, ValueRange carried) {
      SmallVector<Value> sums(carried);
      Value mask = count < 16 ? e.mask(16, count) : Value();
      for (int64_t g = 0; g < groups; ++g) {
        SmallVector<Value> v;
        for (int64_t i = 0; i < 16; ++i)
          v.push_back(e.widen(
              e.load(e.at(keys[g * 16 + i], c, element), element, 16, mask)));
        v = transpose16(e, v);
        for (int64_t i = 0; i < count; ++i)
          add16(sums, g, c, i, v[i]);
      }
      return sums;
    };
    // Two columns of bf16 at once: half as much to transpose.
    auto pairs = [&](Value c, ValueRange carried) {
      SmallVector<Value> sums(carried);
      Type type = lanesOf(i32, 16);
      for (int64_t g = 0; g < groups; ++g) {
        SmallVector<Value> v;
        for (int64_t i = 0; i < 16; ++i)
          v.push_back(e.load(e.at(keys[g * 16 + i], c, element), i32, 16));
        v = transpose16(e, v);
        for (int64_t i = 0; i < 16; ++i) {
          Value even = arith::ShLIOp::create(e.b, e.loc, v[i],
                                             e.splatInt(type, 16)),
                odd = arith::AndIOp::create(e.b, e.loc, v[i],
                                            e.splatInt(type, -65536));
          for (Value half : {even, odd})
            add16(sums, g, c, 2 * i + (half == odd),
                  arith::BitcastOp::create(e.b, e.loc, lanesOf(f32, 16), half));
        }
      }
      return sums;
    };
    int64_t step = element.isBF16() && width % 32 == 0 ? 32 : 16;
    SmallVector<Value> totals;
    for (int64_t from = 0; from < width; from += chainColumns) {
      int64_t to = std::min(from + chainColumns, width);
      int64_t whole = from + (to - from) / 16 * 16;
      SmallVector<Value> sums(groups * each, e.splat(lanesOf(f32, 16), 0.0));
      sums = e.loop(e.i64(from), e.i64(whole), e.i64(step), sums,
                    [&](Value c, ValueRange carried) {
                      return step == 32 ? pairs(c, carried)
                                        : columns(c, 16, carried);
                    });
      if (whole < to)
        sums = columns(e.i64(whole), to - whole, sums);
      if (from == 0)
        totals = sums;
      else
        for (auto [total, sum] : llvm::zip(totals, sums))
          total = add(total, sum);
    }
    return totals;
  }

  /// Scores of a row, the first `seen` (at least one) of a block, become
  /// probabilities, in groups of 16. `load` gives a group's scores.
  /// Exponentials that are 0 are not computed: processors are slow at them.
  void probabilities(Value seen, function_ref<Value(Value)> load, Value scores,
                     Value top, Value sum, Value out) {
    Type wideType = lanesOf(f32, 16);
    Value lowest = e.splat(wideType, -INFINITY), zero = e.splat(wideType, 0);
    auto groups = [&](Value start, function_ref<Value(Value, Value, Value)> f) {
      return e.loop(e.i64(0), e.min(seen, e.i64(blockKeys)), e.i64(16), start,
                    [&](Value c, ValueRange carried) -> SmallVector<Value> {
                      return {
                          f(c, e.maskBelow(16, e.sub(seen, c)), carried[0])};
                    })[0];
    };
    Value highest = groups(lowest, [&](Value c, Value mask, Value so) {
      Value s = e.select(mask, load(c), lowest);
      e.store(s, e.at(scores, c, f32), f32);
      return larger(so, s);
    });
    Value old = e.load(top, f32);
    Value m = larger(old, foldLanes(e, highest, [&](Value a, Value b) {
                       return larger(a, b);
                     }));
    Value wide = e.broadcast(m, 16);
    Value total = groups(zero, [&](Value c, Value mask, Value so) {
      Value s = e.load(e.at(scores, c, f32), f32, 16);
      Value p = e.select(mask, exp(e.select(mask, sub(s, wide), zero)), zero);
      e.store(p, e.at(scores, c, f32), f32);
      return add(so, p);
    });
    // Before the first block there is nothing to shrink.
    Value none = arith::CmpFOp::create(e.b, e.loc, arith::CmpFPredicate::OEQ,
                                       old, f(-INFINITY));
    Value shrink = exp(e.select(none, f(0), sub(old, m)));
    Value l = foldLanes(e, total, [&](Value a, Value b) { return add(a, b); });
    e.store(m, top, f32);
    e.store(e.fma(e.load(sum, f32), shrink, l), sum, f32);
    head.storeFloats(head.times(head.loadFloats(out), shrink), out);
  }

  /// out += probabilities times values, keys [from, to).
  void rest(Value p, Value values, Value out, Value from, Value to) {
    SmallVector<Value> sums = e.loop(
        from, to, e.i64(1), head.loadFloats(out),
        [&](Value j, ValueRange carried) {
          Value place = e.at(values, e.mul(j, 32), f32);
          SmallVector<Value> v;
          for (int64_t part = 0; part < head.parts; ++part)
            v.push_back(e.load(
                e.at(place, part / 2 * blockKeys * 32 + part % 2 * 16, f32),
                f32, 16));
          return head.addScaled(SmallVector<Value>(carried),
                                e.load(e.at(p, j, f32), f32), v);
        });
    head.storeFloats(sums, out);
  }
};

} // namespace

LogicalResult r1c::kernels::buildAttentionCpu(Kernel &k) {
  auto op = cast<kern::AttentionOp>(k.op);
  if (choosesAttentionAmx(k, cast<RankedTensorType>(op.getQ().getType()),
                          op.getHeads()))
    return buildAttentionAmx(k);
  Forward{k}.build();
  return success();
}
