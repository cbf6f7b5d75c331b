//===- ChunkPrograms.cpp - scoring and training a model, chunk by chunk ---===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/ragged/KernBuilder.h"
#include "compiler/phases/schedule/Capacities.h"
#include "compiler/phases/schedule/RoleSlots.h"
#include "compiler/phases/schedule/Scratch.h"
#include "compiler/phases/schedule/Support.h"
#include "dialects/kern/Kern.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::schedule;

Chunk &Models::chunkOf(Policy &policy) {
  auto &chunk = chunks[policy.model];
  if (chunk)
    return *chunk;
  chunk = std::make_unique<Chunk>();
  Location loc = policy.op.getLoc();
  std::string prefix = (policy.model.getSymName() + ".chunk.").str();
  const Capacities capacities(module);
  chunk->capacity = chunkRows(policy);
  chunk->rows = buffers.extent(loc, prefix + "row_count", chunk->capacity);
  chunk->units = buffers.extent(loc, prefix + "unit_count", chunk->capacity);
  chunk->targets =
      buffers.extent(loc, prefix + "target_count", chunk->capacity);
  auto bf16 = policy.model.getConfig().getAs<BoolAttr>("bf16");
  chunk->slice = {
      chunk->targets.size,
      std::min(headRows(capacities, policy.vocabulary, bf16 && bf16.getValue()),
               chunk->capacity)};
  remark::passed(loc, scheduleRemark("Chunk"))
      << remark::add("scoring and training take {0} rows at once, the head {1} "
                     "of them",
                     chunk->capacity, chunk->slice.capacity)
      << remark::reason("{0} for {1} tokens of vocabulary, of at most {2}",
                        bytesText(chunk->slice.capacity * policy.vocabulary *
                                  (bf16 && bf16.getValue() ? 6 : 8)),
                        policy.vocabulary, bytesText(capacities.headBytes))
      << remark::metric("Rows", chunk->capacity)
      << remark::metric("HeadRows", chunk->slice.capacity);
  auto table = [&](StringRef what, int64_t extra = 0) {
    return buffers.allocate(loc, prefix + what.str(), "tables",
                            (chunk->capacity + extra) * 4, "i32");
  };
  chunk->tokens = table("tokens");
  chunk->positions = table("positions");
  chunk->bases = table("bases");
  chunk->shared = table("shared");
  chunk->sharedBases = table("shared_bases");
  chunk->offsets = table("offsets", 1);
  chunk->targetRows = table("target_rows");
  chunk->targetTokens = table("targets");
  chunk->tokenIndex = table("token_index");
  chunk->logitRows = table("logit_rows");
  int64_t bytes = llvm::alignTo(chunk->capacity * policy.hidden * 4, 64);
  chunk->activations =
      buffers.allocate(loc, prefix + "activations", "activations",
                       bytes * (policy.layers + 1), "f32");
  return *chunk;
}

/// The most rows of a group of so many sequences of at most `chosen` tokens:
/// those before a prompt's last token are shared.
static int64_t unitRows(const Policy &policy, int64_t group, int64_t chosen) {
  chosen = std::min(chosen, policy.context - 1);
  return policy.context - chosen - 1 + group * chosen;
}

/// What the driver says; else at least the target's own, and as many whole
/// groups: a chunk that ends inside of one would run half empty.
int64_t Models::chunkRows(Policy &policy) {
  int64_t least = std::max(Capacities(module).chunkRows, policy.context);
  if (module->hasAttr(chunkRowsAttribute))
    return least;
  int64_t unit = 0;
  module.walk([&](rl::SampleOp op) {
    int64_t rows =
        unitRows(policy, op.getMaxGroupSize(), op.getMaxTokenCount());
    if (op.getMaxGroupSize() > 1 && rows <= least)
      unit = std::max(unit, rows);
  });
  return unit ? llvm::divideCeil(least, unit) * unit : least;
}

void Models::explainUnits(Location loc, StringRef name, const OutputSet &set) {
  int64_t group = set.maxSequences / set.maxGroups;
  if (group < 2)
    return;
  Policy &policy = this->policy(name);
  int64_t capacity = chunkRows(policy);
  int64_t chosen =
      std::min(set.maxTokens / set.maxSequences, policy.context - 1);
  int64_t rows = unitRows(policy, group, chosen);
  if (rows <= capacity)
    remark::passed(loc, scheduleRemark("Units"))
        << remark::add("a prompt's rows stand once for its group: a unit has "
                       "at most {0} rows, a chunk {1}",
                       rows, capacity);
  else
    remark::missed(loc, scheduleRemark("Units"))
        << remark::add("a prompt's rows stand again in each chunk that its "
                       "group needs")
        << remark::reason("{0} sequences of {1} tokens are up to {2} rows, a "
                          "chunk has {3}",
                          group, chosen, rows, capacity);
}

/// The references of the seeds that there are.
static ArrayAttr referencesOf(OpBuilder &builder, const Seeds &seeds) {
  SmallVector<Attribute> all;
  for (const Slot &slot : {seeds.logp, seeds.entropy})
    if (slot.ref)
      all.push_back(slot.ref);
  return all.empty() ? ArrayAttr() : builder.getArrayAttr(all);
}

rt::ChunksOp Models::makeChunks(OpBuilder &builder, Location loc,
                                Policy &policy, Axes &axes, bool filtered,
                                const Seeds &seeds, bool dropIdle) {
  Chunk &chunk = chunkOf(policy);
  if (filtered && !chunk.kept)
    chunk.kept =
        buffers.allocate(loc, (policy.model.getSymName() + ".chunk.kept").str(),
                         "tables", chunk.capacity * policy.vocabulary, "i1");
  NamedAttrList to;
  for (auto [name, ref] :
       std::initializer_list<std::pair<StringRef, rt::RefAttr>>{
           {"tokens", chunk.tokens},
           {"positions", chunk.positions},
           {"bases", chunk.bases},
           {"shared", chunk.shared},
           {"shared_bases", chunk.sharedBases},
           {"offsets", chunk.offsets},
           {"targets_rows", chunk.targetRows},
           {"targets", chunk.targetTokens},
           {"token_index", chunk.tokenIndex},
           {"row_count", chunk.rows.size},
           {"unit_count", chunk.units.size},
           {"target_count", chunk.targets.size}})
    to.set(name, ref.getBuffer());
  if (filtered)
    to.set("kept", chunk.kept.getBuffer());
  auto op = rt::ChunksOp::create(
      builder, loc, axes.set(), axes.isView(), policy.op.getSymName(),
      chunk.capacity,
      filtered ? builder.getI64IntegerAttr(policy.vocabulary) : IntegerAttr(),
      referencesOf(builder, seeds), dropIdle,
      to.getDictionary(builder.getContext()));
  op.getBody().emplaceBlock();
  return op;
}

/// An rt.learn inside `chunks`; returns its body. `places`, if there is one,
/// gets where the targets stood that it leaves.
static OpBuilder makeLearn(OpBuilder &builder, rt::ChunksOp chunks,
                           const Seeds &seeds, rt::RefAttr places = {},
                           bool whole = false) {
  auto op = rt::LearnOp::create(
      builder, chunks.getLoc(), chunks.getSetAttr(), chunks.getViewAttr(),
      chunks.getVocabularyAttr(), referencesOf(builder, seeds),
      whole ? builder.getUnitAttr() : UnitAttr(), places, chunks.getToAttr());
  return OpBuilder::atBlockEnd(&op.getBody().emplaceBlock());
}

/// An rt.slices inside `chunks`; returns its body.
static OpBuilder makeSlices(OpBuilder &builder, rt::ChunksOp chunks,
                            int64_t rows) {
  auto op = rt::SlicesOp::create(
      builder, chunks.getLoc(), chunks.getSetAttr(), chunks.getViewAttr(),
      builder.getI64IntegerAttr(rows), chunks.getVocabularyAttr(),
      chunks.getToAttr());
  return OpBuilder::atBlockEnd(&op.getBody().emplaceBlock());
}

/// Embedding and layers on the chunk; with `train` what the backward reads is
/// kept.
LogicalResult Models::body(OpBuilder &builder, Location loc, Policy &policy,
                           bool train) {
  Chunk &chunk = chunkOf(policy);
  int64_t bytes = llvm::alignTo(chunk.capacity * policy.hidden * 4, 64);
  Slot first{part(chunk.activations, bytes, 0), chunk.rows};
  Slot in{perLayer(chunk.activations, bytes), chunk.rows};
  Slot out{perLayer(chunk.activations, bytes, 1), chunk.rows};
  if (failed(call(
          builder, policy, "embed",
          [&](DictionaryAttr role, Type) {
            return pick({{"tokens", {chunk.tokens, chunk.rows}}}, role);
          },
          [&](DictionaryAttr, Type) { return first; })))
    return failure();
  // Where the backward computes everything again, nothing is saved.
  StringRef layer =
      train && function(policy, "layer.train") ? "layer.train" : "layer";
  auto angles =
      this->angles(builder, policy, layer, {chunk.positions, chunk.rows});
  if (failed(angles))
    return failure();
  auto loop = rt::LoopOp::create(builder, loc, 0, policy.layers, 1);
  OpBuilder inside = OpBuilder::atBlockEnd(&loop.getBody().emplaceBlock());
  auto results = [&](DictionaryAttr role, Type type) -> Slot {
    if (roleOf(role) == "activation")
      return out;
    if (roleOf(role) != "saved")
      return {};
    StringRef name = role.getAs<StringAttr>(role::name).getValue();
    Slot &slot = chunk.saved[name];
    if (!slot.ref) {
      auto tensor = cast<RankedTensorType>(type);
      int64_t elements = 1;
      for (int64_t size : tensor.getShape())
        elements *= ShapedType::isDynamic(size) ? chunk.capacity : size;
      int64_t each =
          llvm::alignTo(elements * bytesOf(tensor.getElementType()), 64);
      rt::RefAttr all = buffers.allocate(
          loc, (policy.model.getSymName() + ".saved." + name).str(),
          "activations", each * policy.layers,
          dtypeOf(tensor.getElementType()));
      slot = {perLayer(all, each), chunk.rows};
    }
    return slot;
  };
  return call(
      inside, policy, layer,
      [&](DictionaryAttr role, Type) {
        return pick({{"activation", in},
                     {"positions", {chunk.positions, chunk.rows}},
                     {"angles", *angles},
                     {"bases", {chunk.bases, chunk.rows}},
                     {"shared", {chunk.shared, chunk.rows}},
                     {"shared_bases", {chunk.sharedBases, chunk.rows}},
                     {"offsets", {chunk.offsets, chunk.units}}},
                    role);
      },
      results);
}

/// to[token_index[i]] = from[i] for `targets` of the chunk, all or a slice.
static void scatter(OpBuilder &builder, Kernels &kernels, Location loc,
                    const Chunk &chunk, Extent targets, Slot from,
                    rt::RefAttr to, Extent tokens) {
  Scratch scratch(builder, kernels);
  OpBuilder &b = scratch.builder();
  auto type = RankedTensorType::get({ShapedType::kDynamic}, b.getF32Type());
  Value values = scratch.argument(type, from);
  Value index = scratch.argument(
      RankedTensorType::get({ShapedType::kDynamic}, b.getI32Type()),
      {chunk.tokenIndex, targets});
  Value init = scratch.argument(type, {to, tokens});
  auto access = [&](kern::AccessKind kind, int64_t n) {
    return b.getArrayAttr(kern::AccessAttr::get(b.getContext(), kind, n, -1));
  };
  auto map = kern::MapOp::create(b, loc, TypeRange(type), values, index, init,
                                 access(kern::AccessKind::element, -1),
                                 access(kern::AccessKind::scatter, 0));
  OpBuilder::InsertionGuard guard(b);
  Block *body = b.createBlock(&map.getBody(), {}, {b.getF32Type()}, {loc});
  kern::YieldOp::create(b, loc, ValueRange(body->getArgument(0)));
  scratch.dispatch(map.getResult(0), "");
}

/// from[token_index[i]] as float32, for the targets of a slice.
static Slot gather(OpBuilder &builder, Kernels &kernels, Location loc,
                   const Chunk &chunk, Slot from, Type element) {
  Scratch scratch(builder, kernels);
  OpBuilder &b = scratch.builder();
  auto type = RankedTensorType::get({ShapedType::kDynamic}, element);
  Value values = scratch.argument(type, from);
  Value index = scratch.argument(
      RankedTensorType::get({ShapedType::kDynamic}, b.getI32Type()),
      {chunk.tokenIndex, chunk.slice});
  auto single = RankedTensorType::get({ShapedType::kDynamic}, b.getF32Type());
  Value gathered = ragged::map(
      b, loc, single, ragged::gathered(values), index,
      [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
        if (element.isF32())
          return x[0];
        return arith::TruncFOp::create(b, loc, b.getF32Type(), x[0]);
      });
  return scratch.dispatch(gathered, "activations");
}

/// An rt.gather behind `chunks` of the results that something outside reads.
static rt::GatherOp gatherResults(OpBuilder &builder, Location loc,
                                  ArrayRef<rt::RefAttr> results) {
  SmallVector<Attribute> values;
  for (rt::RefAttr result : results)
    if (result)
      values.push_back(result);
  auto op = rt::GatherOp::create(builder, loc, builder.getArrayAttr(values));
  op.getBody().emplaceBlock();
  return op;
}

LogicalResult Models::forward(OpBuilder &builder, Location loc, StringRef name,
                              Axes &axes, Distribution of, TokenResults results,
                              bool keep) {
  Policy &policy = this->policy(name);
  remark::analysis(loc, scheduleRemark("Pass")) << remark::add(
      "a forward pass of @{0} over the {1}: log-probabilities{2}", name.str(),
      axes.isView() ? "minibatch" : "set",
      results.entropy ? " and entropies" : "");
  auto chunks = makeChunks(builder, loc, policy, axes, of.isFiltered);
  OpBuilder inside = OpBuilder::atBlockEnd(&chunks.getBody().front());
  if (failed(body(inside, loc, policy, keep)) ||
      failed(headForward(inside, loc, policy, axes, of, results,
                         chunkOf(policy).targets, nullptr)))
    return failure();
  gatherResults(builder, loc, {results.logp, results.entropy, results.lse});
  return success();
}

LogicalResult Models::headForward(OpBuilder &builder, Location loc,
                                  Policy &policy, Axes &axes, Distribution of,
                                  TokenResults results, Extent targets,
                                  Slot *logits) {
  Chunk &chunk = chunkOf(policy);
  int64_t bytes = llvm::alignTo(chunk.capacity * policy.hidden * 4, 64);
  Slot last{part(chunk.activations, bytes, policy.layers), chunk.rows};
  llvm::StringMap<Slot> head;
  if (failed(call(
          builder, policy,
          std::string(of.isFiltered ? "head.filtered" : "head") +
              (logits ? ".stored" : ""),
          [&](DictionaryAttr role, Type) {
            return pick({{"activation", last},
                         {"rows", {chunk.targetRows, targets}},
                         {"targets", {chunk.targetTokens, targets}},
                         {"temperature", {of.temperature, {}}},
                         {"kept", {chunk.kept, targets}}},
                        role);
          },
          none, {}, &head)))
    return failure();
  if (logits)
    *logits = head["logits"];
  for (auto [what, to] : {std::pair(StringRef("logp"), results.logp),
                          std::pair(StringRef("entropy"), results.entropy),
                          std::pair(StringRef("lse"), results.lse)})
    if (to)
      scatter(builder, kernels, loc, chunk, targets, head[what], to,
              axes.tokens());
  return success();
}

LogicalResult Models::backward(OpBuilder &builder, Location loc, StringRef name,
                               Axes &axes, Distribution of,
                               TokenResults results, Seeds seeds) {
  Policy &policy = this->policy(name);
  rt::ZeroOp::create(builder, loc, policy.gradients, policy.total * 4);
  auto chunks = makeChunks(builder, loc, policy, axes, of.isFiltered, seeds,
                           /*dropIdle=*/true);
  OpBuilder inside = OpBuilder::atBlockEnd(&chunks.getBody().front());
  auto rebuild = rt::RebuildOp::create(inside, loc);
  OpBuilder again = OpBuilder::atBlockEnd(&rebuild.getBody().emplaceBlock());
  if (failed(body(again, loc, policy, true)))
    return failure();
  OpBuilder learn = makeLearn(inside, chunks, seeds);
  zeroLastGradient(learn, loc, policy);
  remark::passed(loc, scheduleRemark("Idle"))
      << remark::add("tokens of seed 0 are left out of the head's backward, "
                     "chunks without others have none");
  // The head goes over the targets in slices: that bounds how many logits'
  // gradients there are at once.
  OpBuilder slice = makeSlices(learn, chunks, chunkOf(policy).slice.capacity);
  if (failed(headBackward(slice, loc, policy, axes, of, results, seeds, {})))
    return failure();
  return layersBackward(learn, loc, policy);
}

LogicalResult
Models::sweep(OpBuilder &builder, Location loc, StringRef name, Axes &axes,
              Distribution of, TokenResults results, const Seeds &expected,
              function_ref<FailureOr<Seeds>(OpBuilder &)> writeSeeds) {
  Policy &policy = this->policy(name);
  Chunk &chunk = chunkOf(policy);
  remark::passed(loc, scheduleRemark("Sweeps"))
      << remark::add("one sweep over the chunks, forward and backward: a "
                     "token's seed needs no other token");
  rt::ZeroOp::create(builder, loc, policy.gradients, policy.total * 4);
  auto chunks = makeChunks(builder, loc, policy, axes, of.isFiltered, expected);
  OpBuilder inside = OpBuilder::atBlockEnd(&chunks.getBody().front());
  if (failed(body(inside, loc, policy, /*train=*/true)))
    return failure();
  zeroLastGradient(inside, loc, policy);
  remark::passed(loc, scheduleRemark("Idle"))
      << remark::add("tokens of seed 0 are left out of the head's backward, "
                     "chunks without others have none{0}",
                     expected.logp.ref || expected.entropy.ref
                         ? "; sequences without others are packed apart, by "
                           "the seeds at recorded log-probabilities"
                         : "");
  // Forward and backward of the head slice by slice: the logits of one are kept
  // in between, and three products do where there are four elsewhere.
  OpBuilder slice = makeSlices(inside, chunks, chunk.slice.capacity);
  Slot logits;
  if (failed(headForward(slice, loc, policy, axes, of, results, chunk.slice,
                         &logits)))
    return failure();
  Operation *before = &slice.getInsertionBlock()->back();
  FailureOr<Seeds> seeds = writeSeeds(slice);
  if (failed(seeds))
    return failure();
  // What they read of the other ranks' tokens comes later.
  rt::GatherOp gather =
      gatherResults(builder, loc, {results.logp, results.entropy});
  OpBuilder again = OpBuilder::atBlockBegin(&gather.getBody().front());
  for (Operation *op = before->getNextNode(); op; op = op->getNextNode())
    again.clone(*op);
  // What is learnt from is known behind the logits, some of whose rows are
  // read then.
  OpBuilder learn = makeLearn(slice, chunks, *seeds, chunk.logitRows);
  if (failed(
          headBackward(learn, loc, policy, axes, of, results, *seeds, logits)))
    return failure();
  OpBuilder layers = makeLearn(inside, chunks, *seeds, {}, /*whole=*/true);
  return layersBackward(layers, loc, policy);
}

/// Whether a layer's backward has read the gradient of its output before it
/// writes that of its input, so that one buffer serves both, and all layers.
static bool readsBeforeItWrites(func::FuncOp backward) {
  Operation *ret = backward.getBody().front().getTerminator(), *writer = {};
  for (auto [i, value] : llvm::enumerate(ret->getOperands()))
    if (roleOf(backward.getResultAttrDict(i)) == "gradient")
      writer = value.getDefiningOp();
  return writer && llvm::all_of(backward.getArguments(), [&](Value argument) {
           auto role = backward.getArgAttrDict(
               cast<BlockArgument>(argument).getArgNumber());
           return roleOf(role) != "gradient" ||
                  llvm::all_of(argument.getUsers(), [&](Operation *user) {
                    return isa<kern::KernDialect>(user->getDialect()) &&
                           user->isBeforeInBlock(writer);
                  });
         });
}

/// Gradients of the inputs of the layers, and behind them that of the head's.
void Models::makeGradients(Location loc, Policy &policy) {
  Chunk &chunk = chunkOf(policy);
  if (chunk.gradients)
    return;
  int64_t bytes = llvm::alignTo(chunk.capacity * policy.hidden * 4, 64);
  func::FuncOp backward = function(policy, "layer.backward");
  chunk.gradientBytes = backward && readsBeforeItWrites(backward) ? 0 : bytes;
  chunk.gradients = buffers.allocate(
      loc, (policy.model.getSymName() + ".chunk.gradients").str(),
      "activations", bytes + chunk.gradientBytes * policy.layers, "f32");
}

void Models::zeroLastGradient(OpBuilder &builder, Location loc,
                              Policy &policy) {
  // Rows that predict nothing get no gradient from the head.
  Chunk &chunk = chunkOf(policy);
  int64_t bytes = llvm::alignTo(chunk.capacity * policy.hidden * 4, 64);
  makeGradients(loc, policy);
  rt::ZeroOp::create(builder, loc,
                     part(chunk.gradients, chunk.gradientBytes, policy.layers),
                     bytes);
}

LogicalResult Models::headBackward(OpBuilder &slice, Location loc,
                                   Policy &policy, Axes &axes, Distribution of,
                                   TokenResults results, Seeds seeds,
                                   Slot logits) {
  Chunk &chunk = chunkOf(policy);
  Type f64 = slice.getF64Type(), f32 = slice.getF32Type();
  int64_t bytes = llvm::alignTo(chunk.capacity * policy.hidden * 4, 64);
  Slot last{part(chunk.activations, bytes, policy.layers), chunk.rows};
  makeGradients(loc, policy);
  Slot lastGradient{part(chunk.gradients, chunk.gradientBytes, policy.layers),
                    chunk.rows};
  bool hasEntropy = bool(seeds.entropy.ref);
  Slot g = seeds.logp.ref ? gather(slice, kernels, loc, chunk, seeds.logp, f64)
                          : Slot();
  Slot h = hasEntropy ? gather(slice, kernels, loc, chunk, seeds.entropy, f64)
                      : Slot();
  Slot lse =
      gather(slice, kernels, loc, chunk, {results.lse, axes.tokens()}, f32);
  Slot entropy = hasEntropy ? gather(slice, kernels, loc, chunk,
                                     {results.entropy, axes.tokens()}, f32)
                            : Slot();
  if (!g.ref) {
    // A loss of the entropy alone: the other seed is 0 everywhere.
    int64_t bytes = chunk.slice.capacity * 4;
    g = {buffers.allocate(loc, "zero_seeds", "activations", bytes, "f32"),
         chunk.slice};
    rt::ZeroOp::create(slice, loc, g.ref, bytes);
  }
  remark::analysis(loc, scheduleRemark("Head"))
      << remark::add("the head's backward {0}; logits are {1}",
                     hasEntropy ? "goes through the entropy too"
                                : "leaves the entropy out, which the loss does "
                                  "not read",
                     logits.ref ? "kept from the forward: three products"
                                : "multiplied again: four products");
  std::string function = of.isFiltered ? "head.filtered" : "head";
  function += hasEntropy ? ".backward" : ".backward.logp";
  if (logits.ref)
    function += ".stored";
  return call(
      slice, policy, function,
      [&](DictionaryAttr role, Type) {
        return pick({{"activation", last},
                     {"rows", {chunk.targetRows, chunk.slice}},
                     {"targets", {chunk.targetTokens, chunk.slice}},
                     {"temperature", {of.temperature, {}}},
                     {"kept", {chunk.kept, chunk.slice}},
                     {"saved:lse", lse},
                     {"saved:entropy", entropy},
                     {"saved:logits", logits},
                     {"logit_rows", {chunk.logitRows, chunk.slice}},
                     {"lse", lse},
                     {"entropy", entropy},
                     {"gradient:logp", g},
                     {"gradient:entropy", h},
                     {"gradient_init", lastGradient}},
                    role);
      },
      none);
}

LogicalResult Models::layersBackward(OpBuilder &inside, Location loc,
                                     Policy &policy) {
  Chunk &chunk = chunkOf(policy);
  int64_t bytes = llvm::alignTo(chunk.capacity * policy.hidden * 4, 64);
  makeGradients(loc, policy);
  rt::RefAttr gradients = chunk.gradients;
  // What is computed again may be turned again.
  auto angles = this->angles(inside, policy, "layer.backward",
                             {chunk.positions, chunk.rows});
  if (failed(angles))
    return failure();
  auto loop = rt::LoopOp::create(inside, loc, policy.layers - 1, -1, -1);
  OpBuilder layer = OpBuilder::atBlockEnd(&loop.getBody().emplaceBlock());
  Slot in{perLayer(chunk.activations, bytes), chunk.rows};
  Slot gradientOut{perLayer(gradients, chunk.gradientBytes, 1), chunk.rows};
  Slot gradientIn{perLayer(gradients, chunk.gradientBytes), chunk.rows};
  if (failed(call(
          layer, policy, "layer.backward",
          [&](DictionaryAttr role, Type) -> Slot {
            if (roleOf(role) == "saved")
              return chunk.saved[role.getAs<StringAttr>(role::name).getValue()];
            return pick({{"activation", in},
                         {"gradient", gradientOut},
                         {"positions", {chunk.positions, chunk.rows}},
                         {"angles", *angles},
                         {"bases", {chunk.bases, chunk.rows}},
                         {"shared", {chunk.shared, chunk.rows}},
                         {"shared_bases", {chunk.sharedBases, chunk.rows}},
                         {"offsets", {chunk.offsets, chunk.units}}},
                        role);
          },
          [&](DictionaryAttr role, Type) {
            return pick({{"gradient", gradientIn}}, role);
          },
          chunk.units)))
    return failure();
  // In the last chunk the layer's gradient is final.
  SmallVector<Attribute> final;
  SmallVector<int64_t> counts;
  for (const Policy::LayerPart &each : policy.layerParts) {
    final.push_back(rt::RefAttr::get(inside.getContext(),
                                     policy.gradients.getBuffer(), each.offset,
                                     each.stride));
    counts.push_back(each.count);
  }
  remark::passed(loc, scheduleRemark("Buckets"))
      << remark::add("gradients of several ranks: a bucket of {0} for each of "
                     "{1} layers, begun behind its backward",
                     bytesText(4 * llvm::sum_of(counts)), policy.layers);
  rt::ReduceStartOp::create(layer, loc, layer.getArrayAttr(final), counts);
  Slot firstGradient{gradients, chunk.rows};
  if (failed(call(
          inside, policy, "embed.backward",
          [&](DictionaryAttr role, Type) {
            return pick({{"tokens", {chunk.tokens, chunk.rows}},
                         {"gradient", firstGradient}},
                        role);
          },
          none)))
    return failure();
  return success();
}
