//===- RolloutPrograms.cpp - sampling a model -----------------------------===//
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
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::schedule;

/// Each row's token: its own, or where that is below 0 what the draw
/// `previous[row]` of the call before left. The host need not have seen it.
static Slot rowIds(OpBuilder &builder, Kernels &kernels, Location loc,
                   Slot tokens, Slot previous, Slot drawn) {
  Scratch scratch(builder, kernels);
  OpBuilder &b = scratch.builder();
  auto type = RankedTensorType::get({ShapedType::kDynamic}, b.getI32Type());
  ragged::Operand operands[] = {
      ragged::element(scratch.argument(type, tokens)),
      ragged::gathered(scratch.argument(type, drawn))};
  Value index = scratch.argument(type, previous);
  // Every row gathers, so `previous` lies inside the table for all of them.
  Value ids = ragged::map(
      b, NameLoc::get(b.getStringAttr("row_ids"), loc), type, operands, index,
      [](OpBuilder &b, Location loc, ValueRange x) -> Value {
        Value zero = arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(0));
        Value isDrawn = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt,
                                              x[0], zero);
        return arith::SelectOp::create(b, loc, isDrawn, x[1], x[0]);
      });
  return scratch.dispatch(ids, "activations");
}

/// `<policy>.rollout`: one call runs any mixture of prompt and decode rows and
/// draws a token for some of them; `<policy>.rollout.filtered`: from those that
/// top_k, top_p and min_p keep. Both work on the same buffers.
LogicalResult Models::rollout(Policy &policy) {
  Builder builder(policy.op.getContext());
  Location loc = policy.op.getLoc();
  std::string prefix = (policy.op.getSymName() + ".rollout.").str();
  const Capacities capacities(module);
  const int64_t slots = std::min(capacities.slots, policy.sequences);
  const int64_t capacity = policy.context;
  const int64_t rowCapacity =
      std::max(slots + policy.context, capacities.rolloutRows);
  Extent rows = buffers.extent(loc, prefix + "row_count", rowCapacity);
  Extent samples = buffers.extent(loc, prefix + "sample_count", slots);
  auto table = [&](StringRef what, int64_t elements, StringRef dtype = "i32") {
    return buffers.allocate(loc, prefix + what.str(), "tables", elements * 4,
                            dtype);
  };
  rt::RefAttr tokens = table("tokens", rowCapacity);
  rt::RefAttr positions = table("positions", rowCapacity);
  rt::RefAttr bases = table("bases", rowCapacity);
  rt::RefAttr sampleRows = table("sample_rows", slots);
  rt::RefAttr noise = table("noise", slots * 4);
  rt::RefAttr previous = table("previous", rowCapacity);
  rt::RefAttr key = table("key", 2);
  rt::RefAttr temperature = table("temperature", 1, "f32");
  rt::RefAttr topK = table("top_k", 1, "f32"), topP = table("top_p", 1, "f32"),
              minP = table("min_p", 1, "f32");
  rt::RefAttr token = table("token", slots);
  rt::RefAttr logp = table("logp", slots, "f32");
  rt::RefAttr kept;
  if (policy.isFiltered)
    kept = buffers.allocate(loc, prefix + "kept", "tables",
                            slots * policy.vocabulary, "i1");

  int64_t activationBytes = llvm::alignTo(rowCapacity * policy.hidden * 4, 64);
  rt::RefAttr activations =
      buffers.allocate(loc, prefix + "activations", "activations",
                       activationBytes * (policy.layers + 1), "f32");
  SmallVector<Attribute> caches;
  llvm::StringMap<rt::RefAttr> cacheBuffers;
  auto cache = [&](StringRef role, Type type) {
    rt::RefAttr &ref = cacheBuffers[role];
    auto rowType = cast<RankedTensorType>(type);
    int64_t rowBytes =
        rowType.getShape().back() * bytesOf(rowType.getElementType());
    int64_t layerBytes = slots * capacity * rowBytes;
    if (!ref) {
      ref = buffers.allocate(loc, prefix + role.str(), prefix + "memory",
                             layerBytes * policy.layers,
                             dtypeOf(rowType.getElementType()));
      caches.push_back(builder.getDictionaryAttr(
          {builder.getNamedAttr("buffer", ref.getBuffer()),
           builder.getNamedAttr("layers",
                                builder.getI64IntegerAttr(policy.layers)),
           builder.getNamedAttr("layer_stride",
                                builder.getI64IntegerAttr(layerBytes)),
           builder.getNamedAttr("row_bytes",
                                builder.getI64IntegerAttr(rowBytes))}));
    }
    return perLayer(ref, layerBytes);
  };

  Slot first{part(activations, activationBytes, 0), rows};
  Slot last{part(activations, activationBytes, policy.layers), rows};
  Slot in{perLayer(activations, activationBytes), rows};
  Slot out{perLayer(activations, activationBytes, 1), rows};
  auto write = [&](OpBuilder builder, StringRef head) -> LogicalResult {
    llvm::StringMap<Slot> cacheRows;
    Slot ids = rowIds(builder, kernels, loc, {tokens, rows}, {previous, rows},
                      {token, samples});
    if (failed(call(
            builder, policy, "embed",
            [&](DictionaryAttr role, Type) {
              return pick({{"tokens", ids}}, role);
            },
            [&](DictionaryAttr, Type) { return first; })) ||
        failed(call(
            builder, policy, "cache_rows",
            [&](DictionaryAttr role, Type) {
              return pick(
                  {{"positions", {positions, rows}}, {"bases", {bases, rows}}},
                  role);
            },
            none, {}, &cacheRows)))
      return failure();
    auto angles =
        this->angles(builder, policy, "layer.cached", {positions, rows});
    if (failed(angles))
      return failure();
    auto loop = rt::LoopOp::create(builder, loc, 0, policy.layers, 1);
    OpBuilder inside = OpBuilder::atBlockEnd(&loop.getBody().emplaceBlock());
    if (failed(call(
            inside, policy, "layer.cached",
            [&](DictionaryAttr role, Type type) -> Slot {
              if (roleOf(role) == "cache_keys" ||
                  roleOf(role) == "cache_values")
                return {cache(roleOf(role), type), {}};
              return pick({{"activation", in},
                           {"positions", {positions, rows}},
                           {"angles", *angles},
                           {"bases", {bases, rows}},
                           {"cache_rows", cacheRows["cache_rows"]}},
                          role);
            },
            [&](DictionaryAttr role, Type) {
              return pick({{"activation", out}}, role);
            })) ||
        failed(call(
            builder, policy, head,
            [&](DictionaryAttr role, Type) {
              return pick({{"activation", last},
                           {"rows", {sampleRows, samples}},
                           {"temperature", {temperature, {}}},
                           {"top_k", {topK, {}}},
                           {"top_p", {topP, {}}},
                           {"min_p", {minP, {}}},
                           {"counter", {noise, samples}},
                           {"key", {key, {}}}},
                          role);
            },
            [&](DictionaryAttr role, Type) {
              return pick({{"token", {token, samples}},
                           {"logp", {logp, samples}},
                           {"kept", {kept, samples}}},
                          role);
            })))
      return failure();
    return success();
  };
  // The filter passes over the logits some sixty times: samples without one do
  // not pay for those with one.
  if ((policy.isPlain && failed(write(program(policy, "rollout"), "sample"))) ||
      (policy.isFiltered &&
       failed(write(program(policy, "rollout.filtered"), "sample.filtered"))))
    return failure();

  int64_t cacheBytes = 0;
  for (Attribute each : caches)
    cacheBytes +=
        cast<DictionaryAttr>(each).getAs<IntegerAttr>("row_bytes").getInt() *
        slots * capacity * policy.layers;
  remark::passed(loc, scheduleRemark("Rollout"))
      << remark::add("sampling: {0} sequences at once (of at most {1}), {2} "
                     "rows a step; their cache takes {3}",
                     slots, policy.sequences, rowCapacity,
                     bytesText(cacheBytes))
      << remark::metric("Slots", slots) << remark::metric("Rows", rowCapacity)
      << remark::metric("CacheBytes", cacheBytes);

  NamedAttrList fields;
  fields.set("slots", builder.getI64IntegerAttr(slots));
  fields.set("capacity", builder.getI64IntegerAttr(capacity));
  fields.set("rows", builder.getI64IntegerAttr(rowCapacity));
  for (auto [name, ref] :
       std::initializer_list<std::pair<StringRef, rt::RefAttr>>{
           {"tokens", tokens},
           {"previous", previous},
           {"positions", positions},
           {"bases", bases},
           {"sample_rows", sampleRows},
           {"noise", noise},
           {"key", key},
           {"temperature", temperature},
           {"top_k", topK},
           {"top_p", topP},
           {"min_p", minP},
           {"row_count", rows.size},
           {"sample_count", samples.size},
           {"token", token},
           {"logp", logp}})
    fields.set(name, ref.getBuffer());
  if (kept) {
    fields.set("kept", kept.getBuffer());
    fields.set("vocabulary", builder.getI64IntegerAttr(policy.vocabulary));
  }
  fields.set("cache", builder.getArrayAttr(caches));
  policy.info.set("rollout", fields.getDictionary(builder.getContext()));
  return success();
}
