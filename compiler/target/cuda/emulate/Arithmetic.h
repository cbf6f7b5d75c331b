//===- Arithmetic.h - what instructions compute -----------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// IEEE operations, one rounding each, to nearest even, subnormals kept. A NaN
// that an f32 operation makes is PTX's canonical one, 0x7fffffff.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TARGET_CUDA_EMULATE_ARITHMETIC_H
#define R1C_COMPILER_TARGET_CUDA_EMULATE_ARITHMETIC_H

#include "compiler/target/cuda/emulate/Code.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/ADT/bit.h"

#include <cmath>
#include <limits>

namespace r1c::cuda::emulate {

inline float asF32(uint64_t bits) {
  return llvm::bit_cast<float>(uint32_t(bits));
}
inline double asF64(uint64_t bits) { return llvm::bit_cast<double>(bits); }
inline uint64_t bitsOfF32(float v) {
  return v == v ? llvm::bit_cast<uint32_t>(v) : 0x7fffffffu;
}
inline uint64_t bitsOfF64(double v) { return llvm::bit_cast<uint64_t>(v); }
inline float bf16ToF32(uint64_t bits) { return asF32(bits << 16); }
/// To nearest even; a NaN becomes 0x7fff.
inline uint64_t f32ToBf16(float v) {
  uint32_t bits = llvm::bit_cast<uint32_t>(v);
  if (v != v)
    return 0x7fff;
  return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) & 0xffff;
}

inline int64_t signExtend(uint64_t v, unsigned bits) {
  return bits >= 64 ? int64_t(v) : int64_t(v << (64 - bits)) >> (64 - bits);
}

/// Two integers of `width` bits; division by zero gives false.
inline bool integer(Opcode op, uint64_t a, uint64_t b, unsigned width,
                    uint64_t mask, uint64_t &result) {
  switch (op) {
  case Opcode::Add:
    result = (a + b) & mask;
    return true;
  case Opcode::Sub:
    result = (a - b) & mask;
    return true;
  case Opcode::Mul:
    result = (a * b) & mask;
    return true;
  case Opcode::UDiv:
    if (!b)
      return false;
    result = a / b;
    return true;
  case Opcode::URem:
    if (!b)
      return false;
    result = a % b;
    return true;
  case Opcode::SDiv:
  case Opcode::SRem: {
    int64_t x = signExtend(a, width), y = signExtend(b, width);
    if (!y)
      return false;
    if (y == -1) // the smallest number has no opposite
      result = op == Opcode::SDiv ? (0 - a) & mask : 0;
    else
      result = uint64_t(op == Opcode::SDiv ? x / y : x % y) & mask;
    return true;
  }
  case Opcode::And:
    result = a & b;
    return true;
  case Opcode::Or:
    result = a | b;
    return true;
  case Opcode::Xor:
    result = a ^ b;
    return true;
  case Opcode::Shl: // PTX shifts out all bits when the amount is too large
    result = b >= width ? 0 : (a << b) & mask;
    return true;
  case Opcode::LShr:
    result = b >= width ? 0 : a >> b;
    return true;
  case Opcode::AShr:
    result = uint64_t(signExtend(a, width) >>
                      (b >= width ? width - 1 : unsigned(b))) &
             mask;
    return true;
  case Opcode::SMax:
    result = signExtend(a, width) > signExtend(b, width) ? a : b;
    return true;
  case Opcode::SMin:
    result = signExtend(a, width) < signExtend(b, width) ? a : b;
    return true;
  case Opcode::UMax:
    result = std::max(a, b);
    return true;
  case Opcode::UMin:
    result = std::min(a, b);
    return true;
  default:
    return false;
  }
}

inline bool compareIntegers(unsigned predicate, uint64_t a, uint64_t b,
                            unsigned width) {
  int64_t x = signExtend(a, width), y = signExtend(b, width);
  switch (mlir::LLVM::ICmpPredicate(predicate)) {
  case mlir::LLVM::ICmpPredicate::eq:
    return a == b;
  case mlir::LLVM::ICmpPredicate::ne:
    return a != b;
  case mlir::LLVM::ICmpPredicate::slt:
    return x < y;
  case mlir::LLVM::ICmpPredicate::sle:
    return x <= y;
  case mlir::LLVM::ICmpPredicate::sgt:
    return x > y;
  case mlir::LLVM::ICmpPredicate::sge:
    return x >= y;
  case mlir::LLVM::ICmpPredicate::ult:
    return a < b;
  case mlir::LLVM::ICmpPredicate::ule:
    return a <= b;
  case mlir::LLVM::ICmpPredicate::ugt:
    return a > b;
  case mlir::LLVM::ICmpPredicate::uge:
    return a >= b;
  }
  return false;
}

template <typename T>
bool compareFloats(unsigned predicate, T a, T b) {
  bool unordered = a != a || b != b;
  switch (mlir::LLVM::FCmpPredicate(predicate)) {
  case mlir::LLVM::FCmpPredicate::_false:
    return false;
  case mlir::LLVM::FCmpPredicate::_true:
    return true;
  case mlir::LLVM::FCmpPredicate::oeq:
    return a == b;
  case mlir::LLVM::FCmpPredicate::ogt:
    return a > b;
  case mlir::LLVM::FCmpPredicate::oge:
    return a >= b;
  case mlir::LLVM::FCmpPredicate::olt:
    return a < b;
  case mlir::LLVM::FCmpPredicate::ole:
    return a <= b;
  case mlir::LLVM::FCmpPredicate::one:
    return !unordered && a != b;
  case mlir::LLVM::FCmpPredicate::ord:
    return !unordered;
  case mlir::LLVM::FCmpPredicate::ueq:
    return unordered || a == b;
  case mlir::LLVM::FCmpPredicate::ugt:
    return unordered || a > b;
  case mlir::LLVM::FCmpPredicate::uge:
    return unordered || a >= b;
  case mlir::LLVM::FCmpPredicate::ult:
    return unordered || a < b;
  case mlir::LLVM::FCmpPredicate::ule:
    return unordered || a <= b;
  case mlir::LLVM::FCmpPredicate::une:
    return unordered || a != b;
  case mlir::LLVM::FCmpPredicate::uno:
    return unordered;
  }
  return false;
}

/// The larger: `nan`: NaN if one is; otherwise the other one then. -0 < +0.
template <typename T>
T larger(T a, T b, bool nan) {
  if (a != a)
    return nan ? a : b;
  if (b != b)
    return nan ? b : a;
  if (a == b)
    return std::signbit(a) ? b : a;
  return a > b ? a : b;
}
template <typename T>
T smaller(T a, T b, bool nan) {
  if (a != a)
    return nan ? a : b;
  if (b != b)
    return nan ? b : a;
  if (a == b)
    return std::signbit(a) ? a : b;
  return a < b ? a : b;
}

template <typename T>
T floating(Opcode op, T a, T b, T c) {
  switch (op) {
  case Opcode::FAdd:
    return a + b;
  case Opcode::FSub:
    return a - b;
  case Opcode::FMul:
    return a * b;
  case Opcode::FDiv:
    return a / b;
  case Opcode::FRem:
    return std::fmod(a, b);
  case Opcode::Fma:
    return std::fma(a, b, c);
  case Opcode::Sqrt:
    return std::sqrt(a);
  case Opcode::Maximum:
    return larger(a, b, true);
  case Opcode::Minimum:
    return smaller(a, b, true);
  case Opcode::MaxNum:
    return larger(a, b, false);
  case Opcode::MinNum:
    return smaller(a, b, false);
  case Opcode::Floor:
    return std::floor(a);
  case Opcode::Ceil:
    return std::ceil(a);
  case Opcode::FTrunc:
    return std::trunc(a);
  case Opcode::Rint:
    return std::nearbyint(a);
  case Opcode::Round:
    return std::round(a);
  default:
    return std::numeric_limits<T>::quiet_NaN();
  }
}

/// cvt.rzi: towards zero, to the nearest number that there is; NaN becomes 0.
template <typename T>
uint64_t toSigned(T v, unsigned width) {
  if (v != v)
    return 0;
  double limit = std::ldexp(1.0, width - 1);
  int64_t least = width >= 64 ? std::numeric_limits<int64_t>::min()
                              : -(int64_t(1) << (width - 1));
  if (double(v) >= limit)
    return uint64_t(-(least + 1));
  if (double(v) <= -limit)
    return uint64_t(least);
  return uint64_t(int64_t(v));
}
template <typename T>
uint64_t toUnsigned(T v, unsigned width, uint64_t mask) {
  if (!(v > 0))
    return 0;
  if (double(v) >= std::ldexp(1.0, width))
    return mask;
  return uint64_t(v);
}

/// ex2, lg2, rcp, rsqrt of the special function unit, which is allowed two
/// units in the last place: here rounded correctly, but for rcp, which is off
/// by up to one, as its users have to expect.
inline uint64_t approximate(unsigned which, uint64_t bits) {
  double x = asF32(bits);
  switch (which) {
  case 0:
    return bitsOfF32(float(std::exp2(x)));
  case 1:
    return bitsOfF32(float(std::log2(x)));
  case 2: {
    uint64_t near = bitsOfF32(float(1 / x));
    bool ordinary = std::isnormal(asF32(near));
    return ordinary ? near + (bits * 2654435761u >> 16) % 3 - 1 : near;
  }
  default:
    return bitsOfF32(float(1 / std::sqrt(x)));
  }
}

/// All instructions without memory, control and other threads; false: this one
/// divides by zero.
inline bool compute(const Instruction &in, const Function &function,
                    uint64_t *r) {
  uint64_t *dst = r + in.dst;
  const uint64_t *a = r + in.a, *b = r + in.b, *c = r + in.c;
  const uint64_t mask = in.imm;
  const unsigned width = in.width;
  const uint32_t lanes = in.lanes;
  switch (in.op) {
  case Opcode::Add:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = (a[i] + b[i]) & mask;
    return true;
  case Opcode::Mul:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = (a[i] * b[i]) & mask;
    return true;
  case Opcode::Sub:
  case Opcode::UDiv:
  case Opcode::SDiv:
  case Opcode::URem:
  case Opcode::SRem:
  case Opcode::And:
  case Opcode::Or:
  case Opcode::Xor:
  case Opcode::Shl:
  case Opcode::LShr:
  case Opcode::AShr:
  case Opcode::SMax:
  case Opcode::SMin:
  case Opcode::UMax:
  case Opcode::UMin:
    for (uint32_t i = 0; i < lanes; ++i)
      if (!integer(in.op, a[i], b[i], width, mask, dst[i]))
        return false;
    return true;
  case Opcode::Abs:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = signExtend(a[i], width) < 0 ? (0 - a[i]) & mask : a[i];
    return true;
  case Opcode::CtPop:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = llvm::popcount(a[i]);
    return true;
  case Opcode::Ctlz:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = llvm::countl_zero(a[i]) - (64 - width);
    return true;
  case Opcode::Cttz:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = std::min<unsigned>(llvm::countr_zero(a[i]), width);
    return true;
  case Opcode::BitReverse:
    for (uint32_t i = 0; i < lanes; ++i) {
      uint64_t v = 0;
      for (unsigned bit = 0; bit < width; ++bit)
        v |= (a[i] >> bit & 1) << (width - 1 - bit);
      dst[i] = v;
    }
    return true;
  case Opcode::ByteSwap:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = llvm::byteswap(a[i]) >> (64 - width);
    return true;
  case Opcode::Fshl:
  case Opcode::Fshr:
    for (uint32_t i = 0; i < lanes; ++i) {
      unsigned n = c[i] % width;
      if (in.op == Opcode::Fshr)
        dst[i] = n ? (a[i] << (width - n) | b[i] >> n) & mask : b[i];
      else
        dst[i] = n ? (a[i] << n | b[i] >> (width - n)) & mask : a[i];
    }
    return true;
  case Opcode::ICmp:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = compareIntegers(in.kind, a[i], b[i], width);
    return true;
  case Opcode::Trunc:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = a[i] & mask;
    return true;
  case Opcode::SExt:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = uint64_t(signExtend(a[i], width)) & mask;
    return true;
  case Opcode::Address:
    for (uint32_t i = 0; i < lanes; ++i) {
      uint64_t base = a[in.kind & 1 ? 0 : i];
      dst[i] = in.b == kNone
                   ? base + in.imm
                   : base + signExtend(b[in.kind & 2 ? 0 : i], width) * in.imm;
    }
    return true;
  case Opcode::Select:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = a[in.kind ? 0 : i] & 1 ? b[i] : c[i];
    return true;
  case Opcode::FAdd:
  case Opcode::FSub:
  case Opcode::FMul:
  case Opcode::FDiv:
  case Opcode::FRem:
  case Opcode::Fma:
  case Opcode::Sqrt:
  case Opcode::Maximum:
  case Opcode::Minimum:
  case Opcode::MaxNum:
  case Opcode::MinNum:
  case Opcode::Floor:
  case Opcode::Ceil:
  case Opcode::FTrunc:
  case Opcode::Rint:
  case Opcode::Round: {
    bool two = in.b != kNone, three = in.c != kNone;
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = in.kind == 0
                   ? bitsOfF32(floating<float>(in.op, asF32(a[i]),
                                               two ? asF32(b[i]) : 0,
                                               three ? asF32(c[i]) : 0))
                   : bitsOfF64(floating<double>(in.op, asF64(a[i]),
                                                two ? asF64(b[i]) : 0,
                                                three ? asF64(c[i]) : 0));
    return true;
  }
  case Opcode::FNeg:
  case Opcode::FAbs:
  case Opcode::CopySign: {
    uint64_t sign = uint64_t(1) << (width - 1);
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = in.op == Opcode::FNeg   ? a[i] ^ sign
               : in.op == Opcode::FAbs ? a[i] & ~sign
                                       : (a[i] & ~sign) | (b[i] & sign);
    return true;
  }
  case Opcode::FCmp:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = in.kind == 0 ? compareFloats(in.extra, asF32(a[i]), asF32(b[i]))
                            : compareFloats(in.extra, asF64(a[i]), asF64(b[i]));
    return true;
  case Opcode::FToF:
    for (uint32_t i = 0; i < lanes; ++i) {
      // f64 to bfloat16 is not one of PTX's: it goes through f32 there too.
      double v = in.kind == 0   ? double(asF32(a[i]))
                 : in.kind == 1 ? asF64(a[i])
                                : double(bf16ToF32(a[i]));
      dst[i] = in.width == 0   ? bitsOfF32(float(v))
               : in.width == 1 ? bitsOfF64(v)
                               : f32ToBf16(float(v));
    }
    return true;
  case Opcode::FToS:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = (in.kind == 0 ? toSigned(asF32(a[i]), width)
                             : toSigned(asF64(a[i]), width)) &
               mask;
    return true;
  case Opcode::FToU:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = in.kind == 0 ? toUnsigned(asF32(a[i]), width, mask)
                            : toUnsigned(asF64(a[i]), width, mask);
    return true;
  case Opcode::SToF:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = in.kind == 0 ? bitsOfF32(float(signExtend(a[i], width)))
                            : bitsOfF64(double(signExtend(a[i], width)));
    return true;
  case Opcode::UToF:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = in.kind == 0 ? bitsOfF32(float(a[i])) : bitsOfF64(double(a[i]));
    return true;
  case Opcode::Reinterpret: {
    // Little endian: the first element holds the lowest bits.
    unsigned to = in.kind, from = width;
    if (to > from) {
      unsigned parts = to / from;
      for (uint32_t i = 0; i < uint32_t(in.imm); ++i) {
        uint64_t v = 0;
        for (unsigned p = 0; p < parts; ++p)
          v |= a[i * parts + p] << (p * from);
        dst[i] = v;
      }
    } else {
      unsigned parts = from / to;
      uint64_t part = (uint64_t(1) << to) - 1;
      for (uint32_t i = 0; i < uint32_t(in.imm); ++i)
        dst[i] = a[i / parts] >> ((i % parts) * to) & part;
    }
    return true;
  }
  case Opcode::Approx:
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = approximate(in.kind, a[i]);
    return true;
  case Opcode::Shuffle: {
    const std::vector<uint32_t> &table = function.tables[in.extra];
    for (uint32_t i = 0; i < lanes; ++i)
      dst[i] = r[table[i]];
    return true;
  }
  case Opcode::Reduce: {
    Opcode op = Opcode(in.extra);
    bool isFloat = op >= Opcode::FAdd;
    uint32_t i = in.b == kNone ? 1 : 0;
    uint64_t v = i ? a[0] : b[0];
    for (; i < lanes; ++i)
      if (!isFloat)
        integer(op, v, a[i], width, mask, v);
      else if (in.kind == 0)
        v = bitsOfF32(floating<float>(op, asF32(v), asF32(a[i]), 0));
      else
        v = bitsOfF64(floating<double>(op, asF64(v), asF64(a[i]), 0));
    dst[0] = v;
    return true;
  }
  default:
    return true;
  }
}

} // namespace r1c::cuda::emulate

#endif // R1C_COMPILER_TARGET_CUDA_EMULATE_ARITHMETIC_H
