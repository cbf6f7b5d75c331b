/*===- kernels.c - stand-ins for generated kernels
 * ---------------------------===
 *
 * Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 *===-------------------------------------------------------------------------===
 * Kernels with the ABI of docs/levels.md, small enough that a test can say what
 * they must have computed. The "model" is a hash of all tokens of a sequence:
 * any wrong cache row, position or noise shows in the next token.
 *===-------------------------------------------------------------------------===*/

#include <stdint.h>

static void share(int64_t n, int64_t worker, int64_t workers, int64_t *from,
                  int64_t *to) {
  *from = n * worker / workers;
  *to = n * (worker + 1) / workers;
}

/* y[i] = 2 * x[i] + 1: x f32[n], y f32[n], n */
void affine(void *const *args, int64_t worker, int64_t workers) {
  const float *x = args[0];
  float *y = args[1];
  int64_t from, to;
  share(*(const int64_t *)args[2], worker, workers, &from, &to);
  for (int64_t i = from; i < to; ++i)
    y[i] = 2 * x[i] + 1;
}

/* seen[worker] = workers: seen i64[64] */
void count_workers(void *const *args, int64_t worker, int64_t workers) {
  int64_t *seen = args[0];
  seen[worker] = workers;
}

/* cache[base + position] = token: tokens, positions, bases i32[rows], cache
   i32[slots * capacity], rows */
void store_rows(void *const *args, int64_t worker, int64_t workers) {
  const int32_t *tokens = args[0], *positions = args[1], *bases = args[2];
  int32_t *cache = args[3];
  int64_t from, to;
  share(*(const int64_t *)args[4], worker, workers, &from, &to);
  for (int64_t r = from; r < to; ++r)
    cache[bases[r] + positions[r]] = tokens[r];
}

/* token, logp from a hash of the sequence, the noise, the key, the weights and
   the temperature: cache, positions, bases, sample_rows, noise, key,
   temperature f32[1], weights f32[16], token i32, logp f32, samples */
void draw(void *const *args, int64_t worker, int64_t workers) {
  const int32_t *cache = args[0], *positions = args[1], *bases = args[2],
                *rows = args[3], *noise = args[4], *key = args[5];
  const float *temperature = args[6], *weights = args[7];
  int32_t *token = args[8];
  float *logp = args[9];
  int64_t from, to;
  share(*(const int64_t *)args[10], worker, workers, &from, &to);
  for (int64_t s = from; s < to; ++s) {
    uint64_t hash = 1469598103934665603u;
    int32_t r = rows[s];
    for (int32_t p = 0; p <= positions[r]; ++p)
      hash = (hash ^ (uint32_t)cache[bases[r] + p]) * 1099511628211u;
    for (int i = 0; i < 4; ++i)
      hash = (hash ^ (uint32_t)noise[4 * s + i]) * 1099511628211u;
    for (int i = 0; i < 2; ++i)
      hash = (hash ^ (uint32_t)key[i]) * 1099511628211u;
    union {
      float f;
      uint32_t u;
    } bits;
    bits.f = temperature[0];
    hash = (hash ^ bits.u) * 1099511628211u;
    for (int i = 0; i < 16; ++i) {
      bits.f = weights[i];
      hash = (hash ^ bits.u) * 1099511628211u;
    }
    hash ^= hash >> 29;
    token[s] = (int32_t)(hash % 12);
    logp[s] = -(float)(hash % 1000) / 1000;
  }
}

/* A training pass: gradient[token] += reward of each target, in order.
   targets i32[n], token_index i32[n], token_sequence i32[], reward f64[],
   gradient f64[16], n */
void accumulate(void *const *args, int64_t worker, int64_t workers) {
  const int32_t *targets = args[0], *index = args[1], *sequence = args[2];
  const double *reward = args[3];
  double *gradient = args[4];
  int64_t n = *(const int64_t *)args[5];
  if (worker)
    return;
  for (int64_t i = 0; i < n; ++i)
    gradient[targets[i] % 16] += 1 + reward[sequence[index[i]]];
}

/* weights -= lr * gradient / (1 + updates), and moments keep the last gradient:
   gradient f64[16], lr f64, updates f64, weights f32[16], moments f32[16] */
void step(void *const *args, int64_t worker, int64_t workers) {
  const double *gradient = args[0], *lr = args[1], *updates = args[2];
  float *weights = args[3], *moments = args[4];
  if (worker)
    return;
  for (int i = 0; i < 16; ++i) {
    moments[i] = 0.5f * moments[i] + (float)gradient[i];
    weights[i] -= (float)(lr[0] * moments[i] / (1 + updates[0]));
  }
}

/* packed = 3 * weights: weights f32[16], packed f32[16] */
void pack(void *const *args, int64_t worker, int64_t workers) {
  const float *weights = args[0];
  float *packed = args[1];
  int64_t from, to;
  share(16, worker, workers, &from, &to);
  for (int64_t i = from; i < to; ++i)
    packed[i] = 3 * weights[i];
}

/* mean of x: x f64[n], mean f64, n */
void mean(void *const *args, int64_t worker, int64_t workers) {
  const double *x = args[0];
  int64_t n = *(const int64_t *)args[2];
  double sum = 0;
  if (worker)
    return;
  for (int64_t i = 0; i < n; ++i)
    sum += x[i];
  *(double *)args[1] = n ? sum / (double)n : 0;
}

/* flags[g] = any reward of the group differs from its first: reward f64[S],
   group_offsets i32[G+1], flags f64[G], groups */
void informative(void *const *args, int64_t worker, int64_t workers) {
  const double *reward = args[0];
  const int32_t *offsets = args[1];
  double *flags = args[2];
  int64_t groups = *(const int64_t *)args[3];
  if (worker)
    return;
  for (int64_t g = 0; g < groups; ++g) {
    flags[g] = 0;
    for (int32_t s = offsets[g]; s < offsets[g + 1]; ++s)
      if (reward[s] != reward[offsets[g]])
        flags[g] = 1;
  }
}
