//===- Explain.cpp - what was fused with what, and why --------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/phases/fuse/LMToKern.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::fuse;

std::string fuse::nameOf(Operation *op) {
  auto named = op->getLoc()->findInstanceOf<NameLoc>();
  return named ? named.getName().str() : "";
}

/// "q_proj, k_proj, v_proj", each once.
template <typename Ops>
static std::string namesOf(const Ops &ops) {
  llvm::SmallSetVector<StringRef, 8> names;
  SmallVector<std::string> owned;
  for (Operation *op : ops)
    owned.push_back(nameOf(op));
  for (StringRef name : owned)
    if (!name.empty())
      names.insert(name);
  return names.empty() ? "unnamed" : llvm::join(names, ", ");
}

remark::RemarkOpts Fuser::remark(StringRef kind) {
  return remark::RemarkOpts::name(kind).category("fuse").function(name);
}

void Fuser::explainApart(Operation *at, StringRef what, StringRef why) {
  remark::missed(source.getLoc(), remark("Joint"))
      << remark::add("{0}: not one kernel", what.str())
      << remark::reason("{0}", why.str());
}

void Fuser::explain(const JointAttention &joint, StringRef apart) {
  if (joint.products.empty()) {
    remark::missed(source.getLoc(), remark("JointProduct"))
        << remark::add("queries, keys and values: three products")
        << remark::reason("{0}", apart.str());
  } else {
    int64_t columns = 0;
    for (lm::LinearOp each : joint.products)
      columns +=
          cast<RankedTensorType>(each.getWeight().getType()).getDimSize(0);
    remark::passed(source.getLoc(), remark("JointProduct"))
        << remark::add("{0}: one product of {1} columns, cut by {2}",
                       namesOf(joint.products), columns,
                       joint.direct ? "what turns queries and keys"
                                    : "a kernel of its own, since norms come "
                                      "before the turn")
        << remark::metric("Columns", columns);
  }
  StringRef caches =
      cached ? ", which stores keys and values in the cache" : "";
  if (joint.isOneKernel()) {
    remark::passed(source.getLoc(), remark("Turn"))
        << remark::add("queries and keys: turned by the kernel of their "
                       "product, where its sums arise{0}",
                       caches);
    return;
  }
  auto turn = remark::passed(source.getLoc(), remark("Turn"));
  turn << remark::add("queries and keys: turned by one kernel{0}", caches);
  if (joint.direct)
    turn << remark::reason("{0}", joint.turnApart);
}

void Fuser::explain(JointGradient joint) {
  bool isTurned = isa<lm::AttentionGradOp>(joint.after);
  remark::passed(source.getLoc(), remark("JointGradient"))
      << remark::add("gradients of {0}: side by side{1}; one product for the "
                     "input's, one for the weights'",
                     namesOf(joint.weights),
                     isTurned ? " where they are turned back"
                     : isa<lm::SiluMulGradOp>(joint.after)
                         ? " where they arise"
                         : " by a kernel of its own, behind norms");
}

void Fuser::explainProduct(Value result, lm::AddOp absorbed) {
  Operation *op = result.getDefiningOp();
  if (absorbed) {
    remark::passed(source.getLoc(), remark("Epilogue")) << remark::add(
        "{0}: the addition behind it is its epilogue", namesOf(ArrayRef{op}));
    return;
  }
  for (Operation *user : result.getUsers())
    if (auto add = dyn_cast<lm::AddOp>(user);
        add && !map.count(add.getResult()))
      remark::missed(source.getLoc(), remark("Epilogue"))
          << remark::add("{0}: the addition behind it is a kernel of its own",
                         namesOf(ArrayRef{op}))
          << remark::reason("{0}", result.hasOneUse()
                                       ? "the other operand is not there yet"
                                       : "others read it as well");
}

void Fuser::explainGated(lm::SiluMulOp op, bool isPaired) {
  if (isPaired) {
    Operation *linear[] = {op.getGate().getDefiningOp(),
                           op.getUp().getDefiningOp()};
    remark::passed(source.getLoc(), remark("Paired")) << remark::add(
        "{0}: one product, whose epilogue is the gate", namesOf(linear));
    return;
  }
  // Computed again in a backward function, it reads what was saved.
  if (op.getGate().getDefiningOp())
    remark::missed(source.getLoc(), remark("Paired"))
        << remark::add("{0}: a kernel of its own", namesOf(ArrayRef{op}))
        << remark::reason("gate and up are apart, for {0}",
                          whyUnpaired(op).str());
}

void Fuser::explainGateBehind(lm::LinearInputGradOp op) {
  Operation *product = op;
  remark::passed(source.getLoc(), remark("Epilogue")) << remark::add(
      "{0}: the derivative of the gate behind its input's gradient is its "
      "epilogue",
      namesOf(ArrayRef{product}));
}

void Fuser::explainHead(Operation *op, StringRef what) {
  remark::passed(source.getLoc(), remark("Logits"))
      << remark::add("logits: {0}", what.str());
}

void Fuser::explainTypes() {
  if (!products.isBF16())
    return;
  using Names = llvm::SmallSetVector<Operation *, 8>;
  // What is stored, so that what products keep to themselves is left out.
  Names narrow, doubled;
  llvm::MapVector<StringRef, Names> wide; // by what wants it so
  for (Operation &op : source.getBody().front().without_terminator())
    for (OpResult result : op.getResults()) {
      if (isa<lm::AttentionOp>(op) && result.getResultNumber())
        continue; // statistics, which are float32 always
      Value tensor = map.lookup(result);
      auto type = tensor ? dyn_cast<RankedTensorType>(tensor.getType())
                         : RankedTensorType();
      if (!type || type.getRank() != 2 || !type.isDynamicDim(0))
        continue;
      if (type.getElementType().isBF16())
        narrow.insert(&op);
      if (!type.getElementType().isF32())
        continue;
      auto reader = llvm::find_if(result.getUses(), [&](OpOperand &use) {
        return !precision.isNarrow(use);
      });
      if (reader == result.use_end())
        continue;
      Operation *owner = reader->getOwner();
      wide[isa<func::ReturnOp>(owner) ? "what follows"
                                      : owner->getName().stripDialect()]
          .insert(&op);
      if (rounded.contains(tensor))
        doubled.insert(&op);
    }
  if (!narrow.empty())
    remark::passed(source.getLoc(), remark("Narrow")) << remark::add(
        "in bfloat16, as all its readers take it: {0}", namesOf(narrow));
  std::string text;
  for (auto &[reader, ops] : wide)
    text += (text.empty() ? "" : "; ") + namesOf(ops) + " (for " +
            reader.str() + ")";
  if (!wide.empty())
    remark::missed(source.getLoc(), remark("Wide"))
        << remark::add("in float32: {0}", text);
  if (!doubled.empty())
    remark::passed(source.getLoc(), remark("Rounded")) << remark::add(
        "beside float32 also in bfloat16, for products: {0}", namesOf(doubled));
}
