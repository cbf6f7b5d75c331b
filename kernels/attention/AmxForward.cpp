//===- AmxForward.cpp - kern.attention from matrix tiles ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// As Forward.cpp: rows that see the same keys, times the heads that share them,
// are the rows of two matrix products with a block of 64 keys. One row alone
// (decoding) does not pay for columns of keys: its scores are a product with
// the keys on the left, where they lie as a tile wants them.
//===----------------------------------------------------------------------===//

#include "kernels/attention/Amx.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

struct Forward {
  Kernel &k;
  kern::AttentionOp op = cast<kern::AttentionOp>(k.op);
  Emit &e = k.e;
  Type bf16 = e.b.getBF16Type(), f32 = e.b.getF32Type(), i32 = e.b.getI32Type(),
       i64 = e.b.getI64Type(), i8 = e.b.getI8Type();
  Type pointer = k.args.getType(), wide = lanesOf(f32, 16);
  int64_t heads = op.getHeads(), kvHeads = op.getKvHeads();
  int64_t each = heads / kvHeads;
  int64_t width =
      cast<RankedTensorType>(op.getQ().getType()).getDimSize(1) / heads;

  /// Vectors (a row and a head) that keys are packed for once, and the rows
  /// that they come from.
  int64_t rowsAtOnce = std::max<int64_t>(1, 384 / each);
  int64_t vectors = (rowsAtOnce * each + 15) / 16 * 16;

  Pieces pieces = {};
  int64_t aloneAt = pieces.add(width / 2 * 16),
          turnedAt = pieces.add((16 + blockKeys) * 16);
  int64_t qAt = pieces.add(vectors * width * 2),
          keysAt = pieces.add(blockKeys * width * 2),
          valuesAt = pieces.add(blockKeys * width * 2),
          pAt = pieces.add(amxRows * blockKeys * 2);
  Softmax softmax{k, pieces, vectors, amxRows, width};

  AmxTiles scoreTiles{"scores", /*load=*/false, width / 2 * 128};
  AmxTiles valueTiles{"values", /*load=*/true, blockKeys / 2 * 128};
  AmxPanels panels{e, width};
  Runs runs{k};
  func::FuncOp sweep = {}, alone = {};
  /// Whether one row has a way of its own: its keys lie behind one another.
  bool isAloneServed = each <= 4 && !op.getShared();

  Value mul(Value a, Value b) {
    return arith::MulFOp::create(e.b, e.loc, a, b);
  }
  Value at(Value scratch, int64_t offset) { return e.at(scratch, offset, i8); }
  Value at(Value scratch, int64_t offset, Value index, int64_t stride,
           Type type) {
    return e.at(at(scratch, offset), e.mul(index, stride), type);
  }

  void build() {
    scoreTiles.make(k);
    valueTiles.make(k);
    if (isAloneServed)
      alone = k.outline(
          "alone", {pointer, pointer, pointer, i64},
          [&](ValueRange a) { aloneBody(a[0], a[1], a[2], a[3]); },
          /*opaque=*/true);
    sweep = k.outline(
        "sweep", {pointer, pointer, pointer, i64, i64, i64, i64, i64, i64, i64},
        [&](ValueRange arguments) { sweepBody(arguments); });
    Value scratch = e.scratch(pieces.bytes);
    runs.share(rowsAtOnce, /*fetches=*/true,
               [&](Value first, Value end, Value group) {
                 rows(scratch, first, end, group);
               });
  }

  /// The heads of `group` in rows of a run.
  void rows(Value scratch, Value first, Value end, Value group) {
    auto eachVector = [&](function_ref<void(Value, Value, Value)> body) {
      e.loop(first, end, e.i64(1), [&](Value row) {
        e.loop(0, e.i64(each), 1, [&](Value i) {
          body(row, e.add(e.mul(group, each), i),
               e.add(e.mul(e.sub(row, first), each), i));
        });
      });
    };
    auto place = [&](Value tensor, Value row, Value h) {
      return e.at(k.pointer(tensor),
                  e.add(e.mul(row, heads * width), e.mul(h, width)), bf16);
    };
    eachVector([&](Value row, Value h, Value v) {
      Value from = place(op.getQ(), row, h),
            to = at(scratch, qAt, v, width, bf16);
      for (int64_t c = 0; c < width; c += 32)
        e.store(e.load(e.at(from, c, bf16), i32, 16), e.at(to, c, bf16), i32);
      softmax.start(scratch, v, e.add(runs.number(op.getPositions(), row), 1));
    });

    Value offset = e.mul(group, width);
    Value keys = e.at(k.pointer(op.getK()), offset, bf16),
          values = e.at(k.pointer(op.getV()), offset, bf16);
    auto vector = [&](Value row) { return e.mul(e.sub(row, first), each); };
    auto several = [&] {
      runs.spans(first, end, [&](const Runs::Span &span) {
        func::CallOp::create(e.b, e.loc, sweep,
                             ValueRange{scratch, keys, values, span.base,
                                        span.shared, span.sharedBase,
                                        vector(span.first), vector(span.end),
                                        span.from, span.to});
      });
    };
    if (isAloneServed) {
      Value one = e.less(end, e.add(first, 2));
      e.when(one, [&] {
        Value start = e.mul(runs.number(op.getBases(), first), kvHeads * width);
        func::CallOp::create(
            e.b, e.loc, alone,
            ValueRange{scratch, e.at(keys, start, bf16),
                       e.at(values, start, bf16),
                       softmax.left(scratch, e.i64(0), e.i64(0))});
      });
      e.when(e.equal(one, e.splatInt(one.getType(), 0)), several);
    } else {
      several();
    }

    softmax.finish(scratch, vector(end));
    Value smallest = e.splat(wide, 0x1p-126), zero = e.splat(wide, 0.0);
    eachVector([&](Value row, Value h, Value v) {
      Value inverse = e.broadcast(softmax.inverse(scratch, v), 16);
      Value from = softmax.result(scratch, v), to = place(op.getOut(), row, h);
      for (int64_t c = 0; c < width; c += 16) {
        Value x = mul(e.load(e.at(from, c, f32), f32, 16), inverse);
        // Keys that are not seen add zeros, which shows in these alone.
        Value small = arith::CmpFOp::create(
            e.b, e.loc, arith::CmpFPredicate::OLT,
            math::AbsFOp::create(e.b, e.loc, x), smallest);
        e.store(e.narrow(e.select(small, zero, x), bf16), e.at(to, c, bf16),
                bf16);
      }
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
          return e.at(tensor, e.mul(e.add(start, p), kvHeads * width), bf16);
        };
      };
      panels.depth(place(values), count, blockKeys, at(scratch, valuesAt));
      panels.columns(place(keys), count, at(scratch, keysAt));
      e.loop(first, end, e.i64(amxRows), [&](Value v) {
        multiply(scratch, v, e.min(e.sub(end, v), e.i64(amxRows)), block);
      });
    });
  }

  /// (scratch, keys, values, count): the heads of one row with its keys. All in
  /// one function, since each that multiplies has to set the tiles up first.
  void aloneBody(Value scratch, Value keys, Value values, Value count) {
    turnQueries(scratch);
    // Sixteen keys at a time; where there are more, the last sixteen overlap
    // with those before, so that all tiles have one shape.
    Value number = e.min(count, e.i64(16));
    Value rows = arith::TruncIOp::create(e.b, e.loc, e.b.getI16Type(), number),
          full = half(16), line = half(64), queries = half(16),
          heads = half(each);
    Value stride = e.i64(kvHeads * width * 2), narrow = e.i64(16);
    e.loop(0, count, blockKeys, [&](Value block) {
      Value n = e.min(e.i64(blockKeys), e.sub(count, block));
      auto place = [&](Value tensor, Value key) {
        return e.at(tensor, e.mul(e.add(block, key), kvHeads * width), bf16);
      };
      panels.depth([&](Value i) { return place(values, i); }, n, blockKeys,
                   at(scratch, valuesAt));
      e.loop(0, n, 16, [&](Value key) {
        key = e.min(key, e.sub(n, number));
        Value from = place(keys, key);
        Value sum = tile("tilezero", {rows, queries});
        for (int64_t c = 0; c < width; c += amxDepth) {
          Value a = tile("tileloadd64",
                         {rows, line, e.at(from, c, bf16), stride}),
                b = tile(
                    "tileloadd64",
                    {full, queries, at(scratch, aloneAt + c / 2 * 16), narrow});
          sum = tile("tdpbf16ps", {rows, queries, line, sum, a, b});
        }
        store({rows, queries, at(scratch, turnedAt + 16 * 16, key, 4, f32),
               narrow, sum});
      });
      turnScores(scratch, n);
      probabilities(scratch, e.i64(0), e.i64(each), block, n);
      Value steps = e.div(e.add(n, 31), 32), rowBytes = e.i64(width * 4);
      e.loop(0, e.i64(width / 16), 1, [&](Value c) {
        Value b0 = e.at(at(scratch, valuesAt),
                        e.add(e.mul(e.div(c, 2), blockKeys / 2 * 128),
                              e.mul(e.rem(c, 2), 64)),
                        i8);
        Value out = e.at(softmax.result(scratch, e.i64(0)), e.mul(c, 16), f32);
        Value sum = tile("tileloadd64", {heads, line, out, rowBytes});
        sum = e.loop(
            e.i64(0), steps, e.i64(1), sum,
            [&](Value s, ValueRange carried) -> SmallVector<Value> {
              Value a = tile("tileloadd64",
                             {heads, line, at(scratch, pAt, s, 32, bf16),
                              e.i64(blockKeys * 2)}),
                    b = tile(
                        "tileloadd64",
                        {full, line, e.at(b0, e.mul(s, 2048), i8), e.i64(128)});
              return {tile("tdpbf16ps", {heads, line, line, carried[0], a, b})};
            })[0];
        store({heads, line, out, rowBytes, sum});
      });
    });
  }
  Value half(int64_t v) {
    return arith::ConstantOp::create(e.b, e.loc,
                                     e.b.getIntegerAttr(e.b.getI16Type(), v));
  }
  StringAttr tileName(const Twine &name) {
    return e.b.getStringAttr("llvm.x86." + name + ".internal");
  }
  Value tile(const Twine &name, ValueRange operands) {
    return LLVM::CallIntrinsicOp::create(
               e.b, e.loc, LLVM::LLVMX86AMXType::get(e.b.getContext()),
               tileName(name), operands)
        .getResult(0);
  }
  void store(ValueRange operands) {
    LLVM::CallIntrinsicOp::create(e.b, e.loc, tileName("tilestored64"),
                                  operands);
  }

  /// Four vectors, each 4 x 4 -> the same with rows and columns turned, of all
  /// four together: out[4 a + b] of vector c is in[4 b + c] of vector a.
  SmallVector<Value> turn4(ArrayRef<Value> in) {
    // pairs[i][h]: columns 2h and 2h + 1 of in[2i] and in[2i + 1].
    Value pairs[2][2];
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t h = 0; h < 2; ++h) {
        SmallVector<int64_t> lanes;
        for (int64_t c : {2 * h, 2 * h + 1})
          for (int64_t vector : {0, 16})
            for (int64_t b = 0; b < 4; ++b)
              lanes.push_back(vector + 4 * b + c);
        pairs[i][h] = e.shuffle(in[2 * i], in[2 * i + 1], lanes);
      }
    SmallVector<Value> out;
    for (int64_t c = 0; c < 4; ++c) {
      SmallVector<int64_t> lanes;
      for (int64_t vector : {0, 16})
        for (int64_t l = 0; l < 8; ++l)
          lanes.push_back(vector + c % 2 * 8 + l);
      out.push_back(e.shuffle(pairs[0][c / 2], pairs[1][c / 2], lanes));
    }
    return out;
  }
  /// The heads of a row become the tile B of its scores: pairs of columns, of
  /// each head in turn.
  void turnQueries(Value scratch) {
    for (int64_t c = 0; c < width / 2; c += 16) {
      Value q[4];
      for (int64_t h = 0; h < 4; ++h)
        q[h] = e.load(
            at(scratch, qAt + (std::min(h, each - 1) * width + 2 * c) * 2), i32,
            16);
      // [pair][query] of 4 pairs each.
      for (int64_t i = 0; i < 4; ++i) {
        SmallVector<int64_t> two, four;
        for (int64_t pair = 4 * i; pair < 4 * i + 4; ++pair)
          for (int64_t vector : {0, 16})
            two.push_back(vector + pair);
        for (int64_t pair = 0; pair < 4; ++pair)
          for (int64_t l : {2 * pair, 2 * pair + 1, 8 + 2 * pair, 9 + 2 * pair})
            four.push_back(l);
        Value low = e.shuffle(q[0], q[1], two),
              high = e.shuffle(q[2], q[3], two);
        e.store(e.shuffle(low, high, four),
                e.at(at(scratch, aloneAt), (c + 4 * i) * 16, i8), i32);
      }
    }
  }
  /// Scores [key][4] become rows of scores.
  void turnScores(Value scratch, Value count) {
    e.loop(0, count, 16, [&](Value key) {
      SmallVector<Value> in;
      for (int64_t i = 0; i < 4; ++i)
        in.push_back(e.load(e.at(at(scratch, turnedAt + 16 * 16),
                                 e.add(e.mul(key, 4), 16 * i), f32),
                            f32, 16));
      SmallVector<Value> out = turn4(in);
      for (int64_t h = 0; h < each; ++h)
        e.store(out[h], e.at(softmax.scores(scratch, e.i64(h)), key, f32), f32);
    });
  }

  /// Vectors [first, first + n), at most amxRows, and the keys of a block.
  void multiply(Value scratch, Value first, Value n, Value block) {
    Value high =
        e.sub(softmax.seen(scratch, first, e.add(first, n)).second, block);
    e.when(e.less(e.i64(0), high), [&] {
      high = e.min(high, e.i64(blockKeys));
      Value steps = e.div(e.add(high, 31), 32);
      scoreTiles.call(k, at(scratch, qAt, first, width, bf16), e.i64(width * 2),
                      at(scratch, keysAt), softmax.scores(scratch, e.i64(0)),
                      e.i64(blockKeys), steps, e.i64(width / amxDepth), n);
      probabilities(scratch, first, n, block, high);
      valueTiles.call(k, at(scratch, pAt), e.i64(blockKeys * 2),
                      at(scratch, valuesAt), softmax.result(scratch, first),
                      e.i64(width), e.i64(width / 32), steps, n);
    });
  }

  /// Scores of a tile, of which no row sees keys from `high` on, become
  /// probabilities in bf16; sums and results shrink for new maxima.
  void probabilities(Value scratch, Value first, Value n, Value block,
                     Value high) {
    Value scale = e.splat(wide, op.getScale().convertToDouble());
    auto line = [&](Value i, Value c) {
      return e.at(at(scratch, pAt, i, blockKeys, bf16), c, bf16);
    };
    softmax.block(
        scratch, first, n,
        [&](Value i) { return softmax.left(scratch, e.add(first, i), block); },
        [&](Value) { return high; },
        [&](Value i, Value c) {
          return mul(e.load(e.at(softmax.scores(scratch, i), c, f32), f32, 16),
                     scale);
        },
        [&](Value i, Value c, Value p) {
          e.store(roundForTile(k, p), line(i, c), bf16);
        });
    // A step of the product with values is 32 keys.
    Value last = e.mul(e.div(e.add(high, 31), 32), 32);
    Value zero = e.narrow(e.splat(wide, 0.0), bf16);
    e.loop(0, n, 1, [&](Value i) {
      e.loop(e.mul(e.div(e.add(high, 15), 16), 16), last, e.i64(16),
             [&](Value c) { e.store(zero, line(i, c), bf16); });
    });
  }
};

} // namespace

LogicalResult r1c::kernels::buildAttentionAmx(Kernel &k) {
  Forward{k}.build();
  return success();
}
