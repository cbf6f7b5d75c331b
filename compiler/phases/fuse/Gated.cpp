//===- Gated.cpp - gated units, with the products around them -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// silu(gate) * up is the epilogue of the product that gives both, and its
// derivative that of the product that gives the gradient, where no one else
// reads what lies between.
//===----------------------------------------------------------------------===//

#include "compiler/phases/fuse/Formulas.h"
#include "compiler/phases/fuse/LMToKern.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::fuse;

using Values = SmallVector<Value>;
using Arguments = ArrayRef<Value>;

LogicalResult Fuser::write(lm::SiluMulOp op) {
  if (derivativeOf(op))
    return success(); // written with it
  auto gate = op.getGate().getDefiningOp<lm::LinearOp>();
  bool isPaired = gate && pairOf(gate) == op;
  explainGated(op, isPaired);
  if (!isPaired) {
    map[op.getResult()] =
        writeMap(b, op.getLoc(), stored(op.getResult()),
                 {element(lookup(op.getGate())), element(lookup(op.getUp()))},
                 {},
                 [](Scalars &s, Arguments v) -> Values {
                   return {siluMul(s, v[0], v[1])};
                 })
            .getResult(0);
    return success();
  }
  auto up = op.getUp().getDefiningOp<lm::LinearOp>();
  // Saved gates and ups are further stores of the same kernel.
  SmallVector<Value> kept;
  for (lm::LinearOp linear : {gate, up})
    if (!linear.getResult().hasOneUse())
      kept.push_back(linear.getResult());
  SmallVector<Type> types{stored(op.getResult())};
  for (Value value : kept)
    types.push_back(stored(value));
  auto product = writeMatmul(
      b, op.getLoc(), types, operand(gate.getInput()),
      packed({gate.getWeight(), up.getWeight()}, "paired"), /*paired=*/true, {},
      [&](Scalars &s, Arguments v) -> Values {
        Values yielded{siluMul(s, v[0], v[1])};
        for (Value value : kept)
          yielded.push_back(value == gate.getResult() ? v[0] : v[1]);
        return yielded;
      });
  map[op.getResult()] = product.getResult(0);
  for (auto [i, value] : llvm::enumerate(kept))
    map[value] = product.getResult(i + 1);
  return success();
}

lm::SiluMulGradOp Fuser::gateBehind(lm::LinearInputGradOp op) {
  if (!op.getResult().hasOneUse())
    return {};
  auto grad = dyn_cast<lm::SiluMulGradOp>(*op.getResult().user_begin());
  return grad && grad.getGradient() == op.getResult() ? grad
                                                      : lm::SiluMulGradOp();
}

LogicalResult Fuser::write(lm::SiluMulGradOp op) {
  SmallVector<Type> types{stored(op.getGateGradient()),
                          stored(op.getUpGradient())};
  JointGradient *joint = jointOf(op);
  if (joint)
    types.assign(1, besideType(*joint));
  lm::SiluMulOp gated = gatedWith(op);
  if (gated)
    types.push_back(stored(gated.getResult()));
  auto kind = joint ? kern::AccessKind::beside : kern::AccessKind::element;
  SmallVector<Operand> operands{element(lookup(op.getGate())),
                                element(lookup(op.getUp()))};
  auto body = [&](Scalars &s, Arguments v) {
    Values yielded = siluMulGradient(s, v[0], v[1], v[2]);
    if (gated)
      yielded.push_back(siluMul(s, v[1], v[2]));
    return yielded;
  };
  SmallVector<Value> results;
  auto product = op.getGradient().getDefiningOp<lm::LinearInputGradOp>();
  if (product && gateBehind(product) == op) {
    explainGateBehind(product);
    llvm::append_range(results,
                       writeMatmul(b, product.getLoc(), types,
                                   operand(product.getGradient()),
                                   packed(product.getWeight(), "backward"),
                                   /*paired=*/false, operands, body, kind)
                           .getResults());
  } else {
    operands.insert(operands.begin(), element(lookup(op.getGradient())));
    llvm::append_range(
        results,
        writeMap(b, op.getLoc(), types, operands, {}, body, kind).getResults());
  }
  if (gated)
    map[gated.getResult()] = results.back();
  if (joint) {
    joint->beside = results[0];
  } else {
    map[op.getGateGradient()] = results[0];
    map[op.getUpGradient()] = results[1];
  }
  return success();
}
