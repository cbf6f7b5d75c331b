//===- MapCuda.cpp - kern.map on a GPU ------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Every element is computed by the operations of the naive lowering, so the
// bits are equal. A thread takes some neighbouring columns at once, with one
// access an operand, and several such groups at a time: what keeps the memory
// busy are bytes on their way, so all groups are loaded before one is used.
//===----------------------------------------------------------------------===//

#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;
using kern::AccessAttr;
using kern::AccessKind;

namespace {

/// Some neighbouring columns of a row (of a flat map: elements).
struct Group {
  Value row, column;
  Value exists; ///< null: always
  SmallVector<Value> arguments, values, places;
};

class MapBuilder {
public:
  MapBuilder(Kernel &k, int64_t lanes)
      : k(k), e(k.e), op(cast<kern::MapOp>(k.op)), lanes(lanes),
        flat(isFlat(op)), columns(flat ? -1 : op.getColumns()),
        region(e, op.getBody().front(), lanes),
        at(k, region, op.getInputs(), op.getIndices(), op.getAccess(), lanes,
           columns, flat) {
    yield = cast<kern::YieldOp>(op.getBody().front().getTerminator());
  }
  void build();

private:
  int64_t groupsTogether();
  /// Walks over everything, a thread some groups at a time.
  void sweep(int64_t together);
  void sweepFlat(int64_t together);
  /// How many tiles of a block there are, with so many groups a thread.
  Value tiles(int64_t together);
  int64_t rowsOfTile(int64_t together) {
    return std::max<int64_t>(1, slots(together) / groups());
  }
  int64_t piecesOfRow(int64_t together) {
    return llvm::divideCeil(groups(), slots(together));
  }
  int64_t slots(int64_t together) { return together * k.launch->threads; }
  int64_t groups() { return columns / lanes; }
  void prepareFixed();
  void enter(const Group &group);
  Value valueOf(Value yielded);
  void emit(MutableArrayRef<Group> all);
  Value number32(Value v) {
    return arith::TruncIOp::create(e.b, e.loc, e.b.getI32Type(), v);
  }
  Value count() { ///< elements of a flat map
    return op.getColumns() < 0 ? k.size : e.mul(k.size, op.getColumns());
  }

  Kernel &k;
  Emit &e;
  kern::MapOp op;
  kern::YieldOp yield;
  int64_t lanes;
  bool flat;
  int64_t columns;
  RegionEmitter region;
  Binding at;
  /// Values of the region that are the same for all rows.
  SmallVector<std::pair<Value, Value>> fixed;
};

} // namespace

/// Bytes that an operand's columns take, or 0 if it has one value a row.
static int64_t bytesAColumn(Value tensor, Attribute access) {
  AccessKind kind = cast<AccessAttr>(access).getKind();
  bool once = kind == AccessKind::row || kind == AccessKind::gather_row ||
              kind == AccessKind::one;
  return once ? 0 : bytesOf(kern::elementTypeOf(tensor));
}

/// Columns that a thread takes at once: 16 bytes of the widest operand, where
/// that divides their number.
static int64_t mapLanes(kern::MapOp op) {
  bool flat = isFlat(op);
  int64_t count = flat && op.getColumns() < 0 ? op.getRows() : op.getColumns();
  // What a flat map reads or writes by indices or strides goes one by one.
  auto plain = [](Attribute a) {
    auto access = cast<AccessAttr>(a);
    return access.getKind() == AccessKind::one ||
           (access.getKind() == AccessKind::element && access.getLane() < 0);
  };
  if (ShapedType::isDynamic(count) ||
      (flat && !(llvm::all_of(op.getAccess(), plain) &&
                 llvm::all_of(op.getResultAccess(), plain))))
    return 1;
  int64_t widest = 1;
  for (auto [input, access] : llvm::zip(op.getInputs(), op.getAccess()))
    widest = std::max(widest, bytesAColumn(input, access));
  for (Value result : op.getResults())
    widest = std::max(widest, bytesOf(kern::elementTypeOf(result)));
  int64_t lanes = std::clamp<int64_t>(16 / widest, 2, 8);
  while (count % lanes)
    lanes /= 2;
  return lanes;
}

/// As many groups as leave 64 registers room for what is loaded and stored; of
/// short rows each group has a row of its own, and so addresses and numbers.
int64_t MapBuilder::groupsTogether() {
  constexpr int64_t most = 4, longest = 64;
  bool isShort = !flat && rowsOfTile(most) > 1;
  int64_t registers = isShort ? 36 : 24, bytes = 0, operations = 0;
  auto add = [&](int64_t bytesEach) {
    bytes += lanes * bytesEach;
    if (isShort)
      bytes += bytesEach ? 8 : 4;
  };
  for (auto [input, access] : llvm::zip(op.getInputs(), op.getAccess()))
    add(bytesAColumn(input, access));
  for (auto place : op.getPlaces())
    add(bytesOf(kern::elementTypeOf(op.getResult(place.first))));
  for (Operation &each : op.getBody().front())
    operations += isa<kern::RandomOp, kern::NoiseOp>(each) ? 64 : 1;
  if (operations > longest) // arithmetic is what it waits for
    return 1;
  return std::clamp<int64_t>(registers * 4 / bytes, 1, most);
}

Value MapBuilder::tiles(int64_t together) {
  auto up = [&](Value n, int64_t by) { return e.div(e.add(n, by - 1), by); };
  if (flat)
    return up(count(), slots(together) * lanes);
  return e.mul(up(k.size, rowsOfTile(together)), piecesOfRow(together));
}

void MapBuilder::build() {
  e.aligned = true;
  if (flat)
    for (Value value : yield.getValues())
      region.prepare(value);
  else
    prepareFixed();
  int64_t together = groupsTogether();
  auto walk = [&](int64_t together) {
    flat ? sweepFlat(together) : sweep(together);
  };
  if (together == 1)
    return walk(1);
  // Where that leaves multiprocessors without work, a group at a time.
  Value isShort = e.less(tiles(together), k.blocks);
  e.when(isShort, [&] { walk(1); });
  e.when(e.equal(isShort, e.splatInt(isShort.getType(), 0)),
         [&] { walk(together); });
}

void MapBuilder::sweepFlat(int64_t together) {
  int64_t tile = slots(together) * lanes;
  Value last = e.add(count(), -lanes);
  e.loop(k.block, tiles(together), k.blocks, [&](Value i) {
    SmallVector<Group> all(together);
    Value first = e.add(e.mul(i, tile), e.mul(k.thread, lanes));
    for (auto [j, group] : llvm::enumerate(all)) {
      Value column = e.add(first, j * k.launch->threads * lanes);
      group.column = e.min(column, last);
      group.exists = e.equal(column, group.column);
    }
    emit(all);
  });
}

void MapBuilder::sweep(int64_t together) {
  int64_t rows = rowsOfTile(together), pieces = piecesOfRow(together);
  int64_t threads = k.launch->threads;
  // Groups of a tile: of some whole rows, or a piece of one.
  int64_t inTile = pieces == 1 ? rows * groups() : slots(together);
  int64_t steps = llvm::divideCeil(inTile, threads);
  // Which they are does not depend on the tile, but for the last piece.
  Value thread = number32(k.thread);
  SmallVector<Value> rowOf(steps), groupOf(steps), exists(steps);
  for (int64_t j = 0; j < steps; ++j) {
    Value number = e.add(thread, e.i32(j * threads));
    if ((j + 1) * threads > inTile) {
      Value here = e.min(number, e.i32(inTile - 1));
      exists[j] = e.equal(number, here);
      number = here;
    }
    groupOf[j] = number;
    if (rows > 1) {
      Value width = e.i32(groups());
      rowOf[j] = e.toI64(e.div(number, width));
      groupOf[j] = e.rem(number, width);
    }
  }
  e.loop(k.block, tiles(together), k.blocks, [&](Value tile) {
    SmallVector<Group> all(steps);
    Value row = tile, piece;
    if (pieces > 1) { // there are fewer than 2^31 tiles: each has a kilobyte
      Value number = number32(tile), width = e.i32(pieces);
      row = e.toI64(e.div(number, width));
      piece = e.mul(e.rem(number, width), e.i32(inTile));
    }
    row = e.mul(row, rows);
    for (auto [j, group] : llvm::enumerate(all)) {
      group.exists = exists[j];
      group.row = row;
      Value number = groupOf[j];
      // What does not exist computes what its neighbour does, and stores
      // nothing.
      if (rows > 1) {
        Value wanted = e.add(row, rowOf[j]);
        group.row = e.min(wanted, e.add(k.size, -1));
        Value inside = e.equal(wanted, group.row);
        group.exists = group.exists ? arith::AndIOp::create(e.b, e.loc, inside,
                                                            group.exists)
                                    : inside;
      }
      if (piece) {
        Value wanted = e.add(number, piece);
        number = wanted;
        if (groups() % inTile) {
          number = e.min(wanted, e.i32(groups() - 1));
          group.exists = e.equal(wanted, number);
        }
      }
      group.column = e.toI64(e.mul(number, e.i32(lanes)));
    }
    emit(all);
  });
}

/// What follows from single numbers (a temperature, by which all is divided) is
/// computed once.
void MapBuilder::prepareFixed() {
  Block &body = op.getBody().front();
  llvm::DenseSet<Value> known;
  for (auto [argument, input, access] :
       llvm::zip(body.getArguments(), op.getInputs(), op.getAccess())) {
    auto a = cast<AccessAttr>(access);
    if (a.getKind() != AccessKind::one || argument.use_empty())
      continue;
    Type element = kern::elementTypeOf(input);
    int64_t lane = std::max<int64_t>(0, a.getLane());
    Value v = e.load(e.at(k.pointer(input), lane, element), element);
    region.define(argument, v);
    fixed.push_back({argument, v});
    known.insert(argument);
  }
  for (Operation &each : body.without_terminator()) {
    if (isa<kern::IndexOp, kern::NoiseOp>(each) ||
        !llvm::all_of(each.getOperands(),
                      [&](Value v) { return known.contains(v); }))
      continue;
    known.insert_range(each.getResults());
    if (each.getNumOperands())
      for (Value result : each.getResults())
        fixed.push_back({result, region.uniform(result)});
  }
}

void MapBuilder::enter(const Group &group) {
  if (!flat && at.row != group.row) {
    at.startRow(group.row);
    for (auto [value, known] : fixed)
      region.define(value, known);
  }
  region.startGroup();
  at.column = group.column;
}

/// Rounding to bf16 takes five instructions an element more where NaNs keep
/// their bits than where none of a group is one, which is the rule.
Value MapBuilder::valueOf(Value yielded) {
  auto round = yielded.getDefiningOp<arith::TruncFOp>();
  if (!round || lanes % 2 || !round.getIn().getType().isF32() ||
      !region.varies(yielded))
    return region.group(yielded);
  Value wide = region.group(round.getIn());
  Type bf16 = yielded.getType(), i32 = e.b.getI32Type();
  Value isNan;
  for (int64_t i = 0; i < lanes; i += 2) {
    Value either =
        arith::CmpFOp::create(e.b, e.loc, arith::CmpFPredicate::UNO,
                              e.extract(wide, i), e.extract(wide, i + 1));
    isNan = isNan ? arith::OrIOp::create(e.b, e.loc, isNan, either) : either;
  }
  auto words = VectorType::get(lanes / 2, i32);
  SmallVector<Type> types(lanes / 2, i32);
  SmallVector<Value> pairs = e.choose(
      isNan, types,
      [&] {
        Value v =
            vector::BitCastOp::create(e.b, e.loc, words, e.narrow(wide, bf16));
        SmallVector<Value> pairs;
        for (int64_t i = 0; i < lanes / 2; ++i)
          pairs.push_back(e.extract(v, i));
        return pairs;
      },
      [&] {
        SmallVector<Value> pairs;
        for (int64_t i = 0; i < lanes; i += 2) {
          Value pair = NVVM::ConvertF32x2ToBF16x2Op::create(
              e.b, e.loc, Type(VectorType::get(2, bf16)),
              e.extract(wide, i + 1), e.extract(wide, i), Value(),
              NVVM::FPRoundingMode::RN);
          pairs.push_back(LLVM::BitcastOp::create(e.b, e.loc, i32, pair));
        }
        return pairs;
      });
  Value all = vector::FromElementsOp::create(e.b, e.loc, words, pairs);
  return vector::BitCastOp::create(e.b, e.loc, lanesOf(bf16, lanes), all);
}

void MapBuilder::emit(MutableArrayRef<Group> all) {
  Block &body = op.getBody().front();
  for (Group &group : all) {
    enter(group);
    for (BlockArgument argument : body.getArguments())
      group.arguments.push_back(!argument.use_empty() && region.varies(argument)
                                    ? region.group(argument)
                                    : Value());
  }
  e.loaded();
  // All values before the first store: a result may lie where an input is.
  for (Group &group : all) {
    enter(group);
    for (auto [argument, value] :
         llvm::zip(body.getArguments(), group.arguments))
      if (value)
        region.give(argument, value);
    for (auto [value, place] : llvm::zip(yield.getValues(), op.getPlaces())) {
      group.values.push_back(valueOf(value));
      auto access = cast<AccessAttr>(op.getResultAccess()[place.first]);
      if (!flat)
        group.places.push_back(
            at.place(op.getResult(place.first), access, place.second));
    }
  }
  for (Group &group : all) {
    auto store = [&] {
      at.column = group.column;
      for (auto [i, place] : llvm::enumerate(op.getPlaces())) {
        Value result = op.getResult(place.first);
        auto access = cast<AccessAttr>(op.getResultAccess()[place.first]);
        if (flat)
          at.store(group.values[i], result, access);
        else
          e.store(group.values[i], group.places[i],
                  kern::elementTypeOf(result));
      }
    };
    if (group.exists)
      e.when(group.exists, store);
    else
      store();
  }
}

LogicalResult r1c::kernels::buildMapCuda(Kernel &k) {
  MapBuilder(k, mapLanes(cast<kern::MapOp>(k.op))).build();
  return success();
}
