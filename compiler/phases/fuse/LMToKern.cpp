//===- LMToKern.cpp - the functions of models become kern ops -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// One pass over each function, in order; an op is written together with what
// fuses into it. Every instance of the layer (score, train, cached) goes
// through the same code with the same shapes, so that a row's bits are the same
// in all.
//===----------------------------------------------------------------------===//

#include "compiler/phases/fuse/LMToKern.h"
#include "compiler/phases/NetworkPasses.h"
#include "compiler/phases/fuse/Formulas.h"

namespace r1c {
#define GEN_PASS_DEF_LMTOKERNPASS
#include "compiler/phases/NetworkPasses.h.inc"
} // namespace r1c

using namespace mlir;
using namespace r1c;
using namespace r1c::fuse;

using Values = SmallVector<Value>;
using Arguments = ArrayRef<Value>;

static StringRef suffixOf(Form form) {
  return form == Form::cached   ? ".cached"
         : form == Form::stored ? ".stored"
                                : "";
}

Fuser::Fuser(ModuleOp module, func::FuncOp source, const Precision &precision,
             Form form)
    : source(source), context(source.getContext()),
      name(StringAttr::get(
          context,
          source->getAttrOfType<StringAttr>(role::function).getValue() +
              suffixOf(form))),
      cached(form == Form::cached), storesLogits(form == Form::stored),
      f(module, source.getLoc(),
        source->getAttrOfType<FlatSymbolRefAttr>(role::model).getValue(),
        name.getValue()),
      b(f.builder()), products(precision.products), precision(precision) {}

//===----------------------------------------------------------------------===//
// Arguments
//===----------------------------------------------------------------------===//

static DictionaryAttr attributesOf(BlockArgument argument) {
  auto func = cast<func::FuncOp>(argument.getOwner()->getParentOp());
  return func.getArgAttrDict(argument.getArgNumber());
}

static StringRef parameterName(Value value) {
  auto argument = dyn_cast<BlockArgument>(value);
  auto name = argument
                  ? attributesOf(argument).getAs<StringAttr>(role::parameter)
                  : StringAttr();
  return name ? name.getValue() : StringRef();
}

Value Fuser::lookup(Value value) {
  if (Value known = map.lookup(value))
    return known;
  auto argument = cast<BlockArgument>(value);
  Type type = value.getType();
  if (precision.isNarrow(value))
    type = cast<RankedTensorType>(type).clone(products);
  return map[value] =
             f.argument(type, attributesOf(argument), argument.getLoc());
}

Value Fuser::extra(Type type, DictionaryAttr attributes, StringRef name) {
  Value &value = extras[attributes];
  if (!value)
    value = f.argument(type, attributes,
                       NameLoc::get(b.getStringAttr(name), source.getLoc()));
  return value;
}

Value Fuser::contextPart(StringRef part) {
  return extra(RankedTensorType::get({ShapedType::kDynamic}, b.getI32Type()),
               makeRole(context, part), part);
}

Value Fuser::packed(ArrayRef<Value> weights, StringRef layout) {
  auto type = cast<RankedTensorType>(weights.front().getType());
  int64_t out = 0, in = type.getDimSize(1);
  for (Value weight : weights)
    out += cast<RankedTensorType>(weight.getType()).getDimSize(0);
  bool backward = layout == "backward";
  auto packedType = kern::PackedType::get(context, backward ? out : in,
                                          backward ? in : out, products);
  SmallVector<Attribute> names;
  for (Value weight : weights)
    names.push_back(b.getStringAttr(parameterName(weight)));
  DictionaryAttr attributes = b.getDictionaryAttr(
      {b.getNamedAttr(role::attribute, b.getStringAttr("packed")),
       b.getNamedAttr(role::parameter, b.getArrayAttr(names)),
       b.getNamedAttr(role::layout, b.getStringAttr(layout))});
  return extra(packedType, attributes,
               (parameterName(weights.front()) + "." + layout).str());
}

RankedTensorType Fuser::stored(Value result) {
  auto type = cast<RankedTensorType>(result.getType());
  return precision.isNarrow(result) ? type.clone(products) : type;
}

Value Fuser::operand(Value value) {
  return asOperand(lookup(value), value.getLoc());
}

Value Fuser::asOperand(Value tensor, Location loc) {
  auto type = cast<RankedTensorType>(tensor.getType());
  if (type.getElementType() == products)
    return tensor;
  Value &result = rounded[tensor];
  if (!result)
    result = writeMap(b, NameLoc::get(b.getStringAttr("rounded"), loc),
                      type.clone(products), {element(tensor)}, {},
                      [](Scalars &, Arguments v) -> Values { return {v[0]}; })
                 .getResult(0);
  return result;
}

FailureOr<Value> Fuser::accumulator(Value gradient) {
  Operation *terminator = source.getBody().front().getTerminator();
  for (OpOperand &use : gradient.getUses())
    if (use.getOwner() == terminator && gradient.hasOneUse()) {
      auto attributes = source.getResultAttrDict(use.getOperandNumber());
      return extra(gradient.getType(), attributes, "gradient");
    }
  return gradient.getDefiningOp()->emitOpError(
      "gives a gradient of parameters that is not simply returned, so it "
      "cannot accumulate");
}

//===----------------------------------------------------------------------===//
// What fuses
//===----------------------------------------------------------------------===//

lm::AddOp Fuser::absorbedAdd(Value value, Value &other) {
  if (!value.hasOneUse())
    return {};
  auto add = dyn_cast<lm::AddOp>(*value.user_begin());
  if (!add || map.count(add.getResult()))
    return {};
  Value operand = add.getLhs() == value ? add.getRhs() : add.getLhs();
  // The other operand must exist already: an argument, or written before.
  if (operand == value || (!isa<BlockArgument>(operand) && !map.count(operand)))
    return {};
  other = lookup(operand);
  return add;
}

void Fuser::writeProduct(Location loc, Value result, Value a, Value weights,
                         Value bias) {
  SmallVector<Operand> operands;
  if (bias)
    operands.push_back(column(bias));
  Value other;
  lm::AddOp add = absorbedAdd(result, other);
  if (add)
    operands.push_back(element(other));
  explainProduct(result, add);
  auto body = [&](Scalars &s, Arguments v) -> Values {
    Value sum = v[0];
    for (Value operand : v.drop_front())
      sum = s.add(sum, operand);
    return {sum};
  };
  Value product =
      writeMatmul(b, loc, stored(add ? add.getResult() : result), a, weights,
                  /*paired=*/false, operands,
                  operands.empty() ? Body() : Body(body))
          .getResult(0);
  map[add ? add.getResult() : result] = product;
}

/// Rows × (heads · n) as (rows · heads) × n, and back.
Value Fuser::splitHeads(Location loc, Value x, int64_t heads) {
  if (heads == 1)
    return x;
  auto type = cast<RankedTensorType>(x.getType());
  int64_t n = type.getDimSize(1) / heads;
  auto three = RankedTensorType::get({ShapedType::kDynamic, heads, n},
                                     type.getElementType());
  auto two =
      RankedTensorType::get({ShapedType::kDynamic, n}, type.getElementType());
  Value rows = tensor::DimOp::create(b, loc, x, 0);
  SmallVector<OpFoldResult> sizes{rows, b.getIndexAttr(heads),
                                  b.getIndexAttr(n)};
  Value expanded = tensor::ExpandShapeOp::create(
      b, loc, three, x, SmallVector<ReassociationIndices>{{0}, {1, 2}}, sizes);
  return tensor::CollapseShapeOp::create(
      b, loc, two, expanded, SmallVector<ReassociationIndices>{{0, 1}, {2}});
}

Value Fuser::mergeHeads(Location loc, Value x, Value like, int64_t heads) {
  if (heads == 1)
    return x;
  auto type = cast<RankedTensorType>(x.getType());
  int64_t n = type.getDimSize(1);
  auto three = RankedTensorType::get({ShapedType::kDynamic, heads, n},
                                     type.getElementType());
  Value rows = tensor::DimOp::create(b, loc, like, 0);
  SmallVector<OpFoldResult> sizes{rows, b.getIndexAttr(heads),
                                  b.getIndexAttr(n)};
  Value expanded = tensor::ExpandShapeOp::create(
      b, loc, three, x, SmallVector<ReassociationIndices>{{0, 1}, {2}}, sizes);
  // Not the type of `like`: what was computed may be stored in fewer digits.
  return tensor::CollapseShapeOp::create(
      b, loc,
      cast<RankedTensorType>(like.getType()).clone(type.getElementType()),
      expanded, SmallVector<ReassociationIndices>{{0}, {1, 2}});
}

//===----------------------------------------------------------------------===//
// Forward ops
//===----------------------------------------------------------------------===//

LogicalResult Fuser::write(lm::EmbeddingOp op) {
  map[op.getResult()] =
      writeMap(b, op.getLoc(), op.getType(), {gather(lookup(op.getTable()))},
               lookup(op.getIds()),
               [](Scalars &, Arguments v) -> Values { return {v[0]}; })
          .getResult(0);
  return success();
}

LogicalResult Fuser::write(lm::GatherOp op) {
  map[op.getResult()] =
      writeMap(b, op.getLoc(), op.getType(), {gather(lookup(op.getInput()))},
               lookup(op.getRows()),
               [](Scalars &, Arguments v) -> Values { return {v[0]}; })
          .getResult(0);
  return success();
}

LogicalResult Fuser::write(lm::RMSNormOp op) {
  Value x = lookup(op.getInput());
  Value normed =
      rmsNorm(b, op.getLoc(), splitHeads(op.getLoc(), x, op.getHeads()),
              lookup(op.getWeight()), op.getEpsilon().convertToDouble(),
              stored(op.getResult()).getElementType());
  map[op.getResult()] = mergeHeads(op.getLoc(), normed, x, op.getHeads());
  return success();
}

LogicalResult Fuser::write(lm::LinearOp op) {
  if (pairOf(op) || isDrawnFrom(op))
    return success(); // written with its lm.silu_mul or lm.sample
  writeProduct(op.getLoc(), op.getResult(), operand(op.getInput()),
               packed(op.getWeight(), "forward"),
               op.getBias() ? lookup(op.getBias()) : Value());
  return success();
}

LogicalResult Fuser::write(lm::RopeOp op) {
  map[op.getResult()] =
      writeRope(op.getLoc(), stored(op.getResult()), lookup(op.getInput()), {},
                {}, op.getHeads(), op)
          .getResult(0);
  return success();
}

LogicalResult Fuser::write(lm::AttentionOp op) {
  Value key = operand(op.getKey()), value = operand(op.getValue());
  if (cached && caches.empty()) {
    // New rows go to base + position of the cache, which is then read, unless
    // what turned the keys has brought them there.
    Value rows = contextPart("cache_rows");
    auto store = [&](Value rowsToStore, StringRef role) -> Value {
      Value cache = extra(rowsToStore.getType(), makeRole(context, role), role);
      Value stored = writeScatter(b, op.getLoc(), rowsToStore, rows, cache);
      caches.push_back({stored, makeRole(context, role)});
      return stored;
    };
    key = store(key, "cache_keys");
    value = store(value, "cache_values");
  }
  Type lse = op.getLse().use_empty() ? Type() : op.getLse().getType();
  Value query = operand(op.getQuery());
  auto attention = kern::AttentionOp::create(
      b, op.getLoc(), query.getType(), lse, query, key, value,
      contextPart("positions"), contextPart("bases"),
      cached ? Value() : contextPart("shared"),
      cached ? Value() : contextPart("shared_bases"),
      /*prefetch=*/ValueRange(), op.getHeadsAttr(), op.getKvHeadsAttr(),
      b.getF32FloatAttr(op.getScale().convertToDouble()),
      cached ? b.getUnitAttr() : UnitAttr());
  map[op.getResult()] = attention.getOut();
  if (lse)
    map[op.getLse()] = attention.getLse();
  return success();
}

bool Fuser::isForCuda() {
  auto module = source->getParentOfType<ModuleOp>();
  auto target = module->getAttrOfType<StringAttr>(targetAttribute);
  return target && target.getValue() == "cuda";
}

/// On a GPU memory rests while attention goes through few rows: it names the
/// weights that are read behind it.
void Fuser::prefetchBehindAttention() {
  if (!isForCuda() || !products.isBF16()) // by threads it is not idle
    return;
  for (auto attention : b.getInsertionBlock()->getOps<kern::AttentionOp>())
    for (Operation *op = attention; op; op = op->getNextNode())
      if (auto product = dyn_cast<kern::MatmulOp>(op))
        if (isa<kern::PackedType>(product.getB().getType()))
          attention.getPrefetchMutable().append(product.getB());
}

LogicalResult Fuser::write(lm::AddOp op) {
  if (map.count(op.getResult()))
    return success(); // fused into what gave one of its operands
  map[op.getResult()] =
      writeMap(
          b, op.getLoc(), op.getType(),
          {element(lookup(op.getLhs())), element(lookup(op.getRhs()))}, {},
          [](Scalars &s, Arguments v) -> Values { return {s.add(v[0], v[1])}; })
          .getResult(0);
  return success();
}

LogicalResult Fuser::write(lm::KeepOp op) {
  map[op.getKept()] =
      keep(b, op.getLoc(), lookup(op.getLogits()), lookup(op.getTemperature()),
           lookup(op.getTopK()), lookup(op.getTopP()), lookup(op.getMinP()));
  return success();
}

//===----------------------------------------------------------------------===//
// Gradients
//===----------------------------------------------------------------------===//

LogicalResult Fuser::write(lm::EmbeddingGradOp op) {
  auto init = accumulator(op.getTable());
  if (failed(init))
    return failure();
  map[op.getTable()] = kern::ScatterAddOp::create(
      b, op.getLoc(), init->getType(), lookup(op.getIds()),
      lookup(op.getGradient()), *init);
  return success();
}

LogicalResult Fuser::write(lm::GatherGradOp op) {
  // Chunks of rows write into one gradient, which starts as zeros.
  Value init =
      extra(op.getType(),
            makeRole(context, "gradient_init", {{role::of, "activation"}}),
            "gradient_init");
  map[op.getResult()] = writeScatter(b, op.getLoc(), lookup(op.getGradient()),
                                     lookup(op.getRows()), init);
  return success();
}

LogicalResult Fuser::write(lm::RMSNormGradOp op) {
  Location loc = op.getLoc();
  int64_t heads = op.getHeads();
  Value x = lookup(op.getInput()), gradient = lookup(op.getGradient());
  Value xs = splitHeads(loc, x, heads), gs = splitHeads(loc, gradient, heads);
  Value residual;
  lm::AddOp add = absorbedAdd(op.getInputGradient(), residual);
  Value result = add ? add.getResult() : op.getInputGradient();
  // Products that read it take it from here, as they read it.
  bool rounds = heads == 1 && precision.isRounded(result);
  RMSNormGradient of = rmsNormGradient(
      b, loc, gs, xs, lookup(op.getWeight()),
      add ? splitHeads(loc, residual, heads) : Value(),
      op.getEpsilon().convertToDouble(), rounds ? products : Type());
  map[result] = mergeHeads(loc, of.input, x, heads);
  if (rounds)
    rounded[of.input] = of.rounded;
  auto init = accumulator(op.getWeightGradient());
  if (failed(init))
    return failure();
  map[op.getWeightGradient()] =
      writeColumnSum(b, loc, *init, {element(gs), element(xs), row(of.scale)},
                     [](Scalars &s, Arguments v) -> Values {
                       return {s.mul(v[0], s.mul(v[1], v[2]))};
                     });
  return success();
}

LogicalResult Fuser::write(lm::LinearInputGradOp op) {
  if (gateBehind(op))
    return success(); // written with it
  writeProduct(op.getLoc(), op.getResult(), operand(op.getGradient()),
               packed(op.getWeight(), "backward"), Value());
  return success();
}

LogicalResult Fuser::write(lm::LinearWeightGradOp op) {
  auto init = accumulator(op.getResult());
  if (failed(init))
    return failure();
  map[op.getResult()] = writeWeightGradient(
      b, op.getLoc(), operand(op.getGradient()), operand(op.getInput()), *init);
  return success();
}

LogicalResult Fuser::write(lm::LinearBiasGradOp op) {
  auto init = accumulator(op.getResult());
  if (failed(init))
    return failure();
  map[op.getResult()] =
      writeColumnSum(b, op.getLoc(), *init, {element(lookup(op.getGradient()))},
                     [](Scalars &, Arguments v) -> Values { return {v[0]}; });
  return success();
}

LogicalResult Fuser::write(lm::AttentionGradOp op) {
  Value query = operand(op.getQuery()), key = operand(op.getKey()),
        value = operand(op.getValue());
  auto gradient = [&](Value of) {
    return cast<RankedTensorType>(of.getType()).clone(precision.gradients);
  };
  auto grad = kern::AttentionBackwardOp::create(
      b, op.getLoc(), gradient(query), gradient(key), gradient(value), query,
      key, value, operand(op.getResult()), lookup(op.getLse()),
      operand(op.getGradient()), contextPart("offsets"), contextPart("bases"),
      contextPart("shared"), op.getHeadsAttr(), op.getKvHeadsAttr(),
      b.getF32FloatAttr(op.getScale().convertToDouble()));
  map[op.getQueryGradient()] = grad.getDq();
  map[op.getKeyGradient()] = grad.getDk();
  map[op.getValueGradient()] = grad.getDv();
  writeTurnsBack(op);
  return success();
}

//===----------------------------------------------------------------------===//
// A function
//===----------------------------------------------------------------------===//

LogicalResult Fuser::run() {
  // Plain arguments keep their order; parameters and the context become what
  // the kernels want of them, where they want it.
  for (BlockArgument argument : source.getArguments()) {
    StringRef role = roleOf(attributesOf(argument));
    if (role != "parameter" && role != "context" && !argument.use_empty())
      lookup(argument);
  }
  Block &body = source.getBody().front();
  findJoints();
  for (Operation &op : body.without_terminator()) {
    if (auto joint = jointProducts.find(&op); joint != jointProducts.end())
      writeProducts(joint->second);
    if (auto joint = jointTurns.find(&op); joint != jointTurns.end())
      writeTurn(joint->second);
    if (joined.contains(&op)) {
      JointGradient *joint = jointOf(&op);
      if (joint && failed(writeGradients(&op, *joint)))
        return failure();
      continue;
    }
    LogicalResult written =
        TypeSwitch<Operation *, LogicalResult>(&op)
            .Case<lm::EmbeddingOp, lm::GatherOp, lm::RMSNormOp, lm::LinearOp,
                  lm::RopeOp, lm::AttentionOp, lm::SiluMulOp, lm::AddOp,
                  lm::HeadOp, lm::LogProbOp, lm::KeepOp, lm::SampleOp,
                  lm::EmbeddingGradOp, lm::GatherGradOp, lm::RMSNormGradOp,
                  lm::LinearInputGradOp, lm::LinearWeightGradOp,
                  lm::LinearBiasGradOp, lm::AttentionGradOp, lm::SiluMulGradOp,
                  lm::HeadGradOp>([&](auto op) { return write(op); })
            .Default(
                [](Operation *op) { return op->emitOpError("has no kernel"); });
    if (failed(written))
      return failure();
    JointGradient *joint = jointOf(&op);
    if (joint && isa<lm::RMSNormGradOp>(op))
      writeBeside(*joint);
  }
  if (cached)
    prefetchBehindAttention();
  for (auto [i, value] : llvm::enumerate(body.getTerminator()->getOperands()))
    f.result(lookup(value), source.getResultAttrDict(i));
  for (auto [value, attributes] : caches)
    f.result(value, attributes);
  if (logits && !isa<BlockArgument>(logits))
    f.result(logits, makeRole(context, "saved", {{role::name, "logits"}}));
  explainTypes();
  f.finish();
  return success();
}

/// `@m.cache_rows`: where the rows of a call lie in the cache.
static void writeCacheRows(ModuleOp module, Location loc, StringRef model) {
  FunctionWriter f(module, loc, model, "cache_rows");
  OpBuilder &b = f.builder();
  MLIRContext *context = b.getContext();
  Type type = RankedTensorType::get({ShapedType::kDynamic}, b.getI32Type());
  auto named = [&](StringRef name) {
    return NameLoc::get(b.getStringAttr(name), loc);
  };
  Value positions =
      f.argument(type, makeRole(context, "positions"), named("positions"));
  Value bases = f.argument(type, makeRole(context, "bases"), named("bases"));
  auto op = writeMap(
      b, named("cache_rows"), type, {element(positions), element(bases)}, {},
      [](Scalars &s, Arguments v) -> Values { return {s.add(v[0], v[1])}; });
  f.result(op.getResult(0), makeRole(context, "cache_rows"));
  f.finish();
}

namespace {

struct LMToKernPass : public r1c::impl::LMToKernPassBase<LMToKernPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<func::FuncOp> sources;
    for (auto func : module.getOps<func::FuncOp>())
      if (func->hasAttr(role::model))
        sources.push_back(func);
    // Before any function is erased: they decide together.
    llvm::StringMap<Precision> precisions;
    auto modelOf = [](func::FuncOp source) {
      return source->getAttrOfType<FlatSymbolRefAttr>(role::model).getValue();
    };
    for (func::FuncOp source : sources)
      precisions.try_emplace(modelOf(source), module, modelOf(source));
    for (func::FuncOp source : sources) {
      const Precision &precision = precisions.at(modelOf(source));
      if (failed(Fuser(module, source, precision, Form::plain).run()))
        return signalPassFailure();
      bool hasHead = !source.getOps<lm::HeadOp>().empty() ||
                     !source.getOps<lm::HeadGradOp>().empty();
      if (hasHead &&
          failed(Fuser(module, source, precision, Form::stored).run()))
        return signalPassFailure();
      StringRef function =
          source->getAttrOfType<StringAttr>(role::function).getValue();
      if (function == "layer") {
        if (failed(Fuser(module, source, precision, Form::cached).run()))
          return signalPassFailure();
        writeCacheRows(module, source.getLoc(), modelOf(source));
      }
      source.erase();
    }
    writeAngles(module);
  }
};

} // namespace
