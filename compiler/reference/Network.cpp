//===- Network.cpp - what the ops of lm mean ------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Network.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace r1c::reference {

Tensor gather(const Tensor &table, const Tensor &rows) {
  Tensor result({rows.count(), table.columns()});
  for (int64_t i = 0; i < rows.count(); ++i)
    for (int64_t j = 0; j < table.columns(); ++j)
      result(i, j) = table(int64_t(rows(i)), j);
  return result;
}

Tensor scatterAdd(const Tensor &x, const Tensor &rows, int64_t count) {
  Tensor result({count, x.columns()});
  for (int64_t i = 0; i < rows.count(); ++i)
    for (int64_t j = 0; j < x.columns(); ++j)
      result(int64_t(rows(i)), j) += x(i, j);
  return result;
}

//===----------------------------------------------------------------------===//
// Norm, linear, rope
//===----------------------------------------------------------------------===//

/// 1 / sqrt(mean(x²) + ε) over the columns first … first + n.
static double reciprocalRoot(const Tensor &x, int64_t row, int64_t first,
                             int64_t n, double epsilon) {
  double sum = 0;
  for (int64_t j = 0; j < n; ++j)
    sum += x(row, first + j) * x(row, first + j);
  return 1 / std::sqrt(sum / n + epsilon);
}

Tensor rmsNorm(const Tensor &x, const Tensor &weight, double epsilon,
               int64_t heads) {
  Tensor result(x.shape);
  int64_t n = x.columns() / heads;
  for (int64_t i = 0; i < x.rows(); ++i)
    for (int64_t head = 0; head < heads; ++head) {
      double scale = reciprocalRoot(x, i, head * n, n, epsilon);
      for (int64_t j = 0; j < n; ++j)
        result(i, head * n + j) = x(i, head * n + j) * scale * weight(j);
    }
  return result;
}

RMSNormGradient rmsNormGradient(const Tensor &gradient, const Tensor &x,
                                const Tensor &weight, double epsilon,
                                int64_t heads) {
  RMSNormGradient result{Tensor(x.shape), Tensor(weight.shape)};
  int64_t n = x.columns() / heads;
  for (int64_t i = 0; i < x.rows(); ++i)
    for (int64_t head = 0; head < heads; ++head) {
      int64_t first = head * n;
      double scale = reciprocalRoot(x, i, first, n, epsilon);
      double dot = 0;
      for (int64_t j = 0; j < n; ++j)
        dot += gradient(i, first + j) * weight(j) * x(i, first + j);
      for (int64_t j = 0; j < n; ++j) {
        double g = gradient(i, first + j), value = x(i, first + j);
        result.input(i, first + j) =
            scale * (g * weight(j) - value * scale * scale * dot / n);
        result.weight(j) += g * value * scale;
      }
    }
  return result;
}

Tensor multiply(const Tensor &a, const Tensor &b, bool transposeA,
                bool transposeB) {
  int64_t m = transposeA ? a.columns() : a.rows();
  int64_t depth = transposeA ? a.rows() : a.columns();
  int64_t n = transposeB ? b.rows() : b.columns();
  assert(depth == (transposeB ? b.columns() : b.rows()));
  Tensor result({m, n});
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < depth; ++k)
        sum +=
            (transposeA ? a(k, i) : a(i, k)) * (transposeB ? b(j, k) : b(k, j));
      result(i, j) = sum;
    }
  return result;
}

Tensor linear(const Tensor &x, const Tensor &weight, const Tensor *bias) {
  Tensor result = multiply(x, weight, false, true);
  if (bias)
    for (int64_t i = 0; i < result.rows(); ++i)
      for (int64_t j = 0; j < result.columns(); ++j)
        result(i, j) += (*bias)(j);
  return result;
}

Tensor columnSum(const Tensor &x) {
  Tensor result({x.columns()});
  for (int64_t i = 0; i < x.rows(); ++i)
    for (int64_t j = 0; j < x.columns(); ++j)
      result(j) += x(i, j);
  return result;
}

Tensor rope(const Tensor &x, const Context &context, int64_t heads,
            llvm::ArrayRef<double> frequencies, bool inverse) {
  Tensor result(x.shape);
  int64_t width = x.columns() / heads, half = width / 2;
  for (int64_t i = 0; i < x.rows(); ++i)
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t j = 0; j < half; ++j) {
        double angle = context.positions.at(i) * frequencies[j];
        double c = std::cos(angle), s = std::sin(inverse ? -angle : angle);
        int64_t a = head * width + j, b = a + half;
        result(i, a) = x(i, a) * c - x(i, b) * s;
        result(i, b) = x(i, b) * c + x(i, a) * s;
      }
  return result;
}

Tensor anglesOf(const Tensor &positions, llvm::ArrayRef<float> frequencies) {
  int64_t half = frequencies.size();
  Tensor result({positions.count(), 2 * half});
  for (int64_t i = 0; i < positions.count(); ++i)
    for (int64_t j = 0; j < half; ++j) {
      double angle = positions(i) * double(frequencies[j]);
      result(i, j) = std::cos(angle);
      result(i, half + j) = std::sin(angle);
    }
  return result;
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

Attention attention(const Tensor &query, const Tensor &key, const Tensor &value,
                    const Context &context, int64_t heads, int64_t keyHeads,
                    double scale) {
  int64_t width = query.columns() / heads;
  Attention result{Tensor(query.shape), Tensor({query.rows(), heads})};
  for (int64_t i = 0; i < query.rows(); ++i)
    for (int64_t head = 0; head < heads; ++head) {
      int64_t q = head * width, kv = head / (heads / keyHeads) * width;
      std::vector<double> scores(context.positions.at(i) + 1);
      for (size_t p = 0; p < scores.size(); ++p)
        for (int64_t c = 0; c < width; ++c)
          scores[p] +=
              scale * query(i, q + c) * key(context.keyRow(i, p), kv + c);
      double maximum = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (double score : scores)
        sum += std::exp(score - maximum);
      double lse = maximum + std::log(sum);
      result.lse(i, head) = lse;
      for (size_t p = 0; p < scores.size(); ++p)
        for (int64_t c = 0; c < width; ++c)
          result.result(i, q + c) +=
              std::exp(scores[p] - lse) * value(context.keyRow(i, p), kv + c);
    }
  return result;
}

AttentionGradient attentionGradient(const Tensor &gradient, const Tensor &query,
                                    const Tensor &key, const Tensor &value,
                                    const Tensor &result, const Tensor &lse,
                                    const Context &context, int64_t heads,
                                    int64_t keyHeads, double scale) {
  int64_t width = query.columns() / heads;
  AttentionGradient of{Tensor(query.shape), Tensor(key.shape),
                       Tensor(value.shape)};
  for (int64_t i = 0; i < query.rows(); ++i)
    for (int64_t head = 0; head < heads; ++head) {
      int64_t q = head * width, kv = head / (heads / keyHeads) * width;
      double delta = 0;
      for (int64_t c = 0; c < width; ++c)
        delta += gradient(i, q + c) * result(i, q + c);
      for (int64_t p = 0; p <= context.positions.at(i); ++p) {
        int64_t j = context.keyRow(i, p);
        double score = 0, along = 0;
        for (int64_t c = 0; c < width; ++c) {
          score += scale * query(i, q + c) * key(j, kv + c);
          along += gradient(i, q + c) * value(j, kv + c);
        }
        double weight = std::exp(score - lse(i, head));
        double ofScore = weight * (along - delta);
        for (int64_t c = 0; c < width; ++c) {
          of.query(i, q + c) += scale * ofScore * key(j, kv + c);
          of.key(j, kv + c) += scale * ofScore * query(i, q + c);
          of.value(j, kv + c) += weight * gradient(i, q + c);
        }
      }
    }
  return of;
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

Tensor siluMul(const Tensor &gate, const Tensor &up) {
  Tensor result(gate.shape);
  for (int64_t i = 0; i < gate.count(); ++i)
    result(i) = gate(i) * sigmoid(gate(i)) * up(i);
  return result;
}

SiluMulGradient siluMulGradient(const Tensor &gradient, const Tensor &gate,
                                const Tensor &up) {
  SiluMulGradient result{Tensor(gate.shape), Tensor(up.shape)};
  for (int64_t i = 0; i < gate.count(); ++i) {
    double sigma = sigmoid(gate(i));
    result.gate(i) = gradient(i) * up(i) * sigma * (1 + gate(i) * (1 - sigma));
    result.up(i) = gradient(i) * gate(i) * sigma;
  }
  return result;
}

Tensor add(const Tensor &a, const Tensor &b) {
  Tensor result = a;
  for (int64_t i = 0; i < b.count(); ++i)
    result(i) += b(i);
  return result;
}

//===----------------------------------------------------------------------===//
// The head
//===----------------------------------------------------------------------===//

/// A temperature of 0 takes the maximum and leaves the logits as they are.
static double divisor(double temperature) {
  return temperature == 0 ? 1 : temperature;
}

/// The logits of the kept set, −∞ for the others.
static Tensor only(const Tensor *kept, const Tensor &logits) {
  Tensor result = logits;
  for (int64_t i = 0; kept && i < logits.count(); ++i)
    if ((*kept)(i) == 0)
      result(i) = -std::numeric_limits<double>::infinity();
  return result;
}

LogProb logProb(const Tensor &all, const Tensor &targets, double temperature,
                const Tensor *kept) {
  Tensor logits = only(kept, all);
  double t = divisor(temperature);
  int64_t rows = logits.rows(), n = logits.columns();
  LogProb result{Tensor({rows}), Tensor({rows}), Tensor({rows})};
  for (int64_t i = 0; i < rows; ++i) {
    double maximum = -std::numeric_limits<double>::infinity();
    for (int64_t v = 0; v < n; ++v)
      maximum = std::max(maximum, logits(i, v) / t);
    double sum = 0;
    for (int64_t v = 0; v < n; ++v)
      sum += std::exp(logits(i, v) / t - maximum);
    double lse = maximum + std::log(sum), entropy = 0;
    for (int64_t v = 0; v < n; ++v) {
      double logP = logits(i, v) / t - lse, p = std::exp(logP);
      if (p > 0)
        entropy -= p * logP;
    }
    result.lse(i) = lse;
    result.entropy(i) = entropy;
    result.logp(i) = logits(i, int64_t(targets(i))) / t - lse;
  }
  return result;
}

Tensor logitsGradient(const Tensor &logits, const Tensor &targets,
                      double temperature, const Tensor *entropy,
                      const Tensor &lse, const Tensor *logpGradient,
                      const Tensor *entropyGradient, const Tensor *kept) {
  double t = divisor(temperature);
  Tensor result(logits.shape);
  for (int64_t i = 0; i < logits.rows(); ++i)
    for (int64_t v = 0; v < logits.columns(); ++v) {
      if (kept && (*kept)(i, v) == 0)
        continue;
      double logP = logits(i, v) / t - lse(i), p = std::exp(logP);
      double sum = 0;
      if (logpGradient)
        sum += (*logpGradient)(i) * ((v == targets(i) ? 1 : 0) - p);
      if (entropyGradient && p > 0)
        sum -= (*entropyGradient)(i)*p * (logP + (*entropy)(i));
      result(i, v) = sum / t;
    }
  return result;
}

Tensor keep(const Tensor &logits, double temperature, double topK, double topP,
            double minP) {
  double t = divisor(temperature);
  Tensor result(logits.shape);
  for (int64_t i = 0; i < logits.rows(); ++i) {
    // Probabilities relative to the largest.
    double maximum = -std::numeric_limits<double>::infinity();
    for (int64_t v = 0; v < logits.columns(); ++v)
      maximum = std::max(maximum, logits(i, v));
    std::vector<double> sorted;
    for (int64_t v = 0; v < logits.columns(); ++v)
      sorted.push_back(std::exp((logits(i, v) - maximum) / t));
    std::sort(sorted.rbegin(), sorted.rend());
    // The least that is kept.
    double least = 0;
    if (topK > 0 && topK < sorted.size())
      least = sorted[int64_t(topK) - 1];
    if (topP < 1) {
      double total = 0, sum = 0;
      for (double p : sorted)
        total += p >= least ? p : 0;
      for (double p : sorted) {
        sum += p;
        if (sum >= topP * total) {
          least = std::max(least, p);
          break;
        }
      }
    }
    least = std::max(least, minP);
    for (int64_t v = 0; v < logits.columns(); ++v)
      result(i, v) = std::exp((logits(i, v) - maximum) / t) >= least;
  }
  return result;
}

std::array<uint32_t, 4> philox(std::array<uint32_t, 2> key,
                               std::array<uint32_t, 4> counter) {
  for (int round = 0; round < 10; ++round) {
    uint64_t a = uint64_t(0xD2511F53) * counter[0];
    uint64_t b = uint64_t(0xCD9E8D57) * counter[2];
    counter = {uint32_t(b >> 32) ^ counter[1] ^ key[0], uint32_t(b),
               uint32_t(a >> 32) ^ counter[3] ^ key[1], uint32_t(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

uint32_t noise(std::array<uint32_t, 2> key, uint32_t c1, uint32_t c2,
               int64_t column) {
  return philox(key, {uint32_t(column / 64 * 16 + column % 16), c1, c2,
                      0})[column / 16 % 4];
}

static uint32_t word(double value) { return uint32_t(int64_t(value)); }

Tensor sample(const Tensor &all, double temperature, const Tensor &counter,
              const Tensor &key, const Tensor *kept) {
  Tensor logits = only(kept, all);
  Tensor result({logits.rows()});
  for (int64_t i = 0; i < logits.rows(); ++i) {
    // The row's own four words; then one draw a token under them.
    auto own = philox({word(key(0)), word(key(1))},
                      {word(counter(i, 0)), word(counter(i, 1)),
                       word(counter(i, 2)), word(counter(i, 3))});
    double best = -std::numeric_limits<double>::infinity();
    for (int64_t v = 0; v < logits.columns(); ++v) {
      double score = logits(i, v);
      if (temperature != 0) {
        uint32_t bits = noise({own[0], own[1]}, own[2], own[3], v);
        double u = (bits + 0.5) * 0x1p-32;
        score = score / temperature - std::log(-std::log1p(-u));
      }
      if (score > best) {
        best = score;
        result(i) = v;
      }
    }
  }
  return result;
}

} // namespace r1c::reference
