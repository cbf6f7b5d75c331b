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
  int64_t rowsAtOnce = std::max<int64_t>(1, (width <= 128 ? 168 : 84) / each);
  int64_t vectors = rowsAtOnce * each;
  int64_t qStride = head.parts * 16;

  /// Whether the heads of a row fit into registers: two sums of scores each
  /// beside 16 columns of keys, and their results.
  bool fitsRegisters =
      k.features.avx512 && each <= 4 && each * head.parts <= 24;

  Pieces pieces = {};
  int64_t qAt = pieces.add(vectors * qStride * 4),
          keysAt = pieces.add(blockKeys * width * 4),
          valuesAt = pieces.add(blockKeys * head.padded * 4);
  Softmax softmax{k, pieces, vectors,
                  std::max<int64_t>(tileRows(k.features), each), head.padded};

  Tiles scoreTiles{"scores",       f32,   qStride, 1,
                   width * 32 * 4, false, false,   fewHeights(k.features)};
  Tiles valueTiles{"values",           f32,  blockKeys, 1,
                   blockKeys * 32 * 4, true, false,     fewHeights(k.features)};
  Chains chains{k, head, scoreTiles, blockKeys};
  int64_t restAt = pieces.add(chains.restFloats() * 4);
  func::FuncOp sweep = {};
  Runs runs{k};

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
    Value scratch = e.scratch(pieces.bytes);
    runs.share(rowsAtOnce, /*fetches=*/fitsRegisters,
               [&](Value first, Value end, Value group) {
                 rows(scratch, first, end, group);
               });
  }

  /// The heads of `group` in rows of a run.
  void rows(Value scratch, Value first, Value end, Value group) {
    Value scale = e.splat(f32, op.getScale().convertToDouble());
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
    eachVector([&](Value row, Value h, Value v) {
      head.storeFloats(head.times(head.load(place(op.getQ(), row, h)), scale),
                       e.at(in(scratch, qAt), e.mul(v, qStride), f32));
      softmax.start(scratch, v, e.add(runs.number(op.getPositions(), row), 1));
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

    softmax.finish(scratch, vector(end));
    eachVector([&](Value row, Value h, Value v) {
      head.store(head.times(head.loadFloats(softmax.result(scratch, v)),
                            softmax.inverse(scratch, v)),
                 place(op.getOut(), row, h));
      if (op.getLse())
        e.store(softmax.logSum(scratch, v),
                e.at(k.pointer(op.getLse()), e.add(e.mul(row, heads), h), f32),
                f32);
    });
  }

  /// Keys [from, to) of vectors [first, end).
  void sweepBody(ValueRange arguments) {
    Value scratch = arguments[0], keys = arguments[1], values = arguments[2],
          base = arguments[3], shared = arguments[4], sharedBase = arguments[5],
          first = arguments[6], end = arguments[7], from = arguments[8],
          to = arguments[9];
    to = e.min(to, softmax.seen(scratch, first, end).second);
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

  void tile(Value scratch, Value first, Value n, Value block) {
    Value scores = softmax.scores(scratch, e.i64(0)),
          more = in(scratch, restAt), values = in(scratch, valuesAt),
          out = softmax.result(scratch, first);
    auto [low, high] = softmax.seen(scratch, first, e.add(first, n));
    low = e.max(e.sub(low, block), e.i64(0));
    low = e.min(low, e.i64(blockKeys));
    high = e.min(e.sub(high, block), e.i64(blockKeys));
    e.when(e.less(e.i64(0), high), [&] {
      chains.call(n, e.at(in(scratch, qAt), e.mul(first, qStride), f32),
                  in(scratch, keysAt), scores, more,
                  e.div(e.add(high, 31), 32));
      auto left = [&](Value i) {
        return softmax.left(scratch, e.add(first, i), block);
      };
      auto seen = [&](Value i) { return e.min(left(i), e.i64(blockKeys)); };
      auto line = [&](Value start, Value i) {
        return e.at(start, e.mul(i, blockKeys), f32);
      };
      softmax.block(
          scratch, first, n, left, seen,
          [&](Value i, Value c) {
            return chains.load(e.at(line(scores, i), c, f32),
                               e.at(line(more, i), c, f32));
          },
          [&](Value i, Value c, Value p) {
            e.store(p, e.at(line(scores, i), c, f32), f32);
          });
      // Keys that all rows of the tile see, then each row's others: an unseen
      // key takes part in nothing.
      valueTiles.call(k, n,
                      {scores, values, out, e.i64(head.padded),
                       e.i64(head.padded / 32), low});
      e.when(e.less(low, high), [&] {
        e.loop(0, n, 1, [&](Value i) {
          e.when(e.less(low, seen(i)), [&] {
            rest(line(scores, i), values, e.at(out, e.mul(i, head.padded), f32),
                 low, seen(i));
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
          scores = softmax.scores(scratch, e.i64(0));
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
      return softmax.result(scratch, e.add(first, h));
    };
    auto line = [&](Value h, Value c) {
      return e.at(softmax.scores(scratch, h), c, f32);
    };
    auto all = [&](Value) { return count; };
    softmax.block(
        scratch, first, e.i64(each), all, all,
        [&](Value h, Value c) { return e.load(line(h, c), f32, 16); },
        [&](Value h, Value c, Value p) { e.store(p, line(h, c), f32); });
    SmallVector<Value> out;
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
          total = arith::AddFOp::create(e.b, e.loc, total, sum);
    }
    return totals;
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
