//===- Row.cpp - kern.row -------------------------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Values are computed anew in each stage of the reductions and for the stores:
// that is cheaper than storing them, and needs no memory that grows with N.
//===----------------------------------------------------------------------===//

#include "kernels/common/Warp.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

static kern::AccessKind kindOf(Attribute access) {
  return cast<kern::AccessAttr>(access).getKind();
}
static bool isElement(Attribute access) {
  return kindOf(access) == kern::AccessKind::element;
}

/// So many a lane may hold where three blocks of a multiprocessor leave it 80
/// registers, and where two leave it 128; the rest is for addresses and for
/// what is computed. (From ptxas' counts for norms and their derivatives.)
static constexpr int64_t heldBesideThree = 56, heldBesideTwo = 96;
/// With these few more two blocks are better than a row that is read again.
static constexpr int64_t worthTwoBlocks = 64;

/// Numbers of 32 bits that a lane holds if it holds a row, or nothing if it
/// must not.
static std::optional<int64_t> wordsOfLane(kern::RowOp op) {
  constexpr int64_t mostColumns = 1024; // the code has no loop then
  int64_t columns = op.getColumns();
  if (columns > mostColumns || op.getOffsets() || !op.getIndices().empty())
    return {};
  // A lane without a column in the last group must not store one.
  if (columns % warpLanes && llvm::any_of(op.getResultAccess(), isElement))
    return {};
  int64_t each = llvm::divideCeil(columns, warpLanes), words = 0;
  for (auto [argument, access] :
       llvm::zip(op.getBody().front().getArguments(), op.getAccess()))
    if (!argument.use_empty() &&
        (isElement(access) || kindOf(access) == kern::AccessKind::column))
      words +=
          each * llvm::divideCeil(bytesOf(kern::elementTypeOf(
                                      op.getInputs()[argument.getArgNumber()])),
                                  4);
  return words;
}

namespace {

class RowBuilder {
public:
  RowBuilder(Kernel &k, int64_t lanes)
      : k(k), e(k.e), op(cast<kern::RowOp>(k.op)), lanes(lanes),
        columns(op.getColumns()), region(e, op.getBody().front(), lanes),
        at(k, region, op.getInputs(), op.getIndices(), op.getAccess(), lanes,
           columns, /*flat=*/false) {
    if (k.launch)
      warp.emplace(k);
  }

  void build();

private:
  /// The worker's share of rows or chunks: on a GPU every so-manieth for a
  /// warp.
  void forShare(Value count, llvm::function_ref<void(Value)> body);
  void buildChunks();
  void buildRow(Value row);
  void run(const ColumnRange &range);
  /// Results of one value a row or chunk, at `index` of the result.
  void storeUniform(kern::AccessKind kind, Value index);
  void storeElements(const ColumnRange &range);
  /// Puts the region at a group of columns of the range.
  void enter(const ColumnRange &range, Value column, Value mask) {
    at.column = range.first ? e.add(range.first, column) : column;
    at.mask = mask;
    for (auto [argument, value] : held.lookup(column))
      region.give(argument, value);
  }

  // A short row is loaded once, by all lanes at the same time, and stays in
  // registers: where there are few rows nothing hides what a load takes. What
  // all rows have in common is there before the first one. Lanes of which the
  // last 32 columns have none load the row's last.
  bool isHeld();
  Value opaqueLane();
  void hold(kern::AccessKind kind);
  /// This lane's columns, if they are held.
  SmallVector<Value> ofLane;
  llvm::DenseMap<Value, SmallVector<std::pair<BlockArgument, Value>>> held;

  Kernel &k;
  Emit &e;
  kern::RowOp op;
  int64_t lanes, columns;
  RegionEmitter region;
  Binding at;
  std::optional<Warp> warp; ///< on a GPU
};

} // namespace

void RowBuilder::build() {
  if (op.isChunked())
    return buildChunks();
  if (isHeld()) {
    SmallVector<Value> common;
    for (auto [input, access] : llvm::zip(op.getInputs(), op.getAccess()))
      if (kindOf(access) == kern::AccessKind::column)
        common.push_back(input);
    k.waitLater(common);
    Value lane = opaqueLane();
    for (int64_t i = 0; i < columns; i += warpLanes)
      ofLane.push_back(e.add(lane, i));
    at.startRow(e.i64(0));
    hold(kern::AccessKind::column);
    k.wait();
  }
  forShare(k.size, [&](Value row) { buildRow(row); });
}

bool RowBuilder::isHeld() {
  if (!k.launch)
    return false;
  std::optional<int64_t> words = wordsOfLane(op);
  return words && *words <= (k.launch->blocksPerSm == 2 ? heldBesideTwo
                                                        : heldBesideThree);
}

/// LLVM must not know that it is less than 32: it would write some of the sums
/// with a constant as other words of the thread's number, and those addresses
/// would be no offsets of one, but take registers each.
Value RowBuilder::opaqueLane() {
  return LLVM::InlineAsmOp::create(
             e.b, e.loc, warp->lane.getType(), ValueRange(warp->lane),
             "mov.b64 $0, $1;", "=l,l", /*has_side_effects=*/false,
             /*is_align_stack=*/false, LLVM::TailCallKind::None,
             LLVM::AsmDialectAttr(), ArrayAttr())
      .getRes();
}

void RowBuilder::hold(kern::AccessKind kind) {
  for (auto [i, column] : llvm::enumerate(ofLane)) {
    region.startGroup();
    bool isWhole = static_cast<int64_t>(i + 1) * warpLanes <= columns;
    at.column = isWhole ? column : e.min(column, e.i64(columns - 1));
    for (auto [argument, access] :
         llvm::zip(op.getBody().front().getArguments(), op.getAccess()))
      if (!argument.use_empty() && kindOf(access) == kind)
        held[column].push_back({argument, region.group(argument)});
  }
}

void RowBuilder::forShare(Value count, function_ref<void(Value)> body) {
  if (warp) {
    e.loop(warp->index, count, warp->count, body);
    return;
  }
  auto [from, to] = k.share(count);
  e.loop(from, to, e.i64(1), body);
}

void RowBuilder::buildChunks() {
  int64_t chunks = kern::chunksOf(columns);
  forShare(e.mul(k.size, chunks), [&](Value i) {
    at.startRow(e.div(i, chunks));
    Value first = e.mul(e.rem(i, chunks), kern::chunkColumns);
    Value length =
        e.min(e.i64(kern::chunkColumns), e.sub(e.i64(columns), first));
    ColumnRange range{-1, length, first};
    run(range);
    storeUniform(kern::AccessKind::chunk, i);
    storeElements(range);
  });
}

void RowBuilder::buildRow(Value row) {
  ColumnRange range{columns, {}, {}};
  if (op.getOffsets()) {
    Type i32 = e.b.getI32Type();
    Value offsets = k.pointer(op.getOffsets());
    Value first = e.toI64(e.load(e.at(offsets, row, i32), i32));
    Value last = e.toI64(e.load(e.at(offsets, e.add(row, 1), i32), i32));
    range.length = e.sub(last, first);
    at.startRow(row, first);
  } else {
    at.startRow(row);
  }
  hold(kern::AccessKind::element);
  run(range);
  storeUniform(kern::AccessKind::row, row);
  storeElements(range);
}

void RowBuilder::run(const ColumnRange &range) {
  auto put = [&](Value column, Value mask) { enter(range, column, mask); };
  Block &body = op.getBody().front();
  if (warp)
    WarpReductions(e, region, body, warp->lane).run(range, put, ofLane);
  else
    Reductions(e, region, body, lanes).run(range, put);
}

void RowBuilder::storeUniform(kern::AccessKind kind, Value index) {
  auto yield = cast<kern::YieldOp>(op.getBody().front().getTerminator());
  for (auto [i, value] : llvm::enumerate(yield.getValues())) {
    auto access = cast<kern::AccessAttr>(op.getResultAccess()[i]);
    if (access.getKind() != kind)
      continue;
    Type element = kern::elementTypeOf(op.getResult(i));
    Value result = region.uniform(value);
    auto store = [&, i = i] {
      e.store(result, e.at(k.pointer(op.getResult(i)), index, element),
              element);
    };
    if (warp)
      e.when(e.equal(warp->lane, e.i64(0)), store);
    else
      store();
  }
}

void RowBuilder::storeElements(const ColumnRange &range) {
  auto yield = cast<kern::YieldOp>(op.getBody().front().getTerminator());
  SmallVector<unsigned> results;
  for (unsigned i = 0; i < yield.getValues().size(); ++i)
    if (isElement(op.getResultAccess()[i]))
      results.push_back(i);
  if (results.empty())
    return;
  for (unsigned i : results) {
    region.prepare(yield.getValues()[i]);
    at.resultRow(op.getResult(i),
                 cast<kern::AccessAttr>(op.getResultAccess()[i]));
  }
  auto groups = [&](ValueRange columns, Value mask) {
    // All values before the first store: a result may lie where an input is.
    SmallVector<SmallVector<Value>> values;
    for (Value column : columns) {
      region.startGroup();
      enter(range, column, mask);
      SmallVector<Value> &here = values.emplace_back();
      for (unsigned i : results)
        here.push_back(region.group(yield.getValues()[i]));
    }
    for (auto [column, here] : llvm::zip(columns, values)) {
      enter(range, column, mask);
      for (auto [value, i] : llvm::zip(here, results))
        at.store(value, op.getResult(i),
                 cast<kern::AccessAttr>(op.getResultAccess()[i]));
    }
  };
  if (!ofLane.empty()) // all that is read is in registers by now
    for (Value column : ofLane)
      groups(column, {});
  else if (warp)
    forLanes(e, range, warp->lane,
             [&](ValueRange columns) { groups(columns, {}); });
  else
    forGroups(e, range, lanes,
              [&](Value column, Value mask) { groups(column, mask); });
}

LogicalResult r1c::kernels::buildRowCpu(Kernel &k) {
  RowBuilder(k, 16).build();
  return success();
}

LogicalResult r1c::kernels::buildRowCuda(Kernel &k) {
  // For 80 registers, a row's loads at once; more inputs take more, and so does
  // a row that just fits into those.
  auto op = cast<kern::RowOp>(k.op);
  int64_t inputs = llvm::count_if(op.getAccess(), isElement);
  int64_t words = wordsOfLane(op).value_or(0);
  bool justFits = words > heldBesideThree && words <= worthTwoBlocks;
  k.launch->blocksPerSm = inputs > 3 || justFits ? 2 : 3;
  RowBuilder(k, 1).build();
  return success();
}
