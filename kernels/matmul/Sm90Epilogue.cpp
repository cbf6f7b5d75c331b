//===- Sm90Epilogue.cpp - what is fused behind a product on Hopper --------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// wgmma leaves a block of 64 x n sums like this: thread 32 w + 4 g + t holds of
// rows 16 w + g and 16 w + g + 8 the columns 8 b + 2 t and 8 b + 2 t + 1, for
// b = 0 ... n/8 - 1; in the order b, row, column. The region runs on them where
// they are. Four threads (a quad: t = 0 ... 3) hold a row together.
//===----------------------------------------------------------------------===//

#include "kernels/matmul/Sm90.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;
using kern::AccessKind;

/// What belongs to the two rows of this thread.
struct Sm90Epilogue::Lines {
  Value row[2];     ///< i32
  Value readRow[2]; ///< i64: the same, or the last row if there is none such
  Value valid[2];   ///< i1
  Value column;     ///< i32: of the results, the thread's first
  Value quad;       ///< i32: the thread's place in its quad
  std::unique_ptr<RegionEmitter> region[2];
  /// The column that the region is at: block and element of a pair.
  int64_t block = 0, element = 0;
  /// Pairs of operands by (input, block), for row or both rows.
  llvm::DenseMap<std::pair<unsigned, int64_t>, Pair> loaded[2];
};

Sm90Epilogue::Sm90Epilogue(Kernel &k, Sm90Words &w, Value rows)
    : k(k), e(k.e), w(w), op(cast<kern::MatmulOp>(k.op)), rows(rows),
      paired(op.getPaired()), width(op.getColumns()) {}

/// The operand's address as one of global memory.
Value Sm90Epilogue::global(Value tensor) {
  auto type = LLVM::LLVMPointerType::get(e.b.getContext(), 1);
  return LLVM::AddrSpaceCastOp::create(e.b, e.loc, type, k.pointer(tensor));
}

static bool isFloat16Or32(Type type) { return type.isF32() || type.isBF16(); }

/// Elements `column` and `column + 1` (i32) of a line; a column that does not
/// exist reads another one.
Sm90Epilogue::Pair Sm90Epilogue::loadPair(Value line, Value column,
                                          Type element) {
  if (width % 8 == 0 && isFloat16Or32(element)) {
    // Aligned, and a block of 8 columns exists or does not.
    Value at = e.at(line, e.toI64(e.min(column, w.c(width - 2))), element);
    auto type = VectorType::get(2, storageOf(element));
    Value both =
        LLVM::LoadOp::create(e.b, e.loc, type, at, 2 * bytesOf(element));
    auto one = [&](int64_t i) -> Value {
      Value v = LLVM::ExtractElementOp::create(e.b, e.loc, both, w.c(i));
      return element.isBF16()
                 ? Value(arith::BitcastOp::create(e.b, e.loc, element, v))
                 : v;
    };
    return {one(0), one(1)};
  }
  auto one = [&](int64_t i) {
    Value c = e.min(w.add(column, i), w.c(width - 1));
    return e.load(e.at(line, e.toI64(c), element), element);
  };
  return {one(0), one(1)};
}

//===----------------------------------------------------------------------===//
// The region
//===----------------------------------------------------------------------===//

void Sm90Epilogue::bind(Lines &lines, int half, ArrayRef<Value> sums) {
  Block &body = op.getBody().front();
  lines.region[half] = std::make_unique<RegionEmitter>(e, body, 1);
  RegionEmitter &region = *lines.region[half];
  int64_t parts = paired ? 2 : 1;
  for (int64_t part = 0; part < parts; ++part) {
    region.arguments[part].varies = true;
    region.arguments[part].load = [this, &lines, half, sums, part] {
      // Blocks of a pair: two of the gate, two of the up.
      int64_t block = paired ? lines.block / 2 * 4 + part * 2 + lines.block % 2
                             : lines.block;
      return sums[block * 4 + half * 2 + lines.element];
    };
  }
  for (auto [i, input] : llvm::enumerate(op.getInputs())) {
    auto access = cast<kern::AccessAttr>(op.getAccess()[i]);
    Type element = kern::elementTypeOf(input);
    RegionEmitter::Argument &argument = region.arguments[parts + i];
    bool isElement = access.getKind() == AccessKind::element;
    if (isElement || access.getKind() == AccessKind::column) {
      argument.varies = true;
      Value line = global(input);
      if (isElement)
        line = e.at(line, e.mul(lines.readRow[half], width), element);
      // A column's numbers serve both rows.
      auto &known = lines.loaded[isElement ? half : 0];
      argument.load = [this, &lines, &known, line, element, i] {
        Pair &pair = known[{i, lines.block}];
        if (!pair.low)
          pair = loadPair(line, w.add(lines.column, 8 * lines.block), element);
        return lines.element ? pair.high : pair.low;
      };
      continue;
    }
    argument.load = [this, &lines, half, input, access, element] {
      Value at = global(input);
      if (access.getKind() == AccessKind::one)
        return e.load(e.at(at, std::max<int64_t>(0, access.getLane()), element),
                      element);
      Value index = lines.readRow[half];
      if (access.getLane() >= 0)
        index = e.add(
            e.mul(index,
                  cast<RankedTensorType>(input.getType()).getShape().back()),
            access.getLane());
      return e.load(e.at(at, index, element), element);
    };
  }
  region.rowIndex = [&lines, half] { return lines.row[half]; };
  region.columnIndex = [this, &lines] {
    return w.add(lines.column, 8 * lines.block + lines.element);
  };
}

//===----------------------------------------------------------------------===//
// Reductions over a chunk
//===----------------------------------------------------------------------===//

/// The 64 lanes of a reduction and their tree as in kern.row. Lane l is held by
/// the thread that holds column l; columns 64 apart have the same thread.
void Sm90Epilogue::reduce(Lines &lines, ArrayRef<Value> sums) {
  Block &body = op.getBody().front();
  using Values = SmallVector<Value>;
  for (int half : {0, 1}) {
    RegionEmitter &region = *lines.region[half];
    llvm::MapVector<int64_t, SmallVector<kern::ReduceOp>> stages;
    for (auto reduce : body.getOps<kern::ReduceOp>())
      stages[region.level(reduce.getValue())].push_back(reduce);
    SmallVector<int64_t> order(llvm::make_first_range(stages));
    llvm::sort(order);
    for (int64_t stage : order) {
      SmallVector<kern::ReduceOp> reductions = stages[stage];
      SmallVector<SmallVector<Values>> state(reductions.size());
      for (auto [r, reduce] : llvm::enumerate(reductions)) {
        region.prepare(reduce.getValue());
        for (int64_t lane = 0; lane < 16; ++lane) {
          Values empty =
              identity(e, reduce.getKind(), reduce.getValue().getType(), 1, 0);
          if (empty.size() > 1)
            empty[1] = w.add(lines.column, lane / 2 * 8 + lane % 2);
          state[r].push_back(empty);
        }
      }
      for (lines.block = 0; lines.block < 32; ++lines.block)
        for (lines.element = 0; lines.element < 2; ++lines.element) {
          region.startGroup();
          Value exists;
          if (width % kern::chunkColumns)
            exists = w.below(region.columnIndex(), width);
          for (auto [r, reduce] : llvm::enumerate(reductions)) {
            Values next = {region.group(reduce.getValue())};
            if (kern::ReduceOp::isArg(reduce.getKind()))
              next.push_back(region.columnIndex());
            Values &old = state[r][lines.block % 8 * 2 + lines.element];
            Values combined = combine(e, reduce.getKind(), old, next);
            if (exists)
              for (auto [c, o] : llvm::zip(combined, old))
                c = e.select(exists, c, o);
            old = combined;
          }
        }
      for (auto [r, reduce] : llvm::enumerate(reductions)) {
        kern::ReduceKind kind = reduce.getKind();
        SmallVector<Values> &live = state[r];
        // Lane l takes in l + 32, l + 16, l + 8: of the same thread.
        while (live.size() > 2) {
          size_t left = live.size() / 2;
          for (size_t i = 0; i < left; ++i)
            live[i] = combine(e, kind, live[i], live[i + left]);
          live.resize(left);
        }
        // Then l + 4 and l + 2: of the thread two on, and one on. All four
        // compute the same, with the lower lane first.
        for (int64_t away : {2, 1}) {
          Value upper = arith::CmpIOp::create(
              e.b, e.loc, arith::CmpIPredicate::ne,
              arith::AndIOp::create(e.b, e.loc, lines.quad, w.c(away)), w.c(0));
          for (Values &lane : live) {
            Values a, b;
            for (Value own : lane) {
              Type type = own.getType();
              Value sent = own;
              if (type.isInteger(1) || type.isInteger(8))
                sent =
                    arith::ExtUIOp::create(e.b, e.loc, e.b.getI32Type(), own);
              Value other = w.exchange(sent, away);
              if (sent != own)
                other = arith::TruncIOp::create(e.b, e.loc, type, other);
              a.push_back(e.select(upper, other, own));
              b.push_back(e.select(upper, own, other));
            }
            lane = combine(e, kind, a, b);
          }
        }
        region.define(reduce.getResult(),
                      combine(e, kind, live[0], live[1]).back());
      }
    }
  }
}

//===----------------------------------------------------------------------===//
// Stores
//===----------------------------------------------------------------------===//

/// Four registers of each thread of a quad, one a block of 8 columns, become
/// those of one block: thread t gets block t's.
static void turn(Emit &e, Sm90Words &w, Value quad, MutableArrayRef<Value> v) {
  auto bit = [&](int64_t mask) -> Value {
    return arith::CmpIOp::create(
        e.b, e.loc, arith::CmpIPredicate::ne,
        arith::AndIOp::create(e.b, e.loc, quad, w.c(mask)), w.c(0));
  };
  for (int64_t away : {1, 2}) {
    Value odd = bit(away);
    for (int64_t i = 0; i < 4; ++i) {
      if (i & away)
        continue;
      Value &low = v[i], &high = v[i + away];
      Value got = w.exchange(e.select(odd, low, high), away);
      low = e.select(odd, got, low);
      high = e.select(odd, high, got);
    }
  }
}

void Sm90Epilogue::storePairs(Value line, Type element, Lines &lines, int half,
                              int64_t first, ArrayRef<Pair> pairs) {
  auto inside = [&](Value column) {
    return w.both(lines.valid[half], w.below(column, width));
  };
  if (width % 8 || !isFloat16Or32(element)) {
    for (auto [i, pair] : llvm::enumerate(pairs))
      for (int64_t j : {0, 1}) {
        Value column = w.add(lines.column, 8 * (first + i) + j);
        Value value = j ? pair.high : pair.low;
        e.when(inside(column), [&] {
          e.store(value, e.at(line, e.toI64(column), element), element);
        });
      }
    return;
  }
  SmallVector<Value> packed;
  for (const Pair &pair : pairs) {
    if (element.isF32()) {
      auto type = VectorType::get(2, element);
      Value v = LLVM::PoisonOp::create(e.b, e.loc, type);
      v = LLVM::InsertElementOp::create(e.b, e.loc, v, pair.low, w.c(0));
      packed.push_back(
          LLVM::InsertElementOp::create(e.b, e.loc, v, pair.high, w.c(1)));
      continue;
    }
    // A rounding that the region ends with is done for two at a time.
    auto wide = [&](Value v) -> Value {
      auto round = v.getDefiningOp<arith::TruncFOp>();
      return round && round.getIn().getType().isF32() ? round.getIn()
                                                      : e.widen(v);
    };
    packed.push_back(w.packBf16(wide(pair.low), wide(pair.high)));
  }
  auto store = [&](Value value, Value column, int64_t bytes) {
    e.when(inside(column), [&] {
      LLVM::StoreOp::create(e.b, e.loc, value,
                            e.at(line, e.toI64(column), element), bytes);
    });
  };
  if (element.isF32() || packed.size() < 4) {
    for (auto [i, value] : llvm::enumerate(packed))
      store(value, w.add(lines.column, 8 * (first + i)), 2 * bytesOf(element));
    return;
  }
  turn(e, w, lines.quad, packed);
  auto type = VectorType::get(4, e.b.getI32Type());
  Value v = LLVM::PoisonOp::create(e.b, e.loc, type);
  for (auto [i, word] : llvm::enumerate(packed))
    v = LLVM::InsertElementOp::create(e.b, e.loc, v, word, w.c(i));
  // Column 2t of block `first` becomes column 0 of block `first + t`.
  Value column = e.add(w.add(lines.column, 8 * first), w.mul(lines.quad, 6));
  store(v, column, 16);
}

void Sm90Epilogue::region(Lines &lines, ArrayRef<Value> sums, int64_t columns) {
  bool plain = op.getBody().empty();
  kern::YieldOp yield;
  if (!plain)
    yield = cast<kern::YieldOp>(op.getBody().front().getTerminator());
  if (!plain && op.isChunked()) {
    reduce(lines, sums);
    for (int half : {0, 1})
      for (auto [i, value] : llvm::enumerate(yield.getValues())) {
        if (cast<kern::AccessAttr>(op.getResultAccess()[i]).getKind() !=
            AccessKind::chunk)
          continue;
        Value number = lines.region[half]->uniform(value);
        Value result = op.getResult(i);
        Type element = kern::elementTypeOf(result);
        Value chunk = w.div(lines.column, kern::chunkColumns);
        Value at = e.add(e.mul(lines.readRow[half], kern::chunksOf(width)),
                         e.toI64(chunk));
        e.when(w.both(lines.valid[half], w.both(w.is(lines.quad, 0),
                                                w.below(lines.column, width))),
               [&] {
                 e.store(number, e.at(global(result), at, element), element);
               });
      }
  }

  SmallVector<unsigned> results; // not of chunks
  for (unsigned r = 0; r < op.getNumResults(); ++r)
    if (plain || cast<kern::AccessAttr>(op.getResultAccess()[r]).getKind() ==
                     AccessKind::element)
      results.push_back(r);
  SmallVector<Value> line[2];
  for (int half : {0, 1})
    for (unsigned r : results)
      line[half].push_back(e.at(global(op.getResult(r)),
                                e.mul(lines.readRow[half], width),
                                kern::elementTypeOf(op.getResult(r))));
  int64_t blocks = columns / (paired ? 16 : 8);
  for (int64_t first = 0; first < blocks && !results.empty(); first += 4)
    for (int half : {0, 1}) {
      int64_t count = std::min<int64_t>(4, blocks - first);
      SmallVector<SmallVector<Pair>> pairs(results.size());
      for (int64_t block = first; block < first + count; ++block) {
        Pair before;
        if (op.getInit())
          before = loadPair(line[half][0], w.add(lines.column, 8 * block),
                            e.b.getF32Type());
        SmallVector<Value> values[2];
        for (int64_t j : {0, 1}) {
          lines.block = block;
          lines.element = j;
          if (plain) {
            Value sum = sums[block * 4 + half * 2 + j];
            if (op.getInit())
              sum = arith::AddFOp::create(e.b, e.loc,
                                          j ? before.high : before.low, sum);
            values[j].push_back(
                e.narrow(sum, kern::elementTypeOf(op.getResult(0))));
            continue;
          }
          lines.region[half]->startGroup();
          for (unsigned r : results)
            values[j].push_back(
                lines.region[half]->group(yield.getValues()[r]));
        }
        for (size_t i = 0; i < results.size(); ++i)
          pairs[i].push_back({values[0][i], values[1][i]});
      }
      for (auto [i, r] : llvm::enumerate(results))
        storePairs(line[half][i], kern::elementTypeOf(op.getResult(r)), lines,
                   half, first, pairs[i]);
    }
}

void Sm90Epilogue::store(ArrayRef<Value> sums, Value row, Value column,
                         int64_t columns) {
  Lines lines;
  Value lane = w.lane();
  Value warp = w.rem(w.div(w.thread(), 32), 4);
  lines.quad = w.rem(lane, 4);
  lines.column =
      e.add(paired ? w.div(column, 2) : column, w.mul(lines.quad, 2));
  for (int half : {0, 1}) {
    lines.row[half] =
        w.add(e.add(row, e.add(w.mul(warp, 16), w.div(lane, 4))), 8 * half);
    lines.valid[half] = e.less(lines.row[half], rows);
    // Loads need no condition then.
    lines.readRow[half] = e.toI64(e.min(lines.row[half], w.add(rows, -1)));
  }
  if (!op.getBody().empty())
    for (int half : {0, 1})
      bind(lines, half, sums);
  region(lines, sums, columns);
}
