//===- RopeCuda.cpp - kern.rope and kern.angles on a GPU ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Turn.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

namespace {

/// A thread turns some neighbouring columns of all heads of a row: an angle
/// costs far more than what it turns. Of few rows, where that would leave
/// threads without work, one slice of the heads.
class RopeBuilder {
public:
  explicit RopeBuilder(Kernel &k)
      : k(k), e(k.e), op(cast<kern::RopeOp>(k.op)),
        turn(k, op.getTurn(), laneCount(op.getTurn().half)) {}
  void build();

private:
  using Loaded = SmallVector<std::pair<Value, Value>>;

  static int64_t laneCount(int64_t half) {
    return half % 4 == 0 ? 4 : half % 2 == 0 ? 2 : 1;
  }
  /// Heads of a slice, which are loaded before the first is stored: as many as
  /// registers hold beside the angles.
  int64_t sliceOf(const kern::Turn::Part &part) {
    constexpr int64_t bytes = 64;
    return bytes / (2 * turn.lanes * bytesOf(turn.types[part.input]));
  }
  /// Slices of all parts; the last of a part may be shorter.
  int64_t sliceCount();
  /// Turns everything, a thread all heads or (`apart`) a slice.
  void turnTogether();
  void turnApart();
  Angle angle(Value row, Value column);
  /// The part's heads `first` ... first + count - 1.
  Loaded load(const kern::Turn::Part &part, Value first, int64_t count);
  void store(const kern::Turn::Part &part, Value first, const Loaded &loaded,
             const Angle &angle);

  Kernel &k;
  Emit &e;
  kern::RopeOp op;
  TurnEmitter turn;
  Value frequencies; ///< in constant memory
  Value row, column; ///< where the thread is; the column in its head
};

} // namespace

int64_t RopeBuilder::sliceCount() {
  int64_t count = 0;
  for (const kern::Turn::Part &part : turn.turn.getParts())
    count += llvm::divideCeil(part.count, sliceOf(part));
  return count;
}

Angle RopeBuilder::angle(Value row, Value column) {
  if (!op.getHeads())
    return {};
  Type f32 = e.b.getF32Type();
  Value position =
      e.broadcast(emitPosition(k, op.getPositions(), row), turn.lanes);
  return emitAngle(e, position,
                   e.load(e.at(frequencies, column, f32), f32, turn.lanes),
                   op.getInverse());
}

RopeBuilder::Loaded RopeBuilder::load(const kern::Turn::Part &part, Value first,
                                      int64_t count) {
  Loaded loaded;
  int64_t width = turn.turn.width();
  Value source = startOf(k, op.getInputs()[part.input], row);
  Value from = e.add(column, e.mul(first, width));
  for (int64_t i = 0; i < count; ++i)
    loaded.push_back(
        turn.load(part, source, e.add(from, (part.inputHead + i) * width)));
  return loaded;
}

void RopeBuilder::store(const kern::Turn::Part &part, Value first,
                        const Loaded &loaded, const Angle &angle) {
  int64_t width = turn.turn.width();
  Value target = turn.target(part.result, row);
  Value to = e.add(column, e.mul(first, width));
  for (auto [i, pair] : llvm::enumerate(loaded))
    turn.store(part, pair, target, e.add(to, (part.resultHead + i) * width),
               angle);
}

void RopeBuilder::turnTogether() {
  int64_t groups = turn.turn.half / turn.lanes;
  e.loop(k.worker, e.mul(k.size, groups), k.workers, [&](Value i) {
    row = e.div(i, groups);
    column = e.mul(e.rem(i, groups), turn.lanes);
    auto parts = turn.turn.getParts();
    // On their way while the angle is computed.
    int64_t begun = std::min(parts[0].count, sliceOf(parts[0]));
    Loaded early = load(parts[0], e.i64(0), begun);
    e.loaded();
    Angle turned = angle(row, column);
    store(parts[0], e.i64(0), early, turned);
    for (const kern::Turn::Part &part : parts) {
      int64_t most = sliceOf(part), rest = part.count - begun;
      auto move = [&](Value first, int64_t count) {
        store(part, first, load(part, first, count), turned);
      };
      if (rest / most > 0)
        e.loop(begun, e.i64(begun + rest / most * most), most,
               [&](Value first) { move(first, most); });
      if (rest % most)
        move(e.i64(part.count - rest % most), rest % most);
      begun = 0;
    }
  });
}

void RopeBuilder::turnApart() {
  int64_t groups = turn.turn.half / turn.lanes, slices = sliceCount();
  e.loop(k.worker, e.mul(k.size, groups * slices), k.workers, [&](Value i) {
    column = e.mul(e.rem(i, groups), turn.lanes);
    row = e.div(e.div(i, groups), slices);
    Value slice = e.rem(e.div(i, groups), slices);
    Angle turned = angle(row, column);
    for (const kern::Turn::Part &part : turn.turn.getParts()) {
      int64_t most = sliceOf(part), whole = part.count / most,
              rest = part.count % most;
      auto move = [&](Value condition, int64_t count) {
        e.when(condition, [&] {
          Value first = e.mul(slice, most);
          store(part, first, load(part, first, count), turned);
        });
      };
      // Before and behind the part it is negative and too large.
      Value isWhole = arith::CmpIOp::create(
          e.b, e.loc, arith::CmpIPredicate::ult, slice, e.i64(whole));
      if (whole)
        move(isWhole, most);
      if (rest)
        move(e.equal(slice, e.i64(whole)), rest);
      slice = e.add(slice, -(whole + (rest > 0)));
    }
  });
}

void RopeBuilder::build() {
  e.aligned = true;
  if (op.getHeads())
    frequencies = k.constants(op.getFrequencies());
  int64_t slices = sliceCount();
  if (slices == 1)
    return turnTogether();
  int64_t groups = turn.turn.half / turn.lanes;
  Value isShort = e.less(e.mul(k.size, groups * slices), k.workers);
  e.when(isShort, [&] { turnApart(); });
  e.when(e.equal(isShort, e.splatInt(isShort.getType(), 0)),
         [&] { turnTogether(); });
}

LogicalResult r1c::kernels::buildRopeCuda(Kernel &k) {
  // With many heads there are loops over slices in several parts, which take a
  // few more than 64 registers.
  if (cast<kern::RopeOp>(k.op).getHeads() >= 32)
    k.launch->blocksPerSm = 3;
  RopeBuilder(k).build();
  return success();
}

/// A thread an angle.
LogicalResult r1c::kernels::buildAnglesCuda(Kernel &k) {
  Emit &e = k.e;
  auto op = cast<kern::AnglesOp>(k.op);
  Type f32 = e.b.getF32Type();
  int64_t half = op.getFrequencies().size();
  Value table = k.constants(op.getFrequencies());
  e.loop(k.worker, e.mul(k.size, half), k.workers, [&](Value i) {
    Value row = e.div(i, half), c = e.rem(i, half);
    Angle angle = emitAngle(e, emitPosition(k, op.getPositions(), row),
                            e.load(e.at(table, c, f32), f32));
    Value at =
        e.at(k.pointer(op.getResult()), e.add(e.mul(row, 2 * half), c), f32);
    e.store(angle.cos, at, f32);
    e.store(angle.sin, e.at(at, half, f32), f32);
  });
  return success();
}
