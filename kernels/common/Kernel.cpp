//===- Kernel.cpp - the frame of a kernel, and its scalar region ----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Remarks.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

//===----------------------------------------------------------------------===//
// Kernel
//===----------------------------------------------------------------------===//

static SmallVector<Value> initsOf(Operation *op) {
  if (auto map = dyn_cast<kern::MapOp>(op))
    return llvm::to_vector_of<Value>(map.getInits());
  if (auto rope = dyn_cast<kern::RopeOp>(op))
    return llvm::to_vector_of<Value>(rope.getInits());
  if (auto matmul = dyn_cast<kern::MatmulOp>(op); matmul && matmul.getTurn())
    return llvm::to_vector_of<Value>(matmul.getCaches());
  Value init;
  if (auto sum = dyn_cast<kern::ColumnSumOp>(op))
    init = sum.getInit();
  if (auto matmul = dyn_cast<kern::MatmulOp>(op))
    init = matmul.getInit();
  if (auto add = dyn_cast<kern::ScatterAddOp>(op))
    init = add.getInit();
  return init ? SmallVector<Value>{init} : SmallVector<Value>{};
}

void Kernel::explain(const llvm::Twine &how, const llvm::Twine &why) {
  Location place = op->getLoc();
  auto named = place->findInstanceOf<NameLoc>();
  std::string what = named ? named.getName().str() : "kernel";
  if (auto file = place->findInstanceOf<FileLineColLoc>())
    place = file;
  auto remark = remark::passed(
      place, remark::RemarkOpts::name("Builder").category("target").function(
                 source.getSymNameAttr()));
  remark << remark::add("{0}: {1}", what, how.str());
  if (!why.isTriviallyEmpty())
    remark << remark::reason("{0}", why.str());
}

/// The static number of rows, or kDynamic; none for ops without rows.
static std::optional<int64_t> sizeOf(Operation *op) {
  auto leading = [](Value v) {
    return cast<RankedTensorType>(v.getType()).getDimSize(0);
  };
  if (auto row = dyn_cast<kern::RowOp>(op))
    return row.getRows();
  if (auto map = dyn_cast<kern::MapOp>(op))
    return map.getRows();
  if (auto sum = dyn_cast<kern::ColumnSumOp>(op))
    return sum.getRows();
  if (auto matmul = dyn_cast<kern::MatmulOp>(op))
    return matmul.getTransposeA() ? matmul.getDepth() : matmul.getRows();
  if (auto add = dyn_cast<kern::ScatterAddOp>(op))
    return leading(add.getIds());
  if (auto rope = dyn_cast<kern::RopeOp>(op))
    return leading(rope.getPositions());
  if (auto angles = dyn_cast<kern::AnglesOp>(op))
    return leading(angles.getPositions());
  if (auto attention = dyn_cast<kern::AttentionOp>(op))
    return leading(attention.getQ());
  if (auto backward = dyn_cast<kern::AttentionBackwardOp>(op)) {
    int64_t entries = leading(backward.getOffsets());
    return ShapedType::isDynamic(entries) ? entries : entries - 1;
  }
  if (auto scan = dyn_cast<kern::ScanOp>(op)) {
    int64_t entries = leading(scan.getOffsets());
    return ShapedType::isDynamic(entries) ? entries : entries - 1;
  }
  if (auto quantile = dyn_cast<kern::QuantileOp>(op))
    return leading(quantile.getResult());
  return std::nullopt;
}

static Value loadPointer(Emit &e, Value args, int64_t i) {
  return LLVM::LoadOp::create(e.b, e.loc, args.getType(),
                              e.at(args, i, e.b.getI64Type()), 8);
}

Kernel::Kernel(func::FuncOp source, Operation *op, const CpuFeatures &features)
    : source(source), op(op), features(features), builder(source),
      e(builder, op->getLoc()) {
  Type i64 = builder.getI64Type();
  begin({i64, i64});
  worker = function.getArgument(1);
  workers = function.getArgument(2);
}

Kernel::Kernel(func::FuncOp source, Operation *op, const Launch &launch,
               StringRef suffix)
    : source(source), op(op), launch(launch), builder(source),
      e(builder, op->getLoc()) {
  begin({}, suffix);
  Type i32 = builder.getI32Type(), i64 = builder.getI64Type();
  auto wide = [&](Value v) -> Value {
    return arith::ExtUIOp::create(builder, e.loc, i64, v);
  };
  thread = wide(NVVM::ThreadIdXOp::create(builder, e.loc, i32));
  block = wide(NVVM::BlockIdXOp::create(builder, e.loc, i32));
  blocks = wide(NVVM::GridDimXOp::create(builder, e.loc, i32));
  worker = e.add(e.mul(block, launch.threads), thread);
  workers = e.mul(blocks, launch.threads);
}

/// A kernel may have been started while its predecessors end, so that the start
/// costs no time; before they have ended it reads what none of them writes, and
/// writes nothing. What follows may be started as soon as all blocks run.
static Operation *dependOnGrids(Emit &e, const char *text) {
  // As text: the intrinsics do not hold back loads.
  return LLVM::InlineAsmOp::create(
      e.b, e.loc, /*res=*/TypeRange(), ValueRange(), text, "~{memory}",
      /*has_side_effects=*/true, /*is_align_stack=*/false,
      LLVM::tailcallkind::TailCallKind::None, LLVM::AsmDialectAttr(),
      ArrayAttr());
}
void Kernel::wait() { waits = dependOnGrids(e, "griddepcontrol.wait;"); }

void Kernel::waitLater(ValueRange early, ValueRange cached) {
  waits->erase();
  for (Value tensor : early)
    launch->early.push_back(operand(tensor));
  for (Value tensor : cached)
    launch->cached.push_back(operand(tensor));
}

void Kernel::begin(TypeRange arguments, StringRef suffix) {
  auto pointerType = LLVM::LLVMPointerType::get(builder.getContext());
  SmallVector<Type> types{pointerType};
  llvm::append_range(types, arguments);
  function = func::FuncOp::create(builder, source.getLoc(),
                                  (source.getName() + suffix).str(),
                                  builder.getFunctionType(types, {}));
  Block *entry = function.addEntryBlock();
  builder.setInsertionPointToStart(entry);
  args = entry->getArgument(0);
  if (!launch)
    function.setArgAttr(0, LLVM::LLVMDialect::getReadonlyAttrName(),
                        builder.getUnitAttr());

  SmallVector<Value> inits = initsOf(op);
  for (Value argument : source.getArguments())
    if (!llvm::is_contained(inits, argument))
      buffers.push_back(argument);
  auto ret = cast<func::ReturnOp>(source.getBody().front().getTerminator());
  llvm::append_range(buffers, ret.getOperands());
  usePointers(args);
  if (launch)
    dependOnGrids(e, "griddepcontrol.launch_dependents;");
  if (auto rows = sizeOf(op)) {
    bool open = ShapedType::isDynamic(*rows);
    size = open ? e.load(loadPointer(e, args, buffers.size()),
                         builder.getI64Type())
                : e.i64(*rows);
    if (launch && open)
      launch->early.push_back(buffers.size());
  }
  if (launch)
    wait();
}

unsigned Kernel::operand(Value tensor) const {
  return llvm::find(buffers, tensor) - buffers.begin();
}

/// Bytes of the pointers at the start of a CUDA kernel's parameter block; the
/// tensor maps stand behind.
static int64_t pointerBytes(size_t buffers) {
  return llvm::alignTo((buffers + 1) * 8, 64);
}

Value Kernel::tensorMap(const TensorMap &map) {
  int64_t offset = pointerBytes(buffers.size()) +
                   128 * static_cast<int64_t>(launch->maps.size());
  launch->maps.push_back(map);
  return e.at(args, offset, builder.getI8Type());
}

Value Kernel::global(Type type, unsigned addressSpace, bool constant,
                     Attribute value) {
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPoint(function);
  std::string name = (function.getName() + ".data" + Twine(globals++)).str();
  auto global = LLVM::GlobalOp::create(builder, e.loc, type, constant,
                                       LLVM::Linkage::Internal, name, value,
                                       /*alignment=*/16, addressSpace);
  if (!value) { // shared memory begins as it is
    Block *body = builder.createBlock(&global.getInitializerRegion());
    builder.setInsertionPointToStart(body);
    Value undefined = LLVM::UndefOp::create(builder, e.loc, type);
    LLVM::ReturnOp::create(builder, e.loc, undefined);
  }
  builder.setInsertionPointToStart(&function.getBody().front());
  auto there = LLVM::LLVMPointerType::get(builder.getContext(), addressSpace);
  Value address =
      LLVM::AddressOfOp::create(builder, e.loc, there, global.getName());
  return LLVM::AddrSpaceCastOp::create(builder, e.loc, args.getType(), address);
}

Value Kernel::shared(int64_t bytes) {
  return global(LLVM::LLVMArrayType::get(builder.getI8Type(), bytes), 3, false,
                {});
}

Value Kernel::dynamicShared() {
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPoint(function);
  // External, of no size of its own: one a kernel, as modules of PTX are
  // joined.
  std::string name = (function.getName() + "_shared").str();
  LLVM::GlobalOp::create(
      builder, e.loc, LLVM::LLVMArrayType::get(builder.getI8Type(), 0),
      /*isConstant=*/false, LLVM::Linkage::External, name, Attribute(),
      /*alignment=*/1024, /*addrSpace=*/3);
  builder.setInsertionPointToStart(&function.getBody().front());
  auto there = LLVM::LLVMPointerType::get(builder.getContext(), 3);
  return LLVM::AddressOfOp::create(builder, e.loc, there, name);
}

Value Kernel::globalMemory(int64_t bytes) {
  ownMemory += bytes;
  return global(LLVM::LLVMArrayType::get(builder.getI8Type(), bytes), 1, false,
                LLVM::ZeroAttr::get(builder.getContext()));
}

Value Kernel::constants(ArrayRef<float> values) {
  auto type = LLVM::LLVMArrayType::get(builder.getF32Type(), values.size());
  auto tensor = RankedTensorType::get({static_cast<int64_t>(values.size())},
                                      builder.getF32Type());
  return global(type, 4, true, DenseElementsAttr::get(tensor, values));
}

void Kernel::barrier() { NVVM::Barrier0Op::create(builder, e.loc); }

DenseMap<Value, Value> Kernel::usePointers(Value from) {
  DenseMap<Value, Value> old = std::move(pointers);
  pointers.clear();
  for (auto [i, tensor] : llvm::enumerate(buffers))
    pointers[tensor] = loadPointer(e, from, i);
  return old;
}

std::pair<Value, Value> Kernel::share(Value count, int64_t unit) {
  Value units = unit == 1 ? count : e.div(e.add(count, unit - 1), unit);
  auto bound = [&](Value w) {
    Value u = e.div(e.mul(units, w), workers);
    return unit == 1 ? u : e.min(e.mul(u, unit), count);
  };
  return {bound(worker), bound(e.add(worker, 1))};
}

func::FuncOp Kernel::outline(const Twine &suffix, TypeRange types,
                             function_ref<void(ValueRange)> body, bool opaque) {
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPoint(function);
  auto inner = func::FuncOp::create(builder, e.loc,
                                    (function.getName() + "." + suffix).str(),
                                    builder.getFunctionType(types, {}));
  inner.setPrivate();
  inner->setAttr("passthrough",
                 builder.getStrArrayAttr(
                     opaque ? ArrayRef<StringRef>{"noinline", opaqueAttribute}
                            : ArrayRef<StringRef>{"noinline"}));
  Block *entry = inner.addEntryBlock();
  builder.setInsertionPointToStart(entry);
  body(entry->getArguments());
  builder.setInsertionPointToEnd(entry);
  func::ReturnOp::create(builder, e.loc);
  return inner;
}

void Kernel::finish() {
  end();
  source.erase();
}

void Kernel::addFewRows(Kernel &other, int64_t rows, int64_t blocksPerSm) {
  kernels::Launch its = *other.launch;
  its.blocksPerSm = blocksPerSm;
  its.fewRows.clear();
  launch->fewRows.push_back(
      {rows, other.function.getName().str(), other.launchAttr(its)});
}

Value Kernel::countBlock(Value counter) {
  auto fence = [&] {
    LLVM::FenceOp::create(builder, e.loc, LLVM::AtomicOrdering::acq_rel,
                          "device");
  };
  fence();
  Value before = LLVM::AtomicRMWOp::create(
      builder, e.loc, LLVM::AtomicBinOp::add, counter, e.i32(1),
      LLVM::AtomicOrdering::monotonic, "device");
  fence();
  return before;
}

void Kernel::end() {
  builder.setInsertionPointToEnd(&function.getBody().front());
  func::ReturnOp::create(builder, e.loc);
  if (launch)
    function->setAttr(kern::launchAttrName, launchAttr(*launch));
  if (ownMemory)
    function->setAttr(kern::ownMemoryAttrName,
                      builder.getI64IntegerAttr(ownMemory));
}

DictionaryAttr Kernel::launchAttr(const Launch &launch) {
  Builder &b = builder;
  NamedAttrList attrs;
  attrs.set("threads", b.getI64IntegerAttr(launch.threads));
  attrs.set("blocks_per_sm", b.getI64IntegerAttr(launch.blocksPerSm));
  SmallVector<Attribute> others;
  for (const Launch::FewRows &other : launch.fewRows) {
    NamedAttrList few;
    few.set("rows", b.getI64IntegerAttr(other.rows));
    few.set("symbol", b.getStringAttr(other.symbol));
    few.set("launch", other.launch);
    others.push_back(few.getDictionary(b.getContext()));
  }
  if (!others.empty())
    attrs.set("few_rows", b.getArrayAttr(others));
  attrs.set("shared", b.getI64IntegerAttr(launch.shared));
  attrs.set("overlap", b.getBoolAttr(true));
  SmallVector<int64_t> early(launch.early.begin(), launch.early.end());
  attrs.set("early", b.getI64ArrayAttr(early));
  SmallVector<int64_t> cached(launch.cached.begin(), launch.cached.end());
  if (!cached.empty())
    attrs.set("cached", b.getI64ArrayAttr(cached));
  size_t results = source.getBody().front().getTerminator()->getNumOperands();
  attrs.set("written", b.getI64ArrayAttr(llvm::to_vector(llvm::seq<int64_t>(
                           buffers.size() - results, buffers.size()))));
  if (launch.cluster > 1)
    attrs.set("cluster", b.getI64IntegerAttr(launch.cluster));
  SmallVector<Attribute> maps;
  auto list = [&](ArrayRef<int64_t> values) {
    return b.getI64ArrayAttr(values);
  };
  for (const TensorMap &map : launch.maps) {
    NamedAttrList m;
    m.set("operand", b.getI64IntegerAttr(map.operand));
    m.set("dtype", b.getStringAttr(map.element.isBF16() ? "bf16" : "f32"));
    m.set("sizes", list(map.sizes));
    m.set("strides", list(map.strides));
    m.set("box", list(map.box));
    m.set("swizzle", b.getI64IntegerAttr(map.swizzle));
    maps.push_back(m.getDictionary(b.getContext()));
  }
  if (!maps.empty())
    attrs.set("tensor_maps", b.getArrayAttr(maps));
  attrs.set("parameters", b.getI64IntegerAttr(pointerBytes(buffers.size()) +
                                              128 * launch.maps.size()));
  return attrs.getDictionary(b.getContext());
}

//===----------------------------------------------------------------------===//
// RegionEmitter
//===----------------------------------------------------------------------===//

RegionEmitter::RegionEmitter(Emit &e, Block &body, int64_t lanes)
    : arguments(body.getNumArguments()), e(e), lanes(lanes) {}

void RegionEmitter::startRow() {
  uniforms.clear();
  varying.clear();
}

bool RegionEmitter::varies(Value v) {
  if (auto argument = dyn_cast<BlockArgument>(v))
    return arguments[argument.getArgNumber()].varies;
  auto it = variesKnown.find(v);
  if (it != variesKnown.end())
    return it->second;
  Operation *def = v.getDefiningOp();
  bool result = false;
  if (auto index = dyn_cast<kern::IndexOp>(def))
    result = rowsVary || index.getKind() == kern::IndexKind::column;
  else if (isa<kern::NoiseOp>(def))
    result = true;
  else if (!isa<kern::ReduceOp>(def))
    result = llvm::any_of(def->getOperands(),
                          [&](Value operand) { return varies(operand); });
  variesKnown[v] = result;
  return result;
}

int64_t RegionEmitter::level(Value v) {
  Operation *def = v.getDefiningOp();
  if (!def)
    return 0;
  // Known values are kept: chains that use each value twice (a bisection, say)
  // have exponentially many paths.
  auto it = levelKnown.find(v);
  if (it != levelKnown.end())
    return it->second;
  int64_t result = 0;
  for (Value operand : def->getOperands())
    result = std::max(result, level(operand));
  return levelKnown[v] = result + isa<kern::ReduceOp>(def);
}

Value RegionEmitter::emitOp(Value v, int64_t width,
                            function_ref<Value(Value)> get,
                            DenseMap<Value, Value> &known) {
  Operation *def = v.getDefiningOp();
  if (auto index = dyn_cast<kern::IndexOp>(def)) {
    bool row = index.getKind() == kern::IndexKind::row;
    if (row && !rowsVary)
      return rowIndex();
    Value first = e.broadcast(row ? rowIndex() : columnIndex(), width);
    return width == 1 ? first : e.add(first, e.iota(width));
  }
  if (auto noise = dyn_cast<kern::NoiseOp>(def)) {
    SmallVector<Value> operands;
    for (Value operand : def->getOperands())
      operands.push_back(get(operand));
    return emitNoise(noise, operands, width);
  }
  if (auto random = dyn_cast<kern::RandomOp>(def)) {
    SmallVector<Value> words = emitPhilox(
        e, get(random.getK0()), get(random.getK1()), get(random.getC0()),
        get(random.getC1()), get(random.getC2()), get(random.getC3()));
    for (auto [result, word] : llvm::zip(random.getResults(), words))
      known[result] = word;
    return known[v];
  }
  if (auto constant = dyn_cast<arith::ConstantOp>(def)) {
    TypedAttr attr = constant.getValue();
    if (width > 1)
      attr = DenseElementsAttr::get(VectorType::get(width, v.getType()),
                                    Attribute(attr));
    return arith::ConstantOp::create(e.b, e.loc, attr);
  }
  IRMapping mapping;
  for (Value operand : def->getOperands())
    mapping.map(operand, get(operand));
  Operation *clone = e.b.clone(*def, mapping);
  for (Value result : clone->getResults())
    result.setType(lanesOf(result.getType(), width));
  for (auto [result, value] : llvm::zip(def->getResults(), clone->getResults()))
    known[result] = value;
  return known[v];
}

Value RegionEmitter::uniform(Value v) {
  if (Value known = uniforms.lookup(v))
    return known;
  assert(!varies(v) && "not uniform");
  Value result;
  if (auto argument = dyn_cast<BlockArgument>(v))
    result = arguments[argument.getArgNumber()].load();
  else
    result =
        emitOp(v, 1, [&](Value operand) { return uniform(operand); }, uniforms);
  return uniforms[v] = result;
}

void RegionEmitter::prepare(Value v) {
  if (!varies(v)) {
    uniform(v);
    return;
  }
  Operation *def = v.getDefiningOp();
  if (!def)
    return;
  for (Value operand : def->getOperands())
    prepare(operand);
}

Value RegionEmitter::group(Value v) {
  if (Value known = varying.lookup(v))
    return known;
  Value result;
  if (!varies(v))
    result = e.broadcast(uniform(v), lanes);
  else if (auto argument = dyn_cast<BlockArgument>(v))
    result = arguments[argument.getArgNumber()].load();
  else
    result = emitOp(
        v, lanes, [&](Value operand) { return group(operand); }, varying);
  return varying[v] = result;
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

SmallVector<Value> r1c::kernels::combine(Emit &e, kern::ReduceKind kind,
                                         ValueRange a, ValueRange b,
                                         bool inOrder) {
  using kern::ReduceKind;
  bool isFloat = isa<FloatType>(getElementTypeOrSelf(a[0]));
  OpBuilder &builder = e.b;
  Location loc = e.loc;
  switch (kind) {
  case ReduceKind::add:
    return {isFloat ? Value(arith::AddFOp::create(builder, loc, a[0], b[0]))
                    : Value(arith::AddIOp::create(builder, loc, a[0], b[0]))};
  case ReduceKind::max:
    return {isFloat ? Value(arith::MaximumFOp::create(builder, loc, a[0], b[0]))
                    : Value(arith::MaxSIOp::create(builder, loc, a[0], b[0]))};
  case ReduceKind::min:
    return {isFloat ? Value(arith::MinimumFOp::create(builder, loc, a[0], b[0]))
                    : Value(arith::MinSIOp::create(builder, loc, a[0], b[0]))};
  case ReduceKind::any:
    return {arith::OrIOp::create(builder, loc, a[0], b[0])};
  case ReduceKind::all:
    return {arith::AndIOp::create(builder, loc, a[0], b[0])};
  case ReduceKind::argmax:
  case ReduceKind::argmin: {
    bool max = kind == ReduceKind::argmax;
    auto compare = [&](Value x, Value y) -> Value {
      if (isFloat)
        return arith::CmpFOp::create(
            builder, loc,
            max ? arith::CmpFPredicate::OGT : arith::CmpFPredicate::OLT, x, y);
      return arith::CmpIOp::create(
          builder, loc,
          max ? arith::CmpIPredicate::sgt : arith::CmpIPredicate::slt, x, y);
    };
    Value take = compare(b[0], a[0]);
    if (inOrder)
      return {e.select(take, b[0], a[0]), e.select(take, b[1], a[1])};
    Value same = isFloat
                     ? Value(arith::CmpFOp::create(
                           builder, loc, arith::CmpFPredicate::OEQ, b[0], a[0]))
                     : Value(arith::CmpIOp::create(
                           builder, loc, arith::CmpIPredicate::eq, b[0], a[0]));
    Value first = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::slt,
                                        b[1], a[1]);
    Value tie = arith::AndIOp::create(builder, loc, same, first);
    take = arith::OrIOp::create(builder, loc, take, tie);
    return {e.select(take, b[0], a[0]), e.select(take, b[1], a[1])};
  }
  }
  llvm_unreachable("unknown reduction");
}

SmallVector<Value> r1c::kernels::identity(Emit &e, kern::ReduceKind kind,
                                          Type element, int64_t lanes,
                                          int64_t firstLane) {
  using kern::ReduceKind;
  Type type = lanesOf(element, lanes);
  bool isFloat = isa<FloatType>(element);
  bool low = kind == ReduceKind::max || kind == ReduceKind::argmax;
  Value start;
  if (kind == ReduceKind::add)
    start = isFloat ? e.splat(type, 0.0) : e.splatInt(type, 0);
  else if (kind == ReduceKind::any || kind == ReduceKind::all)
    start = e.splatInt(type, kind == ReduceKind::all);
  else if (isFloat)
    start = e.splat(type, low ? -INFINITY : INFINITY);
  else {
    unsigned width = element.getIntOrFloatBitWidth();
    start =
        e.splatInt(type, low ? APInt::getSignedMinValue(width).getSExtValue()
                             : APInt::getSignedMaxValue(width).getSExtValue());
  }
  if (!kern::ReduceOp::isArg(kind))
    return {start};
  // The first column that the lane would see: nothing better gives column 0.
  Value column = e.iota(lanes);
  if (firstLane)
    column = e.add(column, e.splatInt(column.getType(), firstLane));
  return {start, column};
}
