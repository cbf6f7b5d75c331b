//===- Joint.cpp - products of one input, taken together ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/fuse/Joint.h"
#include "compiler/phases/fuse/Formulas.h"
#include "compiler/phases/fuse/LMToKern.h"
#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::fuse;

//===----------------------------------------------------------------------===//
// What belongs together
//===----------------------------------------------------------------------===//

/// Parameters begin at multiples of 64 bytes, so that only whole numbers of
/// them can lie side by side.
static bool fillsLines(Value parameter) {
  return cast<RankedTensorType>(parameter.getType()).getNumElements() * 4 %
             64 ==
         0;
}

static bool readAfter(Value value, Operation *root) {
  return llvm::all_of(value.getUsers(), [&](Operation *user) {
    return user == root || root->isBeforeInBlock(user);
  });
}

std::optional<JointAttention> fuse::findJointAttention(Operation *root,
                                                       Value query, Value key,
                                                       Value value,
                                                       StringRef &apart) {
  JointAttention joint{query.getDefiningOp<lm::RopeOp>(),
                       key.getDefiningOp<lm::RopeOp>(), value, root};
  apart = "queries and keys are not turned in the same way";
  if (!joint.query || !joint.key || joint.query == joint.key ||
      joint.query.getInverse() || joint.key.getInverse() ||
      joint.query.getFrequencies() != joint.key.getFrequencies())
    return std::nullopt;
  apart = "turned queries or keys are read before the attention";
  if (!readAfter(query, root) || !readAfter(key, root))
    return std::nullopt;
  auto linearOf = [](lm::RopeOp rope) -> lm::LinearOp {
    Value x = rope.getInput();
    if (auto norm = x.getDefiningOp<lm::RMSNormOp>())
      x = norm.getInput();
    return x.getDefiningOp<lm::LinearOp>();
  };
  lm::LinearOp all[] = {linearOf(joint.query), linearOf(joint.key),
                        value.getDefiningOp<lm::LinearOp>()};
  for (auto [i, each] : llvm::enumerate(all)) {
    apart = "they are not three products of one input";
    if (!each || each.getInput() != all[0].getInput() ||
        llvm::is_contained(ArrayRef(all, i), each))
      return joint;
    apart = "some have a bias, others have none";
    if (!each.getBias() != !all[0].getBias())
      return joint;
    apart = "their biases are no multiples of 64 bytes";
    if (each.getBias() && !fillsLines(each.getBias()))
      return joint;
  }
  apart = {};
  joint.products.assign(std::begin(all), std::end(all));
  auto isDirect = [](lm::RopeOp rope, lm::LinearOp linear) {
    return rope.getInput() == linear.getResult() &&
           linear.getResult().hasOneUse();
  };
  joint.direct = isDirect(joint.query, all[0]) && isDirect(joint.key, all[1]);
  return joint;
}

lm::RopeOp fuse::turnedBack(Value gradient) {
  if (!gradient.hasOneUse())
    return {};
  auto rope = dyn_cast<lm::RopeOp>(*gradient.user_begin());
  return rope && rope.getInverse() ? rope : lm::RopeOp();
}

std::optional<JointGradient>
fuse::findJointGradient(ArrayRef<Value> gradients,
                        SmallPtrSetImpl<Operation *> &joined,
                        StringRef &apart) {
  JointGradient joint;
  apart = "something else reads one of the gradients";
  joint.gradients.assign(gradients.begin(), gradients.end());
  for (Value gradient : gradients) {
    for (Operation *user : gradient.getUsers()) {
      if (auto op = dyn_cast<lm::LinearInputGradOp>(user))
        joint.inputs.push_back(op);
      else if (auto op = dyn_cast<lm::LinearWeightGradOp>(user))
        joint.weights.push_back(op);
      else if (auto op = dyn_cast<lm::LinearBiasGradOp>(user))
        joint.biases.push_back(op);
      else
        return std::nullopt;
    }
    Operation *def = gradient.getDefiningOp();
    if (!joint.after || joint.after->isBeforeInBlock(def))
      joint.after = def;
  }
  size_t count = gradients.size();
  apart = "they are not products of one input";
  if (joint.inputs.size() != count || joint.weights.size() != count ||
      (!joint.biases.empty() && joint.biases.size() != count))
    return std::nullopt;
  for (auto [i, gradient] : llvm::enumerate(gradients)) {
    // One of each, whatever the order of the uses.
    if (joint.inputs[i].getGradient() != gradient ||
        joint.weights[i].getGradient() != gradient ||
        (!joint.biases.empty() && joint.biases[i].getGradient() != gradient) ||
        joint.weights[i].getInput() != joint.weights[0].getInput())
      return std::nullopt;
    if (!fillsLines(joint.weights[i].getResult()) ||
        (!joint.biases.empty() && !fillsLines(joint.biases[i].getResult()))) {
      apart = "their parameters are no multiples of 64 bytes";
      return std::nullopt;
    }
  }
  // The inputs' gradients are read by additions alone, down to one sum.
  apart = "their inputs' gradients are not read as one sum";
  SmallVector<Operation *> additions;
  SmallPtrSet<Value, 4> open;
  for (lm::LinearInputGradOp op : joint.inputs)
    open.insert(op.getResult());
  while (open.size() > 1) {
    lm::AddOp next;
    for (Value value : open)
      if (value.hasOneUse())
        if (auto add = dyn_cast<lm::AddOp>(*value.user_begin()))
          if (open.contains(add.getLhs()) && open.contains(add.getRhs()) &&
              add.getLhs() != add.getRhs())
            next = add;
    if (!next || !next.getLhs().hasOneUse() || !next.getRhs().hasOneUse())
      return std::nullopt;
    open.erase(next.getLhs());
    open.erase(next.getRhs());
    open.insert(next.getResult());
    additions.push_back(next);
  }
  joint.sum = *open.begin();
  joined.insert(additions.begin(), additions.end());
  joined.insert(joint.inputs.begin(), joint.inputs.end());
  joined.insert(joint.weights.begin(), joint.weights.end());
  joined.insert(joint.biases.begin(), joint.biases.end());
  return joint;
}

void Fuser::findJoints() {
  for (Operation &op : source.getBody().front()) {
    if (auto attention = dyn_cast<lm::AttentionOp>(op))
      addJoint(&op, attention.getQuery(), attention.getKey(),
               attention.getValue());
    if (auto grad = dyn_cast<lm::AttentionGradOp>(op)) {
      addJoint(&op, grad.getQuery(), grad.getKey(), grad.getValue());
      addJoint(grad);
    }
    if (auto grad = dyn_cast<lm::SiluMulGradOp>(op)) {
      StringRef apart;
      if (auto joint = findJointGradient(
              {grad.getGateGradient(), grad.getUpGradient()}, joined, apart))
        addJoint(*joint);
      else
        explainApart(&op, "gradients of gate and up", apart);
    }
  }
}

void Fuser::addJoint(const JointGradient &joint) {
  explain(joint);
  jointAt[joint.after] = jointGradients.size();
  jointGradients.push_back(joint);
  for (Operation *end : jointGradients.back().ends())
    jointAt[end] = jointGradients.size() - 1;
}

JointGradient *Fuser::jointOf(Operation *op) {
  auto at = jointAt.find(op);
  return at == jointAt.end() ? nullptr : &jointGradients[at->second];
}

Type Fuser::elementOf(lm::LinearOp op) {
  return stored(op.getResult()).getElementType();
}

void Fuser::addJoint(Operation *root, Value query, Value key, Value value) {
  StringRef apart;
  auto joint = findJointAttention(root, query, key, value, apart);
  if (!joint) {
    if (isa<lm::AttentionOp>(root))
      explainApart(root, "what turns queries and keys", apart);
    return;
  }
  if (joined.contains(joint->query) || joined.contains(joint->key))
    return;
  // What goes into a cache is read from it.
  if (cached && (!key.hasOneUse() || !value.hasOneUse()))
    return explainApart(root, "what turns queries and keys",
                        "others than the cache read keys or values");
  joined.insert(joint->query);
  joined.insert(joint->key);
  Operation *first = nullptr;
  for (lm::LinearOp each : joint->products) {
    // What turns the product itself reads all of it in the same digits, as it
    // would read each alone; what cuts it gives each part its own.
    if (joint->direct && elementOf(each) != elementOf(joint->products[0])) {
      joint->products.clear();
      joint->direct = false;
      first = nullptr;
      apart = "they are stored in different types, and what turns queries and "
              "keys reads all in one";
      break;
    }
    if (!first || each->isBeforeInBlock(first))
      first = each;
  }
  joined.insert(joint->products.begin(), joint->products.end());
  if (joint->direct)
    joint->turnApart = whyTurnedApart(*joint);
  if (first)
    jointProducts[first] = *joint;
  if (!joint->direct)
    jointTurns[root] = *joint;
  explain(*joint, apart);
}

void Fuser::addJoint(lm::AttentionGradOp grad) {
  lm::RopeOp query = turnedBack(grad.getQueryGradient()),
             key = turnedBack(grad.getKeyGradient());
  if (!query || !key || query.getFrequencies() != key.getFrequencies())
    return;
  // Norms before the turn are, here, behind it.
  auto beyond = [](lm::RopeOp rope) -> Value {
    Value gradient = rope.getResult();
    if (gradient.hasOneUse())
      if (auto norm = dyn_cast<lm::RMSNormGradOp>(*gradient.user_begin()))
        if (norm.getGradient() == gradient)
          return norm.getInputGradient();
    return gradient;
  };
  joined.insert(query);
  joined.insert(key);
  StringRef apart;
  auto joint = findJointGradient(
      {beyond(query), beyond(key), grad.getValueGradient()}, joined, apart);
  if (!joint)
    return explainApart(grad, "gradients of queries, keys and values", apart);
  // Written together with the turn, where nothing is between.
  if (beyond(query) == query.getResult() && beyond(key) == key.getResult())
    joint->after = grad;
  addJoint(*joint);
}

//===----------------------------------------------------------------------===//
// Forward
//===----------------------------------------------------------------------===//

/// "q_proj+k_proj+v_proj": the names of all, at the first one's place.
template <typename Ops>
static Location jointLoc(const Ops &ops) {
  std::string name;
  for (Operation *op : ops)
    if (std::string own = nameOf(op); !own.empty())
      name += (name.empty() ? "" : "+") + own;
  Operation *first = *ops.begin();
  return NameLoc::get(StringAttr::get(first->getContext(), name),
                      first->getLoc());
}

static DenseF32ArrayAttr frequenciesOf(lm::RopeOp op) {
  SmallVector<float> frequencies(op.getFrequencies());
  return DenseF32ArrayAttr::get(op.getContext(), frequencies);
}

kern::RopeOp Fuser::writeRope(Location loc, TypeRange types, ValueRange inputs,
                              Value to, ValueRange inits, int64_t heads,
                              lm::RopeOp like) {
  return kern::RopeOp::create(b, loc, types, inputs, contextPart("positions"),
                              to, inits, b.getI64IntegerAttr(heads),
                              frequenciesOf(like), like.getInverseAttr());
}

/// Tensors of one parameter each as one, below each other; their roles say
/// which, and the schedule lays those parameters side by side.
Value Fuser::sideBySide(Location loc, ValueRange parts) {
  return tensor::ConcatOp::create(b, loc, /*dim=*/0, parts);
}

void Fuser::writeProducts(const JointAttention &joint) {
  SmallVector<Value> weights, biases;
  int64_t columns = 0;
  for (lm::LinearOp each : joint.products) {
    weights.push_back(each.getWeight());
    columns += cast<RankedTensorType>(each.getWeight().getType()).getDimSize(0);
    if (each.getBias())
      biases.push_back(lookup(each.getBias()));
  }
  lm::LinearOp first = joint.products[0];
  Location loc = jointLoc(joint.products);
  SmallVector<Operand> operands;
  if (!biases.empty())
    operands.push_back(column(sideBySide(loc, biases)));
  auto body = [&](Scalars &s, ArrayRef<Value> v) -> SmallVector<Value> {
    return {operands.empty() ? v[0] : s.add(v[0], v[1])};
  };
  Type element = elementOf(first);
  for (lm::LinearOp each : joint.products)
    if (elementOf(each) != element)
      element = b.getF32Type(); // rounded where it is cut
  // Sums that are turned at once are rounded by a region before.
  bool plain = operands.empty() && (!joint.isOneKernel() || element.isF32());
  auto type = RankedTensorType::get({ShapedType::kDynamic, columns}, element);
  Value product = writeMatmul(b, loc, type, operand(first.getInput()),
                              packed(weights, "forward"), /*paired=*/false,
                              operands, plain ? Body() : Body(body))
                      .getResult(0);
  if (joint.direct)
    return writeTurn(joint, product, /*withValues=*/true);
  // Norms come before the turn: apart, with nothing turned.
  SmallVector<Type> types;
  for (lm::LinearOp each : joint.products)
    types.push_back(stored(each.getResult()));
  auto apart = writeRope(loc, types, product, {}, {}, 0, joint.query);
  for (auto [i, part] : llvm::enumerate(apart.getResults())) {
    lm::LinearOp each = joint.products[i];
    map[each.getResult()] = part;
  }
}

Value Fuser::anglesOf(lm::RopeOp op) {
  DenseF32ArrayAttr frequencies = frequenciesOf(op);
  auto type = RankedTensorType::get(
      {ShapedType::kDynamic, 2 * frequencies.size()}, b.getF32Type());
  NamedAttrList attributes(makeRole(context, "angles"));
  attributes.set(role::frequencies, frequencies);
  return extra(type, attributes.getDictionary(context), "angles");
}

SmallVector<Type> Fuser::turnedTypes(const JointAttention &joint) {
  lm::RopeOp query = joint.query, key = joint.key;
  SmallVector<Type> types{stored(query.getResult()), stored(key.getResult()),
                          stored(joint.value)};
  if (cached)
    for (Type &type : MutableArrayRef(types).drop_front())
      type = cast<RankedTensorType>(type).clone(products);
  return types;
}

StringRef Fuser::whyTurnedApart(const JointAttention &joint) {
  SmallVector<Type> types = turnedTypes(joint);
  if (!llvm::all_equal(llvm::map_range(
          types, [](Type type) { return getElementTypeOrSelf(type); })))
    return "queries, keys and values are stored in different types";
  int64_t columns = 0;
  for (Type type : types)
    columns += cast<RankedTensorType>(type).getDimSize(1);
  lm::LinearOp first = joint.products[0];
  lm::RopeOp query = joint.query;
  return kernels::whyNotTurned(
      isForCuda(),
      kern::PackedType::get(
          context,
          cast<RankedTensorType>(first.getWeight().getType()).getDimSize(1),
          columns, products),
      2 * query.getFrequencies().size());
}

void Fuser::writeTurn(const JointAttention &joint, ValueRange inputs,
                      bool withValues) {
  lm::RopeOp query = joint.query, key = joint.key;
  Location loc = jointLoc(ArrayRef{query, key});
  SmallVector<Type> types = turnedTypes(joint);
  if (!withValues)
    types.pop_back();
  SmallVector<Value> inits;
  if (cached)
    for (auto [type, name] : {std::pair{types[1], "cache_keys"},
                              std::pair{types[2], "cache_values"}})
      inits.push_back(extra(type, makeRole(context, name), name));
  auto rope = writeRope(loc, types, inputs,
                        cached ? contextPart("cache_rows") : Value(), inits,
                        query.getHeads() + key.getHeads(), query);
  ResultRange turned = rope.getResults();
  if (joint.isOneKernel())
    turned = writeTurned(b, rope, anglesOf(query)).getResults();
  map[query.getResult()] = turned[0];
  map[key.getResult()] = turned[1];
  if (withValues)
    map[joint.value] = turned[2];
  if (cached) {
    caches.push_back({turned[1], makeRole(context, "cache_keys")});
    caches.push_back({turned[2], makeRole(context, "cache_values")});
  }
}

void Fuser::writeTurn(const JointAttention &joint) {
  lm::RopeOp query = joint.query, key = joint.key;
  SmallVector<Value> inputs{lookup(query.getInput()), lookup(key.getInput())};
  if (cached)
    inputs.push_back(lookup(joint.value));
  writeTurn(joint, inputs, /*withValues=*/cached);
}

void fuse::writeAngles(ModuleOp module) {
  MLIRContext *context = module.getContext();
  llvm::StringSet<> models;
  for (auto function : llvm::to_vector(module.getOps<func::FuncOp>()))
    for (BlockArgument taken : function.getArguments()) {
      DictionaryAttr attributes = function.getArgAttrDict(taken.getArgNumber());
      if (roleOf(attributes) != "angles")
        continue;
      StringRef model =
          function->getAttrOfType<FlatSymbolRefAttr>(role::model).getValue();
      if (!models.insert(model).second)
        continue;
      Location loc =
          NameLoc::get(StringAttr::get(context, "angles"), function.getLoc());
      FunctionWriter f(module, loc, model, "angles");
      OpBuilder &b = f.builder();
      Value positions = f.argument(
          RankedTensorType::get({ShapedType::kDynamic}, b.getI32Type()),
          makeRole(context, "positions"), loc);
      auto angles = kern::AnglesOp::create(
          b, loc, taken.getType(), positions,
          attributes.getAs<DenseF32ArrayAttr>(role::frequencies));
      f.result(angles.getResult(), attributes);
      f.finish();
    }
}

//===----------------------------------------------------------------------===//
// Backward
//===----------------------------------------------------------------------===//

RankedTensorType Fuser::besideType(const JointGradient &joint) {
  int64_t columns = 0;
  bool narrow = true;
  for (Value gradient : joint.gradients) {
    columns += cast<RankedTensorType>(gradient.getType()).getDimSize(1);
    narrow &= stored(gradient).getElementType() == products;
  }
  return RankedTensorType::get({ShapedType::kDynamic, columns},
                               narrow ? products : b.getF32Type());
}

void Fuser::writeTurnsBack(lm::AttentionGradOp op) {
  lm::RopeOp query = turnedBack(op.getQueryGradient());
  if (!query || !joined.contains(query))
    return;
  lm::RopeOp key = turnedBack(op.getKeyGradient());
  Location loc = jointLoc(ArrayRef{query, key});
  SmallVector<Value> inputs{lookup(op.getQueryGradient()),
                            lookup(op.getKeyGradient())};
  int64_t heads = query.getHeads() + key.getHeads();
  if (JointGradient *joint = jointOf(op)) {
    inputs.push_back(lookup(op.getValueGradient()));
    joint->beside =
        writeRope(loc, besideType(*joint), inputs, {}, {}, heads, query)
            .getResult(0);
    return;
  }
  auto turned =
      writeRope(loc, {stored(query.getResult()), stored(key.getResult())},
                inputs, {}, {}, heads, query);
  map[query.getResult()] = turned.getResult(0);
  map[key.getResult()] = turned.getResult(1);
}

void Fuser::writeBeside(JointGradient &joint) {
  SmallVector<Value> inputs;
  for (Value gradient : joint.gradients)
    inputs.push_back(lookup(gradient));
  auto norm = cast<lm::RMSNormGradOp>(joint.after);
  auto rope = norm.getGradient().getDefiningOp<lm::RopeOp>();
  joint.beside = writeRope(jointLoc(joint.inputs), besideType(joint), inputs,
                           {}, {}, 0, rope)
                     .getResult(0);
}

/// The argument that the ops' gradients are added to, one below the other.
template <typename Ops>
FailureOr<Value> Fuser::accumulators(Location loc, const Ops &ops) {
  SmallVector<Value> inits;
  for (auto op : ops) {
    auto init = accumulator(op.getResult());
    if (failed(init))
      return failure();
    inits.push_back(*init);
  }
  return sideBySide(loc, inits);
}

/// Gives each op its rows of what was written for all.
template <typename Ops>
void Fuser::takeApart(Value joint, const Ops &ops) {
  int64_t first = 0;
  for (auto op : ops) {
    auto type = cast<RankedTensorType>(op.getResult().getType());
    SmallVector<OpFoldResult> offsets(type.getRank(), b.getIndexAttr(0)),
        strides(type.getRank(), b.getIndexAttr(1)), sizes;
    for (int64_t size : type.getShape())
      sizes.push_back(b.getIndexAttr(size));
    offsets[0] = b.getIndexAttr(first);
    map[op.getResult()] = tensor::ExtractSliceOp::create(
        b, op.getLoc(), type, joint, offsets, sizes, strides);
    first += type.getDimSize(0);
  }
}

LogicalResult Fuser::writeGradients(Operation *end,
                                    const JointGradient &joint) {
  Location loc = jointLoc(joint.inputs);
  if (isa<lm::LinearInputGradOp>(end)) {
    SmallVector<Value> weights;
    for (lm::LinearInputGradOp each : joint.inputs)
      weights.push_back(each.getWeight());
    writeProduct(loc, joint.sum, asOperand(joint.beside, loc),
                 packed(weights, "backward"), Value());
    return success();
  }
  if (isa<lm::LinearWeightGradOp>(end)) {
    auto init = accumulators(loc, joint.weights);
    if (failed(init))
      return failure();
    lm::LinearWeightGradOp first = joint.weights[0];
    takeApart(writeWeightGradient(b, loc, asOperand(joint.beside, loc),
                                  operand(first.getInput()), *init),
              joint.weights);
    return success();
  }
  // Of biases: summed as they are stored (Precision).
  auto init = accumulators(loc, joint.biases);
  if (failed(init))
    return failure();
  takeApart(
      writeColumnSum(b, loc, *init, {element(joint.beside)},
                     [](Scalars &, ArrayRef<Value> v) -> SmallVector<Value> {
                       return {v[0]};
                     }),
      joint.biases);
  return success();
}
