//===- Sm90Epilogue.cpp - what is fused behind a product on Hopper --------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// wgmma leaves a block of 64 x n sums like this: thread 32 w + 4 g + t holds of
// rows 16 w + g and 16 w + g + 8 the columns 8 b + 2 t and 8 b + 2 t + 1, for
// b = 0 ... n/8 - 1; in the order b, row, column. The region runs on them where
// they are, in a loop over the two rows: half of the code, and few registers
// beside the sums. Four threads (a quad: t = 0 ... 3) hold a row together.
//===----------------------------------------------------------------------===//

#include "kernels/matmul/Sm90.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;
using kern::AccessKind;

Sm90Epilogue::Sm90Epilogue(Kernel &k, Sm90Words &w, Value rows, Value scratch)
    : k(k), e(k.e), w(w), op(cast<kern::MatmulOp>(k.op)), rows(rows),
      scratch(scratch), paired(op.getPaired()), width(op.getColumns()) {}

/// The operand's address as one of global memory.
Value Sm90Epilogue::global(Value tensor) {
  auto type = LLVM::LLVMPointerType::get(e.b.getContext(), 1);
  return LLVM::AddrSpaceCastOp::create(e.b, e.loc, type, k.pointer(tensor));
}

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

/// Pairs of two blocks of 8 columns, of f32, become four neighbours: those of
/// an even thread of the first block, of an odd one of the second; and such
/// neighbours pairs again.
static void exchangeWithNeighbour(Emit &e, Sm90Words &w, Value quad,
                                  MutableArrayRef<Value> four) {
  Value odd = w.is(w.rem(quad, 2), 1);
  for (int64_t i : {0, 1}) {
    Value &first = four[i], &second = four[i + 2];
    Value got = w.exchange(e.select(odd, first, second), 1);
    first = e.select(odd, got, first);
    second = e.select(odd, second, got);
  }
}

/// From the column of a thread's pair in the first of two blocks to that of its
/// four neighbours.
static Value fourAt(Sm90Words &w, Emit &e, Value column, Value quad) {
  return e.add(column, w.mul(w.rem(quad, 2), 6));
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

SmallVector<unsigned> Sm90Epilogue::streams() {
  SmallVector<unsigned> result;
  for (auto [i, access] : llvm::enumerate(op.getAccess()))
    if (cast<kern::AccessAttr>(access).getKind() == AccessKind::element)
      result.push_back(i);
  if (op.getInit())
    result.push_back(op.getInputs().size());
  return result;
}

Value Sm90Epilogue::streamed(unsigned input) {
  return input < op.getInputs().size() ? op.getInputs()[input]
                                       : op.getResult(0); // the init's place
}

SmallVector<Value> Sm90Epilogue::loadAhead(Value row, Value column,
                                           int64_t columns) {
  constexpr int64_t widest = 96;
  SmallVector<unsigned> inputs = streams();
  auto isF32 = [&](unsigned input) {
    return kern::elementTypeOf(streamed(input)).isF32();
  };
  if (op.isChunked() || op.getTurn() || paired || inputs.size() > 1 ||
      columns > widest || !llvm::all_of(inputs, isF32))
    return {};
  Value first = e.add(row, w.rem(w.div(w.thread(), 4), 32));
  first = e.add(first, w.mul(w.rem(w.div(w.thread(), 32), 4), 8));
  SmallVector<Value> result;
  for (unsigned input : inputs)
    for (int64_t away : {0, 8}) {
      Value line = e.toI64(e.min(w.add(first, away), w.add(rows, -1)));
      Value start =
          e.at(global(streamed(input)), e.mul(line, width), e.b.getF32Type());
      Value left = e.add(column, w.mul(w.rem(w.lane(), 4), 2));
      for (int64_t block = 0; block < columns / 8; ++block) {
        Pair pair = loadPair(start, w.add(left, 8 * block), e.b.getF32Type());
        result.append({pair.low, pair.high});
      }
    }
  return result;
}

/// Loads what the region takes of an operand for four blocks of 8 columns. A
/// load does not pass an earlier store, so this is called ahead of those.
void Sm90Epilogue::fetch(Line &line, unsigned input, int64_t first,
                         int64_t blocks) {
  if (line.loaded.contains({input, first}))
    return;
  Value tensor = streamed(input);
  Type element = kern::elementTypeOf(tensor);
  Value start = e.at(global(tensor), e.mul(line.readRow, width), element);
  if (!element.isBF16() || width % 8 || blocks < 4) {
    bool inFours = element.isF32() && width % 8 == 0;
    for (int64_t i = 0, step; i < blocks; i += step) {
      Value column = w.add(line.column, 8 * (first + i));
      step = inFours && i + 1 < blocks ? 2 : 1;
      if (step == 1) {
        line.loaded[{input, first + i}] = loadPair(start, column, element);
        continue;
      }
      column = e.min(fourAt(w, e, column, line.quad), w.c(width - 4));
      line.fetched[{input, first + i}] =
          LLVM::LoadOp::create(e.b, e.loc, VectorType::get(4, element),
                               e.at(start, e.toI64(column), element), 16);
    }
    return;
  }
  // Column 2t of block `first` becomes column 0 of block `first + t`.
  Value column = e.add(w.add(line.column, 8 * first), w.mul(line.quad, 6));
  Value at = e.at(start, e.toI64(e.min(column, w.c(width - 8))), element);
  line.fetched[{input, first}] = LLVM::LoadOp::create(
      e.b, e.loc, VectorType::get(4, e.b.getI32Type()), at, 16);
}

/// Brings what was fetched for four blocks to where the sums are.
void Sm90Epilogue::receive(Line &line, unsigned input, int64_t first) {
  auto elementsOf = [&](Value vector) {
    SmallVector<Value> own;
    for (int64_t i = 0; i < 4; ++i)
      own.push_back(LLVM::ExtractElementOp::create(e.b, e.loc, vector, w.c(i)));
    return own;
  };
  if (kern::elementTypeOf(streamed(input)).isF32()) {
    for (int64_t i : {first, first + 2}) {
      Value vector = line.fetched.lookup({input, i});
      if (!vector)
        continue;
      SmallVector<Value> own = elementsOf(vector);
      exchangeWithNeighbour(e, w, line.quad, own);
      line.loaded[{input, i}] = {own[0], own[1]};
      line.loaded[{input, i + 1}] = {own[2], own[3]};
    }
    return;
  }
  Value words = line.fetched.lookup({input, first});
  if (!words)
    return;
  SmallVector<Value> own = elementsOf(words);
  turn(e, w, line.quad, own);
  for (auto [i, word] : llvm::enumerate(own)) {
    auto type = VectorType::get(2, e.b.getBF16Type());
    Value both = LLVM::BitcastOp::create(e.b, e.loc, type, word);
    line.loaded[{input, first + i}] = {
        LLVM::ExtractElementOp::create(e.b, e.loc, both, w.c(0)),
        LLVM::ExtractElementOp::create(e.b, e.loc, both, w.c(1))};
  }
}

//===----------------------------------------------------------------------===//
// The region
//===----------------------------------------------------------------------===//

void Sm90Epilogue::bind(Line &line) {
  Block &body = op.getBody().front();
  line.region = std::make_unique<RegionEmitter>(e, body, 1);
  RegionEmitter &region = *line.region;
  int64_t parts = paired ? 2 : 1;
  for (int64_t part = 0; part < parts; ++part) {
    region.arguments[part].varies = true;
    region.arguments[part].load = [this, &line, part] {
      // Blocks of a pair: two of the gate, two of the up.
      int64_t block =
          paired ? line.block / 2 * 4 + part * 2 + line.block % 2 : line.block;
      return line.sum(block, line.element);
    };
  }
  for (auto [i, input] : llvm::enumerate(op.getInputs())) {
    auto access = cast<kern::AccessAttr>(op.getAccess()[i]);
    Type element = kern::elementTypeOf(input);
    RegionEmitter::Argument &argument = region.arguments[parts + i];
    bool isElement = access.getKind() == AccessKind::element;
    if (isElement || access.getKind() == AccessKind::column) {
      argument.varies = true;
      Value start = global(input);
      if (isElement)
        start = e.at(start, e.mul(line.readRow, width), element);
      argument.load = [this, &line, start, element, i] {
        Pair &pair = line.loaded[{i, line.block}];
        if (!pair.low)
          pair = loadPair(start, w.add(line.column, line.offset()), element);
        return line.element ? pair.high : pair.low;
      };
      continue;
    }
    argument.load = [this, &line, input, access, element] {
      Value at = global(input);
      if (access.getKind() == AccessKind::one)
        return e.load(e.at(at, std::max<int64_t>(0, access.getLane()), element),
                      element);
      Value index = line.readRow;
      if (access.getLane() >= 0)
        index = e.add(
            e.mul(index,
                  cast<RankedTensorType>(input.getType()).getShape().back()),
            access.getLane());
      return e.load(e.at(at, index, element), element);
    };
  }
  region.rowIndex = [&line] { return line.row; };
  region.columnIndex = [this, &line] {
    return w.add(line.column, line.offset() + line.element);
  };
}

//===----------------------------------------------------------------------===//
// Stores
//===----------------------------------------------------------------------===//

void Sm90Epilogue::storePairs(Value start, Type element, Line &line,
                              int64_t first, ArrayRef<Pair> pairs) {
  auto inside = [&](Value column) {
    return w.both(line.valid, w.below(column, width));
  };
  auto store = [&](Value value, Value column, int64_t bytes) {
    e.when(inside(column), [&] {
      LLVM::StoreOp::create(e.b, e.loc, value,
                            e.at(start, e.toI64(column), element), bytes);
    });
  };
  auto vectorOf = [&](ArrayRef<Value> values, Type type) {
    Value v = LLVM::PoisonOp::create(
        e.b, e.loc, VectorType::get(static_cast<int64_t>(values.size()), type));
    for (auto [i, value] : llvm::enumerate(values))
      v = LLVM::InsertElementOp::create(e.b, e.loc, v, value, w.c(i));
    return v;
  };
  if (width % 8 || !isFloat16Or32(element)) {
    for (auto [i, pair] : llvm::enumerate(pairs))
      for (int64_t j : {0, 1}) {
        Value column = w.add(line.column, 8 * (first + i) + j);
        Value value = j ? pair.high : pair.low;
        e.when(inside(column), [&] {
          e.store(value, e.at(start, e.toI64(column), element), element);
        });
      }
    return;
  }
  if (element.isF32()) {
    for (size_t i = 0; i < pairs.size(); i += 2) {
      Value column = w.add(line.column, 8 * (first + i));
      SmallVector<Value> values = {pairs[i].low, pairs[i].high};
      if (i + 1 < pairs.size()) {
        values.append({pairs[i + 1].low, pairs[i + 1].high});
        exchangeWithNeighbour(e, w, line.quad, values);
        column = fourAt(w, e, column, line.quad);
      }
      store(vectorOf(values, element), column, 4 * values.size());
    }
    return;
  }
  SmallVector<Value> packed;
  for (const Pair &pair : pairs) {
    // A rounding that the region ends with is done for two at a time.
    auto wide = [&](Value v) -> Value {
      auto round = v.getDefiningOp<arith::TruncFOp>();
      return round && round.getIn().getType().isF32() ? round.getIn()
                                                      : e.widen(v);
    };
    packed.push_back(w.packBf16(wide(pair.low), wide(pair.high)));
  }
  if (packed.size() < 4) {
    for (auto [i, value] : llvm::enumerate(packed))
      store(value, w.add(line.column, 8 * (first + i)), 4);
    return;
  }
  turn(e, w, line.quad, packed);
  // Column 2t of block `first` becomes column 0 of block `first + t`.
  Value column = e.add(w.add(line.column, 8 * first), w.mul(line.quad, 6));
  store(vectorOf(packed, e.b.getI32Type()), column, 16);
}

/// `yielded`: which of the values that the region yields.
void Sm90Epilogue::storeElements(Line &line, ArrayRef<unsigned> yielded,
                                 int64_t blocks) {
  bool plain = op.getBody().empty();
  SmallVector<std::pair<unsigned, int64_t>> places = op.getPlaces();
  SmallVector<Value> starts;
  for (unsigned y : yielded) {
    auto [number, part] = places[y];
    Value result = op.getResult(number);
    int64_t stride = cast<RankedTensorType>(result.getType()).getShape().back();
    starts.push_back(e.at(global(result),
                          e.add(e.mul(line.readRow, stride), part * width),
                          kern::elementTypeOf(result)));
  }
  SmallVector<unsigned> once = streams();
  int64_t words = 0; // of a group of blocks, in registers
  for (unsigned input : once)
    words += kern::elementTypeOf(streamed(input)).isBF16() ? 4 : 8;
  // Single elements take a register each: those are fetched a group ahead.
  // Where much is computed of them, two are.
  int64_t most = yielded.size() > 2 ? 2 : blocks;
  int64_t ahead = once.empty() ? 0
                  : width % 8  ? 1
                               : std::clamp<int64_t>(blocks / words, 1, most);
  auto fetchAll = [&](int64_t first) {
    if (first < blocks)
      for (unsigned input : once)
        fetch(line, input, first, std::min<int64_t>(4, blocks - first));
  };
  for (int64_t group = 0; group < ahead; ++group)
    fetchAll(4 * group);
  for (int64_t first = 0; first < blocks; first += 4) {
    if (ahead)
      fetchAll(first + 4 * ahead);
    for (unsigned input : once)
      receive(line, input, first);
    SmallVector<SmallVector<Pair>> pairs(yielded.size());
    for (line.block = first; line.block < std::min(first + 4, blocks);
         ++line.block) {
      Pair before;
      if (op.getInit())
        before = line.loaded.lookup({op.getInputs().size(), line.block});
      SmallVector<Value> values[2];
      for (line.element = 0; line.element < 2; ++line.element) {
        SmallVector<Value> &list = values[line.element];
        if (plain) {
          Value sum = line.sum(line.block, line.element);
          if (op.getInit())
            sum = arith::AddFOp::create(
                e.b, e.loc, line.element ? before.high : before.low, sum);
          list.push_back(e.narrow(sum, kern::elementTypeOf(op.getResult(0))));
          continue;
        }
        line.region->startGroup();
        for (unsigned y : yielded)
          list.push_back(line.region->group(
              op.getBody().front().getTerminator()->getOperand(y)));
      }
      for (size_t i = 0; i < yielded.size(); ++i)
        pairs[i].push_back({values[0][i], values[1][i]});
    }
    for (auto [i, y] : llvm::enumerate(yielded))
      storePairs(starts[i], kern::elementTypeOf(op.getResult(places[y].first)),
                 line, first, pairs[i]);
  }
}

void Sm90Epilogue::storeLine(Line &line, ArrayRef<Value> sums,
                             int64_t columns) {
  SmallVector<unsigned> yielded; // not for chunks
  for (auto [y, place] : llvm::enumerate(op.getPlaces()))
    if (!op.isChunked() ||
        cast<kern::AccessAttr>(op.getResultAccess()[place.first]).getKind() ==
            AccessKind::element)
      yielded.push_back(y);
  if (!op.getBody().empty())
    bind(line);
  if (!op.isChunked()) {
    line.sum = [&](int64_t block, int64_t element) {
      return sums[block * 2 + element];
    };
    if (op.getTurn())
      return storeTurned(line, columns);
    return storeElements(line, yielded, columns / (paired ? 16 : 8));
  }
  keepSums(sums);
  reduce(line);
  storeChunk(line);
  if (yielded.empty())
    return;
  auto yield = op.getBody().front().getTerminator();
  for (unsigned y : yielded)
    line.region->prepare(yield->getOperand(y));
  forOctets(line, {}, [&](ValueRange) {
    storeElements(line, yielded, 8);
    return SmallVector<Value>();
  });
}

void Sm90Epilogue::add(ArrayRef<Value> sums, Value row, Value column,
                       int64_t columns) {
  Type f32 = e.b.getF32Type();
  Value lane = w.lane(), warp = w.rem(w.div(w.thread(), 32), 4);
  Value first = e.add(row, e.add(w.mul(warp, 16), w.div(lane, 4)));
  Value left = e.add(column, w.mul(w.rem(lane, 4), 2));
  for (int64_t r : {0, 1}) {
    Value at = w.add(first, 8 * r);
    e.when(e.less(at, rows), [&] {
      Value line =
          e.at(global(op.getResult(0)), e.mul(e.toI64(at), width), f32);
      for (int64_t b = 0; b < columns / 8; ++b)
        for (int64_t i : {0, 1}) {
          Value c = w.add(left, 8 * b + i);
          e.when(w.below(c, width), [&] {
            LLVM::AtomicRMWOp::create(
                e.b, e.loc, LLVM::AtomicBinOp::fadd,
                e.at(line, e.toI64(c), f32), sums[4 * b + 2 * r + i],
                LLVM::AtomicOrdering::monotonic, "device");
          });
        }
    });
  }
}

void Sm90Epilogue::store(ArrayRef<Value> sums, Value row, Value column,
                         int64_t columns, ValueRange loaded) {
  Value lane = w.lane();
  Value warp = w.rem(w.div(w.thread(), 32), 4);
  Value quad = w.rem(lane, 4);
  Value firstColumn = e.add(paired ? w.div(column, 2) : column, w.mul(quad, 2));
  Value warpRow = e.add(row, w.mul(warp, 16));
  Value firstRow = e.add(warpRow, w.div(lane, 4));
  // This row's sums, and the next one's.
  SmallVector<Value> carried;
  for (size_t half : {0, 1})
    for (size_t i = 0; i < sums.size(); ++i)
      if (i / 2 % 2 == half)
        carried.push_back(sums[i]);
  size_t each = sums.size() / 2, eachLoaded = loaded.size() / 2;
  llvm::append_range(carried, loaded);
  e.loop(w.c(0), w.c(16), w.c(8), carried,
         [&](Value away, ValueRange both) -> SmallVector<Value> {
           SmallVector<Value> now(both.take_front(each));
           ValueRange next = both.slice(each, each);
           ValueRange loadedNow = both.slice(2 * each, eachLoaded);
           ValueRange loadedNext = both.take_back(eachLoaded);
           Line line;
           for (size_t i = 0; i < eachLoaded; i += 2)
             line.loaded[{streams().front(), i / 2}] = {loadedNow[i],
                                                        loadedNow[i + 1]};
           line.quad = quad;
           // What depends on columns alone would be taken out of the loop, into
           // more registers than there are.
           line.column = w.opaque(firstColumn);
           line.row = e.add(firstRow, away);
           line.valid = e.less(line.row, rows);
           // Loads need no condition then.
           line.readRow = e.toI64(e.min(line.row, w.add(rows, -1)));
           // A warp has no rows, or some: then all of its lanes go along.
           Value some = e.less(e.add(warpRow, away), rows);
           e.when(some, [&] { storeLine(line, now, columns); });
           SmallVector<Value> shifted;
           for (ValueRange part : {next, next, loadedNext, loadedNext})
             llvm::append_range(shifted, part);
           return shifted;
         });
}
