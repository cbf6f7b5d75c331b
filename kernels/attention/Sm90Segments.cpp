//===- Sm90Segments.cpp - what segments of keys give, merged --------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Where a row has more keys than a segment, what each segment gives is merged
// with what those before it gave. A tile that takes its segments one after the
// other keeps the latter in a record of its own and takes up each new segment
// from nothing. Where segments are items of their own, each leaves a record in
// its place, and who finds all others' there merges them.
//===----------------------------------------------------------------------===//

#include "kernels/attention/Sm90Forward.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

int64_t ForwardBuilder::placesOf() {
  if (auto places = k.source->getAttrOfType<IntegerAttr>(placesAttribute))
    return places.getInt();
  // Some 30 items for each block of the grid, or fewer that are large; of very
  // few rows some eight.
  int64_t bytes = each * recordBytes();
  return std::min<int64_t>(veryFew ? 1024 : 4096, (8 << 20) / bytes);
}

//===----------------------------------------------------------------------===//
// Parts
//===----------------------------------------------------------------------===//

ForwardBuilder::Part ForwardBuilder::part(const Rows &rows, ArrayRef<Value> out,
                                          int64_t r) {
  Part result{rows.greatest[r], rows.sum[r], {}};
  for (size_t i = 0; i < out.size(); ++i)
    if (static_cast<int64_t>(i / 2 % 2) == r)
      result.out.push_back(out[i]);
  return result;
}

void ForwardBuilder::put(const Part &part, Rows &rows, SmallVector<Value> &out,
                         int64_t r) {
  rows.greatest[r] = part.greatest;
  rows.sum[r] = part.sum;
  for (size_t i = 0, n = 0; i < out.size(); ++i)
    if (static_cast<int64_t>(i / 2 % 2) == r)
      out[i] = part.out[n++];
}

ForwardBuilder::Part ForwardBuilder::merge(const Part &earlier,
                                           const Part &later) {
  Value factor = w.f(scale * 1.4426950408889634);
  Part result;
  result.greatest = w.maxF(earlier.greatest, later.greatest);
  auto weight = [&](const Part &part) {
    return w.exp2(w.mulF(w.subF(part.greatest, result.greatest), factor));
  };
  Value ofEarlier = weight(earlier), ofLater = weight(later);
  auto sum = [&](Value a, Value b) {
    return e.fma(b, ofLater, w.mulF(a, ofEarlier));
  };
  result.sum = sum(earlier.sum, later.sum);
  for (auto [a, b] : llvm::zip(earlier.out, later.out))
    result.out.push_back(sum(a, b));
  return result;
}

void ForwardBuilder::foldSums(Rows &rows, int64_t halves) {
  for (int64_t r = 0; r < halves; ++r)
    for (int64_t lanes : {1, 2})
      rows.sum[r] = w.addF(rows.sum[r], w.exchange(rows.sum[r], lanes));
}

//===----------------------------------------------------------------------===//
// Records
//===----------------------------------------------------------------------===//

/// The thread's row r (0, 1) of its warpgroup's 64.
static Value rowOf(AttentionWords &w, Value thread, int64_t r) {
  Value line = w.div(w.rem(thread, 32), 4);
  return w.add(w.e.add(w.mul(w.div(thread, 32), 16), line), 8 * r);
}

Value ForwardBuilder::recordOfTile(int64_t r) {
  // Not in advance: registers are few while blocks are walked.
  Value row = e.add(w.mul(group, 64), rowOf(w, w.opaque(thread), r));
  Value number = e.add(w.mul(w.block(), tileRows), row);
  return e.at(records, e.mul(e.toI64(number), recordBytes()), e.b.getI8Type());
}

Value ForwardBuilder::recordOfPlace(Value place, Value row) {
  Value number = e.add(w.mul(place, each), w.add(row, recordsOfTiles()));
  return e.at(records, e.mul(e.toI64(number), recordBytes()), e.b.getI8Type());
}

void ForwardBuilder::keep(const Part &part, Value record) {
  Value quarter = e.toI64(w.rem(lane, 4));
  auto store = [&](ArrayRef<Value> values, Value at) {
    auto type = VectorType::get(values.size(), f32);
    Value v = LLVM::UndefOp::create(e.b, e.loc, type);
    for (auto [i, value] : llvm::enumerate(values))
      v = LLVM::InsertElementOp::create(e.b, e.loc, v, value, w.c(i));
    LLVM::StoreOp::create(e.b, e.loc, v, at, values.size() * 4);
  };
  store({part.greatest, part.sum}, e.at(record, quarter, e.b.getI64Type()));
  Value mine = e.at(record, e.mul(quarter, 16), e.b.getI8Type());
  for (size_t i = 0; i < part.out.size(); i += 4)
    store(ArrayRef<Value>(part.out).slice(i, 4),
          e.at(mine, 32 + i * 16, e.b.getI8Type()));
}

ForwardBuilder::Part ForwardBuilder::load(Value record) {
  Value quarter = e.toI64(w.rem(lane, 4));
  auto load = [&](int64_t count, Value at) {
    auto type = VectorType::get(count, f32);
    Value v = LLVM::LoadOp::create(e.b, e.loc, type, at, count * 4);
    SmallVector<Value> values;
    for (int64_t i = 0; i < count; ++i)
      values.push_back(e.extract(v, i));
    return values;
  };
  SmallVector<Value> head = load(2, e.at(record, quarter, e.b.getI64Type()));
  Part result{head[0], head[1], {}};
  Value mine = e.at(record, e.mul(quarter, 16), e.b.getI8Type());
  for (int64_t i = 0; i < width / 4; i += 4)
    llvm::append_range(result.out,
                       load(4, e.at(mine, 32 + i * 16, e.b.getI8Type())));
  return result;
}

//===----------------------------------------------------------------------===//
// One segment after the other
//===----------------------------------------------------------------------===//

/// What the tile's segments up to this one gave row r.
ForwardBuilder::Part ForwardBuilder::mergeWithTile(const Segment &segment,
                                                   const Part &here,
                                                   int64_t r) {
  auto flat = [](const Part &part) {
    SmallVector<Value> all(part.out);
    all.append({part.greatest, part.sum});
    return all;
  };
  SmallVector<Type> types(here.out.size() + 2, f32);
  SmallVector<Value> all = e.choose(
      e.less(w.c(0), segment.number), types,
      [&] {
        Part before = load(recordOfTile(r));
        // What a row does not see is nothing, not zero.
        Value end = e.add(segment.limits[r], w.mul(w.rem(lane, 4), 2));
        return e.choose(
            e.less(w.c(0), end), types,
            [&] { return flat(merge(before, here)); },
            [&] { return flat(before); });
      },
      [&] { return flat(here); });
  Part result;
  result.sum = all.pop_back_val();
  result.greatest = all.pop_back_val();
  result.out = all;
  return result;
}

void ForwardBuilder::close(const Segment &segment, Rows rows,
                           SmallVector<Value> out, Value qStage,
                           int64_t halves) {
  foldSums(rows, halves);
  auto isNotLast = [&] {
    for (int64_t r = 0; r < halves; ++r)
      keep(mergeWithTile(segment, part(rows, out, r), r), recordOfTile(r));
  };
  auto isLast = [&] {
    Rows merged = rows;
    SmallVector<Value> all(out);
    for (int64_t r = 0; r < halves; ++r)
      put(mergeWithTile(segment, part(rows, out, r), r), merged, all, r);
    store(all, merged, qStage);
  };
  auto isOfTile = [&] {
    w.branch(e.less(w.c(blocksASegment), segment.left), isNotLast, isLast);
  };
  // One row alone is `each` rows of the tile.
  if (!places || (each <= 8) != (halves == 1))
    return isOfTile();
  Value isPart = e.less(w.c(1), e.load(info(qStage, segmentsWord), i32));
  w.branch(
      isPart,
      [&] {
        Rows merged = rows;
        SmallVector<Value> all(out);
        Value isComplete = mergePlaces(merged, all, qStage, halves);
        e.when(isComplete, [&] { store(all, merged, qStage); });
      },
      isOfTile);
}

//===----------------------------------------------------------------------===//
// Segments as items
//===----------------------------------------------------------------------===//

/// Leaves what this item's segment gave in its place. Whether all have; then
/// rows and out are theirs.
Value ForwardBuilder::mergePlaces(Rows &rows, SmallVector<Value> &out,
                                  Value qStage, int64_t halves) {
  auto word = [&](int64_t i) { return e.load(info(qStage, i), i32); };
  Value place = word(placeWord), segments = word(segmentsWord);
  Value segment = w.div(word(fromWord), blocksASegment);
  auto placeOf = [&](Value segment) {
    return e.add(place, w.mul(segment, kvHeads));
  };
  for (int64_t r = 0; r < halves; ++r) {
    Value row = rowOf(w, thread, r);
    e.when(w.below(row, each), [&] {
      keep(part(rows, out, r), recordOfPlace(placeOf(segment), row));
    });
  }
  w.syncNamed(w.add(group, 1), 128);
  Value counter =
      e.at(records, e.add(e.i64(countersAt()), e.mul(e.toI64(place), 4)),
           e.b.getI8Type());
  e.when(w.is(thread, 0), [&] {
    e.store(k.countBlock(counter), info(qStage, throughWord), i32);
  });
  w.syncNamed(w.add(group, 1), 128);
  Value isLast = e.equal(word(throughWord), w.add(segments, -1));
  w.syncWarp(); // all lanes have read what the item is
  // For the next run of the kernel.
  e.when(w.both(isLast, w.is(thread, 0)),
         [&] { e.store(w.c(0), counter, i32); });
  auto flat = [&] {
    SmallVector<Value> all(out);
    for (int64_t r = 0; r < 2; ++r)
      all.append({rows.greatest[r], rows.sum[r]});
    return all;
  };
  auto unflat = [&](ValueRange all) {
    size_t n = all.size() - 4;
    out.assign(all.begin(), all.begin() + n);
    for (int64_t r = 0; r < 2; ++r) {
      rows.greatest[r] = all[n + 2 * r];
      rows.sum[r] = all[n + 2 * r + 1];
    }
  };
  auto loaded = [&](Value segment, int64_t r) {
    Value row = e.min(rowOf(w, thread, r), w.c(each - 1));
    return load(recordOfPlace(placeOf(segment), row));
  };
  SmallVector<Value> own = flat();
  unflat(e.choose(
      isLast, ValueRange(own).getTypes(),
      [&] {
        for (int64_t r = 0; r < halves; ++r)
          put(loaded(w.c(0), r), rows, out, r);
        return w.count(w.c(1), segments, flat(),
                       [&](Value segment, ValueRange carried) {
                         unflat(carried);
                         for (int64_t r = 0; r < halves; ++r)
                           put(merge(part(rows, out, r), loaded(segment, r)),
                               rows, out, r);
                         return flat();
                       });
      },
      [&] { return own; }));
  return isLast;
}
