//===- Random.cpp - random numbers in regions -----------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;

/// Low and high words of an unsigned product with a constant.
static std::pair<Value, Value> multiply(Emit &e, Value v, uint32_t factor) {
  auto type = dyn_cast<VectorType>(v.getType());
  if (!type || type.getNumElements() % 2) {
    auto p = arith::MulUIExtendedOp::create(
        e.b, e.loc, v, e.splatInt(v.getType(), (int32_t)factor));
    return {p.getLow(), p.getHigh()};
  }
  // Even and odd lanes apart: that is what the multiplier takes, while
  // widening all lanes would cost more moves than the product.
  auto wide = VectorType::get(type.getNumElements() / 2, e.b.getI64Type());
  Value words = vector::BitCastOp::create(e.b, e.loc, wide, v);
  Value lower = e.splatInt(wide, 0xffffffff), by = e.splatInt(wide, 32);
  Value f = e.splatInt(wide, factor);
  auto low = [&](Value x) -> Value {
    return arith::AndIOp::create(e.b, e.loc, x, lower);
  };
  auto right = [&](Value x) -> Value {
    return arith::ShRUIOp::create(e.b, e.loc, x, by);
  };
  // By lanes: a shift of the odd products would go into their factors, and
  // 64 bits of those take three multiplications.
  auto join = [&](Value x, Value y, int64_t first) -> Value {
    SmallVector<int64_t> order;
    for (int64_t i = 0, lanes = type.getNumElements(); i < lanes; i += 2)
      order.append({i + first, lanes + i + first});
    return e.shuffle(vector::BitCastOp::create(e.b, e.loc, type, x),
                     vector::BitCastOp::create(e.b, e.loc, type, y), order);
  };
  Value even = e.mul(low(words), f), odd = e.mul(right(words), f);
  return {join(even, odd, 0), join(even, odd, 1)};
}

SmallVector<Value> r1c::kernels::emitPhilox(Emit &e, Value k0, Value k1,
                                            Value c0, Value c1, Value c2,
                                            Value c3) {
  // Constants of Salmon et al. (SC11), table 2.
  auto constant = [&](Value like, uint32_t value) {
    return e.splatInt(like.getType(), (int32_t)value);
  };
  auto xorI = [&](Value a, Value b) -> Value {
    return arith::XOrIOp::create(e.b, e.loc, a, b);
  };
  for (int round = 0; round < 10; ++round) {
    if (round) {
      k0 = e.add(k0, constant(k0, 0x9E3779B9u));
      k1 = e.add(k1, constant(k1, 0xBB67AE85u));
    }
    auto [low0, high0] = multiply(e, c0, 0xD2511F53u);
    auto [low1, high1] = multiply(e, c2, 0xCD9E8D57u);
    c0 = xorI(xorI(high1, c1), k0);
    c2 = xorI(xorI(high0, c3), k1);
    c1 = low1;
    c3 = low0;
  }
  return {c0, c1, c2, c3};
}

Value RegionEmitter::emitNoise(kern::NoiseOp op, ValueRange operands,
                               int64_t width) {
  auto integer = [&](Value like, int32_t value) {
    return e.splatInt(like.getType(), value);
  };
  auto shiftRight = [&](Value x, int32_t by) -> Value {
    return arith::ShRUIOp::create(e.b, e.loc, x, integer(x, by));
  };
  auto bits = [&](Value x, int32_t mask) -> Value {
    return arith::AndIOp::create(e.b, e.loc, x, integer(x, mask));
  };
  auto wordsAt = [&](Value counter) {
    return emitPhilox(e, operands[0], operands[1], counter, operands[2],
                      operands[3], integer(counter, 0));
  };
  Value column = columnIndex();
  auto sixteensOf = [&](Value column) -> Value {
    return arith::ShLIOp::create(e.b, e.loc, shiftRight(column, 6),
                                 integer(column, 4));
  };
  Value sixteens = sixteensOf(column);
  // One call for columns 16 apart: it has the row's key and counters.
  bool shares =
      blockPart >= 0 &&
      llvm::none_of(op->getOperands(), [&](Value v) { return varies(v); });
  if (shares && width == 1 && quarters) {
    SmallVector<Value> &words = blockWords[op];
    if (words.empty())
      words = wordsAt(e.add(sixteens, bits(column, 15)));
    return words[blockPart];
  }
  if (shares && width == 16) {
    SmallVector<Value> &words = blockWords[op];
    if (words.empty()) {
      assert(blockPart == 0 && "a block begins with its first part");
      words = wordsAt(
          e.add(e.broadcast(shiftRight(column, 2), width), e.iota(width)));
    }
    return words[blockPart];
  }
  if (width > 1) {
    column = e.add(e.broadcast(column, width), e.iota(width));
    sixteens = sixteensOf(column);
  }
  SmallVector<Value> words = wordsAt(e.add(sixteens, bits(column, 15)));
  Value part = bits(shiftRight(column, 4), 3), word = words[0];
  for (int32_t i = 1; i < 4; ++i)
    word = e.select(e.equal(part, integer(part, i)), words[i], word);
  return word;
}
