//===- Kernels.cpp - outlining kern ops into kernels ----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/schedule/Kernels.h"
#include "compiler/phases/schedule/Support.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::schedule;

std::string schedule::nameOf(Location loc, StringRef fallback) {
  std::string name = fallback.str();
  loc->walk([&](Location inner) {
    if (auto named = dyn_cast<NameLoc>(inner)) {
      name = named.getName().str();
      return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  return name;
}

Kernels::Kernels(ModuleOp module, Block *declarations, Buffers &buffers)
    : declarations(declarations), buffers(buffers) {
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  kernels = ModuleOp::create(builder, module.getLoc(), "kernels");
}

namespace {

/// The buffers that results share with operands: (result number, operand).
SmallVector<std::pair<unsigned, Value>> initsOf(Operation *op) {
  SmallVector<std::pair<unsigned, Value>> inits;
  auto last = [&](ValueRange values) {
    unsigned first = op->getNumResults() - values.size();
    for (auto [i, init] : llvm::enumerate(values))
      inits.push_back({first + i, init});
  };
  if (auto matmul = dyn_cast<kern::MatmulOp>(op)) {
    if (matmul.getInit())
      inits.push_back({0, matmul.getInit()});
    last(matmul.getCaches());
  } else if (auto sum = dyn_cast<kern::ColumnSumOp>(op)) {
    if (sum.getInit())
      inits.push_back({0, sum.getInit()});
  } else if (auto scatter = dyn_cast<kern::ScatterAddOp>(op)) {
    inits.push_back({0, scatter.getInit()});
  } else if (auto map = dyn_cast<kern::MapOp>(op)) {
    unsigned next = 0;
    for (auto [i, access] : llvm::enumerate(map.getResultAccess()))
      if (cast<kern::AccessAttr>(access).getKind() == kern::AccessKind::scatter)
        inits.push_back({i, map.getInits()[next++]});
  } else if (auto rope = dyn_cast<kern::RopeOp>(op)) {
    last(rope.getInits());
  }
  return inits;
}

/// The extent of the op's rows and that of each result, from its operands.
struct Extents {
  Extent rows;
  SmallVector<Extent> results;
};

template <typename OpTy>
Extent rowsOfBody(OpTy op, const Kernels::Binding &binding) {
  for (auto [input, attr] : llvm::zip(op.getInputs(), op.getAccess())) {
    auto access = cast<kern::AccessAttr>(attr);
    switch (access.getKind()) {
    case kern::AccessKind::element:
    case kern::AccessKind::row:
      return binding.lookup(input).rows;
    case kern::AccessKind::gather:
    case kern::AccessKind::gather_row:
      return binding.lookup(op.getIndices()[access.getIndex()]).rows;
    default:
      continue;
    }
  }
  return {};
}

Extents extentsOf(Operation *op, const Kernels::Binding &binding,
                  Extent sequences) {
  auto of = [&](Value value) { return binding.lookup(value).rows; };
  Extents e;
  TypeSwitch<Operation *>(op)
      .Case([&](kern::RowOp row) {
        Extent elements = rowsOfBody(row, binding);
        e.rows = row.getOffsets() ? of(row.getOffsets()) : elements;
        if (row.getOffsets())
          for (auto [input, attr] :
               llvm::zip(row.getInputs(), row.getAccess())) {
            auto access = cast<kern::AccessAttr>(attr);
            if (access.getKind() == kern::AccessKind::element)
              elements = of(input);
            else if (access.getKind() == kern::AccessKind::gather)
              elements = of(row.getIndices()[access.getIndex()]);
          }
        for (Attribute attr : row.getResultAccess()) {
          bool perRow =
              cast<kern::AccessAttr>(attr).getKind() == kern::AccessKind::row;
          e.results.push_back(perRow ? e.rows : elements);
        }
      })
      .Case([&](kern::MapOp map) {
        e.rows = rowsOfBody(map, binding);
        e.results.assign(map.getNumResults(), e.rows);
      })
      .Case([&](kern::ColumnSumOp sum) {
        e.rows = rowsOfBody(sum, binding);
        e.results.assign(1, {});
      })
      .Case([&](kern::MatmulOp matmul) {
        e.rows = of(matmul.getA());
        e.results.assign(matmul.getNumResults(),
                         matmul.getTransposeA() ? Extent() : e.rows);
      })
      .Case([&](kern::RopeOp rope) {
        e.rows = of(rope.getInputs().front());
        e.results.assign(rope->getNumResults(), e.rows);
      })
      .Case([&](kern::AnglesOp angles) {
        e.rows = of(angles.getPositions());
        e.results.assign(1, e.rows);
      })
      .Case([&](kern::ScatterAddOp scatter) {
        e.rows = of(scatter.getIds());
        e.results.assign(1, {});
      })
      .Case([&](kern::AttentionOp attention) {
        e.rows = of(attention.getQ());
        e.results.assign(attention->getNumResults(), e.rows);
      })
      .Case([&](kern::AttentionBackwardOp backward) {
        e.rows = sequences;
        e.results = {of(backward.getQ()), of(backward.getK()),
                     of(backward.getV())};
      })
      .Case([&](kern::ScanOp scan) {
        e.rows = of(scan.getOffsets());
        e.results.assign(1, of(scan.getX()));
      })
      .Case([&](kern::QuantileOp quantile) {
        e.rows = of(quantile.getOffsets());
        e.results.assign(1, e.rows);
      })
      .Default([&](Operation *) { e.results.assign(op->getNumResults(), {}); });
  return e;
}

/// Formulas and index arithmetic: a few numbers a token at most. Everything
/// else is worth all workers.
bool isSmall(Operation *op) {
  if (isa<kern::AnglesOp>(op)) // many sines of few positions
    return false;
  return llvm::all_of(op->getOperandTypes(), [](Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return tensor && tensor.getRank() <= 1 &&
           (!tensor.hasStaticShape() || tensor.getNumElements() <= 4096);
  });
}

struct Cost {
  int64_t flopsPerRow = 0, bytesPerRow = 0, bytes = 0;
};

/// Of ops whose every dynamic dimension is their rows; nothing is said of the
/// others (attention, ragged rows, gathers).
Cost costOf(Operation *op) {
  bool byRows =
      isa<kern::MatmulOp, kern::RopeOp, kern::AnglesOp, kern::PackOp>(op);
  if (auto row = dyn_cast<kern::RowOp>(op))
    byRows = !row.getOffsets() && row.getIndices().empty();
  if (auto map = dyn_cast<kern::MapOp>(op))
    byRows = map.getIndices().empty();
  Cost cost;
  if (!byRows)
    return cost;
  auto add = [&](Type type) {
    if (auto packed = dyn_cast<kern::PackedType>(type)) {
      cost.bytes +=
          packed.getK() * packed.getN() * bytesOf(packed.getElementType());
    } else if (auto tensor = dyn_cast<RankedTensorType>(type)) {
      int64_t elements = 1;
      for (int64_t size : tensor.getShape())
        elements *= ShapedType::isDynamic(size) ? 1 : size;
      (tensor.hasStaticShape() ? cost.bytes : cost.bytesPerRow) +=
          elements * bytesOf(tensor.getElementType());
    }
  };
  // Of a cache nothing is read.
  ValueRange caches;
  if (auto rope = dyn_cast<kern::RopeOp>(op))
    caches = rope.getInits();
  else if (auto matmul = dyn_cast<kern::MatmulOp>(op))
    caches = matmul.getCaches();
  for (Value operand : op->getOperands())
    if (!llvm::is_contained(caches, operand))
      add(operand.getType());
  llvm::for_each(op->getResultTypes(), add);
  if (auto matmul = dyn_cast<kern::MatmulOp>(op)) {
    // transpose_a: a row adds A's columns times B's.
    auto a = cast<RankedTensorType>(matmul.getA().getType());
    int64_t columns = 0;
    if (auto packed = dyn_cast<kern::PackedType>(matmul.getB().getType()))
      columns = packed.getN();
    else
      columns = cast<RankedTensorType>(matmul.getB().getType()).getDimSize(1);
    cost.flopsPerRow = 2 * a.getDimSize(1) * columns;
  }
  return cost;
}

} // namespace

/// A remark on what a product costs, by row and at all of `rows`.
static void explainCost(Operation *op, StringAttr kernel, const Cost &cost,
                        int64_t rows) {
  if (!cost.flopsPerRow || rows < 1)
    return;
  auto perByte = [&](int64_t rows) {
    return double(cost.flopsPerRow) * rows /
           (cost.bytes + cost.bytesPerRow * rows);
  };
  Location place = op->getLoc();
  if (auto file = place->findInstanceOf<FileLineColLoc>())
    place = file;
  remark::analysis(
      place,
      remark::RemarkOpts::name("Cost").category("target").function(kernel))
      << remark::add("{0}: {1} flops and {2} a row, {3} once: {4:f1} flops a "
                     "byte at 1 row, {5:f0} at {6}",
                     nameOf(op->getLoc(), "kernel"), cost.flopsPerRow,
                     bytesText(cost.bytesPerRow), bytesText(cost.bytes),
                     perByte(1), perByte(rows), rows)
      << remark::metric("FlopsPerRow", cost.flopsPerRow)
      << remark::metric("BytesPerRow", cost.bytesPerRow)
      << remark::metric("Bytes", cost.bytes);
}

FlatSymbolRefAttr Kernels::outline(Operation *op, unsigned operands,
                                   int64_t rows) {
  OpBuilder builder = OpBuilder::atBlockEnd(kernels.getBody());
  auto type =
      builder.getFunctionType(op->getOperandTypes(), op->getResultTypes());
  auto function = func::FuncOp::create(builder, op->getLoc(), "kernel", type);
  function->setAttr("kern.kernel", builder.getUnitAttr());
  Block *body = function.addEntryBlock();
  IRMapping mapping;
  mapping.map(op->getOperands(), body->getArguments());
  OpBuilder inside = OpBuilder::atBlockEnd(body);
  Operation *clone = inside.clone(*op, mapping);
  func::ReturnOp::create(inside, op->getLoc(), clone->getResults());

  std::string text;
  llvm::raw_string_ostream stream(text);
  function.print(stream, OpPrintingFlags().useLocalScope());
  FlatSymbolRefAttr &symbol = byText[text];
  if (symbol) {
    function.erase();
    return symbol;
  }
  // "matmul_3": what it is, and a number; also its name in kernels.so.
  std::string name =
      (op->getName().stripDialect() + "_" + Twine(byText.size() - 1)).str();
  function.setSymName(name);
  symbol = FlatSymbolRefAttr::get(builder.getContext(), name);
  OpBuilder declare = OpBuilder::atBlockEnd(declarations);
  Cost cost = costOf(op);
  explainCost(op, builder.getStringAttr(name), cost, rows);
  std::string what = nameOf(op->getLoc(), "");
  auto number = [&](int64_t n) {
    return n ? builder.getI64IntegerAttr(n) : IntegerAttr();
  };
  rt::KernelOp::create(
      declare, op->getLoc(), builder.getStringAttr(name),
      builder.getStringAttr(name), builder.getI64IntegerAttr(operands),
      what.empty() ? StringAttr() : builder.getStringAttr(what),
      number(cost.flopsPerRow), number(cost.bytesPerRow), number(cost.bytes),
      /*launch=*/DictionaryAttr(), /*usage=*/DictionaryAttr());
  return symbol;
}

LogicalResult Kernels::dispatch(OpBuilder &builder, Operation *op,
                                Binding &binding, StringRef arena,
                                Extent sequences) {
  auto inits = initsOf(op);
  SmallVector<Attribute> args;
  for (Value operand : op->getOperands()) {
    auto bound = binding.find(operand);
    if (bound == binding.end())
      return op->emitError("an operand of '")
             << op->getName() << "' has no buffer in the schedule";
    bool isInit = llvm::any_of(
        inits, [&](auto &entry) { return entry.second == operand; });
    if (!isInit)
      args.push_back(bound->second.ref);
  }
  Extents extents = extentsOf(op, binding, sequences);
  for (auto [i, result] : llvm::enumerate(op->getResults())) {
    auto init = llvm::find_if(
        inits, [&, n = i](auto &entry) { return entry.first == n; });
    // A result that is bound already goes where the caller wants it.
    Slot slot = binding.lookup(result);
    if (init != inits.end()) {
      slot = binding.lookup(init->second);
    } else if (!slot.ref) {
      slot.rows = extents.results[i];
      slot.ref = buffers.allocateFor(
          op->getLoc(), nameOf(op->getLoc(), op->getName().stripDialect()),
          arena, result.getType(), slot.rows);
    }
    binding[result] = slot;
    args.push_back(slot.ref);
  }
  if (extents.rows)
    args.push_back(extents.rows.size);
  rt::DispatchOp::create(builder, op->getLoc(),
                         outline(op, args.size(), extents.rows.capacity),
                         builder.getArrayAttr(args),
                         isSmall(op) ? builder.getUnitAttr() : UnitAttr());
  return success();
}
